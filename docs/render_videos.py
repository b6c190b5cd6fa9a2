"""Film the tasks for the documentation, each film an animated WebP in real time.

    python docs/render_videos.py [TASK ...]                                    # the experts
    python docs/render_videos.py --policy runs/NAME/checkpoints/policy_3.pt    # a policy

An expert is filmed in scenes picked to show the task. A policy is filmed in the first scenes of
the split that its run evaluates first, whatever comes of them; a JSON file beside the film says
what it shows. The drawing is that of `render_pictures.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from render_pictures import PICTURES, Painter, labelled, sheet

from dexfw_envs.catalog import get_object, get_surroundings, make_scenario, split
from dexfw_envs.console.command import run_main
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.experts import make_expert
from dexfw_envs.files import atomic_write_bytes, atomic_write_json
from dexfw_envs.provenance import commit
from dexfw_envs.registry import entry
from dexfw_envs.runs.checkpoints import load
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.settings import from_dict
from dexfw_envs.scenario import Scenario

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmark` runs from the clone's root, wherever this is called

from benchmark.grid.scripts import load_script  # noqa: E402

VIDEOS = ROOT / "docs" / "videos"
SIDE, COLUMNS = 180, 4  # of an episode's picture [px], and how many stand in a row
EVERY, EVERY_POLICY = 2, 3  # control steps from frame to frame; tries that time out are long
LAST = 1500  # how long the last frame stays [ms]
POLICY_SCENES = 8


# --- episodes


def play(env: Any, policy: Any, worlds: Sequence[Scenario]) -> list[Episode]:
    """Run each scene once, in the order given."""
    episodes = run_episodes(env, policy, worlds, observation_keys=())
    return sorted(episodes, key=lambda episode: episode.index)


def play_expert(task: str) -> list[Episode]:
    """Let the expert play the scenes of the task's film; it must not miss."""
    worlds = [make_scenario(task, *scene, seed=1) for scene in PICTURES[task].scenes]
    env = DexVectorEnv(task, num_envs=len(worlds), autoreset_mode="disabled")
    episodes = play(env, make_expert(env), worlds)
    env.close()
    if missed := [one.scenario.objects[0] for one in episodes if not one.success]:
        raise RuntimeError(f"the expert of {task} missed {missed}: choose other scenes")
    return episodes


def play_policy(checkpoint: Path) -> tuple[list[Episode], dict[str, Any]]:
    """Let a checkpoint's policy play the first held-out scenes; also say what it is.

    Raises:
        FileNotFoundError: There is no such checkpoint, or it lies in no run folder.
        ValueError: It is damaged, no checkpoint of a policy, or of other code.
    """
    import torch

    state = load(checkpoint.read_bytes())
    if "args" not in state:
        raise ValueError(f"{checkpoint} is no checkpoint of a policy")
    script = load_script(state["method"])
    args = dataclasses.replace(from_dict(script.Args, state["args"]), device="cpu", threads=1)
    torch.manual_seed(args.seed)
    kind = "combined" if state.get("residual") else "base"  # the last turn trains no residual
    policy, env = script.open_policy(state, args, kind)
    where = args.eval_splits[0]
    worlds = split(args.task, where, POLICY_SCENES, args.seed)
    episodes = play(env, policy, worlds)
    env.close()
    run = RunFolder(checkpoint.resolve().parents[1])
    known = {name: getattr(args, name) for name in ("task", "preset", "seed", "variant")}
    known |= {"method": state["method"], "iteration": state["iteration"], "policy": kind}
    known |= {"commit": run.provenance["commit"], "filmed_at": commit(), "split": where}
    name = f"runs/{run.path.name}/checkpoints/{checkpoint.name}"
    command = f"python docs/render_videos.py --policy {name}"
    return episodes, known | {"command": command, "episodes": [told(one) for one in episodes]}


