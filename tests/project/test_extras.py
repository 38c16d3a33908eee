"""A missing extra names itself, wherever it is missed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("program", "package", "extra"),
    [
        ("from xtremeflow.serve import serve; serve()", "uvicorn", "serve"),
        ("import xtremeflow.metrics", "prometheus_client", "metrics"),
        ("import xtremeflow.otel", "opentelemetry", "otel"),
        ("import xtremeflow.frameworks.dspy", "dspy", "dspy"),
        ("import xtremeflow.frameworks.instructor", "instructor", "instructor"),
        ("import xtremeflow.frameworks.langchain", "langchain_core", "langchain"),
        ("import xtremeflow.frameworks.litellm", "litellm", "litellm"),
        ("import xtremeflow.frameworks.llama_index", "llama_index", "llama-index"),
        ("import xtremeflow.frameworks.openai_agents", "agents", "openai-agents"),
        ("import xtremeflow.frameworks.pydantic_ai", "pydantic_ai", "pydantic-ai"),
    ],
)
def test_a_missing_extra_names_itself(program: str, package: str, extra: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; {program}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {package}"), last
    assert last.endswith(f" missing: pip install 'xtremeflow[{extra}]'")
