"""Checks of what users hand to an environment or script; messages name what would be right."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode


def choice(option: str, value: Any, valid: tuple[Any, ...]) -> None:
    """Raise ``ValueError`` unless the value of an option is one of the valid ones."""
    if value not in valid:
        raise ValueError(f"unknown {option} {value!r}; choose one of {valid}")


def keywords(callee: str, given: Iterable[str], valid: Mapping[str, Sequence[str]]) -> None:
    """Refuse keyword arguments that nothing takes, as Python does, and say what is taken.

    Args:
        callee: What was called, such as "DexEnv.__init__()".
        given: The names of the keywords given.
        valid: The names that are taken, by what takes them.

    Raises:
        TypeError: A keyword is unknown; names it, what it may have been meant for, and all valid.
    """
    known = [name for names in valid.values() for name in names]
    unknown = [name for name in given if name not in known]
    if not unknown:
        return

    named = ", ".join(repr(name) for name in unknown)
    noun = "an unexpected keyword argument" if len(unknown) == 1 else "unexpected keyword arguments"
    nearest = [difflib.get_close_matches(name, known, n=1) for name in unknown]
    meant = ", ".join(repr(names[0]) for names in nearest if names)
    question = f"; did you mean {meant}?" if meant else ";"
    choices = "; ".join(f"{owner}: {', '.join(names)}" for owner, names in valid.items())
    raise TypeError(f"{callee} got {noun} {named}{question} valid options of {choices}")


def autoreset_mode(value: str | AutoresetMode) -> AutoresetMode:
    """Return Gymnasium's mode of a name such as "same_step", or raise ``ValueError``."""
    for mode in AutoresetMode:
        if value in (mode, mode.name.lower(), mode.value):
            return mode
    valid = tuple(mode.name.lower() for mode in AutoresetMode)
    raise ValueError(f"unknown autoreset_mode {value!r}; choose one of {valid}")


def count(option: str, value: Any) -> int:
    """Return a whole number of at least 1, or raise ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{option} must be an integer of at least 1, got {value!r}")
    return int(value)


def positive(option: str, value: Any) -> float:
    """Return a finite number above 0, or raise ``ValueError``."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(f"{option} must be a number above 0, got {value!r}")
    return float(value)


def least(settings: Any, value: float, *names: str) -> None:
    """Raise ``ValueError`` where a named setting of a script, if any, is below a least value."""
    for name in names:
        if (given := getattr(settings, name)) is not None and given < value:
            raise ValueError(f"{_flag(name)} must be at least {value}, got {given}")


def fractions(settings: Any, *names: str) -> None:
    """Raise ``ValueError`` where a setting, a number or a tuple of them, is outside of [0, 1]."""
    for name in names:
        given = getattr(settings, name)
        if not all(0 <= x <= 1 for x in (given if isinstance(given, tuple) else (given,))):
            raise ValueError(f"{_flag(name)} must be in [0, 1], got {given}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def actions(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return actions as finite float64 of a shape (N, action), or raise ``ValueError``."""
    values = np.asarray(values, dtype=float)
    if values.shape != shape:
        raise ValueError(f"actions have shape {values.shape}, expected {shape}")
    if not np.isfinite(values).all():
        worlds = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise ValueError(f"actions of worlds {worlds.tolist()} are not finite")
    return values


def mask(values: Any, worlds: int) -> np.ndarray:
    """Return a mask as bool (N,), all worlds for None, or raise ``ValueError``."""
    chosen = np.ones(worlds, bool) if values is None else np.asarray(values)
    if chosen.shape != (worlds,) or chosen.dtype != bool:
        raise ValueError(
            f"a mask of worlds must be bool ({worlds},), got {chosen.dtype} {chosen.shape}"
        )
    return chosen


def seeds_of_worlds(seed: int | Sequence[int | None], worlds: int) -> list[int | None]:
    """Spread a seed over N worlds as seed + i; a sequence must hold a seed or None per world."""
    if isinstance(seed, numbers.Integral):
        seeds: list[int | None] = [int(seed) + world for world in range(worlds)]
    elif isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str):
        seeds = [_seed(value) for value in seed]
    else:
        raise ValueError(f"a seed must be an integer, or a sequence of one per world, got {seed!r}")
    if len(seeds) != worlds:
        raise ValueError(f"{len(seeds)} seeds given for {worlds} worlds")
    if any(value is not None and value < 0 for value in seeds):
        raise ValueError(f"seeds must be non-negative, got {seeds}")
    return seeds


def _seed(value: Any) -> int | None:
    """Return the seed of one world, or raise ``ValueError``."""
    if value is None:
        return None
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"the seed of a world must be an integer or None, got {value!r}")
    return int(value)
