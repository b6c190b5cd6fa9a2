"""Measured speeds as the documentation shows them: `results/speed/NAME.json`.

    python -m benchmark.speed.record peers < figures.json

Nothing is recorded unless asked for: `make bench RECORD=--record`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.runs import atomic_write_json, provenance

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"tasks": "make bench RECORD=--record", "peers": "make bench-peers RECORD=--record"}


def keep(name: str, load: float, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Write figures down.

    Args:
        name: "tasks" or "peers".
        load: Processes that were running when the measurement began.
        rows: Figures by id of the environment.
    """
    path = ROOT / "results" / "speed" / f"{name}.json"
    known = provenance() | {"command": COMMANDS[name], "load": round(load, 2)}
    atomic_write_json(path, known | {"rows": rows})
    print(f"recorded in {path.relative_to(ROOT)}; show it: python docs/generate.py")


if __name__ == "__main__":
    keep(sys.argv[1], **json.load(sys.stdin))
