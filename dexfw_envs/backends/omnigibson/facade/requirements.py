"""What must be there before OmniGibson is started, checked in milliseconds, one message each.

Starting Isaac Sim takes a minute and fails in ways that do not name the cause; nothing here imports
OmniGibson or starts anything.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dexfw_envs.backends.entry import MissingRequirementError

TESTED = "1.1.1"  # the release that the contract table describes
SHIMMED = "3."  # served by a layer that was never run
PYTHONS = {TESTED: ((3, 10),), SHIMMED: ((3, 10), (3, 11))}  # that Isaac Sim runs on
ISAAC_SIM = {TESTED: ("4.0.0", "4.1.0"), SHIMMED: ("4.5", "5.1")}
GUIDE = "see docs/omnigibson.md"


@dataclass(frozen=True)
class Machine:
    """What is installed here, as plain values; `look` reads it, tests make their own."""

    python: tuple[int, int]
    omnigibson: str | None  # version
    torch: bool
    isaac_path: str | None  # folder of Isaac Sim
    isaac_package: bool  # whether it came from pip
    isaac_version: str | None
    gpus: tuple[str, ...]  # names and driver versions, as the driver reports them
    assets: str | None  # folder of the robots; for 3.x that of all data, None if not told


def look() -> Machine:
    """Read what is installed here, importing none of it."""
    folder = package_folder()
    isaac = os.environ.get("ISAAC_PATH")
    version = _version("omnigibson")

    return Machine(
        python=sys.version_info[:2],
        omnigibson=version,
        torch=_found("torch"),
        isaac_path=isaac,
        isaac_package=_found("isaacsim"),
        isaac_version=_isaac_version(isaac),
        gpus=_gpus(),
        assets=_assets(folder, version or TESTED),
    )


def package_folder() -> Path | None:
    """Return the folder of the installed package without importing it."""
    spec = importlib.util.find_spec("omnigibson")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _found(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _isaac_version(folder: str | None) -> str | None:
    """Read the version as OmniGibson does: the VERSION file, else that of the pip package."""
    if folder and (Path(folder) / "VERSION").is_file():
        return (Path(folder) / "VERSION").read_text().strip().split("-")[0]
    return _version("isaacsim")


def _gpus() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line for line in done.stdout.splitlines() if line) if not done.returncode else ()


def _assets(folder: Path | None, version: str) -> str | None:
    if version.startswith(SHIMMED):  # which says itself what is missing where nothing is set
        return os.environ.get("OMNIGIBSON_DATA_PATH")
    chosen = os.environ.get("OMNIGIBSON_ASSET_PATH")
    if chosen:
        return chosen
    return None if folder is None else str(folder / "data" / "assets")


def contract_of(version: str) -> str:
    """Return which of the two known interfaces a version has.

    Raises:
        MissingRequirementError: The version is neither.
    """
    if version == TESTED:
        return TESTED
    if version.startswith(SHIMMED):
        return SHIMMED
    raise MissingRequirementError(
        f"omnigibson {version} is installed; this backend is written for {TESTED} (tested against "
        f"its source) and has an unverified layer for 3.x. Install omnigibson=={TESTED}; {GUIDE}"
    )


def check(machine: Machine, asset_files: tuple[str, ...] = ()) -> str:
    """Raise unless everything is there; return the interface of the installed version.

    Args:
        machine: What is installed.
        asset_files: Files under OmniGibson's asset folder that the robot needs.

    Raises:
        MissingRequirementError: Names the first thing missing and what to install.
    """
    if machine.omnigibson is None:
        raise MissingRequirementError(
            f"the omnigibson backend needs the package omnigibson, which is not installed: "
            f"pip install omnigibson=={TESTED} torch, in an environment of its own with Python "
            f"3.10; {GUIDE}"
        )

    contract = contract_of(machine.omnigibson)
    checks: tuple[Callable[[Machine, str], str], ...] = (_python, _torch, _isaac, _gpu)
    for find_problem in checks:
        problem = find_problem(machine, contract)
        if problem:
            raise MissingRequirementError(f"{problem}; {GUIDE}")

    if contract == TESTED:
        check_files(machine.assets, asset_files)
    elif asset_files and machine.assets is not None:
        _check_data(machine.assets)

    return contract


def check_here() -> None:
    """Raise unless everything but the robot's files is on this machine.

    Raises:
        MissingRequirementError: Names the first thing missing and what to install.
    """
    check(look())


def _check_data(folder: str) -> None:
    """Raise unless the robots of 3.x are in its folder of data."""
    if not (Path(folder) / "omnigibson-robot-assets").is_dir():
        raise MissingRequirementError(
            f"OMNIGIBSON_DATA_PATH={folder} holds no omnigibson-robot-assets: download the robots' "
            f"files as OmniGibson's own guide says; {GUIDE}"
        )


def _python(machine: Machine, contract: str) -> str:
    if machine.python in PYTHONS[contract]:
        return ""
    valid = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS[contract])
    mine = ".".join(map(str, machine.python))
    return f"Isaac Sim for omnigibson {machine.omnigibson} runs on Python {valid}, this is {mine}"


def _torch(machine: Machine, contract: str) -> str:
    if machine.torch:
        return ""
    return "omnigibson needs torch and does not ask for it: pip install torch, with CUDA"


def _isaac(machine: Machine, contract: str) -> str:
    valid = " or ".join(ISAAC_SIM[contract])
    if machine.isaac_path is None and not machine.isaac_package:
        return (
            f"Isaac Sim is not installed: neither ISAAC_PATH nor the package isaacsim is there. "
            f"Install Isaac Sim {valid}, for {TESTED} with: python -m omnigibson.install"
        )
    found = machine.isaac_version
    if found is None:
        return f"the Isaac Sim at ISAAC_PATH={machine.isaac_path} has no VERSION file"
    if not any(found == item or found.startswith(f"{item}.") for item in ISAAC_SIM[contract]):
        return f"Isaac Sim {found} is installed; omnigibson {machine.omnigibson} needs {valid}"
    return ""


def _gpu(machine: Machine, contract: str) -> str:
    if machine.gpus:
        return ""
    return (
        "no NVIDIA GPU was found by nvidia-smi: Isaac Sim needs one with ray tracing cores "
        "(RTX 2070 or later, 8 GB) and its driver"
    )


def check_files(folder: str | None, files: tuple[str, ...]) -> None:
    """Raise unless all files are under a folder of assets.

    Raises:
        MissingRequirementError: Names the first missing file and how to get it.
    """
    for name in files:
        if folder is None or not (Path(folder) / name).is_file():
            raise MissingRequirementError(
                f"the robot's file {name} is not under OmniGibson's asset folder {folder}: "
                "download the assets (2.5 GB) with: python -m omnigibson.install, or set "
                f"OMNIGIBSON_ASSET_PATH to where they are; {GUIDE}"
            )
