"""A class, a type or a function of a module's public face has a name of its own in the package."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*ROOT.glob("xtremeflow/**/*.py"), *ROOT.glob("xtremeflow/*.pyi")]

#: Names of modules with several definitions, and the one thing that they mean.
SHARED = {
    "main": "the entry point of a command",
    "use": "puts a framework behind a scheduler, once for each framework",
    "Json": "a JSON object",
    "Say": "notes an event of learning",
}
#: Native types and functions with a part in Python, which means the same.
NATIVE = {"Quota", "quotas", "Response", "usage_in", "Tap", "Reading", "Gauge"}


def definitions(source: str) -> list[str]:
    """The public classes, functions and type aliases of a module, without type variables."""
    found: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found += [name for name in names if name[0].isupper() and not name.isupper()]
    return [name for name in dict.fromkeys(found) if not name.startswith("_")]


def test_a_public_name_stands_for_one_thing() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for name in definitions(path.read_text("utf-8")):
            if name not in SHARED and not (path.suffix == ".pyi" and name in NATIVE):
                places[name].append(str(path.relative_to(ROOT)))
    assert {name: at for name, at in places.items() if len(at) > 1} == {}
