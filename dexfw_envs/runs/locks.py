"""Who is at work on a folder: one process at a time.

The operating system keeps the lock and frees it when the process ends, however it ends, so that no
lock outlives a killed process. What the lock's file says only tells people who holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Any
from weakref import WeakValueDictionary

PATIENCE = 3.0  # for a killed process to be gone [s]
_PAUSE = 0.1  # between two tries [s]


class Lock:
    """The lock of a file, held until it is released or this object and its process are gone.

    A process that inherits the open file holds the lock too. Where the system or the file system
    has no such locks, nothing is locked.

    Args:
        path: The file; made if missing, and left where it is.
        patience: How long to wait for another process to end [s].

    Raises:
        BlockingIOError: Another process holds it; the message says which.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: str | Path, patience: float):
        self.path = Path(path)
        self._file: IO[bytes] = open(self.path, "a+b")  # noqa: SIM115 - held
        until = time.monotonic() + patience
        while not _try_to_lock(self._file):
            if time.monotonic() > until:
                holder = _holder(self._file)
                self._file.close()
                raise BlockingIOError(
                    f"{self.path.parent} is at work in {holder}; wait for it or stop it first"
                )
            time.sleep(_PAUSE)
        self._sign()

    def fileno(self) -> int:
        """Return the open file, for processes that shall inherit the lock."""
        return self._file.fileno()

    def release(self) -> None:
        """Free the lock, unless a process that inherited it lives on."""
        self._file.close()

    def _sign(self) -> None:
        """Write into the file who holds it."""
        known = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        with contextlib.suppress(OSError):  # as on a full disk; the lock holds all the same
            self._file.truncate(0)
            self._file.write(json.dumps(known).encode() + b"\n")
            self._file.flush()


def _try_to_lock(file: IO[bytes]) -> bool:
    """Take the lock and return True, or False if another process has it."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _holder(file: IO[bytes]) -> str:
    """Return in words who holds a lock."""
    file.seek(0)
    try:
        known: dict[str, Any] = json.loads(file.read())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(known["since"]))
        return f"process {known['pid']} on {known['host']}, since {since}"
    except (ValueError, KeyError, TypeError):  # not signed yet
        return "another process"


_HELD: WeakValueDictionary[Path, Lock] = WeakValueDictionary()


def hold(path: str | Path) -> Lock:
    """Return the lock of a file, the one that this process holds already if there is one.

    It is held as long as what this returns is kept.

    Raises:
        BlockingIOError: As `Lock`.
        OSError: As `Lock`.
    """
    resolved = Path(path).resolve()
    lock = _HELD.get(resolved)
    if lock is None:
        lock = Lock(path, PATIENCE)
        _HELD[resolved] = lock
    return lock
