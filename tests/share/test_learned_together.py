"""Members that learn their provider's limits together, virtual clock."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest
from kit.timelines import Network, TimelineShare

from xtremeflow import Limit, RetryException, TokenRateScheduler, auto_backoff
from xtremeflow._core import Gauge, Reading
from xtremeflow.learning.belief import Belief, belief_from, text_of
from xtremeflow.learning.rates.finder import RateFinder
from xtremeflow.learning.rates.state import taken_over, told
from xtremeflow.learning.reading import Limits
from xtremeflow.scheduler.account import Believed, SharedAccount
from xtremeflow.testing import (
    LatencyModel,
    RateLimitError,
    SimulatedProvider,
    TokenBucket,
    run,
)

RATE = 10.0  # calls per second
WAY = LatencyModel(round_trip=0.05, uplink_jitter=0.02, first_token=0.5, per_output_token=0.0)
Make = Callable[[], Any]


class Job:
    """Members whose queues are never empty, at a provider with a minute's bucket."""

    def __init__(self, share: Any, *, tells: bool) -> None:
        self.bucket = TokenBucket("requests", 60 * RATE, 60.0)
        self.provider = SimulatedProvider([self.bucket], latency=WAY)
        self.share, self.tells = share, tells
        self.began = self.now()
        self.members: list[TokenRateScheduler] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ended: list[tuple[float, int, bool]] = []  # when, by whom, and whether refused

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def join(self, **terms: Any) -> TokenRateScheduler:
        member = TokenRateScheduler(share=self.share, **{"adapt": True, **terms})
        self.tasks.append(asyncio.ensure_future(self._feed(member, len(self.members))))
        self.members.append(member)
        return member

    def kill(self, place: int) -> None:
        """A member is not heard of any more, and the others find that out."""
        member = self.members[place]
        self.tasks[place].cancel()
        if isinstance(self.share, TimelineShare):
            assert member._leased is not None
            self.share.kill(member._leased.holder.member)
        else:
            assert member._share is not None
            member._forget()
            member._share.close()
            self.members[place - 1]._bury(member._share.seat)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for member in self.members:
            for call in member.pending_tasks:
                call.cancel()
        await asyncio.sleep(1)
        for member in self.members:  # while the loop has its clock
            member._leave()
            if member._leased is not None:
                member._leased.leave()
        await asyncio.sleep(5)

    async def spend(self, part: float) -> None:
        """Uses a part of the quota evenly, as a stranger who is no member."""
        calls = list[asyncio.Task[bool]]()
        while True:
            calls.append(asyncio.ensure_future(self._spent(-len(calls))))
            await asyncio.sleep(1 / (part * RATE))

    async def _spent(self, key: int) -> bool:
        try:
            await self.provider.call(prompt_tokens=100, output_tokens=0, key=key)
        except RateLimitError:
            return False
        return True

    async def _feed(self, member: TokenRateScheduler, place: int) -> None:
        tokens = Random(place)

        @auto_backoff(max_retries=1_000)
        async def call(key: int, cost: int) -> None:
            try:
                await self.provider.call(prompt_tokens=cost, output_tokens=0, key=key)
            except RateLimitError as error:
                self.ended.append((self.now() - self.began, place, True))
                member.observe(429, self._headers())
                wait = error.retry_after if self.tells else None
                raise RetryException(retry_after=wait) from None
            self.ended.append((self.now() - self.began, place, False))
            member.observe(200, self._headers())

        for number in count():
            cost = tokens.randint(50, 150)
            await member.start_task(call(100 * number + place, cost), cost)

    def _headers(self) -> dict[str, str]:
        if not self.tells:
            return {}
        now = round(self.provider.now() * 1e9)
        return {
            "x-ratelimit-limit-requests": f"{60 * RATE:.0f}",
            "x-ratelimit-remaining-requests": str(max(0, self.bucket.remaining(now))),
            "x-ratelimit-reset-requests": f"{(self.bucket.reset(now) or 0) // 10**6}ms",
        }

    def passed(self, place: int | None, since: float, until: float) -> float:
        """Of what the provider lets pass in that time."""
        calls = [
            time
            for time, by, refused in self.ended
            if not refused and place in (None, by) and since <= time < until
        ]
        return len(calls) / RATE / (until - since)

    def refused(self, since: float, until: float) -> float:
        """The share of the attempts."""
        attempts = [refused for time, _, refused in self.ended if since <= time < until]
        return sum(attempts) / len(attempts)


