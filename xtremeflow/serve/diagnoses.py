"""Diagnoses of the prompt cache: why a response has read nothing of what an earlier one shares."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN, Inquiry, Json, tokens_in

MOST_RESPONSES = 1000  # kept; the oldest ones are dropped first


class _Response(NamedTuple):
    settings: Mapping[str, Any]
    prompt: str


class Diagnoses:
    """The last responses of an account, with which later requests may be compared."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, _Response] = OrderedDict()

    def keep(self, answer_id: str, inquiry: Inquiry) -> None:
        """Keeps the request of a response, if its API tells diagnoses."""
        if not inquiry.settings:
            return
        self._responses[answer_id] = _Response(inquiry.settings, inquiry.prompt)
        if len(self._responses) > MOST_RESPONSES:
            self._responses.popitem(last=False)

    def diagnosis(self, inquiry: Inquiry, read: int) -> Json | None:
        """Returns why a request has read nothing, or that it has `read` tokens. None if it asks for
        no comparison."""
        if inquiry.compared is None:
            return None
        response = self._responses.get(inquiry.compared)
        if response is None:
            return {"type": "comparison_response_not_found"}
        if read:
            return {"type": "cache_hit"}
        for reason, value in inquiry.settings.items():
            if response.settings[reason] != value:
                return _miss(reason, inquiry, 0)
        pairs = enumerate(zip(response.prompt, inquiry.prompt, strict=False))
        parting = next((index for index, (one, other) in pairs if one != other), None)
        if parting is None:  # one prompt goes on from the other, so the request is not the reason
            return {"type": "unavailable"}
        return _miss("input_changed", inquiry, parting // CHARACTERS_PER_TOKEN)


def _miss(reason: str, inquiry: Inquiry, reusable: int) -> Json:
    """Describes a miss after so many tokens that both prompts have."""
    return {
        "type": "cache_miss",
        "reason": reason,
        "comparison_reusable_tokens": reusable,
        "cache_missed_tokens": tokens_in(inquiry.prompt) - reusable,
    }
