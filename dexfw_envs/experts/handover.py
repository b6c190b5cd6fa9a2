"""Closed-loop scripted expert for Handover: sees the true state, starts anywhere, recovers."""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.object_spec import ObjectSpec
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.shapes import reach
from dexfw_envs.control.codec import HAND_ACTIONS
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.experts.grasp import LEAD, PREOPPOSED, Style
from dexfw_envs.experts.motion import PalmMotion

# The right hand reaches, slides in, closes and brings; the left reaches, slides in and closes; the
# right opens and leaves.
STAGES = 9
REACH, ADVANCE, CLOSE, BRING, MEET, JOIN, TAKE, OPEN, LEAVE = range(STAGES)
RIGHT, LEFT = 0, 1
PITCH = np.deg2rad(18.0)  # of the fingers, down
TOE_IN = np.deg2rad(18.0)  # fingers point this far to the other side: it keeps the forearms apart
ROOT = 0.008  # the thumb's root reaches this far under the rear of an object [m]
CLEARANCE = 0.003  # palm surface to the object's side [m]
RETREAT = 0.11  # pre-grasp behind the grasp [m]
ASIDE = 0.025  # pre-grasp out to the side [m]
APART = (0.043, 0.058)  # a palm above or below the middle of the object, least and most [m]
EDGE = 0.035  # and this far from its ends, where it is long enough [m]
CLOSING_STEPS = 24
OPENING_STEPS = 10
EXCHANGE = (0.0, 0.01)  # where the object changes hands, x and y [m]
BRING_HEIGHT = 0.185  # and how far above its start [m]
KEPT_HEIGHT = 0.165  # the left hand raises what is lower than this above its start [m]
AWAY = np.array([-0.14, -0.20, 0.02])  # the right palm leaves by this [m]
BACK = AWAY * np.array([1.0, 0.2, 1.0])  # at first backwards, so that its fingers come free [m]
BACK_STEPS = 8
HOMES = np.array([(-0.08, -0.31, 0.24), (-0.08, 0.31, 0.24)])  # where idle palms wait [m]
ASIDE_REACHED = 0.02  # a palm this near to its pre-grasp goes on to the grasp [m]
GRASP_REACHED = 0.012  # a palm this near to its grasp closes [m]
MOST_ADVANCED = 60  # steps after which it closes where it is
BROUGHT = 0.02  # the right palm this near to the exchange waits for the left one [m]
NEAR = 0.03  # a right palm that touches the object this near to its grasp closes [m]
LOST_STEPS = 6  # steps without contact after which the object counts as dropped
SIDES = np.array([1.0, -1.0])  # the right palm faces left, the left palm right


