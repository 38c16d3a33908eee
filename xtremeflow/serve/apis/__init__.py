"""The APIs that providers speak, one a file."""

from __future__ import annotations

from collections.abc import Mapping

from xtremeflow.serve.apis.base import Api, Stream
from xtremeflow.serve.apis.chat import Chat
from xtremeflow.serve.apis.embeddings import Embeddings
from xtremeflow.serve.apis.gemini import GenerateContent
from xtremeflow.serve.apis.messages import Messages
from xtremeflow.serve.apis.responses import Responses
from xtremeflow.serve.profiles import Profile

APIS: Mapping[str, Api] = {
    "chat": Chat(),
    "responses": Responses(),
    "embeddings": Embeddings(),
    "messages": Messages(),
    "gemini": GenerateContent(),
}

_ENDINGS = {
    "/chat/completions": "chat",
    "/responses": "responses",
    "/embeddings": "embeddings",
    "/messages": "messages",
    "/messages/count_tokens": "messages",
    ":generateContent": "gemini",
    ":streamGenerateContent": "gemini",
}


def api_at(path: str, profile: Profile) -> str | None:
    """Returns the name of the API that a path of that provider belongs to."""
    for ending, name in _ENDINGS.items():
        if path.endswith(ending) and profile.serves(name, path[: -len(ending)]):
            return name
    return None


__all__ = ["APIS", "Api", "Stream", "api_at"]
