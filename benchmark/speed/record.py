"""Measured speeds as the documentation shows them: `results/speed/NAME.json`.

    python -m benchmark.speed.record peers < figures.json

Nothing is recorded unless asked for: `make bench RECORD=--record`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dexfw_envs.console.command import help_text, run_main
from dexfw_envs.files import atomic_write_json
from dexfw_envs.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]
BENCH = "make bench RECORD=--record"
COMMANDS = {
    "tasks": BENCH,
    "start": BENCH,
    "scaling": BENCH,
    "peers": "make bench-peers RECORD=--record",
}


def keep(name: str, load: float, rows: Mapping[str, Any]) -> None:
    """Write figures down.

    Args:
        name: One of `COMMANDS`.
        load: Processes that were running when the measurement began.
        rows: Figures by id of the environment.
    """
    path = ROOT / "results" / "speed" / f"{name}.json"
    known = provenance() | {"command": COMMANDS[name], "load": round(load, 2)}
    atomic_write_json(path, known | {"rows": rows})
    print(f"recorded in {path.relative_to(ROOT)}; show it: python docs/generate.py")


def main(words: Sequence[str]) -> None:
    """Write down the figures that standard input holds."""
    about = help_text("Write down the figures that standard input holds, as JSON.")
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed.record", description=about)
    parser.add_argument("name", choices=[*COMMANDS])
    name = parser.parse_args(words).name
    try:
        found = json.load(sys.stdin)
        load = found["load"]
        rows = found["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"standard input holds no figures: {error}") from error
    keep(name, load, rows)


if __name__ == "__main__":
    sys.exit(run_main(main))
