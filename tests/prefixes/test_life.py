"""The life of a prefix in seconds: that of its provider's rules, or that which a call asks for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from xtremeflow import TaskScheduler
from xtremeflow.http._admission import Admission
from xtremeflow.http._options import Options
from xtremeflow.http._prefixes import Auto
from xtremeflow.http._terms import USUAL
from xtremeflow.prefixes.groups import Groups, Prefixes

TEXT = "You answer questions about the following text. " * 400
HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}
HOST = "http://127.0.0.1:8000/v1"

Json = dict[str, Any]


def chat(question: str, model: str, **more: Any) -> Json:
    messages = [{"role": "system", "content": TEXT}, {"role": "user", "content": question}]
    return {"model": model, "messages": messages, **more}


def message(question: str, *marks: Json | None, **more: Any) -> Json:
    """A body whose system prompt has a block for each mark."""
    blocks = [
        {"type": "text", "text": TEXT, **({} if mark is None else {"cache_control": mark})}
        for mark in marks
    ]
    said = [{"role": "user", "content": question}]
    return {"model": "claude-m", "system": blocks, "messages": said, **more}


def life(provider: str, path: str, *bodies: Json) -> float | None:
    """Returns that of the group of these calls."""
    groups = Groups(Prefixes(provider=provider), json.loads, lambda: 0.0)
    seen = [groups.see(f"{HOST}{path}", json.dumps(body).encode()) for body in bodies]
    assert seen[-1] is not None
    grouped = groups.grouped(seen[-1], None)
    assert grouped is not None
    return grouped.life


@pytest.mark.parametrize(
    ("provider", "model", "seconds"),
    [
        ("openai", "gpt-4o", 300.0),
        ("openai", "gpt-5.6", 1800.0),
        ("azure", "gpt-4o", 300.0),
        ("mistral", "mistral-large-latest", 300.0),
        ("gemini", "gemini-3-pro", 300.0),
        ("groq", "openai/gpt-oss-120b", 7200.0),
        ("vllm", "any", None),
    ],
)
def test_it_is_the_provider_s(provider: str, model: str, seconds: float | None) -> None:
    bodies = [chat(question, model) for question in "12"]
    assert life(provider, "/chat/completions", *bodies) == seconds


@pytest.mark.parametrize(
    ("marks", "more", "seconds"),
    [
        ([SHORT], {}, 300.0),
        ([{**SHORT, "ttl": "5m"}], {}, 300.0),
        ([HOUR], {}, 3600.0),
        ([HOUR, SHORT], {}, 300.0),  # the mark at which the prefix ends
        ([HOUR, None], {}, 3600.0),
        ([{**SHORT, "ttl": "1 week"}], {}, 300.0),  # the provider will refuse it
        ([{**SHORT, "ttl": 5}], {}, 300.0),
        ([None], {"cache_control": HOUR}, 3600.0),
        ([SHORT], {"cache_control": HOUR}, 3600.0),
    ],
)
def test_a_mark_of_anthropic_s_asks_for_it(marks: list[Json], more: Json, seconds: float) -> None:
    bodies = [message(question, *marks, **more) for question in "12"]
    same = [body | {"messages": bodies[0]["messages"]} for body in bodies]
    assert life("anthropic", "/messages", *same) == seconds


@pytest.mark.parametrize(
    ("model", "options", "seconds"),
    [
        ("gpt-5.6", {"ttl": "12h"}, 43_200.0),
        ("gpt-5.6", {"ttl": "30m"}, 1800.0),
        ("gpt-5.6", {}, 1800.0),
        ("gpt-5.6", "12h", 1800.0),
        ("gpt-4o", {"ttl": "12h"}, 300.0),  # which knows no such option
    ],
)
def test_a_request_of_openai_s_asks_for_it(model: str, options: Any, seconds: float) -> None:
    bodies = [
        {"model": model, "instructions": TEXT, "input": q, "prompt_cache_options": options}
        for q in "12"
    ]
    assert life("openai", "/responses", *bodies) == seconds


def test_a_request_with_breakpoints_asks_for_it_in_its_options() -> None:
    part = {"type": "input_text", "text": TEXT, "prompt_cache_breakpoint": {"mode": "explicit"}}
    body = {
        "model": "gpt-5.6",
        "input": [{"role": "user", "content": [part]}],
        "prompt_cache_options": {"mode": "explicit", "ttl": "12h"},
    }
    assert life("openai", "/responses", body, body) == 43_200.0


def test_the_client_tells_the_scheduler() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        options = Options(scheduler=scheduler, prefix=Prefixes(provider="groq"))
        auto = Auto(options, Admission(scheduler, options, lambda _: False))
        bodies = [json.dumps(chat(question, "m")).encode() for question in "12"]
        url = f"{HOST}/chat/completions"
        for prepared in await asyncio.gather(*(auto.prepared(USUAL, url, b) for b in bodies)):
            assert prepared is not None
            assert prepared.terms.prefix_life == 7200.0

    asyncio.run(main())
