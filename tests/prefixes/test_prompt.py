"""The prompt of a body: all that its model reads, in the order in which its provider caches it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xtremeflow import Limit, TaskScheduler
from xtremeflow.prefixes.groups import Grouped, Groups, Prefixes
from xtremeflow.prefixes.marks import Ends
from xtremeflow.prefixes.prompt import api_of, marked_prompt_of, prompt_of
from xtremeflow.providers.openai import BREAKPOINT
from xtremeflow.values.usage import Usage

Json = dict[str, Any]
TEXT = "What everybody has in common. " * 200  # 1,500 tokens
STOP = {BREAKPOINT: {"mode": "explicit"}}


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://api.openai.com/v1/chat/completions", "chat/completions"),
        ("https://api.openai.com/v1/responses?a=b", "responses"),
        ("https://api.anthropic.com/v1/messages", "messages"),
        ("http://localhost/v1/completions", "completions"),
        ("https://api.anthropic.com/v1/messages/count_tokens", None),
        ("https://api.openai.com/v1/embeddings", None),
        ("https://api.openai.com/v1/responses/r_1", None),
    ],
)
def test_the_path_tells_the_api(url: str, api: str | None) -> None:
    assert api_of(url) == api


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]},
        {"instructions": "S", "input": "U"},
        {"instructions": "S", "input": [{"role": "user", "content": "U"}]},
        {"system": "S", "messages": [{"role": "user", "content": [{"type": "text", "text": "U"}]}]},
        {"prompt": "SU"},
    ],
)
def test_tools_come_first_then_the_system_prompt_then_messages(body: Json) -> None:
    text = prompt_of({**body, "tools": [{"name": "T"}]}).text
    assert 0 <= text.index(b"T") < text.index(b"S") < text.rindex(b"U")
    assert prompt_of(dict(reversed(body.items()))).text == prompt_of(body).text


@pytest.mark.parametrize(
    "other",
    [{"model": "n"}, {"reasoning_effort": "low"}, {"service_tier": "flex"}, {"thinking": {"a": 1}},
     {"response_format": {"type": "json_object"}}, {"tool_choice": "none"}],
)  # fmt: skip
def test_settings_that_a_cache_depends_on_tell_prompts_apart(other: Json) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "U"}]}
    assert prompt_of(body).settings != prompt_of({**body, **other}).settings
    assert prompt_of(body) == prompt_of({**body, "temperature": 1, "max_tokens": 9, "user": "u"})


def test_marks_are_no_part_of_a_prompt() -> None:
    def body(**mark: Any) -> Json:
        part = {"type": "text", "text": "S", **mark}
        return {"system": [part], "tools": [{"name": "T", **mark}]}

    assert prompt_of(body()) == prompt_of(body(cache_control={"type": "ephemeral"}))
    assert prompt_of(body()) == prompt_of(body(**STOP))


def test_what_comes_after_the_last_mark_is_not_cached() -> None:
    system = [{"type": "text", "text": "S1", "cache_control": {}}, {"type": "text", "text": "S2"}]
    body: Json = {"system": system, "messages": [{"role": "user", "content": "U"}]}
    assert marked_prompt_of(body, "cache_control") is None  # an empty one is none
    system[0]["cache_control"] = {"type": "ephemeral"}
    prompt = marked_prompt_of(body, "cache_control")
    assert prompt is not None
    assert prompt.text == b"S1"
    assert prompt.size == len(prompt_of(body).text)
    assert prompt.marks == [2]
    whole = marked_prompt_of({**body, "cache_control": {"type": "ephemeral"}}, "cache_control")
    assert whole is not None
    assert whole.text == prompt_of(body).text
    assert whole.marks == [2, whole.size]


def test_a_mark_is_put_on_the_last_block_that_others_have_too() -> None:
    def body(question: str) -> Json:
        said = [{"role": "user", "content": "document"}, {"role": "user", "content": question}]
        return {"model": "m", "system": "system", "messages": said}

    ends = Ends(100)
    first, second = body("a"), body("b")
    noted = [ends.note(each) for each in (first, second)]
    assert ends.mark(second, noted[1], 0, "cache_control")
    content = second["messages"][0]["content"]
    assert content == [{"type": "text", "text": "document", "cache_control": {"type": "ephemeral"}}]
    assert second["messages"][1] == {"role": "user", "content": "b"}
    assert not ends.mark(first, noted[0], 1000, "cache_control")
    assert first == body("a")


@pytest.mark.parametrize(
    ("shared", "marked"),
    [
        (
            {"messages": [{"role": "user", "content": TEXT}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT, **STOP}]}]},
        ),
        (
            {"input": [{"role": "user", "content": TEXT}]},
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": TEXT, **STOP}]}
                ]
            },
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT, **STOP}]}]},
        ),
        ({"instructions": TEXT}, None),
        ({"tools": [{"type": "function", "name": TEXT}]}, None),
        ({"messages": [{"role": "assistant", "content": TEXT}]}, None),
        ({"input": [{"role": "assistant", "content": [{"type": "output_text"}]}]}, None),
    ],
)
def test_a_breakpoint_is_put_where_openai_takes_one(shared: Json, marked: Json | None) -> None:
    ends = Ends(100)
    bodies = [json.loads(json.dumps(shared)) for _ in "12"]
    noted = [ends.note(body) for body in bodies]
    assert ends.mark(bodies[1], noted[1], 0, BREAKPOINT) == (marked is not None)
    assert bodies[1] == (shared if marked is None else marked)


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"7", b"{", b"", b'{"model": 5}', b'{"model": "m", "messages": 5}',
        b'{"model": "m", "messages": [5, null, [], {}]}', b'{"model": "m", "messages": null}',
        b'{"model": "m", "messages": [{"role": [], "content": {"a": 1}}], "tools": "x"}',
        b"\xff\xfe" * 3000, b'{"a":' * 3000,
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
def test_bodies_of_any_form_do_no_harm(body: bytes) -> None:
    groups = Groups(Prefixes(provider="vllm"), json.loads, lambda: 0.0)
    for _ in range(2):
        seen = groups.see("http://h/v1/chat/completions", body)
        if seen is not None:
            groups.grouped(seen, None)


def grouped(bodies: list[Json], **prefixes: Any) -> list[Grouped | None]:
    groups = Groups(Prefixes(**prefixes), json.loads, lambda: 0.0)
    found = [groups.see("http://h/v1/messages", json.dumps(body).encode()) for body in bodies]
    return [None if seen is None else groups.grouped(seen, 2000) for seen in found]


def test_the_tokens_to_be_read_are_the_shared_part_of_those_expected() -> None:
    def body(question: str) -> Json:
        said = [{"role": "user", "content": TEXT}, {"role": "user", "content": question * 2000}]
        return {"model": "m", "messages": said}

    one, other = grouped([body("a"), body("b")])
    assert one is not None
    assert other is not None
    assert one.key == other.key
    assert one.share == pytest.approx(6000 / 8000, abs=0.07)
    assert one.tokens == int(one.share * 2000)


@pytest.mark.parametrize(
    ("limits", "keys"),
    [
        ([], 3),
        ([Limit("requests", 20, 60.0, 0.0)], 1),
        ([Limit("requests", 60, 60.0, 0.0)], 2),
        ([Limit("requests", 20, 60.0, 30.0)], 2),
        ([Limit("requests", 20, 60.0, 1000.0)], 3),
        ([Limit("requests", 1000, 60.0, 0.0)], 3),
        ([Limit("requests", 1000, 60.0, 0.0), Limit("requests", 20, 60.0, 0.0)], 1),
    ],
)
def test_a_limit_on_requests_tells_how_many_keys_are_due(limits: list[Limit], keys: int) -> None:
    prefixes = Prefixes(provider="openai")
    groups = Groups(prefixes, json.loads, lambda: 0.0, TaskScheduler(limits=limits))
    bodies = [
        {"model": "m", "messages": [{"role": "user", "content": f"{group}{TEXT}{n}"}]}
        for group in "AB"
        for n in range(40)
    ]
    url = "http://h/v1/chat/completions"
    found = [groups.see(url, json.dumps(body).encode()) for body in bodies]
    calls = [groups.grouped(seen, None) for seen in found if seen is not None]
    named = {call.fields["prompt_cache_key"] for call in calls if call is not None}
    assert len(named) == 2 * keys
    assert all(len(name) <= 64 for name in named)
    assert len({call.key for call in calls if call is not None}) == 2 * keys


def test_a_prompt_below_the_providers_minimum_has_no_group() -> None:
    short = {"model": "m", "messages": [{"role": "user", "content": TEXT[:4000]}]}
    assert grouped([short, short], provider="openai") == [None, None]
    assert None not in grouped([short, short], provider="vllm")


@pytest.mark.parametrize("proven", [False, True])
def test_a_model_that_has_read_a_prefix_is_not_given_up(proven: bool) -> None:
    groups = Groups(Prefixes(provider="vllm"), json.loads, lambda: 0.0)

    def ask(group: str) -> list[Grouped]:
        body = {"model": "m", "messages": [{"role": "user", "content": group + TEXT}]}
        content = json.dumps(body).encode()
        found = [groups.see("http://h/v1/chat/completions", content) for _ in range(3)]
        calls = [groups.grouped(seen, None) for seen in found if seen is not None]
        return [call for call in calls if call is not None]

    if proven:
        for call in ask("proof"):
            groups.answered(call, Usage(1500, 10, cached=1500))
    for group in "ABCD":
        for call in ask(group):
            groups.answered(call, Usage(1500, 10, cached=0))
    assert bool(ask("E")) is proven


def trunk_of(provider: str) -> Any:
    """The trunk of a call whose prompt goes on from one that others have, too."""
    groups = Groups(Prefixes(provider=provider), json.loads, lambda: 0.0)
    bodies = [
        {"model": "gpt-4o", "messages": [{"role": "user", "content": TEXT + document * 300 + n}]}
        for document in ("first document, ", "other document, ")
        for n in "12"
    ]
    url = "http://h/v1/chat/completions"
    found = [groups.see(url, json.dumps(body).encode()) for body in bodies]
    calls = [groups.grouped(seen, None) for seen in found if seen is not None]
    keys = {call.key for call in calls if call is not None}
    assert len(keys) == 2
    trunks = {getattr(key, "trunk", None) for key in keys}
    assert len(trunks) == 1
    return trunks.pop()


def test_a_prefix_that_goes_on_from_a_shorter_one_is_a_branch_of_it() -> None:
    assert trunk_of("vllm") is not None


def test_the_lengths_of_trunks_are_known() -> None:
    """A system prompt, a document and a section of 2,048 characters each, and a question of one."""
    groups = Groups(Prefixes(provider="vllm"), json.loads, lambda: 0.0)
    seen = [
        groups.see("http://a/v1/completions", json.dumps({"model": "m", "prompt": prompt}).encode())
        for a in "AB" for b in "AB" for c in "AB"
        for prompt in ["s" * 2048 + a * 2048 + b * 2048 + c]
    ]  # fmt: skip
    found = [groups.grouped(each, 1536) for each in seen if each is not None]
    assert len(found) == 8
    for each in found:
        assert each is not None
        key: Any = each.key
        assert (each.tokens, key.trunk_tokens, key.trunk.trunk_tokens) == (1535, 1023, 511)


def documents(*marked: bool) -> list[Grouped | None]:
    """Two questions on each of two documents behind a system prompt, which end at a mark or not."""

    def part(text: str, is_marked: bool) -> Json:
        mark = {"cache_control": {"type": "ephemeral"}} if is_marked else {}
        return {"type": "text", "text": text, **mark}

    return grouped(
        [
            {
                "model": "claude-sonnet-4-5",
                "system": [part(TEXT, marked[0]), part(document * 6000, marked[1])],
                "messages": [{"role": "user", "content": question}],
            }
            for document in "AB"
            for question in "12"
        ],
        provider="anthropic",
    )


def test_a_marked_prefix_is_a_branch_of_a_shorter_one_that_is_marked_too() -> None:
    found = documents(True, True)
    keys: list[Any] = [each.key for each in found if each is not None]
    assert len(keys) == 4
    assert len(set(keys)) == 2
    assert len({key.trunk for key in keys}) == 1
    assert {key.trunk_tokens for key in keys} == {int(6000 / 12_008 * 2000)}
    assert {each.tokens for each in found if each is not None} == {int(12_001 / 12_008 * 2000)}


def test_where_prefixes_are_marked_no_other_one_is_shared() -> None:
    only_documents, only_system = documents(False, True), documents(True, False)
    keys = [each.key for each in only_documents if each is not None]
    assert len(keys) == 4
    assert len({each.key for each in only_system if each is not None}) == 1
    assert not any(hasattr(key, "trunk") for key in keys)


@pytest.mark.parametrize(
    ("provider", "model", "more"),
    [
        ("anthropic", "claude-sonnet-4-5", {}),
        ("openai", "gpt-5.6", {"prompt_cache_options": {"mode": "explicit"}}),
    ],
)
def test_where_no_block_ends_that_calls_share_none_is_marked_and_none_is_held(
    provider: str, model: str, more: Json
) -> None:
    bodies = [
        {"model": model, "messages": [{"role": "user", "content": TEXT + question}], **more}
        for question in "12"
    ]
    assert grouped(bodies, provider=provider, mark=True) == [None, None]


def test_where_openai_caches_only_up_to_breakpoints_they_bound_the_prefix() -> None:
    def bodies(model: str, mode: str, *, stop: bool) -> list[Json]:
        part = {"type": "text", "text": TEXT, **(STOP if stop else {})}
        shared = [{"role": "system", "content": [part]}, {"role": "user", "content": TEXT}]
        return [
            {
                "model": model,
                "messages": [*shared, {"role": "user", "content": question}],
                "prompt_cache_options": {"mode": mode},
            }
            for question in "12"
        ]

    def tokens(*args: Any, **more: Any) -> list[int | None]:
        calls = grouped(bodies(*args, **more), provider="openai")
        return [None if call is None else call.tokens for call in calls]

    bounded = int(6007 / 12_021 * 2000)
    assert tokens("gpt-5.6", "explicit", stop=True) == [bounded] * 2
    assert tokens("gpt-5.6", "explicit", stop=False) == [None] * 2
    for model, mode in (("gpt-5.6", "implicit"), ("gpt-4o", "explicit")):
        for each in tokens(model, mode, stop=True):
            assert each is not None
            assert each > 1.9 * bounded


def test_with_a_key_of_its_own_a_prefix_goes_to_another_machine_than_its_trunk() -> None:
    assert trunk_of("openai") is None


def test_where_a_common_beginning_is_cached_late_calls_have_no_groups() -> None:
    bodies = [
        {"model": "deepseek-chat", "messages": [{"role": "user", "content": TEXT + n}]}
        for n in "12"
    ]
    for provider, groups in (("deepseek", 0), ("vllm", 2)):
        seeing = Groups(Prefixes(provider=provider), json.loads, lambda: 0.0)
        url = "http://h/chat/completions"
        found = [seeing.see(url, json.dumps(body).encode()) for body in bodies]
        calls = [None if seen is None else seeing.grouped(seen, None) for seen in found]
        assert sum(call is not None for call in calls) == groups
