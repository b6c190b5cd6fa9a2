"""Checkpoints: a run's state as bytes, and back, without running code from a file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.revision import FIRST
from dexfw_envs.runs.folder import RunFolder

_FOLDER = 0x10  # marks a part of a ZIP archive as a folder


def dump(state: Mapping[str, Any]) -> bytes:
    """Turn tensors, numbers, strings, bytes and containers of them into the bytes of a file."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def load(data: bytes) -> dict[str, Any]:
    """Turn the bytes of `dump` back; runs no code from them. Without CUDA all is on the CPU.

    Raises:
        ValueError: They are not what `dump` makes, were cut, or differ in any number.
    """
    import torch

    try:
        _check_archive(data)
        where = None if torch.cuda.is_available() else "cpu"
        return torch.load(io.BytesIO(data), map_location=where, weights_only=True)
    except Exception as error:  # of whatever kind: damaged bytes may mean anything
        reason = str(error).partition("\n")[0]
        raise ValueError(f"no checkpoint, or a damaged one: {reason}") from error


def load_file(path: str | Path) -> dict[str, Any]:
    """Read a file of `dump`; see `load`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged; the message names it.
    """
    data = Path(path).read_bytes()
    try:
        return load(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_checkpoint(run: RunFolder, name: str) -> dict[str, Any]:
    """Read a checkpoint of a run; see `load`.

    Raises:
        FileNotFoundError: There is none of that name; the message lists those there are.
        ValueError: It is damaged; the message names it.
    """
    run.check_there(name)
    return load_file(run.checkpoint_path(name))


def _check_archive(data: bytes) -> None:
    """Compare a checkpoint, which is a ZIP archive, with its own checksums; torch does not.

    Raises:
        ValueError: A part of it is damaged.
        zipfile.BadZipFile: It is no such archive, or a cut one.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        damaged = archive.testzip()
        folders = [part for part in archive.infolist() if part.external_attr & _FOLDER]
    if folders:  # torch would give numbers of chance for them
        damaged = folders[0].filename
    if damaged is not None:
        raise ValueError(f"{damaged} in it has another checksum")


def check_header(state: Mapping[str, Any], needed: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that does not fit the code and the environment that want to use it.

    One that names no revision of the worlds is of the first.

    Raises:
        ValueError: An entry differs from what is needed.
    """
    state = {"revision": FIRST, **state}
    for name, value in needed.items():
        if state.get(name) != value:
            raise ValueError(f"the checkpoint has {name} {state.get(name)!r}, needed is {value!r}")


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Turn a dict of arrays, numbers and strings, such as an env's state, into bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, Any]:
    """Turn the bytes of `pack` back; runs no code from them."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    return {name: v if v.ndim else v.item() for name, v in values.items()}
