"""What the package has to show: `python -m dexfw_envs`.

    python -m dexfw_envs                                # tasks, shipped policies, commands
    python -m dexfw_envs play Grasp                     # a trained policy, in a picture
    python -m dexfw_envs play Pour --film pour.mp4      # in a film; pour.png needs no PyAV
    python -m dexfw_envs play my.npz --window           # another policy, in a window

Policies are played by NumPy alone, without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dexfw_envs.console.command import help_text, run_main

if TYPE_CHECKING:
    from dexfw_envs.episodes.episode import Episode
    from dexfw_envs.play import PlayedPolicy
    from dexfw_envs.play.show import Stage
    from dexfw_envs.scenario import Scenario

PROGRAM = "python -m dexfw_envs"
COMMANDS = {  # modules of the package that are commands: what they do
    "dexfw_envs.demos.record": "record a demonstration with the scripted expert",
    "dexfw_envs.demos.replay": "run stored episodes again and compare",
    "dexfw_envs.demos.verify": "count episodes and failures, name damaged files",
    "dexfw_envs.demos.export": "write episodes as LeRobot, robomimic or Minari data",
    "dexfw_envs.experts.measure": "measure a task's scripted expert",
    "dexfw_envs.robots.urdf": "write a robot as URDF",
    "dexfw_envs.backends.omnigibson.assets": "write what OmniGibson needs as USD files",
}
SPLIT = "T_OEP"  # on which the shipped policies were measured
MOST_EPISODES = 16  # that are drawn side by side


@dataclass(frozen=True)
class Play:
    """Let a trained policy play, and show it in a picture, a film or a window."""

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="POLICY")] = "Grasp"
    """a task, for the policy that ships for it, or a file (.npz; in the clone
    `python -m benchmark.shipped` makes one of a run's policy)"""
    episodes: int = 3
    """how many, in scenes held out from training"""
    split: str = SPLIT
    """which test set the scenes are from"""
    seed: int = 0
    """of the scenes"""
    picture: Path | None = None
    """write moments of every episode (.png); done by default without --film and --window"""
    film: Path | None = None
    """write the episodes side by side (.mp4 with PyAV; .png, an animated PNG, without)"""
    window: bool = False
    """show the episodes one after the other in a window, in real time"""
    size: int = 240
    """side of an episode's picture [px]"""
    threads: int = 2
    """threads that step the worlds"""


@dataclass(frozen=True)
class List:
    """List tasks, shipped policies and commands; this is done if no command is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for and return the exit code."""
    return run_main(_run, arguments)


def _run(words: list[str]) -> int:
    command = tyro.cli(
        Annotated[Play, tyro.conf.subcommand("play", description=Play.__doc__)]
        | Annotated[List, tyro.conf.subcommand("list", description=List.__doc__)],
        args=words,
        default=List(),
        prog=PROGRAM,
        description=help_text(__doc__),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    return show_list() if isinstance(command, List) else play(command)


# --- list


def show_list() -> int:
    """Print tasks, shipped policies and commands."""
    from rich.console import Console
    from rich.table import Table

    from dexfw_envs.play import load_shipped
    from dexfw_envs.registry import TASKS

    tasks = Table("task", "arms", "objects", "shipped policy", f"success on {SPLIT}", box=None)
    for item in TASKS:
        needs = item.make().needs
        policy = load_shipped(item.name)
        objects = str(len(_objects(item.name)))
        tasks.add_row(item.env_id, str(needs.robot.arms), objects, _made(policy), _success(policy))
    commands = Table("command", "does", box=None)
    commands.add_row(f"{PROGRAM} play TASK", "show a trained policy: picture, film or window")
    for module, does in COMMANDS.items():
        commands.add_row(f"python -m {module}", does)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(tasks)
    console.print()
    console.print(commands)
    console.print("\nEach command takes --help.", highlight=False)
    return 0


def _objects(task: str) -> tuple[str, ...]:
    from dexfw_envs.catalog import objects_for
    from dexfw_envs.catalog.curricula import iterations

    return tuple(objects_for(task, iterations(task)))


def _made(policy: PlayedPolicy) -> str:
    known = policy.header
    return f"{known['method']}, turn {known['iteration']}, seed {known['seed']}"


def _success(policy: PlayedPolicy) -> str:
    """Say how often a policy succeeds, with the 95 % Wilson interval."""
    found = policy.header.get("measured")
    if not found:
        return "not measured"
    rate, low, high = (f"{100 * found[name]:.1f}" for name in ("success", "low", "high"))
    return f"{rate} % [{low}, {high}] of {found['n']}"


# --- play


def play(options: Play) -> int:
    """Play and print the outcomes; then draw what is asked for."""
    from dexfw_envs import checks
    from dexfw_envs.catalog import split
    from dexfw_envs.play.show import check_film
    from dexfw_envs.registry import entry

    checks.least(options, 1, "episodes", "threads")
    checks.least(options, 16, "size")
    if options.film:
        check_film(options.film)
    if options.picture and options.picture.suffix != ".png":
        raise ValueError(f"a picture's name ends in .png, got {options.picture}")

    policy = _open(options.policy)
    task = entry(policy.header["env_id"]).name
    scenes = split(task, options.split, options.episodes, options.seed)
    made = f"{policy.header['env_id']}, {_made(policy)}"
    print(f"{made}; success on {SPLIT}: {_success(policy)}", flush=True)

    stage, episodes = _perform(policy, task, scenes, options)
    _print_outcomes(episodes)
    code = _draw(stage, episodes[:MOST_EPISODES], options)
    stage.close()
    return code


def _perform(
    policy: PlayedPolicy, task: str, scenes: list[Scenario], options: Play
) -> tuple[Stage, list[Episode]]:
    """Run the episodes; where no window opens, say why and run them without."""
    from dexfw_envs.play.show import Stage

    worlds = min(len(scenes), MOST_EPISODES)
    mode = policy.header["control_mode"]
    how: dict[str, Any] = {"size": options.size, "threads": options.threads}
    if options.window:
        stage = Stage(task, mode, worlds=1, window=True, **how)
        try:
            return stage, stage.play(policy, scenes)
        except RuntimeError as error:
            print(f"no window: {error}", file=sys.stderr)
            stage.close()
    stage = Stage(task, mode, worlds, **how)
    return stage, stage.play(policy, scenes)


def _open(name: str) -> PlayedPolicy:
    """Open a file, or the policy that ships for a task.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither a task nor such a file, or the file is damaged.
    """
    from dexfw_envs.play import load, load_shipped
    from dexfw_envs.play.file import SUFFIX
    from dexfw_envs.registry import TASKS

    if name.endswith(SUFFIX):
        return load(name)
    tasks = [item.name for item in TASKS]
    if name not in tasks:
        raise ValueError(f"cannot play {name}: give one of {tasks}, or a file ending in {SUFFIX}")
    return load_shipped(name)


def _print_outcomes(episodes: list[Episode]) -> None:
    from dexfw_envs.catalog import get_object, get_surroundings
    from dexfw_envs.control.codec import CONTROL_PERIOD

    for episode in episodes:
        scene = episode.scenario
        place = get_surroundings(scene.surroundings).label
        what = f"{get_object(scene.objects[0]).label}, {place}"
        outcome = "success" if episode.success else episode.failure.replace("_", " ")
        seconds = episode.length * CONTROL_PERIOD
        print(f"{episode.index + 1:4d}  {what:36s} {outcome:14s} {seconds:5.1f} s")
    won = sum(episode.success for episode in episodes)
    print(f"{won} of {len(episodes)} succeeded", flush=True)


def _draw(stage: Stage, episodes: list[Episode], options: Play) -> int:
    """Write the picture and the film; where nothing can be drawn, say what is needed."""
    from dexfw_envs.play.png import write_png
    from dexfw_envs.play.show import write_film

    picture = options.picture
    asked = picture or options.film
    if not asked and not options.window:
        picture = Path(f"dexfw-{episodes[0].scenario.task.lower()}.png")
    try:
        if picture:
            write_png(picture, stage.picture(episodes))
            print(f"picture: {picture} (a row for each episode, its end framed green or red)")
        if options.film:
            write_film(options.film, stage.film(episodes), stage.fps)
            print(f"film: {options.film}")
    except RuntimeError as error:  # no graphics library works
        print(f"nothing drawn: {error}", file=sys.stderr)
        return 1 if asked else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
