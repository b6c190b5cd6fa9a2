"""Closed-loop scripted expert for Pour: sees the true state, starts from any stage, recovers."""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.control.codec import HAND_ACTIONS
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.experts.grasp import CLOSED, LEAD, PREOPPOSED, Style
from dexfw_envs.experts.motion import PalmMotion
from dexfw_envs.tasks.pour import BOWL, CUP

STAGES = 6
APPROACH, ADVANCE, CLOSE, RAISE, CARRY, POUR = range(STAGES)
DIP = np.deg2rad(12.0)  # of the fingers, down
LOWEST = 0.066  # palm centre above the table: straight fingers clear it [m]
BEHIND_RIM = 0.040  # palm centre below the rim, so that the thumb still meets the cup [m]
THUMB = -0.021  # where the thumb meets the cup's back, from the palm centre [m]
CLEARANCE = 0.006  # palm surface beside the cup [m]
RETREAT = 0.13  # pre-grasp behind the grasp, along the fingers [m]
CLOSING_STEPS = 22
RISE = 0.10  # lifted straight up before it is carried [m]
OVER = 0.020  # lowest point of the cup above the bowl's rim [m]
SHORT = 0.010  # where the cup's lip stands before the bowl's centre: balls fly on [m]
POUR_TILT = np.deg2rad(118.0)
POUR_SPEED = 0.055  # [rad] per step
LOST_STEPS = 6  # steps without contact after which a lifted cup counts as dropped
ABOVE_GOAL = 0.03  # the palm is sent this much higher than it has to rise [m]
FINGER_HEIGHT = 0.03  # of the topmost finger above the palm centre [m]

UPRIGHT = 0.08  # a palm turned from upright by less than this goes on to the cup [rad]
AT_PREGRASP = 0.015  # a palm this near to the pre-grasp goes on to the grasp [m]
AT_GRASP = 0.006  # a palm this near to the grasp closes [m]
MOST_ADVANCED = 60  # steps after which it closes where it is
AT_BOWL = 0.012  # a palm this near to where the cup is poured tips it [m]


