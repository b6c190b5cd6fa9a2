"""What a finished run tells beside its records: time, data, curves; one small file per cell.

`results/runs/<method>/<task>/<variant or main>-seed<n>.json` is written last, so a cell with a
summary of the right digest is done. `results/manifest.json` lists them all. A summary without a
digest holds the figures that were kept of a run whose folder was not: it is shown, and not done.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.grid.cells import Cell, digest, earlier_digest
from benchmark.grid.variants import MAIN_METHODS
from benchmark.kept.critics import critic_curves
from benchmark.protocol import ROOT
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.observation import read_proprio
from dexfw_envs.registry import entry
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import METRICS, read_rows
from dexfw_envs.runs.precision import with_precision
from dexfw_envs.runs.progress import read_stages

Summary = dict[str, Any]
COVERAGE_EPISODES = 20  # of each turn, whose palm positions are kept
COVERAGE_STEP = 4  # steps from one of these positions to the next
EARLIER_PRECISION = "bf16"  # of all cells that ran before scripts had `--precision`


def summary_path(cell: Cell, results: Path) -> Path:
    """Where the summary of a cell is kept."""
    name = f"{cell.label or 'main'}-seed{cell.seed}.json"
    return results / "runs" / cell.variant.method / cell.task / name


def read_summary(path: Path) -> Summary | None:
    """Read a summary; None if there is none, or a damaged one, whose cell then runs again.

    A warning names a damaged one.
    """
    try:
        found = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"skipped: {error}", stacklevel=2)
        return None
    if not isinstance(found, dict) or "digest" not in found:
        warnings.warn(f"skipped: damaged file {path}: it is no summary of a run", stacklevel=2)
        return None
    return found


def read_summaries(results: Path, method: str = "*", task: str = "*") -> list[Summary]:
    """Read all summaries, or those of a method or task, in the order of their files."""
    paths = sorted((results / "runs").glob(f"{method}/{task}/*.json"))
    return [found for found in map(read_summary, paths) if found is not None]


def status(cell: Cell, results: Path, root: Path = ROOT) -> str:
    """Return what a cell's summary says of it.

    Returns:
        "done"; "stale": settings or method have changed; "partial": figures without the rest of the
        run; "missing"; or "no script".
    """
    if (wanted := digest(cell, root)) is None:
        return "no script"
    found = read_summary(summary_path(cell, results))
    if found is None:
        return "missing"
    if found["digest"] is None:
        return "partial"
    valid = (wanted, earlier_digest(cell, root))
    return "done" if found["digest"] in valid else "stale"


def precision_of(found: Summary) -> str:
    """Return the precision that a summary's run trained in, "" if it trained nothing."""
    return found.get("precision", EARLIER_PRECISION if found.get("success", True) else "")


def summarise(run: RunFolder, cell: Cell, made_by: Mapping[str, Any]) -> Summary:
    """Return what is kept of a finished run.

    Args:
        run: Its folder.
        cell: The cell it belongs to.
        made_by: "digest" and "method_version" of the cell.
    """
    path = run.path
    stages = read_stages(path)
    turns = cell.turns
    drawn = cell.keeps_policies and cell.variant.key in MAIN_METHODS  # plots show no others
    return {
        **_known(cell),
        **made_by,
        **run.provenance,
        "threads": run.config["threads"],
        "precision": with_precision(run.config).get("precision", EARLIER_PRECISION),
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "data": _read_turns(path, "data", turns),
        "objects": {str(i): _objects(path / f"D_{i}") for i in turns},
        "coverage": {str(i): _coverage(path / f"D_{i}") for i in turns} if drawn else {},
        "residual": _read_turns(path, "residual", turns),
        "collection": _read_turns(path, "collection", turns),
        "critic_report": _read_turns(path, "critic", turns),
        "success": [_without_objects(row) for i in turns for row in _rows(path, i)],
        "curves": _curves(path / METRICS) if cell.variant.key in MAIN_METHODS else {},
        "critic": critic_curves(run) if drawn else {},
    }


def summary_of_evaluation(
    cell: Cell, made_by: Mapping[str, Any], seconds: Mapping[str, float], threads: int
) -> Summary:
    """Return the summary of a cell that only tests a policy: it has no data and no curves."""
    names = ("data", "objects", "coverage", "residual", "curves")
    nothing: Summary = {name: {} for name in names} | {"success": []}
    return {**_known(cell), **made_by, "threads": threads, "seconds": dict(seconds), **nothing}


def _known(cell: Cell) -> Summary:
    known = {"method": cell.variant.method, "variant": cell.label, "task": cell.task}
    known |= {"seed": cell.seed, "preset": cell.preset, "env_id": entry(cell.task).env_id}
    return known | {"options": list(cell.options)}


def _read_turns(path: Path, name: str, turns: Iterable[int]) -> dict[str, Any]:
    files = {str(i): path / f"{name}_{i}.json" for i in turns}
    return {i: read_json(file) for i, file in files.items() if file.is_file()}


def _rows(path: Path, turn: int) -> list[dict[str, Any]]:
    file = path / f"eval_{turn}.json"
    return read_json(file) if file.is_file() else []


def _without_objects(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "per_object"}


def _objects(folder: Path) -> dict[str, int]:
    """Successful episodes of each object among a turn's data."""
    if not folder.is_dir():
        return {}
    rows = EpisodeStore(folder).manifest()
    won = Counter(row["scenario"]["objects"][0] for row in rows if row["success"])
    return dict(sorted(won.items()))


def _coverage(folder: Path) -> list[list[int]]:
    """Palm positions in the table frame [mm] along some of a turn's episodes, (points, 3)."""
    if not folder.is_dir():
        return []
    store = EpisodeStore(folder)
    won = [row["id"] for row in store.manifest() if row["success"]]
    chosen = won[:: max(1, len(won) // COVERAGE_EPISODES)][:COVERAGE_EPISODES]
    points = [palm_positions(store.load(name, ["proprio"])) for name in chosen]
    return np.concatenate(points).tolist() if points else []


def palm_positions(episode: Any) -> np.ndarray:
    """Palm positions of all arms at every few steps [mm], (points, 3), whole numbers."""
    proprio = episode.observations["proprio"][::COVERAGE_STEP]
    positions = read_proprio(proprio).palm_position.reshape(-1, 3)
    return np.rint(1e3 * positions).astype(int)


def _curves(path: Path) -> dict[str, list[list[float]]]:
    """Success over training steps by tag, those of single objects left out."""
    curves: dict[str, list[list[float]]] = {}
    for row in read_rows(path) if path.is_file() else ():
        for tag, value in row.items():
            if tag.startswith("charts/") and tag.endswith("_success"):
                curves.setdefault(tag, []).append([row["step"], round(value, 4)])
    return curves


def write_manifest(results: Path) -> Path:
    """Write `manifest.json`: of every finished cell what made it, and how long it took."""
    names = ("digest", "method_version", "env_id", "commit", "command", "threads", "versions")
    rows = {
        "/".join((s["method"], s["variant"] or "main", s["task"], f"seed{s['seed']}")): {
            **{name: s[name] for name in (*names, "machine")},
            "minutes": round(sum(s["seconds"].values()) / 60, 1),
        }
        for s in read_summaries(results)
    }
    path = results / "manifest.json"
    atomic_write_json(path, dict(sorted(rows.items())))
    return path
