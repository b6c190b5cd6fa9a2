"""One episode as one immutable HDF5 file, which any HDF5 tool can open.

The root attributes hold what the episode is (env, scenario, source, outcome), the datasets hold
`actions`, `rewards`, `states` and `observations/<key>`. The first 512 bytes (HDF5's user block)
hold length and SHA-256 of the rest: a truncated or altered file is known before HDF5 parses any of
it. Only numbers and text are read; loading runs no code from the file and opens no other file.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dexfw_envs.episodes.episode import Episode
from dexfw_envs.files import atomic_write_bytes, json_form
from dexfw_envs.revision import FIRST, REVISION
from dexfw_envs.scenario import Scenario

SCHEMA_VERSION = 1
# What a header is read as where the file was written before there was such a field.
OLDER = {"revision": FIRST}
SOURCES = ("scripted", "policy", "augmented")
HEADER_FIELDS = {
    "schema_version": int,
    "env_id": str,
    "control_mode": str,
    "mujoco_version": str,
    "revision": int,
    "seed": int,
    "source": str,
    "index": int,
    "scenario": str,  # JSON
    "success": bool,
    "raised": bool,
    "hold": int,
    "length": int,
    "failure": str,
    "jerk": float,
    "info": str,  # JSON
}
_ARRAYS = ("actions", "rewards", "states")
_UNREADABLE = (KeyError, OSError, RuntimeError, TypeError, ValueError)
_MAGIC = b"DexFW episode"
_USER_BLOCK = 512
_MAX_INFO = 60_000  # HDF5 keeps an attribute of up to 64 KiB [byte]


class DamagedEpisode(ValueError):
    """An episode file that is truncated, altered, unreadable or no episode at all."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"damaged episode file {path}: {reason}")
        self.path = Path(path)
        self.reason = reason


class EpisodeMismatch(ValueError):
    """An episode of another env version, revision, control mode or file format than asked for."""


@dataclass(frozen=True, eq=False)
class StoredEpisode(Episode):
    """An episode as read from its file, with its origin; `info` holds JSON values only.

    Attributes:
        identifier: Name of the file without `.h5`.
        env_id: Id with version, such as `DexFW/Grasp-v0`.
        control_mode: The action's meaning, such as `ee_pose`.
        mujoco_version: Version that made `states`; "" where there are none.
        revision: Revision of the worlds it was made in; see `dexfw_envs.revision`.
        seed: Seed of the run that made the episode.
        source: One of `SOURCES`.
        schema_version: Version of the file's layout.
    """

    identifier: str
    env_id: str
    control_mode: str
    mujoco_version: str
    revision: int
    seed: int
    source: str
    schema_version: int


@cache
def installed_mujoco() -> str:
    """Return the version of MuJoCo; finding it takes longer than packing an episode's arrays."""
    return metadata.version("mujoco")


