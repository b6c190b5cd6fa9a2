"""All arms and hands of the scenes: read, commanded, and written into a scene's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dexfw_envs.backends.omnigibson.reading import ArmReader
from dexfw_envs.observation import ARM_JOINTS
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.spec import RobotSpec

HAND_FRICTION = 0.5  # below every object's, as in the MuJoCo model


class Arms:
    """The arms of N equal scenes.

    Args:
        simulator: The facade.
        robot: The robot that is there.
        readers: One per arm.
    """

    def __init__(self, simulator: Any, robot: RobotSpec, readers: Sequence[ArmReader]) -> None:
        self._simulator = simulator
        self.robot = robot
        self.readers = list(readers)
        self._kinematics = [ArmKinematics(robot, mount) for mount in robot.mounts]

    def set_friction(self, world: int) -> None:
        """Let what the hands touch decide on friction, as in the MuJoCo model."""
        for name in {reader.names.robot for reader in self.readers}:
            links = [
                link for r in self.readers if r.names.robot == name for link in r.names.hand_links
            ]
            self._simulator.set_friction(world, name, links, HAND_FRICTION, "max")

    def set_gains(self, world: int) -> None:
        """Give all joints the suite's gains; OmniGibson's own come back at every start."""
        for reader in self.readers:
            self._simulator.set_gains(world, reader.names.robot, self._gains(reader))

    def _gains(self, reader: ArmReader) -> dict[str, tuple[float, float, float]]:
        arm = self.robot.arm
        hand = self.robot.hand
        rows = zip(reader.names.arm_joints, arm.stiffness, arm.damping, arm.effort, strict=True)
        gains = {name: (kp, kv, effort) for name, kp, kv, effort in rows}
        fingers = (hand.stiffness, hand.damping, hand.effort)
        return gains | dict.fromkeys(reader.names.hand_joints, fingers)

    def joints(self, world: int) -> tuple[np.ndarray, np.ndarray]:
        """Read positions [rad] and velocities [rad/s] of arms and hands, (A, 19) each."""
        rows = [reader.joints(self._simulator, world) for reader in self.readers]
        return np.array([q for q, _ in rows]), np.array([v for _, v in rows])

    def fingertips(self, world: int) -> np.ndarray:
        """Read the fingertips in the table frame [m], (A, 5, 3)."""
        return np.array([reader.fingertips(self._simulator, world) for reader in self.readers])

    def palms(self, arm_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the palms of arm joints (N, A, 7): positions (N, A, 3) [m], wxyz (N, A, 4)."""
        poses = [k.forward(arm_joints[:, arm]) for arm, k in enumerate(self._kinematics)]
        return (
            np.stack([place for place, _ in poses], axis=1),
            np.stack([turn for _, turn in poses], axis=1),
        )

    def command(self, world: int, arms: np.ndarray, hands: np.ndarray) -> None:
        """Give joint targets of arms (A, 7) and of all hand joints (A, 12) [rad]."""
        actions: dict[str, list[np.ndarray]] = {}
        for reader, arm, hand in zip(self.readers, arms, hands, strict=True):
            actions.setdefault(reader.names.robot, []).append(reader.action(arm, hand))
        for name, parts in actions.items():
            self._simulator.command(world, name, np.concatenate(parts))

    def states(
        self, world: int, joints: np.ndarray, rates: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return all joints of every robot with arms and hands (A, 19) at given values."""
        robots: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for arm, reader in enumerate(self.readers):
            name = reader.names.robot
            if name not in robots:
                position, velocity = self._simulator.joint_state(world, name)
                robots[name] = (position.copy(), velocity.copy())
            position, velocity = robots[name]
            position[reader.arm_index] = joints[arm, :ARM_JOINTS]
            position[reader.hand_index] = reader.hand_map.to_other(joints[arm, ARM_JOINTS:])
            velocity[reader.arm_index] = rates[arm, :ARM_JOINTS]
            velocity[reader.hand_index] = reader.hand_map.to_other_rates(rates[arm, ARM_JOINTS:])
        return robots
