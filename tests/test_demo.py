"""The main job: its lower bound, its measurement, both ways of doing it, and the command."""

import asyncio
import math
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremeflow import Limit
from xtremeflow.demo import (
    Job,
    JobResult,
    TraceRequest,
    load_trace,
    run_job,
    run_scheduled,
    run_usual,
    size_job,
)
from xtremeflow.demo.__main__ import main
from xtremeflow.demo.job import earliest_admissions
from xtremeflow.demo.plot import plot
from xtremeflow.demo.scheduled import expected_answer
from xtremeflow.demo.table import describe, table
from xtremeflow.demo.usual import retry_delay
from xtremeflow.testing import LatencyModel, RateLimitError, run

SAMPLE = load_trace()


@pytest.fixture(scope="module")
def job() -> Job:
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


class TestTrace:
    def test_the_sample(self):
        assert len(SAMPLE) == 1000
        assert SAMPLE[0] == TraceRequest(0, 321, 18)
        assert SAMPLE[999].index == 999
        assert all(request.total_tokens > 0 for request in SAMPLE)

    def test_another_file(self, tmp_path):
        path = tmp_path / "trace.csv"
        path.write_text("# a comment\nGeneratedTokens,ContextTokens\n5,10\n# another\n7,20\n")
        assert load_trace(path) == (TraceRequest(0, 10, 5), TraceRequest(1, 20, 7))

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("a,b\n1,2\n", r"t\.csv, line 1: .*'a,b'"),
            ("ContextTokens,GeneratedTokens\n1,2\n1,x\n", r"line 3: .*'1,x'"),
            ("ContextTokens,GeneratedTokens\n1\n", r"line 2: .*'1'"),
            ("ContextTokens,GeneratedTokens\n-1,2\n", r"line 2: negative length: '-1,2'"),
            ("ContextTokens,GeneratedTokens\n", "no requests"),
            ("", "no requests"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, match):
        path = tmp_path / "t.csv"
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            load_trace(path)


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

    def test_by_hand(self):
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

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), min_size=1, max_size=40),
        st.integers(400, 2000),
        st.integers(1, 9),
        st.integers(0, 3),
    )
    def test_it_is_reached_by_perfect_dispatch_and_not_beaten(self, lengths, tokens, calls, seed):
        requests = [TraceRequest(i, *pair) for i, pair in enumerate(lengths)]
        limits = [Limit("tokens", tokens, per=7.0), Limit("requests", calls, per=3.0)]
        job = Job(requests, limits, seed=seed)
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
        job = Job(requests, limits, latency)

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
        assert scheduled.stats.completed == 1000
        assert scheduled.efficiency >= 0.98
        assert scheduled.wasted <= 0.005
        assert scheduled.quota_used >= 0.98

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_whatever_the_latencies(self, seed):
        result = run(run_job(size_job(SAMPLE, seed=seed), run_scheduled))
        assert result.failed == 0
        assert result.efficiency >= 0.98
        assert result.wasted <= 0.005

    def test_the_estimate_is_a_deviation_above_the_mean(self, job):
        requests = [TraceRequest(0, 5, 10), TraceRequest(1, 5, 20)]
        assert expected_answer(Job(requests, job.limits)) == 20


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

    def test_delays_are_those_of_the_sdks(self):
        random = Random(0)
        announced = RateLimitError("", 1.25)
        assert retry_delay(announced, 0, random, speed=1) == 1.25
        for error in (RateLimitError("", None), RateLimitError("", 500.0)):
            for retries, longest in [(0, 0.5), (1, 1.0), (4, 8.0), (5, 8.0), (100, 8.0)]:
                delay = retry_delay(error, retries, random, speed=2)
                assert 0.75 * longest / 2 <= delay <= longest / 2


class TestOutput:
    def test_the_table_fits_80_columns_and_says_the_figures(self, job, scheduled, usual):
        text = table({"XtremeFlow": scheduled, "semaphore + retries": usual})
        assert max(map(len, text.splitlines())) <= 80
        assert f"{scheduled.wall:.2f} s" in text
        assert f"{usual.stats.refused:,} (" in text
        assert max(map(len, describe(job).splitlines())) <= 80
        assert "1,000 calls" in describe(job)

    def test_the_picture(self, tmp_path, scheduled, usual):
        path = tmp_path / "demo.png"
        plot({"XtremeFlow": scheduled, "usual": usual}, path)
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 20_000

    def test_a_picture_of_one_way(self, tmp_path, scheduled):
        plot({"XtremeFlow": scheduled}, tmp_path / "demo.svg")
        assert (tmp_path / "demo.svg").read_text().startswith("<?xml")


class TestCommand:
    @pytest.fixture
    def trace(self, tmp_path):
        path = tmp_path / "trace.csv"
        rows = "".join(f"{100 + i},{5 + i % 7}\n" for i in range(60))
        path.write_text("ContextTokens,GeneratedTokens\n" + rows)
        return path

    def test_the_whole_of_it_in_real_time(self, trace, tmp_path, capsys, caplog):
        picture = tmp_path / "out.png"
        command = ["--seconds", "0.6", "--minute", "0.2", "--trace", str(trace)]
        with caplog.at_level("INFO", logger="xtremeflow.demo"):
            assert main([*command, "--plot", str(picture)]) == 0
        out = capsys.readouterr().out
        assert "60 calls" in out
        assert "semaphore + retries" in out
        assert f"picture: {picture}" in out
        assert picture.exists()
        assert "60/60 done" in caplog.messages[-1]

    def test_alone_and_without_a_picture(self, trace, capsys, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        command = ["--seconds", "0.3", "--minute", "0.2", "--trace", str(trace)]
        assert main([*command, "--alone", "--no-plot"]) == 0
        out = capsys.readouterr().out
        assert "semaphore" not in out
        assert "picture" not in out
        assert not list(tmp_path.glob("*.png"))

    def test_a_live_bar_in_a_terminal(self, trace, capsys, monkeypatch):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        command = ["--seconds", "0.3", "--minute", "0.2", "--trace", str(trace)]
        assert main([*command, "--alone", "--no-plot"]) == 0
        assert "60/60 done, 0 in flight" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (["--trace", "missing.csv"], "missing.csv"),
            (["--seconds", "0.1"], "longest call's duration"),
            (["--concurrency", "0"], "must be at least 1, got 0"),
        ],
    )
    def test_bad_arguments(self, arguments, match, capsys):
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--no-plot"])
        assert caught.value.code == 2
        assert match in capsys.readouterr().err

    def test_a_picture_needs_matplotlib(self, monkeypatch, capsys):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(SystemExit):
            main([])
        assert "pip install 'xtremeflow[demo]'" in capsys.readouterr().err
