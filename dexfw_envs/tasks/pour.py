"""Pour: one arm and hand take a cup with balls and pour them into a bowl."""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.catalog.vessels import PARTS
from dexfw_envs.robots.panda_inspire import panda_inspire_upright
from dexfw_envs.tasks import objects
from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.tasks.groups import one_arm_groups
from dexfw_envs.tasks.rewards import closeness, height_progress
from dexfw_envs.world import WorldState

CUP, BOWL = 0, 1  # places in the scene
BALLS = 8
NEAR = 0.02  # horizontal distance of a ball from the bowl's centre that counts [m] (paper, A.3)
LIFT = 0.08  # height that the paper's lift term pays for [m]
HOLD_STEPS = 10  # control steps all success ingredients must last; the paper gives no hold
UPRIGHT = np.cos(np.deg2rad(30.0))  # a bowl tipped further has fallen over
MOST = 0.75  # least share of the balls in the bowl after a clean pour
LITTLE = 0.125  # greatest share of them beside it
REACH = 0.40  # an object farther than this from its start, in the plane, is lost [m]
MOVING, POURING = 0.06, np.cos(np.deg2rad(35.0))  # rise [m] and tilt at which these stages begin


class PourTask:
    """Pour balls out of a cup into a bowl.

    Task:
        A Panda with an Inspire-like hand, palm to the left, starts behind and above one of 12 cups
        with eight balls in it; one of two bowls stands to the left.
    Randomised:
        Cup (the two bowls alternate over the cups), surroundings (in state observations only the
        table's friction shows), pose of the cup (10 cells with jitter), place of the bowl (jitter
        of +-2 cm), balls in the cup, arm joints at the start (uniform +-0.02 rad).
    Success:
        For 10 consecutive control steps (0.5 s): a ball lies in the bowl, out of the cup, below the
        bowl's rim and less than 0.02 m from its centre in the plane (`inside`), the bowl stands on
        the table (`standing`), the hand touches the cup (`contact`), and neither table, floor,
        bowl nor a link of the arm does (`free`). The shares of balls in the bowl and spilled are
        reported, not judged; so is whether it was a clean pour.
    Episode end:
        Terminated on success, when cup or bowl are lost (off the table, or more than 0.40 m from
        their start in the plane: "dropped"), when all balls are spilled or the bowl has fallen
        over, so that nothing can be poured any more ("spilled"), or on a simulation fault
        ("fault"). Truncated after 300 steps of 50 ms ("timeout").
    History:
        v0: first version.
    """

    name = "Pour"
    hold_steps = HOLD_STEPS
    max_episode_steps = 300
    reward_terms: tuple[str, ...] = ("success", "grasp", "lift", "tilt", "ball")
    success_terms: tuple[str, ...] = ("inside", "standing", "contact", "free")
    marks = 0
    stages: tuple[str, ...] = ("reach", "grasp", "lift", "move", "pour")
    observation_groups = one_arm_groups(objects=("cup", "bowl"))

    def __init__(self) -> None:
        self.needs = SceneNeeds(panda_inspire_upright(), objects=2, parts=PARTS, contents=BALLS)

    def remember(self, world: WorldState, memory: EpisodeMemory) -> None:
        """Remember nothing: the instant tells all."""

    def reward(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the paper's five terms with its weights (appendix, Pour), each (N,).

        `success` = 5 while every ingredient of success is met; `grasp` = 2.5 (exp(-8 d_thumb) +
        exp(-8 d_finger)), distances of the thumb's tip and of the mean of the others' to the cup's
        centre, in (0, 5]; `lift` = 500 max(0.08 - |h - 0.08|, -0.01), h the cup's rise, in
        [-5, 40]; `tilt` = 25 (1 - z), z the upward part of the cup's axis, in [0, 50]; `ball` =
        500 exp(-5 max(d - 0.02, 0)), d the distance in the plane from the bowl's centre to the
        nearest ball that is not spilled, in [0, 500], 0 when all are. The paper does not say which
        ball; a spilled one would pay for pouring beside the bowl.
        """
        tips = world.fingertip_position[:, 0] - world.object_position[:, :1]
        distance = np.sqrt((tips * tips).sum(axis=2))
        thumb = distance[:, 0]
        finger = distance[:, 1:].mean(axis=1)
        height = world.object_position[:, CUP, 2]
        start = memory.start_position[:, CUP, 2]
        met = np.logical_and.reduce(list(self.success(world, memory).values()))
        nearest = np.where(self._spilled(world), np.inf, _from_bowl(world)).min(axis=1)

        return {
            "success": 5.0 * met,
            "grasp": 2.5 * (closeness(thumb, 0.0, 8.0) + closeness(finger, 0.0, 8.0)),
            "lift": 500.0 * height_progress(height, start, LIFT),
            "tilt": 25.0 * (1.0 - objects.upward(world, CUP)),
            "ball": 500.0 * closeness(nearest, margin=NEAR, rate=5.0),
        }

    def success(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the ingredients of success at this instant, each bool (N,)."""
        near = _from_bowl(world) < NEAR
        upright = objects.upward(world, BOWL) > UPRIGHT
        return {
            "inside": (near & self._poured(world)).any(axis=1),
            "standing": upright & world.object_support_contact[:, BOWL],
            "contact": world.hand_object_contact[:, 0, CUP].copy(),
            "free": objects.free(world, CUP) & ~world.object_object_contact,
        }

    def measures(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return what is reported but not judged, each (N,).

        `poured` and `spilled` are the shares of balls in the bowl and beside it; `clean` is 1 where
        most balls are in, few are spilled, and the cup is still held, else 0.
        """
        poured = self._poured(world).mean(axis=1)
        spilled = self._spilled(world).mean(axis=1)
        held = world.hand_object_contact[:, 0, CUP] & objects.free(world, CUP)
        clean = (poured >= MOST) & (spilled <= LITTLE) & held
        return {"poured": poured, "spilled": spilled, "clean": clean.astype(float)}

    def _poured(self, world: WorldState) -> np.ndarray:
        """Say which balls are in the bowl and not, with the cup, still in the cup, bool (N, C)."""
        return _enclosed(world, BOWL) & ~_enclosed(world, CUP)

    def _spilled(self, world: WorldState) -> np.ndarray:
        """Say which balls are in neither vessel and below the bowl's rim, bool (N, C)."""
        outside = ~_enclosed(world, BOWL) & ~_enclosed(world, CUP)
        rim = world.object_position[:, BOWL, 2] + world.object_opening[:, BOWL, 3]
        return outside & (world.contents_position[..., 2] < rim[:, None])

    def lost(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Say where a vessel is lost; where all balls are spilled or the bowl lies, bool (N,)."""
        fallen = objects.upward(world, BOWL) < UPRIGHT
        return {
            "dropped": objects.away(world, memory, REACH).any(axis=1),
            "spilled": fallen | self._spilled(world).all(axis=1),
        }

    def stage(self, world: WorldState, memory: EpisodeMemory) -> np.ndarray:
        """Return the index into `stages` of every world, (N,)."""
        held = world.hand_object_contact[:, 0, CUP]
        lifted = held & ~world.object_support_contact[:, CUP]
        moving = lifted & (objects.rise(world, memory, CUP) > MOVING)
        pouring = moving & (objects.upward(world, CUP) < POURING)
        return held.astype(int) + lifted + moving + pouring


def _from_bowl(world: WorldState) -> np.ndarray:
    """Distance of every ball from the bowl's centre in the plane [m], (N, C)."""
    away = (world.contents_position - world.object_position[:, BOWL, None])[..., :2]
    return np.sqrt((away * away).sum(axis=2))


def _enclosed(world: WorldState, index: int) -> np.ndarray:
    """Say which balls are between the walls of a vessel, above its floor and below its rim."""
    turn = tf.quat_conjugate(world.object_quaternion[:, index])[:, None]
    inside = tf.quat_rotate(turn, world.contents_position - world.object_position[:, index, None])
    foot, rim, floor, top = np.moveaxis(world.object_opening[:, index, None], 2, 0)
    height = inside[..., 2]
    radius = foot + (rim - foot) * (height - floor) / np.maximum(top - floor, 1e-9)
    across = np.sqrt((inside[..., :2] ** 2).sum(axis=-1))
    return (height > floor) & (height < top) & (across < radius)