class PourExpert:
    """Slide the hand around the cup, close, lift, carry it over the bowl, tip it.

    Follows the `Policy` protocol. The stage of every world is read from the world itself when an
    episode begins, so an episode may start anywhere; a cup that slips and stands is fetched again.

    Args:
        env: The environment it acts in; its true state is read.
        style: Timing, tremor and grip.
        seed: Of the style's random numbers; each episode adds its scenario's seed.
    """

    def __init__(self, env: RobotEnv, style: Style | None = None, seed: int = 0) -> None:
        if env.task.name != "Pour":
            raise ValueError(f"PourExpert cannot act in task {env.task.name!r}; it knows 'Pour'")
        self.env = env
        self.style = style or Style()
        self._driven = list(env.task.needs.robot.hand.driven)
        self._upright = _palm_quaternion()

        n = env.num_envs
        self.motion = PalmMotion(env, self.style, seed)
        self.stage = np.zeros(n, dtype=int)
        self._clock = np.zeros(n, dtype=int)  # steps spent in the stage
        self._missing = np.zeros(n, dtype=int)  # steps a lifted cup has been out of touch
        self._pauses = np.zeros((n, STAGES), dtype=int)

        self._grip = np.zeros((n, HAND_ACTIONS))
        self._base = np.zeros((n, 3))  # palm position from which the cup is lifted [m]
        self._tilt = np.zeros(n)  # of the pour [rad]
        self._stand = np.zeros((n, 2))  # centre of cup and bowl above their undersides [m]

    def reset(self, mask: np.ndarray) -> None:
        """Begin new episodes in the worlds of `mask`, from whatever stage they are in."""
        self.motion.reset(mask)
        world = self.env.world
        for k in np.flatnonzero(mask):
            scenario = self.env.scenarios[k]
            assert scenario is not None, "worlds are reset before their expert"
            self._stand[k] = [get_object(name).resting_height for name in scenario.objects]
            self._pauses[k] = self.motion.pauses(int(k), STAGES)

        self._clock[mask] = 0
        self._missing[mask] = 0

        closed = world.hand_position[:, 0, self._driven[2:]].mean(axis=1) > CLOSED
        held = closed & world.hand_object_contact[:, 0, CUP]
        lifted = held & ~world.object_support_contact[:, CUP]
        stage = np.where(lifted, CARRY, np.where(held, RAISE, APPROACH))
        self.stage[mask] = stage[mask]
        self._grip[mask] = self.motion.hand[mask, 0]
        self._base[mask] = self.motion.position[mask, 0]
        self._tilt[mask] = np.where(lifted, _tilt(world.object_quaternion[:, CUP]), 0.0)[mask]

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return `ee_pose` actions (N, 12); the observation is not used, the true state is."""
        grasp, fingers = self._grasp_position()
        carry = self._carry_position()
        self._advance_stages(grasp, fingers, carry)

        pouring = self.stage == POUR
        self._tilt = np.where(pouring, np.minimum(self._tilt + POUR_SPEED, POUR_TILT), self._tilt)
        self._tilt = np.where(self.stage < CARRY, 0.0, self._tilt)

        turn = np.zeros_like(grasp)
        turn[:, 0] = -self._tilt
        quaternion = tf.quat_multiply(tf.quat_from_rotvec(turn), self._upright)
        goal = self._goal(grasp, fingers, carry)
        return self.motion.advance(goal[:, None], quaternion[:, None], self._hand_goal()[:, None])

    # --- where to go

    def _grasp_position(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the palm position that grasps the cup (N, 3) and the way of the fingers (3,)."""
        world = self.env.world
        cup = world.object_position[:, CUP]
        opening = world.object_opening[:, CUP]
        foot, rim, floor, top = opening.T
        below = cup[:, 2] - self._stand[:, CUP]
        tall = top + self._stand[:, CUP]
        height = np.maximum(LOWEST, np.minimum(0.5 * tall, tall - BEHIND_RIM))
        share = (height + FINGER_HEIGHT - self._stand[:, CUP] - floor) / (top - floor)
        radius = foot + (rim - foot) * np.clip(share, 0.0, 1.0)

        fingers = tf.quat_rotate(self._upright, np.array([1.0, 0.0, 0.0]))
        palm = cup.copy()
        palm[:, 2] = below + height
        palm[:, 1] -= radius + CLEARANCE
        return palm - (radius + THUMB)[:, None] * fingers, fingers

    def _carry_position(self) -> np.ndarray:
        """Return the palm position that brings the cup's lip over the bowl at the tilt, (N, 3)."""
        world = self.env.world
        foot, rim, _, top = world.object_opening[:, CUP].T
        sine = np.sin(self._tilt)
        cosine = np.cos(self._tilt)
        lip = top * cosine - rim * sine
        heel = -self._stand[:, CUP] * cosine - foot * sine

        bowl = world.object_position[:, BOWL]
        edge = bowl[:, 2] + world.object_opening[:, BOWL, 3]
        cup = np.stack(
            [
                bowl[:, 0],
                bowl[:, 1] - SHORT - top * sine - rim * cosine,
                edge + OVER - np.minimum(lip, heel),
            ],
            axis=1,
        )
        palm = world.end_effector_quaternion[:, 0]
        held = world.object_position[:, CUP] - world.end_effector_position[:, 0]
        held = tf.quat_rotate(tf.quat_conjugate(palm), held)

        return cup - tf.quat_rotate(self.motion.quaternion[:, 0], held)

    def _goal(self, grasp: np.ndarray, fingers: np.ndarray, carry: np.ndarray) -> np.ndarray:
        stage = self.stage[:, None]
        goal = grasp.copy()
        goal = np.where(stage == APPROACH, grasp - RETREAT * fingers, goal)
        goal = np.where(stage == CLOSE, self.motion.position[:, 0], goal)
        goal = np.where(stage == RAISE, self._base + (0.0, 0.0, RISE + ABOVE_GOAL), goal)
        return np.where(stage >= CARRY, carry, goal)

    def _hand_goal(self) -> np.ndarray:
        measured = self.env.world.hand_position[:, 0, self._driven]
        goal = np.where((self.stage <= ADVANCE)[:, None], PREOPPOSED, self._grip)
        goal = np.where((self.stage == CLOSE)[:, None], measured + LEAD, goal)
        goal[:, 0] = PREOPPOSED[0]  # the thumb stays across the palm
        return goal

    # --- what to do next

    def _advance_stages(self, grasp: np.ndarray, fingers: np.ndarray, carry: np.ndarray) -> None:
        self._clock += 1
        world = self.env.world
        stage = self.stage.copy()
        position = self.motion.position[:, 0]
        ready = self._clock > self._pauses[np.arange(len(stage)), stage]

        behind = np.linalg.norm(position - grasp + RETREAT * fingers, axis=1)
        turned = self._turned_by() < UPRIGHT
        self._enter(ADVANCE, (stage == APPROACH) & (behind < AT_PREGRASP) & turned)
        gap = np.linalg.norm(position - grasp, axis=1)
        arrived = (gap < AT_GRASP) | (self._clock > MOST_ADVANCED)
        self._enter(CLOSE, (stage == ADVANCE) & arrived & ready)

        closed = (stage == CLOSE) & (self._clock > CLOSING_STEPS + self._pauses[:, RAISE])
        reached = world.hand_position[:, 0, self._driven]
        self._grip[closed] = reached[closed] + self.style.margin
        self._base[closed] = position[closed]
        self._enter(RAISE, closed)

        risen = position[:, 2] - self._base[:, 2] > RISE
        self._enter(CARRY, (stage == RAISE) & risen)
        near = np.linalg.norm(position - carry, axis=1) < AT_BOWL
        self._enter(POUR, (stage == CARRY) & near & ready)

        touching = world.hand_object_contact[:, 0, CUP]
        self._missing = np.where((stage >= RAISE) & ~touching, self._missing + 1, 0)
        self._enter(APPROACH, self._missing > LOST_STEPS)

    def _turned_by(self) -> np.ndarray:
        """How far the palm is from upright [rad], (N,)."""
        off = tf.quat_multiply(self.motion.quaternion[:, 0], tf.quat_conjugate(self._upright))
        return np.linalg.norm(tf.rotvec_from_quat(off), axis=1)

    def _enter(self, stage: int, worlds: np.ndarray) -> None:
        self.stage[worlds] = stage
        self._clock[worlds] = 0
        self._missing[worlds] = 0


def _palm_quaternion() -> np.ndarray:
    """Palm to the left, thumb up, fingers forward and `DIP` below level, (4,)."""
    fingers = np.array([np.cos(DIP), 0.0, -np.sin(DIP)])
    normal = np.array([0.0, 1.0, 0.0])
    axes = np.stack([fingers, np.cross(normal, fingers), normal], axis=1)
    return tf.quat_from_matrix(axes)


def _tilt(quaternion: np.ndarray) -> np.ndarray:
    """How far a cup is tipped to the left [rad], (N,)."""
    axis = tf.quat_rotate(quaternion, np.array([0.0, 0.0, 1.0]))
    return np.clip(np.arctan2(axis[:, 1], axis[:, 2]), 0.0, POUR_TILT)
