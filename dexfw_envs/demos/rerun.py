"""Replay of single episodes: by state or by action, compared with the record bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from typing import Any

import numpy as np

from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.store import EpisodeMismatch, StoredEpisode, check_origin

#: An episode ends with the step at which it has succeeded. On another kind of processor contacts
#: amplify rounding, and what is poured may come to rest some steps later: the last action is held
#: for up to so many steps more.
HELD = 20


@dataclass(frozen=True)
class Outcome:
    """How one episode came out when it was replayed.

    Attributes:
        identifier: Of the episode.
        exact: Everything compared is the same bit for bit.
        success: Whether the replay succeeds.
        recorded: Whether the episode succeeded when it was recorded.
        differs: First step at which something differs; -1 if nothing does.
        gap: By action, the most by which a number of a state differs; 0.0 by state.
    """

    identifier: str
    exact: bool
    success: bool
    recorded: bool
    differs: int
    gap: float


def check_fits(env: RobotEnv, episode: StoredEpisode) -> None:
    """Refuse an episode that cannot come out the same in an env.

    Raises:
        EpisodeMismatch: It has no states, or is of another env version, control mode, MuJoCo or
            size of state.
    """
    where = episode.identifier
    mode = env.controller.mode
    here = metadata.version("mujoco")
    assert env.spec is not None
    check_origin(vars(episode), where, env_id=env.spec.id, control_mode=mode)

    if not episode.states.shape[1]:
        raise EpisodeMismatch(
            f"{where} has no states, as its backend cannot restore them: it cannot be replayed"
        )

    if episode.mujoco_version != here:
        made = episode.mujoco_version or "none"
        raise EpisodeMismatch(
            f"{where} was made by mujoco {made!r} and replays exactly only there; here is {here!r}"
        )

    width = env.state_vectors().shape[1]
    if episode.states.shape[1] != width:
        raise EpisodeMismatch(
            f"{where} has states of {episode.states.shape[1]} numbers, this env's have {width}"
        )


def replay_states(env: RobotEnv, episodes: Iterable[StoredEpisode]) -> list[Outcome]:
    """Set every recorded state and compare what is seen in it.

    Args:
        env: Built with `autoreset_mode="disabled"`; its observation groups are compared
            where recorded.
        episodes: Stored episodes, with states.

    Returns:
        One outcome per episode. Exact means: the restored state, the observations, the length of
        the hold and the success are those on record in all T+1 frames.

    Raises:
        EpisodeMismatch: See `check_fits`.
    """
    return [_by_state(env, episode) for episode in episodes]


def _by_state(env: RobotEnv, episode: StoredEpisode) -> Outcome:
    check_fits(env, episode)
    frames = len(episode.states)
    same = np.ones(frames, dtype=bool)
    met = np.zeros(frames, dtype=bool)
    hold = np.zeros(frames, dtype=int)

    for start in range(0, frames, env.num_envs):
        rows = np.arange(start, min(start + env.num_envs, frames))
        worlds = np.arange(env.num_envs) < len(rows)
        scenarios = [episode.scenario] * len(rows)
        seen = env.set_state_vectors(episode.states[rows], scenarios, worlds)
        same[rows] = _same_bits(env.state_vectors()[worlds], episode.states[rows])
        for key in seen.keys() & episode.observations.keys() - {"image"}:
            same[rows] &= _same_bits(seen[key][worlds], episode.observations[key][rows])
        terms = env.task.success(env.world, env.memory)
        met[rows] = (np.logical_and.reduce(list(terms.values())) & ~env.world.fault)[worlds]
        hold[rows] = env.memory.hold[worlds]

    same[1:] &= hold[1:] == np.where(met[1:], hold[:-1] + 1, 0)
    success = bool(hold.max() >= env.task.hold_steps)
    same[-1] &= success == episode.success and hold.max() == episode.hold

    return _outcome(episode, np.flatnonzero(~same), success)


def replay_actions(env: RobotEnv, episodes: Iterable[StoredEpisode]) -> list[Outcome]:
    """Step the recorded actions from the first recorded state and compare the states.

    Then the last action is held for `HELD` steps, in which a success still counts as one.

    Args:
        env: Built with `autoreset_mode="disabled"`; as many episodes as it has worlds run
            side by side.
        episodes: Stored episodes, with states.

    Returns:
        One outcome per episode, in their order. Exact means: all T states come out bit for bit.

    Raises:
        EpisodeMismatch: See `check_fits`.
    """
    return [outcome for batch in batches(episodes, env.num_envs) for outcome in _act(env, batch)]


def _act(env: RobotEnv, batch: list[StoredEpisode]) -> list[Outcome]:
    for episode in batch:
        check_fits(env, episode)
    filled = batch + batch[:1] * (env.num_envs - len(batch))
    length = np.array([episode.length for episode in filled])
    steps = length.max() + HELD
    actions = _padded([episode.actions for episode in filled], steps)
    states = _padded([episode.states for episode in filled], steps + 1)
    env.set_state_vectors(states[:, 0], [episode.scenario for episode in filled])
    same = np.ones(states.shape[:2], dtype=bool)
    success = np.zeros(env.num_envs, dtype=bool)
    gap = np.zeros(env.num_envs)

    for step in range(steps):
        info = env.step(actions[:, step])[-1]
        going = step < length
        now = env.state_vectors()
        then = states[:, step + 1]
        same[:, step + 1] = _same_bits(now, then) | ~going
        gap = np.maximum(gap, np.where(going, np.abs(now - then).max(axis=1), 0.0))
        success |= (step < length + HELD) & info["success"]

    outcomes = zip(batch, ~same, success, gap, strict=False)  # worlds beyond the batch repeat it
    return [_outcome(e, np.flatnonzero(row), bool(won), float(d)) for e, row, won, d in outcomes]


def _outcome(
    episode: StoredEpisode, different: np.ndarray, success: bool, gap: float = 0.0
) -> Outcome:
    first = int(different[0]) if len(different) else -1
    return Outcome(episode.identifier, first < 0, success, episode.success, first, gap)


def _same_bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compare rows bit for bit (NaN equals itself): (k, ...) twice to bool (k,)."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.zeros(len(one), dtype=bool)
    pair = (np.ascontiguousarray(array).view(np.uint8) for array in (one, other))
    first, second = (array.reshape(len(one), -1) for array in pair)
    return (first == second).all(axis=1)


def _padded(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Stack arrays of various lengths, repeating their last rows."""
    return np.stack([array[np.minimum(np.arange(length), len(array) - 1)] for array in rows])


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cut a stream into lists of `size`, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
