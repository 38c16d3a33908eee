"""The log as JSON, by itself and of `xtremeflow run --log json`."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from xtremeflow import RetryException, TaskScheduler, auto_backoff
from xtremeflow.logs import JSONFormatter
from xtremeflow.run.command import main
from xtremeflow.serve import serve
from xtremeflow.testing import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "observability.md"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JSONFormatter())
    log = logging.getLogger("xtremeflow")
    log.addHandler(handler)
    yield text
    log.removeHandler(handler)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def documented() -> dict[str, set[str]]:
    """The fields of each event, as the page lists them."""
    found = re.findall(r"^\| `(\w+)` \| (`.*`) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in found}


STANDARD = {"time", "level", "logger", "message", "event"}


def test_a_retry_is_an_event(written: io.StringIO) -> None:
    async def go() -> None:
        scheduler = TaskScheduler()
        attempts = []

        @auto_backoff()
        async def call() -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise RetryException(retry_after=2)

        await scheduler.submit(call())

    run(go())
    [told] = lines(written.getvalue())
    assert told["event"] == "retry"
    assert told["level"] == "warning"
    assert told["logger"] == "xtremeflow"
    assert told["pause"] == 2.0
    assert datetime.fromisoformat(told["time"].replace("Z", "+00:00")).tzinfo is not None
    assert set(told) - STANDARD <= documented()["retry"]


def test_an_exception_and_odd_values_are_one_line_of_ascii(written: io.StringIO) -> None:
    log = logging.getLogger("xtremeflow")
    try:
        raise ValueError("é\n\x1b[31m")
    except ValueError:
        log.exception("it %s", "failed\n", extra={"xtremeflow": {"event": "odd", "path": PAGE}})
    text = written.getvalue()
    assert text.isascii()
    [told] = lines(text)
    assert told["message"] == "it failed\n"
    assert told["error"]["type"] == "ValueError"
    assert "Traceback" in told["error"]["traceback"]
    assert told["path"] == str(PAGE)


def test_an_event_cannot_hide_what_every_line_has(written: io.StringIO) -> None:
    logging.getLogger("xtremeflow").warning("said", extra={"xtremeflow": {"level": "x", "n": 1}})
    [told] = lines(written.getvalue())
    assert (told["level"], told["n"]) == ("warning", 1)


# ---- xtremeflow run ----


def requests(path: Path, number: int) -> Path:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    path.write_text((json.dumps(body) + "\n") * number)
    return path


def test_a_run_logs_json_alone_with_the_documented_fields(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xtremeflow.run.views.view._LOG_INTERVAL", 0.0)
    source = requests(tmp_path / "in.jsonl", 5)
    with serve("openai", speed=60) as server:
        status = main(
            [str(source), "-o", str(tmp_path / "out.jsonl"), "--base-url", server.base_url,
             "--log", "json"]
        )  # fmt: skip
    assert status == 0
    told = lines(capfd.readouterr().err)
    events = [each["event"] for each in told if "event" in each]
    assert events[0] == "start"
    assert events[-1] == "end"
    assert "progress" in events
    fields = documented()
    for each in told:
        if "event" in each:
            assert set(each) - STANDARD == fields[each["event"]] - STANDARD, each["event"]
    assert told[-1]["succeeded"] == 5


def test_an_error_of_a_run_is_json_too_and_without_the_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XTREMEFLOW_API_KEY", "sk-a-secret-key")
    missing = tmp_path / "sk-a-secret-key.jsonl"
    status = main([str(missing), "-o", str(tmp_path / "o"), "--base-url", "http://127.0.0.1:1",
                   "--log", "json"])  # fmt: skip
    assert status == 2
    [told] = lines(capfd.readouterr().err)
    assert told["level"] == "error"
    assert told["message"].startswith("xtremeflow run: ")
