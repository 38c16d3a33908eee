"""The tables of the learner's constants have all of them, with the values that the code has."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEARNING = ROOT / "xtremeflow" / "learning"
TABLES = {
    "learning-concurrency.md": sorted((LEARNING / "concurrency").glob("*.py")),
    "estimates.md": sorted((LEARNING / "costs").glob("*.py")),
}


def constants(module: Path) -> dict[str, str]:
    """The numbers that a module names at its top, as they are written there."""
    found: dict[str, str] = {}
    for node in ast.parse(module.read_text("utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        (target,) = node.targets
        many = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
        pairs = zip(target.elts, node.value.elts, strict=True) if many else [(target, node.value)]
        found |= {
            name.id: ast.unparse(value)
            for name, value in pairs
            if isinstance(name, ast.Name) and isinstance(value, ast.Constant | ast.BinOp)
        }
    return found


@pytest.mark.parametrize("page", TABLES)
def test_a_page_has_the_constants_of_the_code(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    rows = dict(re.findall(r"^\| `(_?[A-Z_]+)` \| ([^|`]+) \|", text, flags=re.MULTILINE))
    coded: dict[str, str] = {}
    for module in TABLES[page]:
        coded |= constants(module)
    assert rows == coded
