"""Per-episode records of evaluations: their columns, and the Parquet files that keep them.

Every table is made from these files: `results/records/<method>/<task>/<name>.parquet`, one row
per episode. pyarrow is imported when a file is written or read.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexfw_envs import files, provenance
from dexfw_envs.console import extras
from dexfw_envs.revision import FIRST

if TYPE_CHECKING:
    from dexfw_envs.scenario import Scenario

Record = dict[str, Any]

#: Name, type and meaning of every column; the one place that defines them.
COLUMNS: dict[str, tuple[type, str]] = {
    "method": (str, "baseline script, e.g. dexflywheel"),
    "variant": (str, "variant or ablation of the method, empty for the method itself"),
    "task": (str, "Grasp, Pour, Lift or Handover"),
    "iteration": (int, "flywheel iteration, 0 where the method has none"),
    "policy": (str, "base, combined, ..."),
    "split": (str, "split of scenarios, or custom"),
    "seed": (int, "seed of the run that made the policy"),
    "precision": (str, "precision that the policy was trained in, fp32 or bf16; empty if unknown"),
    "episode": (int, "number of the scenario within the split"),
    "scenario": (str, "where it is in its split (see `scenario_of`), or the scenario as JSON"),
    "object": (str, "id of the manipulated object"),
    "surroundings": (str, "id of the surroundings"),
    "pose": (int, "pose cell"),
    "success": (bool, "success with the hold"),
    "raised": (bool, "raised far enough, held or not"),
    "hold": (int, "longest hold [steps]"),
    "length": (int, "episode length [steps]"),
    "jerk": (float, "mean second difference of the actions"),
    "failure": (str, "reason of failure, empty for a success"),
    "progress": (float, "furthest stage, as a share of the task's stages; 1 for a success"),
    "measures": (str, "what the task reports beside success, at the episode's end, as JSON"),
    "env_id": (str, "Gymnasium id"),
    "env_version": (int, "version in the id"),
    "revision": (int, "revision of the worlds, see `dexfw_envs.revision`"),
    "sees": (str, "`obs_mode` of the worlds, flat or not; empty if unknown"),
    "penetration_link": (float, "deepest that the object lay in a link of an arm [mm]"),
    "penetration_hand": (float, "the same in a hand [mm]"),
    "penetration_support": (float, "the same in table or floor [mm]"),
    "commit": (str, "git commit, with -dirty where tracked code differs from it"),
    "command": (str, "command that made the record"),
    "wall_time_s": (float, "the episode's share of the evaluation's wall time [s]"),
}

CHECKSUM = "dexfw_crc32"  # key of the rows' checksum in a file's metadata

#: What a column is read as where the file was written before there was such a column.
OLDER: Record = {
    "measures": "{}",
    "progress": float("nan"),
    "precision": "",
    "revision": FIRST,
    "sees": "",
    "penetration_link": float("nan"),
    "penetration_hand": float("nan"),
    "penetration_support": float("nan"),
}


def reference(text: str, split: str, seed: int, episode: int) -> str:
    """Name a scenario by its place in a split: a twentieth of its size, and as good for pairing.

    Args:
        text: The scenario as JSON, of which a checksum is kept.
        split: The split.
        seed: Seed of the split's scenarios.
        episode: Its number.
    """
    return f"{split} {seed} {episode} {zlib.crc32(text.encode()):08x}"


def scenario_of(record: Mapping[str, Any]) -> Scenario:
    """Return the scenario of a record.

    Raises:
        ValueError: The split has changed since the record was made, or the text names nothing.
    """
    from dexfw_envs.catalog import splits
    from dexfw_envs.scenario import Scenario

    text = record["scenario"]
    if text.startswith("{"):
        return Scenario.from_json(text)
    try:
        split, seed, episode, _ = text.split()
        scenario = splits.split(record["task"], split, int(episode) + 1, int(seed))[-1]
    except ValueError as error:
        raise ValueError(f"no scenario is named {text!r}: {error}") from error
    if reference(scenario.to_json(), split, int(seed), int(episode)) != text:
        raise ValueError(f"split {split} has changed since the record of {text!r} was made")
    return scenario


def with_references(records: Sequence[Record]) -> list[Record]:
    """Name the scenarios of older records, all of one split and seed, by their places in it.

    Records of the same scene can only be paired if they name it alike. What is not in its place in
    the split, since the split has changed or the scene was another seed's, stays whole.
    """
    from dexfw_envs.catalog import splits

    if not any(row["scenario"].startswith("{") for row in records):
        return list(records)
    first = records[0]
    count = max(row["episode"] for row in records) + 1
    drawn = splits.split(first["task"], first["split"], count, first["seed"])
    texts = [scenario.to_json() for scenario in drawn]
    return [_renamed(row, texts[row["episode"]]) for row in records]


def _renamed(row: Record, text: str) -> Record:
    if not row["scenario"].startswith("{") or json.loads(row["scenario"]) != json.loads(text):
        return row
    name = reference(text, row["split"], row["seed"], row["episode"])
    return {**row, "scenario": name}


def mean_measures(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of every measure over the records that have it; empty if none has any."""
    by_name: dict[str, list[float]] = {}
    for record in records:
        for name, value in json.loads(record.get("measures", "{}")).items():
            by_name.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in by_name.items()}


