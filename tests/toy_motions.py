"""Hand-made motions and a world without physics for the tests of trajectory editing."""

import dataclasses
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from stub_env import EXACT

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.editing.bridging import EditOptions, min_jerk
from dexfw_envs.editing.editor import edit
from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.segments import Subtask
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.observation import POSE_SIZE, PROPRIO_SIZE
from dexfw_envs.tasks.base import FAILURES
from dexfw_envs.world import SUNK

QUIET = EditOptions(noise="none")
CLOSED = 0.8  # hand target from which the toy hand holds on [rad]
OBJECT = np.array([0.0, 0.02, 0.05])
HOME = np.array([-0.3, 0.0, 0.25])


def pose(position, yaw=0.0):
    return np.concatenate([position, tf.quat_from_yaw(yaw)])


def object_at(x=0.0, y=0.0, z=0.0, yaw=0.0):
    """Poses (1, 7) of the object moved by x, y, z from where the motions found it."""
    return pose(OBJECT + np.array((x, y, z)), yaw)[None]


def seed_motion(steps=60, lead=40, offset=(-0.02, 0.0, 0.0)):
    """Position (T, 3), hand (T, 6) of a curved reach, a close and a lift; T = steps."""
    grasp = OBJECT + offset
    way = min_jerk(np.arange(lead) / (lead - 1))[:, None]
    arc = np.sin(np.pi * way) * [0.0, 0.04, 0.03]
    rest = steps - lead
    lift = min_jerk(np.arange(rest) / rest * 1.5 - 0.4)[:, None] * [0.0, 0.0, 0.25]
    position = np.concatenate([HOME + way * (grasp - HOME) + arc, grasp + lift])
    closing = np.clip((np.arange(steps) - lead + 1) / 6.0, 0.0, 1.0)
    return position, np.repeat(closing[:, None], 6, axis=1)


def one_arm_source(lead=30, steps=60, segments=None, **fields):
    position, hand = seed_motion(steps)
    turns = np.stack([0 * position[:, 0], 0.3 * np.arange(steps) / steps, 0 * position[:, 0]], -1)
    quaternion = tf.quat_from_rotvec(turns)
    measured = np.concatenate([position, quaternion], axis=-1)
    measured = np.concatenate([measured[:1], measured])[:, None]
    objects = np.repeat(pose(OBJECT)[None, None], steps + 1, axis=0)
    segments = segments or ((Subtask(0, steps, 0, lead=lead),),)
    arrays = (position[:, None], quaternion[:, None], hand[:, None], objects, measured)
    return Motion(*arrays, segments=segments, object_ids=("ball",), **fields)


def two_arm_source(segments, steps=30):
    """Both arms go in straight lines past one object."""
    line = np.linspace(0.0, 0.3, steps)
    position = np.zeros((steps, 2, 3))
    position[:, 0, 0], position[:, 1, 1] = line, -line
    quaternion = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (steps, 2, 4))
    measured = np.concatenate([position, quaternion], axis=-1)
    measured = np.concatenate([measured[:1], measured])
    objects = np.repeat(pose(OBJECT)[None, None], steps + 1, axis=0)
    return Motion(position, quaternion, np.zeros((steps, 2, 6)), objects, measured, segments)


def edit_at(source, objects, start=None, options=QUIET, seed=0):
    start = source.measured[0] if start is None else start
    return edit(source, objects, start, np.random.default_rng(seed), options)


# --- a toy world -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ToyScenario:
    objects: tuple[str, ...]
    position: tuple[float, float, float]
    seed: int = 0
    task: str = "Toy"


