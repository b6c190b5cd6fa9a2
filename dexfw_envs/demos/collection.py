"""Collecting episodes by the papers' rule, whatever makes them, and how their motion compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dexfw_envs.catalog.quota import CollectionQuota
from dexfw_envs.rollout import Episode, mean_second_difference
from dexfw_envs.scenario import Scenario


class Tries:
    """Iterator over the next tries of a quota, in the order in which episodes are numbered.

    It may run dry and go on later, when a failure makes room for another try.
    """

    def __init__(self, quota: CollectionQuota, rng: np.random.Generator):
        self.quota, self.rng = quota, rng
        self.scenes: list[int] = []  # scene of each try

    def __iter__(self) -> Iterator[Scenario]:
        return self

    def __next__(self) -> Scenario:
        """Return the scenario of the next try."""
        following = self.quota.next_try(self.rng)
        if following is None:
            raise StopIteration
        self.scenes.append(following[0])
        return following[1]


def gather(
    scenarios: Sequence[Scenario],
    count: int,
    rng: np.random.Generator,
    produce: Callable[[Iterator[Scenario]], Iterable[Episode]],
) -> tuple[list[Episode], dict[str, float]]:
    """Collect successes: at most 10 tries and 4 successes per scene, then thinned to `count`.

    Args:
        scenarios: The scenes, about `count` / 4 of them or more.
        count: Most episodes to keep, chosen at random but as even over objects as can be.
        rng: For the jitter of each try and for the thinning.
        produce: Runs scenarios one by one, such as `run_episodes` or `augment`; must yield
            failures too.

    Returns:
        The episodes in the order of their tries, and "tries", "successes" and "success" (rate).
    """
    tries = Tries(CollectionQuota(scenarios), rng)
    kept: dict[Any, Episode] = {}
    for episode in produce(tries):
        tries.quota.record(tries.scenes[episode.index], episode.success, episode.index)
        if episode.success:
            kept[episode.index] = episode
    chosen = sorted(tries.quota.choose(count, rng))
    won, begun = tries.quota.successes, tries.quota.tries
    return [kept[i] for i in chosen], {"tries": begun, "successes": won, "success": won / begun}


def motion_ratios(episodes: Sequence[Any], seed: Any) -> dict[str, float]:
    """Compare motions with the seed's: 1 means as smooth, or as long, as the seed demonstration.

    Args:
        episodes: Objects with `actions`, (T, action); at least one.
        seed: The seed demonstration.

    Returns:
        "jerk", the mean second difference of the actions, and "duration", as ratios.
    """
    jerk = np.mean([mean_second_difference(episode.actions) for episode in episodes])
    duration = np.mean([len(episode.actions) for episode in episodes])
    return {
        "jerk": float(jerk / mean_second_difference(seed.actions)),
        "duration": float(duration / len(seed.actions)),
    }
