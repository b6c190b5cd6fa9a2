"""Kinds of worlds, imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dexfw_envs import checks
from dexfw_envs.backends.base import Backend

BACKENDS = ("mujoco", "omnigibson")


def make_backend(name: str, needs: Any, num_worlds: int, **options: Any) -> Backend:
    """Build N worlds of a scene.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
        TypeError: The backend does not take an option; names the valid ones.
    """
    _known(name)
    make, valid = _maker(name)
    checks.keywords("make_backend()", options, {f"backend {name!r}": valid})
    return make(needs, num_worlds, **options)


def backend_options(name: str) -> tuple[str, ...]:
    """Return the names of the options that a backend takes.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
    """
    _known(name)
    _, valid = _maker(name)
    return valid


def check_backend(name: str) -> None:
    """Find out before any work whether a backend can be had here; start and import nothing of it.

    Raises:
        ValueError: The backend is unknown; names the valid ones.
        MissingRequirementError: Something that it needs is missing; says what to install.
    """
    _known(name)
    if name == "omnigibson":
        from dexfw_envs.backends.omnigibson.facade import requirements

        requirements.check(requirements.look())


def _known(name: str) -> None:
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {BACKENDS}")


def _maker(name: str) -> tuple[Callable[..., Backend], tuple[str, ...]]:
    """Import a backend; return its class and the options that it takes."""
    if name == "mujoco":
        from dexfw_envs.backends.mujoco.graphics import load_mujoco

        load_mujoco()
        from dexfw_envs.backends.mujoco.backend import OPTIONS, MujocoBackend

        return MujocoBackend, OPTIONS
    from dexfw_envs.backends.omnigibson.backend import OPTIONS as CHOICES
    from dexfw_envs.backends.omnigibson.backend import OmniGibsonBackend

    return OmniGibsonBackend, CHOICES
