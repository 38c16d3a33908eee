"""The lists of models, in the form of each provider."""

from __future__ import annotations

from collections.abc import Sequence

from xtremeflow.serve.inquiry import Json
from xtremeflow.serve.profiles import Profile, Rejection

CREATED = 1_735_689_600  # seconds since the epoch; 2025
CREATED_TEXT = "2025-01-01T00:00:00Z"


def models(profile: Profile, only: Sequence[str] | None, path: str) -> Json | None:
    """Answers GET .../models and .../models/NAME. Returns None for any other path."""
    head, found, name = path.partition("/models")
    if not found or not profile.serves("models", head) or (name and not name.startswith("/")):
        return None
    names = list(profile.models if only is None else only)
    if name and name[1:] not in names:
        message = f"The model `{name[1:]}` does not exist"
        raise Rejection(404, profile.error(404, message, "model_not_found"))
    if profile.name == "anthropic":
        return _anthropic(name[1:]) if name else _anthropic_list(names)
    if profile.name == "gemini" and not head.endswith("/openai"):
        return _gemini(name[1:]) if name else {"models": [_gemini(known) for known in names]}
    if name:
        return _openai(profile, name[1:])
    return {"object": "list", "data": [_openai(profile, known) for known in names]}


def _openai(profile: Profile, name: str) -> Json:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": profile.name}


def _anthropic(name: str) -> Json:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": CREATED_TEXT,
        "lifecycle": "active",
    }


def _anthropic_list(names: Sequence[str]) -> Json:
    return {
        "data": [_anthropic(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _gemini(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
    }
