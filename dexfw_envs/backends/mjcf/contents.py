"""The contents of a vessel: small rigid balls.

The balls are smooth: without friction nothing makes them spin, so three degrees of freedom do for
six and one row for each contact does for three. Together this steps about twice as fast.
"""

from __future__ import annotations

import mujoco
import numpy as np

from dexfw_envs.backends.mjcf.collision import CONTENT, SOLREF, SUPPORT, WALL
from dexfw_envs.backends.starts import BALL_MASS, BALL_RADIUS

DRAG = 1e-3  # [Ns/m]: a ball comes to rest within seconds
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
            size=(BALL_RADIUS, 0, 0),
            mass=BALL_MASS,
            rgba=RGBA,
            condim=1,
            priority=2,  # above the table's: no friction with anything
            solref=SOLREF,
            contype=CONTENT,
            conaffinity=CONTENT | WALL | SUPPORT,
        )
