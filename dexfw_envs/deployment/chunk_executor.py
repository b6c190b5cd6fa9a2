"""Chunks of actions executed while the next ones are being worked out.

A policy plans H actions at once. Asynchronously, the executor asks for the next chunk when P
actions of the current one are left, hands those P to the policy as the prefix of the new chunk,
goes on executing them, and swaps after the last one; a result that is late by then holds the last
command and is counted. Synchronously it uses up the chunk, asks, and holds the last command
until the result is there. In both, H - P actions pass from one question to the next.

Working out takes time: on a real-time backend that of the wall clock, in a worker thread; in
simulation a number of control steps that is fixed or drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from dexfw_envs import checks
from dexfw_envs.control.codec import Targets
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.observation import ARM_JOINTS

MODES = ("async", "sync")
# A policy that plans: takes observations of k worlds, their prefixes (k, P, action), and how many
# of these actions are known already, (k,); returns chunks (k, H, action) that begin with them.
Plan = Callable[[Observation, np.ndarray, np.ndarray], np.ndarray]


class Inference(Protocol):
    """Works out chunks for worlds; `chunks` (N, H, action) are valid where `ready` says so."""

    chunks: np.ndarray

    def submit(
        self, worlds: np.ndarray, seen: Observation, prefix: np.ndarray, known: np.ndarray
    ) -> None:
        """Start to plan for worlds (k,), whose rows alone are handed over."""

    def ready(self) -> np.ndarray:
        """Say for which worlds a result is there since their last `submit`, bool (N,)."""

    def cancel(self, mask: np.ndarray) -> None:
        """Forget what is under way for worlds."""

    def tick(self) -> None:
        """A control step has passed."""

    def close(self) -> None:
        """Release what it holds."""


class InjectedLatency:
    """Inference in simulation: it takes a number of control steps, whatever the computer does.

    Args:
        plan: The policy.
        shape: N, H and the length of an action.
        latency: Least and most control steps, drawn evenly for every chunk.
        seed: Of the draws.

    Raises:
        ValueError: The latency is no range of whole numbers from 0 on.
    """

    def __init__(
        self, plan: Plan, shape: tuple[int, int, int], latency: Sequence[int], seed: int = 0
    ) -> None:
        self.latency = check_latency(latency)
        self.plan = plan
        self.chunks = np.zeros(shape)
        self._rng = np.random.default_rng(seed)
        self._left = np.zeros(shape[0], dtype=int)  # steps until the result counts as there
        self._asked = np.zeros(shape[0], dtype=bool)

    def submit(
        self, worlds: np.ndarray, seen: Observation, prefix: np.ndarray, known: np.ndarray
    ) -> None:
        """Plan at once; the result counts as there when the latency has passed."""
        self.chunks[worlds] = self.plan(seen, prefix, known)
        low, high = self.latency
        self._left[worlds] = self._rng.integers(low, high + 1, len(worlds))
        self._asked[worlds] = True

    def ready(self) -> np.ndarray:
        """Say where the latency has passed, bool (N,)."""
        return self._asked & (self._left <= 0)

    def cancel(self, mask: np.ndarray) -> None:
        """Forget what is under way for worlds."""
        self._asked[mask] = False

    def tick(self) -> None:
        """A control step has passed."""
        self._left -= 1

    def close(self) -> None:
        """Nothing to release."""


class WorkerThread:
    """Inference against the wall clock: one thread plans while the caller goes on stepping.

    Args:
        plan: The policy; called in the thread, one call at a time.
        shape: N, H and the length of an action.
    """

    def __init__(self, plan: Plan, shape: tuple[int, int, int]) -> None:
        self.plan = plan
        self.chunks = np.zeros(shape)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._jobs: list[tuple[np.ndarray, np.ndarray, Future[np.ndarray]]] = []
        self._ticket = np.zeros(shape[0], dtype=int)  # of the last question; older results lapse
        self._ready = np.zeros(shape[0], dtype=bool)

    def submit(
        self, worlds: np.ndarray, seen: Observation, prefix: np.ndarray, known: np.ndarray
    ) -> None:
        """Hand the question to the thread."""
        self._ticket[worlds] += 1
        self._ready[worlds] = False
        job = self._pool.submit(self.plan, seen, prefix, known)
        self._jobs.append((worlds, self._ticket[worlds].copy(), job))

    def ready(self) -> np.ndarray:
        """Say where the thread is done, bool (N,).

        Raises:
            Exception: What the policy raised in the thread.
        """
        waiting = []
        for worlds, tickets, job in self._jobs:
            if not job.done():
                waiting.append((worlds, tickets, job))
                continue
            current = self._ticket[worlds] == tickets
            self.chunks[worlds[current]] = job.result()[current]
            self._ready[worlds[current]] = True
        self._jobs = waiting
        return self._ready.copy()

    def cancel(self, mask: np.ndarray) -> None:
        """Let what is under way for worlds lapse."""
        self._ticket[mask] += 1
        self._ready[mask] = False

    def tick(self) -> None:
        """Time passes by itself."""

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class ChunkExecutor:
    """Executes chunks in N worlds, each with its own queue; follows the `Policy` protocol.

    Args:
        env: Where it acts; tells the commands in force, which are held until a first chunk.
        inference: Works out chunks; its own `chunks` say H.
        prefix: P, actions still to be executed when the next chunk is asked for.
        mode: "async" or "sync".
        look: Completes the observation of the worlds (k,) that plan, such as by a picture.

    Attributes:
        planned: Chunks executed so far; worlds that stand idle at the end are counted too.
        late: Steps for which the last command was held since a result was late, likewise.

    Raises:
        ValueError: An unknown mode, or a prefix that leaves nothing of a chunk to execute.
    """

    def __init__(
        self,
        env: RobotEnv,
        inference: Inference,
        prefix: int,
        mode: str = "async",
        look: Callable[[Observation, np.ndarray], Observation] | None = None,
    ) -> None:
        checks.choice("mode", mode, MODES)
        worlds, horizon, _ = inference.chunks.shape
        if not 0 <= prefix < horizon / 2:
            raise ValueError(f"a prefix must be shorter than half a chunk of {horizon}: {prefix}")
        self.env = env
        self.inference = inference
        self.mode = mode
        self.look = look
        self.prefix = prefix
        self.horizon = horizon
        self.planned = 0
        self.late = 0
        self._queue = np.zeros(inference.chunks.shape)  # actions to come
        self._left = np.zeros(worlds, dtype=int)  # how many of them
        self._waiting = np.zeros(worlds, dtype=bool)  # for a result
        self._first = np.ones(worlds, dtype=bool)  # no chunk yet
        self._last = np.zeros(inference.chunks[:, 0].shape)

    def reset(self, mask: np.ndarray) -> None:
        """Throw away what was planned in worlds; their next plan is from what is seen then."""
        self.inference.cancel(mask)
        self._left[mask] = 0
        self._waiting[mask] = False
        self._first[mask] = True
        self._last[mask] = commands_in_force(self.env)[mask]

    def act(self, observation: Observation, active: np.ndarray | None = None) -> np.ndarray:
        """Return the next actions (N, action); worlds that are not `active` are left alone."""
        active = checks.mask(active, len(self._left))
        self._ask(observation, active)
        done = active & self._waiting & (self._left == 0)
        if done.any():
            done &= self.inference.ready()
            self._swap(done)

        moving = active & (self._left > 0)
        self._last[moving] = self._queue[moving, 0]
        self._queue[moving, :-1] = self._queue[moving, 1:]
        self._left[moving] -= 1
        if self._overlaps:
            held = active & ~moving & self._waiting & ~self._first
            self.late += int(held.sum())
        self.inference.tick()
        return self._last.copy()

    @property
    def _overlaps(self) -> bool:
        return self.mode == "async"

    def _ask(self, observation: Observation, active: np.ndarray) -> None:
        """Ask for the next chunk of the worlds whose queue has come down to the prefix."""
        ahead = self.prefix if self._overlaps else 0
        left = np.where(self._first, 0, ahead)
        due = active & ~self._waiting & (self._left == left)
        worlds = np.flatnonzero(due)
        if not len(worlds):
            return

        seen = {name: np.array(value[worlds]) for name, value in observation.items()}
        if self.look:
            seen = self.look(seen, worlds)
        prefix = self._queue[worlds, : self.prefix].copy()
        known = self._left[worlds].copy()
        self.inference.submit(worlds, seen, prefix, known)
        self._waiting[worlds] = True

    def _swap(self, done: np.ndarray) -> None:
        """Take the new chunk; what it shares with the old one has been executed already."""
        shared = self.prefix if self._overlaps else 0
        executed = np.where(self._first[done], 0, shared)  # (k,)
        steps = np.arange(self.horizon) + executed[:, None]
        steps = np.minimum(steps, self.horizon - 1)  # (k, H)
        chunks = self.inference.chunks[done]
        self._queue[done] = np.take_along_axis(chunks, steps[..., None], axis=1)

        spare = 0 if self._overlaps else self.prefix  # a chunk is as long in both modes
        self._left[done] = self.horizon - spare - executed
        self._waiting[done] = False
        self._first[done] = False
        self.inference.cancel(done)
        self.planned += int(done.sum())


def check_latency(latency: Sequence[int]) -> tuple[int, int]:
    """Return least and most control steps of a latency given as one number or two.

    Raises:
        ValueError: It is neither.
    """
    valid = len(latency) in (1, 2) and min(latency) >= 0 and latency[0] <= latency[-1]
    if not valid:
        raise ValueError(f"a latency is one number of steps, or least and most: got {latency}")
    return int(latency[0]), int(latency[-1])


def make_inference(
    env: RobotEnv, plan: Plan, horizon: int, latency: Sequence[int], seed: int = 0
) -> Inference:
    """Choose what fits the backend: the wall clock where time passes by itself, else steps."""
    shape = (env.num_envs, horizon, env.codec.size)
    if env.backend.capabilities.real_time:
        return WorkerThread(plan, shape)
    return InjectedLatency(plan, shape, latency, seed)


def commands_in_force(env: RobotEnv) -> np.ndarray:
    """Return the `ee_pose` actions (N, action) that ask for what is commanded already."""
    command = env.controller
    fingers = command.joints[:, :, ARM_JOINTS:]
    now = Targets(command.position, command.quaternion, fingers)
    return np.clip(env.codec.encode(now), -1.0, 1.0)
