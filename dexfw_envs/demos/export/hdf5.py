"""HDF5 files that are written without harm on a full disk.

HDF5 does not survive a write that fails: what is left in its caches fails again when the file is
closed, and the process then ends in a segmentation fault. Here HDF5 writes through a file that
never fails towards it. What the disk refuses is kept in memory, and `Hdf5Output.check` raises.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np


class Hdf5Output:
    """A new HDF5 file, open for writing.

        with Hdf5Output(path) as output:
            for episode in episodes:
                write(output.file, episode)
                output.check()

    Leaving the block closes the file and checks once more.

    Args:
        path: The file to make.
        **options: Further options of `h5py.File`.

    Attributes:
        file: The open file.
    """

    def __init__(self, path: str | Path, **options: Any):
        self._bytes = _SteadyFile(io.FileIO(path, "w+"))
        self.file = h5py.File(self._bytes, "w", **options)

    def check(self) -> None:
        """Raise what has kept the disk from taking the file so far.

        Call it after every episode: until then, what was refused takes memory.

        Raises:
            OSError: Such as `errno.ENOSPC` on a full disk.
        """
        if self._bytes.error is not None:
            raise self._bytes.error

    def __enter__(self) -> Hdf5Output:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()
        self._bytes.close()
        if kind is None:
            self.check()


class _SteadyFile(io.RawIOBase):
    """A file of bytes whose writes succeed always; from the first refused one on, in memory.

    Attributes:
        error: What the first refused write raised; None as long as all are on disk.
    """

    def __init__(self, raw: io.FileIO):
        self.error: OSError | None = None
        self._raw = raw
        self._at = 0
        self._size = 0
        self._aside: list[tuple[int, bytes]] = []  # place and content of what was refused

    def write(self, data: Any) -> int:
        content = bytes(data)
        if self.error is None:
            self._try_to_write(content)
        if self.error is not None:
            self._aside.append((self._at, content))
        self._at += len(content)
        self._size = max(self._size, self._at)
        return len(content)

    def _try_to_write(self, content: bytes) -> None:
        left = memoryview(content)
        try:
            self._raw.seek(self._at)
            while left:
                left = left[self._raw.write(left) :]
        except OSError as error:
            self.error = error

    def readinto(self, buffer: Any) -> int:
        target = np.frombuffer(buffer, np.uint8)
        target[:] = 0  # what lies beyond the end of the part on disk
        self._raw.seek(self._at)
        self._raw.readinto(target.data)

        for offset, content in self._aside:
            self._overlay(target, offset, content)
        self._at += len(target)
        return len(target)

    def _overlay(self, target: np.ndarray, offset: int, content: bytes) -> None:
        """Write over a part of the file that begins here what was refused of it."""
        first = max(offset, self._at)
        last = min(offset + len(content), self._at + len(target))
        if first < last:
            part = content[first - offset : last - offset]
            target[first - self._at : last - self._at] = np.frombuffer(part, np.uint8)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = begin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        if self.error is None:
            try:
                self._raw.truncate(self._size)
            except OSError as error:
                self.error = error
        return self._size

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self._raw.closed:
            self._raw.close()
        super().close()
