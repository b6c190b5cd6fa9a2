"""Films of the first episodes of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.envs.protocol import EpisodeEnv
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.scenario import Scenario


class Film:
    """Films the first episodes; called by `run_episodes` after every reset and step."""

    def __init__(self, env: EpisodeEnv, scenarios: Sequence[Scenario], count: int, folder: Path):
        self.env = env
        self.scenarios = scenarios
        self.count = count
        self.folder = folder
        self.fps = float(env.metadata.get("render_fps", 20))
        self.writers: dict[int, Any] = {}

    def __call__(self, indices: np.ndarray, lengths: np.ndarray) -> None:
        """Append a frame for every filmed episode under way."""
        worlds = np.flatnonzero((indices >= 0) & (indices < self.count))
        if len(worlds) == 0:
            return
        for world, frame in zip(worlds, self.env.draw(worlds), strict=True):
            self._writer(int(indices[world])).add(frame)

    def _writer(self, index: int) -> Any:
        from dexfw_envs.evaluation.video import VideoWriter

        if index not in self.writers:
            self.writers[index] = VideoWriter(self._path(index, "unfinished"), self.fps)
        return self.writers[index]

    def _path(self, index: int, outcome: str) -> Path:
        return self.folder / f"episode-{index:03d}-{self.scenarios[index].objects[0]}-{outcome}.mp4"

    def finish(self, episode: Episode) -> None:
        """Close the video of an ended episode, if it was filmed, and name it by its outcome."""
        writer = self.writers.pop(episode.index, None)
        if writer is not None:
            writer.close(self._path(episode.index, episode.failure or "success"))

    def close(self) -> None:
        """Drop the videos of episodes that did not end."""
        for writer in self.writers.values():
            writer.discard()
        self.writers.clear()
