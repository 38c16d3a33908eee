"""Requests and answers in a form that is the same for every API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

CHARACTERS_PER_TOKEN = 4

PASSAGE = (
    "A queue is fair when nobody waits for one who came later, and quick when nobody waits for "
    "nothing. Most are neither: they send too soon, are turned away, and come again with all the "
    "others. Better to know when the door opens, and to be there in that moment. "
)
LONGEST_ANSWER = 100_000  # tokens


@dataclass(frozen=True)
class Tool:
    """A function that the answer may call, with the JSON schema of its arguments."""

    name: str
    parameters: Json


@dataclass(frozen=True)
class Inquiry:
    """A request.

    prompt       all text that counts as input, in its order
    answers      number of answers (OpenAI's n)
    tool         the tool that the answer must call
    schema       the JSON schema that the answer must satisfy
    cache_key    OpenAI's prompt_cache_key
    marks        places that are marked for the cache, in characters from the start
    only_marked  whether only what is marked may be cached, where that can be asked for
    parts        the ends of the prompt's parts, in the same way
    cache_lifetime  the time to live that it asks for, in seconds
    settings     beside the prompt, what a cached prefix depends on: by the reason that a diagnosis
                 gives if it has changed; empty if the API has no diagnoses
    compared     the id of the answer that a diagnosis compares it with
    told         the length of the answer, in tokens, if the request states it
    usage        whether a stream tells its usage
    inputs       the texts to embed
    body         the request itself
    """

    model: str
    prompt: str
    max_tokens: int | None = None
    stream: bool = False
    answers: int = 1
    tool: Tool | None = None
    schema: Json | None = None
    cache_key: str = ""
    marks: Sequence[int] = ()
    only_marked: bool = False
    parts: Sequence[int] = ()
    cache_lifetime: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    compared: str | None = None
    told: int | None = None
    usage: bool = True
    inputs: Sequence[str] = ()
    body: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class ServedAnswer:
    """The answer to an Inquiry. If it calls a `tool`, `text` has the arguments."""

    id: str
    created: int  # seconds since the epoch
    text: str
    tool: Tool | None
    cut: bool  # at max_tokens
    prompt_tokens: int
    completion_tokens: int  # of all answers
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    cache_lifetime: float | None = None  # asked for, in seconds
    diagnosis: Json | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def tokens_in(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def prose(tokens: int) -> str:
    """Returns a text of that many tokens."""
    length = CHARACTERS_PER_TOKEN * min(tokens, LONGEST_ANSWER)
    return (PASSAGE * (length // len(PASSAGE) + 1))[:length]


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
