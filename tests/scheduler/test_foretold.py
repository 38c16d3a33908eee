"""Answers that tell nothing new are taken in natively, and all is as if Python had looked at them.

The same random answers go to two schedulers on a virtual clock. One takes in what is foreseen, the
other, the reference, shows every answer to the learner in Python. A streamed answer's head comes
first, and its usage at its end.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from struct import iter_unpack
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xtremeflow import Limit, TaskScheduler
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.usage import usage_of
from xtremeflow.answers.verdict import PASSED, Meaning, Verdict
from xtremeflow.testing import run
from xtremeflow.values.charges import BY_USAGE

DATE = "date: Sun, 06 Nov 1994 08:49:37 GMT"
AMOUNT = 60_000


def openai(left: float, amount: int) -> list[str]:
    return [
        f"x-ratelimit-limit-requests: {amount // 10}",
        f"x-ratelimit-limit-tokens: {amount}",
        f"x-ratelimit-remaining-requests: {int(left * amount / 10)}",
        f"x-ratelimit-remaining-tokens: {int(left * amount)}",
        "x-ratelimit-reset-requests: 120ms",
        f"x-ratelimit-reset-tokens: {(1 - left) * 60:.3f}s",
    ]


def anthropic(left: float, amount: int) -> list[str]:
    lines = []
    for name, share in (
        ("requests", 100),
        ("input-tokens", 2),
        ("output-tokens", 2),
        ("tokens", 1),
    ):
        lines += [
            f"anthropic-ratelimit-{name}-limit: {amount // share}",
            f"anthropic-ratelimit-{name}-remaining: {int(left * amount / share)}",
            f"anthropic-ratelimit-{name}-reset: 1994-11-06T08:50:07Z",
        ]
    return lines


def azure(left: float, amount: int) -> list[str]:
    return [
        line.replace("120ms", "10").split("reset-tokens")[0] + "reset-tokens: 30"
        if "reset-tokens" in line
        else line.replace("120ms", "10")
        for line in openai(left, amount)
    ]


def groq(left: float, amount: int) -> list[str]:
    day = f"{(1 - left) * 86400:.0f}s"
    return [line.replace("120ms", day) for line in openai(left, amount)]


def mistral(left: float, amount: int) -> list[str]:
    return [
        f"x-ratelimit-limit-tokens-minute: {amount}",
        f"x-ratelimit-remaining-tokens-minute: {int(left * amount)}",
    ]


def silent(left: float, amount: int) -> list[str]:
    return ["x-request-id: r"]


def twisted(left: float, amount: int) -> list[str]:
    return [
        "x-ratelimit-limit-tokens: 1_000",
        f"X-RateLimit-Remaining-Tokens: {left}",
        "x-ratelimit-limit-requests: 100",
        "x-ratelimit-remaining-requests: 200",
    ]


STYLES = [openai, anthropic, azure, groq, mistral, silent, twisted]

# Of an answer: what it costs, how long it takes, what is left, whether it is an odd one, and how.
ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 900),
        st.integers(1, 400),
        st.floats(0.05, 1.0),
        st.sampled_from(
            ["fine"] * 30 + ["other limit", "429", "500", "error", "no usage", "cached"]
        ),
    ),
    min_size=4,
    max_size=60,
)


def answer_of(style: Any, size: int, left: float, kind: str) -> tuple[int, bytes, bytes]:
    status = int(kind) if kind.isdigit() else 200
    amount = AMOUNT // 2 if kind == "other limit" else AMOUNT
    lines = [f"HTTP/1.1 {status} OK", DATE, *style(left, amount), "", ""]
    cached = size // 2 if kind == "cached" else 0
    body: dict[str, Any] = {"choices": [], "error": None}
    if kind != "no usage":
        body["usage"] = {"prompt_tokens": size, "completion_tokens": size // 3,
                         "prompt_tokens_details": {"cached_tokens": cached}}  # fmt: skip
    if kind == "error":
        body["error"] = {"message": "overloaded"}
    return status, "\r\n".join(lines).encode(), json.dumps(body).encode()


class Fed:
    """A scheduler that is fed with answers, natively or not."""

    def __init__(
        self, scheduler: TaskScheduler, is_native: bool, is_streamed: bool = False
    ) -> None:
        self.scheduler = scheduler
        self.foreseen = 0
        self.settled = 0
        """Of the streams, natively."""
        self._is_native = is_native
        self._is_streamed = is_streamed

    async def call(self, style: Any, size: int, seconds: float, left: float, kind: str) -> None:
        scheduler = self.scheduler
        estimate = scheduler.estimate(max(1, 3 * size), model="m", most=size % 7 * 100)

        async def stream() -> None:
            await asyncio.sleep(seconds / 2)
            answer = answer_of(style, size, left, kind)
            taken = self._taken_in(answer, 0)
            if taken is None and self._shown(answer).meaning is not Meaning.PASSED:
                raise ConnectionError
            await asyncio.sleep(seconds / 2)
            usage = usage_of(json.loads(answer[2]))
            if usage is None:
                return
            if self._is_native and scheduler._settled(usage.input, usage.output, usage.cached, 1):
                self.settled += 1
                scheduler._catch_up()
            else:
                scheduler.settle(usage)

        async def attempt() -> None:
            await asyncio.sleep(seconds)
            answer = answer_of(style, size, left, kind)
            taken = self._taken_in(answer, 1)
            usage = usage_of(json.loads(answer[2])) if answer[0] < 400 else None
            if taken is not None:
                assert taken == (usage or ())
                return
            verdict = self._shown(answer)
            if usage is not None:
                scheduler.settle(usage)
            if verdict.meaning is not Meaning.PASSED:
                raise ConnectionError

        call = stream() if self._is_streamed else attempt()
        await asyncio.gather(scheduler.submit(call, estimate), return_exceptions=True)

    def _taken_in(self, answer: tuple[int, bytes, bytes], settle: int) -> tuple[int, ...] | None:
        """Has the native part take the answer in, if it may; None: it is to be shown."""
        if not self._is_native:
            return None
        status, head, body = answer
        usage = self.scheduler._foreseen(None, status, head, body, None, None, settle)
        if usage is not None:
            self.foreseen += 1
            self.scheduler._catch_up()
        return usage

    def _shown(self, answer: tuple[int, bytes, bytes]) -> Verdict:
        status, head, body = answer
        pairs = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2]]
        return self.scheduler._shown(Answer(status, pairs, body))

    def books(self) -> Any:
        counts = self.scheduler._snapshot()
        limits = [
            tuple(
                limit[key] for key in ("rate", "capacity", "level", "used", "refunded", "charged")
            )
            for limit in counts["limits"]
        ]
        return limits, counts["tokens_used"], counts["tokens_refunded"], counts["succeeded"]

    def learned(self) -> Any:
        """All that the learner and the costs know."""
        scheduler = self.scheduler
        scheduler._look()
        costs = scheduler._costs
        calls = costs._charges._keys
        learned: list[Any] = [
            {
                name: (model.tokens, model.measure, model.reports, model.mean, model.variance)
                for name, model in costs.estimator._models.items()
            },
            {key: (own._sent.all, own._ended.all, own._duration) for key, own in calls.items()},
            {
                key: {
                    name: list(iter_unpack("4d", track.waiting))
                    for name, track in own.tracks.items()
                }
                for key, own in calls.items()
            },
            {key: (own.belief, own._votes, own._misses) for key, own in calls.items()},
            {key: (doubt.withheld, list(doubt.calls)) for key, doubt in costs._doubtful.items()},
        ]
        learner = scheduler._learner
        if learner is not None:
            told = learner._told
            learned += [
                {i: (one.limit, one.remaining, one.reset) for i, one in told._kept},
                told._forget_at,
            ]
            if learner.slots is not None:
                state = {k: v for k, v in vars(learner.slots).items() if k != "_knee"}
                learned += [state, list(learner._crowds._passed)]
        return learned


def rounded(value: Any) -> Any:
    """That nothing depends on the last bits of a float."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    return value


