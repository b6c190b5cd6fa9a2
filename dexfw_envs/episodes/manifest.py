"""The manifest of an episode store: a line of JSON per episode, with its checksum.

It saves opening every file. A kill may leave a torn line, which is passed over: the files tell the
same.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.episodes.file import HEADER_FIELDS

MANIFEST = "manifest.jsonl"
CHECKSUM = "crc32"  # of a row
COLUMNS = ("id", *HEADER_FIELDS)

Row = dict[str, Any]


def make_row(identifier: str, header: Mapping[str, Any]) -> Row:
    """Return the row of an episode; scenario and info become objects instead of text."""
    unpacked = {name: json.loads(header[name]) for name in ("scenario", "info")}
    return {"id": identifier, **header, **unpacked}


def to_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line, with its checksum."""
    return json.dumps({**row, CHECKSUM: _checksum(row)}).encode() + b"\n"


def append_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Append a row to the manifest of a folder.

    Should this fail, the episode itself is safe and the row is found again in its file.
    """
    with contextlib.suppress(OSError), open(folder / MANIFEST, "ab", buffering=0) as file:
        file.write(to_line(row))


def read_rows(folder: Path) -> dict[str, Row]:
    """Return the manifest's sound rows by id; torn and altered lines are passed over."""
    rows: dict[str, Row] = {}
    try:
        lines = (folder / MANIFEST).read_bytes().splitlines()
    except OSError:  # none, or none that can be read
        return rows

    for line in lines:
        row = _sound_row(line)
        if row is not None:
            rows[row["id"]] = row
    return rows


def _sound_row(line: bytes) -> Row | None:
    """Return the row of a line; None if it is torn, altered or lacks a column."""
    try:
        row = json.loads(line)
        checksum = row.pop(CHECKSUM, None)  # older rows have none
        if checksum not in (None, _checksum(row)):
            return None
        if not row.keys() >= {*COLUMNS}:
            return None
        return {name: row[name] for name in COLUMNS}
    except (ValueError, AttributeError):
        return None


def _checksum(row: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(row, sort_keys=True).encode()):08x}"
