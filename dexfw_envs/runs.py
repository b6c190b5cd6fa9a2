"""Run folders: a script's settings, checkpoints and results, written so that a kill does no harm.

The folder knows bytes and JSON only; each script serialises its own state. No torch needed here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.locks import Lock, hold

PACKAGES = ("dexfw", "gymnasium", "mujoco", "numpy", "h5py", "torch", "diffusers")
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # of all names made by `temporary_name`
CONFIG = "config.json"  # name of a run's file of settings
LOCK = "lock"  # name of a run's file that who works on it holds
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


def _make_new_folder(path: Path) -> bool:
    """Make a folder and return whether it is new; False if it was there."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise explained(error, path) from error
    return True


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


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, where installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the git commit of this code, "-dirty" added if tracked files differ from it.

    Those under `results/` do not count: a run that is repeated writes its records there.

    Returns:
        The hash, or "unknown" where the code is not under git (an installed wheel).
    """
    # An installed copy may lie in a folder of some other repository: ask about this very file.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"
    head = _git("rev-parse", "HEAD")
    if not head:
        return "unknown"
    changed = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    return head + ("-dirty" if _git(*changed) else "")


def _git(*arguments: str) -> str | None:
    """Run git beside this file and return what it prints, or None if it fails."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def current_command() -> str:
    """Return the command line of this process, its script relative to the working folder."""
    script, *arguments = sys.argv
    if os.path.isabs(script):
        script = os.path.relpath(script)
    return shlex.join(["python", script, *arguments])


def provenance() -> dict[str, Any]:
    """Return what says how results were made: commit, versions, machine and command line."""
    return {
        "commit": commit(),
        "versions": versions(),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "command": current_command(),
    }


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
    found = {name: document.get(name) for name in kinds}
    if not all(isinstance(found[name], kind) for name, kind in kinds.items()):
        raise ValueError(f"damaged file {path}: it lacks {' or '.join(kinds)}")
    if "checksum" in document and document["checksum"] != _checksum(found):
        raise ValueError(
            f"damaged file {path}: its settings have another checksum; if they were changed on "
            'purpose, take out its "checksum"'
        )
    return found


def _checksum(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
