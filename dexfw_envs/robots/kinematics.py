"""Batched forward kinematics and damped least-squares inverse kinematics in NumPy.

Every operation is elementwise over the batch or a stacked small matrix product, so a world's
result does not depend on how many worlds are computed beside it. Vectors along the chain are kept
as (3, N): with the batch last, NumPy runs over long contiguous rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.robots.spec import Mount, RobotSpec

DAMPING = 0.02  # [m] and [rad]: keeps steps finite near singular poses
POSTURE_GAIN = 0.05  # pull towards the home posture in the null space, per iteration


@dataclass
class _Frame:
    """An orthonormal frame in the table frame: its axes and origin, each (3, N) or (3, 1)."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    origin: np.ndarray


class ArmKinematics:
    """Kinematics of one mounted arm, from its base to the palm."""

    def __init__(self, robot: RobotSpec, mount: Mount) -> None:
        self.arm = robot.arm
        self.mount = mount
        self._alpha = [(float(np.cos(alpha)), float(np.sin(alpha))) for _, alpha, _ in self.arm.dh]
        base = tf.matrix_from_quat(np.array(mount.base_quaternion))
        x, y, z = base.T[:, :, None]
        self._base = _Frame(x, y, z, np.array(mount.base_position)[:, None])
        self._palm_matrix = tf.matrix_from_quat(np.array(mount.palm_quaternion))
        self._palm_offset = np.array(mount.palm_offset) + (0.0, 0.0, robot.arm.flange)
        self.lower = np.array(robot.arm.lower)
        self.upper = np.array(robot.arm.upper)
        self.home = np.array(mount.home)

    def _chain(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, _Frame]:
        """Return joint axes and origins, each (3, 7, N), and the palm frame, for q (N, 7)."""
        angles = np.ascontiguousarray(q.T)
        cosines = np.cos(angles)
        sines = np.sin(angles)
        axes, origins = np.empty((2, 3, self.arm.joints, q.shape[0]))
        frame = self._base
        for i, (a, _, d) in enumerate(self.arm.dh):
            frame = _next_frame(frame, a, self._alpha[i], d, cosines[i], sines[i])
            axes[:, i] = frame.z
            origins[:, i] = frame.origin
        x, y, z = (_combined(frame, column) for column in self._palm_matrix.T)
        palm = _Frame(x, y, z, frame.origin + _combined(frame, self._palm_offset))
        return axes, origins, palm

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return palm position (N, 3) [m] and quaternion (N, 4) for joint positions (N, 7)."""
        palm = self._chain(np.asarray(q, dtype=float))[2]
        matrix = np.stack([palm.x, palm.y, palm.z], axis=-1).swapaxes(0, 1)
        return palm.origin.T.copy(), tf.quat_from_matrix(matrix)

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
        target = np.ascontiguousarray(tf.matrix_from_quat(quaternion).transpose(1, 2, 0))
        for _ in range(iterations):
            q = np.clip(q + self._step(q, position.T, target), self.lower, self.upper)
        return q

    def _step(self, q: np.ndarray, position: np.ndarray, target: np.ndarray) -> np.ndarray:
        axes, origins, palm = self._chain(q)
        rows = np.concatenate([_cross(axes, palm.origin[:, None] - origins), axes])  # (6, 7, N)
        # The rotation from palm to target as a vector in the table frame, first order.
        turn = 0.5 * _cross(np.stack([palm.x, palm.y, palm.z], axis=1), target).sum(axis=1)
        error = np.concatenate([position - palm.origin, turn])  # (6, N)
        jacobian = np.ascontiguousarray(rows.transpose(2, 0, 1))
        jacobian_t = np.ascontiguousarray(rows.transpose(2, 1, 0))
        gram = jacobian @ jacobian_t + DAMPING**2 * np.eye(6)  # (N, 6, 6)
        posture = POSTURE_GAIN * (self.home - q)
        # Null-space posture through the same damped inverse: J# (e - J p) + p.
        residual = error.T[..., None] - jacobian @ posture[..., None]
        return (jacobian_t @ np.linalg.solve(gram, residual))[..., 0] + posture


def _next_frame(
    last: _Frame,
    a: float,
    alpha: tuple[float, float],
    d: float,
    cosine: np.ndarray,
    sine: np.ndarray,
) -> _Frame:
    """Apply a row of the modified Denavit-Hartenberg table and a joint angle.

    Args:
        last: The frame before.
        a: Link length [m].
        alpha: Cosine and sine of the link twist.
        d: Link offset [m].
        cosine: Of the joint angle, (N,).
        sine: Of the joint angle, (N,).
    """
    ca, sa = alpha
    y = ca * last.y + sa * last.z
    z = ca * last.z - sa * last.y
    origin = last.origin
    if a:
        origin = origin + a * last.x
    if d:
        origin = origin + d * z
    return _Frame(cosine * last.x + sine * y, cosine * y - sine * last.x, z, origin)


def _combined(frame: _Frame, weights: np.ndarray) -> np.ndarray:
    """Express a vector (3,) given in a frame in the table frame, (3, N)."""
    return weights[0] * frame.x + weights[1] * frame.y + weights[2] * frame.z


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product over the first axis of (3, k, N)."""
    out = np.empty(a.shape)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        np.subtract(a[j] * b[k], a[k] * b[j], out=out[i])
    return out
