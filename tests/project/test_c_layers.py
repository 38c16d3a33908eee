"""Headers name only what lies below them: package, binding, core and net, and the layers within."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent.parent / "csrc"

# What the headers of a folder may include, beside one another.
BELOW = {
    "core": set(),
    "net": set(),
    "binding": set(),
    "binding/loop": {"binding", "core"},
    "binding/call": {"binding", "binding/loop", "core"},
    "binding/scheduler": {"binding", "binding/loop", "binding/call", "core"},
    "binding/http": {"binding", "net"},
}
HEADERS = sorted(CSRC.rglob("*.h"))


def included(header: Path) -> list[Path]:
    found = re.findall(r'^#include "(.+)"', header.read_text(), flags=re.MULTILINE)
    return [CSRC / name for name in found]


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: str(path.relative_to(CSRC)))
def test_a_header_names_only_what_lies_below(header: Path) -> None:
    folder = str(header.parent.relative_to(CSRC))
    for other in included(header):
        assert other.exists(), f"{header} includes {other}"
        below = str(other.parent.relative_to(CSRC))
        assert below == folder or below in BELOW[folder], f"{folder} lies below {below}"


def test_no_headers_include_one_another_in_a_circle() -> None:
    def walk(header: Path, path: tuple[Path, ...]) -> None:
        assert header not in path, [each.name for each in (*path, header)]
        for other in included(header):
            walk(other, (*path, header))

    for header in HEADERS:
        walk(header, ())


def test_every_header_is_guarded_by_a_name_of_its_own() -> None:
    guards = [
        re.search(r"^#ifndef (\w+)$", header.read_text(), flags=re.MULTILINE) for header in HEADERS
    ]
    names = [guard.group(1) for guard in guards if guard is not None]
    assert len(names) == len(HEADERS) == len(set(names))