class HandoverExpert:
    """Take the object's upper half with the right hand, its lower half with the left, let go.

    Follows the `Policy` protocol. The stage of every world is read from the world itself when an
    episode begins, so an episode may start anywhere; an object that is dropped is fetched again
    while it stands. One that lies on its side is not recovered (0 of 40 that were laid down): it
    would take a palm from above, a quarter turn from the nominal orientation, and an action turns a
    palm by 0.8 rad about an axis. Of 40 that slipped when the right hand had just lifted them it
    handed 21 over.

    Args:
        env: The environment it acts in; its true state is read.
        style: Timing, tremor and grip.
        seed: Of the style's random numbers; each episode adds its scenario's seed.
    """

    def __init__(self, env: RobotEnv, style: Style | None = None, seed: int = 0) -> None:
        if env.task.name != "Handover":
            raise ValueError(
                f"HandoverExpert cannot act in task {env.task.name!r}; it knows 'Handover'"
            )

        n = env.num_envs
        self.env = env
        self.style = style or Style()
        self.motion = PalmMotion(env, self.style, seed)

        self.stage = np.zeros(n, dtype=int)
        self._clock = np.zeros(n, dtype=int)  # steps spent in the stage
        self._missing = np.zeros(n, dtype=int)  # steps a carried object has been out of touch
        self._pauses = np.zeros((n, STAGES), dtype=int)
        self._base = np.zeros((n, 2, 3))  # palms when the stage began
        self._way = np.zeros((n, 3))  # the right palm's way to the exchange [m]
        self._grip = np.zeros((n, 2, HAND_ACTIONS))
        self._items: list[ObjectSpec | None] = [None for _ in range(n)]
        self._driven = list(env.task.needs.robot.hand.driven)

    def reset(self, mask: np.ndarray) -> None:
        """Begin new episodes in the worlds of `mask`, from whatever stage they are in."""
        self.motion.reset(mask)
        for k in np.flatnonzero(mask):
            scenario = self.env.scenarios[k]
            assert scenario is not None, "worlds are reset before their expert"
            self._items[k] = get_object(scenario.objects[0])
            self._pauses[k] = self.motion.pauses(k, STAGES)

        self._grip[mask] = self.motion.hand[mask]
        stage = self._stages_seen()
        for value in (REACH, CLOSE, BRING, TAKE, LEAVE):
            self._enter(value, mask & (stage == value))

    def _stages_seen(self) -> np.ndarray:
        """Read from the world in which stage an episode begins, (N,)."""
        touch = self.env.world.hand_object_contact[:, :, 0]
        free = ~self.env.world.object_support_contact[:, 0]
        in_hand = np.where(touch[:, LEFT], np.where(touch[:, RIGHT], TAKE, LEAVE), BRING)

        gap = np.linalg.norm(self.motion.position - self._grasps()[0], axis=-1)
        at_it = touch[:, RIGHT] & (gap[:, RIGHT] < NEAR)
        on_table = np.where(at_it, CLOSE, REACH)
        return np.where(free & touch.any(axis=1), in_hand, on_table)

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return `ee_pose` actions (N, 24); the observation is not used, the true state is."""
        grasp, aside, quaternion = self._grasps()
        self._advance_stages(grasp, aside)
        position = self._goals(grasp, aside)
        right_moves = self.stage <= ADVANCE
        left_moves = (self.stage >= BRING) & (self.stage <= JOIN)
        moving = np.stack([right_moves, left_moves], axis=1)
        turn = np.where(moving[..., None], quaternion, self.motion.quaternion)
        return self.motion.advance(position, turn, self._hand_goals())

    # --- where to grasp

    def _grasps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return palms at the object and before it, (N, 2, 3) each, and their turns (N, 2, 4)."""
        world = self.env.world
        n = world.worlds
        grasp = np.zeros((n, 2, 3))
        aside = np.zeros((n, 2, 3))
        quaternion = np.zeros((n, 2, 4))
        quaternion[..., 0] = 1.0
        for k, item in enumerate(self._items):
            if item is not None:
                centre = world.object_position[k, 0]
                turn = world.object_quaternion[k, 0]
                grasp[k], aside[k], quaternion[k] = _grips(item, centre, turn)
        return grasp, aside, quaternion

    # --- what to do next

    def _advance_stages(self, grasp: np.ndarray, aside: np.ndarray) -> None:
        self._clock += 1
        stage = self.stage.copy()
        clock = self._clock
        here = self.motion.position
        ready = clock > self._pauses[np.arange(len(stage)), stage]
        off = np.linalg.norm(here - aside, axis=-1)
        gap = np.linalg.norm(here - grasp, axis=-1)

        for arm, reach_stage in ((RIGHT, REACH), (LEFT, MEET)):
            self._enter(reach_stage + 1, (stage == reach_stage) & (off[:, arm] < ASIDE_REACHED))
            slid = (gap[:, arm] < GRASP_REACHED) | (clock > MOST_ADVANCED)
            self._enter(reach_stage + 2, (stage == reach_stage + 1) & slid & ready)

        closed = ready & (clock > CLOSING_STEPS)
        for arm, closing in ((RIGHT, CLOSE), (LEFT, TAKE)):
            done = (stage == closing) & closed
            reached = self.env.world.hand_position[:, arm, self._driven]
            self._grip[done, arm] = reached[done] + self.style.margin
            self._enter(closing + 1, done)

        left_to_go = here[:, RIGHT] - self._base[:, RIGHT] - self._way
        brought = np.linalg.norm(left_to_go, axis=-1) < BROUGHT
        self._enter(MEET, (stage == BRING) & brought)
        self._enter(LEAVE, (stage == OPEN) & (clock > OPENING_STEPS))
        self._notice_losses(stage)

    def _notice_losses(self, stage: np.ndarray) -> None:
        touch = self.env.world.hand_object_contact[:, :, 0]
        holder = np.where(stage < OPEN, touch[:, RIGHT], touch[:, LEFT])
        self._missing = np.where((stage >= BRING) & ~holder, self._missing + 1, 0)
        self._enter(REACH, self._missing > LOST_STEPS)
        empty = (self.stage == OPEN) & (stage == TAKE) & ~touch[:, LEFT]
        self._enter(MEET, empty)

    def _enter(self, stage: int, worlds: np.ndarray) -> None:
        self.stage[worlds] = stage
        self._clock[worlds] = 0
        self._missing[worlds] = 0
        self._base[worlds] = self.motion.position[worlds]
        now = self.env.world.object_position[:, 0]
        start = self.env.memory.start_position[:, 0]

        if stage == LEAVE:  # what was fetched again may have slid in the hands
            sunk = KEPT_HEIGHT - (now - start)[worlds, 2]
            self._base[worlds, LEFT, 2] += np.maximum(sunk, 0.0)

        if stage == BRING:
            height = start[:, 2] + BRING_HEIGHT
            x = np.full_like(height, EXCHANGE[0])
            y = np.full_like(height, EXCHANGE[1])
            there = np.stack([x, y, height], axis=1)
            self._way[worlds] = (there - now)[worlds]

    def _goals(self, grasp: np.ndarray, aside: np.ndarray) -> np.ndarray:
        stage = self.stage
        goal = self._base.copy()
        goal[stage == REACH, RIGHT] = aside[stage == REACH, RIGHT]
        goal[stage == ADVANCE, RIGHT] = grasp[stage == ADVANCE, RIGHT]
        bring = stage == BRING
        goal[bring, RIGHT] = (self._base[:, RIGHT] + self._way)[bring]
        goal[stage <= CLOSE, LEFT] = HOMES[LEFT]

        meet = bring | (stage == MEET)
        goal[meet, LEFT] = aside[meet, LEFT]
        goal[stage == JOIN, LEFT] = grasp[stage == JOIN, LEFT]

        leave = stage == LEAVE
        way = np.where((self._clock < BACK_STEPS)[:, None], BACK, AWAY)
        goal[leave, RIGHT] = (self._base[:, RIGHT] + way)[leave]
        return goal

    def _hand_goals(self) -> np.ndarray:
        stage = self.stage[:, None]
        measured = self.env.world.hand_position[:, :, self._driven]
        closing = np.concatenate([stage == CLOSE, stage == TAKE], axis=1)
        right_holds = (stage >= BRING) & (stage <= TAKE)
        left_holds = (stage == OPEN) | (stage == LEAVE)
        holding = np.concatenate([right_holds, left_holds], axis=1)

        goal = np.where(holding[..., None], self._grip, PREOPPOSED)
        goal = np.where(closing[..., None], measured + LEAD, goal)
        goal[..., 0] = PREOPPOSED[0]  # the thumbs stay across the palms
        return goal


