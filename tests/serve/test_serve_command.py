"""The command line: its entry, `xtremeflow serve` as a process, and what it says when misused."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import fields

import pytest

from xtremeflow.cli import COMMANDS, main
from xtremeflow.serve import Settings
from xtremeflow.serve.command import _parser, _settings
from xtremeflow.serve.command import main as serve_main


@contextmanager
def serving(*arguments):
    """The running process and its base URL."""
    command = [sys.executable, "-m", "xtremeflow", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(5)]
            base_url = re.search(r"base URL: (\S+)", "".join(lines))
            assert base_url, (lines, process.stderr.read())
            yield process, base_url[1]
        finally:
            process.kill()


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_it_serves_until_ctrl_c():
    arguments = ("--instant", "--rpm", "none", "--tpm", "0.5k", "--speed", "6", "--fault", "500=0")
    with serving(*arguments) as (process, base_url):
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 400}
        answer = ask(f"{base_url}/chat/completions", body)
        assert answer["object"] == "chat.completion"
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(f"{base_url}/chat/completions", body)
        with caught.value as error:
            assert error.code == 429
        seen = ask(base_url.removesuffix("/v1") + "/admin/stats")
        assert seen["limits"]["tpm"]["per_seconds"] == 10
        assert list(seen["limits"]) == ["tpm"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "2 calls: 1 answered, 1 refused (0 calls came too early), 0 failed" in out
        assert err == ""


def test_it_greets_and_stops_at_sigterm():
    with serving("--profile", "anthropic", "--itpm", "50_000") as (process, base_url):
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", base_url)
        with pytest.raises(OSError, match=r"refused|reset"):
            ask(f"{base_url}/v1/models")


def test_a_port_that_is_taken(capsys):
    with serving() as (_, base_url):
        port = re.search(r":(\d+)", base_url)[1]
        assert serve_main(["--port", port]) == 1
    message = f"xtremeflow serve: cannot listen on 127.0.0.1, port {port}: Address already in use"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--profile", "nobody"], "argument --profile: invalid choice: 'nobody'"),
        (["--profile", "mistral", "--itpm", "5"], "Mistral has no limit 'itpm'; it has rpm, tpm"),
        (["--rpm", "many"], "--rpm: must be a number above 0 such as 5000, 800k or 2M, got 'many'"),
        (["--rpm", "0"], "--rpm: must be a number above 0"),
        (["--rpm", "1.5"], "--rpm: must be a whole number, got '1.5'; 'none' is no limit"),
        (["--quirk", "quantm=1"], "there is no quirk 'quantm'; there are quantum, "),
        (["--quirk", "noise=often"], "noise must be a number, 0 or more, got 'often'"),
        (["--speed", "0"], "speed must be a number above 0, got 0.0"),
        (
            ["--fault", "fire=1"],
            "kind must be overload, stall, pause, break, cut or a status",
        ),
        (["--fault", "cut=2"], "rate must be a number from 0 to 1, got 2.0"),
        (["--first-token", "-1"], "first_token must be a number, 0 or more, got -1.0"),
        (["--port", "70000"], "port must be from 0 to 65535, got 70000"),
        (["--host", ""], "host must be a name or an address, got ''"),
    ],
)
def test_misuse_says_what_is_allowed(arguments, text, capsys):
    with pytest.raises(SystemExit) as caught:
        serve_main(arguments)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


def test_each_setting_has_an_option_that_sets_it():
    given = (
        "--profile vllm --speed 2 --seed 1 --only-key k --only-models a,b --concurrency 5 "
        "--credit 10 --output-tokens 7 --output-spread 0.1 --tokens-per-event 2 --instant "
        "--batch 3 --cache-room 500 --keep-alive 1 --fault cut=0.5 --quirk noise=0.5"
    )
    options = _parser().parse_args(given.split())
    settings, usual = _settings(options), Settings()
    names = [field.name for field in fields(Settings)]
    assert [name for name in names if getattr(settings, name) == getattr(usual, name)] == []


def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("xtremeflow.serve.command.NEEDED", ("uvicorn", "no_such_package"))
    with pytest.raises(SystemExit):
        serve_main([])
    message = "no_such_package missing: pip install 'xtremeflow[serve]'"
    assert message in capsys.readouterr().err


def test_help_for_a_newcomer(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    for name in ("openai", "azure", "anthropic", "gemini", "mistral", "groq", "deepseek", "vllm"):
        assert name in text


def test_the_entry_lists_its_commands(capsys):
    for arguments in ([], ["--help"], ["help"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        assert all(f"  {name}" in text for name in COMMANDS)
    assert main(["fly"]) == 2
    assert "there is no command 'fly'" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert re.fullmatch(r"xtremeflow \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["serve", "--help"]])
def test_a_command_imports_only_what_it_needs(arguments):
    code = (
        "import sys; from xtremeflow.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'uvicorn', 'uvloop', 'httptools', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)


def test_metrics_of_the_simulated_provider():
    with serving("--instant", "--rpm", "2", "--metrics", "0") as (process, base_url):
        url = re.fullmatch(r"Metrics: (\S+)\n", process.stdout.readline())[1]
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        for _ in range(2):
            ask(f"{base_url}/chat/completions", body)
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(f"{base_url}/chat/completions", body)
        caught.value.close()
        with urllib.request.urlopen(url) as answer:
            text = answer.read().decode()
        assert "xtremeflow_serve_calls_total 3.0" in text
        assert 'xtremeflow_serve_answers_total{status="429"} 1.0' in text
        assert 'xtremeflow_serve_limit_amount{limit="rpm"} 2.0' in text
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_metrics_on_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve_main(["--port", "0", "--metrics", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err
