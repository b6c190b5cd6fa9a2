"""Observation groups of two-armed tasks, in the order in which `Observer` fills them."""

from __future__ import annotations

from dexfw_envs.robots.spec import SIDES
from dexfw_envs.tasks.base import ObservationGroup

Row = tuple[str, int, str, float]


def two_arm_groups() -> tuple[ObservationGroup, ...]:
    """Return proprioception of two arms (138), one object (13) and touch (10)."""
    return (
        ObservationGroup("proprio", _proprio()),
        ObservationGroup(
            "object",
            (
                ("object position", 3, "m", 2.0),
                ("object quaternion wxyz", 4, "1", 1.0),
                ("object linear velocity", 3, "m/s", 10.0),
                ("object angular velocity", 3, "rad/s", 50.0),
            ),
        ),
        ObservationGroup(
            "touch",
            _per_side((("{} fingertip contact forces, thumb to little", 5, "N", 50.0),)),
        ),
    )


def _proprio() -> tuple[Row, ...]:
    positions: tuple[Row, ...] = (
        ("{} arm joint positions", 7, "rad", 7.0),
        ("{} hand joint positions", 12, "rad", 2.0),
    )
    velocities: tuple[Row, ...] = (
        ("{} arm joint velocities", 7, "rad/s", 10.0),
        ("{} hand joint velocities", 12, "rad/s", 30.0),
    )
    again = "{} hand joint {}, again as the hands' own group"
    return (
        *_per_side(positions),
        *_per_side(velocities),
        *_per_side(((again.format("{}", "positions"), 12, "rad", 2.0),)),
        *_per_side(((again.format("{}", "velocities"), 12, "rad/s", 30.0),)),
        *_per_side((("{} end-effector position", 3, "m", 2.0),)),
        *_per_side((("{} end-effector quaternion wxyz", 4, "1", 1.0),)),
    )


def _per_side(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(
        (meaning.format(side), size, unit, bound)
        for side in SIDES
        for meaning, size, unit, bound in rows
    )
