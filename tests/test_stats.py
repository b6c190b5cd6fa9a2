"""Intervals against known values."""

import numpy as np
import pytest

from benchmark.stats import bootstrap, paired_difference, wilson

# 95 % Wilson intervals in whole percent at 50, 80 and 90 % success.
KNOWN = {
    20: ((30, 70), (58, 92), (70, 97)),
    50: ((37, 63), (67, 89), (79, 96)),
    100: ((40, 60), (71, 87), (83, 94)),
    200: ((43, 57), (74, 85), (85, 93)),
    500: ((46, 54), (76, 83), (87, 92)),
    1000: ((47, 53), (77, 82), (88, 92)),
}


@pytest.mark.parametrize("n", KNOWN)
def test_wilson_against_the_known_table(n):
    for rate, expected in zip((0.5, 0.8, 0.9), KNOWN[n], strict=True):
        assert tuple(round(100 * end) for end in wilson(round(rate * n), n)) == expected


def test_wilson_at_the_ends_and_for_bad_input():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    # Newcombe 1998, table I: 81 of 263 and 15 of 148
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson(15, 148), (0.0624, 0.1605), atol=5e-5)
    narrow, wide = wilson(30, 60, 0.5), wilson(30, 60, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
    with pytest.raises(ValueError, match="11 of 10"):
        wilson(11, 10)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 10, 95)


def test_bootstrap_is_repeatable_and_agrees_with_the_normal_interval():
    scores = np.random.default_rng(0).normal(0.7, 0.1, (200, 1))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = bootstrap(scores), bootstrap(scores)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert first == second
    assert first != bootstrap(scores, random_state=1)
    assert first.value == pytest.approx(scores.mean())
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    assert first.low == pytest.approx(scores.mean() - half, abs=0.002)
    assert first.high == pytest.approx(scores.mean() + half, abs=0.002)


def test_bootstrap_is_stratified_by_task():
    scores = np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])  # tasks differ, seeds do not
    estimate = bootstrap(scores)
    np.testing.assert_allclose((estimate.value, estimate.low, estimate.high), 0.5)


@pytest.mark.parametrize("scores", [np.zeros((1, 4)), np.zeros(3), np.array([[0.5], [np.nan]])])
def test_bootstrap_refuses_what_it_cannot_tell(scores):
    with pytest.raises(ValueError, match="scores must be"):
        bootstrap(scores)


def test_paired_difference_by_hand():
    # 40 pairs: both 20, only first 12, only second 4, neither 4
    first = np.repeat([1, 1, 0, 0], [20, 12, 4, 4])
    second = np.repeat([1, 0, 1, 0], [20, 12, 4, 4])
    estimate = paired_difference(first, second)
    p12, p21 = 13 / 42, 5 / 42
    half = 1.959964 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 42)
    assert estimate.value == pytest.approx(0.2)
    np.testing.assert_allclose(
        (estimate.low, estimate.high), (8 / 42 - half, 8 / 42 + half), atol=1e-7
    )
    swapped = paired_difference(second, first)
    np.testing.assert_allclose((swapped.low, swapped.high), (-estimate.high, -estimate.low))
    # pairing tells more than two separate samples would
    unpaired = 1.96 * np.sqrt(0.8 * 0.2 / 40 + 0.6 * 0.4 / 40)
    assert half < unpaired


def test_paired_difference_covers_the_truth():
    generator, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        luck = generator.random(50)  # easy and hard scenarios, the same for both
        first = generator.random(50) < 0.5 + 0.45 * luck
        second = generator.random(50) < 0.2 + 0.45 * luck
        estimate = paired_difference(first, second)
        hits += estimate.low <= 0.3 <= estimate.high
    assert 930 <= hits <= 980


def test_paired_difference_averages_strata_equally():
    first = np.array([1] * 10 + [1] * 30)
    second = np.array([0] * 10 + [1] * 30)
    tasks = ["Grasp"] * 10 + ["Pour"] * 30
    assert paired_difference(first, second, tasks).value == pytest.approx(0.5)
    assert paired_difference(first, second).value == pytest.approx(0.25)


def test_paired_difference_refuses_bad_input():
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference([1, 0], [1])
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="0 or 1"):
        paired_difference([0.5, 1], [1, 0])
