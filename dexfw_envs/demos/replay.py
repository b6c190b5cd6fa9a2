"""Run stored episodes again and say how many come out the same: the replay rate.

    python -m dexfw_envs.demos.replay                     # the shipped seed demonstration
    python -m dexfw_envs.demos.replay FOLDER FILE --json  # episode stores, single episodes
    python -m dexfw_envs.demos.replay --objects           # the seed, edited, on every object

By state: every recorded state is set, and observations and success must be those on record. By
action: the first state is set and the recorded actions are stepped, which on the same version of
MuJoCo and kind of processor gives every recorded state bit for bit; on another kind the last bits
of the inverse kinematics differ, and the gap says by how much. Pictures are not compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from dexfw_envs import checks
from dexfw_envs.console.command import run_command
from dexfw_envs.console.reporting import counted
from dexfw_envs.control.controller import CONTROL_MODES
from dexfw_envs.demos.rerun import Outcome, batches, check_fits, replay_actions, replay_states
from dexfw_envs.demos.seeds import seed_path
from dexfw_envs.demos.transfer import transfer, transfer_table, write_transfer
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.store import (
    DamagedEpisode,
    EpisodeMismatch,
    StoredEpisode,
    load_episode,
    open_store,
)
from dexfw_envs.registry import TASKS


def episode_files(paths: Sequence[str | Path]) -> list[Path]:
    """Return the episode files in folders, and files named themselves.

    Raises:
        FileNotFoundError: A path does not exist, or a folder holds no episodes.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            files.append(path)
            continue
        store = open_store(path)
        files += [store.path(identifier) for identifier in store.ids()]
    return files


def replay(paths: Sequence[str | Path], num_envs: int = 32, threads: int = 2) -> dict[str, Any]:
    """Replay episode files by state and by action.

    Args:
        paths: Episode files and folders of them.
        num_envs: Worlds that replay side by side.
        threads: Threads that step them.

    Returns:
        "n", the number replayed; "state" and "action", the fractions that came out the same bit
        for bit; "recorded", the number of recorded successes, and "success", the fraction of
        them that succeeded again by action; "differs", by what and from which step each of the
        others differs; "gap", the most by which a number of a state differs by action; "refused"
        and "damaged", the reason for each file not replayed.

    Raises:
        FileNotFoundError: A path does not exist, or a folder holds no episodes.
    """
    every = episode_files(paths)
    num_envs = min(checks.count("num_envs", num_envs), len(every))
    envs = _Envs(num_envs, threads)
    reasons: dict[str, dict[str, str]] = {"refused": {}, "damaged": {}}
    states: list[Outcome] = []
    actions: list[Outcome] = []

    for files in counted([*batches(every, num_envs)], f"replay, {num_envs} at a time"):
        ready: dict[DexVectorEnv, list[StoredEpisode]] = {}
        for path in files:
            try:
                episode = load_episode(path)
                ready.setdefault(envs.fitting(episode), []).append(episode)
            except DamagedEpisode as error:
                reasons["damaged"][str(path)] = error.reason
            except EpisodeMismatch as error:
                reasons["refused"][str(path)] = str(error)
        for env, episodes in ready.items():
            states += replay_states(env, episodes)
            actions += replay_actions(env, episodes)

    envs.close()
    return _report(states, actions) | reasons


def _report(states: list[Outcome], actions: list[Outcome]) -> dict[str, Any]:
    by = {"state": states, "action": actions}
    again = [outcome.success for outcome in actions if outcome.recorded]
    differs = {k: {o.identifier: o.differs for o in v if not o.exact} for k, v in by.items()}
    rates = {k: _rate([o.exact for o in v]) for k, v in by.items()}
    counts = {"recorded": len(again), "success": _rate(again)}
    counts["gap"] = max((outcome.gap for outcome in actions), default=0.0)
    return {"n": len(states), **rates, **counts, "differs": differs}


def _rate(flags: list[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


class _Envs:
    """The envs that episodes of various tasks and control modes replay in, made when needed."""

    def __init__(self, num_envs: int, threads: int):
        self.options: dict[str, Any] = {"num_envs": num_envs, "threads": threads}
        self.made: dict[tuple[str, str], DexVectorEnv] = {}

    def fitting(self, episode: StoredEpisode) -> DexVectorEnv:
        """Return the env for an episode, or raise `EpisodeMismatch` if there is none."""
        key = (episode.env_id, episode.control_mode)
        known = [item.env_id for item in TASKS]
        if key[0] not in known or key[1] not in CONTROL_MODES:
            raise EpisodeMismatch(
                f"{episode.identifier} is of {key[0]!r} with control mode {key[1]!r}; "
                f"this version has {known} with {CONTROL_MODES}"
            )

        if key not in self.made:
            self.made[key] = DexVectorEnv(
                key[0],
                control_mode=key[1],
                obs_mode="state+touch",
                autoreset_mode="disabled",
                **self.options,
            )

        check_fits(self.made[key], episode)
        return self.made[key]

    def close(self) -> None:
        """Release them all."""
        for env in self.made.values():
            env.close()


# --- command line


@dataclass(frozen=True)
class Args:
    """What to replay."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """episode files and folders; by default the task's seed demonstration"""
    json: bool = False
    """print one line of JSON"""
    task: str = "Grasp"
    """name of the task whose seed demonstration is meant"""
    objects: bool = False
    """edit the seed demonstration for every object instead, and write results/replay/"""
    episodes: int = 220
    """with --objects: episodes over all objects, and as many on the seed's own"""
    seed: int = 0
    """with --objects: of the scenes and the noise"""
    noise: Literal["smooth", "white", "none"] = "smooth"
    """with --objects: action noise"""
    num_envs: int = 32
    """worlds side by side"""
    threads: int = 2
    """threads that step them"""


def main(args: Args) -> int:
    """Replay and print; the exit code is 0 if all came out as it was."""
    checks.least(args, 0, "seed")
    checks.least(args, 1, "episodes", "num_envs", "threads")
    if args.objects:
        if args.paths:
            raise ValueError(
                "--objects edits the shipped seed demonstration; name no files with it"
            )
        report = transfer(
            args.task, args.episodes, args.seed, args.noise, args.num_envs, args.threads
        )
        path = write_transfer(report)
        print(json.dumps(report) if args.json else f"{transfer_table(report)}written to {path}")
        return 0

    report = replay(args.paths or [seed_path(args.task)], args.num_envs, args.threads)
    print(json.dumps(report) if args.json else _lines(report))
    return int(report["state"] != 1.0 or report["action"] != 1.0 or bool(report["damaged"]))


def _lines(report: dict[str, Any]) -> str:
    def rate(name: str) -> str:
        return "none" if report[name] is None else f"{100 * report[name]:.1f} %"

    lines = [
        f"{report['n']} episodes replayed",
        f"by state, the same bit for bit: {rate('state')}",
        f"by action, the same bit for bit: {rate('action')}",
        f"by action, recorded successes that succeed again: {rate('success')} "
        f"of {report['recorded']}",
        f"by action, largest difference of a number in a state: {report['gap']:.1g}",
    ]
    for by, steps in report["differs"].items():
        lines += [f"by {by}, {name} differs from step {step}" for name, step in steps.items()]
    for why in ("refused", "damaged"):
        lines += [f"{why}: {path}: {reason}" for path, reason in report[why].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
