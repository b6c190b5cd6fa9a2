"""What a run of DexPIE keeps of its critic: values along a success and a failure, with pictures."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import numpy as np

from dexfw_envs.episodes.store import EpisodeStore, StoredEpisode
from dexfw_envs.runs.checkpoints import load_file
from dexfw_envs.runs.folder import RunFolder

PICTURES = 2  # per episode
SIDE = 128  # of a picture [px]


def critic_curves(run: RunFolder) -> dict[str, Any]:
    """Return "success" and "failure", the first rollout of each kind; {} without a critic.

    Each has "values", one per state, and "pictures": steps and PNG as base64. Where nothing can be
    drawn, a line on stderr says so and there are none.
    """
    path = run.path / "checkpoints" / "critic_1.pt"
    if not path.is_file():
        return {}
    state = load_file(path)
    values = dict(zip(state["identifiers"], state["values"], strict=True))
    store = EpisodeStore(run.path / "D_1")
    found = {}
    for row in store.manifest():
        name = "success" if row["success"] else "failure"
        if name not in found and row["id"] in values:
            episode = store.load(row["id"])
            curve = [round(float(value), 4) for value in values[row["id"]]]
            found[name] = {"values": curve, "pictures": _pictures(episode)}
    return found


def _pictures(episode: StoredEpisode) -> list[tuple[int, str]]:
    steps = [episode.length * k // (PICTURES + 1) for k in range(1, PICTURES + 1)]
    try:
        return [
            (step, _png(image)) for step, image in zip(steps, _draw(episode, steps), strict=True)
        ]
    except Exception as error:  # each graphics library has its own
        words = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"warning: no pictures of {episode.identifier}: {words}", file=sys.stderr)
        return []


def _draw(episode: StoredEpisode, steps: list[int]) -> list[np.ndarray]:
    import gymnasium

    import dexfw_envs  # noqa: F401

    env = gymnasium.make_vec(
        episode.env_id,
        num_envs=1,
        autoreset_mode="disabled",
        render_mode="rgb_array",
        image_size=SIDE,
    ).unwrapped
    images = []
    for step in steps:
        env.set_state_vectors(episode.states[step : step + 1], [episode.scenario])
        images.append(env.draw([0])[0])
    env.close()
    return images


def _png(image: np.ndarray) -> str:
    import matplotlib.image

    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, image, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