class ToyEnv:
    """Palms obey at once; a closed hand within 4 cm takes the object along; 15 cm up wins."""

    def __init__(self, num_envs, arms=1, reach=10.0):
        self.num_envs, self.arms, self.reach = num_envs, arms, reach
        self.max_episode_steps, self.autoreset_mode = 90, AutoresetMode.DISABLED
        mount = SimpleNamespace(
            nominal_position=(-0.1, 0.0, 0.2),
            nominal_quaternion=np.array([1.0, 0.0, 0.0, 0.0]),
            rotation_unit=0.8,
        )
        hand = SimpleNamespace(driven_limits=lambda: (np.zeros(6), np.ones(6)))
        self.codec = PoseCodec(SimpleNamespace(arms=arms, mounts=(mount,) * arms, hand=hand))
        self.single_action_space = gym.spaces.Box(-1, 1, (12 * arms,), np.float64)
        self.scenarios = [None] * num_envs
        self.backend = SimpleNamespace(rest=lambda mask: None, capabilities=EXACT)
        self.task = SimpleNamespace(name="Toy", stages=("reach", "lift"))
        self.palm, self.turn = np.zeros((num_envs, arms, 3)), np.zeros((num_envs, arms, 4))
        self.object = np.zeros((num_envs, 1, 3))
        self.count, self.hold = np.zeros((2, num_envs), dtype=int)

    @property
    def world(self):
        level = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (self.num_envs, 1, 4))
        return SimpleNamespace(
            object_position=self.object.copy(),
            object_quaternion=level,
            end_effector_position=self.palm.copy(),
            end_effector_quaternion=self.turn.copy(),
        )

    def reset(self, seed=None, options=None):
        mask = options["reset_mask"]
        for world, scenario in zip(np.flatnonzero(mask), options["scenarios"], strict=True):
            rng = np.random.default_rng(scenario.seed)
            self.scenarios[world] = scenario
            self.object[world, 0] = scenario.position
            self.palm[world] = HOME + rng.normal(0.0, 0.005, (self.arms, 3))
        self.turn[mask], self.count[mask], self.hold[mask] = [1.0, 0.0, 0.0, 0.0], 0, 0
        return self._observation(), {}

    def step(self, action):
        targets = self.codec.decode(action)
        before = self.palm.copy()
        self.palm, self.turn = np.minimum(targets.position, self.reach), targets.quaternion
        near = np.linalg.norm(before - self.object, axis=-1) < 0.04
        held = near & (targets.hand.mean(axis=-1) > CLOSED)
        carry = np.where(held[..., None], self.palm - before, 0.0).sum(axis=1, keepdims=True)
        self.object = self.object + carry
        self.count += 1
        high = self.object[:, 0, 2] > OBJECT[2] + 0.15
        self.hold = np.where(high, self.hold + 1, 0)
        success, timeout = self.hold >= 3, self.count >= self.max_episode_steps
        failure = np.where(timeout & ~success, FAILURES.index("timeout"), 0)
        info = {"success": success, "hold": self.hold.copy(), "failure_code": failure}
        info |= {"success_terms": {"raised": high}, "reward_terms": {"up": high * 1.0}}
        info["penetration"] = {part: np.zeros(self.num_envs) for part in SUNK}
        info |= {"measures": {}, "stage": (self.hold > 0).astype(int)}
        return self._observation(), high * 1.0, success, timeout & ~success, info

    def state_vectors(self):
        return self.palm.reshape(self.num_envs, -1).copy()

    def _observation(self):
        rest = np.zeros((self.num_envs, 6))
        level = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (self.num_envs, 4))
        flat = [a.reshape(self.num_envs, -1) for a in (self.palm, self.turn)]
        joints = np.zeros((self.num_envs, self.arms * (PROPRIO_SIZE - POSE_SIZE)))
        return {
            "proprio": np.concatenate([joints, *flat], axis=-1).astype(np.float32),
            "object": np.concatenate([self.object[:, 0], level, rest], -1).astype(np.float32),
        }


def toy_scenarios(count, spread=0.08):
    rng = np.random.default_rng(5)
    shifts = rng.uniform(-spread, spread, (count, 2))
    return [ToyScenario(("ball",), (*(OBJECT[:2] + s), OBJECT[2]), i) for i, s in enumerate(shifts)]


def seed_episode(env=None):
    """Play the hand-made motion in the toy world with the object where it belongs."""
    position, hand = seed_motion()
    env = env or ToyEnv(1)
    level = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (60, 1, 4))
    targets = SimpleNamespace(position=position[:, None], quaternion=level, hand=hand[:, None])
    actions = env.codec.encode(targets)
    steps = iter(range(1000))
    policy = SimpleNamespace(
        reset=lambda mask: None, act=lambda obs: actions[[min(next(steps), 59)]]
    )
    (episode,) = run_episodes(env, policy, [ToyScenario(("ball",), tuple(OBJECT))])
    assert episode.success
    return episode
