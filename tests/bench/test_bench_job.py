"""The job of the benchmark: its lower bound, its measurement, and the ways of doing it."""

import asyncio
import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.job.result import JobResult, run_job
from bench.job.simulated import SimulatedJob, size_job
from bench.job.ways import expected_answer, run_scheduled, run_usual
from xtremeflow import Limit
from xtremeflow.simulation.ideal import earliest_admissions
from xtremeflow.simulation.traces import TraceRequest, load_trace
from xtremeflow.testing import LatencyModel, run

SAMPLE = load_trace()


@pytest.fixture(scope="module")
def job() -> SimulatedJob:
    return size_job(SAMPLE)


@pytest.fixture(scope="module")
def scheduled(job) -> JobResult:
    return run(run_job(job, run_scheduled))


@pytest.fixture(scope="module")
def usual(job) -> JobResult:
    return run(run_job(job, run_usual))


async def run_perfectly(job, call):
    """Knows the provider's mind: each call leaves at the very moment at which it may."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    costs = ({"requests": 1, "tokens": request.total_tokens} for request in job.requests)
    tasks = []
    moments = earliest_admissions(costs, job.limits)
    for i, (request, earliest) in enumerate(zip(job.requests, moments, strict=True)):
        if earliest:  # the provider rounds arrivals to whole ns, and a full bucket begins anew
            await asyncio.sleep(began + earliest + 2e-9 * (i + 1) - loop.time())
        tasks.append(asyncio.ensure_future(call(request)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)


class TestBound:
    def test_the_job_is_sized_to_its_seconds(self, job):
        assert job.ideal_wall() == pytest.approx(20.0, abs=1e-3)
        assert job.ideal_wall() <= 20.0
        assert size_job(SAMPLE, seconds=5, minute=2).ideal_wall() == pytest.approx(5, abs=1e-3)

    def test_the_limits_are_what_decides(self, job):
        # Whatever the order, the job cannot be over before its last admission.
        costs = ({"requests": 1, "tokens": request.total_tokens} for request in SAMPLE)
        *_, last = earliest_admissions(costs, job.limits)
        assert last > 0.99 * job.ideal_wall()

    def test_admissions_are_those_worked_out_by_hand(self):
        limits = [Limit("tokens", 100, per=10.0), Limit("requests", 2, per=1.0)]
        costs = [{"tokens": cost, "requests": 1} for cost in (60, 40, 0, 30, 5)]
        # From the fourth on 30 and 35 tokens are missing, at 10 a second.
        assert list(earliest_admissions(costs, limits)) == [0, 0, 0.5, 3.0, 3.5]

    def test_a_refill_that_a_full_bucket_lost_is_not_counted_on(self):
        limits = [Limit("tokens", 100, per=10.0), Limit("requests", 1, per=20.0)]
        costs = [{"tokens": cost, "requests": 1} for cost in (0, 100, 100)]
        assert list(earliest_admissions(costs, limits)) == [0, 20, 40]
        limits[1] = Limit("requests", 1, per=8.0)
        assert list(earliest_admissions(costs, limits)) == [0, 8, 18]

    @settings(max_examples=50)
    @given(
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), min_size=1, max_size=40),
        st.integers(400, 2000),
        st.integers(1, 9),
        st.integers(0, 3),
    )
    def test_it_is_reached_by_perfect_dispatch_and_not_beaten(self, lengths, tokens, calls, seed):
        requests = [TraceRequest(i, *pair) for i, pair in enumerate(lengths)]
        limits = [Limit("tokens", tokens, per=7.0), Limit("requests", calls, per=3.0)]
        job = SimulatedJob(requests, limits, seed=seed)
        perfect = run(run_job(job, run_perfectly))
        assert perfect.stats.refused == 0
        assert perfect.wall == pytest.approx(perfect.ideal_wall, abs=1e-6)
        assert perfect.wall >= perfect.ideal_wall - 1e-9
        assert max(perfect.lateness) < 1e-6
        usual = run(run_job(job, partial(run_usual, concurrency=10)))
        assert min(usual.lateness) > -1e-6
        assert usual.failed == 0

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"seconds": 0}, "seconds must be finite and above 0, got 0"),
            ({"minute": math.nan}, "minute must be finite and above 0, got nan"),
            ({"seconds": 0.1}, "seconds must be above .*, the longest call's duration, got 0.1"),
            ({"minute": 0.01}, r"minute must be at least .* s for the largest request \("),
        ],
    )
    def test_impossible_jobs_are_refused(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            size_job(SAMPLE, **arguments)


class TestMeasurement:
    def test_a_perfect_run_uses_all(self, job):
        result = run(run_job(job, run_perfectly))
        assert result.efficiency == pytest.approx(1, abs=1e-4)
        assert result.quota_used == pytest.approx(1, abs=1e-4)
        assert (result.wasted, result.failed) == (0, 0)
        assert result.lateness_at(99) < 1e-5

    def test_lateness_is_the_quota_left_idle(self):
        latency = LatencyModel(0.0, first_token=1.0, per_prompt_token=0.0, per_output_token=0.0)
        requests = [TraceRequest(i, 10, 0) for i in range(4)]
        limits = [Limit("tokens", 20, per=4.0), Limit("requests", 100, per=1.0)]
        job = SimulatedJob(requests, limits, latency)

        async def runner(job, call):  # two at once, then one 1 s late, and one in time after it
            calls = [asyncio.ensure_future(call(request)) for request in job.requests[:2]]
            await asyncio.sleep(3)
            calls.append(asyncio.ensure_future(call(job.requests[2])))
            await asyncio.sleep(2)
            calls.append(asyncio.ensure_future(call(job.requests[3])))
            await asyncio.gather(*calls)

        result = run(run_job(job, runner))
        assert result.lateness == pytest.approx([0, 0, 1, 1])
        assert result.lateness_at(50) == pytest.approx(0)
        assert result.lateness_at(51) == pytest.approx(1)
        assert result.quota_used == pytest.approx(40 / 45)
        assert [arrival.time for arrival in result.arrivals] == pytest.approx([0, 0, 3, 5])

    def test_a_run_that_sends_nothing(self, job):
        async def runner(job, call):
            await asyncio.sleep(1)

        result = run(run_job(job, runner))
        assert result.failed == 1000
        assert result.quota_used == result.wasted == 0
        assert math.isnan(result.lateness_at(50))


class TestScheduled:
    def test_it_uses_the_quota_and_is_hardly_ever_refused(self, scheduled):
        assert scheduled.failed == 0
        assert scheduled.stats.succeeded == 1000
        assert scheduled.efficiency >= 0.98
        assert scheduled.wasted <= 0.005
        assert scheduled.quota_used >= 0.98

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_a_scheduled_job_is_efficient_whatever_the_latencies(self, seed):
        result = run(run_job(size_job(SAMPLE, seed=seed), run_scheduled))
        assert result.failed == 0
        assert result.efficiency >= 0.98
        assert result.wasted <= 0.005

    def test_the_estimate_is_a_deviation_above_the_mean(self, job):
        requests = [TraceRequest(0, 5, 10), TraceRequest(1, 5, 20)]
        assert expected_answer(SimulatedJob(requests, job.limits)) == 20


class TestUsual:
    def test_it_answers_every_call_and_wastes_attempts(self, usual):
        assert usual.failed == 0
        assert usual.stats.attempts == 1000 + usual.stats.refused
        assert usual.wasted > 0.3

    def test_too_little_concurrency_holds_it_back(self, job):
        slow = run(run_job(job, partial(run_usual, concurrency=4)))
        assert slow.stats.peak_concurrency == 4
        assert slow.stats.refused == 0
        assert slow.efficiency < 0.5

    def test_calls_are_given_up_after_max_retries(self, job):
        result = run(run_job(job, partial(run_usual, max_retries=0)))
        assert result.failed == result.stats.refused > 0
