"""Small episodes of random numbers, for tests of what stores and reads them."""

from dataclasses import replace
from typing import Any

import numpy as np

from dexfw_envs.episodes.episode import Episode
from dexfw_envs.scenario import Scenario

ENV, MODE = "DexFW/Grasp-v0", "ee_pose"
ORIGIN: dict[str, Any] = {"env_id": ENV, "control_mode": MODE, "source": "scripted", "seed": 7}
POSE = (0.1, 0.2, 0.03, 1.0, 0.0, 0.0, 0.0)


def make_episode(index: int = 0, length: int = 5, **changes: Any) -> Episode:
    rng = np.random.default_rng(index)
    episode = Episode(
        index=index,
        scenario=Scenario("Grasp", ("ball",), "plain", 0, (POSE,), seed=index),
        observations={
            "proprio": rng.normal(size=(length + 1, 69)).astype(np.float32),
            "image": rng.integers(0, 255, (length + 1, 8, 8, 3), dtype=np.uint8),
        },
        actions=rng.uniform(-1, 1, (length, 12)),
        rewards=rng.normal(size=length),
        states=rng.normal(size=(length + 1, 80)),
        success=True,
        raised=True,
        hold=10,
        length=length,
        failure="",
        jerk=0.25,
        info={"reward_terms": {"lift": np.float64(0.5)}},
    )
    return replace(episode, **changes)
