"""Observation groups of one-armed and two-armed tasks, in the order in which `Observer` fills them.

`dexfw_envs.observation` says how the groups are laid out, and reads them by name.
"""

from __future__ import annotations

from collections.abc import Sequence

from dexfw_envs.observation import (
    ARM_JOINTS,
    FINGERTIPS,
    HAND_JOINTS,
    POSITION_SIZE,
    QUATERNION_SIZE,
    VELOCITY_SIZE,
)
from dexfw_envs.robots.spec import SIDES
from dexfw_envs.tasks.base import ObservationGroup, Row


def one_arm_groups(objects: Sequence[str] = ("object",)) -> tuple[ObservationGroup, ...]:
    """Return proprioception of one arm (69), the named objects (13 each) and touch (5)."""
    return (
        ObservationGroup("proprio", _proprio(arm_bound=4.0, sides=("",), owner="hand's")),
        ObservationGroup("object", _objects(objects)),
        ObservationGroup("touch", _touch(sides=("",))),
    )


def two_arm_groups() -> tuple[ObservationGroup, ...]:
    """Return proprioception of two arms (138), one object (13) and touch (10)."""
    sides = tuple(f"{side} " for side in SIDES)
    return (
        ObservationGroup("proprio", _proprio(arm_bound=7.0, sides=sides, owner="hands'")),
        ObservationGroup("object", _objects(("object",))),
        ObservationGroup("touch", _touch(sides)),
    )


def _proprio(arm_bound: float, sides: Sequence[str], owner: str) -> tuple[Row, ...]:
    """Return the rows of the group "proprio".

    Args:
        arm_bound: Of the arm's joint positions [rad].
        sides: Written before each arm's rows: "right ", "left ", or "" where there is one arm.
        owner: Whose group the repeated hand joints are, in the words of the table.
    """
    positions = (
        Row("arm joint positions", ARM_JOINTS, "rad", arm_bound),
        Row("hand joint positions", HAND_JOINTS, "rad", 2.0),
    )
    velocities = (
        Row("arm joint velocities", ARM_JOINTS, "rad/s", 10.0),
        Row("hand joint velocities", HAND_JOINTS, "rad/s", 30.0),
    )
    again = f"again as the {owner} own group"
    hand_positions = Row(f"hand joint positions, {again}", HAND_JOINTS, "rad", 2.0)
    hand_velocities = Row(f"hand joint velocities, {again}", HAND_JOINTS, "rad/s", 30.0)
    palm_position = Row("end-effector position", POSITION_SIZE, "m", 2.0)
    palm_quaternion = Row("end-effector quaternion wxyz", QUATERNION_SIZE, "1", 1.0)

    blocks: tuple[tuple[Row, ...], ...] = (
        positions,
        velocities,
        (hand_positions,),
        (hand_velocities,),
        (palm_position,),
        (palm_quaternion,),
    )
    rows: list[Row] = []
    for block in blocks:
        rows += _of_each(sides, block)
    return tuple(rows)


def _objects(names: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows of the group "object" for objects of these names."""
    rows: list[Row] = []
    for name in names:
        rows += [
            Row(f"{name} position", POSITION_SIZE, "m", 2.0),
            Row(f"{name} quaternion wxyz", QUATERNION_SIZE, "1", 1.0),
            Row(f"{name} linear velocity", VELOCITY_SIZE, "m/s", 10.0),
            Row(f"{name} angular velocity", VELOCITY_SIZE, "rad/s", 50.0),
        ]
    return tuple(rows)


def _touch(sides: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows of the group "touch"."""
    forces = Row("fingertip contact forces, thumb to little", FINGERTIPS, "N", 50.0)
    return tuple(_of_each(sides, (forces,)))


def _of_each(sides: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Return rows once for each side, its name before their meaning."""
    return [row._replace(meaning=side + row.meaning) for side in sides for row in rows]
