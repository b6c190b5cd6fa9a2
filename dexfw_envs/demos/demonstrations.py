"""The demonstrations a method starts from: made by the scripted expert, or taken from a store."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.catalog.curricula import iterations, objects_for, poses_for, surroundings_for
from dexfw_envs.catalog.splits import make_scenario, redraw, training_combinations
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.rollout import Episode, run_episodes
from dexfw_envs.episodes.store import EpisodeStore, StoredEpisode, open_store
from dexfw_envs.experts import SEED_STYLES, Style, make_expert
from dexfw_envs.scenario import Scenario

TRIES = 10  # of the expert in a scene, each with a jitter of its own


def fixed_scenes(task: str, count: int) -> list[Scenario]:
    """Return `count` times the first object in the first surroundings and pose cell."""
    item = objects_for(task, 1)[0]
    around = surroundings_for(task, 1)[0]
    return [make_scenario(task, item, around, 0, seed=0)] * count


def spread_scenes(task: str, count: int) -> list[Scenario]:
    """Return one scene of each of `count` objects, always the same.

    The objects lie evenly over the task's catalogue, the first one first; surroundings and pose
    cells differ as much as there are. No scene is held out.

    Raises:
        ValueError: The task has fewer objects.
    """
    last = iterations(task)
    items = objects_for(task, last)
    around = surroundings_for(task, last)
    cells = poses_for(task, last)
    if not 1 <= count <= len(items):
        raise ValueError(f"{task} has {len(items)} objects, {count} different ones are asked for")

    scenes = []
    for k in range(count):
        item = items[k * len(items) // count]
        cell = cells[k % len(cells)]
        turn = k * len(around) // count
        free = [a for a in (*around[turn:], *around[:turn])
                if (item, a, cell) in training_combinations(task, last)]  # fmt: skip
        scenes.append(make_scenario(task, item, free[0], cell, seed=k))

    return scenes


def demonstrate(
    env: RobotEnv,
    scenes: Sequence[Scenario],
    seed: int,
    count: int | None = None,
    styles: Mapping[str, Style] = SEED_STYLES,
) -> list[Episode]:
    """Let the expert demonstrate, with a person's timing and tremor, once in each scene.

    A scene in which it fails is tried again with another jitter, `TRIES` times in all. The result
    does not depend on the number of worlds.

    Args:
        env: A `DexVectorEnv` built with `autoreset_mode="disabled"` and `control_mode="ee_pose"`.
        scenes: Where to demonstrate.
        seed: Of jitter, timing and tremor.
        count: How many demonstrations are needed; one of each scene by default.
        styles: How the expert of each task demonstrates.

    Returns:
        `count` demonstrations in the order of the scenes, `index` the number of the scene.

    Raises:
        RuntimeError: Too many scenes were beyond the expert; the message names their objects.
    """
    expert = make_expert(env, style=styles[env.task.name], seed=seed)
    demonstrations: dict[int, Episode] = {}
    count = len(scenes) if count is None else count
    for attempt in range(TRIES):
        left = [k for k in range(len(scenes)) if k not in demonstrations]
        if len(demonstrations) >= count:
            break
        trials = [redraw(scenes[k], np.random.default_rng([seed, k, attempt])) for k in left]
        for episode in run_episodes(env, expert, trials, progress=f"demonstrations {attempt + 1}"):
            if episode.success:
                k = left[episode.index]
                demonstrations[k] = dataclasses.replace(episode, index=k)

    if len(demonstrations) < count:
        lost = [scene.objects[0] for k, scene in enumerate(scenes) if k not in demonstrations]
        raise RuntimeError(
            f"the expert gave {len(demonstrations)} of {count} demonstrations of {env.task.name}; "
            f"it failed {TRIES} times each with {', '.join(lost)}"
        )

    return [demonstrations[k] for k in sorted(demonstrations)][:count]


def read_demonstrations(
    folder: str | Path, env_id: str, control_mode: str, count: int | None = None,
    needs: Sequence[str] = (),
) -> list[StoredEpisode]:  # fmt: skip
    """Take the first `count` successes of a store, all by default, in the order of their ids.

    Raises:
        FileNotFoundError: There is nothing, or no episode; see `open_store`.
        EpisodeMismatch: The store is of another task, env version or control mode.
        ValueError: It holds fewer successes, or none, or one without an observation of `needs`.
    """
    store = open_store(folder, env_id, control_mode)
    demonstrations = list(islice(store.episodes(success=True), count))
    if not demonstrations or len(demonstrations) < (count or 1):
        raise ValueError(f"{folder} holds {len(demonstrations)} successful episodes of {env_id}, "
                         f"needed are {count or 'some'}")  # fmt: skip
    for episode in demonstrations:
        if missing := set(needs) - set(episode.observations):
            raise ValueError(f"{episode.identifier} in {folder} has no {', '.join(sorted(missing))}"
                             f", only {', '.join(sorted(episode.observations))}")  # fmt: skip
    return demonstrations


def take_episodes(source: str | Path, target: str | Path, count: int) -> None:
    """Copy the first `count` episodes of a store; `target` is replaced.

    They are taken by their index; a retry of a start goes with its first try, so that fewer
    episodes are a sample of all.

    Raises:
        ValueError: The store holds fewer.
    """

    def order(row: dict[str, Any]) -> tuple[int, int]:
        return row["info"].get("start", {}).get("pair", row["index"]), row["index"]

    rows = sorted(EpisodeStore(source).manifest(), key=order)
    if len(rows) < count:
        raise ValueError(f"{source} holds {len(rows)} episodes, needed are {count}")
    shutil.rmtree(target, ignore_errors=True)  # left half-full by a killed process
    Path(target).mkdir(parents=True)
    for row in rows[:count]:
        shutil.copy(Path(source) / f"{row['id']}.h5", target)
