"""What a backend tells a task about its worlds, in arrays with one leading axis of worlds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUNK = ("link", "hand", "support")  # what an object can lie in, the order of `penetration`


@dataclass(frozen=True)
class WorldState:
    """State of N worlds with A arms, O objects and C contents, in the table frame.

    Units are m, rad, s and N; quaternions are wxyz. Fingers are ordered thumb, index, middle,
    ring, little. Arrays are copies: nothing here changes when the backend steps on.
    """

    time: np.ndarray  # since reset [s], (N,)
    arm_position: np.ndarray  # [rad], (N, A, 7)
    arm_velocity: np.ndarray  # [rad/s], (N, A, 7)
    hand_position: np.ndarray  # [rad], (N, A, 12)
    hand_velocity: np.ndarray  # [rad/s], (N, A, 12)
    end_effector_position: np.ndarray  # palm centre [m], (N, A, 3)
    end_effector_quaternion: np.ndarray  # (N, A, 4)
    fingertip_position: np.ndarray  # [m], (N, A, 5, 3)
    fingertip_force: np.ndarray  # size of the net contact force on the distal link [N], (N, A, 5)
    object_position: np.ndarray  # centre of mass [m], (N, O, 3)
    object_quaternion: np.ndarray  # (N, O, 4)
    object_linear_velocity: np.ndarray  # [m/s], (N, O, 3)
    object_angular_velocity: np.ndarray  # in the table frame [rad/s], (N, O, 3)
    contents_position: np.ndarray  # [m], (N, C, 3)
    # What a vessel encloses, in its body frame: radius at the floor and at the rim, height of the
    # floor and of the rim; zeros for what holds nothing.
    object_opening: np.ndarray  # [m], (N, O, 4)
    object_extent: np.ndarray  # lowest and highest point on an object's z axis [m], (N, O, 2)
    hand_object_contact: np.ndarray  # palm and fingers, bool, (N, A, O)
    arm_object_contact: np.ndarray  # a link of the arm, or the wrist, bool, (N, A, O)
    object_support_contact: np.ndarray  # table or floor, bool, (N, O)
    object_object_contact: np.ndarray  # two objects touch each other, bool, (N,)
    arm_arm_contact: np.ndarray  # bool, (N,)
    # How deep an object lay in arm links, hands and supports at most, in any physics step of the
    # last control period; in the order of `SUNK`; nan where a backend cannot tell.
    penetration: np.ndarray  # [m], (N, 3)
    fault: np.ndarray  # the simulation broke down (not a number, or blown up), bool, (N,)

    @property
    def worlds(self) -> int:
        """Number of worlds N."""
        return self.time.shape[0]
