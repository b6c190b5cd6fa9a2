"""Command lines of the training scripts: settings, presets, and the settings of a resumed run.

Reading them imports neither torch nor a simulator, so that `--help` and wrong options cost no time:
`check_device` and `evaluate_checkpoint`, which need torch, come after.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import tyro

from dexfw_envs import checks, provenance
from dexfw_envs.backends import check_backend, options_for
from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.splits import split_names
from dexfw_envs.console import command, extras
from dexfw_envs.evaluation.records import import_pyarrow
from dexfw_envs.runs import folder
from dexfw_envs.runs.policies import read_policy
from dexfw_envs.runs.precision import COMPARED, Precision, native_precision, with_precision


@dataclass(frozen=True)
class ScriptArgs:
    """Options that every training script has; a script's `Args` adds its own."""

    VARIANTS: ClassVar[tuple[str, ...]] = ("",)  # those that are the method itself, no ablations
    SAME: ClassVar[tuple[str, ...]] = ()  # a script's own settings that need no `--variant`
    ASKED: ClassVar[tuple[str, ...]] = ()  # its own settings that `--evaluate` takes too
    NEGATIVE: ClassVar[tuple[str, ...]] = ()  # its own settings that may be below zero

    task: str = "Grasp"  # the task
    seed: int = 1  # same seed, same bits on the CPU
    backend: str = "mujoco"  # the world
    device: str = "cpu"  # torch device of the learners
    precision: Precision = "auto"  # of training; auto: bf16 where the device has it, else fp32
    threads: int = 2  # threads of torch and of the simulator
    runs: str = "runs"  # folder of all runs
    resume: str = ""  # folder of a killed run to go on with
    save_seconds: float = 60.0  # wall time between saves of a stage under way [s]
    track: bool = False  # log to Weights & Biases
    capture_video: bool = False  # film every turn, not only the last; with --evaluate: 8 episodes
    eval_splits: tuple[str, ...] = ("T_VAL",)  # "T_O" means T_O(1) at i = 1, and T_O(i+1)
    eval_episodes: int = 200  # episodes per split
    records: str = ""  # folder for per-episode records (results/records); none if empty
    variant: str = ""  # name of an ablation, for the records; needed if settings are changed
    evaluate: str = ""  # checkpoint or policy file to evaluate; only some options go with it
    split: str = "T_OEP"  # with --evaluate: the test set
    episodes: int = 200  # with --evaluate: how many episodes
    policy: Literal["base", "combined"] = "combined"  # with --evaluate: which policy
    json: bool = False  # with --evaluate: print one line of JSON
    displacement: float = 0.0  # with --evaluate: how far from their places objects start [m]
    timestep_scale: float = 1.0  # physics step relative to the usual one
    friction_scale: float = 1.0  # friction of hand, objects and table likewise


# What `--evaluate` takes from the command line; all else is as it was in training.
WORLD = ("task", "backend", "device", "threads", "timestep_scale", "friction_scale")
ONLY_EVALUATE = ("split", "episodes", "policy", "json", "displacement")
EVALUATE = ("evaluate", *ONLY_EVALUATE, "seed", "records", "variant", "capture_video", *WORLD)
FILMS = 8  # first episodes that --evaluate films with --capture-video
# What `--resume` takes from the command line; all else is as it was at the run's start.
RESUME = ("resume", "threads", "device", "save_seconds", "track")
# What may differ without making another method of it, so that records need no `--variant`.
SAME_METHOD = (
    *(*RESUME, "evaluate", "split", "episodes", "policy", "json", "seed", "records", "variant"),
    *("runs", "capture_video", "eval_splits", "eval_episodes", "test_every", "test_episodes"),
)

# Sizes and numbers of steps that are at least 1 in every script that has them.
COUNTS = (
    *("threads", "episodes", "eval_episodes", "num_envs", "rl_envs", "rl_steps", "collect_steps"),
    *("chunk", "width", "layers", "image_size", "sampling_steps", "base_steps", "base_batch"),
    *("n_steps", "epochs", "minibatch", "sac_batch", "total_timesteps", "critic_steps"),
    *("critic_batch", "test_every", "test_episodes"),
)

FEW = 3  # names that a message lists

Settings = TypeVar("Settings", bound=ScriptArgs)


