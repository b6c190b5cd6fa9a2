"""Command lines of the training scripts: settings, presets, and the settings of a resumed run.

Reading them imports neither torch nor a simulator, so that `--help` and wrong options cost no time:
`check_device` and `evaluate_checkpoint`, which need torch, come after.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from dexfw_envs import provenance
from dexfw_envs.console import command
from dexfw_envs.runs import folder
from dexfw_envs.runs.options import SAME_METHOD, ScriptArgs, Settings, from_dict
from dexfw_envs.runs.policies import read_policy
from dexfw_envs.runs.precision import native_precision
from dexfw_envs.runs.setting_checks import (
    check_combination,
    check_device,
    check_made_with,
    check_outputs,
    check_values,
    check_variant,
)

__all__ = [
    "SAME_METHOD",
    "ScriptArgs",
    "check_device",
    "check_made_with",
    "check_variant",
    "command_line",
    "from_dict",
    "parse",
]


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
    early = _read_early(argv, presets, tasks)
    run = folder.RunFolder(early.resume) if early.resume else None
    if run is not None:
        default = from_dict(settings, run.config)
    else:
        task = early.task or next(iter(tasks))
        default = settings(**{**presets[early.preset], "task": task, **tasks[task]})

    text = command.help_text(description or settings.__doc__ or "")
    args = tyro.cli(settings, default=default, args=argv, description=text)
    check_combination(args, given(settings, argv))
    check_values(args)

    # Last of all what imports torch: reading a policy, and asking a device for its precision.
    if args.evaluate and early.task is None:
        args = dataclasses.replace(args, task=_task_of(args.evaluate) or args.task)
    check_outputs(args)
    if args.precision == "auto" and not args.evaluate:
        check_device(args.device)
        args = dataclasses.replace(args, precision=native_precision(args.device))

    if run is not None:
        _warn_of_other_code(run)
    elif args.records and not args.evaluate:
        check_variant(args, tasks)
    return args


def _read_early(
    argv: Sequence[str], presets: Mapping[str, Any], tasks: Mapping[str, Any]
) -> argparse.Namespace:
    """Read the three options that the defaults of the others depend on."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", choices=[*presets], default=next(iter(presets)))
    early.add_argument("--task", choices=[*tasks])
    early.add_argument("--resume", default="")
    known, _ = early.parse_known_args(argv)
    return known


def _task_of(checkpoint: str) -> str:
    """Return the task of a policy; "" if it cannot be read: `evaluate_checkpoint` says why."""
    try:
        return read_policy(checkpoint)["args"]["task"] if checkpoint else ""
    except (OSError, ValueError, KeyError):
        return ""


def given(settings: type[ScriptArgs], argv: Sequence[str]) -> list[str]:
    """Return the settings that a command line names, in its order; no value starts with "--"."""
    names = {field.name for field in dataclasses.fields(settings)}
    named = []
    for word in argv:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            named.append(name if name in names else name.removeprefix("no_"))
    return named


def _warn_of_other_code(run: folder.RunFolder) -> None:
    before = run.provenance.get("commit")
    now = provenance.commit()
    if before != now:
        print(f"warning: the run began at commit {before}, this is {now}", file=sys.stderr)
