"""From OmniGibson's robots, objects and contacts to the suite's `WorldState`.

`simulator` is the facade, `api.OmniGibson`, or a share of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.omnigibson.description.frames import to_table, to_wxyz
from dexfw_envs.backends.omnigibson.description.plans import ArmNames, Plan, remounted
from dexfw_envs.backends.omnigibson.hands import HandFrames, JointMap, joint_map
from dexfw_envs.robots.spec import RobotSpec


@dataclass(frozen=True)
class ArmReader:
    """Reads and commands one arm with its hand, in any scene.

    Attributes:
        names: What it is called.
        arm_index: Places of the arm's joints in the robot's state, (7,).
        hand_index: Places of the hand's joints, in the suite's order, (12,).
        hand_map: Between the suite's hand and this one.
        tips: Fingertips in the frames of their links [m], (5, 3).
    """

    names: ArmNames
    arm_index: np.ndarray
    hand_index: np.ndarray
    hand_map: JointMap
    tips: np.ndarray = field(repr=False)

    def joints(self, simulator: Any, world: int) -> tuple[np.ndarray, np.ndarray]:
        """Read positions and velocities of arm and hand [rad], [rad/s], (19,) each."""
        position, velocity = simulator.joint_state(world, self.names.robot)
        return (
            np.concatenate(
                [
                    position[self.arm_index],
                    self.hand_map.from_other(position[self.hand_index]),
                ]
            ),
            np.concatenate(
                [
                    velocity[self.arm_index],
                    self.hand_map.rates_from_other(velocity[self.hand_index]),
                ]
            ),
        )

    def fingertips(self, simulator: Any, world: int) -> np.ndarray:
        """Read the fingertips in the table frame [m], (5, 3)."""
        poses = [_pose(simulator, world, self.names, link) for _, link in self.names.finger_links]
        places, turns = (np.array(part) for part in zip(*poses, strict=True))
        return places + tf.quat_rotate(turns, self.tips)

    def action(self, arm: np.ndarray, hand: np.ndarray) -> np.ndarray:
        """Return the controllers' command of arm (7,) and all hand joints (12,) [rad], (19,)."""
        return np.concatenate([arm, self.hand_map.to_other(hand)])


def _pose(simulator: Any, world: int, names: ArmNames, link: str) -> tuple[np.ndarray, np.ndarray]:
    position, orientation = simulator.link_pose(world, names.robot, link)
    return to_table(position), to_wxyz(orientation)


def measured_robot(
    simulator: Any, plan: Plan, asked: RobotSpec
) -> tuple[RobotSpec, list[ArmReader]]:
    """Measure the hands of the first scene, where they must be straight.

    Args:
        simulator: With scenes loaded.
        plan: The scene's robots.
        asked: The robot that the task asks for.

    Returns:
        The robot that is there, and one reader per arm.
    """
    robot = plan.robot
    readers = []
    for index, names in enumerate(plan.arms):
        joints = simulator.joint_names(0, names.robot)
        lower, upper = simulator.joint_limits(0, names.robot)
        hand_index = np.array([joints.index(name) for name in names.hand_joints])
        frames = _hand_frames(simulator, names)
        readers.append(
            ArmReader(
                names=names,
                arm_index=np.array([joints.index(name) for name in names.arm_joints]),
                hand_index=hand_index,
                hand_map=joint_map(robot.hand, lower[hand_index], upper[hand_index]),
                tips=frames.tips(),
            )
        )
        if not plan.own:
            flange = _flange(simulator, names, robot)
            robot = remounted(robot, index, *tf.relative(*flange, *frames.palm()), asked)

    return robot, readers


def _flange(simulator: Any, names: ArmNames, robot: RobotSpec) -> tuple[np.ndarray, np.ndarray]:
    """Read where the flange is: ahead of the last link along its z axis."""
    place, turn = _pose(simulator, 0, names, names.flange_link)
    return place + tf.quat_rotate(turn, np.array([0.0, 0.0, robot.arm.flange])), turn


