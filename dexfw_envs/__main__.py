"""One program for everything: `dexfw`, or `python -m dexfw_envs`.

    dexfw                         # tasks, trained policies, commands
    dexfw play Grasp              # a trained policy, in a picture
    dexfw record --task Lift --output lift.h5   # a demonstration by the scripted expert
    dexfw train dexflywheel --preset quick
    dexfw evaluate results/revision-2/policies/dexflywheel/Grasp/i3-seed1.safetensors

A command is a module of the package, and can be called as one: `dexfw verify FOLDER` does what
`python -m dexfw_envs.demos.verify FOLDER` does. What trains and evaluates are the scripts of a
clone; an installed wheel says that it lacks them.
"""

from __future__ import annotations

import difflib
import json
import os
import runpy
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dexfw_envs.console import command
from dexfw_envs.console.extras import CLONE, is_clone

MODULES = {  # command: the module that does it, and what it does
    "play": ("dexfw_envs.play", "let a trained policy play: picture, film or window"),
    "record": ("dexfw_envs.demos.record", "record a demonstration with the scripted expert"),
    "replay": ("dexfw_envs.demos.replay", "run stored episodes again and compare"),
    "verify": ("dexfw_envs.demos.verify", "count episodes and failures, name damaged files"),
    "export": ("dexfw_envs.demos.export", "write episodes as LeRobot, robomimic or Minari data"),
    "expert": ("dexfw_envs.experts.measure", "measure a task's scripted expert"),
    "urdf": ("dexfw_envs.robots.urdf", "write a robot as URDF"),
    "usd": ("dexfw_envs.backends.omnigibson.assets", "write what OmniGibson needs as USD files"),
}
SCRIPTS = {  # command: what it does with the scripts of a clone
    "demo": "turn the flywheel twice on Grasp, in about 5 minutes",
    "train": "train a method: dexflywheel, dexmimicgen, human_demo or dexpie",
    "evaluate": "measure a policy or checkpoint",
}
LIST = "list"
COMMANDS = (LIST, *MODULES, *SCRIPTS)
METHODS = ("dexflywheel", "dexmimicgen", "human_demo", "dexpie")
DEMO = ("--preset", "quick", "--task", "Grasp")
POLICY_FILE = ".safetensors"


@dataclass(frozen=True)
class List:
    """List tasks, trained policies and commands; done too if no command is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = [word for word in given if word == command.DEBUG]
    return command.run_main(lambda words: _run(words, debug), given)


def _run(words: list[str], debug: list[str]) -> int:
    name = words[0] if words else LIST
    rest = words[1:] + debug
    if name in ("-h", "--help"):
        print(command.help_text(f"{(__doc__ or '').strip()}\n\n{_table()}"))
        return 0

    if name == LIST:
        return _list(words[1:])
    if name in MODULES:
        module, _ = MODULES[name]
        return _run_module(name, module, rest)
    if name in SCRIPTS:
        return _run_script(name, rest)

    nearest = difflib.get_close_matches(name, COMMANDS, n=1)
    meant = f"did you mean {nearest[0]}? " if nearest else ""
    raise ValueError(f"unknown command {name!r}; {meant}commands: {', '.join(COMMANDS)}")


def _run_module(name: str, module: str, words: list[str]) -> int:
    """Run a module of the package as `python -m` does."""
    with command.called(f"{command.program()} {name}", words):
        return command.exit_code_of(
            lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
        )


# --- scripts of a clone


def _run_script(name: str, words: list[str]) -> int:
    """Run a script of the clone.

    Raises:
        ValueError: No such method, or the file does not say which made it.
        FileNotFoundError: This is no clone, or there is no such file.
    """
    if not is_clone():
        raise FileNotFoundError(
            f"{name} needs the scripts, which an installed package does not hold: clone the "
            "repository and call it there"
        )

    if name == "demo":
        return _run_method("dexflywheel", [*DEMO, *words])
    if not words or words[0] in ("-h", "--help"):
        print(_usage(name))
        return 0
    if name == "evaluate":
        path = Path(words[0])
        return _run_method(method_of(path), ["--evaluate", str(path), *words[1:]])
    if words[0] not in METHODS:
        raise ValueError(f"unknown method {words[0]!r}; choose one of {', '.join(METHODS)}")
    return _run_method(words[0], words[1:])


def _usage(name: str) -> str:
    if name == "train":
        usage = f"usage: {command.program()} train METHOD [OPTIONS]"
        return f"{usage}\n\nMETHOD: {', '.join(METHODS)}; each has its own --help"
    options = "options: --episodes, --split, --json, --capture-video and others of its script"
    return f"usage: {command.program()} evaluate FILE [OPTIONS]\n\n{options}"


def _run_method(method: str, words: list[str]) -> int:
    script = os.path.relpath(CLONE / "baselines" / f"{method}.py")
    with command.called(script, words):
        return command.exit_code_of(lambda: runpy.run_path(script, run_name="__main__"))


def method_of(path: Path) -> str:
    """Return the method that made a policy or checkpoint, which is the name of its script.

    A policy file names it in its header, and a run's folder in its name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not say.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no policy or checkpoint at {path}")
    if path.suffix == POLICY_FILE:
        name = _method_in_header(path)
    else:
        run = path.resolve().parents[1].name  # env__method__seed__time/checkpoints/file
        name = (run.split("__") + [""])[1]
    if name not in METHODS:
        raise ValueError(
            f"{path} does not say which method made it: call its script, such as "
            f"python baselines/dexflywheel.py --evaluate {path}"
        )
    return name


def _method_in_header(path: Path) -> str:
    """Read the method out of a policy file, without torch; "" where the header is damaged."""
    with open(path, "rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return ""
        (length,) = struct.unpack("<Q", head)
        text = file.read(min(length, path.stat().st_size))
    try:
        sealed = json.loads(text)["__metadata__"]["dexfw_policy"]
        entries = json.loads(sealed[sealed.index("{") :])  # after its checksum
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return str(entries.get("method", "")) if isinstance(entries, dict) else ""


# --- list


def _list(words: list[str]) -> int:
    import tyro

    tyro.cli(List, args=words, prog=f"{command.program()} {LIST}", description=List.__doc__)
    return show_list()


def show_list() -> int:
    """Print tasks, trained policies and commands."""
    from rich.console import Console
    from rich.table import Table

    from dexfw_envs.play import MEASURED_ON, load_shipped
    from dexfw_envs.registry import TASKS

    success = f"success on {MEASURED_ON}"
    tasks = Table("task", "arms", "objects", "trained policy", success, box=None)
    for item in TASKS:
        arms = item.make().needs.robot.arms
        policy = load_shipped(item.name)
        objects = _objects(item.name)
        row = (item.env_id, arms, len(objects), policy.origin, policy.measured_success)
        tasks.add_row(*map(str, row))

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(tasks)
    console.print()
    console.print(_table(), highlight=False)
    return 0


def _table() -> str:
    """Return the commands and what they do, a line each."""
    does = {name: what for name, (_, what) in MODULES.items()} | SCRIPTS
    width = max(len(name) for name in does) + 2
    lines = [f"  {command.program()} {name:{width}}{what}" for name, what in does.items()]
    return "\n".join(["commands, each with --help:", *lines])


def _objects(task: str) -> tuple[str, ...]:
    from dexfw_envs.catalog import objects_for
    from dexfw_envs.catalog.curricula import iterations

    return tuple(objects_for(task, iterations(task)))


if __name__ == "__main__":
    sys.exit(main())
