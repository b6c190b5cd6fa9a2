"""The scripted operator: the task's expert, which steps in after a reaction delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dexfw_envs.deployment.chunk_executor import check_latency
from dexfw_envs.deployment.shared_control import NEVER, STAGE
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.experts import TEACHER_STYLES, make_expert

LIFTED = 2  # in every task the stages from this one on have the object off its support
ROUNDING = 0.5  # of a count of steps that was worked out in floating point


@dataclass(frozen=True)
class Gate:
    """When the scripted operator steps in, and when it hands back.

    In a second try the operator has seen the first one: it steps in before the step at which that
    went wrong, and keeps control to the end of the episode.

    Attributes:
        foresight: Steps before the earlier try went wrong at which it notices: a grasp that will
            slip has to be mended before it closes.
        patience: Steps without a new stage that count as a stall; where the operator may not step
            in, it ends the episode then.
        dropped: Steps below the lifted stages, once reached, that count as a failure.
        knocked: An object that has moved so far in the plane while it stands was knocked [m].
        delay: Least and most steps from noticing something to taking over.
        handback: Steps for which it stays in a stage that it has helped to, before it hands back.
            It hands back once in an episode: the second time it keeps control to the end.
    """

    foresight: int = 20
    patience: int = 80
    dropped: int = 6
    knocked: float = 0.05
    delay: tuple[int, int] = (6, 14)
    handback: int = 10

    def __post_init__(self) -> None:
        least = min(self.patience, self.dropped, self.handback)
        if least < 1 or self.foresight < 0 or self.knocked <= 0:
            raise ValueError("patience, dropped, handback: at least 1; foresight: at least 0; "
                             f"knocked > 0; got {self}")  # fmt: skip
        check_latency(self.delay)


class ScriptedOperator:
    """The task's expert, which steps in after a reaction delay.

    It steps in when it sees a failure or a stall, and in a second try before the step at which the
    first went wrong; see `Gate`.

    Args:
        env: Where it acts; its true state is read.
        gate: When it steps in.
        seed: Of delays, and of the expert's timing and tremor.

    Attributes:
        armed: Where it may step in at all, bool (N,).

    Raises:
        ValueError: There is no expert for the task.
    """

    def __init__(self, env: RobotEnv, gate: Gate | None = None, seed: int = 0) -> None:
        self.env = env
        self.gate = gate or Gate()
        style = TEACHER_STYLES.get(env.task.name)
        self.expert = make_expert(env, style=style, seed=seed)
        self._rng = np.random.default_rng(seed)

        n = env.num_envs
        self.armed = np.ones(n, dtype=bool)
        self._lost_at = np.full(n, NEVER)  # step at which the first try went wrong
        self._steps = np.zeros(n, dtype=int)  # of the episode
        self._best = np.zeros(n, dtype=int)  # stage reached so far
        self._from = np.zeros(n, dtype=int)  # stage at the take-over
        self._since = np.zeros(n, dtype=int)  # steps since a new best stage
        self._below = np.zeros(n, dtype=int)  # steps since what was lifted is not
        self._delay = np.full(n, -1)  # steps until it takes over; -1: nothing noticed
        self._helped = np.zeros(n, dtype=int)  # steps in a stage that it helped to
        self._times = np.zeros(n, dtype=int)  # how often it has taken over

    def prepare(self, mask: np.ndarray, armed: np.ndarray, lost_at: np.ndarray) -> None:
        """Learn of the episodes to come in the worlds of `mask`."""
        self.armed[mask] = armed
        self._lost_at[mask] = lost_at

    def went_wrong(self, episode: Any) -> int:
        """Return the step of the first knock or drop, or of the last new stage if earlier."""
        stage = np.asarray(episode.observations[STAGE])  # (T+1,)
        objects = np.asarray(episode.observations["object"]).reshape(len(stage), -1)
        place = objects[:, :2]  # of the first object in the plane [m]
        low = stage < LIFTED
        moved = np.linalg.norm(place - place[0], axis=1)
        knocked = low & (moved > self.gate.knocked)

        fell = low & np.maximum.accumulate(~low)
        window = np.ones(self.gate.dropped)
        recently = np.convolve(fell, window)[: len(low)]  # how many of the last steps
        dropped = recently >= self.gate.dropped - ROUNDING

        last_gain = int(np.argmax(stage == stage.max()))
        wrong = np.flatnonzero(knocked | dropped)
        if not len(wrong):
            return last_gain
        return min(last_gain, int(wrong[0]))

    def reset(self, mask: np.ndarray) -> None:
        """Episodes begin in the worlds of `mask`, from whatever stage they are in."""
        self.expert.reset(mask)
        self._best[mask] = self._stage()[mask]
        for counter in (self._steps, self._times, self._since, self._below, self._helped):
            counter[mask] = 0
        self._delay[mask] = -1

    def wants(self, observation: Observation, held: np.ndarray) -> np.ndarray:
        """Say where it commands the next step, bool (N,)."""
        stage = self._stage()
        self._watch(stage)
        takes_over = self._takes_over(held)
        hands_back = self._hands_back(held, stage)
        self._since[hands_back] = 0  # the policy gets the whole patience again
        return (held & ~hands_back) | takes_over

    def _takes_over(self, held: np.ndarray) -> np.ndarray:
        """Notice what is wrong or known to come, and say where the delay is over, bool (N,)."""
        known = self._lost_at != NEVER
        warning = np.maximum(self._lost_at - self.gate.foresight, 0)
        due = known & (self._steps == warning + 1)
        free = self.armed & ~held & (self._delay < 0)
        noticed = free & (due | self._trouble())

        low, high = self.gate.delay
        drawn = self._rng.integers(low, high + 1, len(held))
        counted_down = np.maximum(self._delay - 1, -1)
        self._delay = np.where(noticed, drawn, counted_down)
        return self._delay == 0

    def _hands_back(self, held: np.ndarray, stage: np.ndarray) -> np.ndarray:
        """Say where it has helped for long enough, the first time in an episode, bool (N,)."""
        helped = held & (stage > self._from) & (stage >= self._best)
        self._helped = np.where(helped, self._helped + 1, 0)
        long_enough = self._helped >= self.gate.handback
        known = self._lost_at != NEVER
        return long_enough & (self._times < 2) & ~known

    def _watch(self, stage: np.ndarray) -> None:
        """Count the steps of the episode, without a new best stage, and below what was lifted."""
        self._steps += 1
        self._since = np.where(stage > self._best, 0, self._since + 1)
        self._best = np.maximum(self._best, stage)
        fell = (self._best >= LIFTED) & (stage < LIFTED)
        self._below = np.where(fell, self._below + 1, 0)

    def begin(self, mask: np.ndarray) -> None:
        """Take over; the expert starts from the commands in force and the stage it finds."""
        self.expert.reset(mask)
        self._from[mask] = self._stage()[mask]
        self._helped[mask] = 0
        self._times[mask] += 1

    def act(self, observation: Observation) -> np.ndarray:
        """Return the expert's actions (N, action)."""
        return self.expert.act(observation)

    def gives_up(self) -> np.ndarray:
        """Say where a stall need not be watched any longer, since it may not step in."""
        return ~self.armed & (self._since >= self.gate.patience)

    def _stage(self) -> np.ndarray:
        return self.env.task.stage(self.env.world, self.env.memory)

    def _trouble(self) -> np.ndarray:
        """Say where a person would see a failure coming, or nothing happening, bool (N,)."""
        world = self.env.world
        start = self.env.memory.start_position
        offset = world.object_position[:, 0] - start[:, 0]  # of the first object [m]
        moved = np.linalg.norm(offset[:, :2], axis=1)
        knocked = world.object_support_contact[:, 0] & (moved > self.gate.knocked)
        stalled = self._since >= self.gate.patience
        dropped = self._below >= self.gate.dropped
        return knocked | stalled | dropped
