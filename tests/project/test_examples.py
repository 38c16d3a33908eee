"""The examples run as they stand, and each says at its end what it has done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
LAST_LINES = {
    "chat.py": r"30 questions in \d+\.\d s, 0 failed, \d+ refusals, 6,000 tokens",
    "score_batch.py": r"36 calls in \d+\.\d s, \d+ refused, \S+ tokens",
    "two_processes.py": r"200 calls in \d+\.\d s, at the most \d+ in half a second",
    "two_tiers.py": r"40 documents, \d+ refused, \d+\.\d s",
}
FROM_OUTSIDE = ("OPENAI_", "MAX_RPM", "MAX_TPM", "MODEL")


def run(name: str, *, stdin: str = "", **variables: str) -> list[str]:
    """The lines that an example prints, in an environment with no other settings for it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(FROM_OUTSIDE)}
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        input=stdin,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    unseen = re.search(r"Exception ignored|never retrieved|never awaited", ran.stderr)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not unseen, ran.stderr
    return ran.stdout.splitlines()


def test_all_examples_are_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(LAST_LINES)


@pytest.mark.parametrize("name", LAST_LINES)
def test_an_example_runs(name: str) -> None:
    lines = run(name)
    assert re.fullmatch(LAST_LINES[name], lines[-1])


# Just what chat.py uses of the SDK; the first attempt is refused.
FAKE_SDK = """\
from types import SimpleNamespace as Object

class Refused(Exception):
    status_code = 429
    retry_after = 0.01

class AsyncOpenAI:
    def __init__(self, *, max_retries):
        assert max_retries == 0
        self.chat = Object(completions=Object(create=self.create))
        self.attempts = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        pass

    async def create(self, *, model, messages, max_completion_tokens):
        self.attempts += 1
        if self.attempts == 1:
            raise Refused
        answer = f"{model} was asked: {messages[0]['content']}"
        return Object(choices=[Object(message=Object(content=answer))])
"""


def test_chat_asks_the_sdk_when_there_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "openai.py").write_text(FAKE_SDK, "utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    lines = run(
        "chat.py", stdin="one\n\ntwo\n", OPENAI_API_KEY="key", MODEL="model", PYTHONPATH=path
    )
    assert lines[:2] == ["one  'model was asked: one'", "two  'model was asked: two'"]
    assert re.fullmatch(r"2 questions in \S+ s, 0 failed, 1 refusals, 600 tokens", lines[2])
