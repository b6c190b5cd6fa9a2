"""Runs that were made by hand and are just those of a cell: taken over instead of run again.

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
from benchmark.running.place import Place
from benchmark.running.sharing import UNKNOWN
from benchmark.running.work import finished, keep
from dexfw_envs.evaluation.records import read_record_file, with_references, write_records
from dexfw_envs.files import atomic_write_json
from dexfw_envs.runs.checkpoints import load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import METRICS
from dexfw_envs.runs.progress import STAGES, STATE
from dexfw_envs.runs.settings import parse

# Options of a script that change no result, by how many values they take.
IDLE = {"--threads": 1, "--runs": 1, "--records": 1, "--capture-video": 0, "--save-seconds": 1}
USUAL = {
    "--task": ("Grasp",), "--seed": ("1",), "--preset": (USUAL_PRESET,), "--eval-episodes": ("200",)
}  # fmt: skip


def options_of(words: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the options of a command line that decide results, with their values."""
    found: dict[str, tuple[str, ...]] = dict(USUAL)
    name = ""
    for word in words:
        if word.startswith("--"):
            name, found[word] = word, ()
        elif name:
            found[name] = (*found[name], word)
    return {name: values for name, values in found.items() if name not in IDLE}


def cell_of(run: RunFolder) -> Cell:
    """Return the cell that a run is of.

    Raises:
        ValueError: It is none of the grid's, or of another precision than cells; the message says
            what it was called with.
    """
    precision = run.config.get("precision", PRECISION)  # without: of before scripts had it
    if precision != PRECISION:
        raise ValueError(f"{run.path} has --precision {precision}, cells have {PRECISION}")
    words = shlex.split(run.provenance["command"])
    script = next((Path(word) for word in words if word.endswith(".py")), Path())
    found, config = options_of(words), run.config
    measured = set(found.pop("--eval-splits", ()))  # more than the grid asks for do no harm
    found.pop("--precision", None)
    for row in GRID:
        cell = Cell(row, config["task"], config["seed"], config["preset"])
        wanted = options_of(list(cell.options))
        needed = set(wanted.pop("--eval-splits", ()))
        wanted.pop("--precision", None)
        if row.method == script.stem and wanted == found and needed <= measured:
            return cell
    raise ValueError(f"{run.path} is no run of the grid; its command: {run.provenance['command']}")


def adopt(path: Path, place: Place, records: Path | None = None) -> Cell:
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
    version = version_at(run.provenance["commit"], cell.script, place.root)
    if version != method_version(place.root / cell.script):
        raise ValueError(f"{path} is of METHOD_VERSION {version}, the script's is another by now")
    if other := changed_since(run, cell, place.root):
        raise ValueError(f"{path} has other settings than the script has now: {', '.join(other)}")
    _complete_stages(run)
    if not finished(run.path, cell):
        last = cell.variant.last_turn(cell.preset)
        raise ValueError(f"{path} is not finished: no eval_{last} yet")
    copy_records(run, cell, records or written_to(run), place.results_of(cell) / "records")
    of = digest_of(run, cell, place.root)
    home = place.home(cell, of)
    home.mkdir(parents=True, exist_ok=True)
    link = home / run.name
    if not link.exists():  # where cells that share its first stages look for it
        link.symlink_to(os.path.relpath(run.path.resolve(), home.resolve()))
    made_by = {"digest": of, "method_version": version}
    keep(run, cell, place, made_by)
    return cell


def digest_of(run: RunFolder, cell: Cell, root: Path) -> str | None:
    """Return the digest under which a run counts: an earlier one if it had no `--precision`."""
    known = digest if "precision" in run.config else earlier_digest
    return known(cell, root)


def changed_since(run: RunFolder, cell: Cell, root: Path) -> list[str]:
    """Return the settings in which a run differs from what its cell would be run with now.

    Options that one of the two does not have are left to METHOD_VERSION.
    """
    script = load_script(cell.variant.method, root)
    now = parse(script.Args, cell.options, script.PRESETS, script.TASKS)
    values = json.loads(json.dumps(asdict(now)))
    free = {name[2:].replace("-", "_") for name in (*IDLE, "--eval-splits")}
    common = (values.keys() & run.config.keys()) - free
    return sorted(name for name in common if values[name] != run.config[name])


def written_to(run: RunFolder) -> Path:
    """Return the folder of the records that a run wrote, beside the runs of the clone it ran in.

    Raises:
        ValueError: It wrote none, or has been moved since.
    """
    home = run.path.resolve().parent
    clone = Path(str(home).removesuffix(os.path.normpath(run.config["runs"])))
    found = clone / run.config["records"]
    if not run.config["records"] or (clone / run.config["runs"]).resolve() != home:
        raise ValueError(f"cannot tell where {run.path} left its records: name --records")
    return found


def copy_records(run: RunFolder, cell: Cell, source: Path, target: Path) -> None:
    """Copy the records of a run's own evaluations, those of the splits that its cell has.

    Raises:
        ValueError: The last ones are not there, or some are of another run.
    """
    folder = source / cell.variant.method / cell.task
    first = "-".join(filter(None, (cell.label, "i")))
    found = {
        path.name: read_record_file(path)
        for split in cell.variant.splits
        for path in sorted(folder.glob(f"{first}[0-9]-*-{split}*-seed{cell.seed}.parquet"))
    }
    last = f"{first}{cell.variant.last_turn(cell.preset)}-{cell.variant.policy}-{SPLITS[0]}"
    if f"{last}-seed{cell.seed}.parquet" not in found:
        raise ValueError(f"no records of {run.path} in {folder}: where they are says --records")
    for name, rows in found.items():
        if {row["commit"] for row in rows} != {run.provenance["commit"]}:
            raise ValueError(f"{folder / name} is of another run than {run.path}: their commits")
    for rows in found.values():
        names = ("method", "variant", "task", "iteration", "policy", "precision")
        known = {k: rows[0][k] for k in names}
        made = {k: rows[0][k] for k in ("commit", "command")}
        write_records(with_references(rows), target, **known, **made)


def version_at(commit: str, script: Path, root: Path) -> int:
    """Return a script's METHOD_VERSION at a commit.

    Raises:
        ValueError: The commit is not known here.
    """
    place = f"{commit.removesuffix('-dirty')}:{script.as_posix()}"
    shown = subprocess.run(
        ["git", "-C", str(root), "show", place], capture_output=True, text=True, check=False
    )
    if shown.returncode:
        raise ValueError(f"cannot tell the METHOD_VERSION of {place}: {shown.stderr.strip()}")
    return version_in(shown.stdout, place)


def _complete_stages(run: RunFolder) -> None:
    """Write the times of the stages of a run that was made before scripts wrote them."""
    if (run.path / STAGES).is_file():
        return
    state: dict[str, Any] = load_checkpoint(run, STATE)
    ends = {name: {"seconds": took, "metrics": UNKNOWN} for name, took in state["done"].items()}
    ends[list(ends)[-1]]["metrics"] = (run.path / METRICS).stat().st_size
    atomic_write_json(run.path / STAGES, ends)
