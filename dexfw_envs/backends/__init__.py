"""Kinds of worlds: the folders beside this file that have an `ENTRY`, and modules of one's own.

A new backend is one folder with an `ENTRY`, a `BackendEntry`, in its `__init__.py`. A backend
outside of this package is named by its module: `backend="my_package.my_backend"`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any

from dexfw_envs import checks
from dexfw_envs.backends.base import Backend, SceneNeeds
from dexfw_envs.backends.entry import BackendEntry

USUAL = 1.0  # scale of what a robustness test leaves as it is
# What a robustness test scales: the backend's option, and in words.
PERTURBED = {"timestep": "the physics step", "friction_scale": "friction"}


@functools.cache
def backend_names() -> tuple[str, ...]:
    """Return the names of the backends of this package, in the order of the alphabet."""
    folders = [found.name for found in pkgutil.iter_modules(__path__) if found.ispkg]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in folders}
    return tuple(name for name, module in modules.items() if hasattr(module, "ENTRY"))


def backend_entry(name: str) -> BackendEntry:
    """Return what a backend states of itself.

    Args:
        name: One of `backend_names()`, or the module of another one, which has a dot in it.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
    """
    if name in backend_names():
        return importlib.import_module(f"{__name__}.{name}").ENTRY
    if "." not in name:
        raise ValueError(
            f"unknown backend {name!r}; choose one of {backend_names()} or the module of your "
            "own, such as 'my_package.my_backend'"
        )
    return _entry_of_module(name)


def _entry_of_module(name: str) -> BackendEntry:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        raise ValueError(f"unknown backend {name!r}: no module {error.name!r} was found") from error

    found = getattr(module, "ENTRY", None)
    if not isinstance(found, BackendEntry):
        raise ValueError(f"module {name!r} is no backend: it has no ENTRY, a BackendEntry")
    return found


def make_backend(name: str, needs: SceneNeeds, num_worlds: int, **options: Any) -> Backend:
    """Build N worlds of a scene.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
        TypeError: The backend does not take an option; names the valid ones.
    """
    valid = backend_options(name)
    checks.keywords("make_backend()", options, {f"backend {name!r}": valid})
    make = _load(backend_entry(name).make)
    return make(needs, num_worlds, **options)


def backend_options(name: str) -> tuple[str, ...]:
    """Return the names of the options that a backend takes.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
    """
    return backend_entry(name).options


def options_for(
    name: str, threads: int, timestep_scale: float = USUAL, friction_scale: float = USUAL
) -> dict[str, Any]:
    """Return the options of a backend for a number of threads and the scales of a robustness test.

    A scale of 1 leaves the backend its own value, and a backend without threads gets none.

    Args:
        name: The backend.
        threads: Threads that step the worlds.
        timestep_scale: Multiplies the backend's usual physics step.
        friction_scale: Multiplies the friction of hand, objects and table.

    Raises:
        ValueError: The backend is unknown, or cannot change what has another scale than 1.
    """
    entry = backend_entry(name)
    options: dict[str, Any] = {}
    if "threads" in entry.options:
        options["threads"] = threads

    scales = {"timestep": timestep_scale, "friction_scale": friction_scale}
    for option, scale in scales.items():
        if scale == USUAL:
            continue
        if option not in entry.perturbations:
            raise ValueError(
                f"backend {name!r} cannot change {PERTURBED[option]}: its scale must be 1, "
                f"got {scale}"
            )
        options[option] = entry.perturbations[option] * scale
    return options


def check_backend(name: str) -> None:
    """Find out before any work whether a backend can be had here; start and import nothing of it.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
        MissingRequirementError: Something that it needs is missing; says what to install.
    """
    requirements = backend_entry(name).requirements
    if requirements:
        check = _load(requirements)
        check()


def _load(place: str) -> Any:
    """Import what a text "module:attribute" names."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
