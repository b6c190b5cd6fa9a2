"""A small store of made-up episodes for the tests of the exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.episodes.episode import Episode
from dexfw_envs.episodes.store import EpisodeStore, StoredEpisode
from dexfw_envs.scenario import Scenario

ENV, MODE = "DexFW/Grasp-v0", "ee_pose"
POSE = (0.1, 0.2, 0.03, 1.0, 0.0, 0.0, 0.0)
OBJECTS = ("drink_can", "baseball", "drink_can", "pear", "baseball")
SOURCES = ("scripted", "augmented", "policy", "augmented", "policy")
FAILURES = ("", "", "", "timeout", "dropped")
SIZES = {"proprio": 69, "object": 13, "touch": 5}
PICTURE = (34, 36, 3)


def made_up(index: int, pictures: bool = True) -> Episode:
    """Return an episode of `4 + index` steps; its picture k is plain, of brightness 20 i + 8 k."""
    rng, steps = np.random.default_rng(index), 4 + index
    seen: dict[str, np.ndarray] = {
        key: rng.uniform(-1, 1, (steps + 1, size)).astype(np.float32) for key, size in SIZES.items()
    }
    if pictures:
        level = (20 * index + 8 * np.arange(steps + 1)).astype(np.uint8)
        seen["image"] = np.broadcast_to(level[:, None, None, None], (steps + 1, *PICTURE)).copy()
    return Episode(
        index=index,
        scenario=Scenario("Grasp", (OBJECTS[index],), "neutral", 0, (POSE,), seed=index),
        observations=seen,
        actions=rng.uniform(-1, 1, (steps, 12)).astype(np.float32),
        rewards=rng.normal(size=steps),
        states=rng.normal(size=(steps + 1, 80)),
        success=not FAILURES[index],
        raised=True,
        hold=10,
        length=steps,
        failure=FAILURES[index],
        jerk=0.25,
        info={"measures": {"height": 0.1 * index}},
    )


def fill(folder: Path, pictures: bool = True) -> EpisodeStore:
    """Store the five episodes: three successes, one that timed out, one dropped."""
    store = EpisodeStore(folder, ENV, MODE)
    for index, source in enumerate(SOURCES):
        store.add(made_up(index, pictures), source=source, seed=7)
    return store


def stored(store: EpisodeStore, failures: bool = False) -> list[StoredEpisode]:
    """Return what is to be exported, in its order."""
    return list(store.episodes(success=None if failures else True))


def same(found: Any, expected: np.ndarray) -> None:
    """Compare numbers and their type, bit for bit."""
    found = np.asarray(found)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