def _grips(
    item: ObjectSpec, centre: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where both palms hold the object (2, 3), come from (2, 3), and turn (2, 4)."""
    axes = tf.matrix_from_quat(turn)
    up = axes[:, 2] if axes[2, 2] >= 0 else -axes[:, 2]
    ahead = _ahead(item, axes, up)
    across = np.cross(up, ahead)  # to the left
    sideways = SIDES[:, None] * across  # where each palm faces, (2, 3)
    along = np.cos(TOE_IN) * ahead + np.sin(TOE_IN) * sideways
    normal = np.cos(TOE_IN) * sideways - np.sin(TOE_IN) * ahead

    body = item.parts[0]
    half = body.size[2] if body.kind == "box" else body.size[1]
    apart = np.clip(half - EDGE, *APART)
    middle = centre + body.position[2] * axes[:, 2]
    depth = _reaches(item, turn, along)
    wide = _reaches(item, turn, -normal)

    fingers = np.cos(PITCH) * along - np.sin(PITCH) * up
    grasp = middle + apart * SIDES[:, None] * up - (wide + CLEARANCE) * normal
    grasp = grasp - (depth - ROOT) * fingers
    aside = grasp - RETREAT * along - ASIDE * normal

    frames = np.stack([fingers, np.cross(normal, fingers), normal], axis=-1)
    return grasp, aside, tf.quat_from_matrix(frames)


def _reaches(item: ObjectSpec, turn: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """Return how far the turned object reaches from its centre along each way [m], (2, 1)."""
    back = tf.quat_conjugate(turn)
    reaches = [reach(item.parts, tf.quat_rotate(back, way)) for way in ways]
    return np.array(reaches)[:, None]


def _ahead(item: ObjectSpec, axes: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Direction across the upright object nearest to straight ahead; along a face of a box."""
    if item.category == "box":
        ways = np.concatenate([axes[:, :2], -axes[:, :2]], axis=1).T
        return ways[np.argmax(ways[:, 0])]
    ahead = np.array([1.0, 0.0, 0.0]) - up[0] * up
    return ahead / np.linalg.norm(ahead)
