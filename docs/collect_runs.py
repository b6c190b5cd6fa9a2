"""Keep what a run's folder says of its turns and its time, beside the per-episode records.

    python docs/collect_runs.py runs/NAME...      # -> results/runs/<task>.json

Runs that are there already are replaced; those of other seeds or variants stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from dexfw_envs.progress import STATE, load
from dexfw_envs.runs import RunFolder, atomic_write_json

RESULTS = Path(__file__).resolve().parents[1] / "results" / "runs"


def read_run(path: str) -> dict[str, Any]:
    """Return settings, provenance, seconds of every stage, data and motion of one run.

    Raises:
        FileNotFoundError: There is no run, or it has not begun.
    """
    folder = RunFolder.open(path)
    done = load(folder.read_checkpoint(STATE))["done"]
    turns = range(1, folder.config["iterations"] + 1)
    data = {str(i): json.loads((folder.path / f"data_{i}.json").read_text()) for i in turns}
    rows = [row for i in turns for row in json.loads((folder.path / f"eval_{i}.json").read_text())]
    known = {name: folder.config[name] for name in ("task", "seed", "variant", "threads")}
    motion = [{name: value for name, value in row.items() if name != "per_object"} for row in rows]
    return known | folder.provenance | {"seconds": done, "data": data, "success": motion}


def main(paths: list[str]) -> None:
    """Add runs to the file of their task."""
    for run in map(read_run, paths):
        target = RESULTS / f"{run['task']}.json"
        kept = json.loads(target.read_text()) if target.exists() else []
        same = ("seed", "variant")
        kept = [old for old in kept if any(old[name] != run[name] for name in same)]
        kept = sorted([*kept, run], key=lambda entry: (entry["variant"], entry["seed"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(target, kept)
        print(f"{target.relative_to(RESULTS.parents[1])}: {len(kept)} runs")


if __name__ == "__main__":
    main(sys.argv[1:])
