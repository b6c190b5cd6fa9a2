"""Refusing settings before any work: what does not go together, or would fail hours later."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from dexfw_envs import checks
from dexfw_envs.backends import check_backend, options_for
from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.splits import split_names
from dexfw_envs.console import extras
from dexfw_envs.evaluation.records import import_pyarrow
from dexfw_envs.runs.options import (
    COUNTS,
    EVALUATE,
    ONLY_EVALUATE,
    RESUME,
    SAME_METHOD,
    ScriptArgs,
    flags,
    from_dict,
)
from dexfw_envs.runs.precision import COMPARED
from dexfw_envs.variation import ranges_of


def check_combination(args: ScriptArgs, named: Sequence[str]) -> None:
    """Refuse options that would be ignored, or would change a run that is resumed."""
    if args.resume:
        _allow(named, RESUME, "--resume goes on with the run's own settings; beside it only")
    elif args.evaluate:
        allowed = (*EVALUATE, *args.ASKED)
        _allow(named, allowed, "--evaluate takes all else from the checkpoint; beside it only")
    else:
        wrong = [name for name in named if name in ONLY_EVALUATE]
        if wrong:
            raise ValueError(f"without --evaluate there is no use for {flags(wrong)}")


def _allow(named: Sequence[str], allowed: Sequence[str], text: str) -> None:
    wrong = [name for name in named if name not in allowed]
    if wrong:
        raise ValueError(f"{text} {flags(allowed[1:])}; got {flags(wrong)}")


def check_values(args: ScriptArgs) -> None:
    """Refuse now what would fail only after the first turn's work."""
    _check_numbers(args)
    check_backend(args.backend)
    options_for(args.backend, args.threads, args.timestep_scale, args.friction_scale)
    if args.variation:
        ranges_of(args.variation)


def _check_numbers(args: ScriptArgs) -> None:
    counts = [name for name in COUNTS if hasattr(args, name)]
    checks.least(args, 1, *counts)
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(number, int | float) for number in numbers):
            continue
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{flags([field.name])} must be a finite number, got {value}")
        if min(numbers, default=0) < 0 and field.name not in args.NEGATIVE:
            raise ValueError(f"{flags([field.name])} must be at least 0, got {value}")


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


def check_outputs(args: ScriptArgs) -> None:
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
        raise RuntimeError(
            "--track needs a login to Weights & Biases: run `wandb login`, or set "
            "WANDB_MODE=offline"
        )


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
        raise ValueError(
            f"--records of other settings than the method's own need --variant {name}; "
            f"these differ: {flags(other)}"
        )


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
    other = _differing(args, made, free)
    if other:
        had = ", ".join(f"{flags([name])} {getattr(made, name)}" for name in other)
        raise ValueError(f"--{option} {getattr(args, option)} was made with {had}; give the same")
