"""How much a residual changes: its size beside the base policy's action, and what the joints do.

Both are measured on scenes of the split `objects`, each run by the combined and by the base policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.grid.scripts import load_script
from dexfw_envs.catalog.curricula import iterations, objects_for
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.splits import split
from dexfw_envs.envs.protocol import EpisodeEnv
from dexfw_envs.episodes.rollout import Episode, Policy, run_episodes
from dexfw_envs.files import atomic_write_json
from dexfw_envs.observation import read_proprio
from dexfw_envs.runs.checkpoints import load_file
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.settings import from_dict

EPISODES = 2  # per object, the least that tells one object from one scene
MASS_THIRDS = ("light third", "middle third", "heavy third")


class ResidualRecorder:
    """A combined policy that keeps the size of its residual beside that of its base action.

    Args:
        policy: With `base_action(obs)` and `act(obs)`, whose difference is the residual.
    """

    def __init__(self, policy: Any):
        self.policy = policy
        self.ratios = []
        self.busy = np.zeros(0, dtype=bool)
        self._plan = policy.base_action
        policy.base_action = self._base_action

    def _base_action(self, observation: Any) -> Any:
        self.base = self._plan(observation)
        return self.base

    def note_episodes(self, index: np.ndarray, length: np.ndarray) -> None:
        """Take which worlds have an episode; see `run_episodes`."""
        self.busy = index >= 0

    def reset(self, mask: np.ndarray) -> None:
        """Forget the past of some worlds."""
        self.policy.reset(mask)

    def act(self, observation: Any) -> np.ndarray:
        """Act, and note |residual| / (|base| + 1e-6) of every episode (DexFlyWheel, appendix)."""
        action = self.policy.act(observation)
        base = np.asarray(self.base)
        change = np.linalg.norm(action - np.clip(base, -1.0, 1.0), axis=1)
        ratio = change / (np.linalg.norm(base, axis=1) + 1e-6)
        self.ratios.append(ratio[self.busy])
        return action


def object_groups(task: str) -> dict[str, list[str]]:
    """Objects of a task by shape family, and by mass in three groups of equal size."""
    found: dict[str, list[str]] = defaultdict(list)
    names = objects_for(task, iterations(task))
    for name in names:
        found[get_object(name).category].append(name)
    by_mass = sorted(names, key=lambda name: get_object(name).mass)
    thirds = (list(part) for part in np.array_split(by_mass, len(MASS_THIRDS)))
    return {**dict(zip(MASS_THIRDS, thirds, strict=True)), **found}


def joint_difference(first: Episode, second: Episode) -> float:
    """Mean absolute difference of the arm joints [rad], until the shorter episode ends."""
    one, other = (_arm_joints(episode.observations["proprio"]) for episode in (first, second))
    steps = min(len(one), len(other))
    return float(np.abs(one[:steps] - other[:steps]).mean())


def _arm_joints(proprio: np.ndarray) -> np.ndarray:
    """Joint positions of all arms, (steps, arms * 7)."""
    return read_proprio(proprio).arm_position.reshape(len(proprio), -1)


def mean_differences(differences: Mapping[str, Iterable[float]], task: str) -> dict[str, float]:
    """Mean of each object's joint differences and, under its name, of each group of objects."""
    found = {name: float(np.mean(list(values))) for name, values in differences.items()}
    for name, members in object_groups(task).items():
        if all(member in found for member in members):
            found[name] = float(np.mean([found[member] for member in members]))
    return found


def measure_residual(combined: Policy, base: Policy, env: EpisodeEnv, task: str) -> dict[str, Any]:
    """Run both policies in the same scenes.

    Returns:
        "residual_ratio", the mean over steps [%], "joint_difference" by object and group [rad],
        and "n", the scenes.
    """
    scenes = split(task, "objects", EPISODES * len(objects_for(task, iterations(task))), seed=0)
    watched = ResidualRecorder(combined)
    once = {"scenarios": scenes, "observation_keys": ["proprio"]}
    runs = [
        list(run_episodes(env, watched, on_step=watched.note_episodes, **once)),
        list(run_episodes(env, base, **once)),
    ]
    for episodes in runs:
        episodes.sort(key=lambda episode: episode.index)
    differences: dict[str, list[float]] = defaultdict(list)
    for first, second in zip(*runs, strict=True):
        differences[first.scenario.objects[0]].append(joint_difference(first, second))
    ratio = 100 * float(np.concatenate(watched.ratios).mean())
    found = mean_differences(differences, task)
    return {"residual_ratio": ratio, "joint_difference": found, "n": len(scenes)}


def measure_run(run: RunFolder, root: Path, threads: int = 1) -> list[Path]:
    """Write `residual_<turn>.json` into a finished run, for each turn that has a residual.

    Turns that have the file are left alone, as are runs without such policies.

    Args:
        run: Of a script with `make_env`, `open_policy` and checkpoints `policy_<turn>.pt`.
        root: The clone with the script.
        threads: Threads of the environment.
    """
    written = []
    for path in sorted((run.path / "checkpoints").glob("policy_*.pt")):
        target = run.path / f"residual_{path.stem.rpartition('_')[2]}.json"
        state = {} if target.exists() else load_file(path)
        if state.get("residual") is None:
            continue
        script = load_script(state["method"], root)
        args = replace(from_dict(script.Args, state["args"]), threads=threads)
        combined, env = script.open_policy(state, args, "combined")
        base, spare = script.open_policy(state, args, "base")
        spare.close()
        base.env = env
        atomic_write_json(target, measure_residual(combined, base, env, args.task))
        env.close()
        written.append(target)
    return written
