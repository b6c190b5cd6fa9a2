"""Run folders: a script's settings and checkpoints, written so that a kill does no harm.

The folder knows bytes and JSON only; each script serialises its own state. No torch needed here.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.files import (
    atomic_write_bytes,
    atomic_write_json,
    explained,
    json_form,
    read_json,
    sweep,
)
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.locks import Lock, hold

CONFIG = "config.json"  # name of a run's file of settings
LOCK = "lock"  # name of a run's file that who works on it holds


def _make_new_folder(path: Path) -> bool:
    """Make a folder and return whether it is new; False if it was there."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise explained(error, path) from error
    return True


def run_name(env_id: str, exp_name: str, seed: int, at: float | None = None) -> str:
    """Return the name of a run, `env__exp__seed__time`.

    Args:
        env_id: For example `DexFW/Grasp-v0`; the slash becomes a dash.
        exp_name: The name of the script or experiment.
        seed: The run's seed.
        at: Start of the run, seconds since 1970 [s]; now by default.
    """
    seconds = int(time.time() if at is None else at)
    return f"{env_id}__{exp_name}__{seed}__{seconds}".replace("/", "-")


class RunFolder:
    """A run's folder: `config.json`, checkpoints, and whatever else the script writes into it.

    Use `RunFolder.create` for a new run and `RunFolder.open` to resume one: both lock the folder,
    so that no other process works on the run, as long as the object lives. `RunFolder(path)` only
    reads.

    Attributes:
        path: The folder.
        config: The script's settings, as read back from `config.json`.
        provenance: Commit, versions, machine and command of the run's start.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        document = _read_config(self.path)
        self.config: dict[str, Any] = document["config"]
        self.provenance: dict[str, Any] = document["provenance"]
        self._lock: Lock | None = None  # kept, since it is freed with its object

    @classmethod
    def create(
        cls, root: str | Path, env_id: str, exp_name: str, seed: int, config: Any
    ) -> RunFolder:
        """Make the folder of a new run under `root` and write its `config.json`.

        Args:
            root: Folder of all runs, made if missing.
            env_id: Id of the environment.
            exp_name: Name of the script or experiment.
            seed: The run's seed.
            config: The settings: a mapping or a dataclass with a JSON form.

        Raises:
            OSError: The folder cannot be made or written.
        """
        at = time.time()
        while not _make_new_folder(path := Path(root) / run_name(env_id, exp_name, seed, at)):
            at += 1  # two runs started in the same second
        lock = _lock(path)
        settings = dict(config) if isinstance(config, Mapping) else config
        write_config(path, settings, provenance())
        run = cls(path)
        run._lock = lock
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run for resuming, alone; what a killed process left is removed.

        Raises:
            FileNotFoundError: There is no run at `path`.
            ValueError: Its `config.json` is damaged.
            BlockingIOError: Another process is at work on it; the message says which.
            OSError: Nothing can be written there.
        """
        run = cls(path)
        run._lock = _lock(run.path)
        for folder, _, _ in os.walk(run.path):
            sweep(folder)
        return run

    @property
    def name(self) -> str:
        """Name of the run, `env__exp__seed__time`."""
        return self.path.name

    def write_checkpoint(self, name: str, data: bytes) -> Path:
        """Replace the checkpoint `name` by `data`, whole or not at all, and return its path."""
        path = self.checkpoint_path(name)
        atomic_write_bytes(path, data)
        return path

    def read_checkpoint(self, name: str) -> bytes:
        """Return the bytes of a checkpoint.

        Raises:
            FileNotFoundError: There is no such checkpoint; the message lists those there are.
        """
        self.check_there(name)
        return self.checkpoint_path(name).read_bytes()

    def check_there(self, name: str) -> None:
        """Refuse a checkpoint that is not there.

        Raises:
            FileNotFoundError: The message lists those there are.
        """
        if not self.checkpoint_path(name).is_file():
            there = ", ".join(self.checkpoints()) or "none"
            raise FileNotFoundError(f"no checkpoint {name!r} in {self.path}; there: {there}")

    def checkpoints(self) -> list[str]:
        """Return the names of the checkpoints there are, sorted."""
        folder = self.path / "checkpoints"
        return sorted(path.name for path in folder.glob("[!.]*"))

    def checkpoint_path(self, name: str) -> Path:
        """Return where the checkpoint `name` is, or would be.

        Raises:
            ValueError: It is no plain file name.
        """
        if not name or name != Path(name).name or name.startswith("."):
            raise ValueError(f"a checkpoint's name is a plain file name, got {name!r}")
        return self.path / "checkpoints" / name


def _lock(folder: Path) -> Lock:
    try:
        return hold(folder / LOCK)
    except BlockingIOError:
        raise
    except OSError as error:
        raise explained(error, folder / LOCK) from error


def write_config(folder: Path, config: Any, made_by: Mapping[str, Any]) -> None:
    """Write the `config.json` of a run.

    Args:
        folder: The run's folder.
        config: The settings: a mapping or a dataclass with a JSON form.
        made_by: What `provenance` returns.
    """
    document = {"config": config, "provenance": made_by}
    plain = json.loads(json.dumps(document, default=json_form))
    atomic_write_json(folder / CONFIG, {**plain, "checksum": _checksum(plain)})


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"no run at {folder}: it has no {CONFIG}")

    document = read_json(path)
    kinds = {"config": dict, "provenance": dict}
    if not isinstance(document, dict):
        raise ValueError(f"damaged file {path}: it does not hold the settings of a run")

    fields = {name: document.get(name) for name in kinds}
    if not all(isinstance(fields[name], kind) for name, kind in kinds.items()):
        raise ValueError(f"damaged file {path}: it lacks {' or '.join(kinds)}")
    if "checksum" in document and document["checksum"] != _checksum(fields):
        raise ValueError(
            f"damaged file {path}: its settings have another checksum; if they were changed on "
            'purpose, take out its "checksum"'
        )

    return fields


def _checksum(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
