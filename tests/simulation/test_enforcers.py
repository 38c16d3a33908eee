"""The enforcing algorithms against their plain definitions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.testing import Concurrency, FixedWindow, SlidingWindow, TokenBucket

SECOND = 1_000_000_000

amounts = st.integers(min_value=1, max_value=10_000)
periods = st.sampled_from([1e-6, 0.1, 1.0, 1 / 3, 7.0, 60.0])
# Offers: (nanoseconds since the one before, cost as a share of the largest).
gaps = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 100 * SECOND))
offers = st.lists(st.tuples(gaps, st.fractions(0, 1)), max_size=60)


def play(limit, offers, start=12_345):
    """Offers each cost, and a refused one again just before and at its promised instant.

    Returns [(time, cost)] of what passed.
    """
    now = start
    passed = []
    for gap, share in offers:
        now += gap
        cost = int(share * limit.largest)
        wait = limit.wait(cost, now)
        if wait:
            assert wait > 0
            assert limit.wait(cost, now + wait - 1) == 1
            now += wait
        assert limit.wait(cost, now) == 0
        limit.take(cost, now)
        passed.append((now, cost))
    return passed


class NaiveBucket:
    def __init__(self, amount, per, capacity):
        self.rate = Fraction(amount) / round(per * SECOND)
        self.capacity = self.level = Fraction(capacity)
        self.at = None

    def offer(self, cost, now):
        if self.at is not None:
            self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < cost:
            return False
        self.level -= cost
        return True


@given(amounts, periods, st.floats(1, 1e4), offers)
def test_a_bucket_refuses_if_and_only_if_its_level_is_short(amount, per, capacity, offers):
    bucket = TokenBucket("tokens", amount, per, capacity)
    naive = NaiveBucket(amount, per, capacity)
    now = 0
    for gap, share in offers:
        now += gap % (2 * round(per * SECOND))  # often short of a full refill
        cost = int(share * bucket.largest)
        passes = bucket.wait(cost, now) == 0
        assert passes is naive.offer(cost, now)
        if passes:
            bucket.take(cost, now)


@given(st.floats(1e-3, 1e9), periods, offers)
def test_a_bucket_passes_at_exactly_the_promised_instant(amount, per, offers):
    bucket = TokenBucket("tokens", amount, per, capacity=amount + 1)
    passed = play(bucket, offers)
    rate = Fraction(amount) / round(per * SECOND)
    for first, (began, _) in enumerate(passed):  # from any call on: at most full + refill
        total = 0
        for moment, cost in passed[first:]:
            total += cost
            assert total <= Fraction(amount + 1) + rate * (moment - began)


def test_a_bucket_does_not_drift():
    bucket = TokenBucket("requests", 3, per=7.0, capacity=1)
    now = 0
    for _ in range(30_000):
        bucket.take(1, now)
        now += bucket.wait(1, now)
    # Each call waits for the whole nanosecond after it: 2333333333.33 rounded up.
    assert now == 30_000 * 2_333_333_334
    exact = TokenBucket("requests", 1, per=0.1, capacity=1)
    now = 0
    for _ in range(30_000):
        exact.take(1, now)
        now += exact.wait(1, now)
    assert now == 3_000 * SECOND


@given(amounts, periods, offers)
def test_a_sliding_window_never_holds_more_anywhere(amount, per, offers):
    passed = play(SlidingWindow("tokens", amount, per), offers)
    window = round(per * SECOND)
    for began, _ in passed:
        assert sum(cost for moment, cost in passed if began <= moment < began + window) <= amount


@given(amounts, offers)
def test_a_sliding_window_refuses_only_what_would_not_fit(amount, offers):
    limit = SlidingWindow("tokens", amount, per=60.0)
    passed = []
    now = 0
    for gap, share in offers:
        now += gap
        cost = int(share * amount)
        held = sum(taken for moment, taken in passed if moment > now - 60 * SECOND)
        fits = held + cost <= amount
        assert (limit.wait(cost, now) == 0) is fits
        if fits:
            limit.take(cost, now)
            passed.append((now, cost))


@given(amounts, periods, offers)
def test_a_fixed_window_is_aligned_to_its_first_cost(amount, per, offers):
    passed = play(FixedWindow("tokens", amount, per), offers)
    window = round(per * SECOND)
    used = {}
    for moment, cost in passed:
        index = (moment - passed[0][0]) // window
        used[index] = used.get(index, 0) + cost
    assert all(total <= amount for total in used.values())


def test_a_fixed_window_gives_twice_its_amount_around_an_edge_and_a_sliding_one_does_not():
    fixed = FixedWindow("tokens", 100, per=60.0)
    sliding = SlidingWindow("tokens", 100, per=60.0)
    for limit in (fixed, sliding):
        limit.take(1, 0)
        limit.take(99, 59 * SECOND)
    assert fixed.wait(100, 60 * SECOND - 1) == 1
    assert fixed.wait(100, 60 * SECOND) == 0
    assert sliding.wait(1, 60 * SECOND - 1) == 1
    assert sliding.wait(1, 60 * SECOND) == 0
    assert sliding.wait(100, 60 * SECOND) == 59 * SECOND


def test_fixed_windows_do_not_shift_with_their_use():
    limit = FixedWindow("tokens", 100, per=60.0)
    limit.take(1, 0)
    limit.take(100, 90 * SECOND)
    assert limit.wait(1, 119 * SECOND) == SECOND
    assert limit.wait(100, 120 * SECOND) == 0


def test_the_first_window_may_have_begun_before():
    limit = FixedWindow("tokens", 100, per=60.0)
    limit.first_window(lambda: 0.75)
    assert limit.wait(100, 5 * SECOND) == 0
    limit.take(100, 5 * SECOND)
    assert limit.wait(1, 5 * SECOND) == 15 * SECOND
    limit.take(100, 20 * SECOND)
    assert limit.wait(1, 20 * SECOND) == 60 * SECOND


def test_concurrency_promises_no_time():
    limit = Concurrency(2)
    limit.take(1, 0)
    limit.take(1, 0)
    assert limit.wait(1, 10**18) is None
    limit.release(1)
    assert limit.wait(1, 0) == 0


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: TokenBucket("tokens", 0), ValueError, "amount must be a number above 0, got 0"),
        (lambda: TokenBucket("tokens", float("nan")), ValueError, "amount .* got nan"),
        (
            lambda: TokenBucket("tokens", True),
            TypeError,
            "amount must be a number above 0, got T",
        ),
        (lambda: TokenBucket("tokens", 1, per=-1.0), ValueError, "per .* got -1.0"),
        (lambda: TokenBucket("tokens", 1, per=1e-12), ValueError, "per must be at least a nanos"),
        (lambda: TokenBucket("tokens", 1, capacity=0.5), ValueError, "at least 1 pass, got 0"),
        (lambda: FixedWindow("tokens", 1.5), ValueError, "amount must be a whole number, got 1.5"),
        (
            lambda: SlidingWindow("tokens", "9"),
            TypeError,
            "amount must be a number above 0, got '",
        ),
        (lambda: Concurrency(0), ValueError, "amount .* got 0"),
    ],
)
def test_bad_arguments_are_named(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_limits_describe_themselves():
    assert repr(TokenBucket("tokens", 600_000, capacity=10_000)) == (
        "TokenBucket(tokens: 600,000 per 60 s, capacity 10,000)"
    )
    assert repr(FixedWindow("requests", 60)) == "FixedWindow(requests: 60 per 60 s)"
    assert repr(SlidingWindow("requests", 60)) == "SlidingWindow(requests: 60 per 60 s)"
    assert repr(Concurrency(8)) == "Concurrency(requests: 8 at once)"


limits = st.one_of(
    st.builds(lambda n, per: TokenBucket("tokens", n, per), amounts, periods),
    st.builds(lambda n, per: FixedWindow("tokens", n, per), amounts, periods),
    st.builds(lambda n, per: SlidingWindow("tokens", n, per), amounts, periods),
)
# Steps: (nanoseconds since the one before, cost and then actual cost as shares of the largest).
steps = st.lists(st.tuples(gaps, st.fractions(0, 1), st.fractions(0, 2)), max_size=40)


@given(limits, steps)
def test_each_limit_keeps_to_what_it_tells(limit, steps):
    """`remaining` is the largest cost that passes, and after `reset` and not before all of it."""
    now = 12_345
    held = []
    for gap, share, actual in steps:
        now += gap
        left = limit.remaining(now)
        assert limit.wait(left, now) == 0 or left == 0
        assert left == limit.largest or limit.wait(left + 1, now) > 0
        cost = int(share * left)
        if limit.wait(cost, now) == 0:
            limit.take(cost, now)
            held.append((cost, int(actual * cost), now))
        if len(held) > 2:
            cost, actual_cost, taken = held.pop(0)
            limit.settle(cost, actual_cost, taken, now)
    reset = limit.reset(now)
    if reset:
        assert limit.wait(limit.largest, now + reset - 1) == 1
    now += reset
    assert limit.remaining(now) == limit.largest
    assert limit.reset(now) == 0


@given(limits, st.fractions(0, 1), st.fractions(0, 1))
def test_a_settlement_at_once_is_as_if_the_actual_cost_had_been_taken(limit, share, actual):
    cost, actual_cost = int(share * limit.largest), int(actual * limit.largest)
    limit.take(cost, 5)
    limit.settle(cost, actual_cost, 5, 5)
    assert limit.remaining(5) == limit.largest - actual_cost


@given(amounts, st.lists(st.tuples(gaps, st.fractions(0, 1), gaps, st.fractions(0, 1))))
def test_settlements_in_a_sliding_window(amount, calls):
    """A refund ends with the cost that it is of; a charge counts for a minute from its moment."""
    limit = SlidingWindow("tokens", amount, per=60.0)
    costs = []  # (moment, cost) by definition
    now = 0
    for gap, share, later, actual_share in calls:
        now += gap
        cost, actual = int(share * amount), int(actual_share * amount)
        if limit.wait(cost, now):
            continue
        limit.take(cost, now)
        taken, now = now, now + later
        limit.settle(cost, actual, taken, now)
        costs.append((taken, min(cost, actual)))
        if actual > cost:
            costs.append((now, actual - cost))
        held = sum(taken for moment, taken in costs if moment > now - 60 * SECOND)
        assert limit.remaining(now) == max(0, amount - held)


def test_settlements_in_fixed_windows():
    limit = FixedWindow("tokens", 100, per=60.0)
    limit.take(80, 0)
    limit.settle(80, 30, 0, 59 * SECOND)
    assert limit.remaining(59 * SECOND) == 70
    limit.take(70, 59 * SECOND)
    limit.settle(70, 10, 59 * SECOND, 60 * SECOND)  # of a window that is over
    assert limit.remaining(60 * SECOND) == 100
    limit.settle(10, 130, 59 * SECOND, 60 * SECOND)  # overdrawn: nobody can be asked any more
    assert limit.remaining(60 * SECOND) == 0
    assert limit.wait(1, 60 * SECOND) == 60 * SECOND


def test_a_bucket_may_be_overdrawn_by_a_settlement_but_never_overflows():
    bucket = TokenBucket("tokens", 60, per=60.0)
    bucket.take(10, 0)
    bucket.settle(10, 90, 0, 0)
    assert bucket.remaining(0) == 0
    assert bucket.wait(1, 0) == 31 * SECOND
    assert bucket.reset(0) == 90 * SECOND
    bucket.settle(90, 0, 0, 60 * SECOND)
    assert bucket.remaining(60 * SECOND) == 60


def test_a_limit_on_concurrency_tells_the_free_slots():
    limit = Concurrency(3)
    assert (limit.remaining(0), limit.reset(0)) == (3, 0)
    limit.take(1, 0)
    assert (limit.remaining(0), limit.reset(0)) == (2, None)
    limit.settle(1, 2, 0, 0)
    limit.release(2)
    assert limit.remaining(0) == 3
