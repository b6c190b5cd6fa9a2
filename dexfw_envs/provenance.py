"""How results were made: the commit, the versions, the machine and the command line."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("dexfw", "gymnasium", "mujoco", "numpy", "h5py", "torch", "diffusers")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, where installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


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
