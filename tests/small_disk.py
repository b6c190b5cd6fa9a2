"""A disk that is soon full: a small file system in memory, for tests that need a real one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler.bin"
_BLOCK = 4096  # [byte]


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """Mount a file system of so many KiB at a folder; skip where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    try:
        made = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk needs Linux's mount")
    if made.returncode:
        pytest.skip(f"a small disk needs the right to mount: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path, left: int = 0) -> None:
    """Fill a disk but for some blocks of 4 KiB."""
    filler = folder / FILLER
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(_BLOCK))
        except OSError:
            file.truncate(max(0, file.tell() - left * _BLOCK))


def make_room(folder: Path) -> None:
    """Take away what `fill_up` put there."""
    (folder / FILLER).unlink()
