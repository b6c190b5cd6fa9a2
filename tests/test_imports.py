"""Who may import whom: rooms from low to high, no circles, nothing that runs back up.

Imports inside of functions and those for types alone count as all others do.
"""

import ast
import sys
from pathlib import Path

import pytest

from dexfw_envs.backends import backend_names

ROOT = Path(__file__).parents[1]
TREES = ("dexfw_envs", "benchmark", "baselines")

# A module imports from its own room and from those before it. A room is a folder or a module.
# Commands are the modules that `python -m` runs and that no module imports: they are above all.
PACKAGE = (
    *("revision", "transforms", "files", "provenance", "checks"),
    *("observation", "world", "variation", "scenario"),
    *("console", "catalog", "robots", "control", "backends", "tasks", "registry", "envs"),
    *("experts", "episodes", "evaluation", "editing", "demos", "deployment", "teleop", "play"),
    *("runs", "integrations"),
)
HARNESS = ("protocol", "grid", "kept", "running", "figures", "report", "studies", "speed")
COMMANDS = "commands"
ROOM_LISTS = {"dexfw_envs": PACKAGE, "benchmark": HARNESS}

# It compares the environment with the bare simulator, so it has to know that one.
OF_ONE_BACKEND = {"benchmark.speed.measure"}


def modules() -> dict[str, Path]:
    """Every module of the repository's code, by its dotted name."""
    found = {}
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def named_by(node: ast.AST, known) -> list[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert not node.level, "imports are absolute"
    inner = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in known else node.module for name in inner]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """The modules that each module imports."""
    known = modules()
    found = {}
    for name, path in known.items():
        nodes = ast.walk(ast.parse(path.read_text()))
        named = {other for node in nodes for other in named_by(node, known)}
        found[name] = {other for other in named if other in known and other != name}
    return found


def is_run(name: str) -> bool:
    """Whether a module does something when it is run."""
    return name.endswith("__main__") or '__name__ == "__main__"' in modules()[name].read_text()


def room_of(name: str, commands: set[str]) -> str:
    return COMMANDS if name in commands else name.split(".")[1]


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that all reach one another, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        path.append(name)
        for other in graph[name]:
            if other not in number:
                visit(other)
            if other in path:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            group = set(path[path.index(name) :])
            del path[path.index(name) :]
            if len(group) > 1:
                found.append(group)

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10 * len(graph)))
    for name in graph:
        if name not in number:
            visit(name)
    return found


def test_circles_are_found():
    loop = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set()}
    assert circles(loop) == [{"a", "b", "c"}]


def test_there_are_no_circles(graph):
    assert circles(graph) == []


@pytest.mark.parametrize("tree", ROOM_LISTS)
def test_imports_lead_down(graph, tree):
    rooms = (*ROOM_LISTS[tree], COMMANDS)
    imported = set().union(*graph.values())
    own = {name for name in graph if name.startswith(f"{tree}.")}
    commands = {name for name in own if is_run(name) and name not in imported}
    if tree == "benchmark":  # what the harness's own `python -m benchmark` shares out
        commands |= {"benchmark.commands"}

    homeless = {name for name in own if room_of(name, commands) not in rooms}
    assert not homeless, f"rooms that are not in the list: {sorted(homeless)}"
    up = []
    for name in sorted(own):
        here = rooms.index(room_of(name, commands))
        above = [
            other for other in graph[name] & own if rooms.index(room_of(other, commands)) > here
        ]
        up += [f"{name} imports {other}" for other in above]
    assert up == []


def test_the_package_knows_neither_scripts_nor_harness(graph):
    for name, imports in graph.items():
        if name.startswith("dexfw_envs"):
            assert all(other.startswith("dexfw_envs") for other in imports), name


def test_a_script_imports_the_package_alone(graph):
    for name, imports in graph.items():
        if name.startswith("baselines"):
            assert all(other.startswith("dexfw_envs") for other in imports), name


def test_nothing_above_the_backends_imports_one_of_them(graph):
    backends = tuple(f"dexfw_envs.backends.{name}" for name in backend_names())
    found = []
    for name, imports in graph.items():
        mine = [backend for backend in backends if f"{name}.".startswith(f"{backend}.")]
        for other in imports:
            others = [backend for backend in backends if f"{other}.".startswith(f"{backend}.")]
            if others and others != mine and name not in OF_ONE_BACKEND:
                found.append(f"{name} imports {other}")
    assert found == []


def test_the_page_of_the_architecture_tells_the_same_order():
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## Import rule")[2].partition("\n## ")[0]
    block = section.split("```")[1]
    for tree, rooms in ROOM_LISTS.items():
        words = block.partition(f"{tree}:")[2].partition(":")[0]
        told = tuple(word.strip(",") for word in words.split() if word not in ROOM_LISTS)
        assert told[: len(rooms)] == rooms, tree
