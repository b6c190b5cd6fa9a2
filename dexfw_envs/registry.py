"""The one table of tasks, and the one place that registers them with Gymnasium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gymnasium

from dexfw_envs.catalog.curricula import Curriculum, register_curriculum
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


# Tasks that the user registered in this process, by name.
_OWN: dict[str, TaskEntry] = {}


def all_tasks() -> Iterator[TaskEntry]:
    """Go through the tasks of the suite, then those registered in this process."""
    yield from TASKS
    yield from _OWN.values()


def entry(name: str) -> TaskEntry:
    """Return the entry of a task by name ("Grasp") or id ("DexFW/Grasp-v0").

    Raises:
        ValueError: The task is unknown; the message names the known ones.
    """
    for item in all_tasks():
        if name in (item.name, item.env_id, f"dexfw_envs:{item.env_id}"):
            return item
    raise ValueError(f"unknown task {name!r}; choose one of {[item.name for item in all_tasks()]}")


def check_id(env_id: str, task: str) -> None:
    """Refuse the id of another task, as in `gym.make("DexFW/Grasp-v0", task="Pour")`.

    Args:
        env_id: The id under which an environment was made; one that is not of this table is free.
        task: Name of the environment's task.

    Raises:
        ValueError: The id belongs to another task; names the right one.
    """
    owners = {item.env_id: item.name for item in all_tasks()}
    owner = owners.get(env_id, task)
    if owner != task:
        raise ValueError(f"{env_id} is the task {owner}, not {task}; make {entry(task).env_id}")


def register_all() -> None:
    """Register every task, with its native vector environment."""
    for item in TASKS:
        if item.env_id in gymnasium.registry:
            raise RuntimeError(f"{item.env_id} is registered already")
        _tell_gymnasium(item, item.make())


def _tell_gymnasium(item: TaskEntry, task: Task) -> None:
    gymnasium.register(
        id=item.env_id,
        entry_point="dexfw_envs.envs.single:DexEnv",
        vector_entry_point="dexfw_envs.envs.vector:DexVectorEnv",
        max_episode_steps=task.max_episode_steps,
        kwargs={"task": item.name},
    )


def register_task(
    make: Callable[[], Task],
    curriculum: Curriculum,
    *,
    version: int = 0,
    camera: str = "front",
) -> TaskEntry:
    """Register a task of one's own in this process, and return its entry.

    The task is then made by `gymnasium.make("DexFW/<name>-v<version>")` and `make_vec`, and has the
    splits and training scenes that its curriculum gives. It has no scripted expert and no
    demonstration. Another process has to register it, too: put the call into a module that the
    process imports.

    Args:
        make: Makes the task, such as its class; see `tasks.base.Task` for what it has.
        curriculum: Objects, surroundings and pose cells; that of another task is in
            `catalog.CURRICULA`.
        version: Number in the id, to be raised when the task changes.
        camera: Camera of pictures and videos.

    Raises:
        TypeError: The task lacks a part of a task.
        ValueError: The name is taken or no identifier, or the curriculum does not fit together.
    """
    task = make()
    _check_task(task)
    item = TaskEntry(task.name, version, make, ("own",), camera)
    if any(item.name == other.name for other in all_tasks()):
        raise ValueError(f"the task name {item.name!r} is taken; choose another")

    register_curriculum(item.name, curriculum)
    _OWN[item.name] = item
    _tell_gymnasium(item, task)
    return item


def _check_task(task: Task) -> None:
    """Refuse what is no task: a part is missing, or the name would make no id.

    Raises:
        TypeError: A part is missing; the message names all that are.
        ValueError: The name is no identifier.
    """
    methods = [name for name in vars(Task) if not name.startswith("_")]
    missing = [name for name in (*Task.__annotations__, *methods) if not hasattr(task, name)]
    if missing:
        raise TypeError(f"{type(task).__name__} is no task: it has no {', '.join(missing)}")
    if not str(task.name).isidentifier():
        raise ValueError(f"a task's name is an identifier such as 'Grasp', got {task.name!r}")
