"""A folder of episodes that many workers can write into and a killed run can resume.

Each episode is one immutable file, `<id>.h5` (see `episode_file`). The id follows from the settings
of the collection and the episode's index, so a worker knows without asking what is still missing,
and merging two stores is copying files. `manifest.jsonl` only saves opening every file: it may lag
or be torn by a kill, is checked against the files when read, and can be rebuilt from them, by
`python -m dexfw_envs.demos.verify FOLDER --rebuild`, which also names damaged files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dexfw_envs.episodes.file import (
    SOURCES,
    DamagedEpisode,
    EpisodeMismatch,
    StoredEpisode,
    check_origin,
    load_episode,
    load_header,
    make_header,
    save_episode,
)
from dexfw_envs.episodes.manifest import MANIFEST, append_row, make_row, read_rows, to_line
from dexfw_envs.files import A_DAY, atomic_write_bytes, json_form, sweep

__all__ = [
    "SOURCES",
    "DamagedEpisode",
    "EpisodeMismatch",
    "EpisodeStore",
    "StoredEpisode",
    "load_episode",
    "open_store",
    "save_episode",
]
_EPISODE_NAME = re.compile(r"[^.].*\.h5")


class EpisodeStore:
    """Episodes of one env version and control mode in one folder.

    Args:
        folder: The folder; made by the first `add`.
        env_id: Id with version that the episodes are of; needed to write into an empty store.
        control_mode: Control mode that they are of; needed to write into an empty store.
        only: The ids that count, all others being left alone; all by default.

    Attributes:
        damaged: Id and reason of each damaged or unreadable file met so far.

    Raises:
        EpisodeMismatch: The folder holds episodes of another env version or control mode.
        NotADirectoryError: `folder` is a file.
    """

    def __init__(
        self,
        folder: str | Path,
        env_id: str | None = None,
        control_mode: str | None = None,
        only: Sequence[str] | None = None,
    ):
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"an episode store is a folder, {self.folder} is a file")
        self.damaged: dict[str, str] = {}
        self._only = None if only is None else frozenset(only)
        self.env_id = env_id
        self.control_mode = control_mode
        first = next(self._rows(), None)
        if first is not None:
            check_origin(first, self.folder, env_id=env_id, control_mode=control_mode)
            self.env_id = first["env_id"]
            self.control_mode = first["control_mode"]

    def __len__(self) -> int:
        return len(self.ids())

    def __contains__(self, identifier: str) -> bool:
        return self.path(identifier).is_file()

    def ids(self) -> list[str]:
        """Return the ids of all that is named like an episode, damaged ones included, sorted.

        Raises:
            OSError: The folder cannot be read.
        """
        names = [path.stem for path in episode_paths(self.folder)]
        return [name for name in names if self._only is None or name in self._only]

    def identifier(
        self, index: int, *, source: str, seed: int, config: Mapping[str, Any] | None = None
    ) -> str:
        """Return the id of an episode: the same on every machine and in every worker.

        Args:
            index: Number of the episode within its collection.
            source: Where it comes from, one of `SOURCES`.
            seed: Seed of the collection.
            config: What else tells this collection from others (iteration, checkpoint, ...); JSON.
        """
        self._require_origin()
        parts = [self.env_id, self.control_mode, source, seed, dict(config or {})]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=json_form)
        return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}-{index:06d}"

    def missing(
        self, count: int, *, source: str, seed: int, config: Mapping[str, Any] | None = None
    ) -> list[int]:
        """Return which of the first `count` indices have no file yet: what is left after a kill."""
        there = set(self.ids())
        same: dict[str, Any] = {"source": source, "seed": seed, "config": config}
        return [i for i in range(count) if self.identifier(i, **same) not in there]

    def add(
        self,
        episode: Any,
        *,
        source: str,
        seed: int,
        config: Mapping[str, Any] | None = None,
        index: int | None = None,
        mujoco_version: str | None = None,
    ) -> str:
        """Store an episode, unless it is there already, and return its id.

        Args:
            episode: An object with the attributes of `rollout.Episode`, with trajectories.
            source: Where it comes from, one of `SOURCES`.
            seed: Seed of the collection.
            config: What else tells this collection from others; see `identifier`.
            index: Number within the collection; `episode.index` by default.
            mujoco_version: That which made the states; see `make_header`.

        Raises:
            ValueError: The episode does not fit together, the store's env is not known, or the id
                already belongs to an episode of another scenario.
            OSError: The file cannot be written; nothing stored before is lost.
        """
        self._require_origin()
        origin: dict[str, Any] = {
            "env_id": self.env_id,
            "control_mode": self.control_mode,
            "source": source,
            "seed": seed,
            "index": index,
            "mujoco_version": mujoco_version,
        }
        header = make_header(episode, **origin)
        identifier = self.identifier(header["index"], source=source, seed=seed, config=config)

        if not self._holds(identifier, header["scenario"]):
            save_episode(self.path(identifier), episode, **origin)
            append_row(self.folder, make_row(identifier, header))

        return identifier

    def load(self, identifier: str, observation_keys: Sequence[str] | None = None) -> StoredEpisode:
        """Read one episode.

        Raises:
            KeyError: There is no such episode.
            DamagedEpisode: Its file is truncated, altered or unreadable.
            EpisodeMismatch: It is of another env version or control mode than the store.
        """
        if not os.path.lexists(self.path(identifier)):
            there = self.ids()
            raise KeyError(
                f"no episode {identifier!r} in {self.folder}; it holds {len(there)}, "
                f"such as {there[:3]}"
            )
        return load_episode(
            self.path(identifier),
            env_id=self.env_id,
            control_mode=self.control_mode,
            observation_keys=observation_keys,
        )

    def episodes(
        self,
        *,
        success: bool | None = None,
        source: str | None = None,
        observation_keys: Sequence[str] | None = None,
    ) -> Iterator[StoredEpisode]:
        """Yield the stored episodes in the order of their ids; damaged files are reported, skipped.

        Args:
            success: Only successes or only failures; both by default.
            source: Only those of this source; all by default.
            observation_keys: The observation groups to read; all by default.
        """
        if source is not None and source not in SOURCES:
            raise ValueError(f"unknown source {source!r}; valid: {', '.join(SOURCES)}")
        for row in self._rows():
            if success not in (None, row["success"]) or source not in (None, row["source"]):
                continue
            try:
                yield self.load(row["id"], observation_keys)
            except DamagedEpisode as error:
                self._report(row["id"], error)

    def manifest(self) -> list[dict[str, Any]]:
        """Return one row per sound file: its id, origin, scenario and outcome, without arrays."""
        return list(self._rows())

    def rebuild_manifest(self) -> int:
        """Write the manifest anew from the files and return the number of its rows.

        What processes killed more than a day ago left half-written is removed.
        """
        sweep(self.folder, older_than=A_DAY)
        rows = [row for row in map(self._row_of_file, self.ids()) if row is not None]
        atomic_write_bytes(self.folder / MANIFEST, b"".join(to_line(row) for row in rows))
        return len(rows)

    def verify(self) -> dict[str, str]:
        """Read every file whole; return id and reason of those that are damaged or do not fit."""
        bad: dict[str, str] = {}
        for identifier in self.ids():
            try:
                self.load(identifier)
            except (DamagedEpisode, EpisodeMismatch) as error:
                bad[identifier] = str(error)
        return bad

    def path(self, identifier: str) -> Path:
        """Return where the file of an episode is, or would be."""
        return self.folder / f"{Path(identifier).name}.h5"

    def _require_origin(self) -> None:
        if not self.env_id or not self.control_mode:
            raise ValueError(
                f"{self.folder} is empty: to write, open it with env_id and control_mode"
            )

    def _holds(self, identifier: str, scenario: str) -> bool:
        """Whether the episode is stored soundly; a damaged file of its name is to be replaced."""
        path = self.path(identifier)
        if not os.path.lexists(path):
            return False

        try:
            held = load_header(path)["scenario"]
        except DamagedEpisode as error:
            self._report(identifier, error)
            return False

        if held != scenario:
            raise ValueError(
                f"{identifier} already holds an episode of another scenario; give the collection "
                "a config, seed or index that tells it from the older one"
            )

        return True

    def _rows(self) -> Iterator[dict[str, Any]]:
        noted = read_rows(self.folder)
        for identifier in self.ids():
            row = noted.get(identifier) or self._row_of_file(identifier)
            if row is not None:
                yield row

    def _row_of_file(self, identifier: str) -> dict[str, Any] | None:
        try:
            return make_row(identifier, load_header(self.path(identifier)))
        except DamagedEpisode as error:
            self._report(identifier, error)
            return None

    def _report(self, identifier: str, error: DamagedEpisode) -> None:
        self.damaged[identifier] = error.reason
        warnings.warn(f"skipped: {error}", stacklevel=3)


def episode_paths(folder: Path) -> list[Path]:
    """Return the paths in a folder that are named like episodes, sorted; none without a folder.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if _EPISODE_NAME.fullmatch(name)]


