"""Runs that are the same up to a stage: a later one starts from a copy of what they share."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark.grid.cells import Cell
from benchmark.kept.summaries import status
from benchmark.running.place import Place, command, run_in, told
from dexfw_envs.files import atomic_write_bytes, atomic_write_json
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.folder import RunFolder, write_config
from dexfw_envs.runs.metrics import METRICS
from dexfw_envs.runs.progress import STAGES, STATE, read_stages

UNKNOWN = -1  # size of the curves after a stage that ended before scripts wrote it


def shared_run(cell: Cell, place: Place) -> Path | None:
    """The finished run whose first stages are this cell's too, if there is one."""
    parent = cell.parent
    if parent is None or cell.variant.shares is None:
        return None
    if status(parent, place.results_of(parent), place.root) != "done":
        return None
    run = run_in(place.home(parent))
    last = cell.variant.shares[1]
    ends = read_stages(run) if run else {}
    return run if ends.get(last, {}).get("metrics", UNKNOWN) != UNKNOWN else None


def fork(source: Path, cell: Cell, place: Place) -> Path:
    """Copy a run as it was at the end of the last shared stage, with the settings of the cell.

    The copy is made under a name that no run has, then renamed, so it is there whole or not at all.
    """
    home, words = place.home(cell), command(cell, place)
    draft = home / ".fork"
    shutil.rmtree(draft, ignore_errors=True)
    assert cell.variant.shares is not None
    ends = read_stages(source)
    names = list(ends)[: list(ends).index(cell.variant.shares[1]) + 1]
    kept = {name: ends[name] for name in names}
    (draft / "checkpoints").mkdir(parents=True)
    for path in _files_of(source, {name.rpartition("_")[2] for name in names}):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, draft / path.relative_to(source))
    curves = (source / METRICS).read_bytes()[: int(ends[names[-1]]["metrics"])]
    atomic_write_bytes(draft / METRICS, curves)
    state = {"done": {name: kept[name]["seconds"] for name in names}, "ends": kept}
    state |= {"stage": "", "seconds": 0.0, "state": {}, "metrics": len(curves)}
    atomic_write_bytes(draft / "checkpoints" / STATE, dump(state))
    atomic_write_json(draft / STAGES, kept)
    old = RunFolder(source).config
    made = provenance() | {"command": shlex.join(["python", *words])}
    options = told(cell, place, cell.variant.options)
    config = {**old, **changed_settings(cell, options, old), "runs": str(place.runs / home.name)}
    write_config(draft, config, made)
    return draft.rename(home / source.name)


def _files_of(source: Path, turns: set[str]) -> Iterator[Path]:
    """What a run's turns, and other stages, have left: data, policies and figures."""
    figures = ("data_{}.json", "eval_{}.json", "residual_{}.json")
    names = ("{}", "D_{}", *figures, "checkpoints/policy_{}.pt")
    for name in names:
        yield from (path for i in sorted(turns) if (path := source / name.format(i)).exists())


def changed_settings(cell: Cell, words: Sequence[str], config: dict[str, Any]) -> dict[str, Any]:
    """What options, the words of a cell, change in the settings of the run it starts from.

    Raises:
        ValueError: An option is none of the settings.
    """
    changed: dict[str, Any] = {"variant": cell.label, "eval_splits": list(cell.variant.splits)}
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, value = word[2:].replace("-", "_"), (*words, "")[index + 1]
        if name not in config and name.removeprefix("no_") in config:
            changed[name.removeprefix("no_")] = False
        elif name not in config:
            raise ValueError(f"{word} is no setting of {cell.script}")
        else:
            kind = int if config[name] is None else type(config[name])  # None: no such number
            changed[name] = True if kind is bool else kind(value)
    return changed
