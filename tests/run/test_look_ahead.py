"""Lines whose prompts begin alike: one goes ahead, and its group is finished in one go."""

from __future__ import annotations

import asyncio
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from kit.runs import Scripted, answered, by_line, make, plain, results_in

from xtremeflow import report_first_token
from xtremeflow.providers import PROVIDERS
from xtremeflow.run.command import main
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.run.wire.transport import Reply
from xtremeflow.serve import serve
from xtremeflow.testing import LatencyModel, run

SHARED = "You answer questions about the following text. " * 120
OPENAI = PROVIDERS["openai"]


def line(group: str, question: str) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": f"{group} {SHARED}"},
        {"role": "user", "content": question},
    ]
    return {"model": "gpt-4o", "max_tokens": 20, "messages": messages}


class Begun(Scripted):
    """The first token of an answer comes after a second, its end after ten."""

    async def send(self, request: RequestLine) -> Reply:
        self.sent.append((asyncio.get_running_loop().time(), request.line))
        await asyncio.sleep(1.0)
        report_first_token()
        await asyncio.sleep(9.0)
        return answered()


async def in_one_piece(lines: list[dict[str, Any]]) -> Any:
    yield [json.dumps(each).encode() for each in lines]


def test_the_lines_of_a_group_follow_the_first_token_of_the_one_that_leads(tmp_path: Path) -> None:
    lines = [line(group, question) for question in "123" for group in "AB"] + [plain()]
    transport = Begun()
    runner = make(tmp_path / "out.jsonl", transport, concurrency=4, provider=OPENAI, prefixes=True)

    async def job() -> None:
        await runner.run(in_one_piece(lines))
        runner.results.close()

    run(job())
    began = transport.sent[0][0]
    assert [round(at - began) for at, _ in transport.sent] == [0, 0, 0, 1, 10, 10, 10]
    assert transport.lines[:3] == [7, 1, 2]
    assert by_line(results_in(tmp_path / "out.jsonl")).keys() == set(range(1, 8))


def test_a_slow_input_is_not_waited_for(tmp_path: Path) -> None:
    async def slow() -> Any:
        for number in range(3):
            yield [json.dumps(line("A", str(number))).encode()]
            await asyncio.sleep(100.0)

    transport = Scripted()
    runner = make(
        tmp_path / "out.jsonl", transport, provider=OPENAI, prefixes=True, reads_ahead=False
    )

    async def job() -> None:
        await runner.run(slow())
        runner.results.close()

    run(job())
    began = transport.sent[0][0]
    assert [round(at - began) for at, _ in transport.sent] == [0, 100, 200]


