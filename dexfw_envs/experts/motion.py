"""How scripted hands move: smooth palm commands with a person's tempo and unsteadiness."""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import CONTROL_PERIOD, HAND_ACTIONS, Targets
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.experts.grasp import (
    FREQUENCY,
    HAND_STEP,
    SPEED,
    TURNING,
    WANDER_KEPT,
    WANDER_KICK,
    Style,
)
from dexfw_envs.observation import ARM_JOINTS


class PalmMotion:
    """The palm and hand commands of N worlds with A arms, pulled towards goals.

    Args:
        env: The environment acted in.
        style: Timing and tremor.
        seed: Of the random numbers; each episode adds its scenario's seed.

    Attributes:
        position: Palm commands [m], (N, A, 3).
        quaternion: (N, A, 4).
        hand: Hand commands [rad], (N, A, 6).
        tempo: Of each world's episode, about 1, (N,).
    """

    def __init__(self, env: RobotEnv, style: Style, seed: int) -> None:
        n = env.num_envs
        arms = env.task.needs.robot.arms
        self.env = env
        self.style = style
        self.seed = seed

        self.position = np.zeros((n, arms, 3))
        self._velocity = np.zeros((n, arms, 3))
        self.quaternion = np.zeros((n, arms, 4))
        self.hand = np.zeros((n, arms, HAND_ACTIONS))
        self.tempo = np.ones(n)
        self._wander = np.zeros((n, arms, 3))

        self._generators = [np.random.default_rng(seed) for _ in range(n)]
        self._limits = env.task.needs.robot.hand.driven_limits()

    def reset(self, mask: np.ndarray) -> None:
        """Start from the commands in force, with a tempo drawn for every episode."""
        command = self.env.controller
        self.position[mask] = command.position[mask]
        self.quaternion[mask] = command.quaternion[mask]
        self.hand[mask] = command.joints[mask, :, ARM_JOINTS:]
        self._velocity[mask] = 0.0
        self._wander[mask] = 0.0

        for k in np.flatnonzero(mask):
            scenario = self.env.scenarios[k]
            assert scenario is not None, "worlds are reset before their expert"
            rng = np.random.default_rng([self.seed, scenario.seed])
            self._generators[k] = rng
            self.tempo[k] = 1.0 + rng.uniform(-self.style.timing, self.style.timing)

    def pauses(self, world: int | np.integer, count: int) -> np.ndarray:
        """Draw how many steps a world's episode rests before each of `count` stages, (count,)."""
        return self._generators[world].integers(0, self.style.pause + 1, count)

    def advance(self, position: np.ndarray, quaternion: np.ndarray, hand: np.ndarray) -> np.ndarray:
        """Move the commands one step towards goals and return the `ee_pose` actions.

        Args:
            position: Goals of the palms [m], (N, A, 3); reached as a critically damped mass does.
            quaternion: Goals, (N, A, 4).
            hand: Goals of the driven joints [rad], (N, A, 6).
        """
        self._move_palms(position)
        turned = np.broadcast_to(TURNING * self.tempo[:, None], self.position.shape[:2])
        self.quaternion = tf.quat_slerp(self.quaternion, quaternion, turned)

        step = np.clip(hand - self.hand, -HAND_STEP, HAND_STEP) * self.tempo[:, None, None]
        self.hand = np.clip(self.hand + step, *self._limits)

        self._let_wander()
        targets = Targets(self.position + self._wander, self.quaternion, self.hand)
        return np.clip(self.env.codec.encode(targets), -1.0, 1.0)

    def _move_palms(self, goal: np.ndarray) -> None:
        """Pull the palm commands towards goals, as critically damped masses, below `SPEED`."""
        tempo = self.tempo[:, None, None]
        rate = FREQUENCY * tempo
        pull = rate**2 * (goal - self.position) - 2 * rate * self._velocity
        self._velocity += CONTROL_PERIOD * pull

        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        self._velocity *= np.minimum(1.0, SPEED * tempo / np.maximum(speed, 1e-9))
        self.position += CONTROL_PERIOD * self._velocity

    def _let_wander(self) -> None:
        """Let each palm drift from its command by the style's tremor."""
        for k, rng in enumerate(self._generators):
            kick = rng.normal(0.0, self.style.tremor, self._wander.shape[1:])
            self._wander[k] = WANDER_KEPT * self._wander[k] + WANDER_KICK * kick


def palm_quaternion(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Orientations of a right and a left palm that face each other, (N, 2, 4).

    Args:
        yaw: Heading of the fingers [rad], (N,).
        pitch: How far the fingers point down [rad], (N,) or (N, 2).
        roll: How far the palms face up [rad], (N,) or (N, 2).
    """
    both = (len(yaw), 2)
    yaw = np.broadcast_to(_column(yaw), both)
    pitch = np.broadcast_to(_column(pitch), both)
    roll = np.broadcast_to(_column(roll), both)

    zero = np.zeros_like(yaw)
    up = np.array([0.0, 0.0, 1.0])
    ahead = np.stack([np.cos(yaw), np.sin(yaw), zero], axis=-1)
    across = np.stack([-np.sin(yaw), np.cos(yaw), zero], axis=-1)  # to the left
    facing = np.array([1.0, -1.0])[:, None] * across  # where each palm faces before the roll

    fingers = np.cos(pitch)[..., None] * ahead - np.sin(pitch)[..., None] * up
    top = np.sin(pitch)[..., None] * ahead + np.cos(pitch)[..., None] * up
    normal = np.cos(roll)[..., None] * facing + np.sin(roll)[..., None] * top
    axes = np.stack([fingers, np.cross(normal, fingers), normal], axis=-1)
    return tf.quat_from_matrix(axes)


def _column(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return values if values.ndim == 2 else values[:, None]


def heading(category: str, quaternion: np.ndarray) -> float:
    """Yaw that suits an upright object's faces [rad], within 45 degrees; 0 for a round one."""
    if category != "box":
        return 0.0
    axis = tf.quat_rotate(quaternion, np.array([1.0, 0.0, 0.0]))
    return float((np.arctan2(axis[1], axis[0]) + np.pi / 4) % (np.pi / 2) - np.pi / 4)
