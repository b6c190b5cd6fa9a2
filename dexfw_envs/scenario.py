"""One scene of one task, as plain data: the same scenario means the same scene on any backend."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexfw_envs.variation import AXES, Ranges, check_values, draw_values

# Quaternions handed in may differ from unit length by this much.
_UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Scenario:
    """What is on the table, where, under which surroundings, and the seed of the rest.

    Lists, arrays and NumPy numbers are taken and turned into tuples and Python numbers, so that
    scenarios hash, compare and serialise.

    Attributes:
        task: Name of the task, such as ``"Grasp"``.
        objects: Catalogue id of each object in the scene.
        surroundings: Id of the surroundings.
        pose: Index of the pose cell the start poses were drawn from.
        object_poses: One start pose per object in the table frame: x y z [m], qw qx qy qz.
        seed: Seeds whatever else the reset draws (start noise of the arm, for one).
        variation: What differs from the catalogue, as pairs of an axis of `variation.AXES` and its
            value; a mapping is taken too. Empty by default.

    Raises:
        ValueError: If a field has the wrong type, length or range.
    """

    task: str
    objects: tuple[str, ...]
    surroundings: str
    pose: int
    object_poses: tuple[tuple[float, ...], ...]
    seed: int
    variation: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("task", "surroundings"):
            _check_text(name, getattr(self, name))
        if isinstance(self.objects, str) or len(self.objects) == 0:
            raise ValueError(f"objects must be a non-empty tuple of ids, got {self.objects!r}")

        for object_id in self.objects:
            _check_text("objects", object_id)
        if len(self.object_poses) != len(self.objects):
            raise ValueError(
                f"{len(self.objects)} objects need as many object_poses, "
                f"got {len(self.object_poses)}"
            )

        settle = object.__setattr__
        settle(self, "objects", tuple(str(name) for name in self.objects))
        settle(self, "object_poses", tuple(_pose(pose) for pose in self.object_poses))
        settle(self, "pose", _natural("pose", self.pose))
        settle(self, "seed", _natural("seed", self.seed))
        settle(self, "variation", tuple(check_values(_named(self.variation)).items()))

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives back an equal scenario, bit for bit.

        A scenario without a variation has no such key.
        """
        data = dataclasses.asdict(self)
        data["variation"] = dict(self.variation)
        if not self.variation:
            del data["variation"]
        return json.dumps(data, sort_keys=True)

    def value(self, axis: str) -> float:
        """Return the value of an axis of `variation.AXES`; the neutral one if it is not varied."""
        return dict(self.variation).get(axis, AXES[axis].neutral)

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the text is no JSON object or its keys are not exactly the fields.
        """
        try:
            data = json.loads(text)
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a scenario in JSON: {error}") from error

        if not isinstance(data, dict):
            raise ValueError(f"not a scenario in JSON: an object is needed, got {data!r}")
        fields = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in fields if name not in data and name != "variation"]
        unknown = sorted(set(data) - set(fields))

        if missing or unknown:
            raise ValueError(
                f"scenario has missing fields {missing} and unknown fields {unknown}; "
                f"it has exactly the fields {fields}"
            )

        return cls(**data)


def displaced(scenario: Scenario, distance: float) -> Scenario:
    """Return a scenario whose first object starts elsewhere on the table.

    Args:
        scenario: The scenario; its seed decides the direction.
        distance: How far from its place, in the plane of the table [m].

    Raises:
        ValueError: The distance is negative or no number.
    """
    if not (math.isfinite(distance) and distance >= 0):
        raise ValueError(f"a displacement must be a number of metres from 0 on, got {distance!r}")
    angle = random.Random(scenario.seed).uniform(0.0, 2.0 * math.pi)
    (x, y, *rest), *others = scenario.object_poses
    moved = (x + distance * math.cos(angle), y + distance * math.sin(angle), *rest)
    return dataclasses.replace(scenario, object_poses=(moved, *others))


def varied(scenario: Scenario, ranges: Ranges) -> Scenario:
    """Return the scenario with a value of every axis, drawn from its range by the scenario's seed.

    Objects of another size stand on the table as before: the height of their start poses is scaled.

    Args:
        scenario: One without a variation.
        ranges: What `variation.ranges_of` returned.

    Raises:
        ValueError: The scenario is varied already.
    """
    if scenario.variation:
        raise ValueError(f"the scenario is varied already: {dict(scenario.variation)}")

    values = draw_values(scenario.seed, ranges)
    size = values.get("size", 1.0)
    poses = tuple((x, y, z * size, *turn) for x, y, z, *turn in scenario.object_poses)
    return dataclasses.replace(scenario, object_poses=poses, variation=tuple(values.items()))


def varied_sampler(
    sampler: Callable[[np.random.Generator], Scenario], ranges: Ranges
) -> Callable[[np.random.Generator], Scenario]:
    """Return a sampler whose scenarios are those of another one, varied."""

    def sample(rng: np.random.Generator) -> Scenario:
        return varied(sampler(rng), ranges)

    return sample


def _named(variation: Any) -> dict[str, float]:
    """Return a variation as a dictionary, from a mapping or from pairs."""
    if isinstance(variation, Mapping):
        return dict(variation)
    try:
        return dict(variation)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"a variation holds pairs of a name and a value, got {variation!r}"
        ) from error


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must hold non-empty strings, got {value!r}")


def _natural(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"{name} must be an integer of at least 0, got {value!r}")
    return int(value)


def _pose(values: Any) -> tuple[float, ...]:
    try:
        pose = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an object pose must hold 7 numbers, got {values!r}") from error
    if len(pose) != 7 or not all(math.isfinite(value) for value in pose):
        raise ValueError(f"an object pose must hold 7 finite numbers, got {values!r}")
    if abs(math.hypot(*pose[3:]) - 1.0) > _UNIT_TOLERANCE:
        raise ValueError(f"an object pose needs a unit quaternion (w x y z), got {pose[3:]}")
    return pose
