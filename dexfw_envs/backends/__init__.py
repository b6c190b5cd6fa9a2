"""Kinds of worlds, imported when first asked for."""

from __future__ import annotations

from typing import Any

from dexfw_envs.backends.base import Backend

BACKENDS = ("mujoco",)


def make_backend(name: str, needs: Any, num_worlds: int, **options: Any) -> Backend:
    """Build N worlds of a scene.

    Raises:
        ValueError: The backend is unknown or does not take an option; names the valid ones.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {BACKENDS}")
    from dexfw_envs.backends.mujoco.backend import OPTIONS, MujocoBackend

    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"unknown options {unknown} for backend {name!r}; it takes {OPTIONS}")
    return MujocoBackend(needs, num_worlds, **options)