def from_dict(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings as they were before they became JSON, which has no tuples.

    What the script did not have yet gets its default: other results need another METHOD_VERSION.

    Raises:
        ValueError: Some are none of the script's.
    """
    values = with_precision(values)
    if other := sorted(set(values) - {field.name for field in dataclasses.fields(settings)}):
        named = ", ".join(other[:FEW]) + (", ..." if len(other) > FEW else "")
        raise ValueError(f"settings of another version of the script: it has no {named}")
    changed: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return settings(**{**values, **changed})


def command_line(
    settings: type[Settings],
    presets: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    description: str | None = None,
) -> Settings:
    """Read the command line of this process; whatever ends the process is told in one line.

    A script calls this once, before the imports that take seconds:

        if __name__ == "__main__":
            ARGS = command_line(Args, PRESETS, TASKS, __doc__)

    Args:
        settings: As in `parse`.
        presets: Likewise.
        tasks: Likewise.
        description: Likewise.

    Raises:
        SystemExit: `--help` was asked for, or an option or value is wrong.
    """
    command.tell_errors()
    words = command.without_debug(sys.argv[1:])
    return parse(settings, words, presets, tasks, description)


def parse(
    settings: type[Settings],
    argv: Sequence[str],
    presets: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    description: str | None = None,
) -> Settings:
    """Read a command line; later ones win: defaults, preset, task, run to resume, options.

    The precision "auto" becomes that of the device, so that a run that is resumed keeps it.

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
        ValueError: Options that do not go together, an unknown split or backend, a scale that the
            backend cannot change, or records of changed settings without a variant.
        MissingRequirementError: Something that the backend needs is missing.
        OSError: The records cannot be written where they shall go.
        ImportError: Records are asked for and pyarrow is not installed.
    """
    # cuBLAS refuses deterministic algorithms without a fixed workspace, set before CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", choices=[*presets], default=next(iter(presets)))
    early.add_argument("--task", choices=[*tasks])
    early.add_argument("--resume", default="")
    known, _ = early.parse_known_args(argv)
    if known.resume:
        run = folder.RunFolder(known.resume)
        default = from_dict(settings, run.config)
    else:
        task = known.task or next(iter(tasks))
        default = settings(**{**presets[known.preset], "task": task, **tasks[task]})

    text = command.help_text(description or settings.__doc__ or "")
    found = tyro.cli(settings, default=default, args=argv, description=text)
    _check_combination(found, given(settings, argv))
    _check_values(found)
    if found.evaluate and known.task is None:  # last of all: reading a policy imports torch
        found = dataclasses.replace(found, task=_task_of(found.evaluate) or found.task)
    _check_outputs(found)
    if found.precision == "auto" and not found.evaluate:  # likewise torch
        check_device(found.device)
        found = dataclasses.replace(found, precision=native_precision(found.device))
    if known.resume:
        _warn_of_other_code(run)
    elif found.records and not found.evaluate:
        check_variant(found, tasks)
    return found


def _task_of(checkpoint: str) -> str:
    """Return the task of a policy; "" if it cannot be read: `evaluate_checkpoint` says why."""
    try:
        return read_policy(checkpoint)["args"]["task"] if checkpoint else ""
    except (OSError, ValueError, KeyError):
        return ""


def given(settings: type[ScriptArgs], argv: Sequence[str]) -> list[str]:
    """Return the settings that a command line names, in its order; no value starts with "--"."""
    names = {field.name for field in dataclasses.fields(settings)}
    found = []
    for word in (word for word in argv if word.startswith("--")):
        name = word[2:].partition("=")[0].replace("-", "_")
        found.append(name if name in names else name.removeprefix("no_"))
    return found


def _check_combination(args: ScriptArgs, named: Sequence[str]) -> None:
    """Refuse options that would be ignored, or would change a run that is resumed."""
    if args.resume:
        _allow(named, RESUME, "--resume goes on with the run's own settings; beside it only")
    elif args.evaluate:
        allowed = (*EVALUATE, *args.ASKED)
        _allow(named, allowed, "--evaluate takes all else from the checkpoint; beside it only")
    elif wrong := [name for name in named if name in ONLY_EVALUATE]:
        raise ValueError(f"without --evaluate there is no use for {_flags(wrong)}")


def _allow(named: Sequence[str], allowed: Sequence[str], text: str) -> None:
    if wrong := [name for name in named if name not in allowed]:
        raise ValueError(f"{text} {_flags(allowed[1:])}; got {_flags(wrong)}")


def _flags(names: Sequence[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


def _check_values(args: ScriptArgs) -> None:
    """Refuse now what would fail only after the first turn's work."""
    _check_numbers(args)
    check_backend(args.backend)
    options_for(args.backend, args.threads, args.timestep_scale, args.friction_scale)


def _check_numbers(args: ScriptArgs) -> None:
    checks.least(args, 1, *(name for name in COUNTS if hasattr(args, name)))
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(number, int | float) for number in numbers):
            continue
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{_flags([field.name])} must be a finite number, got {value}")
        if min(numbers, default=0) < 0 and field.name not in args.NEGATIVE:
            raise ValueError(f"{_flags([field.name])} must be at least 0, got {value}")