@pytest.mark.parametrize("tells", [True, False], ids=["told", "found"])
@pytest.mark.parametrize("members", [2, 4])
def test_members_that_are_given_nothing_learn_all_of_it_together(
    make: Make, members: int, tells: bool
) -> None:
    async def main() -> Job:
        job = Job(make(), tells=tells)
        for _ in range(members):
            job.join()
        await asyncio.sleep(240)
        await job.end()
        return job

    job = run(main())
    assert 0.95 < job.passed(None, 60, 240) < 1.05
    assert min(job.passed(place, 60, 240) for place in range(members)) > 0.8 / members
    assert job.refused(60, 240) <= (0.0 if tells else 0.02)


@pytest.mark.parametrize("members", [1, 3, 8])
def test_members_leave_a_stranger_what_it_uses_and_have_all_the_rest(
    make: Make, members: int
) -> None:
    async def main() -> Job:
        job = Job(make(), tells=True)
        for _ in range(members):
            job.join()
        stranger = asyncio.ensure_future(job.spend(0.5))
        await asyncio.sleep(240)
        stranger.cancel()
        await job.end()
        return job

    job = run(main())
    assert job.passed(None, 60, 240) == pytest.approx(0.5, rel=0.05)
    assert job.refused(60, 240) == 0


@pytest.mark.parametrize("tells", [True, False], ids=["told", "found"])
def test_what_is_learned_outlives_the_member_that_has_learned_it(make: Make, tells: bool) -> None:
    async def main() -> Job:
        job = Job(make(), tells=tells)
        job.join()
        await asyncio.sleep(90)
        job.join()
        await asyncio.sleep(5)
        job.kill(0)
        await asyncio.sleep(310)  # more than one dip, of a limit that is found
        await job.end()
        return job

    job = run(main())
    assert 0.95 < job.passed(1, 105, 405) < 1.05
    assert job.refused(95, 405) <= 0.02


@pytest.mark.parametrize("tells", [True, False], ids=["told", "found"])
def test_a_newcomer_knows_the_limits_before_its_first_answer(make: Make, tells: bool) -> None:
    async def main() -> None:
        job = Job(make(), tells=tells)
        first = job.join()
        await asyncio.sleep(60)
        newcomer = TokenRateScheduler(share=job.share, adapt=True)
        (old,), (new,) = first.stats().limits[:1], newcomer.stats().limits[:1]
        assert (new.name, new.rate) == (old.name, pytest.approx(old.rate, rel=0.02))
        assert new.learned == old.learned
        await job.end()

    run(main())


