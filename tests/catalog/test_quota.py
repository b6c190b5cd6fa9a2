import json
from collections import Counter

import numpy as np
import pytest

from dexfw_envs.catalog import CollectionQuota, configurations


def combination(scenario):
    return (scenario.objects[0], scenario.surroundings, scenario.pose)


def quota(count=6, **limits):
    return CollectionQuota(configurations("Grasp", 2, count, np.random.default_rng(0)), **limits)


@pytest.mark.parametrize("worlds", [1, 3, 64])
def test_quota_keeps_both_limits_however_many_worlds(worlds):
    rng, counts = np.random.default_rng(worlds), quota(count=20)
    running, tries, successes = [], Counter(), Counter()
    while not counts.finished:
        while len(running) < worlds and (given := counts.next_try(rng)):
            running.append(given[0])
            tries[given[0]] += 1
        index = running.pop(rng.integers(len(running)))
        won = bool(rng.random() < index / 20)
        successes[index] += won
        counts.record(index, won, key=f"{index}-{tries[index]}")
    assert counts.next_try(rng) is None
    assert max(tries.values()) <= 10
    assert max(successes.values()) <= 4
    assert counts.status(0) == "failed"
    assert tries[0] == 10
    for index in range(20):
        assert (counts.status(index) == "full") == (successes[index] == 4)
    assert counts.successes == sum(successes.values())
    assert counts.tries == sum(tries.values())


def test_quota_tries_scenes_in_turn_with_fresh_jitter():
    rng, counts = np.random.default_rng(0), quota()
    first = [counts.next_try(rng) for _ in range(6)]
    assert [index for index, _ in first] == list(range(6))
    index, second = counts.next_try(rng)
    assert index == 0
    assert combination(second) == combination(first[0][1])
    assert second.seed != first[0][1].seed


def test_quota_thins_to_an_even_choice():
    rng, counts = np.random.default_rng(0), quota(count=22, max_successes=2)
    while (given := counts.next_try(rng)) is not None:
        won = given[1].objects[0] != "slim_can"
        counts.record(given[0], won, key=(given[1].objects[0], given[1].seed))
    chosen = counts.choose(20, rng)
    assert len(set(chosen)) == 20
    assert set(Counter(name for name, _ in chosen).values()) == {2}
    assert len(counts.choose(1000, rng)) == counts.successes


def test_quota_survives_a_restart_and_forgets_what_was_under_way():
    rng, counts = np.random.default_rng(0), quota()
    for key in range(5):
        index, _ = counts.next_try(rng)
        counts.record(index, key % 2 == 0, key=key)
    counts.next_try(rng)
    again = CollectionQuota.from_dict(json.loads(json.dumps(counts.to_dict())))
    assert (again.tries, again.successes) == (5, 3)
    assert sorted(again.choose(10, rng)) == [0, 2, 4]
    assert again.next_try(rng)[0] == 5


def test_quota_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="needs scenarios"):
        CollectionQuota([])
    with pytest.raises(ValueError, match="limits of at least 1"):
        quota(max_tries=0)
    with pytest.raises(ValueError, match="no try under way"):
        quota().record(0, True)