MAKERS: dict[str, Any] = {
    "adapt": lambda: TaskScheduler(adapt=True),
    "bounded": lambda: TaskScheduler(
        adapt="bounded", limits=[Limit("tokens", 30_000, 60.0, 30_000), Limit("requests", 900)]
    ),
    "limits": lambda: TaskScheduler(4, limits=[Limit("tokens", 90_000, 60.0, 90_000)]),
    "none": lambda: TaskScheduler(3),
}


async def feed(fed: Fed, style: Any, answers: list[Any], by_usage: bool) -> list[Any]:
    """Returns the books after each two calls, until answers show how calls are charged. The call of
    such an answer may be charged like those before it, and is put right as they are."""
    costs = fed.scheduler._costs
    if by_usage:
        fed.scheduler.charge_by(BY_USAGE)
    rule = costs.rule("m")
    books = []
    for at in range(0, len(answers), 2):  # two at a time
        calls = [
            fed.call(style, size, seconds / 1000, left, kind)
            for size, seconds, left, kind in answers[at : at + 2]
        ]
        await asyncio.gather(*calls)
        if costs.rule("m") != rule:
            break
        books.append(rounded(fed.books()))
    return books


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=25)
@example(
    answers=[(size, 2, 1.0, "fine") for size in (0, 1, 0, 1, 0, 1)] + [(0, 48, 1.0, "fine")],
    by_usage=False,
    is_streamed=True,
)
@example(
    answers=[(size, 1, 1.0, "fine") for size in (0, 1, 329, 0, 198, 0)] + [(1, 36, 1.0, "fine")],
    by_usage=False,
    is_streamed=True,
)
@given(answers=ANSWERS, by_usage=st.booleans(), is_streamed=st.booleans())
def test_all_is_as_if_python_had_looked(
    maker: str, style: Any, answers: list[Any], by_usage: bool, is_streamed: bool
) -> None:
    native = Fed(MAKERS[maker](), True, is_streamed)
    reference = Fed(MAKERS[maker](), False, is_streamed)
    assert run(feed(native, style, answers, by_usage), start=1e6) == run(
        feed(reference, style, answers, by_usage), start=1e6
    )
    assert rounded(native.learned()) == rounded(reference.learned())


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("style", [openai, anthropic, azure, silent])
def test_a_foretold_answer_is_foreseen(maker: str, style: Any) -> None:
    """Nearly all of a calm provider's answers, in every form."""
    if style is silent and maker in ("adapt", "bounded"):
        pytest.skip("the number of calls in flight is being found: each answer is looked at")
    answers = [(100, 1, 0.9, "fine")] * 200
    fed = Fed(MAKERS[maker](), True)
    run(feed(fed, lambda left, amount: style(left, 1000 * amount), answers, by_usage=True))
    # Where limits may be found, one answer in 30 ms is looked at anyway.
    assert fed.foreseen > (100 if maker in ("adapt", "bounded") else 190)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("style", [openai, anthropic, azure, silent])
