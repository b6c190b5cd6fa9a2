"""What the arrays of an episode mean: name, shape and, for each number, its unit and range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dexfw_envs.control.codec import POSITION_UNIT
from dexfw_envs.episodes.store import StoredEpisode
from dexfw_envs.registry import entry
from dexfw_envs.robots.spec import RobotSpec


@dataclass(frozen=True)
class Element:
    """One number of a feature.

    Attributes:
        name: What it is.
        unit: Of `low` and `high`, and of the number itself unless it belongs to an action.
        low: Least value; of an action, what -1 asks for.
        high: Greatest value; of an action, what 1 asks for; linear between.
    """

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class Feature:
    """One array of an episode, a row per step.

    Attributes:
        key: "actions", "rewards", "states" or the name of an observation group.
        dtype: Type of the numbers, such as "float32".
        shape: Of one row.
        meaning: In words.
        elements: One per number; () where they are not described one by one.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str
    elements: tuple[Element, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether a row is an RGB image."""
        return self.dtype == "uint8" and len(self.shape) == 3

    @property
    def names(self) -> list[str]:
        """Names of the numbers of a row; numbered where they are not described."""
        if self.elements:
            return [element.name for element in self.elements]
        return [f"{self.key} {k}" for k in range(int(np.prod(self.shape)))]

    def described(self) -> dict[str, Any]:
        """Return the feature for a JSON file, its key left out."""
        features = asdict(self)
        del features["key"]
        return features | {"shape": list(self.shape)}


def features_of(episode: StoredEpisode) -> dict[str, Feature]:
    """Describe the arrays of an episode by key.

    Raises:
        ValueError: Its env is not known here, or an array is not of the size that the env's have.
    """
    task = entry(episode.env_id).make()
    groups = {group.name: group for group in task.observation_groups}
    features = [_action(episode, task.needs.robot)]
    for key, value in episode.observations.items():
        elements: tuple[Element, ...] = ()
        meaning = "RGB picture" if key == "image" else f"observation group {key}"
        if key in groups:
            meaning += ", clipped to low and high"
            elements = tuple(_elements(groups[key].rows))
        features.append(_feature(key, value, meaning, elements))

    features.append(_feature("rewards", episode.rewards, "reward of the step"))
    meaning = "full state of simulator, controller and task, for set_state_vectors"
    features.append(_feature("states", episode.states, meaning))

    return {feature.key: feature for feature in features}


def _feature(
    key: str, array: np.ndarray, meaning: str, elements: tuple[Element, ...] = ()
) -> Feature:
    if elements and array.shape[1:] != (len(elements),):
        raise ValueError(f"{key} has rows of shape {array.shape[1:]}, need ({len(elements)},)")
    return Feature(key, str(array.dtype), array.shape[1:], meaning, elements)


def _elements(rows: tuple[tuple[str, int, str, float], ...]) -> Iterator[Element]:
    for meaning, size, unit, bound in rows:
        for k in range(size):
            yield Element(f"{meaning} {k}" if size > 1 else meaning, unit, -bound, bound)


def _action(episode: StoredEpisode, robot: RobotSpec) -> Feature:
    per_arm = {"ee_pose": _pose_elements, "joint": _joint_elements}
    if episode.control_mode not in per_arm:
        valid = tuple(per_arm)
        raise ValueError(f"unknown control_mode {episode.control_mode!r}; choose one of {valid}")
    meaning = f"action of control mode {episode.control_mode}: -1 asks for low, 1 for high"
    elements = tuple(per_arm[episode.control_mode](robot))
    return _feature("actions", episode.actions, meaning, elements)


def _sides(robot: RobotSpec) -> list[str]:
    return [f"{mount.side} " if robot.arms > 1 else "" for mount in robot.mounts]


def _pose_elements(robot: RobotSpec) -> Iterator[Element]:
    for side, mount in zip(_sides(robot), robot.mounts, strict=True):
        for axis, centre in zip("xyz", mount.nominal_position, strict=True):
            low = centre - POSITION_UNIT
            high = centre + POSITION_UNIT
            yield Element(f"{side}palm position {axis}", "m", low, high)
        for axis in "xyz":
            turn = mount.rotation_unit
            yield Element(f"{side}palm rotation vector {axis}", "rad", -turn, turn)
        yield from _hand_elements(robot, side)


def _joint_elements(robot: RobotSpec) -> Iterator[Element]:
    for side in _sides(robot):
        limits = zip(robot.arm.lower, robot.arm.upper, strict=True)
        for k, (low, high) in enumerate(limits, start=1):
            yield Element(f"{side}arm joint {k}", "rad", float(low), float(high))
        yield from _hand_elements(robot, side)


def _hand_elements(robot: RobotSpec, side: str) -> Iterator[Element]:
    hand = robot.hand
    for index, low, high in zip(hand.driven, *hand.driven_limits(), strict=True):
        name = hand.joint_names[index].replace("_", " ")
        yield Element(f"{side}{name}", "rad", float(low), float(high))
