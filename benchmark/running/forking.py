"""Runs that are the same up to a stage: a later one starts from a copy of what they share."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark.grid.cells import Cell
from benchmark.kept.summaries import status
from benchmark.running.site import Site, fill_in, latest_run, script_command
from dexfw_envs.files import atomic_write_bytes, atomic_write_json
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.folder import RunFolder, write_config
from dexfw_envs.runs.metrics import METRICS
from dexfw_envs.runs.progress import STAGES, STATE, read_stages

UNKNOWN = -1  # size of the curves after a stage that ended before scripts wrote it


def run_to_fork(cell: Cell, site: Site) -> Path | None:
    """The finished run whose first stages are this cell's too, if there is one."""
    parent = cell.parent
    if parent is None or cell.variant.forks_from is None:
        return None
    if status(parent, site.results_of(parent), site.root) != "done":
        return None

    run = latest_run(site.cell_folder(parent))
    last_stage = cell.variant.forks_from[1]
    stages = read_stages(run) if run else {}
    curves_end = stages.get(last_stage, {}).get("metrics", UNKNOWN)
    return run if curves_end != UNKNOWN else None


def fork(source: Path, cell: Cell, site: Site) -> Path:
    """Copy a run as it was at the end of the last shared stage, with the settings of the cell.

    The copy is made under a name that no run has, then renamed, so it is there whole or not at all.
    """
    folder = site.cell_folder(cell)
    draft = folder / ".fork"
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "checkpoints").mkdir(parents=True)

    shared = _shared_stages(source, cell)
    turns = {name.rpartition("_")[2] for name in shared}
    for path in _files_of_turns(source, turns):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, draft / path.relative_to(source))

    _write_progress(source, draft, shared)
    _write_settings(source, draft, cell, site)
    return draft.rename(folder / source.name)


def _shared_stages(source: Path, cell: Cell) -> dict[str, Any]:
    """The stages of a run up to the last one that it shares with a cell."""
    assert cell.variant.forks_from is not None
    stages = read_stages(source)
    names = list(stages)
    count = names.index(cell.variant.forks_from[1]) + 1
    return {name: stages[name] for name in names[:count]}


def _files_of_turns(source: Path, turns: set[str]) -> Iterator[Path]:
    """What a run's turns, and other stages, have left: data, policies and figures."""
    figures = ("data_{}.json", "eval_{}.json", "residual_{}.json")
    names = ("{}", "D_{}", *figures, "checkpoints/policy_{}.pt")
    for name in names:
        for turn in sorted(turns):
            path = source / name.format(turn)
            if path.exists():
                yield path


def _write_progress(source: Path, draft: Path, shared: dict[str, Any]) -> None:
    """Write the curves, the times and the checkpoint of a run that has just ended some stages."""
    last = list(shared)[-1]
    curves = (source / METRICS).read_bytes()[: int(shared[last]["metrics"])]
    atomic_write_bytes(draft / METRICS, curves)
    state = {
        "done": {name: stage["seconds"] for name, stage in shared.items()},
        "ends": shared,
        "stage": "",
        "seconds": 0.0,
        "state": {},
        "metrics": len(curves),
    }
    atomic_write_bytes(draft / "checkpoints" / STATE, dump(state))
    atomic_write_json(draft / STAGES, shared)


def _write_settings(source: Path, draft: Path, cell: Cell, site: Site) -> None:
    """Write `config.json`: the settings of the run that is copied, with those of the cell."""
    words = script_command(cell, site)
    made_by = provenance() | {"command": shlex.join(["python", *words])}
    config = RunFolder(source).config
    options = fill_in(cell, site, cell.variant.options)
    changed = changed_settings(cell, options, config)
    runs = str(site.runs / site.cell_folder(cell).name)
    write_config(draft, {**config, **changed, "runs": runs}, made_by)


def changed_settings(cell: Cell, words: Sequence[str], config: dict[str, Any]) -> dict[str, Any]:
    """What options, the words of a cell, change in the settings of the run it starts from.

    Raises:
        ValueError: An option is none of the settings.
    """
    changed: dict[str, Any] = {"variant": cell.label, "eval_splits": list(cell.variant.splits)}
    values = (*words[1:], "")
    for word, value in zip(words, values, strict=True):
        if not word.startswith("--"):
            continue
        name = word.removeprefix("--").replace("-", "_")
        switched_off = name.removeprefix("no_")
        if name in config:
            changed[name] = _converted(value, config[name])
        elif switched_off in config:
            changed[switched_off] = False
        else:
            raise ValueError(f"{word} is no setting of {cell.script}")
    return changed


def _converted(word: str, known: Any) -> Any:
    """A word as a value of the type of a setting's known value; None stands for no number."""
    if isinstance(known, bool):
        return True
    kind = int if known is None else type(known)
    return kind(word)
