"""The tree finds what a brute-force comparison of all prompts finds."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow._core import rolling_digests
from xtremeflow.prefixes.tree import CHUNK, Node, Window, digests_of, shared

# Few different chunks, so that prompts begin alike and part anywhere.
PROMPTS = st.lists(
    st.lists(st.sampled_from("abc"), max_size=8).map(lambda chunks: "".join(chunks)), max_size=24
)


def spread(short: str) -> bytes:
    """A prompt with a whole chunk for each letter."""
    return b"".join(letter.encode() * CHUNK for letter in short)


def alike(one: str, other: str) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def partings(prompt: str, others: list[str]) -> list[int]:
    """Where others part from it that were alike until then, besides its end: the ends of its
    stretches."""
    return sorted({alike(prompt, other) for other in others} | {len(prompt)})


def brute(prompt: str, window: list[str], least: int) -> int:
    """The chunks that it shares: with the longest first, a stretch of one chunk does not count
    unless what is before it is too short."""
    others = list(window)
    others.remove(prompt)
    ends = partings(prompt, others)
    longest = max((alike(prompt, other) for other in others), default=0)
    while longest >= 1:
        before = max((end for end in ends if end < longest), default=0)
        if longest - before >= 2 or before < max(least, 1):
            break
        longest = before
    return longest if longest >= max(least, 1) else 0


def length(node: Node | None) -> int:
    return 0 if node is None else node.end


@given(PROMPTS, st.integers(0, 4))
def test_a_prompt_shares_what_it_has_in_common_with_another_one(
    prompts: list[str], least: int
) -> None:
    window = Window(100)
    ends = [window.add(digests_of(b"7", spread(prompt))) for prompt in prompts]
    for prompt, end in zip(prompts, ends, strict=True):
        assert length(shared(end, least)) == brute(prompt, prompts, least)


@given(PROMPTS, st.integers(1, 5))
def test_calls_that_have_left_the_window_count_no_more(prompts: list[str], size: int) -> None:
    window = Window(size)
    last: deque[tuple[str, Node]] = deque(maxlen=size)
    for prompt in prompts:
        last.append((prompt, window.add(digests_of(b"7", spread(prompt)))))
    assert len(window) == len(last)
    inside = [prompt for prompt, _ in last]
    for prompt, end in last:
        node: Node | None = end
        while node is not None and node.parent is not None:
            begins = prompt[: node.end]
            assert node.calls == sum(other.startswith(begins) for other in inside)
            node = node.parent


@given(PROMPTS)
def test_an_empty_window_is_an_empty_tree(prompts: list[str]) -> None:
    window = Window(1)
    for prompt in [*prompts, ""]:
        window.add(digests_of(b"7", spread(prompt)))
    assert window._root.children == {}
    assert window._root.calls == 1


@given(PROMPTS)
def test_the_calls_of_one_group_have_one_digest(prompts: list[str]) -> None:
    window = Window(100)
    ends = [window.add(digests_of(b"7", spread(prompt))) for prompt in prompts]
    groups: dict[int, set[str]] = {}
    for prompt, end in zip(prompts, ends, strict=True):
        node = shared(end, 1)
        if node is not None:
            groups.setdefault(node.digest, set()).add(prompt[: node.end])
    assert all(len(beginnings) == 1 for beginnings in groups.values())


def test_prompts_of_other_settings_share_nothing() -> None:
    window = Window(10)
    ends = [window.add(digests_of(settings, spread("aaaa"))) for settings in (b"1", b"2")]
    assert [shared(end, 1) for end in ends] == [None, None]


def test_two_prompts_that_are_one_share_all_of_it() -> None:
    window = Window(10)
    digests = digests_of(b"", b"x" * (3 * CHUNK + 5))
    assert len(digests) == 4
    ends = [window.add(digests) for _ in range(2)]
    assert [length(shared(end, 4)) for end in ends] == [4, 4]


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 20))
def test_each_digest_stands_for_all_of_the_text_before_its_end(
    one: bytes, other: bytes, chunk: int
) -> None:
    found = [array("Q", rolling_digests(b"", text, chunk)) for text in (one, other)]
    ends = [[text[: at + chunk] for at in range(0, len(text), chunk)] for text in (one, other)]
    assert [len(digests) for digests in found] == [len(texts) for texts in ends]
    for digest, text in zip(found[0], ends[0], strict=True):
        assert [digest == each for each in found[1]] == [text == each for each in ends[1]]


def test_digests_are_the_same_in_every_process() -> None:
    """They name OpenAI's caches, which several processes may use."""
    found = array("Q", rolling_digests(b"model='m'", b"some words", 8))
    assert list(found) == [0x4291E77D35EC04BD, 0x59C155B9DCECC071]


def test_digests_take_no_text_that_is_not_encoded_and_no_empty_chunks() -> None:
    calls: list[Any] = [("text", b"", 8), (b"", "text", 8), (b"", b"")]
    for arguments in calls:
        with pytest.raises(TypeError, match="takes bytes, bytes and a number"):
            rolling_digests(*arguments)
    for chunk in (0, -1):
        with pytest.raises(ValueError, match=f"chunk must be above 0, got {chunk}"):
            rolling_digests(b"", b"text", chunk)
