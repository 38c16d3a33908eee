"""The documentation is true: its Python blocks run, its commands and links exist.

Every ``python`` block of the pages is a program, run by itself in a directory of its own with
warnings as errors. A comment on the line before a block says otherwise:

    <!-- continues -->          the block goes on where the one before it ended
    <!-- not run: REASON -->    the only way to have a block not run
    <!-- prints -->             before a text block: what the block of Python above it prints, any
                                number standing for any other, and ... for any lines

What calls print() has to print something: a block that shows nothing shows that it does not work.
Blocks that need a provider use xtremeflow.testing.
"""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if page.exists()
]
LANGUAGES = {"python", "bash", "text", "c", "toml", "json", "mermaid"}
SECONDS_PER_PROGRAM = 60

BLOCK = re.compile(
    r"""(?:^[ ]*<!--[ ]*(?P<comment>[^\n]*?)[ ]*-->[ ]*\n(?:[ ]*\n)?)?
        ^(?P<indent>[ ]*)```(?P<language>[^\n`]*)\n
        (?P<code>.*?)
        ^(?P=indent)```[ ]*$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclass
class Block:
    language: str
    code: str
    line: int
    continues: bool = False
    not_run: str | None = None
    is_output: bool = False


def parse(text: str) -> list[Block]:
    blocks = []
    for match in BLOCK.finditer(text):
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["code"].splitlines(keepends=True)]
        comment = match["comment"] or ""
        blocks.append(
            Block(
                language=match["language"].strip(),
                code="".join(lines),
                line=text.count("\n", 0, match.start("code")) + 1,
                continues=comment == "continues",
                not_run=comment.partition(":")[2].strip() if comment[:7] == "not run" else None,
                is_output=comment == "prints",
            )
        )
    return blocks


def programs(blocks: list[Block]) -> Iterator[tuple[int, str, str]]:
    """First line and source of each program, every line at its number in the page; and what the
    page says that it prints."""
    source, start, output = "", 0, ""
    for block in blocks:
        if block.is_output:
            output += block.code
        if block.language != "python" or block.not_run is not None:
            continue
        if source and not block.continues:
            yield start, source, output
            source = output = ""
        if not source:
            start = block.line
        source += "\n" * (block.line - 1 - source.count("\n")) + block.code
    if source:
        yield start, source, output


ALL_BLOCKS = [(page, block) for page in PAGES for block in parse(page.read_text("utf-8"))]
ALL_PROGRAMS = [
    pytest.param(page, source, output, id=f"{page.relative_to(ROOT)}:{line}")
    for page in PAGES
    for line, source, output in programs(parse(page.read_text("utf-8")))
]
ALL_COMMANDS = sorted(
    {
        line
        for _, block in ALL_BLOCKS
        if block.language == "bash"
        for line in block.code.splitlines()
        if line.strip()
    }
)


def run_program(page: Path, source: str, directory: Path, output: str = "") -> None:
    # Under the page's name, so that a traceback points into the page.
    script = directory / page.name
    script.write_text(source, "utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=SECONDS_PER_PROGRAM,
    )
    # What goes wrong in a finalizer or a forgotten task does not change the exit code.
    unseen = re.search(r"Exception ignored|never retrieved|never awaited", ran.stderr)
    if ran.returncode != 0 or unseen:
        pytest.fail(f"exit code {ran.returncode}\n{ran.stdout}{ran.stderr}", pytrace=False)
    if "print(" in source and not ran.stdout.strip():
        pytest.fail("it calls print(), and nothing is printed", pytrace=False)
    if output and not re.fullmatch(pattern(output), shape(ran.stdout)):
        pytest.fail(f"it prints\n{ran.stdout}\nand not\n{output}", pytrace=False)


def shape(text: str) -> str:
    """The text with every number the same."""
    return re.sub(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", "0", text.strip())


def pattern(output: str) -> str:
    lines = shape(output).split("\n")
    return "\n".join(r"(?:.|\n)*" if line.strip() == "..." else re.escape(line) for line in lines)


def missing(command: str) -> list[str]:
    """What a line of a bash block names and this project does not have."""
    found: list[str] = []
    command = re.sub(r"(^|\s)#.*", "", command)
    for name in re.findall(r"\./dev ([\w-]+)", command):
        if not re.search(rf"^  {name} ", dev("help"), re.MULTILINE):
            found.append(f"./dev {name}")
    for jobs in re.findall(r"\./dev check ([^&|;]+)", command):
        known = {"--list", "--without", *dev("check", "--list").split()}
        found += [f"./dev check {job}" for job in jobs.split() if job not in known]
    for module in re.findall(r"python3? -m (xtremeflow[\w.]*|bench[\w.]*)", command):
        if importlib.util.find_spec(module) is None:
            found.append(f"python -m {module}")
    for path in re.findall(r"(?<![\w/.-])(?:examples|bench|docs|tests|scripts)/[\w./-]+", command):
        if not (ROOT / path).exists():
            found.append(path)
    return found


def dev(*arguments: str) -> str:
    return subprocess.run(
        ["bash", ROOT / "dev", *arguments], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize(("page", "source", "output"), ALL_PROGRAMS)
def test_a_python_block_runs_and_prints_what_is_said(
    page: Path, source: str, output: str, tmp_path: Path
) -> None:
    run_program(page, source, tmp_path, output)


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_a_command_names_only_what_exists(command: str) -> None:
    assert missing(command) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_names_its_language(page: Path) -> None:
    """A misspelt language would keep a block from being run unseen."""
    blocks = parse(page.read_text("utf-8"))
    assert {block.language for block in blocks} <= LANGUAGES
    assert len(blocks) * 2 == len(re.findall(r"^ *```", page.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    reasons = [block.not_run for block in parse(page.read_text("utf-8"))]
    assert "" not in reasons


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


PUBLIC = [
    "xtremeflow",
    "xtremeflow.http",
    "xtremeflow.logs",
    "xtremeflow.metrics",
    "xtremeflow.otel",
    "xtremeflow.refusals",
    "xtremeflow.scheduler",
    "xtremeflow.serve",
    "xtremeflow.share",
    "xtremeflow.testing",
]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_can_show_what_public_names_mean(module: str) -> None:
    """A table of names in a docstring, and code at its margin, would be one paragraph there."""
    unclear = re.compile(r"^(?:\w+ {2,}\S|(?:async with|await|from|import) .*[:(])", re.MULTILINE)
    loaded = importlib.import_module(module)
    values = [loaded, *(getattr(loaded, name) for name in loaded.__all__)]
    for value in [each for each in values if inspect.isclass(each)]:
        values += [method for name, method in vars(value).items() if name[0] != "_"]
    texts = [inspect.getdoc(value) or "" for value in values if callable(value) or value is loaded]
    assert [text for text in texts if unclear.search(text)] == []


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module: str) -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    names = importlib.import_module(module).__all__
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


# --- the runner itself ---------------------------------------------------------------------

SAMPLE = """\
```python
a = 1
```
<!-- continues -->
```python
assert a == 1
```
- in a list:
  ```python
  if True:
      b = 2
  ```
<!-- not run: needs a key -->

```python
raise SystemExit("run all the same")
```
```bash
./dev test
```
"""


def test_the_glossary_is_in_order() -> None:
    words = re.findall(
        r"^\| ([a-z ]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
    )
    assert words[1:] == sorted(words[1:])


def test_blocks_are_joined_indented_and_left_out_as_their_comments_say() -> None:
    blocks = parse(SAMPLE)
    assert [block.language for block in blocks] == ["python"] * 4 + ["bash"]
    assert [block.not_run for block in blocks] == [None, None, None, "needs a key", None]
    (first, joined, _), (second, indented, _) = programs(blocks)
    assert (first, joined) == (2, "\na = 1\n\n\n\nassert a == 1\n")
    assert (second, indented) == (10, "\n" * 9 + "if True:\n    b = 2\n")


PRINTING = """\
```python
print("took", 1.5)
```
which prints
<!-- prints -->
```text
took 0.2
```
"""


@pytest.mark.parametrize(
    ("page", "fails"),
    [
        (PRINTING, False),
        (PRINTING.replace("took 0.2", "took 1,000 s"), True),
        (PRINTING.replace("took 0.2", "..."), False),
        (PRINTING.replace("print(", "str or print("), True),
    ],
)
def test_the_output_of_a_block_is_compared(page: str, fails: bool, tmp_path: Path) -> None:
    [(_, source, output)] = programs(parse(page))
    if fails:
        with pytest.raises(pytest.fail.Exception):
            run_program(Path("page.md"), source, tmp_path, output)
    else:
        run_program(Path("page.md"), source, tmp_path, output)


@pytest.mark.parametrize("comment", ["<!-- not run -->", "<!-- not run: -->"])
def test_a_missing_reason_is_seen(comment: str) -> None:
    assert parse(f"{comment}\n```python\n1\n```\n")[0].not_run == ""


@pytest.mark.parametrize(
    "source",
    [
        "1 / 0",
        "import warnings; warnings.warn('old')",
        "async def f(): pass\nf()\n",
        "import asyncio\nasync def f(): 1 / 0\n"
        "async def main():\n    asyncio.create_task(f()); await asyncio.sleep(0)\n"
        "asyncio.run(main())\n",
    ],
    ids=["raises", "warns", "never awaited", "never retrieved"],
)
def test_a_faulty_block_fails(source: str, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception):
        run_program(Path("page.md"), source, tmp_path)


def test_a_name_in_a_command_that_is_not_there_is_found() -> None:
    assert missing("./dev test -k pipeline && ./dev check lint types --without c  # all") == []
    assert missing("./dev tset; ./dev check lnit") == ["./dev tset", "./dev check lnit"]
    assert missing("python -m xtremeflow.no_such") == ["python -m xtremeflow.no_such"]
    assert missing("python examples/none.py tests/project/test_docs.py") == ["examples/none.py"]
