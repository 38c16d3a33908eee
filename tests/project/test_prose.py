"""Prose that a machine can judge: no sentence is too long, none begins with "Who" or "What" unless
it asks, and a function's docstring begins with a verb. The other rules of CONTRIBUTING.md are up to
the reader."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 40  # words: two lines of 120 characters have about so many
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
MODULES = sorted([*ROOT.glob("xtremeflow/**/*.py"), *ROOT.glob("xtremeflow/*.pyi")])
HEADERS = sorted(ROOT.glob("csrc/**/*.h"))

VERB = re.compile(r"[A-Z]\w*s\b|Whether\b|See `")
NO_QUESTION = re.compile(r"(?:who(?:ever)?|what(?:ever)?|nobody|somebody)\b", re.IGNORECASE)


def paragraphs(text: str) -> Iterator[str]:
    """The text in pieces that a sentence does not go beyond, in one line each. Code is left out."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?: {4,}|\t).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\]\([^)\s]*\)", "]", text)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    for piece in re.split(
        r"\n\s*\n|\n\s*(?:[-*+>]|\d+\.)\s|\||^\s*[-*+] ", text, flags=re.MULTILINE
    ):
        yield " ".join(piece.split())


def sentences(text: str) -> Iterator[str]:
    for paragraph in paragraphs(text):
        yield from (s for s in re.split(r"(?<=[.!?:;])[)\"']*\s+", paragraph) if s)


def faults(text: str) -> list[str]:
    found = []
    for sentence in sentences(text):
        if len(sentence.split()) > LONGEST:
            found.append(f"{len(sentence.split())} words: {sentence}")
        if sentence.endswith(".") and NO_QUESTION.match(sentence.lstrip("*_(\"'")):
            found.append(f"asks nothing: {sentence}")
    return found


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                # Each argument, and each name of a table, is a paragraph of its own.
                yield re.sub(r"^(?: {4}(?=\S)|(?=\w+ {2,}\S))", "- ", text, flags=re.MULTILINE)


def functions(source: str) -> Iterator[tuple[str, str]]:
    """The names and docstrings of functions. A property has the docstring of what it stands for."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if text is not None and not re.search(r"property|setter", decorators):
                yield node.name, text


def comments(source: str) -> Iterator[str]:
    for comment in re.findall(r"/\*(.*?)\*/", source, re.DOTALL):
        yield re.sub(r"^ *\* ?", "", comment, flags=re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_reads_well(page: Path) -> None:
    assert faults(page.read_text("utf-8")) == []


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_docstrings_read_well(module: Path) -> None:
    assert [f for text in docstrings(module.read_text("utf-8")) for f in faults(text)] == []


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_a_function_s_docstring_begins_with_a_verb(module: Path) -> None:
    texts = functions(module.read_text("utf-8"))
    assert [(name, text) for name, text in texts if not VERB.match(text)] == []


@pytest.mark.parametrize("header", HEADERS, ids=name)
def test_headers_read_well(header: Path) -> None:
    assert [f for text in comments(header.read_text("utf-8")) for f in faults(text)] == []


LONG = "The scheduler " + "never " * LONGEST + "waits."


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ("The scheduler waits. It wakes.", False),
        (LONG, True),
        (LONG.replace("never never ", "never: "), False),
        ("Who waits, waits.", True),
        ("*What is left* is free.", True),
        ("Who waits? The caller.", False),
        ("# What is left.\n", False),
        ("```text\nWhat is left.\n```\n", False),
        ("- What is left\n- is free.", False),
    ],
)
def test_long_sentences_and_odd_beginnings_are_faults(text: str, faulty: bool) -> None:
    assert bool(faults(text)) is faulty


def test_sentences_are_found_where_they_are() -> None:
    [docstring] = docstrings(
        'def f():\n    """Do it.\n\n    Args:\n        a: One.\n        b: Two.\n    """\n'
    )
    assert list(sentences(docstring)) == ["Do it.", "Args:", "a:", "One.", "b:", "Two."]
    [comment] = comments("/*\n * One.\n * Two.\n */\nint x;\n")
    assert list(sentences(comment)) == ["One.", "Two."]
