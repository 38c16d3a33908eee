"""Shell completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")


def asked(line: str, answer: Path) -> set[str]:
    """What the shell is offered after `line`."""
    subprocess.run(
        [sys.executable, "-m", "xtremeflow"],
        check=False,
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        },
    )
    return set(answer.read_text().replace(" ", "").split("\n"))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("xtremeflow ", {"run", "plot", "serve", "demo", "completion"}),
        ("xtremeflow run --max-", {"--max-requests", "--max-tokens", "--max-wait"}),
        ("xtremeflow run x --provider ", {"openai", "anthropic", "vllm"}),
        ("xtremeflow serve --prof", {"--profile"}),
    ],
)
def test_commands_options_and_values(tmp_path: Path, line: str, offered: set[str]) -> None:
    assert offered <= asked(line, tmp_path / "answer")


def test_commands_that_need_libcurl_are_offered_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XTREMEFLOW_LIBCURL", "/nowhere")
    assert asked("xtremeflow ", tmp_path / "answer") >= {"plot", "serve"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_told_how(shell: str) -> None:
    command = [sys.executable, "-m", "xtremeflow", "completion", shell]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "xtremeflow" in said


def test_nothing_is_imported_that_a_command_does_not_need() -> None:
    code = (
        "import sys; from xtremeflow.cli import main; main(['--version']);"
        "import xtremeflow.run.command;"
        "print([m for m in ('rich', 'matplotlib', 'numpy', 'argcomplete', 'uvicorn', 'zstandard')"
        " if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert said.splitlines()[1] == "[]"
