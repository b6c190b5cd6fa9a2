"""Closed-loop scripted expert for Lift: sees the true state, starts from any stage, recovers."""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.object_spec import ObjectSpec
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.shapes import reach
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.experts.grasp import Style
from dexfw_envs.experts.motion import PalmMotion, heading, palm_quaternion

STAGES = 3
APPROACH, PRESS, LIFT = range(STAGES)
PITCH = np.deg2rad(25.0)  # of the fingers, down
ROLL = np.deg2rad(17.0)  # palms face up this far, so that thumb and palm edge touch a wall together
THUMB_TOP = 0.045  # a top at most this far above the palm centre passes under the thumb [m]
LOWEST = 0.070  # palm centre above the table [m]
ABOVE_CENTRE = 0.015  # palm centre above the object's centre: gravity keeps it upright [m]
AHEAD = 0.010  # palm centre ahead of the object's centre: farther back it would swing [m]
GAP = 0.05  # palm to face, beside the object [m]
WIDE_GAP = 0.10  # the same on the way there [m]
OFF_AXIS = 0.05  # a palm farther than this from the line across the object keeps the wide gap [m]
# Thumb up and out of the way; fingers bent the more, the farther the rolled palm is off a wall.
FLAT_HAND = np.array([0.0, 0.0, 0.35, 0.30, 0.22, 0.15])  # [rad]
BESIDE = 0.02  # palms this near to their places beside the object press [m]
PRESS_STEPS = 14
LONGEST_PRESS = 4 * PRESS_STEPS  # then the palms try again
LIFT_HEIGHT = 0.30  # of the palms, aimed at: an object that slips a little is still high enough [m]
SLIPPED = 0.06  # an object this far below where it was between the palms is lost [m]
LOST_STEPS = 6  # steps without a hand's contact after which a lifted object counts as dropped


