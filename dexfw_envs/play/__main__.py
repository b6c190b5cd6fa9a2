"""Let a trained policy play: `dexfw play`, or `python -m dexfw_envs.play`.

    dexfw play Grasp                     # the policy that ships for a task, in a picture
    dexfw play Pour --film pour.mp4      # in a film; pour.png needs no PyAV
    dexfw play my.npz --window           # another policy, in a window

Policies are played by NumPy alone, without torch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dexfw_envs.console.command import run_command
from dexfw_envs.play import MEASURED_ON

if TYPE_CHECKING:
    from dexfw_envs.episodes.episode import Episode
    from dexfw_envs.play import PlayedPolicy
    from dexfw_envs.play.show import Stage
    from dexfw_envs.scenario import Scenario

MOST_EPISODES = 16  # that are drawn side by side


@dataclass(frozen=True)
class Play:
    """Let a trained policy play, and show it in a picture, a film or a window."""

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="POLICY")] = "Grasp"
    """a task, for the policy that ships for it, or a file (.npz; in the clone
    `python -m benchmark.shipped` makes one of a run's policy)"""
    episodes: int = 3
    """how many, in scenes held out from training"""
    split: str = MEASURED_ON
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
    made = f"{policy.header['env_id']}, {policy.origin}"
    print(f"{made}; success on {MEASURED_ON}: {policy.measured_success}", flush=True)

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
    sys.exit(run_command(Play, play))
