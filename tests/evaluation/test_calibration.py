"""Calibration of predicted values against slow and plain definitions."""

import numpy as np
import pytest

from dexfw_envs.evaluation.calibration import (
    auroc,
    calibration,
    explained_variance,
    label_fractions,
    split_by_scene,
)


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 40), rng.random(40) < 0.4  # with many ties
    pairs = [(s > t) + 0.5 * (s == t) for s in scores[positive] for t in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert auroc(-scores, positive) == pytest.approx(1 - np.mean(pairs))
    assert auroc(scores, np.ones(40, bool)) is None and auroc(scores, np.zeros(40, bool)) is None


def test_explained_variance():
    true = np.linspace(-1, 0, 11)
    assert explained_variance(true - 0.3, true) == pytest.approx(1.0), "an offset is no variance"
    assert explained_variance(np.full(11, -0.5), true) == pytest.approx(0.0)
    assert explained_variance(-true, true) == pytest.approx(-3.0)
    assert explained_variance(true, np.full(11, -1.0)) is None


def test_report_by_stage():
    values, stage = np.array([-0.9, -0.8, -0.3, -0.2]), np.array([0, 0, 2, 2])
    success = np.array([False, True, True, False])
    found = calibration(values, values - 0.1, success, stage, ("reach", "grasp", "lift"))
    assert list(found["stages"]) == ["reach", "lift"]
    assert found["frames"] == 4 and found["error"] == pytest.approx(0.1)
    assert found["stages"]["reach"]["auroc"] == 1.0 and found["stages"]["lift"]["auroc"] == 0.0


def test_shares():
    found = label_fractions(
        {"some": [np.array([0.2, 0.8]), np.array([0.5])], "none": [np.zeros(0)]}
    )
    assert found["some"]["windows"] == 3
    assert found["some"]["mean"] == pytest.approx(0.5)
    assert found["some"]["above_half"] == pytest.approx(1 / 3)
    assert found["none"] == {"windows": 0}


@pytest.mark.parametrize("kind", ["crossfit", "heldout"])
def test_episodes_are_judged_by_a_critic_that_saw_none_of_their_scene(kind):
    """Eight demonstrations, two starts from each, and second tries of six other scenes."""
    scenes = [*range(8), *np.repeat(range(8), 2), *np.repeat(range(100, 106), 2)]
    learned, judge, held = split_by_scene(scenes, kind, 5, np.random.default_rng(0))
    assert learned.shape == ({"crossfit": 5, "heldout": 1}[kind], 36)
    assert not learned[judge, np.arange(36)][held].any() and learned.any(1).all()
    for scene in set(scenes):
        same = np.array(scenes) == scene
        assert len(set(judge[same])) == len(set(held[same])) == 1
        assert (learned[:, same] == learned[:, same][:, :1]).all()
    if kind == "crossfit":
        assert held.all() and (learned.sum(0) == 4).all()
    else:
        assert 4 <= held.sum() <= 12 and np.array_equal(learned[0], ~held)
    few, _, _ = split_by_scene([0, 0, 1], kind, 5, np.random.default_rng(0))
    assert few.any(1).all()


def test_one_scene_cannot_be_held_out_from_itself():
    with pytest.raises(ValueError, match="where all are of one scene"):
        split_by_scene([3, 3], "crossfit", 5, np.random.default_rng(0))
