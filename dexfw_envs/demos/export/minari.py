"""A Minari dataset: spaces and description by the minari package, episodes in its layout.

The output folder is the dataset as Minari keeps it under its root: below the root's folder
`NAME-v0`, `minari.load_dataset("NAME-v0")` finds it; anywhere else,
`minari.MinariDataset(folder / "data")` opens it. Pictures are kept without loss.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from dexfw_envs.demos.export.features import Feature
from dexfw_envs.demos.export.hdf5 import Hdf5Output
from dexfw_envs.demos.export.selection import CONVENTIONS, Selection, ends, labels
from dexfw_envs.episodes.store import StoredEpisode

LEAST_PYTHON = (3, 11)  # of minari itself

_NAME = re.compile(r"[-_\w]+-v\d+")
_DATA = "data"  # the folder by which Minari knows a dataset
_METADATA = "metadata.json"  # in that folder
_EPISODES = "main_data.hdf5"  # in that folder too


def check_path(path: Path) -> None:
    """Refuse a place where Minari would not find the dataset.

    Raises:
        ValueError: Minari does not take the name of the folder for that of a dataset, or a folder
            beside it makes Minari's listing fail.
    """
    if not _NAME.fullmatch(path.name):
        raise ValueError(
            f"a Minari dataset is named like grasp-demos-v0: letters, digits, - and _, ending in "
            f"-v and a number; got {path.name!r}"
        )
    foreign = [other.name for other in _datasets_in(path.parent) if not _is_minari(other)]
    if foreign:
        raise ValueError(
            f"{path.parent} holds {foreign[0]!r}, which is no Minari dataset and makes Minari's "
            f"listing fail; give Minari a folder of its own, such as "
            f"{path.parent / 'minari' / path.name}"
        )


def check_apart(path: Path) -> None:
    """Refuse a folder with a ``data`` folder of another format beside Minari's datasets.

    Raises:
        ValueError: The folder above `path` holds a Minari dataset.
    """
    own = [other.name for other in _datasets_in(path.parent) if _is_minari(other)]
    if own:
        raise ValueError(
            f"{path.parent} holds the Minari dataset {own[0]!r}, and a dataset of another format "
            f"beside it makes Minari's listing fail; name an output in another folder"
        )


def _datasets_in(folder: Path) -> list[Path]:
    """Return the folders that Minari takes for datasets, by name."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if (one / _DATA).is_dir())


def _is_minari(folder: Path) -> bool:
    """Tell whether a folder is a Minari dataset, by its name and its metadata."""
    return bool(_NAME.fullmatch(folder.name)) and (folder / _DATA / _METADATA).is_file()


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
        folder.absolute() / _DATA,  # Minari doubles a relative path when it adds up sizes
        observation_space=gym.spaces.Dict(spaces),
        action_space=_action_space(selection.features["actions"]),
        env_spec=_env_spec(selection),
        jpeg_encoding=False,
    )
    count, steps = _write_episodes(selection, folder / _DATA / _EPISODES)
    names = {key: f"observations/{key}" for key in spaces}
    names |= {"actions": "actions", "rewards": "rewards", "states": "infos/states"}
    storage.update_metadata(
        {
            "dataset_id": name,
            "minari_version": minari.__version__,
            "total_episodes": count,
            "total_steps": steps,
            "description": f"Episodes of {selection.env_id}. {CONVENTIONS}",
            "requirements": ["dexfw"],
            "dexfw": selection.described(names),
        }
    )
    storage.update_metadata({"dataset_size": storage.get_size()})
    return count


def _write_episodes(selection: Selection, path: Path) -> tuple[int, int]:
    """Write the episodes as Minari lays them out; return their number and that of their steps.

    Minari's own writer opens the file by its name, and would not survive a full disk.
    """
    count = 0
    steps = 0
    with Hdf5Output(path, track_order=True) as output:
        for episode in selection.episodes():
            group = output.file.create_group(f"episode_{count}")
            _write_episode(group, episode)
            group.attrs.update({"id": count, "total_steps": episode.length, **labels(episode)})
            count += 1
            steps += episode.length
            output.check()
    return count, steps


def _write_episode(group: h5py.Group, episode: StoredEpisode) -> None:
    terminated, truncated = ends(episode)
    arrays = {f"observations/{key}": value for key, value in episode.observations.items()}
    arrays |= {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminations": terminated,
        "truncations": truncated,
        "infos/states": episode.states,
    }
    for name, array in arrays.items():
        rows = (None, *array.shape[1:])  # can grow, as those that Minari writes
        group.create_dataset(name, data=array, chunks=True, maxshape=rows)


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
