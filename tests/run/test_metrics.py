"""`xtremeflow run --metrics`, as a process that is scraped while it runs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from xtremeflow.cli.address import Address, address
from xtremeflow.run.command import main
from xtremeflow.serve import Settings
from xtremeflow.serve.server import SimulatedServer
from xtremeflow.testing import LatencyModel

SLOW = LatencyModel(round_trip=0.0, first_token=1.0, per_prompt_token=0.0, per_output_token=0.0)


def requests(path: Path, number: int) -> Path:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    path.write_text((json.dumps(body) + "\n") * number)
    return path


def scrape(url: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(v for k, v in sample.labels.items() if k != "scheduler")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_run_is_scraped(tmp_path: Path) -> None:
    source = requests(tmp_path / "in.jsonl", 60)
    with SimulatedServer(Settings(latency=SLOW, limits={"rpm": None, "tpm": None})) as server:
        command = [
            sys.executable, "-m", "xtremeflow", "run", str(source), "-o",
            str(tmp_path / "out.jsonl"), "--base-url", server.base_url, "--concurrency", "20",
            "--metrics", "0",
        ]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            url = None
            for line in process.stderr:
                if found := re.search(r"metrics: (http://127\.0\.0\.1:\d+/metrics)", line):
                    url = found[1]
                    break
            assert url is not None
            seen: list[dict[tuple[str, ...], float]] = []
            while process.poll() is None:
                try:
                    seen.append(scrape(url))
                except OSError:  # it has ended
                    break
                if seen[-1]["xtremeflow_run_lines_done_total", "succeeded"] >= 40:
                    break
            process.stderr.read()
            assert process.wait(60) == 0
    last = seen[-1]
    assert last["xtremeflow_concurrency_configured",] == 20
    assert last["xtremeflow_run_lines_done_total", "succeeded"] >= 20
    assert max(each["xtremeflow_calls_in_flight",] for each in seen) > 4
    assert last["xtremeflow_run_lines_known",] == 60
    assert last["xtremeflow_run_tokens_total", "output"] > 0
    with pytest.raises(OSError, match="refused"):
        scrape(url)


def test_an_address_that_is_taken_stops_the_run_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = requests(tmp_path / "in.jsonl", 3)
    with SimulatedServer(Settings()) as server, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = [str(source), "-o", str(tmp_path / "out.jsonl"),
                     "--base-url", server.base_url, "--metrics", str(port)]  # fmt: skip
        assert main(arguments) == 2
        assert server.stats()["attempts"] == 0
    said = capsys.readouterr().err
    assert f"xtremeflow run: --metrics 127.0.0.1:{port}: Address already in use" in said


def test_without_the_package_it_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = requests(tmp_path / "in.jsonl", 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([str(source), "-o", str(tmp_path / "o"), "--base-url", "http://127.0.0.1:1",
                 "--metrics", "1"]) == 2  # fmt: skip
    assert "pip install 'xtremeflow[metrics]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("9100", "127.0.0.1", 9100, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::1]:0", "::1", 0, True),
        ("[::]:1", "::", 1, False),
        ("localhost:65535", "localhost", 65535, True),
        ("example.org:1", "example.org", 1, False),
    ],
)
def test_an_address_is_read_and_written_alike(
    text: str, host: str, port: int, is_loopback: bool
) -> None:
    read = address(text)
    assert read == Address(host, port)
    assert read.is_loopback == is_loopback
    assert address(str(read)) == read


@pytest.mark.parametrize("text", ["", "x", "70000", "-1", ":9", "::1:9", "host:", "1.5", "²"])
def test_a_bad_address_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["in", "-o", "out", f"--metrics={text}"])
    assert f"got {text!r}" in capsys.readouterr().err
