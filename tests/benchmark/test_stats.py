"""Intervals against known values, and how often they hold the truth."""

from importlib.util import find_spec

import numpy as np
import pytest

from benchmark.figures.stats import (
    _in_order,
    mean_of_proportions,
    mean_of_values,
    over_seeds,
    paired_difference,
    score_limits,
    t_quantile,
    wilson,
)

needs_scipy = pytest.mark.skipif(
    find_spec("scipy") is None, reason="intervals over seeds need the extra report"
)

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


def test_the_mean_of_one_proportion_is_wilsons():
    for won, n in ((32, 40), (1, 200), (599, 600), (0, 20), (20, 20)):
        found = mean_of_proportions([won], [n])
        np.testing.assert_allclose((found.low, found.high), wilson(won, n), atol=1e-8)


def test_the_mean_of_proportions_stands_around_its_figure():
    # 82.0 % of 4 x 200 and 95.8 % of 4 x 600: a difference to who never succeeds gave them
    # [79.1, 83.3] and [94.7, 96.4], too low by its added counts.
    found = mean_of_proportions([195, 195, 196, 70], [200] * 4)
    ends = [round(100 * end, 1) for end in (found.value, found.low, found.high)]
    assert ends == [82.0, 80.1, 83.9]
    found = mean_of_proportions([589, 592, 582, 537], [600] * 4)
    ends = [round(100 * end, 1) for end in (found.value, found.low, found.high)]
    assert ends == [95.8, 95.0, 96.6]


def test_the_mean_of_proportions_weighs_tasks_equally_and_is_symmetric():
    assert mean_of_proportions([20, 0], [20, 600]).value == pytest.approx(0.5)
    found, mirrored = (
        mean_of_proportions([50, 7], [60, 20]),
        mean_of_proportions([10, 13], [60, 20]),
    )
    np.testing.assert_allclose((found.low, found.high), (1 - mirrored.high, 1 - mirrored.low))
    nothing, everything = mean_of_proportions([0, 0], [9, 9]), mean_of_proportions([9, 9], [9, 9])
    assert nothing.low == 0.0 and everything.high == 1.0
    assert nothing.high == pytest.approx(1 - everything.low) and 0 < nothing.high < 0.3
    narrow = mean_of_proportions([50, 7], [60, 20], confidence=0.5)
    assert found.low < narrow.low < narrow.value < narrow.high < found.high


@pytest.mark.parametrize("rate", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("totals", [(200, 200, 200, 200), (60, 200, 600, 1200), (60, 60, 200, 600)])
def test_the_mean_of_proportions_covers_the_truth(totals, rate):
    generator, totals = np.random.default_rng(0), np.array(totals)
    spread = {0.5: 0.3, 0.95: 0.04, 0.99: 0.008}[rate]
    slope = np.linspace(-spread, spread, len(totals))
    for rates in (rate + 0 * slope, rate + slope, rate - slope):  # hard tasks with few or many
        drawn = generator.binomial(totals, rates, size=(1000, len(totals)))
        outcomes, counts = np.unique(drawn, axis=0, return_counts=True)
        low, high = score_limits(outcomes.astype(float), totals)
        held = counts[(low <= rate) & (rate <= high)].sum()
        assert 930 <= held <= 980


@pytest.mark.parametrize(
    ("successes", "totals", "problem"),
    [([1], [2, 3], "equal shapes"), ([], [], "equal shapes"), ([3], [2], "0 to n successes"),
     ([0], [0], "0 to n successes"), ([-1], [2], "0 to n successes")],
)  # fmt: skip
def test_the_mean_of_proportions_refuses_bad_input(successes, totals, problem):
    with pytest.raises(ValueError, match=problem):
        mean_of_proportions(successes, totals)


def test_the_mean_of_values_is_normal_and_ends_at_their_bounds():
    found = mean_of_values([0.0, 50.0, 100.0, 100.0], 0.0, 100.0)
    half = 1.959964 * np.std([0, 50, 100, 100], ddof=1) / 2
    assert (found.value, found.high) == (62.5, 100.0)
    assert found.low == pytest.approx(62.5 - half)
    alone = mean_of_values([30.0], 0.0, 100.0)
    assert (alone.value, alone.low, alone.high) == (30.0, 30.0, 30.0)


# Student's t at 97.5 and 99.5 %, by degrees of freedom, from printed tables.
T_TABLE = {
    1: (12.706, 63.657), 2: (4.303, 9.925), 3: (3.182, 5.841), 4: (2.776, 4.604),
    5: (2.571, 4.032), 10: (2.228, 3.169), 30: (2.042, 2.750),
}  # fmt: skip


@needs_scipy
@pytest.mark.parametrize("freedom", T_TABLE)
def test_t_against_the_known_table(freedom):
    found = [round(t_quantile(probability, freedom), 3) for probability in (0.975, 0.995)]
    assert found == list(T_TABLE[freedom])
    assert t_quantile(0.5, freedom) == 0.0


def test_t_refuses_what_it_cannot_tell():
    for probability, freedom in ((1.0, 2), (0.4, 2), (0.975, 0)):
        with pytest.raises(ValueError, match="probability"):
            t_quantile(probability, freedom)


@needs_scipy
def test_over_seeds_by_hand():
    scores = np.array([[0.8, 0.6], [0.9, 0.7], [0.7, 0.8]])  # means 0.7, 0.8, 0.75
    found = over_seeds(scores)
    assert found.value == pytest.approx(0.75)
    half = 4.302653 * 0.05 / np.sqrt(3)
    np.testing.assert_allclose((found.low, found.high), (0.75 - half, 0.75 + half))


@needs_scipy
def test_over_seeds_ends_where_scores_do():
    assert over_seeds(np.array([[0.9], [1.0]])).high == 1.0
    assert over_seeds(np.array([[0.0], [0.1]])).low == 0.0
    assert over_seeds(np.array([[0.0], [0.1]]), lowest=-1.0).low == pytest.approx(-0.585, abs=1e-3)
    same = over_seeds(np.full((3, 2), 0.5))
    np.testing.assert_allclose((same.value, same.low, same.high), 0.5)


@needs_scipy
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("mean", "spread", "tasks"),
    [(0.8, 0.03, 1), (0.8, 0.03, 4), (0.95, 0.02, 4), (0.97, 0.01, 4)],
)
def test_over_seeds_covers_the_truth(seeds, mean, spread, tasks):
    generator, held = np.random.default_rng(0), 0
    for _ in range(2000):
        rates = np.clip(generator.normal(mean, spread, (seeds, tasks)), 0.0, 1.0)
        found = over_seeds(generator.binomial(200, rates) / 200)
        held += found.low <= mean <= found.high
    assert 0.93 <= held / 2000 <= 0.97


