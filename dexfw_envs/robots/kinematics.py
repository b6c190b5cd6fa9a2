"""Batched forward kinematics and damped least-squares inverse kinematics in NumPy.

Every operation is elementwise over the batch or a stacked small matrix product, so a world's
result does not depend on how many worlds are computed beside it.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.robots.spec import Mount, RobotSpec

DAMPING = 0.02  # [m] and [rad]: keeps steps finite near singular poses
POSTURE_GAIN = 0.05  # pull towards the home posture in the null space, per iteration


class ArmKinematics:
    """Kinematics of one mounted arm, from its base to the palm."""

    def __init__(self, robot: RobotSpec, mount: Mount) -> None:
        self.arm, self.mount = robot.arm, mount
        self._alpha = [(np.cos(alpha), np.sin(alpha)) for _, alpha, _ in robot.arm.dh]
        self._base = _matrix(mount.base_position, mount.base_quaternion)
        flange = np.eye(4)
        flange[2, 3] = robot.arm.flange
        self._tool = flange @ _matrix(mount.palm_offset, mount.palm_quaternion)
        self.lower, self.upper = np.array(robot.arm.lower), np.array(robot.arm.upper)
        self.home = np.array(mount.home)

    def frames(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute all link frames and the palm frame in the table frame.

        Args:
            q: Joint positions [rad], (N, 7).

        Returns:
            Link frames (N, 7, 4, 4) and palm frame (N, 4, 4), homogeneous, lengths in [m].
        """
        links = np.empty((q.shape[0], self.arm.joints, 4, 4))
        current = np.broadcast_to(self._base, (q.shape[0], 4, 4))
        for i in range(self.arm.joints):
            current = current @ self._joint_transform(i, q[:, i])
            links[:, i] = current
        return links, current @ self._tool

    def _joint_transform(self, i: int, q: np.ndarray) -> np.ndarray:
        a, _, d = self.arm.dh[i]
        ca, sa = self._alpha[i]
        c, s = np.cos(q), np.sin(q)
        out = np.zeros((q.shape[0], 4, 4))
        out[:, 0, 0], out[:, 0, 1], out[:, 0, 3] = c, -s, a
        out[:, 1, 0], out[:, 1, 1], out[:, 1, 2], out[:, 1, 3] = s * ca, c * ca, -sa, -sa * d
        out[:, 2, 0], out[:, 2, 1], out[:, 2, 2], out[:, 2, 3] = s * sa, c * sa, ca, ca * d
        out[:, 3, 3] = 1.0
        return out

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return palm position (N, 3) [m] and quaternion (N, 4) for joint positions (N, 7)."""
        _, palm = self.frames(q)
        return palm[:, :3, 3].copy(), tf.quat_from_matrix(palm[:, :3, :3])

    def inverse(
        self, q: np.ndarray, position: np.ndarray, quaternion: np.ndarray, iterations: int = 2
    ) -> np.ndarray:
        """Move joint positions towards a palm pose by damped least squares.

        Args:
            q: Start of the search [rad], (N, 7).
            position: Palm target in the table frame [m], (N, 3).
            quaternion: Palm target, wxyz, (N, 4).
            iterations: Newton-like steps taken.

        Returns:
            Joint positions within the limits [rad], (N, 7).
        """
        target = tf.matrix_from_quat(quaternion)
        for _ in range(iterations):
            q = np.clip(q + self._step(q, position, target), self.lower, self.upper)
        return q

    def _step(self, q: np.ndarray, position: np.ndarray, target: np.ndarray) -> np.ndarray:
        links, palm = self.frames(q)
        axes = links[:, :, :3, 2]  # (N, 7, 3): modified DH joints turn about their own z
        arms = palm[:, None, :3, 3] - links[:, :, :3, 3]
        jacobian_t = np.concatenate([np.cross(axes, arms), axes], axis=2)  # (N, 7, 6)
        error = np.concatenate(
            [position - palm[:, :3, 3], _rotation_error(palm[:, :3, :3], target)], axis=1
        )
        jacobian = np.swapaxes(jacobian_t, 1, 2)
        gram = jacobian @ jacobian_t + DAMPING**2 * np.eye(6)  # (N, 6, 6)
        posture = POSTURE_GAIN * (self.home - q)
        # Null-space posture through the same damped inverse: J# (e - J p) + p.
        residual = error[..., None] - jacobian @ posture[..., None]
        return (jacobian_t @ np.linalg.solve(gram, residual))[..., 0] + posture


def _matrix(position: tuple[float, ...], quaternion: tuple[float, ...]) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = tf.matrix_from_quat(np.array(quaternion))
    out[:3, 3] = position
    return out


def _rotation_error(current: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the rotation from current to target as a world-frame vector, first order, (N, 3)."""
    return 0.5 * np.cross(current, target, axis=1).sum(axis=2)
