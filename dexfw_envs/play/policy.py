"""The player: DexFlyWheel's combined policy in NumPy, acting as `baselines/dexflywheel.py` does.

A base policy predicts a chunk of actions by diffusion, a residual policy corrects every action. A
test holds the player to the script within 1e-5 over whole episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.control.codec import ARM_ACTIONS, HAND_ACTIONS, PALM_ACTIONS
from dexfw_envs.control.smoothing import local_lines
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.observation import read_objects, read_proprio
from dexfw_envs.play.file import Arrays, read_arrays
from dexfw_envs.revision import FIRST, REVISION
from dexfw_envs.transforms import matrix_from_quat

LIMIT = 5.0  # of a standardised input
NORM_EPSILON = 1e-5  # of a layer norm


class PlayedPolicy:
    """A policy of a file, for any number of worlds; see `dexfw_envs.episodes.rollout.Policy`.

    Attributes:
        header: What the file says of the policy.
    """

    def __init__(self, header: Mapping[str, Any], arrays: Arrays) -> None:
        self.header = dict(header)
        settings = header["settings"]
        self._base = _Base(arrays, settings, header["env_id"])
        self._residual = _Residual(arrays, settings)
        self._execute = int(settings["execute"])
        overlap = self._base.chunk - self._execute
        steps = np.arange(1, self._base.chunk + 1, dtype=np.float32)
        self._fade = np.minimum(steps / np.float32(overlap + 1), np.float32(1.0))[:, None]
        self._allocate(0)

    @property
    def origin(self) -> str:
        """What made it: method, turn and seed."""
        known = self.header
        return f"{known['method']}, turn {known['iteration']}, seed {known['seed']}"

    @property
    def measured_success(self) -> str:
        """How often it succeeds on `MEASURED_ON`, with the 95 % Wilson interval."""
        found = self.header.get("measured")
        if not found:
            return "not measured"
        rate, low, high = (f"{100 * found[name]:.1f}" for name in ("success", "low", "high"))
        return f"{rate} % [{low}, {high}] of {found['n']}"

    def _allocate(self, worlds: int) -> None:
        action = self._base.action
        self._queue = np.zeros((worlds, self._base.chunk, action), np.float32)
        self._filter = np.zeros((worlds, 2, action), np.float32)
        self._left = np.full(worlds, -1)  # steps to the next plan; -1: there was none yet

    def reset(self, mask: np.ndarray) -> None:
        """Forget the past of the worlds in `mask`, (N,) bool; another N forgets all."""
        mask = np.asarray(mask, dtype=bool)
        if len(mask) != len(self._left):
            self._allocate(len(mask))
        self._left[mask] = -1
        self._filter[mask] = 0.0

    def act(self, observation: Observation) -> np.ndarray:
        """Return the actions in [-1, 1], (N, action) float32, for N observations.

        Raises:
            ValueError: `reset` was called for another number of worlds, or never.
        """
        worlds = len(observation["proprio"])
        if worlds != len(self._left):
            known = len(self._left)
            raise ValueError(f"reset the policy for {worlds} worlds first; it knows {known}")
        base = self._base_action(observation)
        action, self._filter = self._residual.act(observation, base, self._filter)
        return action

    def _base_action(self, observation: Observation) -> np.ndarray:
        """Take the next action of every queue, (N, action); worlds whose time is up plan anew."""
        due = self._left <= 0
        if due.any():
            seen = {name: observation[name][due] for name in ("proprio", "object")}
            planned = self._base.plan(seen)
            before = self._queue[due]
            first = (self._left[due] < 0)[:, None, None]
            share = np.where(first, np.float32(1.0), self._fade)
            self._queue[due] = before + share * (planned - before)
            self._left[due] = self._execute

        action = self._queue[:, 0].copy()
        self._queue[:, :-1] = self._queue[:, 1:].copy()
        self._left -= 1

        return action


class _Base:
    """The base policy: a chunk of actions from one observation, by DDIM from zeros."""

    def __init__(self, arrays: Arrays, settings: Mapping[str, Any], env_id: str) -> None:
        self._arrays = arrays
        self._for = f"this policy is for {env_id}"
        self.action = len(arrays["base/centre"])
        self.chunk = int(settings["chunk"])
        self._smoother = local_lines(self.chunk, settings["chunk_smoothing"])
        names = [name for name in arrays if name.startswith("base/denoiser.blocks.")]
        self._blocks = 1 + max(int(name.split(".")[2]) for name in names)

    def plan(self, observation: Observation) -> np.ndarray:
        """Return actions (N, chunk, action).

        Raises:
            ValueError: The observation is of another environment.
        """
        arrays = self._arrays
        state = features(observation)
        wanted = len(arrays["base/mean"])
        if state.shape[1] != wanted:
            seen = state.shape[1]
            raise ValueError(f"{self._for}: the policy sees {wanted} numbers of it, got {seen}")

        state = np.clip((state - arrays["base/mean"]) / arrays["base/std"], -LIMIT, LIMIT)
        chunk = np.zeros((len(state), self.chunk * self.action), np.float32)
        steps = (arrays[f"schedule/{name}"] for name in ("level", "alpha", "alpha_before"))
        for level, alpha, before in zip(*steps, strict=True):
            predicted = self._denoise(chunk, int(level), state)
            noise = (chunk - np.sqrt(alpha) * predicted) / np.sqrt(1 - alpha)
            clean = np.clip(predicted, -1.0, 1.0)
            chunk = np.sqrt(before) * clean + np.sqrt(1 - before) * noise

        actions = chunk.reshape(-1, self.chunk, self.action)
        return self._smoother @ (actions * arrays["base/reach"] + arrays["base/centre"])

    def _denoise(self, chunk: np.ndarray, level: int, state: np.ndarray) -> np.ndarray:
        """Return the clean chunk that the network predicts, flat (N, chunk * action)."""
        known = self._arrays["base/denoiser.level.weight"][level]
        known = np.broadcast_to(known, (len(chunk), len(known)))
        x = self._linear("inlet", np.concatenate([chunk, state, known], axis=1))
        for block in range(self._blocks):
            inner = self._norm(f"blocks.{block}.0", x)
            inner = _silu(self._linear(f"blocks.{block}.1.0", inner))
            x = x + self._linear(f"blocks.{block}.1.2", inner)
        return self._linear("outlet.1", self._norm("outlet.0", x))

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return _linear(self._arrays, f"base/denoiser.{name}", x)

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        """Normalise over the features, then scale and shift."""
        weight = self._arrays[f"base/denoiser.{name}.weight"]
        bias = self._arrays[f"base/denoiser.{name}.bias"]
        centred = x - x.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        return centred / np.sqrt(variance + np.float32(NORM_EPSILON)) * weight + bias


class _Residual:
    """The residual policy: a correction of every action, filtered twice and kept small."""

    def __init__(self, arrays: Arrays, settings: Mapping[str, Any]) -> None:
        self._arrays = arrays
        self._rate = np.float32(settings["smoothing"])
        palm, hand = settings["alpha"]
        arms = len(arrays["base/centre"]) // ARM_ACTIONS
        of_an_arm = [palm] * PALM_ACTIONS + [hand] * HAND_ACTIONS
        self._reach = np.tile(np.array(of_an_arm, np.float32), arms)

    def act(
        self, observation: Observation, base: np.ndarray, past: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the action to execute (N, action), and the filter's next state (N, 2, action)."""
        wanted = self._mean(observation, base, past)
        first = past[:, 0] + self._rate * (wanted - past[:, 0])
        second = past[:, 1] + self._rate * (first - past[:, 1])
        action = np.clip(base + self._reach * second, -1.0, 1.0)
        return action, np.stack([first, second], axis=1)

    def _mean(self, observation: Observation, base: np.ndarray, past: np.ndarray) -> np.ndarray:
        arrays = self._arrays
        seen = [features(observation, whole=True), base, past.reshape(len(past), -1)]
        x = np.concatenate(seen, axis=1)
        x = np.clip((x - arrays["residual/mean"]) / arrays["residual/std"], -LIMIT, LIMIT)
        x = x.astype(np.float32)
        x = np.tanh(_linear(arrays, "residual/actor.0", x))
        x = np.tanh(_linear(arrays, "residual/actor.2", x))
        return np.clip(_linear(arrays, "residual/actor.4", x), -1.0, 1.0)


