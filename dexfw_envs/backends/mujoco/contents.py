"""The contents of a vessel: small rigid balls, and where they lie at the start.

The balls are smooth: without friction nothing makes them spin, so three degrees of freedom do for
six and one row for each contact does for three. Together this steps about twice as fast.
"""

from __future__ import annotations

import mujoco
import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.mujoco.bits import CONTENT, SOLREF, SUPPORT, WALL

RADIUS = 0.007  # [m]
MASS = 0.0015  # [kg]: plastic of density 1050
DRAG = 1e-3  # [Ns/m]: a ball comes to rest within seconds
SPREAD = 0.0105  # distance of the balls of a layer from the vessel's axis [m]
RGBA = (0.95, 0.45, 0.10, 1.0)


def add_contents(spec: mujoco.MjSpec, count: int) -> None:
    """Add balls content0, content1, ...; their joints are their position in the table frame."""
    for index in range(count):
        name = f"content{index}"
        body = spec.worldbody.add_body(name=name)
        for axis, direction in zip("xyz", np.eye(3), strict=True):
            body.add_joint(
                name=f"{name}_{axis}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=direction,
                damping=DRAG,
            )
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=(RADIUS, 0, 0),
            mass=MASS,
            rgba=RGBA,
            condim=1,
            priority=2,  # above the table's: no friction with anything
            solref=SOLREF,
            contype=CONTENT,
            conaffinity=CONTENT | WALL | SUPPORT,
        )


def start_places(
    floor: float, pose: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Stack balls in layers of four just above the floor of a vessel, (count, 3) [m].

    Args:
        floor: Height of the floor in the vessel's frame [m].
        pose: Of the vessel, (7,).
        count: How many balls.
        rng: Turns the stack.
    """
    layer, place = np.divmod(np.arange(count), 4)
    angle = rng.uniform(0.0, np.pi) + np.pi / 2 * place + np.pi / 4 * layer
    places = np.stack(
        [
            SPREAD * np.cos(angle),
            SPREAD * np.sin(angle),
            floor + RADIUS + 2.0 * RADIUS * layer,
        ],
        axis=1,
    )
    return pose[:3] + tf.quat_rotate(pose[3:], places)
