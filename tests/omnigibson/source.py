"""The source of OmniGibson, read as text: nothing of it is imported."""

from __future__ import annotations

import ast
import os
import warnings
from functools import cache
from pathlib import Path

import pytest

from dexfw_envs.backends.omnigibson.facade.requirements import TESTED, package_folder

ROOT = Path(__file__).parents[2]
VARIABLE = "DEXFW_OMNIGIBSON_SOURCE"
MISSING = (
    f"the source of omnigibson {TESTED} is not here: `make test` and `make test-omnigibson` fetch "
    f"it, or set {VARIABLE} to its package folder"
)


@cache
def source_folder() -> Path | None:
    """The package's folder: named, installed, or where make put it."""
    places = [Path(os.environ[VARIABLE])] if VARIABLE in os.environ else []
    installed = package_folder()
    places += [installed] if installed else []
    places.append(ROOT / ".venv-omnigibson-source" / "omnigibson")
    places += sorted(ROOT.glob(".venv-omnigibson*/lib/python3*/site-packages/omnigibson"))
    return next((place for place in places if (place / "macros.py").is_file()), None)


def need_source() -> Path:
    folder = source_folder()
    if folder is None:
        pytest.skip(MISSING)
    version = _constant(ast.parse((folder / "__init__.py").read_text()), "__version__")
    if version != TESTED:
        pytest.skip(f"the source is of version {version}, the contract of {TESTED}")
    return folder


def _constant(tree: ast.Module, name: str) -> object:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    return None


class Source:
    """Classes and functions of the package by dotted path, with inheritance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, ast.Module] = {}
        self.classes: dict[str, tuple[str, ast.ClassDef]] = {}  # path: (module, node)
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # its escapes in strings
                self.modules[name] = ast.parse(path.read_text())
            self._collect(self.modules[name], name, name)

    def _collect(self, node: ast.AST, path: str, module: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                name = f"{path}.{child.name}" if path else child.name
                if isinstance(child, ast.ClassDef):
                    self.classes[name] = (module, child)
                self._collect(child, name, module)
            else:
                self._collect(child, path, module)

    def imported(self, module: str, name: str) -> str | None:
        """Where a name of a module comes from, below the package."""
        for node in ast.walk(self.modules[module]):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("omnigibson"):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return f"{node.module}.{alias.name}".removeprefix("omnigibson.")
        return None

    def find_class(self, module: str, name: str) -> str | None:
        """The path of a class by the name that a module has for it."""
        if f"{module}.{name}" in self.classes:
            return f"{module}.{name}"
        origin = self.imported(module, name)
        if origin is None or origin in self.classes:
            return origin
        package, _, last = origin.rpartition(".")
        return self.find_class(package, last) if package in self.modules else None

    def line(self, path: str) -> list[str]:
        """A class and all that it inherits from inside the package, itself first."""
        module, node = self.classes[path]
        found = [path]
        for base in node.bases:
            name = base.id if isinstance(base, ast.Name) else ""
            parent = self.find_class(module, name) if name else None
            if parent in self.classes:
                found += [p for p in self.line(parent) if p not in found]
        return found

    def function(self, path: str, name: str) -> ast.FunctionDef | None:
        """A method or property of a class, or of what it inherits from."""
        for owner in self.line(path):
            for node in self.classes[owner][1].body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    return node
        return None

    def attributes(self, path: str) -> set[str]:
        """Names that a class sets on itself or on its body."""
        found = set()
        for owner in self.line(path):
            for node in ast.walk(self.classes[owner][1]):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    found.add(node.attr)
                if isinstance(node, ast.Assign):
                    found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        return found

    def parameters(self, path: str, name: str = "__init__") -> list[str]:
        """What a method takes, without self."""
        node = self.function(path, name)
        assert node is not None, f"{path} has no {name}"
        arguments = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
        return arguments[1:] + ["**"] * (node.args.kwarg is not None)

    def global_names(self, module: str) -> set[str]:
        """All that a module binds at its top, imported or made there."""
        found = set()
        for node in self.modules[module].body:
            if isinstance(node, ast.Assign):
                found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
        return found


@cache
def source() -> Source:
    return Source(need_source())
