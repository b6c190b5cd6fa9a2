"""`python -m benchmark adopt`: a run that was started by hand is taken over as its cell.

They may lie in another clone: their records come along.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.grid.cells import Cell, digest, earlier_digest, method_version, version_in
from benchmark.grid.scripts import load_script
from benchmark.grid.variants import GRID
from benchmark.protocol import PRECISION, SPLITS, USUAL_PRESET
from benchmark.running.cell_runner import finished, store_results
from benchmark.running.forking import UNKNOWN
from benchmark.running.site import Site
from dexfw_envs.evaluation.records import (
    Record,
    read_record_file,
    with_references,
    write_records,
)
from dexfw_envs.files import atomic_write_json
from dexfw_envs.runs.checkpoints import load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import METRICS
from dexfw_envs.runs.progress import STAGES, STATE
from dexfw_envs.runs.settings import parse

# Options of a script that change no result, by how many values they take.
WITHOUT_EFFECT = {
    "--threads": 1,
    "--runs": 1,
    "--records": 1,
    "--capture-video": 0,
    "--save-seconds": 1,
}
USUAL = {
    "--task": ("Grasp",),
    "--seed": ("1",),
    "--preset": (USUAL_PRESET,),
    "--eval-episodes": ("200",),
}


def options_of(words: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the options of a command line that decide results, with their values."""
    options: dict[str, tuple[str, ...]] = dict(USUAL)
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
            options[name] = ()
        elif name:
            options[name] = (*options[name], word)
    return {name: values for name, values in options.items() if name not in WITHOUT_EFFECT}


def cell_of(run: RunFolder) -> Cell:
    """Return the cell that a run is of.

    Raises:
        ValueError: It is none of the grid's, or of another precision than cells; the message says
            what it was called with.
    """
    config = run.config
    precision = config.get("precision", PRECISION)  # without: of before scripts had it
    if precision != PRECISION:
        raise ValueError(f"{run.path} has --precision {precision}, cells have {PRECISION}")

    command = run.provenance["command"]
    words = shlex.split(command)
    script = next((Path(word) for word in words if word.endswith(".py")), Path())
    for row in GRID:
        cell = Cell(row, config["task"], config["seed"], config["preset"])
        if row.method == script.stem and _has_options_of(words, cell):
            return cell
    raise ValueError(f"{run.path} is no run of the grid; its command: {command}")


def _has_options_of(words: list[str], cell: Cell) -> bool:
    """Whether a command line has a cell's options; more splits than the cell's do no harm."""
    options = options_of(words)
    wanted = options_of(list(cell.options))
    splits = set(options.pop("--eval-splits", ()))
    needed = set(wanted.pop("--eval-splits", ()))
    options.pop("--precision", None)
    wanted.pop("--precision", None)
    return options == wanted and needed <= splits


def import_run(path: Path, site: Site, records: Path | None = None) -> Cell:
    """Copy the records of a finished run and make its summary, so that its cell counts as done.

    The METHOD_VERSION is that of the script at the run's commit.

    Args:
        path: The run's folder.
        place: Where the cell's results and files go.
        records: Folder of the records that the run wrote, default where it says that they are.

    Raises:
        ValueError: It is no run of the grid, not finished, of another METHOD_VERSION or of other
            settings than the script has now, or its records are not there.
        FileNotFoundError: There is no run.
    """
    run = RunFolder(path)
    cell = cell_of(run)
    version = version_at(run.provenance["commit"], cell.script, site.root)
    if version != method_version(site.root / cell.script):
        raise ValueError(f"{path} is of METHOD_VERSION {version}, the script's is another by now")
    changed = changed_since(run, cell, site.root)
    if changed:
        names = ", ".join(changed)
        raise ValueError(f"{path} has other settings than the script has now: {names}")

    _complete_stages(run)
    if not finished(run.path, cell):
        last = cell.variant.last_turn(cell.preset)
        raise ValueError(f"{path} is not finished: no eval_{last} yet")

    source = records or records_folder(run)
    copy_records(run, cell, source, site.results_of(cell) / "records")
    known_digest = digest_of(run, cell, site.root)
    folder = site.cell_folder(cell, known_digest)
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / run.name
    if not link.exists():  # where cells that fork from it look for it
        link.symlink_to(os.path.relpath(run.path.resolve(), folder.resolve()))

    made_by = {"digest": known_digest, "method_version": version}
    store_results(run, cell, site, made_by)
    return cell


