"""The episodes of a store that are exported together, and what is said about them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.console.reporting import counted
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.demos.export.features import Feature, features_of
from dexfw_envs.envs.observe import OBS_MODES
from dexfw_envs.episodes.store import (
    DamagedEpisode,
    EpisodeMismatch,
    EpisodeStore,
    StoredEpisode,
    open_store,
)
from dexfw_envs.provenance import commit, versions
from dexfw_envs.registry import entry
from dexfw_envs.tasks.base import GIVEN_UP

FPS = round(1 / CONTROL_PERIOD)
CUT = ("timeout", GIVEN_UP)  # reasons of failure that lie outside the task
CONVENTIONS = (
    "Lengths in m in the table frame (x forward away from the robot, y to its left, z up from the "
    "table's surface), angles in rad, forces in N, quaternions wxyz."
)


@dataclass(frozen=True, eq=False)
class Selection:
    """Episodes of one env and control mode with the same arrays, in the order of their ids.

    Attributes:
        store: Where they are.
        ids: Which they are; damaged ones among them are passed over and noted in `store.damaged`.
        features: Their arrays by key.
    """

    store: EpisodeStore
    ids: tuple[str, ...]
    features: dict[str, Feature]

    @property
    def env_id(self) -> str:
        """Id with version of the env."""
        return str(self.store.env_id)

    @property
    def groups(self) -> dict[str, Feature]:
        """The observation groups by name."""
        rest = ("actions", "rewards", "states")
        return {key: value for key, value in self.features.items() if key not in rest}

    def episodes(self) -> Iterator[StoredEpisode]:
        """Yield the sound episodes.

        Raises:
            ValueError: One of them has other arrays than the first.
        """
        expected = {key: (value.dtype, value.shape) for key, value in self.features.items()}
        for identifier in counted(self.ids, "export"):
            episode = _load(self.store, identifier)
            if episode is None:
                continue
            layout = _layout(episode)
            if layout != expected:
                raise ValueError(
                    f"{identifier} in {self.store.folder} has the arrays {layout}, those before it "
                    f"{expected}; only episodes with the same arrays are exported together"
                )
            yield episode

    def env_options(self) -> dict[str, Any]:
        """Return the options of `gym.make` that give the recorded actions and observations."""
        seen = set(self.groups)
        modes = [mode for mode, groups in OBS_MODES.items() if seen <= set(groups)]
        options: dict[str, Any] = {"control_mode": self.store.control_mode}
        if modes:
            options["obs_mode"] = min(modes, key=lambda mode: len(OBS_MODES[mode]))
        if "image" in seen:
            options["image_size"] = self.features["image"].shape[0]
        return options

    def described(self, names: dict[str, str]) -> dict[str, Any]:
        """Return what is to be known about the data beside the arrays, for a JSON file.

        Args:
            names: Key of each array that is exported, and its name in the output.
        """
        return {
            "env_id": self.env_id,
            "control_mode": self.store.control_mode,
            "robot": entry(self.env_id).make().needs.robot.name,
            "steps_per_second": FPS,
            "conventions": CONVENTIONS,
            "features": {name: self.features[key].described() for key, name in names.items()},
            "exported_by": {"commit": commit(), "versions": versions()},
        }


def select(folder: str | Path, failures: bool = False) -> Selection:
    """Choose what of a store is exported.

    Args:
        folder: The store, or one episode file.
        failures: Take failed episodes too.

    Raises:
        FileNotFoundError: There is nothing, or no episode in it.
        EpisodeMismatch: It holds episodes of several envs or control modes.
        ValueError: No episode is left to export, or it is no episode file.
    """
    store = open_store(folder)
    rows = store.manifest()
    if not rows:
        raise FileNotFoundError(f"no sound episodes (*.h5) in {folder}")

    kinds = Counter((row["env_id"], row["control_mode"]) for row in rows)
    if len(kinds) > 1:
        named = ", ".join(f"{n} of {env} with {mode}" for (env, mode), n in kinds.items())
        raise EpisodeMismatch(
            f"{folder} mixes episodes: {named}; one env and control mode are exported at a time"
        )

    ids = tuple(row["id"] for row in rows if failures or row["success"])
    if not ids:
        raise ValueError(f"all {len(rows)} episodes in {folder} failed; --failures exports them")

    first = next((e for e in (_load(store, i) for i in ids) if e is not None), None)
    if first is None:
        raise ValueError(f"all {len(ids)} episodes to export in {folder} are damaged")

    return Selection(store, ids, features_of(first))


def labels(episode: StoredEpisode) -> dict[str, Any]:
    """Return an episode's origin and outcome: text and numbers, the scenario as JSON text."""
    return {
        "identifier": episode.identifier,
        "source": episode.source,
        "success": episode.success,
        "failure": episode.failure,
        "raised": episode.raised,
        "hold": episode.hold,
        "jerk": episode.jerk,
        "run_seed": episode.seed,
        "run_index": episode.index,
        "mujoco_version": episode.mujoco_version,
        "scenario": episode.scenario.to_json(),
        "info": json.dumps(episode.info),
    }


def ends(episode: StoredEpisode) -> tuple[np.ndarray, np.ndarray]:
    """Return where an episode terminated and where it was cut short, bool (T,) each."""
    last = np.arange(episode.length) == episode.length - 1
    cut = episode.failure in CUT
    return last & (not cut), last & cut


def _layout(episode: StoredEpisode) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of a row of each array."""
    arrays = {name: getattr(episode, name) for name in ("actions", "rewards", "states")}
    arrays |= episode.observations
    return {key: (str(value.dtype), value.shape[1:]) for key, value in arrays.items()}


def _load(store: EpisodeStore, identifier: str) -> StoredEpisode | None:
    try:
        return store.load(identifier)
    except DamagedEpisode as error:
        store.damaged[identifier] = error.reason
        return None
