"""What the results say of the papers' claims, and the rules of the verdicts."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="records need pyarrow")
pytest.importorskip("scipy", reason="intervals over seeds need scipy")

from benchmark.figures.results import Measurement, Results
from benchmark.report.claims import (
    DOES_NOT,
    NOT_RUN,
    PARTLY,
    REPRODUCES,
    Claim,
    Finding,
    judge,
    judge_effect,
    judge_gap,
    judge_level,
    judge_several,
    words,
)
from benchmark.report.paper_claims import CLAIMS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stored():
    return Results(ROOT / "results")


def measured(value, low, high, seed_low=None, seed_high=None, seeds=(1, 2, 3)):
    return Measurement(value, low, high, 600, seeds, seed_low=seed_low, seed_high=seed_high)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.says)
def test_the_reason_of_a_claim_is_that_of_its_verdict(claim, stored):
    found = judge(claim, stored)
    assert found.verdict == claim.expected, f"write `why` anew: {found}"


def test_every_claim_is_named_once():
    names = [(claim.paper, claim.says) for claim in CLAIMS]
    assert len(set(names)) == len(names)


def test_without_results_nothing_is_claimed(tmp_path):
    empty = Results(tmp_path)
    by_design = "The third turn covers objects × surroundings × poses (mean over the tasks)"
    for claim in CLAIMS:
        found = judge(claim, empty)
        if claim.says != by_design:
            assert (found.verdict, found.seeds) == (NOT_RUN, ()), claim.says
            assert "not run" in found.ours, claim.says


def test_an_effect_needs_both_intervals_above_zero_and_half_the_size():
    assert judge_effect(measured(20, 15, 25, 10, 30), 30.0) == REPRODUCES
    assert judge_effect(measured(20, 15, 25, 10, 30), None) == REPRODUCES
    assert judge_effect(measured(14, 11, 17, 10, 18), 30.0) == PARTLY  # less than half of it
    assert judge_effect(measured(20, 15, 25, seeds=(1,)), 30.0) == PARTLY  # one seed
    assert judge_effect(measured(20, 15, 25, -1, 41), 30.0) == DOES_NOT  # not over the seeds
    assert judge_effect(measured(2, -1, 5, 1, 3), 3.0) == DOES_NOT  # not over the episodes
    assert judge_effect(measured(-20, -25, -15, -30, -10), 30.0) == DOES_NOT


def test_a_level_is_met_by_both_intervals():
    assert judge_level(measured(95, 94, 96, 92, 98), 90.0) == REPRODUCES
    assert judge_level(measured(95, 94, 96, 88, 100), 90.0) == PARTLY
    assert judge_level(measured(95, 94, 96, seeds=(1,)), 90.0) == PARTLY
    assert judge_level(measured(85, 84, 86, 80, 89), 90.0) == DOES_NOT


def test_a_gap_counts_by_its_share_of_the_published_one():
    assert judge_gap(15.0, 30.0) == REPRODUCES
    assert judge_gap(3.0, 30.0) == PARTLY
    assert judge_gap(2.9, 30.0) == DOES_NOT
    assert judge_gap(-15.0, 30.0) == DOES_NOT


def test_several_figures_reproduce_together_or_partly():
    assert judge_several([REPRODUCES, REPRODUCES]) == REPRODUCES
    assert judge_several([REPRODUCES, DOES_NOT]) == PARTLY
    assert judge_several([NOT_RUN, REPRODUCES]) == PARTLY
    assert judge_several([NOT_RUN, DOES_NOT]) == DOES_NOT
    assert judge_several([NOT_RUN, NOT_RUN]) == NOT_RUN


@pytest.mark.parametrize(("found", "told"), [(REPRODUCES, PARTLY), (DOES_NOT, DOES_NOT),
                                             (NOT_RUN, NOT_RUN)])  # fmt: skip
def test_a_comparison_on_unequal_terms_reproduces_partly_at_best(found, told):
    finding = Finding("+1.0", "+2.0", (1,), found)
    claim = Claim("A", "more", lambda results: finding, told, "", highest=PARTLY)
    assert judge(claim, None).verdict == told


def test_figures_are_told_with_their_intervals_and_marks():
    assert words(measured(8.54, 7.2, 9.8, -6.1, 23.1), signed=True) == (
        "+8.5 [7.2, 9.8] seeds [-6.1, 23.1]"
    )
    assert words(measured(8.5, 7.2, 9.8, seeds=(1,))) == "8.5† [7.2, 9.8]"
