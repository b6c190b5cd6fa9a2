"""Ways from where the robot is into a subtask, and the noise on the way.

- "warp" (ours): the recorded approach is kept and bent. Each step is taken both as recorded from
  where the robot really is and as moved with the object, and a minimum-jerk weight slides from the
  first to the second until the pre-grasp. Shape, timing and smoothness of the approach survive.
- "straight" (MimicGen): a few steps on a straight line to the moved subtask, approach included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.segments import Subtask
from dexfw_envs.transforms import Array, Pose

BRIDGES = ("warp", "straight")
NOISES = ("none", "smooth", "white")
# Top speed of a minimum-jerk blend relative to the same way at constant speed.
MIN_JERK_PEAK = 1.875
ARRAYS = ("position", "quaternion", "hand")


@dataclass(frozen=True)
class EditOptions:
    """How motions are edited.

    Attributes:
        bridge: "warp" or "straight", see the module.
        warp_speed: Most that bending the approach may add to its speed [m/step]; an approach too
            short for that is slowed down.
        warp_turn: The same for rotation [rad/step].
        interpolation_steps: Length of a straight bridge.
        yaw_only: Turn the motion only about the vertical, by the nearest angle.
        noise: "smooth" (low-pass, as a hand wavers), "white" (MimicGen) or "none".
        noise_position: Standard deviation per axis [m].
        noise_rotation: Standard deviation per axis [rad].
        noise_hand: Standard deviation per hand joint [rad].
        noise_steps: Width (standard deviation) of the low-pass [steps].
    """

    bridge: str = "warp"
    warp_speed: float = 0.01
    warp_turn: float = 0.05
    interpolation_steps: int = 5
    yaw_only: bool = True
    noise: str = "smooth"
    noise_position: float = 0.003
    noise_rotation: float = 0.02
    noise_hand: float = 0.0
    noise_steps: float = 6.0

    def __post_init__(self) -> None:
        for name, valid in (("bridge", BRIDGES), ("noise", NOISES)):
            if getattr(self, name) not in valid:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; valid: {valid}")
        for name in ("warp_speed", "warp_turn", "noise_steps"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("interpolation_steps", "noise_position", "noise_rotation", "noise_hand"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


def min_jerk(fraction: Array) -> Array:
    """Rise smoothly from 0 to 1, at rest at both ends (Flash and Hogan 1985)."""
    x = np.clip(fraction, 0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


class Noise:
    """A stream of noise of unit variance, seamless over any number of draws.

    Args:
        width: Number of independent channels.
        options: Which noise.
        rng: Where the random numbers come from; "none" takes none.
    """

    def __init__(self, width: int, options: EditOptions, rng: np.random.Generator):
        self.width = width
        self.rng = rng
        half = int(np.ceil(3.0 * options.noise_steps)) if options.noise == "smooth" else 0
        kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / options.noise_steps) ** 2)
        self.kernel = kernel / np.linalg.norm(kernel) * (options.noise != "none")
        self.past = rng.standard_normal((2 * half, width))

    def draw(self, steps: int) -> Array:
        """Return the next `steps` values, (steps, width)."""
        if not self.kernel.any() or steps == 0:
            return np.zeros((steps, self.width))
        white = np.concatenate([self.past, self.rng.standard_normal((steps, self.width))])
        self.past = white[steps:]
        columns = [np.convolve(white[:, i], self.kernel, mode="valid") for i in range(self.width)]
        return np.stack(columns, axis=-1)


@dataclass(frozen=True)
class Piece:
    """Targets of one arm for some steps: (L, 3), (L, 4), (L, 6) and which of them get noise."""

    position: Array
    quaternion: Array
    hand: Array
    noisy: np.ndarray  # (L,) bool

    def moved(self, motion: Pose) -> Piece:
        """Move all targets rigidly."""
        position, quaternion = tf.compose(*motion, self.position, self.quaternion)
        return Piece(position, quaternion, self.hand, self.noisy)

    def blend(self, other: Piece, weight: Array) -> Piece:
        """Go from this (weight 0) to the `other` piece (weight 1), step by step, (L,)."""
        w = weight[:, None]
        return Piece(
            (1.0 - w) * self.position + w * other.position,
            tf.quat_slerp(self.quaternion, other.quaternion, weight),
            (1.0 - w) * self.hand + w * other.hand,
            other.noisy,
        )

    def rows(self, index: slice | np.ndarray) -> Piece:
        """Take some of the steps."""
        return Piece(
            self.position[index], self.quaternion[index], self.hand[index], self.noisy[index]
        )

    def disturbed(self, unit: Array, options: EditOptions) -> Piece:
        """Add noise given in standard deviations, (L, 12): position, rotation, hand."""
        unit = unit * self.noisy[:, None]
        turn = tf.quat_from_rotvec(options.noise_rotation * unit[:, 3:6])
        return Piece(
            self.position + options.noise_position * unit[:, :3],
            tf.quat_multiply(turn, self.quaternion),
            self.hand + options.noise_hand * unit[:, 6:],
            self.noisy,
        )

    @staticmethod
    def join(pieces: list[Piece]) -> Piece:
        """Put pieces one after the other."""
        names = (*ARRAYS, "noisy")
        return Piece(*(np.concatenate([getattr(p, name) for p in pieces]) for name in names))


def _recorded(source: Motion, arm: int, subtask: Subtask) -> Piece:
    rows = slice(subtask.start, subtask.stop)
    return Piece(
        source.position[rows, arm],
        source.quaternion[rows, arm],
        source.hand[rows, arm],
        np.ones(subtask.steps, dtype=bool),
    )


def warp(
    source: Motion, arm: int, subtask: Subtask, before: Pose, after: Pose, options: EditOptions
) -> Piece:
    """Slide the approach from the motion `before` to the motion `after` of its reference."""
    body = _recorded(source, arm, subtask)
    anchor = body.rows(np.array([subtask.lead]))
    old = anchor.moved(before)
    new = anchor.moved(after)
    way = np.linalg.norm(new.position - old.position)
    turn = tf.quat_multiply(tf.quat_conjugate(old.quaternion), new.quaternion)
    angle = np.linalg.norm(tf.rotvec_from_quat(turn))
    needed = MIN_JERK_PEAK * max(way / options.warp_speed, angle / options.warp_turn)
    steps = max(subtask.lead, int(np.ceil(needed - 1e-6)))

    # Where the approach has to be slowed down, the recorded steps are read at fractions.
    at = np.arange(steps) * (subtask.lead / max(steps, 1))
    low = np.floor(at).astype(int)
    following = body.rows(np.minimum(low + 1, subtask.lead))
    lead = body.rows(low).blend(following, at - low)
    weight = min_jerk(np.arange(steps) / max(steps, 1))
    bent = lead.moved(before).blend(lead.moved(after), weight)

    return Piece.join([bent, body.rows(slice(subtask.lead, None)).moved(after)])


def straight(
    source: Motion, arm: int, subtask: Subtask, last: Piece, after: Pose, options: EditOptions
) -> Piece:
    """Go in a straight line from the `last` target to the moved subtask, without noise."""
    body = _recorded(source, arm, subtask).moved(after)
    steps = options.interpolation_steps
    ends = [piece.rows(np.zeros(steps, dtype=int)) for piece in (last, body)]
    line = ends[0].blend(ends[1], np.arange(1, steps + 1) / (steps + 1))
    quiet = Piece(line.position, line.quaternion, line.hand, np.zeros(steps, dtype=bool))
    return Piece.join([quiet, body])
