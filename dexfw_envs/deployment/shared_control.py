"""Taking over from a policy: who does it, when, and how without a jump.

An operator watches the worlds, takes over where it sees fit, and hands back. There are two kinds:
a person (`dexfw_envs.teleop.person`), and the task's scripted expert (`scripted_operator`). The
expert steps in, after a reaction delay, on a failure or a stall, or shortly before an earlier try
of the same start went wrong. `SharedControl` is a policy that lets an operator take over from
another policy.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.deployment.chunk_executor import ChunkExecutor, commands_in_force
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.episode import Observation

FREQUENCY = 30.0  # of the filter, undamped [rad/s] (this and the next two: DexPIE's code)
DAMPING = 0.85  # its damping ratio
SUBSTEPS = 6  # its steps in a control period, so at 120 Hz
BLEND = 5  # steps until an operator's commands count in full: they may lie far from those in force
STAGE = "stage"  # name of the observation that holds the stage
NEVER = -1  # in place of the step at which a try went wrong


class Intervention(Protocol):
    """Somebody who watches N worlds and takes over in some of them."""

    def prepare(self, mask: np.ndarray, armed: np.ndarray, lost_at: np.ndarray) -> None:
        """Learn of the k episodes to come in the worlds of `mask`, before `reset`.

        Args:
            mask: bool (N,).
            armed: Whether the operator may take over, bool (k,).
            lost_at: Step at which an earlier try of the same start went wrong, (k,), or `NEVER`.
        """

    def went_wrong(self, episode: Any) -> int:
        """Return the step at which an episode that failed went wrong, as this operator sees it.

        `NEVER` if it does not say; it then steps in when it sees the failure.
        """

    def reset(self, mask: np.ndarray) -> None:
        """Episodes begin in the worlds of `mask`."""

    def wants(self, observation: Observation, held: np.ndarray) -> np.ndarray:
        """Say where the operator commands the next step, bool (N,); `held`: the last one."""

    def begin(self, mask: np.ndarray) -> None:
        """Take over in the worlds of `mask`, from the commands in force."""

    def act(self, observation: Observation) -> np.ndarray:
        """Return the operator's `ee_pose` actions (N, action); they count where it commands."""

    def gives_up(self) -> np.ndarray:
        """Say after a step where the episode shall end as a failure, bool (N,)."""


class SmoothingFilter:
    """A second-order low-pass on the actions of N worlds, seeded with what is commanded.

    Its goal moves from there to what is asked for over the first `BLEND` steps.
    """

    def __init__(self, worlds: int, size: int) -> None:
        self.value = np.zeros((worlds, size))
        self.rate = np.zeros((worlds, size))  # of change, per second
        self.start = np.zeros((worlds, size))  # the seed
        self.age = np.zeros((worlds, 1))  # steps since it was seeded

    def seed(self, mask: np.ndarray, value: np.ndarray) -> None:
        """Start at `value` (N, size) in the worlds of `mask`, at rest."""
        self.value[mask] = value[mask]
        self.start[mask] = value[mask]
        self.rate[mask] = 0.0
        self.age[mask] = 0.0

    def step(self, goal: np.ndarray) -> np.ndarray:
        """Go on for a control period towards `goal` (N, size); return where that leads."""
        self.age += 1
        blend = np.minimum(self.age / BLEND, 1.0)
        goal = self.start + blend * (goal - self.start)

        dt = CONTROL_PERIOD / SUBSTEPS
        for _ in range(SUBSTEPS):
            spring = FREQUENCY**2 * (goal - self.value)
            damper = 2.0 * DAMPING * FREQUENCY * self.rate
            self.rate = self.rate + dt * (spring - damper)
            self.value = self.value + dt * self.rate
        return self.value.copy()


class SharedControl:
    """A policy from which an operator takes over; follows the `Policy` protocol.

    At a take-over the operator's actions pass a filter that starts at the command in force. When
    it hands back, the policy plans anew from what it sees then.

    Args:
        policy: What acts otherwise.
        operator: Who takes over.
        env: Where they act.

    Attributes:
        held: Where the operator commanded the last step, bool (N,).
    """

    def __init__(self, policy: ChunkExecutor, operator: Intervention, env: RobotEnv) -> None:
        self.policy = policy
        self.operator = operator
        self.env = env
        self.held = np.zeros(env.num_envs, dtype=bool)
        self.filter = SmoothingFilter(env.num_envs, env.codec.size)

    def reset(self, mask: np.ndarray) -> None:
        """Episodes begin in the worlds of `mask`; the policy has them first."""
        self.held = self.held & ~mask
        self.policy.reset(mask)
        self.operator.reset(mask)

    def act(self, observation: Observation) -> np.ndarray:
        """Return the next actions (N, action), the operator's where it wants to command."""
        wants = self.operator.wants(observation, self.held)
        begins = wants & ~self.held
        ends = self.held & ~wants
        if begins.any():
            self.operator.begin(begins)
            self.filter.seed(begins, commands_in_force(self.env))
        if ends.any():
            self.policy.reset(ends)
        self.held = wants

        action = self.policy.act(observation, ~wants)
        if wants.any():
            asked = np.clip(self.operator.act(observation), -1.0, 1.0)
            given = self.filter.step(asked)
            action[wants] = given[wants]
        return np.clip(action, -1.0, 1.0)