def make_header(
    episode: Any,
    *,
    env_id: str,
    control_mode: str,
    source: str,
    seed: int,
    index: int | None = None,
    mujoco_version: str | None = None,
) -> dict[str, Any]:
    """Return the text and numbers kept beside an episode's arrays, checked.

    Args:
        episode: An object with the attributes of `rollout.Episode`.
        env_id: Id with version.
        control_mode: The action's meaning.
        source: One of `SOURCES`.
        seed: Seed of the run.
        index: Place in the collection; `episode.index` by default.
        mujoco_version: That which made the states; by default the installed one, or "" for an
            episode without states.

    Raises:
        ValueError: The source is unknown or a value has the wrong type or size.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}; valid: {', '.join(SOURCES)}")
    values = {
        "schema_version": SCHEMA_VERSION,
        "env_id": env_id,
        "control_mode": control_mode,
        "mujoco_version": _maker(episode) if mujoco_version is None else mujoco_version,
        "revision": getattr(episode, "revision", REVISION),  # one read from a file keeps its own
        "seed": seed,
        "source": source,
        "index": episode.index if index is None else index,
        "scenario": episode.scenario.to_json(),
        "info": json.dumps(episode.info, default=json_form),
    }
    values |= {name: getattr(episode, name) for name in HEADER_FIELDS if name not in values}

    if len(values["info"]) > _MAX_INFO:
        raise ValueError(f"info takes {len(values['info'])} characters, allowed {_MAX_INFO}")
    if not env_id or not control_mode:
        raise ValueError(f"env_id {env_id!r} and control_mode {control_mode!r} must be given")

    return {name: kind(values[name]) for name, kind in HEADER_FIELDS.items()}


def _maker(episode: Any) -> str:
    """Return the version of MuJoCo that made the states of an episode; "" if it has none."""
    return installed_mujoco() if np.asarray(episode.states).size else ""


def save_episode(path: str | Path, episode: Any, **origin: Any) -> None:
    """Write one episode, whole or not at all; an older file of that name is replaced.

    Args:
        path: The file, by custom ending in `.h5`.
        episode: An object like `rollout.Episode` with trajectories, or a `StoredEpisode`.
        **origin: `env_id`, `control_mode`, `source`, `seed`, ... as for `make_header`.

    Raises:
        ValueError: The arrays do not fit together or the origin is wrong.
        OSError: The file cannot be written; the message says why.
    """
    header = make_header(episode, **origin)
    arrays = {name: np.asarray(getattr(episode, name)) for name in _ARRAYS}
    for key, value in sorted(episode.observations.items()):
        if not key or set(key) & set("/."):
            raise ValueError(f"an observation key is a plain name without / and ., got {key!r}")
        arrays[f"observations/{key}"] = np.asarray(value)

    _check_shapes(arrays, header["length"])
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_USER_BLOCK) as file:
        file.create_group("observations")
        file.attrs.update(header)
        for name, array in arrays.items():
            _write_array(file, name, array)

    content = buffer.getbuffer()
    content[:_USER_BLOCK] = _seal(content)
    atomic_write_bytes(path, content)


def _write_array(file: h5py.File, name: str, array: np.ndarray) -> None:
    """Write floats plainly (their noise barely compresses) and images packed, frame by frame."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
    packing: dict[str, Any] = {}
    if array.dtype == np.uint8 and array.ndim >= 3:
        packing = {"compression": "gzip", "compression_opts": 1, "chunks": (1, *array.shape[1:])}
    file.create_dataset(name, data=array, **packing)


def _check_shapes(arrays: Mapping[str, np.ndarray], length: int) -> None:
    if length < 1:
        raise ValueError(f"an episode to store has at least one step, got {length}")
    for name, array in arrays.items():
        rows = length if name in ("actions", "rewards") else length + 1
        if array.ndim < 1 or len(array) != rows:
            raise ValueError(f"{name} needs {rows} rows for {length} steps, got {array.shape}")


def _seal(content: memoryview | bytes) -> bytes:
    """Return the user block that fits a file's content: magic, length and SHA-256 of the rest."""
    digest = hashlib.sha256(memoryview(content)[_USER_BLOCK:]).hexdigest()
    return f"{_MAGIC.decode()} {len(content)} {digest}\n".encode().ljust(_USER_BLOCK, b"\0")


