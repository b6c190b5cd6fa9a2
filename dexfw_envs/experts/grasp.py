"""Closed-loop scripted expert for Grasp: sees the true state, starts from any stage, recovers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.objects import ObjectSpec, get_object
from dexfw_envs.control.codec import CONTROL_PERIOD, HAND_ACTIONS, Targets
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.observation import ARM_JOINTS

APPROACH, ADVANCE, CLOSE, LIFT = range(4)
LOW = 0.033  # an object whose centre is lower than this is pinched against the thumb's root [m]
FINGER_REACH = 0.135  # palm centre to straight fingertip [m]
THUMB_ACROSS = 1.25  # of the thumb's first joint [rad]
PREOPPOSED = np.array([THUMB_ACROSS, 0.0, 0.0, 0.0, 0.0, 0.0])  # thumb across, fingers straight
LEAD = 0.35  # while closing, the command runs this far ahead of the joints [rad]
CLOSING_STEPS = 24
LIFT_HEIGHT = 0.32  # [m]
LOST_STEPS = 6  # steps without contact after which a lifted object counts as dropped
FREQUENCY = 4.5  # of the second-order motion towards a goal [rad/s]
SPEED = 0.28  # of the palm [m/s]
TURNING = 0.12  # share of the remaining turn made in a step
HAND_STEP = 0.09  # most that a finger command moves in a step [rad]
WANDER_KEPT = 0.95  # of the palm's wander, from step to step
WANDER_KICK = 0.3  # how much of a step's random kick is added to it

AT_PREGRASP = 0.02  # a palm this near to the pre-grasp goes on to the grasp [m]
AT_GRASP = 0.012  # a palm this near to the grasp closes [m]
MOST_FOLLOWED = 60  # steps for which an object that rolls ahead is followed
LEAST_FOLLOWED = 10  # steps before a touch alone closes the hand
CLOSED = 0.4  # mean of the fingers' joints from which a hand counts as closed [rad]
HOLDING = 0.09  # a closed hand that touches an object this near to its palm holds it [m]


@dataclass(frozen=True)
class Approach:
    """How the palm comes to an object on the table, and when the hand closes.

    Attributes:
        ahead: Object centre ahead of the palm centre, for low and other objects [m].
        clearance: Palm surface above the object, likewise; negative presses on it [m].
        retreat: Pre-grasp behind the grasp, along the ground [m].
        raised: Pre-grasp above the grasp [m].
        tilts: Flattest and steepest palm over the table [rad].
        thumb: How far the thumb is across the palm [rad].
        near: A hand that touches the object closes when its palm is this close to the grasp [m];
            0: only when it is there.
    """

    ahead: tuple[float, float]
    clearance: tuple[float, float]
    retreat: float
    raised: float
    tilts: tuple[float, float]
    thumb: float
    near: float


# Slides over the table until the object lies against the thumb. On the way it shoves the object on
# by 10 cm (median), and round ones roll: a policy that imitates it has to learn that, too.
SLIDE = Approach(
    ahead=(-0.010, 0.020),
    clearance=(-0.012, 0.003),
    retreat=0.11,
    raised=0.03,
    tilts=(math.radians(10.0), math.radians(25.0)),
    thumb=THUMB_ACROSS,
    near=0.0,
)
# Comes from above, the object between fingers and thumb, and closes when it touches it: 2 cm.
COVER = Approach(
    ahead=(0.041, 0.047),
    clearance=(-0.005, 0.003),
    retreat=0.133,
    raised=0.048,
    tilts=(math.radians(13.5), math.radians(24.0)),
    thumb=1.17,
    near=0.038,
)


@dataclass(frozen=True)
class Style:
    """How a demonstration looks: timing and unsteadiness as a person's, and the grip.

    Attributes:
        margin: Closing command past the joint angles reached on the object [rad].
        timing: Half-width of the uniform spread of every episode's tempo, as a fraction.
        tremor: Standard deviation of the slow wander of the palm [m].
        pause: Longest pause before the hand closes and before it lifts, in steps.
        press: How far into an object two palms that press it are commanded [m].
        approach: How a palm comes to what it grasps from the table (Grasp).
    """

    margin: float = 0.15
    timing: float = 0.15
    tremor: float = 0.001
    pause: int = 6
    press: float = 0.025
    approach: Approach = SLIDE


class GraspExpert:
    """Reach behind the object, come over it, close until the fingers stop, lift, hold.

    Follows the `Policy` protocol. The stage of every world is read from the world itself when an
    episode begins, so an episode may start anywhere; an object lost on the way is fetched again.

    Args:
        env: The environment it acts in; its true state is read.
        style: Timing, tremor and grip.
        seed: Of the style's random numbers; each episode adds its scenario's seed.
    """

    def __init__(self, env: RobotEnv, style: Style | None = None, seed: int = 0) -> None:
        if env.task.name != "Grasp":
            raise ValueError(f"GraspExpert cannot act in task {env.task.name!r}; it knows 'Grasp'")
        self.env = env
        self.style = style or Style()
        self.seed = seed
        self._driven = list(env.task.needs.robot.hand.driven)

        n = env.num_envs
        self.stage = np.zeros(n, dtype=int)
        self._clock = np.zeros(n, dtype=int)  # steps spent in the stage
        self._missing = np.zeros(n, dtype=int)  # steps a lifted object has been out of touch
        self._pauses = np.zeros((n, 4), dtype=int)
        self._items: list[ObjectSpec | None] = [None for _ in range(n)]

        self._tempo = np.ones(n)
        self._position = np.zeros((n, 3))
        self._velocity = np.zeros((n, 3))
        self._quaternion = np.zeros((n, 4))
        self._hand = np.zeros((n, HAND_ACTIONS))
        self._grip = np.zeros((n, HAND_ACTIONS))
        self._base = np.zeros((n, 3))  # palm position from which the object is lifted
        self._wander = np.zeros((n, 3))
        self._generators = [np.random.default_rng(seed) for _ in range(n)]

    def reset(self, mask: np.ndarray) -> None:
        """Begin new episodes in the worlds of `mask`, from whatever stage they are in."""
        world = self.env.world
        command = self.env.controller
        for k in np.flatnonzero(mask):
            scenario = self.env.scenarios[k]
            assert scenario is not None, "worlds are reset before their expert"
            rng = np.random.default_rng([self.seed, scenario.seed])
            self._generators[k] = rng
            self._items[k] = get_object(scenario.objects[0])
            self._tempo[k] = 1.0 + rng.uniform(-self.style.timing, self.style.timing)
            self._pauses[k] = rng.integers(0, self.style.pause + 1, 4)

        self._position[mask] = command.position[mask, 0]
        self._quaternion[mask] = command.quaternion[mask, 0]
        self._hand[mask] = command.joints[mask, 0, ARM_JOINTS:]
        self._velocity[mask] = 0.0
        self._wander[mask] = 0.0
        self._clock[mask] = 0
        self._missing[mask] = 0

        near = np.linalg.norm(self._palm_to_object(), axis=1) < HOLDING
        closed = world.hand_position[:, 0, self._driven[2:]].mean(axis=1) > CLOSED
        holding = near & closed & world.hand_object_contact[:, 0, 0]
        self.stage[mask] = np.where(holding, LIFT, APPROACH)[mask]
        self._grip[mask] = self._hand[mask]
        self._base[mask] = self._position[mask]

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return `ee_pose` actions (N, 12); the observation is not used, the true state is."""
        grasp, quaternion = self._grasp_pose()
        self._advance_stages(grasp)
        self._move(self._goal(grasp), quaternion)
        self._move_hand()
        targets = Targets(
            position=(self._position + self._wander)[:, None],
            quaternion=self._quaternion[:, None],
            hand=self._hand[:, None],
        )
        return np.clip(self.env.codec.encode(targets), -1.0, 1.0)

    # --- where to grasp

    def _palm_to_object(self) -> np.ndarray:
        world = self.env.world
        return world.object_position[:, 0] - world.end_effector_position[:, 0]

    def _grasp_pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the palm pose that grasps the object where it is now: (N, 3), (N, 4)."""
        world = self.env.world
        approach = self.style.approach
        centre = world.object_position[:, 0]
        turn = world.object_quaternion[:, 0]
        half = np.array([item.resting_height if item else 0.0 for item in self._items])
        yaw = np.zeros(world.worlds)
        for k, item in enumerate(self._items):
            if item is not None:
                yaw[k] = _grasp_yaw(item, turn[k])

        # Flatter over low objects, so that straight fingers clear the table on the way in.
        room = np.clip((2 * half - 0.001) / FINGER_REACH, 0.0, 1.0)
        tilt = np.clip(np.arcsin(room), *approach.tilts)
        flat = np.cos(tilt)
        fingers = np.stack([flat * np.cos(yaw), flat * np.sin(yaw), -np.sin(tilt)], axis=1)
        side = np.stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)], axis=1)
        normal = np.cross(fingers, -side)  # out of the palm: down
        axes = np.stack([fingers, np.cross(normal, fingers), normal], axis=2)

        ahead = np.where(half < LOW, *approach.ahead)[:, None]
        clearance = np.where(half < LOW, *approach.clearance)
        position = centre - ahead * fingers - (half + clearance)[:, None] * normal
        return position, tf.quat_from_matrix(axes)

    # --- what to do next

    def _advance_stages(self, grasp: np.ndarray) -> None:
        self._clock += 1
        world = self.env.world
        stage = self.stage.copy()
        off = np.linalg.norm(self._position - self._pregrasp(grasp), axis=1)
        gap = np.linalg.norm(self._position - grasp, axis=1)
        ready = self._clock > self._pauses[np.arange(len(stage)), stage]

        # An object that rolls ahead is followed for a while, then grasped where it is.
        touching = world.hand_object_contact[:, 0, 0]
        close_by = touching & (gap < self.style.approach.near)
        arrived = (gap < AT_GRASP) | (self._clock > MOST_FOLLOWED)
        arrived |= close_by & (self._clock > LEAST_FOLLOWED)
        self._enter(ADVANCE, (stage == APPROACH) & (off < AT_PREGRASP))
        self._enter(CLOSE, (stage == ADVANCE) & arrived & ready)

        closed = (stage == CLOSE) & (self._clock > CLOSING_STEPS + self._pauses[:, LIFT])
        reached = world.hand_position[:, 0, self._driven]
        self._grip[closed] = reached[closed] + self.style.margin
        self._base[closed] = self._position[closed]
        self._enter(LIFT, closed)

        self._missing = np.where((stage == LIFT) & ~touching, self._missing + 1, 0)
        self._enter(APPROACH, self._missing > LOST_STEPS)

    def _enter(self, stage: int, worlds: np.ndarray) -> None:
        self.stage[worlds] = stage
        self._clock[worlds] = 0
        self._missing[worlds] = 0

    def _pregrasp(self, grasp: np.ndarray) -> np.ndarray:
        back = tf.quat_rotate(self._quaternion, np.array([1.0, 0.0, 0.0]))
        back[:, 2] = 0.0
        approach = self.style.approach
        return grasp - approach.retreat * back + np.array([0.0, 0.0, approach.raised])

    def _goal(self, grasp: np.ndarray) -> np.ndarray:
        goal = np.where((self.stage == APPROACH)[:, None], self._pregrasp(grasp), grasp)
        frozen = self.stage == CLOSE
        goal[frozen] = self._position[frozen]
        lift = self.stage == LIFT
        goal[lift] = self._base[lift] + np.array([0.0, 0.0, LIFT_HEIGHT])
        return goal

    # --- how to move there

    def _move(self, goal: np.ndarray, quaternion: np.ndarray) -> None:
        """Advance the palm command as a critically damped mass pulled to the goal."""
        rate = (FREQUENCY * self._tempo)[:, None]
        pull = rate**2 * (goal - self._position) - 2 * rate * self._velocity
        self._velocity += CONTROL_PERIOD * pull
        speed = np.linalg.norm(self._velocity, axis=1, keepdims=True)
        most = SPEED * self._tempo[:, None]
        self._velocity *= np.minimum(1.0, most / np.maximum(speed, 1e-9))
        self._position += CONTROL_PERIOD * self._velocity

        turning = (self.stage <= ADVANCE)[:, None]
        turned = tf.quat_slerp(self._quaternion, quaternion, TURNING * self._tempo)
        self._quaternion = np.where(turning, turned, self._quaternion)

        for k, rng in enumerate(self._generators):
            kick = rng.normal(0.0, self.style.tremor, 3)
            self._wander[k] = WANDER_KEPT * self._wander[k] + WANDER_KICK * kick

    def _move_hand(self) -> None:
        measured = self.env.world.hand_position[:, 0, self._driven]
        goal = np.where((self.stage <= ADVANCE)[:, None], PREOPPOSED, self._grip)
        goal = np.where((self.stage == CLOSE)[:, None], measured + LEAD, goal)
        goal[:, 0] = self.style.approach.thumb  # stays across the palm
        lower, upper = self.env.task.needs.robot.hand.driven_limits()
        step = np.clip(goal - self._hand, -HAND_STEP, HAND_STEP) * self._tempo[:, None]
        self._hand = np.clip(self._hand + step, lower, upper)


def _grasp_yaw(item: ObjectSpec, quaternion: np.ndarray) -> float:
    """Yaw of the palm that suits the object's heading [rad]; 0 for what is round from above."""
    if item.resting_quaternion != (1.0, 0.0, 0.0, 0.0):  # long axis z lies along y at yaw 0
        axis = tf.quat_rotate(quaternion, np.array([0.0, 0.0, 1.0]))
        return _folded(np.arctan2(-axis[0], axis[1]), np.pi)
    if item.category == "box":
        axis = tf.quat_rotate(quaternion, np.array([1.0, 0.0, 0.0]))
        return _folded(np.arctan2(axis[1], axis[0]), np.pi / 2)
    return 0.0


def _folded(angle: float, period: float) -> float:
    return float((angle + period / 2) % period - period / 2)