def test_the_end_of_a_stream_is_settled_natively(maker: str, style: Any) -> None:
    fed = Fed(MAKERS[maker](), True, is_streamed=True)
    answers = [(100, 1, 0.9, "fine")] * 200
    run(feed(fed, lambda left, amount: style(left, 1000 * amount), answers, by_usage=True))
    assert fed.settled > 190


@pytest.mark.parametrize("tokens", [-1, 10**10, 2**64, None])
def test_a_usage_that_cannot_be_true_is_left_to_python(tokens: Any) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(limits=[Limit("tokens", 90_000, 60.0, 90_000)])
        scheduler.charge_by(BY_USAGE)

        async def call() -> bool:
            scheduler.settle({"prompt_tokens": 1, "completion_tokens": 1})
            assert scheduler.observe(200, {}) is PASSED
            before = scheduler._snapshot()["limits"]
            is_settled = scheduler._settled(tokens, 5, 0, 1)
            assert is_settled or scheduler._snapshot()["limits"] == before
            assert scheduler._settled(5, 5, 0, 1)
            return is_settled

        assert await scheduler.submit(call(), 50) is False

    run(main())


def test_observe_takes_what_clients_have() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        _, head, body = answer_of(openai, 10, 0.5, "fine")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
        seen: list[tuple[int, ...] | None] = []
        foreseen = scheduler._foreseen

        async def call(body: Any, headers: Any) -> None:
            scheduler._foreseen = lambda *args: (seen.append(foreseen(*args)), seen[-1])[1]  # type: ignore
            assert scheduler.observe(200, headers, body) is PASSED

        for each in (body, body, body.decode().replace("error", "fault"), json.loads(body), None):
            await scheduler.submit(call(each, headers), 1)
        assert seen == [None, (), (), (), ()]
        await scheduler.submit(call(body, list(headers.items())), 1)
        await scheduler.submit(call(body, {**headers, "x-ratelimit-limit-tokens": "5\n"}), 1)
        assert seen[5:] == [None, None]

    run(main())


def test_the_learner_catches_up_before_it_is_asked() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        fed = Fed(scheduler, True)
        fed._is_native = True
        catch_up = scheduler._catch_up
        scheduler._catch_up = lambda: None  # type: ignore[method-assign]
        for _ in range(6):
            await fed.call(openai, 30, 0.001, 0.5, "fine")
        scheduler._catch_up = catch_up  # type: ignore[method-assign]
        assert fed.foreseen > 2
        before = scheduler.estimator.learned()["m"]["output_tokens"]
        assert before == 10.0
        assert scheduler._unread() is None

    run(main())


def test_a_head_without_a_date_is_read_by_the_time_of_day() -> None:
    """The times of day in it are compared with the machine's."""

    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)

        async def call() -> None:
            end = datetime.now(timezone.utc) + timedelta(seconds=30)
            fields = {
                "anthropic-ratelimit-tokens-limit": "60000",
                "anthropic-ratelimit-tokens-remaining": "50000",
                "anthropic-ratelimit-tokens-reset": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            assert scheduler.observe(200, fields) is PASSED

        await scheduler.submit(call(), 1)
        await scheduler.submit(call(), 1)
        [(_, remaining, reset)] = scheduler._unforetell()
        assert remaining == 49_500  # in the middle of what is rounded to it
        assert 20 <= reset <= 31

    run(main())
