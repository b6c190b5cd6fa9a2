"""Policies as plain arrays: files that NumPy alone reads, without torch and without running code.

A file is an `.npz` of NumPy's own kind. Its entry "header" is JSON: which environment the policy
is for, how it was made, how often it succeeds, and the settings that it acts with. All other
entries are arrays. Large float32 matrices are kept as whole numbers from -1023 to 1023 and one
scale per row, under the names NAME and NAME + ":scale".
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.files import atomic_write_bytes

SUFFIX = ".npz"
FORMAT = 1  # of the files; raised when what they hold changes
HEADER = "header"
SCALE = ":scale"
LARGEST = 1023  # of the whole numbers
SMALLEST = 4096  # numbers; smaller matrices are kept as they are
LEAST_SCALE = 1e-12  # of a row of zeros
NEEDED = ("format", "env_id", "control_mode", "observation_keys", "settings")

Arrays = dict[str, np.ndarray]


def write_arrays(path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write a policy file.

    Args:
        path: Ends in `.npz`.
        header: What JSON can hold, with at least the entries `NEEDED` but "format".
        arrays: The arrays by name; large float32 matrices are rounded.

    Raises:
        ValueError: The name ends otherwise, or the header lacks an entry.
    """
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"a policy file for the player ends in {SUFFIX}, got {path}")
    header = {"format": FORMAT, **header, "arrays": sorted(arrays)}
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise ValueError(f"the header of {path} lacks {missing}")
    entries: dict[str, Any] = {HEADER: np.array(json.dumps(header, sort_keys=True))}
    for name, value in arrays.items():
        entries |= _rounded(name, np.asarray(value))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **entries)
    atomic_write_bytes(path, buffer.getvalue())


def read_arrays(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Read a policy file.

    Returns:
        The header, and the arrays as the player needs them.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
        IsADirectoryError: It is a folder.
        ValueError: It is damaged, no policy file, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            entries = {name: file[name] for name in file.files}
        header = json.loads(str(entries.pop(HEADER)))
        arrays = _restored(entries)
    except FileNotFoundError:
        raise FileNotFoundError(f"no policy file {path}") from None
    except (PermissionError, IsADirectoryError):
        raise  # it may be as good as any
    except Exception as error:  # of whatever kind: damaged bytes may mean anything
        raise ValueError(f"damaged: {path} is no policy file for the player") from error

    if not isinstance(header, dict) or any(name not in header for name in NEEDED):
        raise ValueError(f"damaged: the header of {path} lacks one of {NEEDED}")
    if header["format"] != FORMAT:
        raise ValueError(f"{path} has format {header['format']}; this version reads {FORMAT}")
    if sorted(arrays) != header.get("arrays", sorted(arrays)):
        raise ValueError(f"damaged: {path} lacks arrays that its header names")

    return header, arrays


def _rounded(name: str, value: np.ndarray) -> Arrays:
    """Return the entries that stand for an array in a file."""
    if value.ndim != 2 or value.dtype != np.float32 or value.size < SMALLEST:
        return {name: value}
    reach = np.abs(value).max(axis=1)
    scale = np.maximum(reach, np.float32(LEAST_SCALE)) / np.float32(LARGEST)
    whole = np.round(value / scale[:, None]).astype(np.int16)
    return {name: whole, name + SCALE: scale}


def _restored(entries: Mapping[str, np.ndarray]) -> Arrays:
    """Turn the entries of a file back into arrays."""
    arrays = {}
    for name, value in entries.items():
        if name.endswith(SCALE):
            continue
        scale = entries.get(name + SCALE)
        arrays[name] = value if scale is None else value.astype(np.float32) * scale[:, None]
    return arrays
