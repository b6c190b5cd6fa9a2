"""Collecting episodes by the papers' rule, whatever makes them, and how their motion compares."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dexfw_envs.catalog.curricula import objects_for
from dexfw_envs.catalog.quota import MAX_SUCCESSES, CollectionQuota
from dexfw_envs.catalog.splits import configurations
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.rollout import Episode
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.summary import rates
from dexfw_envs.scenario import Scenario


class Tries:
    """Iterator over the next tries of a quota, in the order in which episodes are numbered.

    It may run dry and go on later, when a failure makes room for another try.
    """

    def __init__(self, quota: CollectionQuota, rng: np.random.Generator):
        self.quota = quota
        self.rng = rng
        self.scenes: list[int] = []  # scene of each try
        self.retry: list[bool] = []  # whether that scene had been tried before

    def __iter__(self) -> Iterator[Scenario]:
        return self

    @property
    def share(self) -> float:
        """How much of the collection is done, in [0, 1]."""
        return self.quota.share

    def __next__(self) -> Scenario:
        """Return the scenario of the next try."""
        following = self.quota.next_try(self.rng)
        if following is None:
            raise StopIteration
        self.retry.append(following[0] in self.scenes)
        self.scenes.append(following[0])
        return following[1]


def gather(
    task: str,
    iteration: int,
    count: int,
    rng: np.random.Generator,
    produce: Callable[[Iterator[Scenario]], Iterable[Episode]],
    keep_failure: Callable[[Episode], Any] | None = None,
    scenes: int | None = None,
    per_scene: int = MAX_SUCCESSES,
) -> tuple[list[Episode], dict[str, Any]]:
    """Collect successes: 10 tries and `per_scene` successes at most in a scene, thinned to `count`.

    Args:
        task: Name of the task.
        iteration: Which row of the curriculum the objects are of; a quarter more configurations
            are drawn than `count` needs, and no fewer than there are objects.
        count: Most episodes to keep, chosen at random but as even over objects as can be.
        rng: For the scenes, the jitter of each try and the thinning.
        produce: Runs scenarios one by one, such as `run_episodes` or `augment`; must yield
            failures too.
        keep_failure: Takes each failed episode at once, such as `EpisodeStore.add`; one by one,
            since failures are long and often as many as the successes.
        scenes: Which row surroundings and poses are of; `iteration` by default.
        per_scene: Successes after which a configuration is left: fewer give more variety.

    Returns:
        The episodes in the order of their tries; "tries", "successes", "success" (rate),
        "scenes" and "first" (those that succeeded at the first try), "failures" (number by
        reason), and what `motion_ratios` says of the episodes if there are any.
    """
    wanted = max(math.ceil(1.25 * count / per_scene), len(objects_for(task, iteration)))
    scenes_wanted = configurations(task, iteration, wanted, rng, scenes)
    tries = Tries(CollectionQuota(scenes_wanted, max_successes=per_scene), rng)
    successes: dict[Any, Episode] = {}
    failures: Counter[str] = Counter()

    for episode in produce(tries):
        tries.quota.record(tries.scenes[episode.index], episode.success, episode.index)
        if episode.success:
            successes[episode.index] = episode
            continue
        failures[episode.failure] += 1
        if keep_failure:
            keep_failure(episode)

    chosen = [successes[i] for i in sorted(tries.quota.choose(count, rng))]
    won = tries.quota.successes
    begun = tries.quota.tries
    report: dict[str, Any] = {"tries": begun, "successes": won, "success": won / begun}
    report["scenes"] = begun - sum(tries.retry)
    report["first"] = sum(not tries.retry[index] for index in successes)
    report["failures"] = dict(failures.most_common())
    motions = [(episode.jerk, episode.length) for episode in chosen]

    return chosen, report | (motion_ratios(motions, task) if chosen else {})


def generation_report(store: EpisodeStore, task: str) -> dict[str, Any]:
    """Sum up all tries that a store holds, one a scene, failures included.

    Returns:
        "tries" and "successes", as "scenes" and "first" too, "objects_handled" (with a success
        each) and "failures" (number by reason); what `evaluation.summary` and, of the successes,
        `motion_ratios` say.

    Raises:
        ValueError: The store is empty.
    """
    rows = store.manifest()
    won = [row for row in rows if row["success"]]
    figures = rates(
        [{"object": r["scenario"]["objects"][0], "success": r["success"]} for r in rows]
    )
    lost = Counter(row["failure"] for row in rows if not row["success"])
    counts = {
        "tries": len(rows),
        "successes": len(won),
        "scenes": len(rows),
        "first": len(won),
        "objects_handled": sum(row["success"] > 0 for row in figures["per_object"].values()),
        "failures": dict(lost.most_common()),
    }

    return counts | figures | motion_ratios([(row["jerk"], row["length"]) for row in won], task)


def motion_ratios(motions: Sequence[tuple[float, int]], task: str) -> dict[str, float]:
    """Compare motions with the seed's: 1 means as smooth, or as long, as the seed demonstration.

    Args:
        motions: Mean second difference of the actions, and length [steps], of each episode.
        task: Name of the task whose seed demonstration is meant.

    Returns:
        "jerk" and "duration", the means as ratios; nan without motions.
    """
    seed = load_seed(task)
    jerk, duration = np.mean(motions, axis=0) if motions else (np.nan, np.nan)
    return {"jerk": float(jerk / seed.jerk), "duration": float(duration / seed.length)}
