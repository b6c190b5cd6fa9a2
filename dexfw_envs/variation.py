"""How worlds may differ from the catalogue: size, mass, friction, gains, latency and sensing.

A variation is part of a scenario and is drawn from the scenario's seed, so that it replays bit for
bit. `AXES` is the one table of what can be varied. Nothing is varied unless it is asked for:

    env = gymnasium.make("DexFW/Lift-v0", variation="mass")  # usual range
    env = gymnasium.make("DexFW/Lift-v0", variation={"mass": (0.5, 3)})  # a range of one's own
    records = evaluate(policy, "DexFW/Lift-v0", split="T_VAL", variation={"latency": 1})
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_STREAM = 0x7661  # keeps these draws apart from what else a scenario's seed decides


@dataclass(frozen=True)
class Axis:
    """One thing that can be varied.

    Attributes:
        name: Key in a scenario's `variation`.
        meaning: What it is, for the documentation.
        unit: Unit of its values; "x" for a factor.
        neutral: The value that changes nothing.
        usual: Range that a name alone stands for, (lowest, highest).
        limits: Range outside of which values are refused.
        whole: Whether values are whole numbers.
    """

    name: str
    meaning: str
    unit: str
    neutral: float
    usual: tuple[float, float]
    limits: tuple[float, float]
    whole: bool = False


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("size", "all lengths of every object", "x", 1.0, (0.85, 1.15), (0.5, 2.0)),
        Axis("mass", "mass of every object", "x", 1.0, (0.5, 2.0), (0.1, 10.0)),
        Axis("friction", "friction of objects, hands and table", "x", 1.0, (0.6, 1.4), (0.1, 3.0)),
        Axis("gain", "gains of all joints' servos", "x", 1.0, (0.8, 1.2), (0.3, 3.0)),
        Axis("latency", "control steps until a command acts", "steps", 0, (0, 1), (0, 4), True),
        Axis("tracker_position", "deviation of tracked positions", "m", 0, (0, 0.005), (0, 0.1)),
        Axis("tracker_rotation", "deviation of tracked turns", "rad", 0, (0, 0.05236), (0, 0.5)),
        Axis("tracker_dropped", "share of steps without tracking", "", 0, (0, 0.2), (0, 0.95)),
    )
}

PHYSICAL = ("size", "mass", "friction", "gain")  # what the backend has to build
SENSED = ("tracker_position", "tracker_rotation", "tracker_dropped")
GROUPS: dict[str, tuple[str, ...]] = {
    "physics": PHYSICAL,
    "tracker": SENSED,
    "all": tuple(AXES),
}
MOST_LATENCY = int(AXES["latency"].limits[1])  # [control steps]

Ranges = Mapping[str, tuple[float, float]]


def ranges_of(variation: str | Mapping[str, float | tuple[float, float]]) -> dict[str, tuple]:
    """Return the range of each axis that a variation names.

    Args:
        variation: Name of an axis or of a group, for the usual range of each; or a value or a
            range (lowest, highest) for each axis by name.

    Raises:
        ValueError: A name is unknown, or a value lies outside of its axis' limits.
    """
    if isinstance(variation, str):
        names = GROUPS.get(variation, (variation,))
        variation = {name: _axis(name).usual for name in names}

    if not isinstance(variation, Mapping):
        raise ValueError(
            f"a variation is a name or a mapping from axes to values, got {variation!r}; "
            f"names: {_names()}"
        )

    ranges = {}
    for name, value in variation.items():
        low_high = value if isinstance(value, tuple | list) else (value, value)
        if len(low_high) != 2:
            raise ValueError(f"variation {name}: a range is (lowest, highest), got {value!r}")
        low = _checked(_axis(name), low_high[0])
        high = _checked(_axis(name), low_high[1])
        if low > high:
            raise ValueError(f"variation {name}: a range is (lowest, highest), got {value!r}")
        ranges[name] = (low, high)
    return ranges


def check_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values of a scenario's variation in the order of `AXES`, neutral ones left out.

    Raises:
        ValueError: A name is unknown, or a value lies outside of its axis' limits.
    """
    checked = {name: _checked(_axis(name), value) for name, value in values.items()}
    return {
        name: checked[name]
        for name, axis in AXES.items()
        if name in checked and checked[name] != axis.neutral
    }


def draw_values(seed: int, ranges: Ranges) -> dict[str, float]:
    """Draw a value of every axis in `ranges`, evenly from its range.

    The draw of an axis depends on the seed and on the axis alone, not on what else is varied.
    """
    values: dict[str, float] = {}
    for index, (name, axis) in enumerate(AXES.items()):
        if name not in ranges:
            continue
        low, high = ranges[name]
        rng = np.random.default_rng((seed, _STREAM, index))
        if axis.whole:
            values[name] = int(rng.integers(int(low), int(high) + 1))
        else:
            values[name] = float(rng.uniform(low, high))
    return values


def _axis(name: str) -> Axis:
    if name not in AXES:
        raise ValueError(f"unknown variation {name!r}; choose from {_names()}")
    return AXES[name]


def _checked(axis: Axis, value: float) -> float:
    low, high = axis.limits
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        unit = f" [{axis.unit}]" if axis.unit else ""
        raise ValueError(f"variation {axis.name} lies in [{low}, {high}]{unit}, got {value!r}")
    if axis.whole and value != int(value):
        raise ValueError(f"variation {axis.name} is a whole number of {axis.unit}, got {value!r}")
    return int(value) if axis.whole else float(value)


def _names() -> str:
    return ", ".join((*AXES, *GROUPS))