def open_store(
    path: str | Path, env_id: str | None = None, control_mode: str | None = None
) -> EpisodeStore:
    """Open what a command line names: a folder of episodes, or one episode alone by its file.

    Args:
        path: The folder or file.
        env_id: Id with version that the episodes must be of; any by default.
        control_mode: Control mode that they must be of; any by default.

    Raises:
        EpisodeMismatch: They are of another env version or control mode.
        FileNotFoundError: There is nothing, or no episode in the folder; the message names the
            folders of episodes inside it, as a run has.
        ValueError: It is a file whose name does not end in `.h5`.
        OSError: The folder cannot be read.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no episode file or folder {path}")
    if not path.is_dir():
        if path.suffix != ".h5":
            raise ValueError(f"an episode file ends in .h5, got {path}")
        return EpisodeStore(path.parent, env_id, control_mode, only=[path.stem])
    if not episode_paths(path):
        raise FileNotFoundError(f"no episodes (*.h5) in {path}{_inner_stores(path)}")
    return EpisodeStore(path, env_id, control_mode)


def _inner_stores(folder: Path) -> str:
    """Return in words which folders in a folder hold episodes; "" if none does."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and episode_paths(path)]
    if not inner:
        return ""
    names = ", ".join(path.name for path in inner)
    return f", but in its folders {names}: name one of them, such as {inner[-1]}"
