"""The providers, one a module. The facts about a provider are typed there, and nowhere else.

The amounts are those of a middle tier. Those of an account are on its provider's limits page.
"""

from __future__ import annotations

from collections.abc import Mapping

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

__all__ = ["PROVIDERS", "Provider"]