@needs_scipy
@pytest.mark.parametrize("seeds", [3, 5])
def test_over_seeds_covers_a_difference_paired_by_seed(seeds):
    generator, held = np.random.default_rng(1), 0
    for _ in range(2000):
        data = generator.normal(0.0, 0.1, (seeds, 3))  # what both methods learn from
        first, second = (generator.normal(mean, 0.03, (seeds, 3)) for mean in (0.1, 0.0))
        found = over_seeds((data + first) - (data + second), lowest=-1.0)
        held += found.low <= 0.1 <= found.high
    assert 0.93 <= held / 2000 <= 0.97


@pytest.mark.parametrize("scores", [np.zeros((1, 4)), np.zeros(3), np.array([[0.5], [np.nan]])])
def test_over_seeds_refuses_what_it_cannot_tell(scores):
    with pytest.raises(ValueError, match="scores must be"):
        over_seeds(scores)


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


@pytest.mark.parametrize("totals", [(200, 200, 200, 200), (60, 60, 60), (60, 200, 600)])
def test_the_mean_of_paired_differences_covers_the_truth(totals):
    # Large differences: a mean of centres that are each drawn towards 0 covers 91 % of these.
    generator = np.random.default_rng(0)
    tasks = np.repeat(np.arange(len(totals)), totals)
    held = 0
    for _ in range(1000):
        drawn = generator.random(len(tasks))
        first, second = drawn < 0.95, drawn > 0.995  # exclude each other
        found = paired_difference(first, second, tasks)
        held += found.low <= 0.945 <= found.high
    assert held >= 930


def test_the_mean_of_paired_differences_stands_around_its_figure():
    first, second = np.repeat([1, 0], [190, 10]), np.zeros(200)
    one = paired_difference(first, second)
    four = paired_difference(np.tile(first, 4), np.tile(second, 4), np.repeat(range(4), 200))
    assert four.value - four.low == pytest.approx((one.value - one.low) / 2)
    assert four.high - four.value == pytest.approx((one.high - one.value) / 2)


def test_paired_difference_refuses_bad_input():
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference([1, 0], [1])
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="0 or 1"):
        paired_difference([0.5, 1], [1, 0])


def test_sums_round_alike_on_every_python():
    assert _in_order([1.0, 1e16, -1e16]) == 0.0
    assert _in_order(iter([0.1, 0.2, 0.3])) == (0.1 + 0.2) + 0.3
