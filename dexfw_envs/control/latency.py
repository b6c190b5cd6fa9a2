"""Latency between a command and its effect, in whole control steps, for N worlds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dexfw_envs.variation import MOST_LATENCY


class CommandDelay:
    """Holds joint targets back for as many control steps as each world's scenario says.

    Until the first command has come through, a world stays at the targets that it starts with. What
    is under way is part of the full state of an episode.

    Attributes:
        steps: Latency of every world [control steps], (N,).
        under_way: The last targets, the newest last [rad], (N, `MOST_LATENCY` + 1, A, 13).
    """

    def __init__(self, num_worlds: int, joint_targets: tuple[int, ...]) -> None:
        self.steps = np.zeros(num_worlds, dtype=int)
        self.under_way = np.zeros((num_worlds, MOST_LATENCY + 1, *joint_targets))

    def reset(self, mask: np.ndarray, latencies: Sequence[float], targets: np.ndarray) -> None:
        """Begin episodes.

        Args:
            mask: In which worlds, bool (N,).
            latencies: Of the k worlds of the mask [control steps].
            targets: Joint targets at which every world starts [rad], (N, A, 13).
        """
        self.steps[mask] = np.asarray(latencies, dtype=int)
        self.under_way[mask] = targets[mask, None]

    def step(self, targets: np.ndarray) -> np.ndarray:
        """Take the newest targets [rad], (N, A, 13), and return those that act now."""
        self.under_way[:, :-1] = self.under_way[:, 1:]
        self.under_way[:, -1] = targets
        worlds = np.arange(len(self.steps))
        return self.under_way[worlds, MOST_LATENCY - self.steps]

    def get_state(self) -> np.ndarray:
        """Read latencies and what is under way as rows, (N, 1 + 13 A (`MOST_LATENCY` + 1))."""
        rows = self.under_way.reshape(len(self.steps), -1)
        return np.concatenate([self.steps[:, None].astype(float), rows], axis=1)

    def set_state(self, mask: np.ndarray, rows: np.ndarray) -> None:
        """Restore the worlds of `mask` from rows of `get_state`."""
        self.steps[mask] = rows[:, 0].astype(int)
        self.under_way[mask] = rows[:, 1:].reshape(-1, *self.under_way.shape[1:])
