"""A missing extra names itself, wherever it is missed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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


ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
IMPORT = re.compile(r"^\s*(?:from|import) ([\w.]+)", re.MULTILINE)
INSTALL = re.compile(r"pip install ([^\n`]+)")
EXTRAS = {f"xtremeflow.{name}" for name in ("serve", "metrics", "otel")}
BROUGHT_BY = {  # where the name of the package is not that of the module
    "agents": "openai-agents",
    "httpx2": "openai",
    "langchain_core": "langchain",
    "opentelemetry": "otel",
    "prometheus_client": "metrics",
    "pydantic": "instructor",
}


def needed(block: str) -> set[str]:
    """What has to be installed for a block of the documentation, beside the package itself."""
    found = set()
    for module in IMPORT.findall(block):
        first = module.split(".")[0]
        if module in EXTRAS:
            found.add(module.split(".")[1])
        elif first != "xtremeflow" and first not in sys.stdlib_module_names:
            found.add(BROUGHT_BY.get(first, first.replace("_", "-")))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_says_what_to_install_for_its_programs(page: Path) -> None:
    text = page.read_text("utf-8")
    installed = set(re.findall(r"[\w-]+", " ".join(INSTALL.findall(text))))
    for block in BLOCK.findall(text):
        assert needed(block) <= installed, block
