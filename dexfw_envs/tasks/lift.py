"""Lift: two arms raise one object that is too big or too heavy for one hand."""

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
HOLD_STEPS = 10  # control steps all success ingredients must last; the paper gives no hold
SPEED_LIMIT = 0.30  # an object faster than this is thrown, not held [m/s]
REACH = 0.30  # an object farther than this from its start, in the plane, is lost [m]
TILT_FREE, TILT_MOST = 30.0, 5.0  # tilt without penalty [deg], largest penalty (paper, A.3)


class LiftTask:
    """Raise one object by more than 15 cm between two hands and hold it.

    Task:
        Two RM75 arms on a column, with an Inspire-like hand each, start on both sides of one of
        26 boxes, balls, bottles and jars on a table.
    Randomised:
        Object, surroundings (in state observations only the table's friction shows), pose of the
        object (5 cells on a line across the table, with jitter), arm joints at the start (uniform
        +-0.02 rad).
    Success:
        For 10 consecutive control steps (0.5 s): the object's centre is more than 0.15 m above
        its start (`raised`), each hand touches it (`right`, `left`), the hands are on opposite
        sides of it (`between`), neither a support nor a link of an arm touches it (`free`), and
        it moves slower than 0.30 m/s (`slow`). Its tilt is reported, not judged.
    Episode end:
        Terminated on success, when the object is lost (off the table, or more than 0.30 m from
        its start in the plane: "dropped"), or on a simulation fault ("fault"). Truncated after
        300 steps of 50 ms ("timeout").
    History:
        v0: first version.
    """

    name = "Lift"
    hold_steps = HOLD_STEPS
    max_episode_steps = 300
    reward_terms: tuple[str, ...] = ("right", "left", "together", "height", "tilt")
    success_terms: tuple[str, ...] = ("raised", "right", "left", "between", "free", "slow")
    marks = 0
    stages: tuple[str, ...] = ("reach", "press", "lift", "hold")
    observation_groups = two_arm_groups()

    def __init__(self) -> None:
        self.needs = SceneNeeds(robot=dual_rm75_inspire(), objects=1)

    def remember(self, world: WorldState, memory: EpisodeMemory) -> None:
        """Remember nothing: the instant tells all."""

    def reward(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the paper's five terms (appendix, Lift), each (N,).

        With d the mean distance of a hand's fingertips to the object's centre: `right` and `left`
        = exp(-8 max(d - 0.08, 0)), in (0, 1]; `together` = 4 exp(-5 max(d_right + d_left - 0.2,
        0)), in (0, 4]; `height` = 10 clip(rise / 0.15, 0, 1); `tilt` = -min(5, (angle - 30) / 5)
        for a body axis more than 30 degrees off the vertical it stood along, in [-5, 0].
        """
        tips = world.fingertip_position - world.object_position[:, None]
        distance = np.sqrt((tips * tips).sum(axis=-1)).mean(axis=-1)  # (N, 2)
        angle = objects.tilt(world)
        rise = objects.rise(world, memory)
        return {
            "right": closeness(distance[:, 0], margin=0.08, rate=8.0),
            "left": closeness(distance[:, 1], margin=0.08, rate=8.0),
            "together": 4.0 * closeness(distance.sum(axis=1), margin=0.2, rate=5.0),
            "height": 10.0 * np.clip(rise / RAISE, 0.0, 1.0),
            "tilt": -np.clip((angle - TILT_FREE) / 5.0, 0.0, TILT_MOST),
        }

    def success(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the ingredients of success at this instant, each bool (N,)."""
        rise = objects.rise(world, memory)
        away = (world.end_effector_position - world.object_position)[..., :2]
        return {
            "raised": rise > RAISE,
            "right": world.hand_object_contact[:, 0, 0].copy(),
            "left": world.hand_object_contact[:, 1, 0].copy(),
            "between": (away[:, 0] * away[:, 1]).sum(axis=1) < 0.0,
            "free": objects.free(world),
            "slow": objects.speed(world) < SPEED_LIMIT,
        }

    def measures(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return what is reported but not judged: `tilt` of the object [deg], (N,)."""
        return {"tilt": objects.tilt(world)}

    def lost(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Say where the object has left the table or rolled out of reach, bool (N,)."""
        return {"dropped": objects.away(world, memory, REACH)[:, 0]}

    def stage(self, world: WorldState, memory: EpisodeMemory) -> np.ndarray:
        """Return the index into `stages` of every world, (N,)."""
        now = self.success(world, memory)
        pressed = now["right"] & now["left"]
        lifted = pressed & now["free"]
        return np.where(lifted & now["raised"], 3, np.where(lifted, 2, pressed.astype(int)))