def load_episode(
    path: str | Path,
    *,
    env_id: str | None = None,
    control_mode: str | None = None,
    observation_keys: Sequence[str] | None = None,
) -> StoredEpisode:
    """Read one episode and check that it is whole.

    Args:
        path: The file.
        env_id: The env id it must be of; any by default.
        control_mode: The control mode it must be of; any by default.
        observation_keys: The observation groups to read; all by default.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedEpisode: The file is truncated, altered, unreadable or no episode.
        EpisodeMismatch: It is of another env version, control mode or file format.
        ValueError: It lacks one of `observation_keys`.
    """
    with _open(path) as file:
        header = _read_header(file, path)
        check_origin(header, path, env_id=env_id, control_mode=control_mode)
        there = _observation_keys(file, path)
        keys = there if observation_keys is None else list(observation_keys)
        if unknown := sorted(set(keys) - set(there)):
            raise ValueError(f"{path} has no observations {unknown}; it has {there}")
        try:
            arrays: dict[str, Any] = {name: _read_array(file, name) for name in _ARRAYS}
            observations = {key: _read_array(file, f"observations/{key}") for key in keys}
            _check_shapes({**arrays, **observations}, header["length"])
            header["scenario"] = Scenario.from_json(header["scenario"])
            header["info"] = dict(json.loads(header["info"]))
        except _UNREADABLE as error:
            raise DamagedEpisode(path, str(error)) from error

    arrays |= {"observations": observations, "identifier": Path(path).stem}
    return StoredEpisode(**arrays, **header)


def load_header(path: str | Path) -> dict[str, Any]:
    """Read the text and numbers of an episode without its arrays; errors as `load_episode`."""
    with _open(path) as file:
        return _read_header(file, path)


def check_origin(
    header: Mapping[str, Any], where: str | Path, *, env_id: str | None, control_mode: str | None
) -> None:
    """Refuse an episode of another env version or control mode (None: any).

    Where an env is asked for, the worlds must be of this revision, too.

    Raises:
        EpisodeMismatch: With what the episode is and what was asked for.
    """
    revision = header.get("revision", FIRST)
    if env_id is not None and revision != REVISION:
        raise EpisodeMismatch(
            f"{where} holds episodes of revision {revision} of the worlds, but {REVISION} is "
            "needed; what was recorded in other worlds is not used in these"
        )
    for name, wanted in (("env_id", env_id), ("control_mode", control_mode)):
        if wanted is not None and header[name] != wanted:
            raise EpisodeMismatch(
                f"{where} holds episodes with {name} {header[name]!r}, but {wanted!r} is needed; "
                "episodes of different env versions or control modes are not mixed"
            )


def _open(path: str | Path) -> h5py.File:
    content = _read(Path(path))
    if not content:
        raise DamagedEpisode(path, "it is empty")
    if not content.startswith(_MAGIC):
        raise DamagedEpisode(path, "it is no DexFW episode")
    if content[:_USER_BLOCK] != _seal(content):
        raise DamagedEpisode(path, f"its {len(content)} bytes are truncated or altered")
    try:
        return h5py.File(io.BytesIO(content), "r")
    except _UNREADABLE as error:
        raise DamagedEpisode(path, str(error)) from error


def _read(path: Path) -> bytes:
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise DamagedEpisode(path, "it is a folder")
        if not stat.S_ISREG(kind):  # opening a named pipe would wait for ever
            raise DamagedEpisode(path, "it is no regular file")
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise DamagedEpisode(path, "it is a link to nothing") from error
        raise
    except OSError as error:
        raise DamagedEpisode(path, f"it cannot be read: {error.strerror}") from error


def _read_header(file: h5py.File, path: str | Path) -> dict[str, Any]:
    try:
        schema = int(file.attrs["schema_version"])
        if schema == SCHEMA_VERSION:
            values = {**OLDER, **file.attrs}
            return {name: kind(values[name]) for name, kind in HEADER_FIELDS.items()}
    except _UNREADABLE as error:
        raise DamagedEpisode(path, str(error)) from error
    raise EpisodeMismatch(f"{path} has file format {schema}; this version reads {SCHEMA_VERSION}")


def _observation_keys(file: h5py.File, path: str | Path) -> list[str]:
    if not isinstance(file.get("observations", getlink=True), h5py.HardLink):
        raise DamagedEpisode(path, "observations is missing or a link")
    return sorted(file["observations"])


def _read_array(file: h5py.File, name: str) -> np.ndarray:
    """Read a plain array; links to other places and files are not followed."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing or a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is not a plain array")
    if dataset.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds no numbers but {dataset.dtype}")
    return dataset[()]
