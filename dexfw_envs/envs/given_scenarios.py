"""A check of the scenarios that users hand to an environment."""

from __future__ import annotations

from collections.abc import Sequence

from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.surroundings import get_surroundings
from dexfw_envs.scenario import Scenario
from dexfw_envs.tasks.base import Task


def check_scenarios(given: Sequence[Scenario], expected: int, task: Task) -> None:
    """Raise ``ValueError`` unless there are `expected` scenarios that a task can play."""
    if len(given) != expected:
        raise ValueError(f"{len(given)} scenarios given for {expected} worlds to set")

    for scenario in given:
        if not isinstance(scenario, Scenario):
            raise ValueError(f"a Scenario is needed for every world, got {scenario!r}")
        if scenario.task != task.name:
            raise ValueError(f"a scenario of {scenario.task} cannot run in {task.name}")
        if len(scenario.objects) != task.needs.objects:
            raise ValueError(
                f"{task.name} has {task.needs.objects} objects in its scene, "
                f"a scenario has {len(scenario.objects)}: {scenario.objects}"
            )
        _check_objects(scenario, task)
        get_surroundings(scenario.surroundings)


def _check_objects(scenario: Scenario, task: Task) -> None:
    """Raise ``ValueError`` where an object is unknown or cannot be built in the task's scene."""
    needs = task.needs
    for object_id in scenario.objects:
        parts = len(get_object(object_id).parts)
        if parts > needs.parts:
            raise ValueError(
                f"{object_id} has {parts} parts; the scene of {task.name} holds objects of up to "
                f"{needs.parts}"
            )

    vessel = scenario.objects[0]
    if needs.contents and not any(get_object(vessel).opening):
        raise ValueError(f"{vessel} holds nothing; {task.name} needs a vessel as its first object")
