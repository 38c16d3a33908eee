"""The demo: its job as a file, and the whole chain in processes of their own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from random import Random

import pytest

from xtremeflow.demo.__main__ import main
from xtremeflow.demo.outcome import Outcome, table
from xtremeflow.demo.plot import plot_outcomes
from xtremeflow.demo.provider import Observed, Sample, served
from xtremeflow.demo.usual import SDK_RETRIES, run_usual, usual_delay
from xtremeflow.demo.workload import Workload
from xtremeflow.http import Client
from xtremeflow.run.command import main as run_main
from xtremeflow.simulation.ideal import ideal_wall
from xtremeflow.simulation.traces import TraceRequest, load_trace

SAMPLE = load_trace()


class TestTrace:
    def test_the_sample_is_a_thousand_requests_in_order(self):
        assert len(SAMPLE) == 1000
        assert SAMPLE[0] == TraceRequest(0, 321, 18)
        assert SAMPLE[999].index == 999
        assert all(request.total_tokens > 0 for request in SAMPLE)

    def test_a_trace_may_have_comments_and_its_columns_in_any_order(self, tmp_path):
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
    def test_a_bad_trace_is_refused_with_its_line(self, tmp_path, text, match):
        path = tmp_path / "t.csv"
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            load_trace(path)


def test_only_the_requests_may_be_written(tmp_path, capsys):
    path = tmp_path / "requests.jsonl"
    assert main(["--write", str(path), "--requests", "7"]) == 0
    assert len(path.read_text().splitlines()) == 7
    assert "7 requests" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--write", str(path)])
    assert "is there already" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "arguments", [["--write"], ["--write", "new.jsonl", "--trace"], ["--trace"]]
)
def test_a_file_that_is_not_there_is_named_in_words(tmp_path, capsys, arguments):
    path = tmp_path / "none" / "file"
    with pytest.raises(SystemExit):
        main([*arguments, str(path)])
    assert f"demo: {path}: No such file or directory (see" in capsys.readouterr().err


class TestJob:
    def test_the_file_is_what_the_trace_asks_for(self, tmp_path):
        job = Workload(SAMPLE[:50], tpm=300_000, rpm=500, speed=8.0)
        job.write(tmp_path / "requests.jsonl")

        async def send_all():
            with served(["--instant"]) as base_url:
                async with Client(base_url=base_url) as client:
                    calls = [
                        client.post("/chat/completions", json=json.loads(line)["body"])
                        for line in (tmp_path / "requests.jsonl").read_text().splitlines()
                    ]
                    return [answer.json()["usage"] for answer in await asyncio.gather(*calls)]

        used = asyncio.run(send_all())
        lengths = [(u["prompt_tokens"], u["completion_tokens"]) for u in used]
        assert lengths == [(r.prompt_tokens, r.output_tokens) for r in SAMPLE[:50]]

    def test_each_request_is_charged_the_larger_of_prompt_and_maximum(self):
        job = Workload([TraceRequest(0, 2000, 400), TraceRequest(1, 10, 501)], 1, 1, 1.0)
        assert job.most == 1000
        assert [cost["tokens"] for cost in job.costs()] == [2000, 1000]

    def test_the_sample_takes_half_a_minute(self):
        job = Workload(SAMPLE, tpm=300_000, rpm=500, speed=8.0)
        assert 29 < ideal_wall(job.costs(), [0.3] * 1000, job.limits()) < 31

    def test_both_commands_understand_its_limits(self, tmp_path, capsys):
        job = Workload(SAMPLE[:3], tpm=300_000, rpm=500, speed=8.0)
        job.write(tmp_path / "requests.jsonl")
        options = [str(tmp_path / "requests.jsonl"), "-o", str(tmp_path / "out.jsonl")]
        assert run_main([*options, *job.run_options(), "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["requests"] == 3


class TestUsual:
    @pytest.mark.parametrize("retries", [1, 4])
    def test_a_call_is_lost_after_so_many_retries(self, tmp_path, retries):
        Workload(SAMPLE[:3], tpm=300_000, rpm=1, speed=600.0).write(tmp_path / "requests.jsonl")
        refuse_all = ("--instant", "--speed", "600", "--quirk", "blocked=600000")
        with served(refuse_all) as base_url:
            done = run_usual(
                tmp_path / "requests.jsonl", base_url, concurrency=2, retries=retries, speed=600.0
            )
            outcome = asyncio.run(done)
        assert (outcome.calls, outcome.lost) == (3, 3)
        assert outcome.observed.seen["refused"] == 3 * (retries + 1)

    def test_delays_are_those_of_the_sdks(self):
        random = Random(0)
        assert usual_delay({"retry-after-ms": "1250"}, 0, random, speed=1) == 1.25
        for headers in ({}, {"retry-after-ms": "500000"}, {"retry-after-ms": "0"}):
            for retries, longest in [(0, 0.5), (1, 1.0), (4, 8.0), (5, 8.0), (100, 8.0)]:
                delay = usual_delay(headers, retries, random, speed=2)
                assert 0.75 * longest / 2 <= delay <= longest / 2


def outcome(wall=2.0, refused=0, lost=0):
    """Ten calls in two seconds, after as many refusals."""
    seen = [
        {
            "attempts": calls + refused,
            "refused": refused,
            "early": refused // 2,
            "peak_concurrency": 4,
            "charged": {"tokens": 1000 * calls} if calls else {},
            "limits": {"tpm": {"quota_used": 0.987}},
            "seconds_since_first_admission": at,
        }
        for calls, at in [(0, None), (4, 0.5), (10, 2.0)]
    ]
    observed = Observed()
    observed.samples = [Sample(100 + at, said) for at, said in zip([0, 0.5, 2], seen, strict=True)]
    answered = 10 - lost
    retries = [0] * (answered - 1) + [min(refused, SDK_RETRIES)]
    return Outcome(wall, 10, retries, [0.1] * answered, observed)


class TestOutput:
    ways = {"XtremeFlow": outcome(), "semaphore + retries": outcome(2.5, 1234, 3)}  # noqa: RUF012

    def test_the_table_fits_80_columns_and_says_the_figures(self):
        text = table(self.ways, 1.9)
        assert max(map(len, text.splitlines())) <= 80
        figures = {
            re.split("  +", line.strip())[0]: re.split("  +", line.strip())[1:]
            for line in text.splitlines()
        }
        assert figures["time it took"] == ["2.00 s", "2.50 s"]
        assert figures["shortest / taken"] == ["0.950", "-"]
        assert figures["of these refused (429)"] == ["0 (0.0%)", "1,234 (99.2%)"]
        assert figures["most retries of one call"] == ["0", "2"]
        assert figures["calls lost"] == ["0", "3"]

    def test_the_moments_are_counted_from_the_first_call(self):
        assert outcome().observed.since_first() == [0.0, 0.5, 2.0]

    def test_the_picture_is_drawn_as_svg(self, tmp_path):
        job = Workload(SAMPLE, tpm=60_000, rpm=500, speed=1.0)
        plot_outcomes(job, self.ways, 1.9, tmp_path / "demo.svg")
        assert (tmp_path / "demo.svg").read_bytes().startswith(b"<?xml")

    def test_the_picture_of_one_way(self, tmp_path):
        job = Workload(SAMPLE, tpm=60_000, rpm=500, speed=1.0)
        plot_outcomes(job, {"XtremeFlow": outcome()}, 1.9, tmp_path / "demo.png")
        assert (tmp_path / "demo.png").stat().st_size > 10_000


def demo(*arguments, **options):
    command = [sys.executable, "-m", "xtremeflow", "demo", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


QUICK = ("--requests", "60", "--speed", "60", "--tpm", "60000")  # a second for each way


class TestChain:
    def test_the_whole_of_it(self, tmp_path):
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "results.jsonl").write_text("of another time\n")
        process = demo("--directory", "d", *QUICK, cwd=tmp_path)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "$ xtremeflow run d/requests.jsonl -o d/results.jsonl" in said
        assert "All done." in said
        assert "asyncio.Semaphore(" in said
        assert " of 60 done (" in said
        assert re.search(r"calls lost +0 +\d+\n", said)
        assert len((tmp_path / "d" / "results.jsonl").read_bytes().splitlines()) == 60
        for name in ("run.png", "demo.png"):
            assert (tmp_path / "d" / name).read_bytes().startswith(b"\x89PNG")
        assert not_listening(said)

    @pytest.mark.parametrize(
        ("number", "at"), [(signal.SIGINT, " at a time"), (signal.SIGTERM, "the usual way")]
    )
    def test_a_signal_ends_all_of_it(self, tmp_path, number, at):
        """In the turn of `run`, and in the usual way's."""
        slow = ("--requests", "200", "--speed", "8", "--tpm", "300000")
        process = demo("--directory", str(tmp_path), *slow, start_new_session=True)
        said = ""
        for line in process.stdout:
            said += line
            if at in line:
                break
        time.sleep(0.3)
        # A Ctrl-C in a terminal is for all of the group.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        said += process.communicate(timeout=30)[0]
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        assert not_listening(said)


def not_listening(said):
    port = re.search(r"--port (\d+)", said)[1]

    async def ask():
        async with Client() as client:
            with pytest.raises(Exception, match="onnect"):
                await client.get(f"http://127.0.0.1:{port}/admin/stats")

    asyncio.run(ask())
    return True


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (["--trace", "missing.csv"], "missing.csv"),
            (["--speed", "0"], "must be above 0 and at most 1000, got '0'"),
            (["--speed", "nan"], "must be above 0 and at most 1000, got 'nan'"),
            (["--concurrency", "0"], "must be a number above 0 such as 5000, 800k or 2M, got '0'"),
            (["--requests", "1.5"], "must be a whole number, got '1.5'"),
        ],
    )
    def test_bad_arguments_are_refused_by_name(self, arguments, match, capsys, tmp_path):
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--directory", str(tmp_path)])
        assert caught.value.code == 2
        assert match in capsys.readouterr().err

    def test_a_missing_extra_is_named_with_its_command(self, monkeypatch, capsys):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(SystemExit):
            main([])
        assert "pip install 'xtremeflow[demo]'" in capsys.readouterr().err
