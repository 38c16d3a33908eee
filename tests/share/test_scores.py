"""Members by their scores, against a plain dict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.share.scores import Scores

changes = st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(-3, 3)))


@given(changes, st.integers(-4, 4))
def test_the_first_and_those_above_are_found_after_any_changes(
    changes: list[tuple[str, int | None]], least: int
) -> None:
    scores, plain = Scores(), dict[str, int]()
    for member, score in changes:
        if score is None:
            scores.discard(member)
            plain.pop(member, None)
        else:
            scores.set(member, score)
            plain[member] = score
    assert len(scores) == len(plain)
    assert [member in scores for member in "abcde"] == [member in plain for member in "abcde"]
    assert scores.above(least) == sum(score > least for score in plain.values())
    if plain:
        assert scores.first() == min((score, member) for member, score in plain.items())
