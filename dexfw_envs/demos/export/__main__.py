"""The command `python -m dexfw_envs.demos.export FOLDER --to FORMAT --output PATH`.

    python -m dexfw_envs.demos.export runs/NAME/D_3 --to lerobot --output exports/grasp
    python -m dexfw_envs.demos.export runs/NAME/D_3 --to robomimic --output exports/grasp.hdf5
    python -m dexfw_envs.demos.export runs/NAME/D_3 --to minari --output exports/minari/grasp-v0

Successes only, unless `--failures` is given. The output appears whole or not at all.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import tyro

from dexfw_envs.console.command import run_command
from dexfw_envs.demos.export import View, export


@dataclass(frozen=True)
class Args:
    """What to export, and to where."""

    folder: tyro.conf.Positional[Path]
    """folder of the episodes, or one episode file"""
    to: str
    """format: lerobot, robomimic or minari"""
    output: Path
    """file (robomimic) or folder to make"""
    failures: bool = False
    """export failed episodes too"""
    video: bool = True
    """lerobot: with video"""
    camera: str | None = None
    """lerobot: draw the video anew from the stored states, by this camera; without it the recorded
    pictures are taken, or the task's own camera where none were recorded"""
    image_size: int | None = None
    """lerobot: side of pictures drawn anew [px], 224 by default"""
    json: bool = False
    """print one line of JSON"""


def main(args: Args) -> int:
    """Export and print; the exit code is 0 if all went well and no file was damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is damaged is named below
        view = View(args.video, args.camera, args.image_size)
        found = export(args.folder, args.to, args.output, args.failures, view)
    if args.json:
        print(json.dumps(found))
    else:
        print(f"{found['output']}: {found['episodes']} episodes of {found['env_id']}")
    for name, reason in found["damaged"].items():
        print(f"damaged, left out: {name}: {reason}", file=sys.stderr)
    return int(bool(found["damaged"]))


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
