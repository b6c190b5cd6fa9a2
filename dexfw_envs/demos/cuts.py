"""Where the motions of each task are cut; those of two arms are measured here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dexfw_envs.demos.segments import (
    Segmentation,
    Subtask,
    coordinate,
    cut_at_carry,
    cut_at_pregrasp,
    first_contact,
    first_motion,
    pregrasp_step,
)

if TYPE_CHECKING:
    from dexfw_envs.demos.source import Source

RIGHT, LEFT = 0, 1
CLEARANCE = 0.04  # how much farther than at the contact a hand is at the pre-grasp [m]
LIFTED = 0.06  # an object that has risen by this is off its support [m]


def cut_at_press(source: Source) -> Segmentation:
    """Cut a lift into two parallel reaches, and pressing and raising in step with each other.

    Everything moves with object 0 where it is when a piece begins.

    Raises:
        ValueError: The motion has one arm, or the object never moved.
    """
    _check_arms(source)
    contact = first_motion(source.objects[:, 0, :3])
    if contact is None or contact < 2:
        raise ValueError("object 0 never moved: no lift to cut at")
    arms = []
    for arm in (RIGHT, LEFT):
        lead = min(_pregrasp(source, arm, contact), contact - 1)
        together = Subtask(contact, source.steps, 0, kind="coordination", link=1)
        arms.append((Subtask(0, contact, 0, lead=lead), together))
    return tuple(arms)


def cut_at_exchange(source: Source) -> Segmentation:
    """Cut a handover into the right hand's grasp, the exchange in step, and the retreat.

    The grasp moves with object 0; the exchange and the retreat stay where they were recorded. What
    leads from the lifted object to the exchange is free space.

    Raises:
        ValueError: The motion has one arm, or lacks a lift, a meeting or a parting.
    """
    _check_arms(source)
    target = source.objects[:, 0, :3]
    contact, lifted = first_motion(target), first_contact(target[:, 2] > target[0, 2] + LIFTED)
    if contact is None or lifted is None:
        raise ValueError(f"object 0 was never lifted by {LIFTED} m: no handover to cut at")
    gap = np.linalg.norm(source.measured[..., :3] - target[:, None], axis=-1)  # (T+1, 2)
    near = gap[lifted:, LEFT].min() + CLEARANCE
    met = lifted + int(np.argmax(gap[lifted:, LEFT] < near))
    parted = first_contact(gap[met:, RIGHT] > gap[met, RIGHT] + CLEARANCE)
    if parted is None or not lifted < met < met + parted < source.steps:
        raise ValueError("object 0 never changed hands: no handover to cut at")
    lead = min(_pregrasp(source, RIGHT, contact), lifted - 1)
    meeting = Subtask(
        lifted, met + parted, lead=met - lifted, kind="coordination", scheme="replay", link=1
    )
    leaving = Subtask(met + parted, source.steps, scheme="replay")
    grasp, wait = Subtask(0, lifted, 0, lead=lead), Subtask(0, lifted, scheme="replay")
    return ((grasp, meeting, leaving), (wait, meeting, leaving))


def _check_arms(source: Source) -> None:
    if source.arms != 2:
        raise ValueError(f"this cut is for two arms, the motion has {source.arms}")


def _pregrasp(source: Source, arm: int, contact: int) -> int:
    hand, target = source.measured[:, arm, :3], source.objects[:, 0, :3]
    distance = float(np.linalg.norm(hand[contact] - target[contact])) + CLEARANCE
    return pregrasp_step(hand, target, contact, distance)


# How the motions of a task are cut; those of other tasks are grasps.
CUTS: dict[str, Callable[[Source], Segmentation]] = {
    "Pour": cut_at_carry,
    "Lift": cut_at_press,
    "Handover": cut_at_exchange,
}


def cut_for(task: str, coordination: str | None = None) -> Callable[[Source], Segmentation]:
    """Return the function that cuts motions of a task.

    Args:
        task: Name of the task.
        coordination: Scheme of the subtasks in coordination; by default what suits the task:
            "transform" in Lift, "replay" in Handover.
    """
    cut = CUTS.get(task, cut_at_pregrasp)
    return cut if coordination is None else lambda source: coordinate(cut(source), coordination)