def digest_of(run: RunFolder, cell: Cell, root: Path) -> str | None:
    """Return the digest under which a run counts: an earlier one if it had no `--precision`."""
    if "precision" in run.config:
        return digest(cell, root)
    return earlier_digest(cell, root)


def changed_since(run: RunFolder, cell: Cell, root: Path) -> list[str]:
    """Return the settings in which a run differs from what its cell would be run with now.

    Options that one of the two does not have are left to METHOD_VERSION.
    """
    script = load_script(cell.variant.method, root)
    now = parse(script.Args, cell.options, script.PRESETS, script.TASKS)
    values = json.loads(json.dumps(asdict(now)))
    free = {name[2:].replace("-", "_") for name in (*WITHOUT_EFFECT, "--eval-splits")}
    common = (values.keys() & run.config.keys()) - free
    return sorted(name for name in common if values[name] != run.config[name])


def records_folder(run: RunFolder) -> Path:
    """Return the folder of the records that a run wrote, beside the runs of the clone it ran in.

    Raises:
        ValueError: It wrote none, or has been moved since.
    """
    runs = run.path.resolve().parent
    clone = Path(str(runs).removesuffix(os.path.normpath(run.config["runs"])))
    was_moved = (clone / run.config["runs"]).resolve() != runs
    if was_moved or not run.config["records"]:
        raise ValueError(f"cannot tell where {run.path} left its records: name --records")
    return clone / run.config["records"]


def copy_records(run: RunFolder, cell: Cell, source: Path, target: Path) -> None:
    """Copy the records of a run's own evaluations, those of the splits that its cell has.

    Raises:
        ValueError: The last ones are not there, or some are of another run.
    """
    folder = source / cell.variant.method / cell.task
    first = "-".join(filter(None, (cell.label, "i")))
    files: dict[str, list[Record]] = {}
    for split in cell.variant.splits:
        for path in sorted(folder.glob(f"{first}[0-9]-*-{split}*-seed{cell.seed}.parquet")):
            files[path.name] = read_record_file(path)

    last_turn = cell.variant.last_turn(cell.preset)
    last = f"{first}{last_turn}-{cell.variant.policy}-{SPLITS[0]}"
    if f"{last}-seed{cell.seed}.parquet" not in files:
        raise ValueError(f"no records of {run.path} in {folder}: where they are says --records")
    for name, rows in files.items():
        if {row["commit"] for row in rows} != {run.provenance["commit"]}:
            raise ValueError(f"{folder / name} is of another run than {run.path}: their commits")

    labels = ("method", "variant", "task", "iteration", "policy", "precision", "commit", "command")
    for rows in files.values():
        known = {name: rows[0][name] for name in labels}
        write_records(with_references(rows), target, **known)


def version_at(commit: str, script: Path, root: Path) -> int:
    """Return a script's METHOD_VERSION at a commit.

    Raises:
        ValueError: The commit is not known here.
    """
    revision = f"{commit.removesuffix('-dirty')}:{script.as_posix()}"
    words = ["git", "-C", str(root), "show", revision]
    git = subprocess.run(words, capture_output=True, text=True, check=False)
    if git.returncode:
        raise ValueError(f"cannot tell the METHOD_VERSION of {revision}: {git.stderr.strip()}")
    return version_in(git.stdout, revision)


def _complete_stages(run: RunFolder) -> None:
    """Write the times of the stages of a run that was made before scripts wrote them."""
    if (run.path / STAGES).is_file():
        return
    state: dict[str, Any] = load_checkpoint(run, STATE)
    stages = {}
    for name, seconds in state["done"].items():
        stages[name] = {"seconds": seconds, "metrics": UNKNOWN}

    last = list(stages)[-1]
    stages[last]["metrics"] = (run.path / METRICS).stat().st_size
    atomic_write_json(run.path / STAGES, stages)