def test_a_member_that_would_not_learn_does_so_in_an_account_that_learns(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        share = make()
        first = TokenRateScheduler(max_rpm=600, adapt="bounded", share=share)
        second = TokenRateScheduler(max_rpm=60, share=share)
        assert (first.adapt, second.adapt) == ("bounded", "bounded")
        assert second.limits[0].amount == 600
        third = TokenRateScheduler(max_rpm=600, adapt=True, share=share)
        assert third.adapt == "bounded"

    with caplog.at_level(logging.WARNING):
        run(main())
    assert [text.endswith("60 requests in 60 s, 0 at once") for text in caplog.messages] == [
        True,
        False,
    ]
    assert "adapt=bounded; not those given here: " in caplog.messages[1]


def test_a_member_that_would_learn_does_not_in_an_account_of_given_limits(make: Make) -> None:
    async def main() -> None:
        share = make()
        TokenRateScheduler(max_rpm=600, share=share).stats()
        keep = TokenRateScheduler(max_rpm=600, share=share)
        second = TokenRateScheduler(adapt=True, share=share)
        assert (second.adapt, [limit.amount for limit in second.limits]) == (False, [600])
        assert keep.adapt is False

    run(main())


async def told_a_limit(member: TokenRateScheduler, requests: str) -> None:
    """Makes a call whose answer tells a member so many requests a minute."""

    async def call() -> None:
        await asyncio.sleep(0.1)
        member.observe(200, {"x-ratelimit-limit-requests": requests})

    await (await member.start_task(call(), 10))


def test_a_limit_that_one_member_replaces_bounds_what_others_learn(make: Make) -> None:
    async def main() -> None:
        share = make()
        members = [TokenRateScheduler(max_rpm=600, adapt="bounded", share=share) for _ in range(2)]
        members[0].set_limit(Limit("requests", 300, per=60.0))
        await asyncio.sleep(1)
        assert members[1].limits[0].amount == 300

        await told_a_limit(members[1], "500")
        await asyncio.sleep(1)
        for member in members:
            assert member.stats().limits[0].rate == pytest.approx(5.0)

    run(main())


@pytest.mark.parametrize("tells", [True, False], ids=["told", "found"])
def test_a_limit_that_is_only_learned_is_bounded_for_all_and_has_a_way_back(
    make: Make, tells: bool
) -> None:
    async def main() -> tuple[Job, list[float]]:
        job, kept = Job(make(), tells=tells), []
        for _ in range(2):
            job.join()
        await asyncio.sleep(200)
        job.members[0].set_limit(Limit("requests", 300, per=60.0, capacity=2))
        await asyncio.sleep(1)
        kept += [limit.amount for member in job.members for limit in member.limits]
        await asyncio.sleep(199)
        newcomer = job.join()
        kept += [limit.amount for limit in newcomer.limits]
        await asyncio.sleep(100)
        job.members[1].learn_limit("requests")
        await asyncio.sleep(1)
        assert [member.limits for member in job.members] == [()] * 3
        await asyncio.sleep(149)
        await job.end()
        return job, kept

    job, kept = run(main())
    assert kept == [300, 300, 300]
    assert 0.45 < job.passed(None, 210, 500) < 0.52
    assert job.refused(210, 500) < 0.01
    assert job.passed(None, 550, 650) > 0.85


def test_an_answer_to_one_member_lowers_a_given_limit_for_all(make: Make) -> None:
    async def main() -> None:
        share = make()
        members = [TokenRateScheduler(max_rpm=600, share=share) for _ in range(2)]

        await told_a_limit(members[1], "120")
        await asyncio.sleep(1)
        for member in members:
            assert member.stats().limits[0].rate == pytest.approx(2.0)

    run(main())


def test_what_was_learned_survives_the_loss_of_the_account() -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.001))
        job = Job(share, tells=False)
        for _ in range(2):
            job.join()
        await asyncio.sleep(60)
        before = job.members[0].stats().limits[0]
        share.timeline.exists = False
        await asyncio.sleep(2)
        assert share.timeline.exists
        for member in job.members:
            after = member.stats().limits[0]
            assert (after.name, after.learned) == (before.name, before.learned)
            assert after.rate == pytest.approx(before.rate, rel=0.1)
        await asyncio.sleep(120)
        await job.end()
        assert job.refused(62, 182) <= 0.02

    run(main())


# -- two members that learn at the same time


class Slow:
    """A place at which another member is faster, once."""

    by, members, ahead = "me", 2, 0.0

    def __init__(self, text: str) -> None:
        self.version, self.text = 1, text
        self.said: list[tuple[int, str, list[Any]]] = []
        self.used = (0.0,) * 6

    def believed(self, known: int) -> Believed:
        return Believed(self.version, None if known == self.version else self.text, self.used)

    def definition(self, index: int) -> tuple[float, float]:
        return 1e12, 1e12

    def learn(self, version: int, belief: str, lessons: Any) -> bool:
        self.said.append((version, belief, list(lessons)))
        if version != self.version:
            return False
        self.version, self.text = version + 1, belief
        return True

    def outcome(self) -> bool:
        return True


