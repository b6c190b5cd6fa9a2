"""Where the motions of each task are cut into subtasks; each cut is measured on the motion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.segments import OFF_SUPPORT, TILTED, Segmentation, Subtask, coordinate
from dexfw_envs.transforms import Array

RIGHT, LEFT = 0, 1
CLEARANCE = 0.04  # how much farther than at the contact a hand is at the pre-grasp [m]
LIFTED = 0.06  # an object that has risen by this is off its support [m]


def first_contact(contact: np.ndarray) -> int | None:
    """Return the first frame with any contact flag set, (T+1, ...); None without contact."""
    frames = np.flatnonzero(contact.reshape(len(contact), -1).any(axis=1))
    return int(frames[0]) if len(frames) else None


def first_motion(object_position: Array, distance: float = 0.003) -> int | None:
    """Return the first frame where the object (T+1, 3) is `distance` [m] from its start.

    A stand-in for the first contact where no contact flags were stored; a few frames late.
    """
    moved = np.linalg.norm(object_position - object_position[0], axis=-1) > distance
    return first_contact(moved)


def pregrasp_step(hand: Array, target: Array, contact: int, distance: float) -> int:
    """Find the last step before the contact at which the hand was still away from the object.

    Args:
        hand: End-effector positions [m], (T+1, 3).
        target: Object positions [m], (T+1, 3).
        contact: Frame of the first contact.
        distance: What counts as away [m], end effector to object centre.

    Returns:
        The step; 0 if the hand was nearer than that all the time.
    """
    gap = np.linalg.norm(hand - target, axis=-1)[:contact]
    away = np.flatnonzero(gap > distance)
    return int(away[-1]) if len(away) else 0


def cut_at_pregrasp(
    source: Motion,
    reference: int = 0,
    clearance: float = 0.04,
    contact: int | None = None,
) -> Segmentation:
    """Cut a one-arm motion into approach (until the pre-grasp) and object-centric rest.

    Args:
        source: The motion.
        reference: Index of the object that is grasped.
        clearance: How much farther than at first contact the hand is at the pre-grasp [m].
        contact: Frame of the first contact; default: when the object starts to move.

    Raises:
        ValueError: The motion has two arms, or the object was never touched.
    """
    if source.arms != 1:
        raise ValueError(f"cut_at_pregrasp is for one arm, the motion has {source.arms}")
    target = source.objects[:, reference, :3]
    if contact is None:
        contact = first_motion(target)
    if contact is None:
        raise ValueError(f"object {reference} never moved: no grasp to cut at")
    hand = source.measured[:, 0, :3]
    distance = float(np.linalg.norm(hand[contact] - target[contact])) + clearance
    lead = min(pregrasp_step(hand, target, contact, distance), source.steps - 1)
    return ((Subtask(0, source.steps, reference, lead=lead),),)


def cut_at_carry(source: Motion, rise: float = 0.06) -> Segmentation:
    """Cut a one-arm motion into fetching object 0, and taking it to object 1.

    The first piece is cut as in `cut_at_pregrasp`; it ends when the object has been lifted, or
    leans when it has just left its support. The way from there until it leans is free space, none
    if it leans already; the rest belongs to object 1.

    Args:
        source: The motion.
        rise: Height at which an upright object counts as lifted [m].

    Raises:
        ValueError: The motion has two arms, or the object was never lifted or never tilted.
    """
    ((whole,),) = cut_at_pregrasp(source)
    height = source.objects[:, 0, 2] - source.objects[0, 0, 2]
    leaning = 1.0 - 2.0 * (source.objects[:, 0, 4:6] ** 2).sum(axis=-1) < np.cos(TILTED)
    lifted = first_contact((height > rise) | (leaning & (height > OFF_SUPPORT)))
    if lifted is None:
        raise ValueError(f"object 0 was never lifted by {rise} m: nothing to carry")
    tilted = first_contact(leaning[lifted:])
    if tilted is None:
        raise ValueError("object 0 was never tilted after it was lifted: no pour to cut at")
    fetch = Subtask(0, lifted, 0, lead=min(whole.lead, lifted - 1))
    return ((fetch, Subtask(lifted, source.steps, 1, lead=tilted)),)


def cut_at_press(source: Motion) -> Segmentation:
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


def cut_at_exchange(source: Motion) -> Segmentation:
    """Cut a handover into the right hand's grasp, the exchange in step, and the retreat.

    The grasp moves with object 0; the exchange and the retreat stay where they were recorded. What
    leads from the lifted object to the exchange is free space.

    Raises:
        ValueError: The motion has one arm, or lacks a lift, a meeting or a parting.
    """
    _check_arms(source)
    target = source.objects[:, 0, :3]
    contact = first_motion(target)
    lifted = first_contact(target[:, 2] > target[0, 2] + LIFTED)
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
    grasp = Subtask(0, lifted, 0, lead=lead)
    wait = Subtask(0, lifted, scheme="replay")

    return ((grasp, meeting, leaving), (wait, meeting, leaving))


def _check_arms(source: Motion) -> None:
    if source.arms != 2:
        raise ValueError(f"this cut is for two arms, the motion has {source.arms}")


def _pregrasp(source: Motion, arm: int, contact: int) -> int:
    hand = source.measured[:, arm, :3]
    target = source.objects[:, 0, :3]
    distance = float(np.linalg.norm(hand[contact] - target[contact])) + CLEARANCE
    return pregrasp_step(hand, target, contact, distance)


# How the motions of a task are cut; those of other tasks are grasps.
CUTS: dict[str, Callable[[Motion], Segmentation]] = {
    "Pour": cut_at_carry,
    "Lift": cut_at_press,
    "Handover": cut_at_exchange,
}


def cut_for(task: str, coordination: str | None = None) -> Callable[[Motion], Segmentation]:
    """Return the function that cuts motions of a task.

    Args:
        task: Name of the task.
        coordination: Scheme of the subtasks in coordination; by default what suits the task:
            "transform" in Lift, "replay" in Handover.
    """
    cut = CUTS.get(task, cut_at_pregrasp)
    return cut if coordination is None else lambda source: coordinate(cut(source), coordination)
