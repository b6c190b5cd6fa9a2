"""Pictures of stored episodes: as they were recorded, or drawn anew from the stored states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexfw_envs.demos.export.selection import Selection
from dexfw_envs.demos.rerun import check_fits
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.store import EpisodeMismatch, StoredEpisode
from dexfw_envs.registry import entry

IMAGE_SIZE = 224  # side of drawn pictures unless told otherwise, as of image observations [px]


@dataclass(frozen=True)
class View:
    """What pictures are wanted.

    Attributes:
        video: Whether there are any.
        camera: Camera that draws them; None for the recorded ones, or the task's own camera where
            none were recorded.
        image_size: Side of drawn pictures [px]; None for `IMAGE_SIZE`.

    Raises:
        ValueError: No pictures are wanted, yet a camera or a size is given.
    """

    video: bool = True
    camera: str | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        if not self.video and (self.camera, self.image_size) != (None, None):
            raise ValueError("--no-video leaves out what --camera and --image-size ask for")


class Recorded:
    """The pictures that the episodes hold, by the task's own camera."""

    def __init__(self, camera: str, shape: tuple[int, ...]):
        self.name = camera
        self.shape = shape

    def frames(self, episode: StoredEpisode) -> Iterator[np.ndarray]:
        """Yield the picture before each step, (height, width, 3) uint8."""
        yield from episode.observations["image"][:-1]

    def close(self) -> None:
        """Release nothing."""


class Drawn:
    """Pictures of the stored states by one camera."""

    def __init__(self, selection: Selection, camera: str, size: int):
        options: dict[str, Any] = {"image_size": size, "camera": camera, "threads": 1}
        mode = str(selection.store.control_mode)
        self.env = DexVectorEnv(
            selection.env_id, control_mode=mode, autoreset_mode="disabled", **options
        )
        self.name = camera
        self.shape = (size, size, 3)

    def frames(self, episode: StoredEpisode) -> Iterator[np.ndarray]:
        """Yield the picture before each step, (height, width, 3) uint8.

        Raises:
            EpisodeMismatch: The states are of another version of MuJoCo or another size.
            RuntimeError: Nothing can draw here.
            ValueError: There is no such camera.
        """
        try:
            check_fits(self.env, episode)
        except EpisodeMismatch as error:
            raise EpisodeMismatch(f"{error}; --no-video exports without pictures") from error
        for state in episode.states[:-1]:
            self.env.set_state_vectors(state[None], [episode.scenario])
            yield self.env.draw([0])[0]

    def close(self) -> None:
        """Release the env."""
        self.env.close()


def pictures_of(selection: Selection, view: View) -> Recorded | Drawn | None:
    """Return the source of the pictures that are wanted, or None for none.

    Raises:
        ValueError: A size is asked for of recorded pictures.
    """
    if not view.video:
        return None
    image = selection.features.get("image")
    if image is None or view.camera is not None:
        camera = view.camera or entry(selection.env_id).camera
        return Drawn(selection, camera, view.image_size or IMAGE_SIZE)
    if view.image_size is not None:
        raise ValueError(
            f"the recorded pictures are {image.shape[1]} by {image.shape[0]} pixels; --image-size "
            "is of those drawn anew, with --camera"
        )
    return Recorded(entry(selection.env_id).camera, image.shape)
