"""A world's full state as one row of numbers, and as the nested state of an OmniGibson scene.

Only what is in play is in the row, so that it has one length however many objects wait beside the
table. OmniGibson's own state of a scene is edited and loaded: that resets one scene and leaves the
others alone, which its `reset` does not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.omnigibson.description.frames import to_scene, to_xyzw
from dexfw_envs.backends.starts import arm_starts, start_places
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.observation import (
    JOINTS_SIZE,
    OBJECT_LINEAR_VELOCITY,
    OBJECT_POSE,
    OBJECT_POSITION,
    OBJECT_QUATERNION,
    OBJECT_SIZE,
    VELOCITY_SIZE,
)
from dexfw_envs.robots.spec import RobotSpec
from dexfw_envs.scenario import Scenario

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
SPEED_LIMIT = 100.0  # of joints [rad/s] and objects [m/s]: faster is blown up


@dataclass
class Row:
    """One world's state in the suite's terms.

    Attributes:
        joints: Positions of arms and hands [rad], (A, 19).
        rates: Their velocities [rad/s], (A, 19).
        targets: Joint targets held [rad], (A, 13).
        objects: Position, wxyz, linear and angular velocity of objects and contents, (O + C, 13).
        time: Since reset [s].
        fault: Whether the world broke down.
    """

    joints: np.ndarray
    rates: np.ndarray
    targets: np.ndarray
    objects: np.ndarray
    time: float
    fault: bool

    def to_vector(self) -> np.ndarray:
        """Return everything as one row, (S,)."""
        parts = (self.joints, self.rates, self.targets, self.objects)
        tail = [self.time, float(self.fault)]
        return np.concatenate([*(part.reshape(-1) for part in parts), tail])

    @classmethod
    def from_vector(cls, vector: np.ndarray, needs: SceneNeeds) -> Row:
        """Read what `to_vector` wrote."""
        arms = needs.robot.arms
        things = needs.objects + needs.contents
        shapes = (
            (arms, JOINTS_SIZE),
            (arms, JOINTS_SIZE),
            (arms, needs.robot.commanded_joints),
            (things, OBJECT_SIZE),
        )
        ends = np.cumsum([rows * columns for rows, columns in shapes])
        parts = np.split(vector[: ends[-1]], ends[:-1])
        joints, rates, targets, objects = (
            part.reshape(shape).copy() for part, shape in zip(parts, shapes, strict=True)
        )
        return cls(joints, rates, targets, objects, float(vector[-2]), vector[-1] > 0.0)


def start_row(robot: RobotSpec, needs: SceneNeeds, scenario: Scenario) -> Row:
    """Return the state at the start of a scenario; the same draws as on any backend."""
    noise = np.random.default_rng(scenario.seed)
    arms = arm_starts(robot, noise)
    hand = np.tile(robot.hand.full_positions(np.array(robot.home_hand)), (robot.arms, 1))
    poses = np.array(scenario.object_poses)
    things = np.zeros((needs.objects + needs.contents, OBJECT_SIZE))
    things[: needs.objects, OBJECT_POSE] = poses
    things[needs.objects :, OBJECT_QUATERNION] = UPRIGHT

    if needs.contents:
        floor = get_object(scenario.objects[0]).opening[2]
        things[needs.objects :, OBJECT_POSITION] = start_places(
            floor, poses[0], needs.contents, noise
        )

    driven = np.tile(robot.home_hand, (robot.arms, 1))
    joints, targets = (np.concatenate([arms, part], axis=1) for part in (hand, driven))
    return Row(joints, np.zeros_like(joints), targets, things, 0.0, False)


def blown_up(row: Row) -> bool:
    """Say whether anything is faster than it can be, or not a number."""
    of_objects = row.objects[:, OBJECT_LINEAR_VELOCITY]
    speeds = np.concatenate([row.rates.reshape(-1), of_objects.reshape(-1)])
    with np.errstate(invalid="ignore"):
        return not bool((np.abs(speeds) < SPEED_LIMIT).all())


def width(needs: SceneNeeds) -> int:
    """Return the length of a row."""
    of_an_arm = 2 * JOINTS_SIZE + needs.robot.commanded_joints
    things = needs.objects + needs.contents
    time_and_fault = 2
    return needs.robot.arms * of_an_arm + things * OBJECT_SIZE + time_and_fault


@dataclass(frozen=True)
class Placement:
    """Where one thing of a scene is put: in the table frame, wxyz, at rest unless told."""

    position: np.ndarray  # [m], (3,)
    quaternion: np.ndarray  # (4,)
    velocity: np.ndarray | None = None  # linear [m/s] and angular [rad/s], (6,)


def edited(
    state: Mapping[str, Any],
    things: Mapping[str, Placement],
    robots: Mapping[str, tuple[np.ndarray, np.ndarray]],
    tensor: Callable[[Any], Any],
) -> dict[str, Any]:
    """Return the state of a scene with things and robots elsewhere.

    Args:
        state: As `Scene.dump_state(serialized=False)` gives it.
        things: Where objects are put, by name; all others stay.
        robots: Positions and velocities of all joints, by name.
        tensor: Makes OmniGibson's numbers.

    Raises:
        KeyError: The scene has no such thing.
    """
    state = dict(state)
    registry = dict(state["object_registry"])
    for name, placement in things.items():
        entry = copy.copy(registry[name])
        root = dict(entry["root_link"])
        root["pos"] = tensor(to_scene(placement.position))
        root["ori"] = tensor(to_xyzw(placement.quaternion))
        velocity = np.zeros(2 * VELOCITY_SIZE) if placement.velocity is None else placement.velocity
        root["lin_vel"] = tensor(velocity[:VELOCITY_SIZE])
        root["ang_vel"] = tensor(velocity[VELOCITY_SIZE:])
        registry[name] = {**entry, "root_link": root}

    for name, (position, velocity) in robots.items():
        still = {"joint_pos": tensor(position), "joint_vel": tensor(velocity)}
        still["joint_eff"] = tensor(np.zeros(len(position)))
        registry[name] = {**registry[name], **still}

    return {**state, "object_registry": registry}
