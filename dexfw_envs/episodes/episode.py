"""What running one episode leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dexfw_envs.scenario import Scenario

Observation = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Episode:
    """One finished episode of T steps; with `trajectories=False` its arrays have no rows.

    Attributes:
        index: Place of the scenario in the order given to `run_episodes`.
        scenario: The scene it was run in.
        observations: Observation groups from the reset to the last step, (T+1, ...) each.
        actions: Actions as executed, (T, action).
        rewards: Rewards, (T,).
        states: State vectors (simulator, controller, memory), from the reset on, (T+1, S); S = 0
            on a backend that cannot restore them exactly.
        success: Whether the task's success condition was met, hold included.
        raised: Whether the object was ever raised far enough, held or not.
        hold: Longest run of steps for which the success condition held.
        length: Number of steps T.
        failure: Reason of failure ("dropped", "spilled", "timeout", "fault", "given up"), "" for
            a success.
        jerk: Mean second difference of the actions (see `mean_second_difference`).
        info: `reward_terms` summed over the episode, `success_terms` that were ever true, and
            `measures` at its end, `penetration`, the deepest in each of `world.SUNK` [m] where that
            is told, and `progress`, the furthest stage as a share; 1 for a success.
    """

    index: int
    scenario: Scenario
    observations: Observation
    actions: np.ndarray
    rewards: np.ndarray
    states: np.ndarray
    success: bool
    raised: bool
    hold: int
    length: int
    failure: str
    jerk: float
    info: dict[str, Any]


def mean_second_difference(actions: np.ndarray) -> float:
    """Measure how jerky a motion is: the mean of |a[t+1] - 2 a[t] + a[t-1]|.

    Args:
        actions: Actions of one episode in env units, (T, action).

    Returns:
        Mean over inner steps and action elements; 0 for fewer than three steps.
    """
    actions = np.asarray(actions, dtype=np.float64)
    if actions.ndim != 2:
        raise ValueError(f"actions must have shape (T, action), got {actions.shape}")
    if len(actions) < 3:
        return 0.0
    return float(np.abs(np.diff(actions, n=2, axis=0)).mean())
