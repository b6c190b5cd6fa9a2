"""Writing a new file or folder of many files, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dexfw_envs.files import A_DAY, explained, sweep, temporary_name


@contextmanager
def new_output(path: str | Path) -> Iterator[Path]:
    """Give a temporary place, and move what was written there to `path` when all went well.

    Everything is forced to disk before it is renamed. After an error nothing is left; a kill leaves
    a hidden folder beside `path`, which the next export there removes a day later.

    Args:
        path: The file or folder to make.

    Raises:
        FileExistsError: It exists already.
        OSError: It cannot be written; the message says why.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; name a new output or remove it")

    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, older_than=A_DAY)
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _sync(written)
        os.rename(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        _remove(temporary)


def _sync(path: Path) -> None:
    """Force a file, or a folder's entries, to disk."""
    if path.is_dir() and os.name != "posix":  # elsewhere a folder cannot be opened for this
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
