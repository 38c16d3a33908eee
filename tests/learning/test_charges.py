"""The charges of a provider, learned from the rest that its answers tell."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.charges import RULES, World, is_bold, take_in

from xtremeflow.answers.headers import Observation
from xtremeflow.learning.costs.charges import BelievedRule, Charges, _Calls, parts_of
from xtremeflow.values.charges import UNKNOWN, ChargeRule
from xtremeflow.values.usage import Usage

PROFILES = sorted(RULES)


def agrees(believed: ChargeRule, right: ChargeRule) -> bool:
    """Whether all that is believed is so, and it is known whether it settles."""
    return believed.settles == right.settles and believed.over(right) == right


# -- found ----------------------------------------------------------------------------------------


def check(beliefs: list[ChargeRule], right: ChargeRule) -> None:
    """It was found, and never the contrary. It may become doubtful again: where a client uses all
    that comes in, little is left to be seen."""
    assert any(agrees(belief, right) for belief in beliefs)
    assert all(belief.settles in (None, right.settles) for belief in beliefs)
    assert not any(is_bold(belief, right) for belief in beliefs)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(3))
def test_the_rule_of_each_provider_is_found(profile: str, seed: int) -> None:
    check(World(profile, seed).learn(600), RULES[profile])


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("told", ["admitted", "ended"])
def test_it_does_not_matter_when_the_provider_looks_up_what_is_left(
    profile: str, told: str
) -> None:
    check(World(profile, told=told).learn(500), RULES[profile])


@pytest.mark.parametrize("profile", ["openai", "anthropic", "groq"])
def test_with_hundreds_of_calls_in_flight(profile: str) -> None:
    check(World(profile, in_flight=300).learn(800), RULES[profile])


def test_one_call_at_a_time_is_enough_where_what_is_taken_stays_taken() -> None:
    for profile in ("azure", "mistral"):
        beliefs = World(profile, in_flight=1).learn(12)
        assert beliefs[-1].settles == RULES[profile].settles


def test_cached_input_is_free_where_it_is() -> None:
    assert World("anthropic", in_flight=64).learn(600)[-1].cached_free is True
    assert World("groq").learn(300)[-1].cached_free is not False
    assert World("mistral").learn(300)[-1].cached_free is False
    assert World("mistral", cached=0.0).learn(300)[-1].cached_free is None  # nobody can know


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("others", [0.1, 0.5])
def test_another_user_of_the_key_makes_it_cautious_and_never_bold(
    profile: str, others: float
) -> None:
    for seed in range(2):
        beliefs = World(profile, seed, others=others).learn(400)
        assert beliefs[-1] != UNKNOWN
        assert not any(is_bold(belief, RULES[profile]) for belief in beliefs)


@pytest.mark.parametrize(
    ("profile", "bold"),
    [
        ("openai", ChargeRule("nothing", settles=False)),
        ("openai", ChargeRule("max", settles=True)),
        ("openai", ChargeRule("max", settles=False, cached_free=True)),
        ("azure", ChargeRule("max", settles=False)),
        ("mistral", ChargeRule(cached_free=True)),
    ],
)
def test_a_bold_belief_is_seen(profile: str, bold: ChargeRule) -> None:
    assert is_bold(bold, RULES[profile])
    assert not is_bold(UNKNOWN, RULES[profile])


def test_a_change_is_followed() -> None:
    charges = Charges()
    first = World("azure", in_flight=4).learn(200, charges)
    assert first[-1].settles is False
    for answer in World("mistral", in_flight=4).answers(600):
        seen = [replace(observation, per=60.0) for observation in answer.seen]
        take_in(
            charges, replace(answer, seen=seen, sent_at=answer.sent_at + 1e5, at=answer.at + 1e5)
        )
    assert charges.beliefs["m"].rule.settles is True


# -- not found ------------------------------------------------------------------------------------


def test_without_what_is_left_nothing_is_believed() -> None:
    charges = Charges()
    for answer in World("groq").answers(100):
        charges.told("m", [], answer.sent_at, answer.at)
        charges.ended("m", parts_of(answer.usage, answer.most, answer.sent_at, answer.at))
    assert charges.rule("m") is None
    assert charges.beliefs == {}


def test_a_full_bucket_tells_nothing() -> None:
    beliefs = World("groq", in_flight=1).learn(100)
    assert set(beliefs) == {UNKNOWN}


def test_models_are_told_apart() -> None:
    charges = Charges()
    for profile in ("azure", "mistral"):
        for answer in World(profile).answers(300):
            take_in(charges, answer, profile)
    assert charges.beliefs["azure"].rule.settles is False
    assert charges.beliefs["mistral"].rule.settles is True
    assert charges.rule("another") is None


numbers = st.floats(0, 1e15) | st.sampled_from([0.0, 1.0, 1e5])
answers = st.tuples(numbers, numbers, st.integers(0, 10**9), st.integers(0, 10**6))


@settings(max_examples=40)
@given(st.lists(answers, max_size=60), st.integers(0, 2**32))
def test_nonsense_raises_nothing_and_is_not_believed(script: list[Any], seed: int) -> None:
    charges = Charges()
    random = Random(seed)
    now = 0.0
    for remaining, amount, tokens, most in script:
        now += random.random()
        observation = Observation(
            random.choice(["tokens", "input_tokens", "requests"]),
            random.choice([None, 60.0, 86400.0]),
            amount,
            random.choice([remaining, None]),
            window=random.choice([None, 60.0]),
            slides=random.random() < 0.5,
            reset=random.choice([None, remaining]),
        )
        charges.told("m", [observation], now - random.random(), now)
        used = Usage(tokens, most // 2, tokens * 2)
        charges.ended("m", parts_of(used, most, now - random.random(), now))
    for belief in charges.beliefs.values():
        assert 0 <= belief.confidence <= 1
        assert not math.isnan(belief.confidence)


# -- what is made of it ---------------------------------------------------------------------------


def test_each_change_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    charges = Charges()
    with caplog.at_level(logging.INFO, logger="xtremeflow"):
        beliefs = World("azure", in_flight=1).learn(30, charges)
    changes = sum(a != b for a, b in zip([UNKNOWN, *beliefs], beliefs, strict=False))
    assert len(caplog.records) == changes > 0
    assert caplog.messages[-1].startswith(
        "Charges of m: prompt + max_tokens at admission, never given back, cached input counts ("
    )
    assert caplog.messages[-1].endswith("answers)")


def test_each_rule_reserves_and_settles_its_own_cost() -> None:
    usage = Usage(100, 10, 80)

    def tokens(rule: ChargeRule) -> tuple[int, int]:
        return rule.reserved(100, 50, 500)["tokens"], rule.settled(usage, 500)["tokens"]

    assert tokens(ChargeRule("max", False, False)) == (500, 500)
    assert tokens(ChargeRule("sum", False, False)) == (600, 600)
    assert tokens(ChargeRule("sum", True, False)) == (600, 110)
    assert tokens(ChargeRule("input", True, True)) == (150, 30)
    assert tokens(ChargeRule("nothing", True, False)) == (150, 110)
    assert tokens(UNKNOWN) == (600, 600)
    assert UNKNOWN.settled(Usage(100, 900), None)["tokens"] == 1000
    assert ChargeRule("input", True, True).settled(usage, None) == {
        "tokens": 30,
        "input_tokens": 20,
        "output_tokens": 10,
    }


def test_a_rule_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"admission must be one of 'nothing', .* got 'all'"):
        ChargeRule("all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="settles must be True, False or None, got 'yes'"):
        ChargeRule("sum", settles="yes")  # type: ignore[arg-type]


def test_known_parts_of_a_rule_come_before_assumed_ones() -> None:
    assumed = ChargeRule("max", settles=False, cached_free=False)
    assert UNKNOWN.over(assumed) == assumed
    assert ChargeRule(None, True).over(assumed) == ChargeRule("max", True, False)


def test_a_belief_says_what_it_does_not_know() -> None:
    assert BelievedRule() == BelievedRule(UNKNOWN, 0.0, 0)
    assert str(UNKNOWN) == "at admission not known what, perhaps given back"


# -- assumed ---------------------------------------------------------------------------------------

OPENAI = ChargeRule("max", settles=False, cached_free=False)


def told_by(charged: int, used: int, most: int, assumed: ChargeRule | None, calls: int = 80) -> Any:
    """The belief after calls, one at a time, that were charged so much at admission."""
    charges = Charges()
    charges.assume(assumed)
    left, now = 1e6, 0.0
    for _ in range(calls):
        left -= charged
        seen = [Observation("tokens", 60.0, 1e6, left, window=60.0, reset=59.0)]
        charges.told("m", seen, now, now + 0.1)
        charges.ended("m", parts_of(Usage(used - 10, 10), most, now, now + 0.1))
        now += 0.2
    return charges.beliefs["m"]


def test_a_rule_that_is_known_is_not_unlearned_by_answers_that_do_not_contradict_it() -> None:
    """The provider counts the prompt by its characters, so that a wrong rule fits a little
    better: 'settled by usage, 100 % sure', and 6 % too little is counted."""
    closer = {"charged": 96, "used": 95, "most": 100}
    assert told_by(**closer, assumed=None).rule.settles is not False  # what noise alone says
    belief = told_by(**closer, assumed=OPENAI)
    assert belief.rule == OPENAI
    assert belief.confidence == pytest.approx(0.97, abs=0.02)


def test_an_assumed_rule_that_is_contradicted_is_unlearned() -> None:
    belief = told_by(charged=50, used=50, most=100, assumed=OPENAI)
    assert belief.rule.settles is not False
    assert belief.rule != OPENAI


# -- many calls -----------------------------------------------------------------------------------


def test_calls_in_flight_are_counted_after_old_ones_are_forgotten() -> None:
    """The more there are, the longer are the spans. The oldest that are forgotten have been sent
    before others that have ended."""
    calls = _Calls(None)
    for at in range(20_000):  # each takes 64 s
        calls.ended([(at, at + 63.5, 1, 0, 1, 1, 1, 1)])
    assert calls.in_flight(19_900.0) == 64
