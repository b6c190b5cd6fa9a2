"""Calling a training script that was imported as a module, as its command line would."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from dexfw_envs.runs.settings import parse


def settings(script: ModuleType, argv: Sequence[str]) -> Any:
    """Return the settings that a command line means."""
    return parse(script.Args, argv, script.PRESETS, script.TASKS, script.__doc__)


def success_tags(run: Path) -> set[str]:
    """Return the tags of success in the curves of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {tag for row in rows for tag in row if tag.startswith("charts/success_")}


def call(script: ModuleType, argv: Sequence[str]) -> int:
    """Run the script and return its exit code."""
    return script.main(settings(script, argv))