def import_pyarrow() -> Any:
    """Return pyarrow with its Parquet part.

    Raises:
        ImportError: It is not installed; the message says how to.
    """
    pyarrow = extras.load("pyarrow", "records need")
    extras.load("pyarrow.parquet", "records need")
    return pyarrow


def _complete(record: Mapping[str, Any]) -> Record:
    unknown = sorted(set(record) - set(COLUMNS))
    missing = sorted(set(COLUMNS) - set(record))
    if unknown or missing:
        raise ValueError(f"record with unknown columns {unknown}, missing columns {missing}")
    return {name: kind(record[name]) for name, (kind, _) in COLUMNS.items()}


def write_records(
    records: Iterable[Mapping[str, Any]],
    root: str | Path = "results/records",
    *,
    method: str,
    task: str,
    variant: str = "",
    iteration: int = 0,
    policy: str = "combined",
    seed: int | None = None,
    precision: str = "",
    commit: str | None = None,
    command: str | None = None,
    name: str | None = None,
) -> Path:
    """Write the records of one evaluation, replacing an earlier file of the same name at once.

    Args:
        records: What `evaluate` returned.
        root: Folder of all records.
        method: Baseline script without its suffix.
        task: Task name; the records must be of this task.
        variant: Variant or ablation, "" for the method itself.
        iteration: Flywheel iteration.
        policy: "base", "combined", ...
        seed: Seed of the run that made the policy; default is the evaluation's own.
        precision: Precision that the policy was trained in, "fp32" or "bf16"; "" if unknown.
        commit: Git commit, default the clone's.
        command: Command line, default this process's.
        name: File name without suffix, default made of variant, iteration, policy, split, seed.

    Returns:
        The path of the file.

    Raises:
        ValueError: No records, or records of another task or with wrong columns.
    """
    labels = {"method": method, "variant": variant, "iteration": iteration, "policy": policy}
    labels["precision"] = precision
    labels["commit"] = provenance.commit() if commit is None else commit
    labels["command"] = provenance.current_command() if command is None else command
    labels |= {} if seed is None else {"seed": seed}
    rows = [_complete({**record, **labels}) for record in records]

    if not rows:
        raise ValueError("no records to write")
    if others := {row["task"] for row in rows} - {task}:
        raise ValueError(f"records of task {sorted(others)} cannot be written as task {task!r}")

    path = Path(root) / method / task / f"{name or _file_name(rows[0])}.parquet"
    files.sweep(path.parent, older_than=files.A_DAY)
    _write_parquet(path, rows)

    return path


def _file_name(row: Record) -> str:
    split = row["split"].replace("(", "").replace(")", "")
    parts = [row["variant"], f"i{row['iteration']}", row["policy"], split, f"seed{row['seed']}"]
    return "-".join(part for part in parts if part)