def told(episode: Episode) -> dict[str, Any]:
    scene, seconds = episode.scenario, round(episode.length * CONTROL_PERIOD, 2)
    place = {"object": scene.objects[0], "surroundings": scene.surroundings, "pose": scene.pose}
    return {**place, "success": episode.success, "failure": episode.failure, "seconds": seconds}


# --- drawing


def frames(episode: Episode, every: int = EVERY, side: int = SIDE) -> list[np.ndarray]:
    """Draw a state in every few and the last, (side, side, 3) each, named, with the outcome."""
    env = DexVectorEnv(episode.scenario.task)
    painter, images = Painter(env, side, side), []
    scene = episode.scenario
    name = f"{get_object(scene.objects[0]).label}, {get_surroundings(scene.surroundings).label}"
    for step in [*range(0, episode.length, every), episode.length]:
        env.set_state_vectors(episode.states[[step]], [scene])
        images.append(labelled(painter.draw(), name))
    painter.close()
    env.close()
    result = episode.failure or "success"
    images[-1] = labelled(images[-1], f"{result}, {episode.length * CONTROL_PERIOD:.1f} s", top=5)
    return images


def side_by_side(films: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Show films at once; one that has ended stands still."""
    length = max(map(len, films))
    return [sheet([film[min(k, len(film) - 1)] for film in films], COLUMNS) for k in range(length)]


def titled(image: np.ndarray, text: str) -> np.ndarray:
    """Write a line above a picture."""
    bar = Image.new("RGB", (image.shape[1], 20), "white")
    ImageDraw.Draw(bar).text((6, 3), text, fill="black")
    return np.concatenate([np.asarray(bar), image])


def save(images: Sequence[np.ndarray], name: str, every: int = EVERY) -> None:
    """Write an animated WebP of states so many control steps apart."""
    first, *rest = map(Image.fromarray, images)
    times = [round(1000 * every * CONTROL_PERIOD)] * len(rest) + [LAST]
    buffer = io.BytesIO()
    how: dict[str, Any] = {"quality": 40, "method": 4, "kmin": 39, "kmax": 40}  # few whole frames
    first.save(buffer, "WEBP", save_all=True, append_images=rest, loop=0, duration=times, **how)
    atomic_write_bytes(VIDEOS / name, buffer.getvalue())
    seconds = sum(times) / 1000
    print(
        f"docs/videos/{name}: {len(images)} frames, {seconds:.1f} s, {buffer.tell() / 1000:.0f} kB"
    )


# --- films


def film_experts(tasks: Sequence[str]) -> None:
    """Film the expert of each task, and of all together the first scene of each."""
    first = []
    for task in tasks:
        films = [frames(episode) for episode in play_expert(task)]
        save(side_by_side(films), f"{task.lower()}.webp")
        first.append(films[0])
    if set(tasks) == set(PICTURES):
        save(side_by_side(first), "tasks.webp")


def film_policy(checkpoint: Path) -> None:
    """Film the policy of a checkpoint, and write down what is seen."""
    episodes, known = play_policy(checkpoint)
    won, name = sum(one.success for one in episodes), f"{known['task'].lower()}_policy"
    method = f"{known['method']} {known['preset']} {known['variant']}".rstrip()
    title = (
        f"{entry(known['task']).env_id}: {method}, turn {known['iteration']}, {known['policy']} "
        f"policy, seed {known['seed']}; the first {len(episodes)} scenes of {known['split']}, "
        f"{won} solved"
    )
    images = side_by_side([frames(episode, EVERY_POLICY) for episode in episodes])
    save([titled(image, title) for image in images], f"{name}.webp", EVERY_POLICY)
    atomic_write_json(VIDEOS / f"{name}.json", known)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("tasks", nargs="*", metavar="TASK", default=[])
    what.add_argument("--policy", type=Path, metavar="CHECKPOINT")
    args = parser.parse_args(argv)
    if args.policy:
        film_policy(args.policy)
    else:
        film_experts([entry(name).name for name in args.tasks] or list(PICTURES))


if __name__ == "__main__":
    sys.exit(run_main(main))
