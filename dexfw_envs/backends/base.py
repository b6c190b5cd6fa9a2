"""The contract between environments and the worlds they run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dexfw_envs.robots.spec import RobotSpec
from dexfw_envs.scenario import Scenario
from dexfw_envs.world import WorldState


@dataclass(frozen=True)
class SceneNeeds:
    """What a task asks of the world."""

    robot: RobotSpec
    objects: int  # free objects in the scene
    parts: int = 3  # most primitives that one object is made of
    contents: int = 0  # balls in the first object, which then is a vessel


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do; tasks never ask, evaluators and recorders may."""

    exact_restore: bool  # a restored state continues bit for bit
    true_objects: bool  # object states are ground truth, not estimates
    parallel_worlds: bool
    real_time: bool  # time passes by itself between commands
    penetration: bool = False  # `WorldState.penetration` is told
    varies: tuple[str, ...] = ()  # axes of `variation.PHYSICAL` that worlds can be built with


class Backend(Protocol):
    """N worlds that can be reset, commanded, observed and drawn."""

    num_worlds: int
    robot: RobotSpec  # the one that is there; its hand may be mounted otherwise than asked for
    capabilities: Capabilities

    def reset(self, mask: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Set the worlds of `mask` (N,) to their scenarios, one per world of the mask, in order."""

    def rest(self, mask: np.ndarray) -> None:
        """Be told that worlds of `mask` (N,) will not be looked at until their next reset."""

    def apply(self, joint_targets: np.ndarray) -> None:
        """Hold joint targets [rad], (N, A, 7 + 6), for one control period."""

    def world(self) -> WorldState:
        """Read the state of all worlds."""

    def render(self, index: int, camera: str, height: int, width: int) -> np.ndarray:
        """Draw one world: uint8 (height, width, 3)."""

    def show(self, camera: str) -> None:
        """Show the first world in a window, opened on first use."""

    def get_state(self) -> np.ndarray:
        """Read everything the continuation depends on, (N, S) float64. Simulators only."""

    def set_state(
        self, mask: np.ndarray, states: np.ndarray, scenarios: Sequence[Scenario]
    ) -> None:
        """Restore worlds of `mask` from rows of `get_state`. Simulators only."""

    def close(self) -> None:
        """Release threads, contexts, connections."""
