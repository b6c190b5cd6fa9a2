"""Which OmniGibson robots stand for the suite's robots, and by which names they are read.

The Franka with an Inspire hand comes with OmniGibson's assets; the two-armed robot is written by
the suite itself; two Frankas are the way around it that needs no file of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dexfw_envs.backends.omnigibson.description.robot_class import (
    CLASS_NAME,
    arm_joint_names,
    finger_link_names,
    hand_joint_names,
)
from dexfw_envs.catalog.lookup import find
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.panda import panda
from dexfw_envs.robots.spec import FINGERS, Mount, RobotSpec

FRANKA_FILES = ("models/franka/franka_inspire.usd", "models/franka/franka_inspire.urdf")
# Feet of two Frankas: far enough apart for the elbows, near enough for palms at the middle [m].
FRANKA_FEET = ((-0.60, -0.35, 0.0), (-0.60, 0.35, 0.0))
STARTS = 64  # of the search
FRANKA_HOME = (0.0, -0.6, 0.0, -2.4, 0.0, 1.9, 0.785)  # ready, fingers ahead [rad]


@dataclass(frozen=True)
class ArmNames:
    """By which names one arm and its hand are known in OmniGibson.

    Attributes:
        robot: Name of the robot that the arm belongs to.
        group: Name of the arm in the robot's controllers: "0", "right", "left".
        arm_joints: Base first.
        hand_joints: In the suite's order.
        flange_link: The link that the last arm joint turns.
        finger_links: (proximal, distal) of each finger, thumb first.
        hand_links: All that counts as the hand.
        arm_links: The rest of the arm.
        right_handed: Whether the hand is a right one, whatever side it hangs on.
    """

    robot: str
    group: str
    arm_joints: tuple[str, ...]
    hand_joints: tuple[str, ...]
    flange_link: str
    finger_links: tuple[tuple[str, str], ...]
    hand_links: tuple[str, ...]
    arm_links: tuple[str, ...]
    right_handed: bool


@dataclass(frozen=True)
class Plan:
    """Robots of one scene.

    Attributes:
        name: As the backend's option `robot` names it.
        kind: OmniGibson's class.
        robot: The suite's description; mounts of hands that are not ours are measured later.
        arms: In the order of the robot's mounts.
        files: What must be under OmniGibson's asset folder.
        own: Whether the suite wrote the robot's files.
    """

    name: str
    kind: str
    robot: RobotSpec
    arms: tuple[ArmNames, ...]
    files: tuple[str, ...]
    own: bool


PLANS = {1: ("franka_inspire",), 2: ("dual_rm75", "two_frankas")}  # by arms; the first is usual


def make_plan(robot: RobotSpec, name: str | None) -> Plan:
    """Return the robots that stand for a task's robot.

    Args:
        robot: What the task asks for.
        name: One of `PLANS` for its number of arms; None for the first.

    Raises:
        ValueError: The name is not one of them.
    """
    names = PLANS[robot.arms]
    return find(
        {key: {"franka_inspire": _franka, "dual_rm75": _dual, "two_frankas": _frankas}[key]
         for key in names},
        names[0] if name is None else name,
        f"robot with {robot.arms} arm{'s' * (robot.arms > 1)}",
    )(robot)  # fmt: skip


def _franka(robot: RobotSpec) -> Plan:
    names = _franka_names(robot.mounts[0].side)
    return Plan("franka_inspire", "FrankaPanda", robot, (names,), FRANKA_FILES, own=False)


def _dual(robot: RobotSpec) -> Plan:
    arms = tuple(_own_names(robot, mount.side) for mount in robot.mounts)
    return Plan("dual_rm75", CLASS_NAME, robot, arms, (), own=True)


def _frankas(robot: RobotSpec) -> Plan:
    mounts = tuple(
        replace(mount, base_position=foot, base_quaternion=(1.0, 0.0, 0.0, 0.0))
        for mount, foot in zip(robot.mounts, FRANKA_FEET, strict=True)
    )
    pair = replace(robot, name="two_pandas_inspire", arm=panda(), mounts=mounts)
    names = tuple(_franka_names(mount.side) for mount in mounts)
    return Plan("two_frankas", "FrankaPanda", pair, names, FRANKA_FILES, own=False)


def _franka_names(robot: str) -> ArmNames:
    """Names in the Franka with an Inspire hand, from the class's source; thumb first."""
    fingers = tuple((f"link{i}1", f"link{i}2") for i in range(2, 6))
    links = ("link11", "link12", "link13", "link14", *(name for pair in fingers for name in pair))
    return ArmNames(
        robot=robot,
        group="0",
        arm_joints=tuple(f"panda_joint{i + 1}" for i in range(7)),
        hand_joints=tuple(link.replace("link", "joint") for link in links),
        flange_link="panda_link7",
        finger_links=(("link13", "link14"), *fingers),
        hand_links=("base_link", *links),
        arm_links=tuple(f"panda_link{i}" for i in range(1, 8)),
        right_handed=True,
    )


