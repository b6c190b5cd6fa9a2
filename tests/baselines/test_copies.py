"""Blocks that two scripts share are copies, and stay so."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "baselines").glob("*.py"))
MARK = re.compile(r"^ *# Copied from (baselines/\w+\.py): ([\w.]+)$", re.MULTILINE)


def block(path: Path, name: str) -> str:
    """Return the source of a function, class or method, decorators included."""
    text = path.read_text()
    nodes: list = [ast.parse(text)]
    for part in name.split("."):
        nodes = [n for n in nodes[0].body if getattr(n, "name", None) == part]
        assert nodes, f"{path.name} has no {name}"
    node = nodes[0]
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    return "\n".join(text.splitlines()[first : node.end_lineno])


def copies() -> list:
    return [
        pytest.param(path, origin, name, match.end(), id=f"{path.stem}-{name}")
        for path in SCRIPTS
        for match in MARK.finditer(path.read_text())
        for origin, name in [match.groups()]
    ]


@pytest.mark.parametrize(("path", "origin", "name", "end"), copies())
def test_a_copied_block_equals_its_origin(path, origin, name, end):
    original = block(ROOT / origin, name)
    copy = path.read_text()[end + 1 : end + 1 + len(original)]
    assert copy == original, f"{path.name} and {origin} differ in {name}: copy the block again"


def test_there_are_copies():
    assert len(copies()) >= 20


def test_what_the_policy_is_made_of_is_copied():
    """A class or function of the same name in two scripts is a copy, or the method's own."""
    own = {"Args", "PolicyArgs", "Run", "main", "make_env", "header", "build_policy", "open_policy",
           "train_base", "ChunkPolicy"}  # fmt: skip
    for path in SCRIPTS:
        if path.stem == "dexflywheel":
            continue
        marked = {name for _, name in MARK.findall(path.read_text())}
        for node in ast.parse(path.read_text()).body:
            theirs = (ROOT / "baselines" / "dexflywheel.py").read_text()
            name = getattr(node, "name", "")
            if name and re.search(rf"^(class|def) {name}\b", theirs, re.MULTILINE):
                assert name in marked | own, f"{path.name}: {name}"
