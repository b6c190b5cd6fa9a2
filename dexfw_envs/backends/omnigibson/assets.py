"""Write everything that OmniGibson is given of ours: objects, tables, the two-armed robot.

    python -m dexfw_envs.backends.omnigibson.assets [FOLDER]

It needs usd-core, and neither OmniGibson nor a GPU: files may be written elsewhere and copied.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dexfw_envs.backends.omnigibson.facade.importer import importer_yaml, robot_yaml
from dexfw_envs.backends.omnigibson.facade.requirements import MissingRequirementError
from dexfw_envs.backends.omnigibson.usd_files.objects import (
    write_column,
    write_content,
    write_object,
    write_table,
)
from dexfw_envs.backends.omnigibson.usd_files.robot import write_robot
from dexfw_envs.catalog.objects import OBJECTS
from dexfw_envs.catalog.surroundings import SURROUNDINGS
from dexfw_envs.console.command import help_text, program, run_main
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.panda_inspire import panda_inspire
from dexfw_envs.robots.tree import robot_tree
from dexfw_envs.robots.urdf import to_urdf

VARIABLE = "DEXFW_OMNIGIBSON_FILES"
COMMAND = "python -m dexfw_envs.backends.omnigibson.assets"
MANIFEST = "manifest.json"
ROBOT = "dual_rm75_inspire"
FORMAT = 1  # raised when files are written otherwise from the same definitions


def file_folder(chosen: str | Path | None) -> Path:
    """Return the folder of the files: the one given, that of the variable, or the usual one."""
    if chosen is not None:
        return Path(chosen)
    usual = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dexfw" / "omnigibson"
    return Path(os.environ.get(VARIABLE) or usual)


def own_robot_files(folder: Path) -> tuple[str, str]:
    """Return the USD and the URDF file of the two-armed robot."""
    return str(folder / f"{ROBOT}.usda"), str(folder / f"{ROBOT}.urdf")


def fingerprint() -> str:
    """Return a hash of all definitions that the files are written from."""
    robot = to_urdf(dual_rm75_inspire())
    text = repr((FORMAT, sorted(OBJECTS.items()), SURROUNDINGS, robot))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def need_files(folder: Path, own_robot: bool) -> None:
    """Raise unless a folder holds the files, written from these definitions.

    Raises:
        MissingRequirementError: Says with what command to write them.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise MissingRequirementError(
            f"the suite's USD files are not in {folder}: write them with `{COMMAND} {folder}`, "
            f"which needs usd-core, or set {VARIABLE} to where they are"
        )

    if json.loads(manifest.read_text()).get("definitions") != fingerprint():
        raise MissingRequirementError(
            f"the USD files in {folder} are of other objects or robots than these: write them "
            f"again with `{COMMAND} {folder}`"
        )

    for name in own_robot_files(folder) if own_robot else ():
        if not Path(name).is_file():
            raise MissingRequirementError(f"{name} is missing: write it again with `{COMMAND}`")


def write_all(folder: Path) -> list[Path]:
    """Write all files into a folder, the manifest last; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    dual = dual_rm75_inspire()
    single = panda_inspire()

    for item in OBJECTS.values():
        write_object(item, folder / f"{item.id}.usda")
    for around in SURROUNDINGS:
        write_table(around, folder / f"table_{around.id}.usda")

    write_content(folder / "content.usda")
    for robot in (single, dual):
        write_column(robot, folder / f"column_{robot.arms}.usda")

    usd, urdf = (Path(name) for name in own_robot_files(folder))
    write_robot(robot_tree(dual), usd)
    urdf.write_text(to_urdf(dual))
    (folder / f"{ROBOT}_import.yaml").write_text(importer_yaml(dual, urdf))
    (folder / f"{ROBOT}_definition.yaml").write_text(robot_yaml(dual))
    (folder / MANIFEST).write_text(json.dumps({"definitions": fingerprint()}) + "\n")

    return sorted(path for path in folder.iterdir() if path.is_file())


def main(words: Sequence[str]) -> None:
    """Write the files into the folder named on the command line."""
    about = help_text("Write the files that OmniGibson is given.")
    parser = argparse.ArgumentParser(program(), description=about)
    parser.add_argument("folder", nargs="?", type=Path, help="default: the one the backend reads")
    folder = file_folder(parser.parse_args(words).folder)
    written = write_all(folder)
    print(f"wrote {len(written)} files to {folder}")


if __name__ == "__main__":
    sys.exit(run_main(main))
