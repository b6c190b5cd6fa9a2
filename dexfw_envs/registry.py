"""The one table of tasks, and the one place that registers them with Gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium

from dexfw_envs.tasks.base import Task
from dexfw_envs.tasks.grasp import GraspTask
from dexfw_envs.tasks.handover import HandoverTask
from dexfw_envs.tasks.lift import LiftTask
from dexfw_envs.tasks.pour import PourTask

NAMESPACE = "DexFW"


@dataclass(frozen=True)
class TaskEntry:
    """One registered task."""

    name: str
    version: int  # raised whenever behaviour changes; the task's History says why
    make: Callable[[], Task]
    tags: tuple[str, ...]
    camera: str = "front"  # of images and videos, unless another is asked for

    @property
    def env_id(self) -> str:
        """The id under which Gymnasium knows the task."""
        return f"{NAMESPACE}/{self.name}-v{self.version}"


TASKS: tuple[TaskEntry, ...] = (
    TaskEntry("Grasp", 0, GraspTask, ("single-arm",)),
    TaskEntry("Pour", 0, PourTask, ("single-arm",)),
    TaskEntry("Lift", 0, LiftTask, ("dual-arm",)),
    # From the front the hand that gives hides the hand that takes.
    TaskEntry("Handover", 0, HandoverTask, ("dual-arm",), camera="head"),
)


def entry(name: str) -> TaskEntry:
    """Return the entry of a task by name ("Grasp") or id ("DexFW/Grasp-v0").

    Raises:
        ValueError: The task is unknown; the message names the known ones.
    """
    for item in TASKS:
        if name in (item.name, item.env_id, f"dexfw_envs:{item.env_id}"):
            return item
    raise ValueError(f"unknown task {name!r}; choose one of {[item.name for item in TASKS]}")


def check_id(env_id: str, task: str) -> None:
    """Refuse the id of another task, as in `gym.make("DexFW/Grasp-v0", task="Pour")`.

    Args:
        env_id: The id under which an environment was made; one that is not of this table is free.
        task: Name of the environment's task.

    Raises:
        ValueError: The id belongs to another task; names the right one.
    """
    owners = {item.env_id: item.name for item in TASKS}
    owner = owners.get(env_id, task)
    if owner != task:
        raise ValueError(f"{env_id} is the task {owner}, not {task}; make {entry(task).env_id}")


def register_all() -> None:
    """Register every task, with its native vector environment."""
    for item in TASKS:
        if item.env_id in gymnasium.registry:
            raise RuntimeError(f"{item.env_id} is registered already")
        gymnasium.register(
            id=item.env_id,
            entry_point="dexfw_envs.envs.single:DexEnv",
            vector_entry_point="dexfw_envs.envs.vector:DexVectorEnv",
            max_episode_steps=item.make().max_episode_steps,
            kwargs={"task": item.name},
        )
