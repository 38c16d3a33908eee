"""The package's metadata is true: its links lead somewhere, and it is tested on each version."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import xtremeflow

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
URLS = dict(
    url.split(", ", 1) for url in metadata.metadata("xtremeflow").get_all("Project-URL") or ()
)
LINK = re.compile(r"(?P<picture>!?)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def fault(picture: bool, target: str) -> str | None:
    """Why a link of the README would not work on PyPI, which shows the page by itself."""
    if target.startswith("#"):
        return None if target[1:] in slugs(ROOT / "README.md") else "no such heading"
    if not target.startswith("https://"):
        return "not absolute"
    owner = URLS["Homepage"].removeprefix("https://github.com/")
    inside = re.fullmatch(
        rf"https://(?P<host>[\w.]+)/{owner}/(?:(?P<kind>blob|tree)/)?HEAD/(?P<path>[^#]+)(?:#(?P<anchor>.+))?",
        target,
    )
    if inside is None:
        return "not of a branch of this repository" if f"/{owner}/" in target else None
    path = ROOT / inside["path"]
    host, kind = "github.com", "tree" if path.is_dir() else "blob"
    if picture:
        host, kind = "raw.githubusercontent.com", None  # a page about the picture is none
    if (inside["host"], inside["kind"]) != (host, kind):
        return f"to be https://{host}/{owner}/{kind or ''}"
    if not path.exists():
        return "no such file"
    if inside["anchor"] is not None and inside["anchor"] not in slugs(path):
        return "no such heading"
    return None


def test_the_links_of_the_readme_work_wherever_it_is_shown() -> None:
    links = [(link["picture"] == "!", link["target"]) for link in LINK.finditer(README)]
    assert len(links) > 5
    faults = [(target, fault(picture, target)) for picture, target in links]
    assert [(target, why) for target, why in faults if why is not None] == []


@pytest.mark.parametrize(
    ("picture", "target"),
    [
        (False, "docs/limits.md"),
        (False, "#no-such-heading"),
        (False, "http://github.com/flowjzh/xtremeflow/blob/HEAD/docs/limits.md"),
        (False, "https://github.com/flowjzh/xtremeflow/blob/HEAD/docs/none.md"),
        (False, "https://github.com/flowjzh/xtremeflow/blob/HEAD/docs/limits.md#none"),
        (False, "https://github.com/flowjzh/xtremeflow/blob/HEAD/examples"),
        (False, "https://github.com/flowjzh/xtremeflow/blob/elsewhere/docs/limits.md"),
        (True, "https://github.com/flowjzh/xtremeflow/blob/HEAD/docs/demo.png"),
    ],
)
def test_a_link_that_leads_nowhere_is_seen(picture: bool, target: str) -> None:
    assert fault(picture, target) is not None


def test_the_project_is_where_it_was() -> None:
    assert URLS["Homepage"] == "https://github.com/flowjzh/xtremeflow"
    assert URLS["Repository"] == "https://github.com/flowjzh/xtremeflow.git"
    assert URLS["Issues"] == "https://github.com/flowjzh/xtremeflow/issues"
    author = metadata.metadata("xtremeflow")["Author-email"]
    assert author == "Flow Jiang <flowjzh@gmail.com>"


def test_the_interpreters_declared_are_those_that_dev_knows() -> None:
    setup = (ROOT / "scripts" / "setup.sh").read_text("utf-8")
    oldest, newest = (
        int(re.findall(rf"^{name}=(\d+)$", setup, re.MULTILINE)[0]) for name in ("OLDEST", "NEWEST")
    )
    about = metadata.metadata("xtremeflow")
    declared = [
        int(minor)
        for classifier in about.get_all("Classifier") or ()
        for minor in re.findall(r"^Programming Language :: Python :: 3\.(\d+)$", classifier)
    ]
    assert declared == list(range(oldest, newest + 1))
    assert about["Requires-Python"] == f">=3.{oldest}"
    for page in ("README.md", "CHANGELOG.md"):
        assert f"CPython 3.{oldest} to 3.{newest}" in (ROOT / page).read_text("utf-8")
    assert f"(3.{oldest} to 3.{newest};" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_http_says_in_one_line_that_windows_has_none() -> None:
    program = "import sys, xtremeflow; sys.platform = 'win32'; import xtremeflow.http"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: xtremeflow.http needs a POSIX system: it is not built on Windows"
    )


def test_a_command_handles_ctrl_c_before_the_package_is_imported() -> None:
    """The import takes a fifth of a second, in which a Ctrl-C would show a traceback."""
    program = "import sys, xtremeflow.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    ours = {name for name in done.stdout.split() if name.startswith("xtremeflow")}
    assert "xtremeflow.cli" in ours
    assert not {"asyncio", "xtremeflow._core", "xtremeflow.scheduler"} & set(done.stdout.split())


@pytest.mark.parametrize("name", [*xtremeflow.__all__, "scheduler", "kvbatch", "pipeline"])
def test_every_name_of_the_package_is_there(name: str) -> None:
    program = f"import xtremeflow; assert {name!r} in dir(xtremeflow); xtremeflow.{name}"
    if name not in xtremeflow.__all__:
        program = f"import xtremeflow; xtremeflow.{name}"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TokenRateSheduler'"):
        xtremeflow.TokenRateSheduler  # noqa: B018