class LiftExpert:
    """Put the palms on both sides of the object, press, raise, hold.

    Follows the `Policy` protocol. The stage of every world is read from the world itself when an
    episode begins, so an episode may start anywhere; an object that slips is taken again.

    Args:
        env: The environment it acts in; its true state is read.
        style: Timing, tremor and pressure; its grip is not used.
        seed: Of the style's random numbers; each episode adds its scenario's seed.
    """

    def __init__(self, env: RobotEnv, style: Style | None = None, seed: int = 0) -> None:
        if env.task.name != "Lift":
            raise ValueError(f"LiftExpert cannot act in task {env.task.name!r}; it knows 'Lift'")
        n = env.num_envs
        self.env = env
        self.style = style or Style()
        self.motion = PalmMotion(env, self.style, seed)

        self.stage = np.zeros(n, dtype=int)
        self._clock = np.zeros(n, dtype=int)  # steps spent in the stage
        self._missing = np.zeros(n, dtype=int)  # steps a lifted object has been out of touch
        self._pauses = np.zeros((n, STAGES), dtype=int)
        self._base = np.zeros((n, 2, 3))  # palms when the lift began
        self._sag = np.zeros(n)  # object below the palms when the lift began [m]
        self._items: list[ObjectSpec | None] = [None for _ in range(n)]

    def reset(self, mask: np.ndarray) -> None:
        """Begin new episodes in the worlds of `mask`, from whatever stage they are in."""
        self.motion.reset(mask)
        for k in np.flatnonzero(mask):
            scenario = self.env.scenarios[k]
            assert scenario is not None, "worlds are reset before their expert"
            self._items[k] = get_object(scenario.objects[0])
            self._pauses[k] = self.motion.pauses(k, STAGES)
        self._clock[mask] = 0
        self._missing[mask] = 0

        pressed = self.env.world.hand_object_contact[:, :, 0].all(axis=1)
        self.stage[mask] = np.where(pressed, PRESS, APPROACH)[mask]

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return `ee_pose` actions (N, 24); the observation is not used, the true state is."""
        faces, outward, quaternion = self._faces()
        self._advance_stages(faces, outward)
        goal = self._goal(faces, outward)
        hand = np.broadcast_to(FLAT_HAND, self.motion.hand.shape)
        lifting = (self.stage == LIFT)[:, None, None]
        turn = np.where(lifting, self.motion.quaternion, quaternion)
        return self.motion.advance(goal, turn, hand)

    # --- where to press

    def _faces(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return palms on the faces (N, 2, 3), ways out (N, 2, 3) and orientations (N, 2, 4)."""
        world = self.env.world
        centre = world.object_position[:, 0]
        turn = world.object_quaternion[:, 0]
        n = len(centre)
        faces = np.zeros((n, 2, 3))
        outward = np.zeros((n, 2, 3))
        yaw = np.zeros(n)
        roll = np.zeros(n)

        for k, item in enumerate(self._items):
            if item is not None:
                yaw[k] = heading(item.category, turn[k])
                roll[k], faces[k], outward[k] = _faces_of(item, centre[k], turn[k], yaw[k])

        return faces, outward, palm_quaternion(yaw, np.full(n, PITCH), roll)

    # --- what to do next

    def _advance_stages(self, faces: np.ndarray, outward: np.ndarray) -> None:
        self._clock += 1
        world = self.env.world
        stage = self.stage.copy()
        ready = self._clock > self._pauses[np.arange(len(stage)), stage]

        beside = np.linalg.norm(self.motion.position - faces - GAP * outward, axis=-1) < BESIDE
        self._enter(PRESS, (stage == APPROACH) & beside.all(axis=1) & ready)

        touching = world.hand_object_contact[:, :, 0].all(axis=1)
        pressed = (stage == PRESS) & touching & ready & (self._clock > PRESS_STEPS)
        self._base[pressed] = self.motion.position[pressed]
        sag = world.end_effector_position[:, :, 2].mean(axis=1) - world.object_position[:, 0, 2]
        self._sag[pressed] = sag[pressed]
        self._enter(LIFT, pressed)

        gone = ~touching | (sag - self._sag > SLIPPED)
        self._missing = np.where((stage == LIFT) & gone, self._missing + 1, 0)
        late = (stage == PRESS) & (self._clock > LONGEST_PRESS)
        self._enter(APPROACH, (self._missing > LOST_STEPS) | late)

    def _enter(self, stage: int, worlds: np.ndarray) -> None:
        self.stage[worlds] = stage
        self._clock[worlds] = 0
        self._missing[worlds] = 0

    def _goal(self, faces: np.ndarray, outward: np.ndarray) -> np.ndarray:
        # Beside the object only where the palm is low and far enough forward; else farther out.
        away = self.motion.position - faces
        across = (away * outward).sum(axis=-1, keepdims=True) * outward
        off = np.linalg.norm(away - across, axis=-1, keepdims=True)
        goal = faces + np.where(off > OFF_AXIS, WIDE_GAP, GAP) * outward
        press = self.stage == PRESS
        goal[press] = (faces - self.style.press * outward)[press]
        lift = self.stage == LIFT
        goal[lift] = self._base[lift] + np.array([0.0, 0.0, LIFT_HEIGHT])
        return goal


def _faces_of(
    item: ObjectSpec, centre: np.ndarray, turn: np.ndarray, yaw: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Say how far the palms face up, where they touch (2, 3), and which ways lead out (2, 3)."""
    ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    across = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    outward = np.stack([-across, across])
    back = tf.quat_conjugate(turn)
    half = np.array([reach(item.parts, tf.quat_rotate(back, way)) for way in outward])
    top = reach(item.parts, tf.quat_rotate(back, np.array([0.0, 0.0, 1.0])))
    height = max(centre[2] + ABOVE_CENTRE, LOWEST)
    roll = ROLL if centre[2] + top > height + THUMB_TOP else 0.0

    if item.category == "ball":
        height = centre[2] - half[0] * np.sin(ROLL)
        half = half * np.cos(ROLL)
        roll = ROLL

    faces = centre + AHEAD * ahead + half[:, None] * outward
    faces[:, 2] = height
    return roll, faces, outward
