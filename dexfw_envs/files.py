"""Files that are seen whole or not at all, after a kill, a full disk or a power loss too."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # of all names made by `temporary_name`
A_DAY = 86400.0  # older than this, a temporary file belongs to no process that lives [s]
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk does not answer",
}


def temporary_name(path: Path) -> Path:
    """Return a hidden name beside `path`, for writing it before it is renamed to `path`.

    All files and folders that the project has under way are named so, and `sweep` finds them.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def sweep(folder: str | Path, names: str = "*", older_than: float = 0.0) -> None:
    """Remove the temporary files and folders that killed processes left in a folder.

    Call it without an age only where no other process can be at work.

    Args:
        folder: The folder; those in it are left alone.
        names: Pattern of the final names.
        older_than: Age from which on they are removed [s].
    """
    until = time.time() - older_than
    for path in Path(folder).glob(f".{names}.tmp"):
        with contextlib.suppress(OSError):  # gone by now, or not ours to remove
            if TEMPORARY.fullmatch(path.name) and path.lstat().st_mtime <= until:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file so that it is seen either whole or not at all, also after a kill or power loss.

    The data goes to a temporary file in the same folder, is forced to disk and then renamed.
    Missing folders are made. What a killed process leaves behind is removed by `sweep`.

    Args:
        path: The file to write; an existing one is replaced.
        data: The content.

    Raises:
        OSError: The file could not be written; the message names the path and the reason, the errno
            is the system's (so a full disk is `errno.ENOSPC`), and an older file is untouched.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        _remove_quietly(temporary)


def explained(error: OSError, path: Path) -> OSError:
    """Return the same kind of error with the path and the reason in plain words."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OSError(error.errno or errno.EIO, f"cannot write {path}: {reason}")


def sync_folder(folder: Path) -> None:
    """Force the folder's entries to disk, so that a rename survives a power loss."""
    if os.name != "posix":  # elsewhere a folder cannot be opened for this
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):  # already renamed, or never made
        path.unlink()


def atomic_write_json(path: str | Path, value: Any) -> None:
    """Write JSON with `atomic_write_bytes`.

    Args:
        path: The file to write; an existing one is replaced.
        value: Mappings, lists, strings, numbers; also dataclasses, paths and NumPy values.

    Raises:
        TypeError: A value has no JSON form.
        OSError: As `atomic_write_bytes`.
    """
    text = json.dumps(value, indent=2, default=json_form)
    atomic_write_bytes(path, (text + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged; the message names it.
    """
    data = Path(path).read_bytes()
    try:
        return json.loads(data)
    except ValueError as error:
        raise ValueError(f"damaged file {path}: {error}") from error


def json_form(value: Any) -> Any:
    """Turn what the json module does not know into what it knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")