def _hand_frames(simulator: Any, names: ArmNames) -> HandFrames:
    near, far = zip(*names.finger_links, strict=True)
    proximal = [_pose(simulator, 0, names, link)[0] for link in near]
    distal = [_pose(simulator, 0, names, link) for link in far]
    return HandFrames(
        np.array(proximal),
        np.array([place for place, _ in distal]),
        np.array([turn for _, turn in distal]),
        names.right_handed,
    )


@dataclass
class ContactReader:
    """Reads who touches whom in one scene.

    Args:
        simulator: The facade.
        world: Which scene.
        readers: Its arms.
        step: Physics step [s]: impulses become forces by it.
    """

    simulator: Any
    world: int
    readers: list[ArmReader]
    step: float

    def __post_init__(self) -> None:
        paths = {
            r.names.robot: self.simulator.link_paths(self.world, r.names.robot)
            for r in self.readers
        }
        self._hands = [[paths[r.names.robot][k] for k in r.names.hand_links] for r in self.readers]
        self._tips = [
            [paths[r.names.robot][k] for _, k in r.names.finger_links] for r in self.readers
        ]
        self._links = [[paths[r.names.robot][k] for k in r.names.arm_links] for r in self.readers]
        self._arms = [[*links, *hand] for links, hand in zip(self._links, self._hands, strict=True)]

    def read(self, names: list[str], table: str) -> dict[str, np.ndarray]:
        """Read the contacts of the last physics step.

        Args:
            names: The objects in play.
            table: Name of the table in use.

        Returns:
            The fields of `WorldState` about contact, without the leading axis.
        """
        things = [self.simulator.body_path(self.world, name) for name in names]
        pair = self._sizes(things[:1], things[1:]) if len(things) > 1 else np.zeros((1, 1))
        arms = self._sizes(*self._arms) if len(self._arms) == 2 else np.zeros((1, 1))

        return {
            "fingertip_force": self._forces(things),
            "hand_object_contact": self._touching(self._hands, things),
            "arm_object_contact": self._touching(self._links, things),
            "object_support_contact": np.array([self._supported(k, table) for k in names]),
            "object_object_contact": np.array(pair.max() > 0.0),
            "arm_arm_contact": np.array(arms.max() > 0.0),
        }

    def _touching(self, groups: list[list[str]], things: list[str]) -> np.ndarray:
        """Say which of each arm's links touch which objects, bool (A, O)."""
        rows = [path for group in groups for path in group]
        sizes = self._sizes(rows, things)  # (links, O)
        splits = np.cumsum([len(group) for group in groups])[:-1]
        return np.array([part.max(axis=0) for part in np.split(sizes, splits)]) > 0.0

    def _supported(self, name: str, table: str) -> bool:
        """Say whether table or floor touch an object; neither moves, so no impulse names them."""
        marks = (f"/{table}/", "ground_plane")
        return any(m in path for path in self.simulator.touching(self.world, name) for m in marks)

    def _forces(self, things: list[str]) -> np.ndarray:
        """Read the net force of everything movable on every distal link [N], (A, 5)."""
        columns = [*things, *(path for hand in self._hands for path in hand)]
        rows = [path for hand in self._tips for path in hand]
        net = self.simulator.impulses(rows, columns).sum(axis=1) / self.step
        return np.linalg.norm(net, axis=-1).reshape(len(self._tips), 5)

    def _sizes(self, rows: list[str], columns: list[str]) -> np.ndarray:
        return np.linalg.norm(self.simulator.impulses(rows, columns), axis=-1)


def no_contacts(arms: int, objects: int) -> dict[str, np.ndarray]:
    """Return what `ContactReader.read` gives of a scene that was not reset yet."""
    return {
        "fingertip_force": np.zeros((arms, 5)),
        "hand_object_contact": np.zeros((arms, objects), dtype=bool),
        "arm_object_contact": np.zeros((arms, objects), dtype=bool),
        "object_support_contact": np.zeros(objects, dtype=bool),
        "object_object_contact": np.array(False),
        "arm_arm_contact": np.array(False),
    }