def load(path: str | Path) -> PlayedPolicy:
    """Open a policy file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, no policy file, or lacks an array; or it was trained in worlds
            of another revision.
    """
    header, arrays = read_arrays(path)
    revision = header.get("revision", FIRST)
    if revision != REVISION:
        raise ValueError(
            f"{path} is of revision {revision} of the worlds, needed is {REVISION}: train it anew"
        )
    try:
        return PlayedPolicy(header, arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"damaged: {path} lacks what the player needs ({error})") from error


def features(observation: Observation, whole: bool = False) -> np.ndarray:
    """Return what the networks see of N observations, (N, D) float32.

    Args:
        observation: The groups "proprio" (N, 69 A) and "object" (N, 13 K) of A arms, K objects.
        whole: Also the objects' quaternions and velocities, as the residual sees them.
    """
    arm = read_proprio(observation["proprio"])
    things = read_objects(observation["object"])

    palm = matrix_from_quat(arm.palm_quaternion)
    offset = things.position[:, None] - arm.palm_position[:, :, None]
    in_palm = (palm[:, :, None] * offset[..., None]).sum(axis=3)  # the offset in the palm's frame

    columns = [arm.arm_position, arm.arm_velocity, arm.hand_position, arm.hand_velocity]
    columns += [arm.palm_position, palm[..., 0], palm[..., 1]]
    columns += [things.position, offset, in_palm]
    if whole:
        columns.append(things.quaternion_and_velocities)

    flat = [column.reshape(len(column), -1) for column in columns]
    return np.concatenate(flat, axis=1).astype(np.float32)


def _linear(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))
