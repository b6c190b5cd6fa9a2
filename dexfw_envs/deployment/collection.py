"""Collecting what happens when a policy is deployed: where episodes start, what is kept of them.

This is multi-stage DAgger. Episodes start from the task's initial state, and from states that have
just reached an intermediate stage, of demonstrations or of scenes that the expert sets up. A start
that fails is tried again from the same state. In this second try an operator may take over, and
knows when the first try went wrong: the two make a pair of a failure and its correction. The
operator also ends an episode that has failed where it may not take over. Every step carries a flag
that says whether the operator commanded it, and every episode carries its outcome.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dexfw_envs.deployment.shared_control import BLEND, NEVER, SharedControl
from dexfw_envs.deployment.stages import STAGE, StagedEnv, Start
from dexfw_envs.deployment.starts import Starts
from dexfw_envs.envs.protocol import RobotEnv, StepResult
from dexfw_envs.episodes.episode import Episode, Observation
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.observation import ARM_JOINTS
from dexfw_envs.tasks.base import FAILURES, GIVEN_UP

JUMPS = ("take_over", "blended", "operator", "hand_back", "policy")  # whose steps are told apart
FLAG = "intervention"  # observation added to those of the environment, beside the stage
START_KEYS = ("stage", "pair", "attempt", "armed")  # what an episode's info keeps of its start


class DeployedEnv(StagedEnv):
    """An environment whose episodes begin at a `Start`, and which watches who commands.

    Handed to `run_episodes` in place of `env`. Observations also hold the `stage`, and the flag
    `intervention`: whether the operator commanded the step that led to what is observed.

    Args:
        env: A `DexVectorEnv` built with `autoreset_mode="disabled"`.
        control: The policy that acts in it.

    Attributes:
        jumps: Largest change in a step of any joint command of the "arm" and of the "hand" [rad]:
            at a "take_over", while the operator's commands are "blended" in after it, in later
            steps of the "operator", at a "hand_back", and in other steps of the "policy".
    """

    def __init__(self, env: RobotEnv, control: SharedControl) -> None:
        super().__init__(env)
        self.control = control
        self.jumps = {name: {"arm": 0.0, "hand": 0.0} for name in JUMPS}
        self._held = np.zeros(env.num_envs, dtype=bool)
        self._since = np.zeros(env.num_envs, dtype=int)  # steps since the operator took over

    def reset(self, *, options: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes at the starts given as `scenarios` in the worlds of `reset_mask`."""
        starts: Sequence[Start] = options["scenarios"]
        mask = options["reset_mask"]
        scenes = [start.scenario for start in starts]
        observation, info = self.env.reset(options={"scenarios": scenes, "reset_mask": mask})
        worlds = np.flatnonzero(mask)
        later = {
            int(world): start
            for world, start in zip(worlds, starts, strict=True)
            if start.state is not None
        }
        if later:
            observation = self._restore(later)

        armed = np.array([start.armed for start in starts])
        lost_at = np.array([start.lost_at for start in starts])
        self.control.operator.prepare(mask, armed, lost_at)
        self._held[mask] = False
        return self._added(observation), info

    def _restore(self, starts: dict[int, Start]) -> Observation:
        """Put worlds into the states of their starts, by number of the world."""
        within = np.isin(np.arange(self.env.num_envs), list(starts))
        states = np.stack([np.asarray(start.state) for start in starts.values()])
        scenes = [start.scenario for start in starts.values()]
        return self.env.set_state_vectors(states, scenes, within)

    def step(self, actions: np.ndarray) -> StepResult:
        """Step, and note by how much the joint commands change under whom; end what is given up."""
        before = self.env.controller.joints.copy()
        held = self.control.held
        observation, reward, terminated, truncated, info = self.env.step(actions)

        change = np.abs(self.env.controller.joints - before)
        self._note_jumps(change, held)
        self._held = held.copy()
        given_up = self.control.operator.gives_up() & ~(terminated | truncated)
        info["failure_code"][given_up] = FAILURES.index(GIVEN_UP)
        return self._added(observation), reward, terminated, truncated | given_up, info

    def _note_jumps(self, change: np.ndarray, held: np.ndarray) -> None:
        """Keep the largest `change` (N, A, 13) [rad] by who commanded; `held`: the operator."""
        before = self._held
        self._since = np.where(held & before, self._since + 1, 0)
        blended = self._since < BLEND
        worlds_of = {
            "take_over": held & ~before,
            "blended": held & before & blended,
            "operator": held & ~blended,
            "hand_back": before & ~held,
            "policy": ~before & ~held,
        }
        for name, worlds in worlds_of.items():
            parts = {"arm": change[worlds, :, :ARM_JOINTS], "hand": change[worlds, :, ARM_JOINTS:]}
            for part, joints in parts.items():
                largest = float(joints.max(initial=0.0))
                self.jumps[name][part] = max(self.jumps[name][part], largest)

    def _added(self, observation: Observation) -> Observation:
        return {**super()._added(observation), FLAG: self._held.copy()}


