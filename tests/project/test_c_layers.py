"""A file of C includes only lower layers: binding, then core and net, and the layers within."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent.parent / "csrc"

# What the files of a folder may include, beside one another.
BELOW = {
    "core": set(),
    "net": set(),
    "binding": set(),
    "binding/loop": {"binding", "core"},
    "binding/call": {"binding", "binding/loop", "core"},
    "binding/scheduler": {"binding", "binding/loop", "binding/call", "core", "net"},
    "binding/http": {"binding", "net"},
}
# The modules: they put together what is in the layers.
TOPS = {"binding/module.c": {"binding/loop", "binding/call", "binding/scheduler"}}
SOURCES = sorted(CSRC.rglob("*.[ch]"))
HEADERS = [each for each in SOURCES if each.suffix == ".h"]


def included(source: Path) -> list[Path]:
    found = re.findall(r'^#include "(.+)"', source.read_text(), flags=re.MULTILINE)
    return [CSRC / name for name in found]


def named(source: Path) -> str:
    return source.relative_to(CSRC).as_posix()


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_file_names_only_what_lies_below(source: Path) -> None:
    folder = named(source.parent)
    allowed = {folder} | BELOW[folder] | TOPS.get(named(source), set())
    for other in included(source):
        assert other.exists(), f"{source} includes {other}"
        below = named(other.parent)
        assert below in allowed, f"{named(source)} is not above {below}"


def test_no_headers_include_one_another_in_a_circle() -> None:
    def walk(header: Path, path: tuple[Path, ...]) -> None:
        assert header not in path, [each.name for each in (*path, header)]
        for other in included(header):
            walk(other, (*path, header))

    for header in HEADERS:
        walk(header, ())


def test_the_files_up_to_the_admission_do_not_call_one_another_in_a_circle() -> None:
    """A source file calls what it includes. Above the admission the scheduler and its operations
    are one thing."""
    calls: dict[str, set[str]] = {}
    for source in SOURCES:
        if named(source.parent) == "core":
            called = {other.stem for other in included(source)} - {source.stem}
            calls.setdefault(source.stem, set()).update(called)

    def below(name: str) -> set[str]:
        found, new = set[str](), {name}
        while new := set[str]().union(*(calls[each] for each in new)) - found:
            found |= new
        return found

    files = below("admission")
    assert {"gate", "joint", "line", "share", "lease"} <= files
    assert not [each for each in files if each in below(each)]


def test_every_header_is_guarded_by_a_name_of_its_own() -> None:
    guards = [
        re.search(r"^#ifndef (\w+)$", header.read_text(), flags=re.MULTILINE) for header in HEADERS
    ]
    names = [guard.group(1) for guard in guards if guard is not None]
    assert len(names) == len(HEADERS) == len(set(names))


def test_the_architecture_names_the_files_of_each_layer_of_the_binding() -> None:
    text = (CSRC.parent / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (?:`(loop|call|scheduler)` )?\| `(\w+)` \| ", text, flags=re.MULTILINE)
    told: dict[str, list[str]] = {"loop": [], "call": [], "scheduler": []}
    layer = ""
    for begins, file in rows:
        layer = begins or layer
        told[layer].append(file)
    there = {
        each: [header.stem for header in HEADERS if header.parent.name == each] for each in told
    }
    assert {each: sorted(files) for each, files in told.items()} == there
