"""Running episodes of a policy on a batch of worlds: the one loop behind evaluation and collection.

The env is built with ``autoreset_mode="disabled"``: a world whose episode ends is given its next
scenario at once by a masked reset, so that no world waits for the slowest one. Each scenario is run
exactly once. With a deterministic policy the episodes do not depend on the number of worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode

from dexfw_envs.console import reporting
from dexfw_envs.envs.protocol import EpisodeEnv
from dexfw_envs.episodes.episode import Episode, Observation, mean_second_difference
from dexfw_envs.tasks.base import FAILURES

if TYPE_CHECKING:
    from dexfw_envs.scenario import Scenario

ProgressCallback = Callable[[int, "int | None", "Episode"], None]
StepCallback = Callable[[np.ndarray, np.ndarray], None]


class Policy(Protocol):
    """What can be run: scripted experts, trained policies, recorded actions."""

    def reset(self, mask: np.ndarray) -> None:
        """Forget the past of the worlds in `mask`, (N,) bool; called after their env reset."""

    def act(self, observation: Observation) -> np.ndarray:
        """Return the actions in [-1, 1], (N, action), for observations of shape (N, ...)."""


class _Recorder:
    """Buffers of the episodes under way, one row per world, allocated once."""

    def __init__(self, env: EpisodeEnv, trajectories: bool, observation_keys: Sequence[str] | None):
        self.env, self.trajectories, self.keys = env, trajectories, observation_keys
        count, self.max_steps = env.num_envs, int(env.max_episode_steps)
        self.index = np.full(count, -1)
        self.scenarios: list[Any] = [None] * count
        self.length = np.zeros(count, dtype=np.int64)
        self.hold = np.zeros(count, dtype=np.int64)
        self.stage, self.stages = np.zeros(count, dtype=np.int64), len(env.task.stages)
        self.success = np.zeros(count, dtype=bool)
        self.reward_terms: dict[str, np.ndarray] = {}
        self.success_terms: dict[str, np.ndarray] = {}
        space = env.single_action_space
        self.actions = np.zeros((count, self.max_steps, *space.shape), dtype=space.dtype)
        self.rewards = np.zeros((count, self.max_steps if trajectories else 0))
        self.observations: Observation = {}
        self.states = np.zeros((count, 0, 0))

    @property
    def active(self) -> np.ndarray:
        """Worlds with an episode under way, (N,) bool."""
        return self.index >= 0

    def start(self, mask: np.ndarray, items: list[tuple[int, Any]], seen: Observation) -> None:
        """Begin the episodes `items` (index, scenario) in the first worlds of `mask`."""
        terms = (*self.reward_terms.values(), *self.success_terms.values())
        for array in (self.length, self.hold, self.stage, self.success, *terms):
            array[mask] = 0
        self.index[mask] = -1
        for world, (index, scenario) in zip(np.flatnonzero(mask), items, strict=False):
            self.index[world], self.scenarios[world] = index, scenario
        if self.trajectories:
            if not self.observations:
                self._allocate(seen)
            self._save_frame(seen, np.flatnonzero(mask))

    def _allocate(self, observation: Observation) -> None:
        if isinstance(observation, np.ndarray):
            raise ValueError(
                "episodes are kept by observation groups: make the env without '/flat'"
            )
        keys = observation if self.keys is None else self.keys
        unknown = [key for key in keys if key not in observation]
        if unknown:
            raise ValueError(f"unknown observation keys {unknown}; valid: {sorted(observation)}")
        self.observations = {
            key: np.empty((len(value), self.max_steps + 1, *value.shape[1:]), value.dtype)
            for key, value in observation.items()
            if key in keys
        }
        states = self._full_states()
        self.states = np.empty((len(states), self.max_steps + 1, states.shape[1]), states.dtype)

    def _full_states(self) -> np.ndarray:
        """Read the state of every world, (N, S); S = 0 where it could not be restored exactly."""
        if self.env.backend.capabilities.exact_restore:
            return self.env.state_vectors()
        return np.zeros((len(self.index), 0))

    def _save_frame(self, observation: Observation, worlds: np.ndarray) -> None:
        at = (worlds, self.length[worlds])
        for key, buffer in self.observations.items():
            buffer[at] = observation[key][worlds]
        self.states[at] = self._full_states()[worlds]

    def save_actions(self, actions: np.ndarray) -> np.ndarray:
        """Keep the actions of the active worlds and return what all worlds shall execute.

        Worlds without an episode repeat their last action, whatever the policy says for them.
        """
        if actions.shape != (shape := (len(self.index), *self.actions.shape[2:])):
            raise ValueError(f"the policy returned actions of shape {actions.shape}, need {shape}")
        actions = np.clip(actions, -1.0, 1.0).astype(self.actions.dtype)
        worlds, idle = np.flatnonzero(self.active), np.flatnonzero(~self.active)
        if len(worlds) and self.length[worlds].max() >= self.max_steps:
            raise RuntimeError(f"an episode passed max_episode_steps = {self.max_steps}")
        self.actions[worlds, self.length[worlds]] = actions[worlds]
        actions[idle] = self.actions[idle, np.maximum(self.length[idle] - 1, 0)]
        return actions

    def save_step(self, observation: Observation, reward: np.ndarray, info: dict) -> None:
        """Keep what the env returned for the active worlds."""
        worlds = np.flatnonzero(self.active)
        if self.trajectories:
            self.rewards[worlds, self.length[worlds]] = reward[worlds]
        self.length[worlds] += 1
        if self.trajectories:
            self._save_frame(observation, worlds)
        self.success[worlds] |= info["success"][worlds]
        for most, now in ((self.hold, info["hold"]), (self.stage, info["stage"])):
            most[worlds] = np.maximum(most[worlds], now[worlds])
        for name, value in info["success_terms"].items():
            ever = self.success_terms.setdefault(name, np.zeros(len(value), dtype=bool))
            ever[worlds] |= value[worlds]
        for name, value in info["reward_terms"].items():
            total = self.reward_terms.setdefault(name, np.zeros(len(value)))
            total[worlds] += value[worlds]

    def finish(self, world: int, info: dict[str, Any]) -> Episode:
        """Copy the episode of `world` out of the buffers and mark the world as free.

        A measure that a fault left without a value is left out.
        """
        measures = {k: float(v[world]) for k, v in info["measures"].items()}
        steps, index = int(self.length[world]), int(self.index[world])
        self.index[world] = -1
        actions = self.actions[world, :steps].copy()
        frames = steps + 1 if self.trajectories else 0
        success = bool(self.success[world])
        return Episode(
            index=index,
            scenario=self.scenarios[world],
            observations={k: v[world, :frames].copy() for k, v in self.observations.items()},
            actions=actions if self.trajectories else actions[:0].copy(),
            rewards=self.rewards[world, :steps].copy(),
            states=self.states[world, :frames].copy(),
            success=success,
            raised=bool(self.success_terms.get("raised", self.success)[world]),
            hold=int(self.hold[world]),
            length=steps,
            failure="" if success else FAILURES[info["failure_code"][world]],
            jerk=mean_second_difference(actions),
            info={
                "reward_terms": {k: float(v[world]) for k, v in self.reward_terms.items()},
                "success_terms": {k: bool(v[world]) for k, v in self.success_terms.items()},
                "measures": {k: v for k, v in measures.items() if np.isfinite(v)},
                "penetration": {k: float(v[world]) for k, v in info.get("penetration", {}).items()},
                "progress": 1.0 if success else float(self.stage[world] / self.stages),
            },
        )


class _Teller:
    """Tells `reporting.progress` of episodes, also at steps at which none ends."""

    def __init__(self, report: reporting.Report, scenarios: Iterable[Scenario]) -> None:
        self._report, self._scenarios = report, scenarios
        self._done, self._won = 0, 0

    def __call__(self, done: int, total: int | None, episode: Episode) -> None:
        """An episode has ended."""
        self._done = done
        self._won += episode.success
        self.step()

    def step(self) -> None:
        """Time has passed."""
        self._report(self._done, f"{self._won} won", getattr(self._scenarios, "share", None))


@contextmanager
def _reporting(
    progress: str | ProgressCallback | None, scenarios: Iterable[Scenario], total: int | None
) -> Iterator[ProgressCallback | None]:
    """Turn the `progress` argument into a callback; what is told goes to stderr."""
    if isinstance(progress, str):
        with reporting.progress(progress, total) as report:
            yield _Teller(report, scenarios)
    else:
        yield progress


def run_episodes(
    env: EpisodeEnv,
    policy: Policy,
    scenarios: Iterable[Scenario],
    progress: str | ProgressCallback | None = None,
    trajectories: bool = True,
    observation_keys: Sequence[str] | None = None,
    on_step: StepCallback | None = None,
) -> Iterator[Episode]:
    """Run each scenario once and yield the episodes in the order in which they end.

    Args:
        env: A `DexVectorEnv` built with `autoreset_mode="disabled"`; hands off while iterating.
        policy: Reset by mask after the worlds' reset, before the next `act`.
        scenarios: What to run. Taken one by one as worlds become free, always after the ended
            episodes were yielded, so a generator may decide by their outcome what comes next.
            An iterator's `share`, if it has one, says how much of its work is done, in [0, 1].
        progress: Title of what `reporting.progress` tells, or a callback (done, total or None,
            episode).
        trajectories: Keep observations, actions, rewards and states, not only the summary.
        observation_keys: Observation groups to keep, default all (images are large).
        on_step: Called after every reset and step with the scenario index, (N,), of the episode
            in each world (-1: none) and its length so far, (N,); for videos.

    Raises:
        ValueError: The env resets worlds by itself, or the policy's actions have a wrong shape.
    """
    total = len(scenarios) if isinstance(scenarios, Sequence) else None
    episodes = _run(env, policy, scenarios, trajectories, observation_keys, on_step)
    done = 0
    with _reporting(progress, scenarios, total) as report:
        for episode in episodes:
            if episode is not None:
                done += 1
                if report is not None:
                    report(done, total, episode)
                yield episode
            elif isinstance(report, _Teller):
                report.step()


def _run(
    env: EpisodeEnv,
    policy: Policy,
    scenarios: Iterable[Scenario],
    trajectories: bool,
    observation_keys: Sequence[str] | None,
    on_step: StepCallback | None,
) -> Iterator[Episode | None]:
    """Yield each episode that has ended, and None after every step."""
    if getattr(env, "autoreset_mode", None) is not AutoresetMode.DISABLED:
        raise ValueError("run_episodes needs an env built with autoreset_mode='disabled'")
    queue = enumerate(scenarios)
    items = list(islice(queue, env.num_envs))
    if not items:
        return
    recorder = _Recorder(env, trajectories, observation_keys)
    mask = np.ones(env.num_envs, dtype=bool)
    observation: Any = {}
    while True:
        if mask.any():
            observation = _begin(env, policy, recorder, mask, items, observation)
        if on_step:
            on_step(recorder.index.copy(), recorder.length.copy())
        env.backend.rest(~recorder.active)
        actions = recorder.save_actions(np.asarray(policy.act(observation)))
        observation, reward, terminated, truncated, info = env.step(actions)
        recorder.save_step(observation, reward, info)
        over = recorder.active & (terminated | truncated)
        ended = np.flatnonzero(over)
        if on_step and len(ended):
            on_step(np.where(over, recorder.index, -1), recorder.length.copy())
        for world in ended:
            yield recorder.finish(int(world), info)
        yield None
        items = list(islice(queue, len(ended)))
        if not items and not recorder.active.any():
            return
        mask = np.zeros(env.num_envs, dtype=bool)
        mask[ended[: len(items)]] = True


def _begin(
    env: EpisodeEnv,
    policy: Policy,
    recorder: _Recorder,
    mask: np.ndarray,
    items: list[tuple[int, Any]],
    before: Any,
) -> Any:
    """Reset the worlds of `mask` to the next scenarios; the others go on with what they saw."""
    fresh = [scenario for _, scenario in items]
    fresh += [fresh[0]] * (int(mask.sum()) - len(items))  # for worlds that will stand idle
    observation, _ = env.reset(options={"scenarios": fresh, "reset_mask": mask.copy()})
    _carry_over(before, observation, ~mask)
    recorder.start(mask, items, observation)
    policy.reset(mask.copy())
    return observation


def _carry_over(before: Any, observation: Any, mask: np.ndarray) -> None:
    """Write what the worlds of `mask` saw before into an observation, by groups or flat."""
    if isinstance(before, np.ndarray):
        observation[mask] = before[mask]
        return
    for key, value in before.items():
        observation[key][mask] = value[mask]
