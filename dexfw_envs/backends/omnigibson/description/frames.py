"""Between the suite's frames and OmniGibson's: the only place where quaternions are reordered.

The suite has wxyz and the table frame; OmniGibson has xyzw and, per world, a scene frame whose
ground is at height 0. Many scenes stand side by side in one stage, so nothing here is ever in world
coordinates.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.layout import FLOOR

ORIGIN = np.array([0.0, 0.0, -FLOOR])  # of the table frame, in the scene frame [m]


def to_xyzw(quaternion: np.ndarray) -> np.ndarray:
    """Reorder wxyz (..., 4) to OmniGibson's xyzw."""
    return np.roll(np.asarray(quaternion, dtype=float), -1, axis=-1)


def to_wxyz(quaternion: np.ndarray) -> np.ndarray:
    """Reorder OmniGibson's xyzw (..., 4) to wxyz."""
    return np.roll(np.asarray(quaternion, dtype=float), 1, axis=-1)


def to_scene(position: np.ndarray) -> np.ndarray:
    """Move positions (..., 3) [m] from the table frame to the scene frame."""
    return np.asarray(position, dtype=float) + ORIGIN


def to_table(position: np.ndarray) -> np.ndarray:
    """Move positions (..., 3) [m] from the scene frame to the table frame."""
    return np.asarray(position, dtype=float) - ORIGIN


def placed(position: np.ndarray, quaternion: np.ndarray) -> dict[str, list[float]]:
    """Return a pose in the table frame as the entries of an OmniGibson configuration."""
    return {
        "position": to_scene(position).tolist(),
        "orientation": to_xyzw(quaternion).tolist(),
    }


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Orientation wxyz (4,) of a camera that looks along its -z axis, its x axis level.

    Args:
        position: Of the camera [m], (3,).
        target: The point looked at [m], (3,), not straight above or below.
    """
    back = np.asarray(position, dtype=float) - np.asarray(target, dtype=float)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return tf.quat_from_matrix(np.stack([right, np.cross(back, right), back], axis=1))
