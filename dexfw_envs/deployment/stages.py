"""Stages of recorded episodes, and the states from which episodes start in the middle of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dexfw_envs.deployment.shared_control import NEVER, STAGE
from dexfw_envs.envs.protocol import RobotEnv, StepResult
from dexfw_envs.envs.wrapper import EnvWrapper
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.scenario import Scenario

EpisodeT = TypeVar("EpisodeT", bound=Any)  # as run, or as stored
LEAST_LEFT = 20  # steps; a start with fewer left of its demonstration is done too soon to teach


@dataclass(frozen=True, eq=False)
class Start:
    """Where an episode starts.

    Attributes:
        scenario: The scene.
        stage: Index of the task's stage there.
        state: State vector (S,) of an intermediate stage; None for the scene's own start.
        pair: Number that all tries of one start share.
        attempt: 0 for the first try of it.
        armed: Whether the operator may take over.
        lost_at: Step at which the first try went wrong; `NEVER`: it did not, or none can be named.
    """

    scenario: Scenario
    stage: int = 0
    state: np.ndarray | None = None
    pair: int = 0
    attempt: int = 0
    armed: bool = False
    lost_at: int = NEVER


class StagedEnv(EnvWrapper):
    """An environment whose observations also hold the `stage`, handed to `run_episodes`.

    Args:
        env: A `DexVectorEnv` built with `autoreset_mode="disabled"`.
    """

    def reset(self, *, options: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes as the environment does."""
        observation, info = self.env.reset(options=options)
        return self._added(observation), info

    def step(self, actions: np.ndarray) -> StepResult:
        """Step as the environment does."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return self._added(observation), reward, terminated, truncated, info

    def _added(self, observation: Observation) -> Observation:
        stage = self.env.task.stage(self.env.world, self.env.memory).astype(np.int8)
        return {**observation, STAGE: stage}


def stages_of(env: RobotEnv, episode: Any) -> np.ndarray:
    """Return the task's stage at every state of an episode, (T+1,), by restoring them in `env`.

    Raises:
        ValueError: The episode has no states, or the backend cannot restore them.
    """
    states = np.asarray(episode.states)
    if not env.backend.capabilities.exact_restore:
        raise ValueError("episodes without a stage need a backend that restores states to find it")
    if not states.size:
        raise ValueError("episodes without a stage need states to find it")

    found = []
    for first in range(0, len(states), env.num_envs):
        rows = states[first : first + env.num_envs]
        mask = np.arange(env.num_envs) < len(rows)
        env.set_state_vectors(rows, [episode.scenario] * len(rows), mask)
        found.append(env.task.stage(env.world, env.memory)[mask])
    return np.concatenate(found)


def with_stages(env: RobotEnv, episode: EpisodeT) -> EpisodeT:
    """Return an episode with the stage among its observations, as `stages_of` finds it.

    Raises:
        ValueError: It has none yet, and the backend cannot restore states.
    """
    seen = episode.observations
    if STAGE in seen:
        stage = seen[STAGE]
    else:
        stage = stages_of(env, episode).astype(np.int8)
    return dataclasses.replace(episode, observations={**seen, STAGE: stage})


def stage_starts(episodes: Iterable[Any]) -> dict[int, list[Start]]:
    """Return, for each intermediate stage, the states in which episodes first reach it.

    Args:
        episodes: Successes with states and stages, of demonstrations or of scenes set up.

    Raises:
        ValueError: An episode has no states, as its backend cannot restore them.
    """
    found: dict[int, list[Start]] = {}
    for episode in episodes:
        if not np.asarray(episode.states).size:
            raise ValueError("episodes without states cannot start in the middle of a task")
        for start in _starts_of(episode):
            found.setdefault(start.stage, []).append(start)
    return dict(sorted(found.items()))


def _starts_of(episode: Any) -> Iterator[Start]:
    """Yield where an episode first reaches each stage that it does not pass over, in order."""
    stage = np.asarray(episode.observations[STAGE])  # (T+1,)
    for value in np.unique(stage[stage > 0]):
        first = int(np.argmax(stage >= value))
        reached = stage[first] == value
        steps_left = len(stage) - 1 - first
        if reached and steps_left >= LEAST_LEFT:
            yield Start(episode.scenario, int(value), np.asarray(episode.states[first]))


def longest_stage(stages: Sequence[np.ndarray]) -> float:
    """Return the most steps without a new stage of an ordinary demonstration: their median.

    One in which the object was lost and fetched again says nothing of the others.
    """
    longest = []
    for stage in stages:
        best = np.maximum.accumulate(stage)
        gains = np.flatnonzero(np.diff(best) > 0) + 1  # steps at which a new stage begins
        ends = np.concatenate([[0], gains, [len(stage) - 1]])
        longest.append(np.diff(ends).max())
    return float(np.median(longest))
