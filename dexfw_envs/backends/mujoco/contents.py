"""The contents of a vessel: small rigid balls, and where they lie at the start.

A ball moves but does not spin: three degrees of freedom instead of six step half as fast again, and
small rolling balls would spin beyond the speed at which a world counts as blown up.
"""

from __future__ import annotations

import mujoco
import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.mujoco.bits import CONTENT, OBJECT, SOLREF, SUPPORT, WALL

RADIUS = 0.007  # [m]
MASS = 0.0015  # [kg]: plastic of density 1050
FRICTION = (0.2, 0.005, 0.0001)  # low: a ball that cannot roll has to slide
DRAG = 5e-4  # [Ns/m]: a ball on the table comes to rest
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
            friction=FRICTION,
            rgba=RGBA,
            condim=3,
            priority=2,  # above the table's: everywhere its own friction decides
            solref=SOLREF,
            contype=CONTENT,
            conaffinity=CONTENT | WALL | OBJECT | SUPPORT,
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
