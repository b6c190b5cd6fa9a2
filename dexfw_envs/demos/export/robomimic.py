"""One HDF5 file in the layout of robomimic.

`data/demo_i` holds `obs`, `next_obs`, `actions`, `rewards`, `dones` and `states`, `mask` the names
of the demos by source and outcome. Added to the layout, and passed over by its readers:
`final_state` of each demo, so that nothing recorded is lost, the labels among a demo's attributes,
and the attribute `dexfw` of `data`, which describes the arrays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dexfw_envs.demos.export.hdf5 import Hdf5Output
from dexfw_envs.demos.export.selection import Selection, ends, labels
from dexfw_envs.episodes.store import StoredEpisode

_GYM = 2  # robomimic's number for environments made by Gym
_MODULE = "dexfw_envs"  # registers the envs when it is imported


def write(selection: Selection, path: Path) -> int:
    """Write the file and return the number of demos.

    Args:
        selection: What to write.
        path: The file.
    """
    total = 0
    count = 0
    masks: dict[str, list[str]] = {}
    names = {key: f"obs/{key}" for key in selection.groups}
    names |= {key: key for key in ("actions", "rewards", "states")}

    with Hdf5Output(path) as output:
        file = output.file
        data = file.create_group("data")
        for count, episode in enumerate(selection.episodes(), start=1):
            demo = f"demo_{count - 1}"
            _write_demo(data.create_group(demo), episode)
            total += episode.length
            for mask in (episode.source, "success" if episode.success else "failure"):
                masks.setdefault(mask, []).append(demo)
            output.check()
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(_env_args(selection))
        data.attrs["dexfw"] = json.dumps(selection.described(names))
        for mask, demos in masks.items():
            file.create_dataset(f"mask/{mask}", data=np.array(demos, dtype="S"))

    return count


def _write_demo(group: h5py.Group, episode: StoredEpisode) -> None:
    for key, value in episode.observations.items():
        group.create_dataset(f"obs/{key}", data=value[:-1], **_packing(value))
        group.create_dataset(f"next_obs/{key}", data=value[1:], **_packing(value))
    group["actions"] = episode.actions
    group["rewards"] = episode.rewards
    group["dones"] = ends(episode)[0].astype(np.int64)
    group["states"] = episode.states[:-1]
    group["final_state"] = episode.states[-1]
    group.attrs["num_samples"] = episode.length
    group.attrs.update(labels(episode))


def _packing(value: np.ndarray) -> dict[str, Any]:
    """Return how an array is kept: pictures packed one by one, the rest plainly."""
    if value.dtype != np.uint8 or value.ndim != 4:
        return {}
    return {"compression": "gzip", "compression_opts": 1, "chunks": (1, *value.shape[1:])}


def _env_args(selection: Selection) -> dict[str, Any]:
    """Return what makes the env: `gymnasium.make(env_name, **env_kwargs)`.

    The name says which module registers the env, so that a reader need not import it.
    """
    return {
        "env_name": f"{_MODULE}:{selection.env_id}",
        "type": _GYM,
        "env_kwargs": selection.env_options(),
    }
