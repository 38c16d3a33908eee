"""The providers, one a module. The facts about a provider are typed there, and nowhere else.

The amounts are those of a middle tier. Those of an account are on its provider's limits page.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from xtremeflow.providers.anthropic import ANTHROPIC
from xtremeflow.providers.azure import AZURE
from xtremeflow.providers.deepseek import DEEPSEEK
from xtremeflow.providers.gemini import GEMINI
from xtremeflow.providers.groq import GROQ
from xtremeflow.providers.mistral import MISTRAL
from xtremeflow.providers.openai import OPENAI
from xtremeflow.providers.provider import Provider
from xtremeflow.providers.vllm import VLLM

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (OPENAI, AZURE, ANTHROPIC, GEMINI, MISTRAL, GROQ, DEEPSEEK, VLLM)
}


def provider_at(host: str) -> Provider | None:
    """Returns the provider whose host that is; None if no known provider has it."""
    for provider in PROVIDERS.values():
        base = urlsplit(provider.base_url or "")
        if base.scheme == "https" and base.hostname == host:
            return provider
        if provider.domain and host.endswith(f".{provider.domain}"):
            return provider
    return None


__all__ = ["PROVIDERS", "Provider", "provider_at"]
