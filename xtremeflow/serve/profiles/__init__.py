"""The providers that can be simulated, one a file."""

from __future__ import annotations

from collections.abc import Mapping

from xtremeflow.serve.profiles.anthropic import Anthropic
from xtremeflow.serve.profiles.azure import Azure
from xtremeflow.serve.profiles.base import Account, Profile, RefusedCall, Rejection
from xtremeflow.serve.profiles.deepseek import DeepSeek
from xtremeflow.serve.profiles.gemini import Gemini
from xtremeflow.serve.profiles.groq import Groq
from xtremeflow.serve.profiles.mistral import Mistral
from xtremeflow.serve.profiles.openai import OpenAI
from xtremeflow.serve.profiles.vllm import VLLMServer

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        OpenAI(),
        Azure(),
        Anthropic(),
        Gemini(),
        Mistral(),
        Groq(),
        DeepSeek(),
        VLLMServer(),
    )
}

__all__ = ["PROFILES", "Account", "Profile", "RefusedCall", "Rejection"]
