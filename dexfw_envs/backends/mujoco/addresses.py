"""Where joints live in MuJoCo's state vectors."""

from __future__ import annotations

import mujoco
import numpy as np

from dexfw_envs.robots.spec import FINGERS


def joint_addresses(model: mujoco.MjModel, names: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return addresses of named joints in qpos and qvel, each (rows, joints)."""
    joints = [[model.joint(name) for name in row] for row in names]
    q = np.array([[joint.qposadr[0] for joint in row] for row in joints])
    return q, np.array([[joint.dofadr[0] for joint in row] for row in joints])


def content_addresses(model: mujoco.MjModel, count: int) -> np.ndarray:
    """Return addresses in qpos of the positions of a vessel's contents, (count, 3)."""
    names = [[f"content{i}_{axis}" for axis in "xyz"] for i in range(count)]
    return joint_addresses(model, names)[0].astype(int).reshape(-1, 3)


def hand_geoms(model: mujoco.MjModel, prefixes: list[str]) -> np.ndarray:
    """Return the ids of all geoms of the hands that can touch something.

    Args:
        model: The compiled scene.
        prefixes: Prefix of each arm's names, such as "right_".
    """
    found = []
    for prefix in prefixes:
        for part in ("palm", *FINGERS):
            beginning = f"{prefix}{part}"
            for index in range(model.ngeom):
                if model.geom(index).name.startswith(beginning):
                    found.append(index)
    return np.array(found)
