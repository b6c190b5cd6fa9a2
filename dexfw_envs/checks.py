"""Checks of what users hand to an environment; every message names what would be right."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.surroundings import get_surroundings
from dexfw_envs.scenario import Scenario
from dexfw_envs.tasks.base import Task


def check_choice(option: str, value: Any, valid: tuple[Any, ...]) -> None:
    """Raise ``ValueError`` unless the value of an option is one of the valid ones."""
    if value not in valid:
        raise ValueError(f"unknown {option} {value!r}; choose one of {valid}")


def check_count(option: str, value: Any) -> int:
    """Return a whole number of at least 1, or raise ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{option} must be an integer of at least 1, got {value!r}")
    return int(value)


def check_actions(actions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return actions as finite float64 of a shape (N, action), or raise ``ValueError``."""
    actions = np.asarray(actions, dtype=float)
    if actions.shape != shape:
        raise ValueError(f"actions have shape {actions.shape}, expected {shape}")
    if not np.isfinite(actions).all():
        worlds = np.flatnonzero(~np.isfinite(actions).all(axis=1))
        raise ValueError(f"actions of worlds {worlds.tolist()} are not finite")
    return actions


def check_scenarios(scenarios: Sequence[Scenario], count: int, task: Task) -> None:
    """Raise ``ValueError`` unless there are `count` scenarios that a task can play."""
    if len(scenarios) != count:
        raise ValueError(f"{len(scenarios)} scenarios given for {count} worlds to set")
    for scenario in scenarios:
        if not isinstance(scenario, Scenario):
            raise ValueError(f"a Scenario is needed for every world, got {scenario!r}")
        if scenario.task != task.name:
            raise ValueError(f"a scenario of {scenario.task} cannot run in {task.name}")
        if len(scenario.objects) != task.needs.objects:
            raise ValueError(
                f"{task.name} has {task.needs.objects} objects in its scene, "
                f"a scenario has {len(scenario.objects)}: {scenario.objects}"
            )
        for object_id in scenario.objects:
            get_object(object_id)
        get_surroundings(scenario.surroundings)


def seeds_of_worlds(seed: int | Sequence[int], count: int) -> list[int]:
    """Spread a seed over N worlds as seed + i; a sequence must hold one seed per world."""
    if isinstance(seed, numbers.Integral):
        return [int(seed) + world for world in range(count)]
    seeds = [int(value) for value in seed]  # type: ignore[union-attr]
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds given for {count} worlds")
    return seeds
