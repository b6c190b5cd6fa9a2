"""The options that every training script has, in groups, and which of them go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

from dexfw_envs.runs.precision import Precision, with_precision

MOST_NAMED = 3  # names that a message lists


@dataclass(frozen=True)
class WorldArgs:
    """What is learned, in which worlds and on which device."""

    task: str = "Grasp"  # the task
    seed: int = 1  # same seed, same bits on the CPU
    backend: str = "mujoco"  # the world
    device: str = "cpu"  # torch device of the learners
    precision: Precision = "auto"  # of training; auto: bf16 where the device has it, else fp32
    threads: int = 2  # threads of torch and of the simulator


@dataclass(frozen=True)
class RunArgs:
    """Where a run is written, and what is seen of it."""

    runs: str = "runs"  # folder of all runs
    resume: str = ""  # folder of a killed run to go on with
    save_seconds: float = 60.0  # wall time between saves of a stage under way [s]
    track: bool = False  # log to Weights & Biases
    capture_video: bool = False  # film every turn, not only the last; with --evaluate: 8 episodes


@dataclass(frozen=True)
class RecordArgs:
    """What a run is tested on, and where the outcomes are recorded."""

    eval_splits: tuple[str, ...] = ("T_VAL",)  # "T_O" means T_O(1) at i = 1, and T_O(i+1)
    eval_episodes: int = 200  # episodes per split
    records: str = ""  # folder for per-episode records (results/records); none if empty
    variant: str = ""  # name of an ablation, for the records; needed if settings are changed


@dataclass(frozen=True)
class EvaluateArgs:
    """`--evaluate`: a policy of an earlier run is tested, nothing is trained."""

    evaluate: str = ""  # checkpoint or policy file to evaluate; only some options go with it
    split: str = "T_OEP"  # with --evaluate: the test set
    episodes: int = 200  # with --evaluate: how many episodes
    policy: Literal["base", "combined"] = "combined"  # with --evaluate: which policy
    json: bool = False  # with --evaluate: print one line of JSON
    displacement: float = 0.0  # with --evaluate: how far from their places objects start [m]
    variation: str = ""  # with --evaluate: how the worlds differ: an axis or a group, such as size


@dataclass(frozen=True)
class PerturbationArgs:
    """How the worlds differ from the usual ones; only where the backend can change them."""

    timestep_scale: float = 1.0  # physics step relative to the usual one
    friction_scale: float = 1.0  # friction of hand, objects and table likewise


@dataclass(frozen=True)
class ScriptArgs(PerturbationArgs, EvaluateArgs, RecordArgs, RunArgs, WorldArgs):
    """Options that every training script has; a script's `Args` adds its own."""

    VARIANTS: ClassVar[tuple[str, ...]] = ("",)  # those that are the method itself, no ablations
    SAME: ClassVar[tuple[str, ...]] = ()  # a script's own settings that need no `--variant`
    ASKED: ClassVar[tuple[str, ...]] = ()  # its own settings that `--evaluate` takes too
    NEGATIVE: ClassVar[tuple[str, ...]] = ()  # its own settings that may be below zero
    # Settings that the script once had, and the value that it now always has
    RETIRED: ClassVar[Mapping[str, Any]] = MappingProxyType({})


Settings = TypeVar("Settings", bound=ScriptArgs)

# What `--evaluate` takes from the command line; all else is as it was in training.
WORLD = ("task", "backend", "device", "threads", "timestep_scale", "friction_scale")
ONLY_EVALUATE = ("split", "episodes", "policy", "json", "displacement", "variation")
EVALUATE = ("evaluate", *ONLY_EVALUATE, "seed", "records", "variant", "capture_video", *WORLD)
FILMS = 8  # first episodes that --evaluate films with --capture-video
# What `--resume` takes from the command line; all else is as it was at the run's start.
RESUME = ("resume", "threads", "device", "save_seconds", "track")
# What may differ without making another method of it, so that records need no `--variant`.
SAME_METHOD = (
    *RESUME,
    "evaluate",
    "split",
    "episodes",
    "policy",
    "json",
    "seed",
    "records",
    "variant",
    "runs",
    "capture_video",
    "eval_splits",
    "eval_episodes",
    "test_every",
    "test_episodes",
)

# Sizes and numbers of steps that are at least 1 in every script that has them.
COUNTS = (
    "threads",
    "episodes",
    "eval_episodes",
    "num_envs",
    "rl_envs",
    "rl_steps",
    "collect_steps",
    "chunk",
    "width",
    "layers",
    "image_size",
    "sampling_steps",
    "base_steps",
    "base_batch",
    "n_steps",
    "epochs",
    "minibatch",
    "sac_batch",
    "total_timesteps",
    "critic_steps",
    "critic_batch",
    "test_every",
    "test_episodes",
)


def from_dict(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings as they were before they became JSON, which has no tuples.

    What the script did not have yet gets its default: other results need another METHOD_VERSION.

    Raises:
        ValueError: Some are none of the script's.
    """
    values = with_precision(values)
    for name, only in settings.RETIRED.items():
        if values.get(name) == only:
            del values[name]
    known = {field.name for field in dataclasses.fields(settings)}
    other = sorted(set(values) - known)
    if other:
        named = ", ".join(other[:MOST_NAMED])
        if len(other) > MOST_NAMED:
            named += ", ..."
        raise ValueError(f"settings of another version of the script: it has no {named}")

    tuples: dict[str, Any] = {}
    for name, value in values.items():
        tuples[name] = tuple(value) if isinstance(value, list) else value
    return settings(**tuples)


def flags(names: Sequence[str]) -> str:
    """Return the names of settings as they are given on a command line."""
    return ", ".join("--" + name.replace("_", "-") for name in names)