def test_what_is_learned_from_an_old_belief_is_learned_again_from_the_new_one() -> None:
    async def main() -> None:
        alone = TokenRateScheduler(adapt=True)
        place = Slow("")
        account = SharedAccount(alone, place)
        alone._account = account
        alone._learner = None
        learner = alone._following()
        (_, first, _), *_ = place.said
        assert belief_from(first) is not None
        place.said.clear()

        seen = belief_from(first)
        assert seen is not None
        learner.reasons[0] = "mine"
        account._retune(0, ("requests", 100.0, 1.0, 1.0))
        faster = text_of(Belief(True, (), {}, "she", {1: "hers"}, seen.found))
        place.version, place.text = 7, faster
        learner._again = lambda: learner.reasons.update({2: "mine, once more"})
        learner._confer()
        assert [version for version, *_ in place.said] == [2, 7]
        now = belief_from(place.text)
        assert now is not None
        assert now.reasons == {1: "hers", 2: "mine, once more"}
        assert (now.by, place.said[-1][2]) == ("me", [])

    run(main())


# -- beliefs of strangers


def finder() -> RateFinder:
    def free(index: int) -> None: ...
    def say(index: int, rate: float, capacity: float, reason: str) -> None: ...

    limits = Limits([], set(), bounded=False, places=True)
    core: Any = None
    return RateFinder(core, limits, limits.bound, free, lambda _: False, say)


GAUGE = Gauge((5.0, 4.0, 0.0, 0.25, (Reading((9, 1, 1.0, 0.5, 1, 0.0)),) * 6))


def test_a_belief_is_told_and_taken_over_on_any_clock() -> None:
    one, other = finder(), finder()
    one._found.control.refused(3.0, 2.0, 40.0, 1.0, 5.0, unlikely=False)
    one._found.bank.known(0, 10.0, 0.1)
    one._found.rates[0] = 10.0
    state = json.loads(json.dumps(one.state(GAUGE, ahead=100.0)))
    other.restore(state, GAUGE, ahead=60.0)  # a clock that is 40 s ahead of the first one's
    control = other._found.control
    assert (control._heard, control._first) == (43.0, 42.0)
    assert (control.is_closed, other._found.rates[0]) == (True, 10.0)
    assert other.state(GAUGE, ahead=60.0) == state


@pytest.mark.parametrize(
    "change",
    [
        {"rates": [1.0]},
        {"refused": [1.0, "x", 1.0, 1.0]},
        {"guessed": [4, True, True, True]},
        {"seconds": None},
        {"seconds": float("nan")},
        {"control": []},
    ],
)
def test_a_belief_that_makes_no_sense_changes_nothing(change: dict[str, Any]) -> None:
    one = finder()
    before = one.state(GAUGE, 0.0)
    with pytest.raises(ValueError, match="cannot be"):
        one.restore({**json.loads(json.dumps(before)), **change}, GAUGE, 0.0)
    assert one.state(GAUGE, 0.0) == before


@pytest.mark.parametrize("value", [None, [], 1.5, "x", {"rates": 3}])
def test_a_part_is_none_of_another_kind(value: object) -> None:
    one = finder()
    state = told(one._found.bank, 0.0)
    with pytest.raises(ValueError, match="cannot be"):
        taken_over(one._found.bank, {**state, "_models": value}, 0.0)


@pytest.mark.parametrize(
    "text",
    ["", "garbage", "[]", "{}", '{"adapt":false,"given":[],"by":"","reasons":{},"found":null}',
     '{"adapt":true,"given":[["requests",1,0,1,true]],"by":"","reasons":{},"found":null}',
     '{"adapt":true,"given":[],"by":"","reasons":{"x":""},"found":null}',
     '{"adapt":true,"given":[],"by":"","reasons":{},"found":3}'],
)  # fmt: skip
def test_a_text_that_is_no_belief_is_none(text: str) -> None:
    assert belief_from(text) is None
