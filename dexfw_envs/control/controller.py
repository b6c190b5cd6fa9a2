"""From actions to joint targets for N worlds: slew limits and inverse kinematics."""

from __future__ import annotations

import numpy as np

from dexfw_envs import checks
from dexfw_envs.control.codec import CONTROL_PERIOD, HAND_SLEW, PoseCodec, Targets, advance
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.spec import RobotSpec

CONTROL_MODES = ("ee_pose", "joint")


class Controller:
    """Turn actions into joint targets for N worlds, remembering each world's last command.

    The command (arm joints, palm pose, hand joints) is part of the full state of an episode.
    """

    def __init__(self, robot: RobotSpec, num_worlds: int, mode: str) -> None:
        if mode not in CONTROL_MODES:
            raise ValueError(f"unknown control_mode {mode!r}; choose one of {CONTROL_MODES}")
        self.robot = robot
        self.mode = mode
        self.codec = PoseCodec(robot)
        self._kinematics = [ArmKinematics(robot, mount) for mount in robot.mounts]
        self._hand_limits = robot.hand.driven_limits()
        self._lower = np.concatenate([robot.arm.lower, self._hand_limits[0]])
        self._upper = np.concatenate([robot.arm.upper, self._hand_limits[1]])
        arm_slew = np.array(robot.arm.velocity) * CONTROL_PERIOD
        hand_slew = np.full(robot.hand.driven_joints, HAND_SLEW)
        self._joint_slew = np.concatenate([arm_slew, hand_slew])

        self._arm = slice(0, robot.arm.joints)  # of the joints of a command
        self._hand = slice(robot.arm.joints, robot.commanded_joints)
        commands = (num_worlds, robot.arms)
        self.joints = np.zeros((*commands, robot.commanded_joints))  # last joint command [rad]
        self.position = np.zeros((*commands, 3))  # last palm command [m]
        self.quaternion = np.zeros((*commands, 4))

    @property
    def action_size(self) -> int:
        """Length of an action: 12 per arm for `ee_pose`, 13 for `joint`."""
        if self.mode == "ee_pose":
            return self.codec.size
        return self.robot.arms * self.robot.commanded_joints

    def reset(self, mask: np.ndarray, arm_position: np.ndarray) -> None:
        """Start the commands of `mask` (N,) at measured arm joints (N, A, 7) [rad]."""
        self.joints[mask, :, self._arm] = arm_position[mask]
        self.joints[mask, :, self._hand] = self.robot.home_hand
        for arm, kinematics in enumerate(self._kinematics):
            position, quaternion = kinematics.forward(arm_position[mask, arm])
            self.position[mask, arm] = position
            self.quaternion[mask, arm] = quaternion

    def targets(self, action: np.ndarray) -> np.ndarray:
        """Advance the commands by one control step.

        Args:
            action: In [-1, 1], (N, action_size); values outside are clipped.

        Returns:
            Joint targets [rad], (N, A, 13).
        """
        action = np.clip(action, -1.0, 1.0)
        if self.mode == "joint":
            self._advance_joints(action.reshape(self.joints.shape))
        else:
            self._advance_pose(self.codec.decode(action))
        return self.joints.copy()

    def _advance_joints(self, action: np.ndarray) -> None:
        goal = self._lower + (action + 1) / 2 * (self._upper - self._lower)
        self.joints += np.clip(goal - self.joints, -self._joint_slew, self._joint_slew)

    def _advance_pose(self, goal: Targets) -> None:
        last = Targets(self.position, self.quaternion, self.joints[:, :, self._hand])
        command = advance(last, goal)
        self.position[:] = command.position
        self.quaternion[:] = command.quaternion
        self.joints[:, :, self._hand] = command.hand

        slew = self._joint_slew[self._arm]
        for arm, kinematics in enumerate(self._kinematics):
            joints = self.joints[:, arm, self._arm]
            goal_joints = kinematics.inverse(joints, self.position[:, arm], self.quaternion[:, arm])
            self.joints[:, arm, self._arm] = joints + np.clip(goal_joints - joints, -slew, slew)

    def get_state(self) -> np.ndarray:
        """Read the commands as rows, (N, 20 A)."""
        parts = (self.joints, self.position, self.quaternion)
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def set_state(self, mask: np.ndarray, rows: np.ndarray) -> None:
        """Restore the commands of `mask` from rows of `get_state`."""
        start = 0
        for part in (self.joints, self.position, self.quaternion):
            arms, width = part.shape[1:]
            stop = start + width * arms
            part[mask] = rows[:, start:stop].reshape(-1, arms, width)
            start = stop


def physics_steps(timestep: float) -> int:
    """Return how many physics steps of `timestep` [s] make a control period.

    Raises:
        ValueError: They do not divide it.
    """
    checks.positive("timestep", timestep)
    count = round(CONTROL_PERIOD / timestep)
    if count < 1 or abs(count * timestep - CONTROL_PERIOD) > 1e-9:
        raise ValueError(
            f"timestep {timestep} s does not divide the control period of {CONTROL_PERIOD} s; "
            "use for example 0.00125, 0.0025 or 0.005"
        )
    return count
