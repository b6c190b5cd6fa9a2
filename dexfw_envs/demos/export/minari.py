"""A Minari dataset, by way of the minari package.

The output folder is the dataset as Minari keeps it under its root: below the root's folder
`NAME-v0`, `minari.load_dataset("NAME-v0")` finds it; anywhere else,
`minari.MinariDataset(folder / "data")` opens it. Pictures are kept without loss.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dexfw_envs.demos.export.features import Feature
from dexfw_envs.demos.export.selection import CONVENTIONS, Selection, ends, labels
from dexfw_envs.demos.store import StoredEpisode

_NAME = re.compile(r"[-_\w]+-v\d+")


def check_name(path: Path) -> None:
    """Raise ``ValueError`` unless Minari takes the name of a folder for that of a dataset."""
    if not _NAME.fullmatch(path.name):
        raise ValueError(
            f"a Minari dataset is named like grasp-demos-v0: letters, digits, - and _, ending in "
            f"-v and a number; got {path.name!r}"
        )


def write(selection: Selection, folder: Path, name: str) -> int:
    """Write the dataset and return the number of its episodes.

    Args:
        selection: What to write.
        folder: Where; made here.
        name: Id of the dataset.
    """
    import minari
    from minari.dataset.minari_storage import MinariStorage

    folder.mkdir()
    spaces: dict[str, gym.Space] = {
        key: _space(feature) for key, feature in selection.groups.items()
    }
    storage = MinariStorage.new(
        folder.absolute() / "data",  # Minari doubles a relative path when it adds up sizes
        observation_space=gym.spaces.Dict(spaces),
        action_space=_action_space(selection.features["actions"]),
        env_spec=_env_spec(selection),
        jpeg_encoding=False,
    )
    kept: list[dict[str, Any]] = []
    storage.update_episodes(_buffers(selection, kept))
    names = {key: f"observations/{key}" for key in spaces}
    names |= {"actions": "actions", "rewards": "rewards", "states": "infos/states"}
    storage.update_metadata(
        {
            "dataset_id": name,
            "minari_version": minari.__version__,
            "description": f"Episodes of {selection.env_id}. {CONVENTIONS}",
            "requirements": ["dexfw"],
            "dexfw": selection.described(names),
        }
    )
    storage.update_episode_metadata(kept)
    return len(kept)


def _buffers(selection: Selection, kept: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield the episodes one by one, and append their labels to `kept`."""
    for episode in selection.episodes():
        kept.append(labels(episode))
        yield _buffer(episode)


def _buffer(episode: StoredEpisode) -> Any:
    from minari.data_collector import EpisodeBuffer

    terminated, truncated = ends(episode)
    return EpisodeBuffer(
        observations=episode.observations,
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=terminated,
        truncations=truncated,
        infos={"states": episode.states},
    )


def _space(feature: Feature) -> gym.spaces.Box:
    if feature.is_picture:
        return gym.spaces.Box(0, 255, feature.shape, np.uint8)
    dtype: Any = np.dtype(feature.dtype)
    if not feature.elements:
        return gym.spaces.Box(-np.inf, np.inf, feature.shape, dtype)
    bounds = [[getattr(e, side) for e in feature.elements] for side in ("low", "high")]
    low, high = np.array(bounds, dtype=dtype)
    return gym.spaces.Box(low, high, dtype=dtype)


def _action_space(feature: Feature) -> gym.spaces.Box:
    dtype: Any = np.dtype(feature.dtype)
    return gym.spaces.Box(-1.0, 1.0, feature.shape, dtype)


def _env_spec(selection: Selection) -> Any:
    spec = copy.deepcopy(gym.spec(selection.env_id))
    spec.kwargs.update(selection.env_options())
    return spec
