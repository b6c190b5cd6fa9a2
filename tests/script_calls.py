"""Calling a training script that was imported as a module, as its command line would."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from dexfw_envs.cli import parse


def settings(script: ModuleType, argv: Sequence[str]) -> Any:
    """Return the settings that a command line means."""
    return parse(script.Args, argv, script.PRESETS, script.TASKS, script.__doc__)


def call(script: ModuleType, argv: Sequence[str]) -> int:
    """Run the script and return its exit code."""
    return script.main(settings(script, argv))
