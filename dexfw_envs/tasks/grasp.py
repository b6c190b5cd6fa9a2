"""Grasp: one arm and hand pick an object up from the table and hold it."""

from __future__ import annotations

import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.robots.panda_inspire import panda_inspire
from dexfw_envs.tasks import objects
from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.tasks.groups import one_arm_groups
from dexfw_envs.tasks.rewards import closeness, height_progress
from dexfw_envs.world import WorldState

RAISE = 0.20  # the object counts as raised above its start by more than this [m] (paper, A.3)
HOLD_STEPS = 10  # control steps all success ingredients must last; the paper gives no hold
SPEED_LIMIT = 0.30  # an object faster than this is thrown or batted, not held [m/s]
REACH = 0.30  # an object farther than this from its start, in the plane, is lost [m]


class GraspTask:
    """Raise one object by more than 20 cm and hold it.

    Task:
        A Panda with an Inspire-like hand starts behind and above one of 22 objects on a table.
    Randomised:
        Object, surroundings (in state observations only the table's friction shows), pose of the
        object (15 cells with jitter), arm joints at the start (uniform +-0.02 rad).
    Success:
        For 10 consecutive control steps (0.5 s): the object's centre is more than 0.20 m above
        its start (`raised`), the hand touches it (`contact`), neither a support nor a link of
        the arm does (`free`), and it moves slower than 0.30 m/s (`slow`). Judged on the object,
        not the hand.
    Episode end:
        Terminated on success, when the object is lost (off the table, or more than 0.30 m from
        its start in the plane: "dropped"), or on a simulation fault ("fault"). Truncated after
        300 steps of 50 ms ("timeout").
    History:
        v0: first version.
    """

    name = "Grasp"
    hold_steps = HOLD_STEPS
    max_episode_steps = 300
    reward_terms: tuple[str, ...] = ("approach", "lift")
    success_terms: tuple[str, ...] = ("raised", "contact", "free", "slow")
    marks = 0
    stages: tuple[str, ...] = ("reach", "grasp", "lift", "hold")
    observation_groups = one_arm_groups()

    def __init__(self) -> None:
        self.needs = SceneNeeds(robot=panda_inspire(), objects=1)

    def remember(self, world: WorldState, memory: EpisodeMemory) -> None:
        """Remember nothing: the instant tells all."""

    def reward(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the paper's two terms (appendix, Grasp), each (N,).

        `approach` = exp(-5 max(S - 0.05, 0)), S the summed distance of thumb, index and middle tip
        to the object's centre, in (0, 1]; `lift` = 100 max(0.2 - |z* - z|, -0.01), z* = start +
        0.2, in [-1, 20]. The published bracket puts 0.05 after the sum; so it is read here.
        """
        tips = world.fingertip_position[:, 0, :3] - world.object_position[:, :1]
        distance = np.sqrt((tips * tips).sum(axis=2)).sum(axis=1)
        height = world.object_position[:, 0, 2]
        start = memory.start_position[:, 0, 2]
        return {
            "approach": closeness(distance, margin=0.05, rate=5.0),
            "lift": 100.0 * height_progress(height, start, RAISE),
        }

    def success(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the ingredients of success at this instant, each bool (N,)."""
        return {
            "raised": objects.rise(world, memory) > RAISE,
            "contact": world.hand_object_contact[:, 0, 0].copy(),
            "free": objects.free(world),
            "slow": objects.speed(world) < SPEED_LIMIT,
        }

    def measures(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return what is reported beside success but not judged: nothing."""
        return {}

    def lost(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Say where the object has left the table or rolled out of reach, bool (N,)."""
        return {"dropped": objects.away(world, memory, REACH)[:, 0]}

    def stage(self, world: WorldState, memory: EpisodeMemory) -> np.ndarray:
        """Return the index into `stages` of every world, (N,)."""
        now = self.success(world, memory)
        lifted = now["contact"] & now["free"]
        reached = now["contact"].astype(int)
        return np.where(lifted & now["raised"], 3, np.where(lifted, 2, reached))
