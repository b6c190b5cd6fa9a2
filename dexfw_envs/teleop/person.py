"""A person who takes over from a policy, with commands from any source, such as the keyboard."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import Targets
from dexfw_envs.deployment.shared_control import NEVER
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.observation import ARM_JOINTS

ALIGNED = 0.25  # a hand this near to the robot's in every joint may take over [rad]


class CommandSource(Protocol):
    """A person's commands, from a tracker and a glove, a keyboard, or anything else."""

    def asks(self) -> bool:
        """Say if the person wants to command; looked at once in a step."""

    def read(self) -> Targets:
        """Return the tracked wrists in any fixed frame, (A, 3) and (A, 4), and hands (A, 6)."""

    def follow(self, robot: Targets) -> None:
        """Show the person the robot's commands while the policy acts, to align with."""

    def stops(self) -> bool:
        """Say if the person wants to end the episode as a failure, once for every wish."""

    def release(self) -> None:
        """An episode begins: no wish from the last one counts."""


class PersonOperator:
    """A person who follows the robot and takes over from an aligned hand; one world only.

    The wrist counts relative to where it was at the take-over, so the arm cannot jump. The hand
    counts absolutely: a wish to take over waits until it is `ALIGNED` with the robot's.

    Args:
        env: The environment, of one world.
        source: Where the person's commands come from.

    Raises:
        ValueError: There are several worlds.
    """

    def __init__(self, env: RobotEnv, source: CommandSource) -> None:
        if env.num_envs != 1:
            raise ValueError(f"a person commands one world, got {env.num_envs}")
        self.env = env
        self.source = source
        self.armed = True
        # Where wrist and palm were at the take-over: position (A, 3), quaternion (A, 4)
        self._wrist = (np.zeros(0), np.zeros(0))
        self._palm = (np.zeros(0), np.zeros(0))

    def prepare(self, mask: np.ndarray, armed: np.ndarray, lost_at: np.ndarray) -> None:
        """Learn if the person may take over; a failure they have seen themselves."""
        self.armed = bool(np.all(armed))

    def went_wrong(self, episode: Any) -> int:
        """The person has seen it."""
        return NEVER

    def reset(self, mask: np.ndarray) -> None:
        """Episodes begin: the policy acts, the person sees the robot at its start."""
        self.source.release()
        self.source.follow(self._robot())

    def wants(self, observation: Observation, held: np.ndarray) -> np.ndarray:
        """Say if the person commands the next step, bool (1,)."""
        asks = self.source.asks() and self.armed
        if not held[0]:
            self.source.follow(self._robot())
            asks = asks and self._misaligned() < ALIGNED
        return np.array([asks])

    def begin(self, mask: np.ndarray) -> None:
        """Latch wrist and palm."""
        now = self.source.read()
        robot = self._robot()
        self._wrist = (now.position.copy(), now.quaternion.copy())
        self._palm = (robot.position.copy(), robot.quaternion.copy())

    def act(self, observation: Observation) -> np.ndarray:
        """Return the person's action (1, action)."""
        now = self.source.read()
        moved = tf.relative(*self._wrist, now.position, now.quaternion)
        position, quaternion = tf.compose(*self._palm, *moved)
        action = self.env.codec.encode(Targets(position, quaternion, now.hand))
        return action[None]

    def gives_up(self) -> np.ndarray:
        """Say if the person has seen enough, bool (1,)."""
        return np.array([self.source.stops()])

    def _misaligned(self) -> float:
        """Return the largest angle between a finger joint of the person and the robot's [rad]."""
        apart = self.source.read().hand - self._robot().hand
        return float(np.abs(apart).max())

    def _robot(self) -> Targets:
        """Return what the robot is commanded in the one world."""
        command = self.env.controller
        hand = command.joints[0, :, ARM_JOINTS:]
        return Targets(command.position[0], command.quaternion[0], hand)
