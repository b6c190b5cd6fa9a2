"""Kinds of worlds, imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dexfw_envs.backends.base import Backend

BACKENDS = ("mujoco", "omnigibson")


def make_backend(name: str, needs: Any, num_worlds: int, **options: Any) -> Backend:
    """Build N worlds of a scene.

    Raises:
        ValueError: The backend is unknown or does not take an option; names the valid ones.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {BACKENDS}")
    make, valid = _maker(name)
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise ValueError(f"unknown options {unknown} for backend {name!r}; it takes {valid}")
    return make(needs, num_worlds, **options)


def _maker(name: str) -> tuple[Callable[..., Backend], tuple[str, ...]]:
    """Import a backend; return its class and the options that it takes."""
    if name == "mujoco":
        from dexfw_envs.backends.mujoco.backend import OPTIONS, MujocoBackend

        return MujocoBackend, OPTIONS
    from dexfw_envs.backends.omnigibson.backend import OPTIONS as CHOICES
    from dexfw_envs.backends.omnigibson.backend import OmniGibsonBackend

    return OmniGibsonBackend, CHOICES
