"""Packages that only some uses need: which extra they belong to, and how to install it.

`pip install` of the environments alone brings none of them. They are imported when first needed:

    matplotlib = load("matplotlib", "plots need")
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

#: The extra of every package that the core does without.
EXTRAS = {
    "torch": "train",
    "diffusers": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "av": "train",
    "pyarrow": "train",
    "minari": "data",
    "PIL": "data",
    "wandb": "track",
    "matplotlib": "report",
    "pandas": "report",
    "scipy": "report",
    "pxr": "omnigibson",
}

CLONE = Path(__file__).parents[2]


def load(module: str, use: str = "this needs") -> ModuleType:
    """Import a package of an extra, or a module of it.

    Args:
        module: Its name, such as "pyarrow.parquet".
        use: What needs it, such as "plots need"; for the message.

    Raises:
        ImportError: The package is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if words := missing_package(error.name or "", use):
            raise ModuleNotFoundError(words, name=error.name) from error
        raise


def missing_package(module: str, use: str = "this needs", extra: str = "") -> str:
    """Say in one line what to install for a module that was not found; "" if it is of no extra.

    Args:
        module: Its name.
        use: What needs it, such as "plots need".
        extra: The extra that the use is part of, where the package is in several.
    """
    package = module.partition(".")[0]
    if package not in EXTRAS:
        return ""
    command = install_line(extra or EXTRAS[package])
    return f"{use} {package}, which is not installed: {command}"


def install_line(extra: str) -> str:
    """Return the command that installs an extra the way in which this package was installed."""
    if is_clone():
        chosen = "train,report" if extra == "train" else extra  # what the scripts need
        return f'pip install -e ".[{chosen}]"'
    return f'pip install "dexfw[{extra}]"'


def is_clone() -> bool:
    """Whether this package is imported from a clone of the repository, not from a wheel."""
    project = CLONE / "pyproject.toml"
    return project.is_file() and 'name = "dexfw"' in project.read_text(encoding="utf-8")