def _write_parquet(path: Path, rows: Sequence[Record]) -> None:
    arrow = import_pyarrow()
    types = {str: arrow.string(), int: arrow.int64(), bool: arrow.bool_(), float: arrow.float64()}
    schema = arrow.schema([(name, types[kind]) for name, (kind, _) in COLUMNS.items()])
    sink = arrow.BufferOutputStream()
    table = arrow.Table.from_pylist(rows, schema)

    # Half of so small a file would be statistics of every column, a second form of the schema, and
    # dictionaries of columns that hardly repeat a value.
    options: dict[str, Any] = {
        "write_statistics": False,
        "store_schema": False,
        "compression_level": 19,
    }
    repeating = [
        name for name in COLUMNS if name not in ("episode", "scenario", "jerk", "measures")
    ]
    options |= {"compression": "zstd", "use_dictionary": repeating}

    with arrow.parquet.ParquetWriter(sink, schema, **options) as writer:
        writer.write_table(table)
        if hasattr(writer, "add_key_value_metadata"):  # older versions of pyarrow write none
            writer.add_key_value_metadata({CHECKSUM: _checksum(rows)})

    files.atomic_write_bytes(path, sink.getvalue().to_pybytes())


def read_record_file(path: str | Path) -> list[Record]:
    """Read one file of records.

    Raises:
        ValueError: The file lacks columns other than those of `OLDER`.
        OSError: The file is damaged or cannot be opened.
    """
    arrow = import_pyarrow()
    content = Path(path).read_bytes()
    try:
        file = arrow.parquet.ParquetFile(arrow.BufferReader(content))
        table = file.read()
        present = [name for name in COLUMNS if name in table.column_names]
        rows = table.select(present).to_pylist()
        _check(rows, file.metadata.metadata or {})
    except Exception as error:  # of whatever kind: damaged bytes may mean anything
        reason = str(error).partition("\n")[0]
        raise OSError(f"damaged file of records {path}: {reason}") from error

    if missing := [name for name in COLUMNS if name not in (*present, *OLDER)]:
        raise ValueError(f"{path} lacks the columns {missing}")
    return [{name: row.get(name, OLDER.get(name)) for name in COLUMNS} for row in rows]


def _check(rows: Sequence[Record], known: Mapping[bytes, bytes]) -> None:
    """Compare rows with their checksum; older files have none.

    Raises:
        ValueError: It is another one.
    """
    written = known.get(CHECKSUM.encode())
    if written is not None and written.decode() != _checksum(rows):
        raise ValueError("its rows have another checksum")


def _checksum(rows: Sequence[Record]) -> str:
    """Return the CRC-32 of all values, in the order of the columns."""
    values = [[row[name] for name in COLUMNS if name in row] for row in rows]
    return f"{zlib.crc32(repr(values).encode()):08x}"


def read_records(
    root: str | Path = "results/records", method: str | None = None, task: str | None = None
) -> list[Record]:
    """Read all records below `root`, in the order of the file names.

    Args:
        root: Folder of all records.
        method: Only this method's.
        task: Only this task's.

    Returns:
        One dict per episode. Damaged files are reported by a warning and skipped.

    Raises:
        ValueError: A file lacks columns, or two files hold the same episodes, which would
            count them twice.
    """
    records: list[Record] = []
    owners: dict[tuple, Path] = {}
    for path in sorted(Path(root).glob(f"{method or '*'}/{task or '*'}/*.parquet")):
        try:
            rows = read_record_file(path)
        except OSError as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
            continue
        for row in rows:
            owner = owners.setdefault(_identity(row), path)
            if owner != path:
                raise ValueError(f"{owner} and {path} hold the same episodes; remove one")
        records += rows

    return records


def _identity(row: Record) -> tuple:
    names = ("method", "variant", "task", "iteration", "policy", "split", "seed", "scenario")
    return tuple(row[name] for name in names)
