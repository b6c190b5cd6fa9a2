"""Calibration of predicted values against slow and plain definitions."""

import numpy as np
import pytest

from dexfw_envs.calibration import auroc, calibration, explained_variance, shares


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
    found = shares({"some": [np.array([0.2, 0.8]), np.array([0.5])], "none": [np.zeros(0)]})
    assert found["some"]["windows"] == 3
    assert found["some"]["mean"] == pytest.approx(0.5)
    assert found["some"]["above_half"] == pytest.approx(1 / 3)
    assert found["none"] == {"windows": 0}
