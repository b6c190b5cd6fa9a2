"""Handover: the right hand takes one object from the table and gives it to the left hand."""

from __future__ import annotations

import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.tasks import objects
from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.tasks.groups import two_arm_groups
from dexfw_envs.tasks.rewards import closeness
from dexfw_envs.world import WorldState

RAISE = 0.15  # the object counts as raised above its start by more than this [m] (paper, A.3)
GIVEN = 0.15  # the right palm is farther than this from the object's centre [m] (paper, A.3)
TAKEN = 0.10  # the left palm is nearer than this to it [m] (paper, A.3, there to its centre)
HOLD_STEPS = 10  # control steps all success ingredients must last (paper, A.3)
CARRIED = 0.05  # the right hand alone must have raised the object by more than this before [m]
SPEED_LIMIT = 0.30  # an object faster than this is thrown, not held [m/s]
REACH = 0.40  # an object farther than this from its start, in the plane, is lost [m]
RIGHT, LEFT = 0, 1
# What is remembered of an episode: whether the right hand alone has carried the object, whether
# both hands have had it since then, and for how many steps on end the paper's form of success held.
MARKS = 3
CARRIED_MARK, PASSED_MARK, PAPER_MARK = range(MARKS)


class HandoverTask:
    """Take one object with the right hand, give it to the left, and let go.

    Task:
        Two RM75 arms on a column, with an Inspire-like hand each, start on both sides of one of
        20 cartons, bottles and jars that stands on a table.
    Randomised:
        Object, surroundings (in state observations only the table's friction shows), pose of the
        object (5 cells on a line across the table, with jitter), arm joints at the start (uniform
        +-0.02 rad).
    Success:
        For 10 consecutive control steps (0.5 s): the object's centre is more than 0.15 m above
        its start (`raised`), farther than 0.15 m from the right palm (`given`) and nearer than
        0.10 m to the left palm (`taken`, measured to the object's axis); the left hand touches
        it (`contact`), the right hand, supports and arm links do not (`free`), and it moves
        slower than 0.30 m/s (`slow`). Before that it must have been passed in the air
        (`passed`): the right hand alone has raised it by more than 0.05 m, then both hands have
        touched it at once, and since then it has rested on nothing but hands. The paper's form
        of success is reported, not judged.
    Episode end:
        Terminated on success, when the object is lost (off the table, or more than 0.40 m from
        its start in the plane: "dropped"), or on a simulation fault ("fault"). Truncated after
        400 steps of 50 ms ("timeout").
    History:
        v0: first version.
    """

    name = "Handover"
    hold_steps = HOLD_STEPS
    max_episode_steps = 400
    reward_terms: tuple[str, ...] = (
        "right_close",
        "lift",
        "left_close",
        "left_hold",
        "release",
        "upright",
    )
    success_terms: tuple[str, ...] = (
        "passed",
        "raised",
        "given",
        "taken",
        "contact",
        "free",
        "slow",
    )
    stages: tuple[str, ...] = ("reach", "grasp", "lift", "bring", "exchange", "release")
    marks = MARKS
    observation_groups = two_arm_groups()

    def __init__(self) -> None:
        self.needs = SceneNeeds(robot=dual_rm75_inspire(), objects=1)

    def remember(self, world: WorldState, memory: EpisodeMemory) -> None:
        """Mark how far the passing is, and since when the paper's form of success has held."""
        touch = world.hand_object_contact[:, :, 0]
        free = objects.free(world)
        marks = memory.marks
        marks[~free, CARRIED_MARK] = 0.0  # what is set down has to be carried and passed anew
        marks[~free, PASSED_MARK] = 0.0

        alone = touch[:, RIGHT] & ~touch[:, LEFT] & free
        marks[alone & (objects.rise(world, memory) > CARRIED), CARRIED_MARK] = 1.0
        both = touch.all(axis=1) & free
        marks[both & (marks[:, CARRIED_MARK] > 0), PASSED_MARK] = 1.0

        steps = marks[:, PAPER_MARK]
        going_on = np.where(self._as_in_the_paper(world, memory), steps + 1, 0)
        marks[:, PAPER_MARK] = np.where(steps >= HOLD_STEPS, steps, going_on)

    def reward(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return six bounded terms after the paper's (submission appendix, Handover), each (N,).

        With d the mean distance of a hand's fingertips to the object's centre: `right_close` =
        exp(-10 max(d_right - 0.08, 0)) until the left hand holds the object alone, then 1;
        `lift` = 3 clip(rise / 0.2, 0, 1); `left_close` = 3 exp(-6 max(d_left - 0.08, 0)) times
        the same share of the height; `left_hold` = 3 where the left hand touches the raised
        object; `release` = 10 clip(p / 0.15, 0, 1), p the distance [m] of the right palm beyond
        0.05 m, where the left hand holds the object without the right; `upright` = exp(-angle /
        30) for the tilt [deg], in (0, 1]. The published weights of these terms are not known.
        """
        tips = world.fingertip_position - world.object_position[:, None]
        distance = np.sqrt((tips * tips).sum(axis=-1)).mean(axis=-1)  # (N, 2)
        rise = objects.rise(world, memory)
        height = np.clip(rise / 0.2, 0.0, 1.0)
        touch = world.hand_object_contact[:, :, 0]
        off_table = ~world.object_support_contact[:, 0]
        alone = touch[:, LEFT] & ~touch[:, RIGHT] & off_table
        gone = np.clip((_palm_distance(world)[:, RIGHT] - 0.05) / 0.15, 0.0, 1.0)

        return {
            "right_close": np.where(alone, 1.0, closeness(distance[:, RIGHT], 0.08, 10.0)),
            "lift": 3.0 * height,
            "left_close": 3.0 * height * closeness(distance[:, LEFT], 0.08, 6.0),
            "left_hold": 3.0 * (touch[:, LEFT] & off_table & (rise > RAISE)),
            "release": 10.0 * gone * alone,
            "upright": np.exp(-objects.tilt(world) / 30.0),
        }

    def success(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the ingredients of success at this instant, each bool (N,)."""
        to_axis = objects.from_axis(world, world.end_effector_position)
        touch = world.hand_object_contact[:, :, 0]
        return {
            "passed": memory.marks[:, PASSED_MARK] > 0,
            "raised": objects.rise(world, memory) > RAISE,
            "given": _palm_distance(world)[:, RIGHT] > GIVEN,
            "taken": to_axis[:, LEFT] < TAKEN,
            "contact": touch[:, LEFT].copy(),
            "free": objects.free(world) & ~touch[:, RIGHT],
            "slow": objects.speed(world) < SPEED_LIMIT,
        }

    def measures(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return what is reported but not judged, each (N,).

        `tilt` is the object's [deg]; `paper` is 1 once the paper's form of success has held for 10
        steps: raised, given, and taken as measured to the object's centre.
        """
        paper = memory.marks[:, PAPER_MARK] >= HOLD_STEPS
        return {"tilt": objects.tilt(world), "paper": paper.astype(float)}

    def _as_in_the_paper(self, world: WorldState, memory: EpisodeMemory) -> np.ndarray:
        """Say where the paper's three conditions hold at this instant (A.3), bool (N,)."""
        distance = _palm_distance(world)
        raised = objects.rise(world, memory) > RAISE
        return raised & (distance[:, RIGHT] > GIVEN) & (distance[:, LEFT] < TAKEN)

    def lost(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Say where the object has left the table or rolled out of reach, bool (N,)."""
        return {"dropped": objects.away(world, memory, REACH)[:, 0]}

    def stage(self, world: WorldState, memory: EpisodeMemory) -> np.ndarray:
        """Return the index into `stages` of every world, (N,)."""
        right = world.hand_object_contact[:, RIGHT, 0]
        left = world.hand_object_contact[:, LEFT, 0]
        rise = objects.rise(world, memory)
        free = ~world.object_support_contact[:, 0]
        carried = np.where(rise > RAISE, 3, 2)
        held = np.where(left, np.where(right, 4, 5), np.where(right, carried, 0))
        return np.where(free, held, (right | left).astype(int))


def _palm_distance(world: WorldState) -> np.ndarray:
    """Distance of the right and left palm to the object's centre [m], (N, 2)."""
    away = world.end_effector_position - world.object_position[:, :1]
    return np.sqrt((away * away).sum(axis=-1))
