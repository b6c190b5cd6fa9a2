"""A tiny NumPy stand-in of `DexVectorEnv` (an `EpisodeEnv`) for tests that need no physics.

A point chases the action; the episode is won once it stays near the goal (the object's x, y) for
`HOLD` steps, lost as "dropped" when it leaves the table, and ends as "timeout" otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import gymnasium as gym
import numpy as np

from dexfw_envs import checks
from dexfw_envs.backends.base import Capabilities
from dexfw_envs.tasks.base import FAILURES
from dexfw_envs.world import SUNK

HOLD = 3
EXACT = Capabilities(exact_restore=True, true_objects=True, parallel_worlds=True, real_time=False)


@dataclass(frozen=True)
class StubScenario:
    """The fields of `dexfw_envs.scenario.Scenario` that the evaluator reads."""

    objects: tuple[str, ...] = ("ball",)
    surroundings: str = "plain"
    pose: int = 0
    seed: int = 0
    task: str = "Grasp"

    def to_json(self) -> str:
        return f'{{"objects": ["{self.objects[0]}"], "seed": {self.seed}}}'


def make_scenarios(count: int, objects: tuple[str, ...] = ("ball", "can", "egg")):
    """Return `count` different scenarios going round the objects."""
    return [StubScenario((objects[i % len(objects)],), "plain", i % 5, i) for i in range(count)]


class StubVectorEnv:
    """Batch of point worlds; every number follows from the scenario's seed and the actions."""

    def __init__(
        self,
        num_envs=4,
        autoreset_mode="disabled",
        max_episode_steps=30,
        render_mode=None,
    ):
        self.num_envs = num_envs
        self.autoreset_mode = checks.autoreset_mode(autoreset_mode)
        self.max_episode_steps = max_episode_steps
        self.spec = SimpleNamespace(id="DexFW/Stub-v0", version=0)
        self.single_action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.render_mode, self.closed = render_mode, False
        self.metadata = {"render_fps": 20, "autoreset_mode": self.autoreset_mode}
        self.point = np.zeros((num_envs, 2))
        self.goal = np.zeros((num_envs, 2))
        self.time = np.zeros(num_envs, dtype=int)
        self.hold = np.zeros(num_envs, dtype=int)
        self.scenarios = np.full(num_envs, None, dtype=object)
        self.started = np.zeros(num_envs, dtype=bool)
        self.resets: list[StubScenario] = []
        self.resting = np.zeros(num_envs, dtype=bool)
        self.backend = SimpleNamespace(rest=self._rest, capabilities=EXACT)
        self.task = SimpleNamespace(stages=("go", "hold"))
        self.steps = 0

    def _rest(self, mask):
        self.resting |= mask

    def reset(self, seed=None, options=None):
        mask = options["reset_mask"]
        self.resting[mask] = False
        assert len(options["scenarios"]) == mask.sum()
        for world, scenario in zip(np.flatnonzero(mask), options["scenarios"], strict=True):
            generator = np.random.default_rng(scenario.seed)
            self.point[world] = generator.uniform(-0.5, 0.5, 2)
            self.goal[world] = generator.uniform(-0.5, 0.5, 2)
            self.scenarios[world] = scenario
            self.resets.append(scenario)
        self.time[mask] = self.hold[mask] = 0
        self.started |= mask
        return self._observation(), {}

    def step(self, action):
        assert self.started.all()
        assert action.shape == (self.num_envs, 2)
        assert not np.isnan(action).any()
        assert action.dtype == np.float32
        self.steps += 1
        self.time += 1
        self.point[~self.resting] += 0.1 * action[~self.resting]
        distance = np.linalg.norm(self.point - self.goal, axis=1)
        near = distance < 0.1
        self.hold = np.where(near, self.hold + 1, 0)
        success, fell = self.hold >= HOLD, np.abs(self.point).max(axis=1) > 1.0
        timeout = self.time >= self.max_episode_steps
        reasons = [FAILURES.index(reason) for reason in ("", "dropped", "timeout")]
        failure = np.select([success, fell, timeout], reasons, 0)
        info = {
            "success": success,
            "success_terms": {"raised": near, "held": success},
            "reward_terms": {"reach": -distance, "hold": near * 1.0},
            "measures": {"distance": distance},
            "stage": (self.hold > 0).astype(int),
            "hold": self.hold.copy(),
            "failure_code": failure,
            "penetration": {part: np.zeros(self.num_envs) for part in SUNK},
            "scenario": self.scenarios.copy(),
            "elapsed": self.time.copy(),
        }
        return self._observation(), near - distance, success | fell, timeout & ~success, info

    def state_vectors(self):
        return np.concatenate([self.point, self.goal, self.time[:, None]], axis=1)

    def draw(self, worlds):
        return np.stack([np.full((32, 48, 3), self.time[w] * 8, np.uint8) for w in worlds])

    def _observation(self):
        return {
            "proprio": self.point.astype(np.float32),
            "object": (self.goal - self.point).astype(np.float32),
        }

    @property
    def unwrapped(self):
        return self

    def close(self):
        self.closed = True


class GoPolicy:
    """Goes to the goal; gives up (runs off the table) in worlds whose goal has y above `limit`."""

    def __init__(self, limit: float = 10.0):
        self.limit = limit
        self.resets: list[np.ndarray] = []
        self.count: np.ndarray | None = None

    def reset(self, mask):
        self.resets.append(mask.copy())
        self.count = np.zeros(len(mask), int) if self.count is None else self.count
        self.count[mask] = 0

    def act(self, observation):
        goal = observation["proprio"] + observation["object"]
        action = np.where(goal[:, 1:] > self.limit, 1.0, 4 * observation["object"])
        self.count += 1
        return action + 0.1 * (self.count[:, None] % 2)  # depends on the policy's own memory
