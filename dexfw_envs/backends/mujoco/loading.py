"""MuJoCo imported at first use, with an error that says what to do where that fails."""

from __future__ import annotations

from typing import Any

from dexfw_envs.backends.base import Backend, SceneNeeds
from dexfw_envs.backends.mujoco.graphics import load_mujoco


def make_worlds(needs: SceneNeeds, num_worlds: int, **options: Any) -> Backend:
    """Build N worlds of a scene; the options are those of `MujocoBackend`.

    Raises:
        RuntimeError: MuJoCo cannot be imported with this MUJOCO_GL.
    """
    load_mujoco()
    from dexfw_envs.backends.mujoco.backend import MujocoBackend

    return MujocoBackend(needs, num_worlds, **options)
