"""The package's folders: which there are, and that each imports only from those below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "xtremeflow"
EXTENSIONS = {"_core", "_http"}
PUBLIC = {
    "kvbatch",
    "logs",
    "metrics",
    "otel",
    "pipeline",
    "refusals",
    "testing",
}  # names for users, not for the package
RUN = ("input", "wire", "output", "views", "job")
WINGS = {"told", "rates", "concurrency", "costs"}  # of learning
MODULES = sorted(PACKAGE.rglob("*.py"))


def folders() -> list[str]:
    """As the architecture lists them, the lowest first."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = text[text.index("| folder | idea |") :].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def imported(module: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports of the package, wherever it does, as the parts of the names."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            assert node.module is not None
            names = [node.module]
            if node.module == "xtremeflow":
                names = [f"xtremeflow.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == "xtremeflow":
                yield tuple(rest)


def above(module: Path, under: Path, order: Sequence[str]) -> list[str]:
    """What a module of one of these folders imports from a later one."""
    depth = len(under.relative_to(PACKAGE).parts)
    own = order.index(module.relative_to(under).parts[0])
    return [
        ".".join(name)
        for name in imported(module)
        if len(name) > depth
        and name[:depth] == under.relative_to(PACKAGE).parts
        and name[depth] in order[own + 1 :]
    ]


def test_the_folders_are_those_that_the_architecture_lists() -> None:
    assert sorted(folders()) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    for folder, inner in ("run", set(RUN)), ("learning", WINGS):
        assert inner == {path.parent.name for path in (PACKAGE / folder).glob("*/__init__.py")}


def test_beside_the_folders_lie_only_documented_import_paths() -> None:
    beside = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert beside == PUBLIC


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_lower_folders_only(module: Path) -> None:
    order = folders()
    inside = module.relative_to(PACKAGE).parts
    if inside[0] in order:
        assert above(module, PACKAGE, order) == []
        for name in imported(module):
            assert name, "a module of the package imports from its root"
            assert name[0] in {*order, *EXTENSIONS}, f"{name[0]} is a name for users"
    if inside[0] == "run" and len(inside) > 2:
        assert above(module, PACKAGE / "run", RUN) == []
    if inside[0] == "learning" and len(inside) > 2:
        used = {name[1] for name in imported(module) if name[0] == "learning" and len(name) > 1}
        assert used & WINGS <= {inside[1]}, "a wing of learning knows no other one"


def test_only_what_speaks_http_needs_libcurl() -> None:
    users = {
        module.relative_to(PACKAGE).parts[0]
        for module in MODULES
        if any(name[:1] == ("_http",) for name in imported(module))
    }
    assert users == {"http", "run"}
