"""Episodes of a store in the formats of other projects.

`python -m dexfw_envs.demos.export FOLDER --to FORMAT --output PATH`; what goes where is told in
`docs/data.md`.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dexfw_envs.console import extras
from dexfw_envs.demos.export import lerobot, minari, robomimic
from dexfw_envs.demos.export.output import new_output
from dexfw_envs.demos.export.pictures import View
from dexfw_envs.demos.export.selection import Selection, select

__all__ = ["FORMATS", "Format", "View", "export"]


@dataclass(frozen=True)
class Format:
    """One format to export to.

    Attributes:
        name: As on the command line.
        write: Writes a selection to a temporary place, given the final path for its name and what
            pictures are wanted; returns the number of episodes.
        check: Refuses a final path that the format cannot have.
        packages: What must be installed, each with whether only videos need it.
        video: Whether it holds pictures as videos, which can be chosen.
        python: The lowest Python that its packages can be installed on.
    """

    name: str
    write: Callable[[Selection, Path, Path, View], int]
    check: Callable[[Path], None]
    packages: tuple[tuple[str, bool], ...]
    video: bool
    python: tuple[int, int] = (3, 10)


def _any_path(path: Path) -> None:
    """Take every path."""


FORMATS = (
    Format(
        name="lerobot",
        write=lambda selection, temporary, path, view: lerobot.write(selection, temporary, view),
        check=minari.check_apart,
        packages=(("pyarrow", False), ("av", True)),
        video=True,
    ),
    Format(
        name="robomimic",
        write=lambda selection, temporary, path, view: robomimic.write(selection, temporary),
        check=_any_path,
        packages=(),
        video=False,
    ),
    Format(
        name="minari",
        write=lambda selection, temporary, path, view: minari.write(
            selection, temporary, path.name
        ),
        check=minari.check_path,
        packages=(("minari", False), ("PIL", False)),
        video=False,
        python=minari.LEAST_PYTHON,
    ),
)


def export(
    folder: str | Path,
    to: str,
    output: str | Path,
    failures: bool = False,
    view: View | None = None,
) -> dict[str, Any]:
    """Write the episodes of a store in another format, whole or not at all.

    Args:
        folder: The store, or one episode file.
        to: Name of the format, one of `FORMATS`.
        output: File or folder to make.
        failures: Take failed episodes too.
        view: What pictures go with them; by default the recorded ones, or the task's camera.

    Returns:
        "env_id", "control_mode", "format", "output", the number of "episodes", and "damaged", the
        reason for each file left out.

    Raises:
        ValueError: The format is unknown, takes no such option or path, or there is nothing to
            export; `EpisodeMismatch` where episodes do not go together.
        FileNotFoundError: There is nothing, or no episode.
        FileExistsError: The output exists.
        ImportError: A package is not installed.
        OSError: The output cannot be written.
        RuntimeError: Nothing can draw here.
    """
    chosen = _format(to)
    wanted = view or View()
    if not chosen.video and wanted != View():
        takers = [item.name for item in FORMATS if item.video]
        raise ValueError(f"only {', '.join(takers)} takes --camera, --image-size and --no-video")

    output = Path(output)
    chosen.check(output)
    _need_packages(chosen, wanted)
    selection = select(folder, failures)

    with new_output(output) as temporary:
        count = chosen.write(selection, temporary, output, wanted)
    return {
        "env_id": selection.env_id,
        "control_mode": selection.store.control_mode,
        "format": to,
        "output": str(output),
        "episodes": count,
        "damaged": dict(selection.store.damaged),
    }


def _format(name: str) -> Format:
    for item in FORMATS:
        if item.name == name:
            return item
    raise ValueError(f"unknown format {name!r}; choose one of {[item.name for item in FORMATS]}")


def _need_packages(chosen: Format, view: View) -> None:
    if sys.version_info < chosen.python:
        least = ".".join(str(number) for number in chosen.python)
        raise ImportError(
            f"export to {chosen.name} needs Python {least} or later, this is Python "
            f"{platform.python_version()}; the episodes can be exported there"
        )
    for package, video_only in chosen.packages:
        if (view.video or not video_only) and find_spec(package) is None:
            hint = ", or leave out the video with --no-video" if video_only else ""
            words = extras.missing_package(package, f"exports to {chosen.name} need", extra="data")
            raise ModuleNotFoundError(words + hint, name=package)
