"""Command lines of the training scripts: settings, presets, and the settings of a resumed run."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from dexfw_envs.evaluation import evaluate, summary
from dexfw_envs.progress import load
from dexfw_envs.runs import RunFolder


@dataclass(frozen=True)
class ScriptArgs:
    """Options that every training script has; a script's `Args` adds its own."""

    task: str = "Grasp"  # the task
    seed: int = 1  # same seed, same bits on the CPU
    backend: str = "mujoco"  # the world
    device: str = "cpu"  # torch device of the learners
    threads: int = 2  # threads of torch and of the simulator
    runs: str = "runs"  # folder of all runs
    resume: str = ""  # folder of a killed run to go on with
    save_seconds: float = 60.0  # wall time between saves of a stage under way [s]
    track: bool = False  # log to Weights & Biases
    capture_video: bool = False  # film every turn, not only the last
    eval_splits: tuple[str, ...] = ("T_VAL",)  # "T_O" means T_O(1) at i = 1, and T_O(i+1)
    eval_episodes: int = 200  # episodes per split
    records: str = ""  # folder for per-episode records (results/records); none if empty
    variant: str = ""  # name of an ablation, for the records
    evaluate: str = ""  # checkpoint to evaluate instead of training
    split: str = "T_OEP"  # with --evaluate: the test set
    episodes: int = 200  # with --evaluate: how many episodes
    policy: Literal["base", "combined"] = "combined"  # with --evaluate: which policy
    json: bool = False  # with --evaluate: print one line of JSON
    timestep_scale: float = 1.0  # physics step relative to the usual one
    friction_scale: float = 1.0  # friction of hand and objects likewise


# What `--evaluate` takes from the command line; all else is as it was in training.
WORLD = ("task", "backend", "device", "threads", "timestep_scale", "friction_scale")

Settings = TypeVar("Settings", bound=ScriptArgs)


def from_dict(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings as they were before they became JSON, which has no tuples.

    Raises:
        ValueError: The values are those of another version of the script.
    """
    names = {field.name for field in dataclasses.fields(settings)}
    if names != set(values):
        other = sorted(names ^ set(values))
        raise ValueError(f"settings of another version of the script: they differ in {other}")
    changed: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return settings(**{**values, **changed})


def parse(
    settings: type[Settings],
    argv: Sequence[str],
    presets: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    description: str | None = None,
) -> Settings:
    """Read a command line; later ones win: defaults, preset, task, run to resume, options.

    Args:
        settings: A frozen dataclass with a default for every field, among them `preset`, `task`
            and `resume`.
        argv: The arguments.
        presets: What each preset changes.
        tasks: What each task changes.
        description: Text for `--help`.

    Raises:
        SystemExit: An unknown option or value.
        FileNotFoundError: There is no run to resume.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", choices=[*presets], default=next(iter(presets)))
    early.add_argument("--task", choices=[*tasks], default=next(iter(tasks)))
    early.add_argument("--resume", default="")
    known, _ = early.parse_known_args(argv)
    if known.resume:
        default = from_dict(settings, RunFolder.open(known.resume).config)
    else:
        default = settings(**{**presets[known.preset], **tasks[known.task]})
    return tyro.cli(settings, default=default, args=argv, description=description)


def evaluate_checkpoint(
    asked: Settings, open_policy: Callable[[dict[str, Any], Settings, str], tuple[Any, Any]]
) -> int:
    """Do what `--evaluate` asks for, print the result and return the exit code 0.

    Args:
        asked: The command line.
        open_policy: Takes the checkpoint, the settings and which policy; returns the policy and
            the env it acts in, built with `autoreset=False`.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It is damaged, no checkpoint, or does not fit.
    """
    import torch

    state = load(Path(asked.evaluate).read_bytes())
    if "args" not in state:
        raise ValueError(f"{asked.evaluate} is no checkpoint of a policy")
    trained = from_dict(type(asked), state["args"])
    args = dataclasses.replace(trained, **{name: getattr(asked, name) for name in WORLD})
    torch.manual_seed(asked.seed)
    policy, env = open_policy(state, args, asked.policy)
    what: dict[str, Any] = {"split": asked.split, "episodes": asked.episodes, "seed": asked.seed}
    found = summary(evaluate(policy, env, progress=asked.split, **what))
    env.close()
    print(json.dumps(found, indent=None if asked.json else 2))
    return 0