def deploy(
    env: DeployedEnv, control: SharedControl, starts: Starts, progress: str
) -> Iterator[Episode]:
    """Run an episode from every start and yield each as it ends.

    Args:
        env: Around the environment that `control` acts in.
        control: The policy and the operator who may take over from it.
        starts: Where to start; it learns the outcome of each episode before that is yielded.
        progress: Title of the progress bar.

    Yields:
        Episodes whose `info` also has "start": stage, pair, attempt, and whether the operator was
        armed.
    """
    scenarios: Any = starts  # the environment takes them in place of scenarios
    for episode in run_episodes(env, control, scenarios, progress=progress):
        start: Any = episode.scenario
        lost_at = NEVER if episode.success else control.operator.went_wrong(episode)
        starts.record(start, episode.success, lost_at)
        known = {name: getattr(start, name) for name in START_KEYS}
        info = {**episode.info, "start": known}
        yield dataclasses.replace(episode, scenario=start.scenario, info=info)


def flags_of(episode: Any) -> np.ndarray:
    """Return for every step of a collected episode whether the operator commanded it, bool (T,).

    Raises:
        ValueError: The episode has no flags or not as many as states, or neither succeeded nor
            says why it failed.
    """
    name = getattr(episode, "identifier", f"episode {episode.index}")
    if FLAG not in episode.observations:
        there = sorted(episode.observations)
        raise ValueError(f"{name} has no flags of intervention: it needs the observation {FLAG!r}, "
                         f"and has {there}")  # fmt: skip
    if not episode.success and not episode.failure:
        raise ValueError(f"{name} has no outcome: neither success nor a reason of failure")
    flags = np.asarray(episode.observations[FLAG], dtype=bool)
    if flags.shape != (len(episode.actions) + 1,):
        raise ValueError(f"{name} has flags of the shape {flags.shape}, needed is one for every "
                         f"state: ({len(episode.actions) + 1},)")  # fmt: skip
    return flags[1:]


def check_deployed(episode: Any) -> None:
    """Refuse an episode that was not collected by a deployment.

    Raises:
        ValueError: It has no flags, no outcome or no stages.
    """
    flags_of(episode)
    if STAGE not in episode.observations:
        raise ValueError(f"{episode.identifier} has no stages: it needs the observation {STAGE!r}, "
                         f"and has {sorted(episode.observations)}")  # fmt: skip


def intervened(episode: Any, length: int) -> np.ndarray:
    """Return how much of the window of `length` steps from every step on is the operator's, (T,).

    At the end of the episode windows are shorter. Raises as `flags_of` does.
    """
    flags = flags_of(episode)
    steps = np.arange(len(flags))
    end = np.minimum(steps + length, len(steps))
    before = np.append(0, np.cumsum(flags))  # of the operator's steps, (T+1,)
    return (before[end] - before[steps]) / (end - steps)


def collection_report(
    episodes: Sequence[Any], env: DeployedEnv, stages: Sequence[str]
) -> dict[str, Any]:
    """Sum up a collection: outcomes by stage of the start, interventions, and jumps."""
    flags = [flags_of(episode) for episode in episodes]
    steps = np.concatenate(flags)
    lost = [episode for episode in episodes if not episode.success]
    return {
        "episodes": len(episodes),
        "successes": sum(episode.success for episode in episodes),
        "retries": sum(episode.info["start"]["attempt"] > 0 for episode in episodes),
        "intervened": sum(bool(of_episode.any()) for of_episode in flags),
        "intervened_steps": float(steps.mean()),
        "steps": len(steps),
        "failures": dict(Counter(episode.failure for episode in lost)),
        "starts": _by_stage(episodes, stages),
        "jumps": env.jumps,
        "chunks": env.control.policy.planned,
        "late_steps": env.control.policy.late,
    }


def _by_stage(episodes: Sequence[Any], stages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Count episodes and successes by the stages that were started from."""
    found: dict[str, dict[str, float]] = {}
    for index, name in enumerate(stages):
        group = [episode for episode in episodes if episode.info["start"]["stage"] == index]
        if not group:
            continue
        found[name] = {
            "episodes": len(group),
            "share": len(group) / len(episodes),
            "successes": sum(episode.success for episode in group),
        }
    return found