def check_device(device: str) -> None:
    """Find out before any work whether torch can use a device.

    Raises:
        ValueError: It is unknown, or not there; the message has torch's reason.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown; or known, but not in this build
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {device} cannot be used here: {reason}") from error


def _check_outputs(args: ScriptArgs) -> None:
    """Find out before the work, not after it, what would keep it from being measured."""
    there = dict.fromkeys((*split_names(args.task), "T_O"))
    for name in args.eval_splits:
        find(there, name, f"split of {args.task}")
    find(dict.fromkeys(split_names(args.task)), args.split, f"split of {args.task}")
    if args.track:
        _check_tracking()
    if args.records:
        _check_records(args)


def _check_tracking() -> None:
    """Log in to Weights & Biases, unless it is asked to keep the curves on this machine."""
    wandb = extras.load("wandb", "--track needs")
    if os.environ.get("WANDB_MODE", "online") != "online":
        return
    try:
        ready = wandb.login()
    except Exception as error:  # it has many kinds, by version
        reason = str(error).partition("\n")[0]
        raise RuntimeError(f"--track cannot log in to Weights & Biases: {reason}") from error
    if not ready:
        raise RuntimeError("--track needs a login to Weights & Biases: run `wandb login`, or set "
                           "WANDB_MODE=offline")  # fmt: skip


def _check_records(args: ScriptArgs) -> None:
    import_pyarrow()
    try:
        Path(args.records).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.records).close()
    except OSError as error:
        reason = f"cannot write --records {args.records}: {error.strerror}"
        raise OSError(error.errno, reason) from error


def check_variant(args: ScriptArgs, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse records of changed settings that would count as the method itself.

    Raises:
        ValueError: No variant is named, and the settings are not the usual ones of the task.
    """
    usual = type(args)(**{"task": args.task, "precision": COMPARED, **tasks[args.task]})
    other = _differing(args, usual, (*SAME_METHOD, *args.SAME))
    if other and args.variant in args.VARIANTS:
        name = f"{args.variant}-NAME".removeprefix("-")
        raise ValueError(f"--records of other settings than the method's own need --variant {name};"
                         f" these differ: {_flags(other)}")  # fmt: skip


def _differing(args: ScriptArgs, others: ScriptArgs, free: Collection[str]) -> list[str]:
    """Return the names of the settings that differ, of those that are not free to."""
    names = [field.name for field in dataclasses.fields(args) if field.name not in free]
    return [name for name in names if getattr(args, name) != getattr(others, name)]


def check_made_with(
    args: ScriptArgs, config: Mapping[str, Any], free: Collection[str], option: str
) -> None:
    """Refuse the run that an option names if settings other than the free ones differ there.

    Raises:
        ValueError: Some do; the message says what they were.
    """
    made = from_dict(type(args), config)
    if other := _differing(args, made, free):
        had = ", ".join(f"{_flags([name])} {getattr(made, name)}" for name in other)
        raise ValueError(f"--{option} {getattr(args, option)} was made with {had}; give the same")


def _warn_of_other_code(run: folder.RunFolder) -> None:
    before = run.provenance.get("commit")
    now = provenance.commit()
    if before != now:
        print(f"warning: the run began at commit {before}, this is {now}", file=sys.stderr)