def _own_names(robot: RobotSpec, side: str) -> ArmNames:
    links = finger_link_names(side)
    return ArmNames(
        robot="robot",
        group=side,
        arm_joints=tuple(arm_joint_names(robot, side)),
        hand_joints=tuple(hand_joint_names(robot, side)),
        flange_link=f"{side}_link{robot.arm.joints}",
        finger_links=tuple((f"{side}_{f}_proximal", f"{side}_{f}_distal") for f in FINGERS),
        hand_links=(f"{side}_palm", *links),
        arm_links=tuple(f"{side}_link{i + 1}" for i in range(robot.arm.joints)),
        right_handed=side == "right",
    )


def remounted(
    robot: RobotSpec, index: int, offset: np.ndarray, quaternion: np.ndarray, asked: RobotSpec
) -> RobotSpec:
    """Return the robot with a hand mounted otherwise, its home such that the palm starts as asked.

    Args:
        robot: The robot.
        index: Which arm.
        offset: Flange to palm centre in the flange frame [m], (3,).
        quaternion: Flange to palm, wxyz, (4,).
        asked: The robot that the task asks for: where its palm is at home.

    Raises:
        ValueError: No joint angles bring the palm to within a centimetre of where it should be.
    """
    old = robot.mounts[index]
    new: Mount = replace(
        old,
        palm_offset=tuple(float(v) for v in offset),  # type: ignore[arg-type]
        palm_quaternion=tuple(float(v) for v in quaternion),  # type: ignore[arg-type]
    )
    usual = asked.mounts[index]
    pose = ArmKinematics(asked, usual).forward(np.array([usual.home]))
    near = usual.home if asked.arm == robot.arm else FRANKA_HOME
    home, miss = _reached(robot, new, pose, np.array(near))

    if miss > 0.01:
        raise ValueError(
            f"the {old.side} hand's mount puts the palm's start out of reach by {miss:.3f} m: "
            f"offset {np.round(offset, 4).tolist()}, quaternion {np.round(quaternion, 4).tolist()}"
        )

    mounts = list(robot.mounts)
    mounts[index] = replace(new, home=tuple(float(q) for q in home))
    return replace(robot, mounts=tuple(mounts))


def _reached(
    robot: RobotSpec, mount: Mount, pose: tuple[np.ndarray, np.ndarray], near: np.ndarray
) -> tuple[np.ndarray, float]:
    """Search joint angles from many starts; return the best (7,) and how far off it is [m]."""
    lower = np.array(robot.arm.lower)
    upper = np.array(robot.arm.upper)
    near = np.clip(near, lower, upper)
    starts = np.random.default_rng(0).uniform(lower, upper, (STARTS, robot.arm.joints))
    starts[0] = near
    kinematics = ArmKinematics(robot, replace(mount, home=tuple(near.tolist())))
    place, turn = (np.repeat(part, STARTS, axis=0) for part in pose)
    found = kinematics.inverse(starts, place, turn, iterations=200)
    position, quaternion = kinematics.forward(found)
    aligned = np.abs((quaternion * turn).sum(axis=1))
    miss = np.linalg.norm(position - place, axis=1) + 0.1 * np.arccos(np.clip(aligned, 0.0, 1.0))

    # Of all that arrive clear of their limits, the one most like the usual posture.
    clear = np.minimum(found - lower, upper - found).min(axis=1) > 0.05
    arrived = (miss < 0.005) & clear
    best = int(np.where(arrived, np.linalg.norm(found - near, axis=1), 1e3 + miss).argmin())

    return found[best], float(miss[best])


def dual_plan() -> Plan:
    """Return the plan of the robot that the suite writes itself."""
    return _dual(dual_rm75_inspire())