@pytest.mark.parametrize("prefix", ["auto", "off"])
def test_a_run_reads_the_prefixes_from_the_cache(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    lines = [line(group, question) for question in "12345" for group in "ABC"]
    random.Random(1).shuffle(lines)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    soon = LatencyModel(
        round_trip=0.0, first_token=0.02, per_prompt_token=0.0, per_output_token=0.001, jitter=0.0
    )
    with serve("openai", latency=soon) as server:
        status = main([
            str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--provider", "openai",
            "--base-url", server.base_url, "--prefix", prefix, "--json", "-q",
            "--input-price", "2.5",
        ])  # fmt: skip
    assert status == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["succeeded"] == 15
    if prefix == "off":
        assert summary["prefixes"] is None
        return
    assert (summary["prefixes"]["led"], summary["prefixes"]["hits"]) == (3, 1.0)
    assert summary["cached_tokens"] >= 0.8 * summary["prefixes"]["expected_tokens"] > 0
    told = summary["prefixes"]
    assert told["prompt_tokens"] == summary["input_tokens"]
    assert told["saved_tokens"] == told["read_tokens"] / 2  # as gpt-4o's reads cost a half
    assert told["saved_usd"] == pytest.approx(2.5 * told["saved_tokens"] / 1e6, abs=1e-6)


@pytest.mark.parametrize("number", ["1e999", "7" * 5000])
@pytest.mark.parametrize("profile", ["openai", "anthropic"])
def test_a_body_that_python_cannot_write_again_is_sent_as_it_is(
    number: str, profile: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv(f"{profile.upper()}_API_KEY", "k")
    odd = f'{{"stream": false, "prompt_cache_key": null, "seed": {number}, '
    lines = [odd + json.dumps(line("A", question))[1:] for question in "12345"]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    at_once = LatencyModel(0.0, 0.0, 0.0, 0.0, 0.0)
    with serve(profile, latency=at_once) as server:
        status = main([
            str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--provider", profile,
            "--base-url", server.base_url, "-q",
        ])  # fmt: skip
        answered = server.stats()["statuses"]
    assert (status, answered) == (1, {"400": 5})  # the provider's own words on such a number


def dry(path: Path, lines: list[dict[str, Any]], capsys: Any, *options: str) -> str:
    (path / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    arguments = [str(path / "in.jsonl"), "-o", str(path / "out.jsonl"), "--dry-run", *options]
    assert main(arguments) == 0
    return str(capsys.readouterr().out)


def test_a_dry_run_tells_what_prompts_share(tmp_path: Path, capsys: Any) -> None:
    lines = [line(group, question) for question in "12345" for group in "AB"]
    text = dry(tmp_path, lines, capsys, "--provider", "openai")
    assert re.search(r"10 prompts in 2 groups share (8\d|9\d|100)% of the input", text)
    assert re.search(r"the cache saves some [34]\d% of its price", text)
    told = json.loads(dry(tmp_path, lines, capsys, "--provider", "openai", "--json"))["prefixes"]
    assert (told["groups"], told["calls"], told["broken_by"]) == (2, 10, [])
    assert 0 < told["saved_tokens"] < told["shared_tokens"]
    assert "group" not in dry(tmp_path, lines, capsys, "--provider", "openai", "--prefix", "off")


def test_a_dry_run_knows_that_the_first_call_of_a_branch_reads_its_trunk(
    tmp_path: Path, capsys: Any
) -> None:
    """Two documents behind a system prompt as long as each, with two questions on each."""

    def part(text: str) -> dict[str, Any]:
        return {"type": "text", "text": text * 8000, "cache_control": {"type": "ephemeral"}}

    lines = [
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 9,
            "system": [part("s"), part(document)],
            "messages": [{"role": "user", "content": question}],
        }
        for question in "12"
        for document in "AB"
    ]
    text = dry(tmp_path, lines, capsys, "--provider", "anthropic", "--json")
    told = json.loads(text)["prefixes"]
    assert (told["groups"], told["calls"]) == (2, 4)
    read, written = 5 / 8, 3 / 8  # of four prefixes of two parts
    assert told["saved_tokens"] / told["shared_tokens"] == pytest.approx(
        0.9 * read - 0.25 * written, abs=0.001
    )


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (
            [f"2026-11-{day}" for day in range(10, 22)],
            '"2026-11-10" there, which looks like a date',
        ),
        ([f"{hour}:30" for hour in range(10, 22)], '"10:30" there, which looks like a time'),
        (
            [f"3f2a9c{n:02}-77aa" for n in range(10, 22)],
            '"3f2a9c10-77aa" there, which looks like an id',
        ),
        ([f"No.{n}" for n in range(10, 22)], '"No.10" there, which looks like a number'),
        (["Ann", "Bob", "Cleo", "Dora"] * 3, '"Ann" there\n'),
    ],
)
def test_a_dry_run_tells_what_keeps_prompts_from_sharing(
    pieces: list[str], said: str, tmp_path: Path, capsys: Any
) -> None:
    lines = [
        {"model": "m", "messages": [{"role": "user", "content": f"Now: {piece}. {SHARED} {n}"}]}
        for n, piece in enumerate(pieces)
    ]
    text = dry(tmp_path, lines[: len(set(pieces))], capsys, "--provider", "openai")
    count = len(set(pieces))
    start = f"{count} prompts would share a prefix, but differ at character 6: one has "
    assert start + said in text
