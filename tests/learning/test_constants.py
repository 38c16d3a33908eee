"""The table of the learner's constants has all of them, with the values that the code has."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEARNING = ROOT / "xtremeflow" / "learning"
PAGE = ROOT / "docs" / "learning-constants.md"
ROW = re.compile(r"^\| `(\w+)` \| `([\w/]+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def constants(module: Path) -> dict[tuple[str, str], str]:
    """The numbers that a module names at its top, as they are written there. Those that follow
    from others are no constants of their own."""
    found: dict[tuple[str, str], str] = {}
    of = str(module.relative_to(LEARNING).with_suffix(""))
    for node in ast.parse(module.read_text("utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        (target,) = node.targets
        many = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
        pairs = zip(target.elts, node.value.elts, strict=True) if many else [(target, node.value)]
        kinds = (ast.Constant, ast.BinOp, ast.Tuple) if many else (ast.Constant, ast.BinOp)
        found |= {
            (name.id, of): ast.unparse(value)
            for name, value in pairs
            if isinstance(name, ast.Name)
            and isinstance(value, kinds)
            and not any(isinstance(part, ast.Name) for part in ast.walk(value))
        }
    return found


def test_the_table_has_the_constants_of_the_code() -> None:
    coded: dict[tuple[str, str], str] = {}
    for module in LEARNING.rglob("*.py"):
        coded |= constants(module)
    rows = ROW.findall(PAGE.read_text("utf-8"))
    assert {(name, of): value for name, of, value, *_ in rows} == coded
    assert len(rows) == len(coded)
