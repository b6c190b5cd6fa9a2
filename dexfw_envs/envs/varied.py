"""What a variation changes between policy and worlds: when commands act, and what is seen.

What it changes in the worlds themselves (`variation.PHYSICAL`) is built by the backend.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dexfw_envs.control.latency import CommandDelay
from dexfw_envs.envs.sensing import Tracker
from dexfw_envs.scenario import Scenario
from dexfw_envs.variation import PHYSICAL
from dexfw_envs.world import WorldState


class ExactLink:
    """Commands act at once and objects are seen as they are; N worlds without a variation.

    Args:
        num_worlds: N.
        varies: The axes of `variation.PHYSICAL` that the backend can build.
    """

    def __init__(self, num_worlds: int, varies: Sequence[str]) -> None:
        self.num_worlds = num_worlds
        self.varies = tuple(varies)

    def check(self, scenarios: Sequence[Scenario]) -> None:
        """Raise ``ValueError`` where a scenario varies what these worlds cannot."""
        for scenario in scenarios:
            for name, _ in scenario.variation:
                if name not in PHYSICAL:
                    raise ValueError(
                        f"the scenario varies {name!r}: make the environment with variation={{}} "
                        "or a variation of its own"
                    )
        check_buildable(scenarios, self.varies)

    def reset(
        self,
        mask: np.ndarray,
        scenarios: Sequence[Scenario],
        targets: np.ndarray,
        world: WorldState,
    ) -> None:
        """Begin episodes in the worlds of `mask`."""

    def commands(self, targets: np.ndarray) -> np.ndarray:
        """Return the joint targets that act now [rad], (N, A, 13)."""
        return targets

    def seen(self, world: WorldState, elapsed: np.ndarray) -> WorldState:
        """Return the worlds as policies see them."""
        return world

    def get_state(self) -> np.ndarray:
        """Read what an episode carries from step to step, (N, 0)."""
        return np.zeros((self.num_worlds, 0))

    def set_state(self, mask: np.ndarray, rows: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Restore the worlds of `mask` from rows of `get_state`."""


class VariedLink(ExactLink):
    """Commands act late and objects are tracked, by each scenario's variation.

    Args:
        num_worlds: N.
        varies: As in `ExactLink`.
        joint_targets: Shape of a world's joint targets, (A, 13).
        objects: Objects in the scene, O.
    """

    def __init__(
        self,
        num_worlds: int,
        varies: Sequence[str],
        joint_targets: tuple[int, ...],
        objects: int,
    ) -> None:
        super().__init__(num_worlds, varies)
        self.delay = CommandDelay(num_worlds, joint_targets)
        self.tracker = Tracker(num_worlds, objects)

    def check(self, scenarios: Sequence[Scenario]) -> None:
        """Raise ``ValueError`` where a scenario varies what these worlds cannot."""
        check_buildable(scenarios, self.varies)

    def reset(
        self,
        mask: np.ndarray,
        scenarios: Sequence[Scenario],
        targets: np.ndarray,
        world: WorldState,
    ) -> None:
        """Begin episodes.

        Args:
            mask: In which worlds, bool (N,).
            scenarios: One for each world of the mask.
            targets: Joint targets at which every world starts [rad], (N, A, 13).
            world: The true state at the start.
        """
        latencies = [scenario.value("latency") for scenario in scenarios]
        self.delay.reset(mask, latencies, targets)
        self.tracker.reset(mask, scenarios, world)

    def commands(self, targets: np.ndarray) -> np.ndarray:
        """Take the newest joint targets [rad], (N, A, 13), and return those that act now."""
        return self.delay.step(targets)

    def seen(self, world: WorldState, elapsed: np.ndarray) -> WorldState:
        """Return the worlds with their objects as tracked; `elapsed` control steps, (N,)."""
        return self.tracker.look(world, elapsed)

    def get_state(self) -> np.ndarray:
        """Read commands under way and what was tracked last as rows, (N, S)."""
        return np.concatenate([self.delay.get_state(), self.tracker.get_state()], axis=1)

    def set_state(self, mask: np.ndarray, rows: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Restore the worlds of `mask` from rows of `get_state`, with the scenario of each."""
        width = self.delay.get_state().shape[1]
        self.delay.set_state(mask, rows[:, :width])
        self.tracker.set_state(mask, rows[:, width:], scenarios)


def check_buildable(scenarios: Sequence[Scenario], varies: Sequence[str]) -> None:
    """Raise ``ValueError`` where a scenario varies what a backend cannot build."""
    for scenario in scenarios:
        for name, _ in scenario.variation:
            if name in PHYSICAL and name not in varies:
                can = ", ".join(varies) or "nothing"
                raise ValueError(f"this backend cannot vary {name!r}; it varies {can}")
