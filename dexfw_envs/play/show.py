"""Letting a policy play, and drawing what it did: a picture of moments, a film, or the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.console import extras
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.episodes.rollout import Policy, run_episodes
from dexfw_envs.evaluation.video import VideoWriter
from dexfw_envs.play.png import write_animation
from dexfw_envs.scenario import Scenario

MOMENTS = 6  # of an episode in a picture
FINER = 2  # drawn this many times larger, for smooth edges
FRAME = 4  # around a picture [px]
WON, LOST, UNDER_WAY = (46, 160, 67), (207, 34, 46), (255, 255, 255)  # colours of that frame
EVERY = 2  # control steps from a film's picture to the next
LAST = 10  # pictures for which the end of a film stays
FILM_SUFFIXES = (".mp4", ".png")


class Stage:
    """Worlds of one task in which policies play, drawn when asked.

    Args:
        task: Name of the task.
        control_mode: Of the policies' actions.
        worlds: How many episodes run side by side.
        size: Side of the pictures [px].
        threads: That step the worlds.
        window: Show the first world in a window while it is played, in real time.
    """

    def __init__(
        self,
        task: str,
        control_mode: str,
        worlds: int,
        size: int,
        threads: int = 2,
        window: bool = False,
    ) -> None:
        self._env = DexVectorEnv(
            task,
            num_envs=worlds,
            control_mode=control_mode,
            autoreset_mode="disabled",
            image_size=FINER * size,
            render_mode="human" if window else None,
            threads=threads,
        )

    @property
    def fps(self) -> float:
        """Pictures of a film per second [1/s]."""
        return self._env.metadata["render_fps"] / EVERY

    def play(self, policy: Policy, scenarios: Sequence[Scenario]) -> list[Episode]:
        """Run each scenario once; the episodes come back in their order."""
        title = f"play {self._env.task.name}"
        episodes = run_episodes(self._env, policy, scenarios, title, observation_keys=())
        return sorted(episodes, key=lambda episode: episode.index)

    def draw(self, episode: Episode, step: int) -> np.ndarray:
        """Draw a step of an episode, framed in green or red at its end: (side, side, 3) uint8."""
        mask = np.zeros(self._env.num_envs, bool)
        mask[0] = True
        self._env.set_state_vectors(episode.states[[step]], [episode.scenario], mask)
        image = _smaller(self._env.draw([0])[0])
        colour = UNDER_WAY
        if step == episode.length:
            colour = WON if episode.success else LOST
        return _framed(image, colour)

    def picture(self, episodes: Sequence[Episode]) -> np.ndarray:
        """A row for each episode, from its start on the left to its end on the right."""
        rows = []
        for episode in episodes:
            moments = np.linspace(0, episode.length, MOMENTS).round().astype(int)
            rows.append(np.concatenate([self.draw(episode, step) for step in moments], axis=1))
        return np.concatenate(rows)

    def film(self, episodes: Sequence[Episode]) -> Iterator[np.ndarray]:
        """The episodes side by side in real time; one that has ended stands still."""
        images: list[Any] = [None] * len(episodes)
        longest = max(episode.length for episode in episodes)
        for step in range(0, longest + EVERY, EVERY):
            for index, episode in enumerate(episodes):
                if step - EVERY < episode.length:
                    images[index] = self.draw(episode, min(step, episode.length))
            yield np.concatenate(images, axis=1)
        for _ in range(LAST):
            yield np.concatenate(images, axis=1)

    def close(self) -> None:
        """Release the worlds and the window."""
        self._env.close()


def check_film(path: Path) -> None:
    """Refuse now what would fail only after the episodes were played.

    Raises:
        ValueError: The name ends otherwise than films do.
        ImportError: It is a film that needs PyAV, and there is none.
    """
    if path.suffix not in FILM_SUFFIXES:
        raise ValueError(f"a film's name ends in one of {FILM_SUFFIXES}, got {path}")
    if path.suffix != ".mp4":
        return
    try:
        extras.load("av", "mp4 films need")
    except ImportError as error:
        other = path.with_suffix(".png")
        words = f"{error}; without it, --film {other} makes an animated PNG"
        raise ImportError(words) from error


def write_film(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Write a film: `.mp4`, or `.png` for an animated PNG."""
    if path.suffix == ".png":
        write_animation(path, list(frames), fps)
        return
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.add(frame)


def _smaller(image: np.ndarray) -> np.ndarray:
    """Average blocks of pixels: (h, w, 3) to (h / FINER, w / FINER, 3)."""
    height = image.shape[0] // FINER
    width = image.shape[1] // FINER
    blocks = image.reshape(height, FINER, width, FINER, 3)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def _framed(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    framed = image.copy()
    for edge in (framed[:FRAME], framed[-FRAME:], framed[:, :FRAME], framed[:, -FRAME:]):
        edge[:] = colour
    return framed
