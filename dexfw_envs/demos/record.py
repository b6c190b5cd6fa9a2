"""Record a demonstration with a task's scripted expert: `python -m dexfw_envs.demos.record`.

The seed demonstration that ships with the package was made by this command with its defaults, and
put at `dexfw_envs/demos/seeds/`; recording another leaves it alone.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexfw_envs import checks
from dexfw_envs.catalog import make_scenario, objects_for
from dexfw_envs.console.command import run_command
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.rollout import Episode, run_episodes
from dexfw_envs.episodes.store import save_episode
from dexfw_envs.experts import SEED_STYLES, make_expert
from dexfw_envs.registry import entry

TRIES = 10


@dataclass(frozen=True)
class Args:
    """What to record."""

    task: str = "Grasp"
    """name of the task"""
    output: Path = Path("runs/demonstration.h5")
    """file to write, a new one"""
    seed: int = 6
    """of the scene's jitter and of the expert's timing"""


def record(task: str, seed: int = 6) -> Episode:
    """Let the expert demonstrate the task on its first object, in the first surroundings.

    Raises:
        RuntimeError: The expert failed in every one of `TRIES` scenes.
    """
    env = DexVectorEnv(task, num_envs=1, autoreset_mode="disabled", threads=1)
    expert = make_expert(env, style=SEED_STYLES[task], seed=seed)
    for attempt in range(TRIES):
        item = objects_for(task, 1)[0]
        scenario = make_scenario(task, item, "neutral", 0, seed=seed + attempt)
        episode = next(iter(run_episodes(env, expert, [scenario])))
        if episode.success:
            return episode
    raise RuntimeError(f"the expert of {task} failed {TRIES} times from seed {seed}")


def main(args: Args) -> None:
    """Record one demonstration and write it.

    Raises:
        ValueError: The task is unknown, or the file's name ends otherwise than in `.h5`.
        FileExistsError: The file is there already.
        RuntimeError: As `record`.
        OSError: It cannot be written.
    """
    checks.least(args, 0, "seed")
    env_id = entry(args.task).env_id
    path = args.output
    if path.suffix != ".h5":
        raise ValueError(f"--output {path}: an episode file ends in .h5")

    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists already; name a new --output or remove it")
    episode = record(args.task, args.seed)
    save_episode(
        path,
        episode,
        env_id=env_id,
        control_mode="ee_pose",
        source="scripted",
        seed=args.seed,
    )
    jerk = np.round(episode.jerk, 5)
    print(f"{path}: {episode.length} steps, success, mean second difference of actions {jerk}")


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
