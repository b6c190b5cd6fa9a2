"""Command lines of the training scripts: a dataclass, presets, and the settings of a run to resume."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import tyro

from dexfw_envs.runs import RunFolder

Settings = TypeVar("Settings")


def from_dict(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings as they were before they became JSON, which has no tuples.

    Raises:
        ValueError: The values are those of another version of the script.
    """
    names = {field.name for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    if names != set(values):
        other = sorted(names ^ set(values))
        raise ValueError(f"settings of another version of the script: they differ in {other}")
    return settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


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
