"""Collecting episodes: what is kept, what is counted, and what becomes of the failures."""

from collections import Counter
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from dexfw_envs.demos.collection import gather, motion_ratios
from dexfw_envs.demos.seeds import load_seed

SEED = load_seed("Grasp")
REASONS = ("dropped", "out_of_reach", "dropped")  # by the number of the try


def produce(wins):
    """Make a maker of episodes, two at a time, the later one ending first; `wins` by number."""

    def run(scenarios):
        numbered = enumerate(scenarios)
        while pair := list(islice(numbered, 2)):
            for index, scenario in reversed(pair):
                won = wins(index)
                failure = "" if won else REASONS[index % 3]
                yield SimpleNamespace(
                    index=index, scenario=scenario, success=won, failure=failure,
                    actions=SEED.actions, length=SEED.length, jerk=SEED.jerk,
                )  # fmt: skip

    return run


def collect(wins, count=6, keep_failure=None):
    rng = np.random.default_rng(0)
    return gather("Grasp", 1, count, rng, produce(wins), keep_failure)


def test_failures_are_handed_over_and_counted_by_their_reason():
    lost = []
    chosen, report = collect(lambda index: index % 4 > 1, keep_failure=lost.append)
    assert len(chosen) == 6
    assert all(episode.success for episode in chosen)
    assert [e.index for e in chosen] == sorted(e.index for e in chosen)
    assert len(lost) == report["tries"] - report["successes"] > 0
    assert report["failures"] == Counter(episode.failure for episode in lost)
    assert set(report["failures"]) == {"dropped", "out_of_reach"}
    assert report["success"] == report["successes"] / report["tries"]
    numbers = [episode.index for episode in (*chosen, *lost)]
    assert len(set(numbers)) == len(numbers), "the number of the try is an id for both"


def test_a_scene_that_failed_is_known_as_a_retry():
    seen = []

    def run(tries):
        for episode in produce(lambda index: index % 4 > 1)(tries):
            seen.append((tries.scenes[episode.index], tries.retry[episode.index], episode.success))
            yield episode

    _, report = gather("Grasp", 1, 6, np.random.default_rng(0), run, per_scene=1)
    for scene in {scene for scene, _, _ in seen}:
        retries = [retry for place, retry, _ in seen if place == scene]
        assert retries == [False] + [True] * (len(retries) - 1)
    assert any(retry for _, retry, _ in seen)
    firsts = [won for _, retry, won in seen if not retry]
    assert (report["first"], report["scenes"]) == (sum(firsts), len(firsts))
    assert 0 < report["first"] < report["scenes"]


def test_counts_are_the_same_without_a_taker():
    kept = collect(lambda index: index % 4 > 1, keep_failure=lambda episode: None)
    assert collect(lambda index: index % 4 > 1)[1] == kept[1]


def test_all_won():
    lost = []
    _, report = collect(lambda index: True, keep_failure=lost.append)
    assert lost == []
    assert report["failures"] == {}
    assert (report["jerk"], report["duration"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_nothing_won():
    chosen, report = collect(lambda index: False)
    assert chosen == []
    assert sum(report["failures"].values()) == report["tries"]
    assert list(report["failures"]) == ["dropped", "out_of_reach"], "the most frequent first"
    assert "jerk" not in report


def test_motions_are_compared_with_the_seeds():
    motions = [(SEED.jerk, SEED.length), (3 * SEED.jerk, 2 * SEED.length)]
    assert motion_ratios(motions, "Grasp") == pytest.approx({"jerk": 2.0, "duration": 1.5})
    assert np.isnan(list(motion_ratios([], "Grasp").values())).all()
