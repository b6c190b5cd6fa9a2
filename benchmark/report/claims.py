"""What the two papers claim, what the stored results say of it, and the verdict that follows.

A verdict follows from figures by one rule for each kind of claim, so that later runs renew it. All
intervals are of 95 %: over the episodes and, from two seeds on, over the seeds.

- An effect is one success less another. It reproduces where all intervals lie above 0 and it has
  half the published size or more; partly where it is smaller, or of one seed; it does not where an
  interval reaches 0.
- A level of success reproduces where all intervals lie at the published one or above; partly where
  one holds it, or for one seed; it does not where it lies above them.
- Two figures without intervals reproduce where their gap is half the published one or more; partly
  from a tenth on.

A claim whose terms of comparison differ has a highest verdict, and its reason says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.figures.answers import answer, contrast, tasks_of
from benchmark.figures.published import published
from benchmark.figures.query import Query
from benchmark.figures.results import Measurement, Results

REPRODUCES = "reproduces"
PARTLY = "partly"
DOES_NOT = "does not"
NOT_RUN = "not run"
#: From the worst to the best.
ORDER = (NOT_RUN, DOES_NOT, PARTLY, REPRODUCES)

SAME_SIZE = 0.5  # share of a published effect from which on ours counts as of its size
SHOWS = 0.1  # share of a published gap below which a figure without interval shows nothing


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim.

    Attributes:
        theirs: The published figure, as text.
        ours: Our figure with its intervals, as text.
        seeds: Seeds of our runs.
        verdict: What follows from the figures.
    """

    theirs: str
    ours: str
    seeds: tuple[int, ...]
    verdict: str


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        paper: Name of the method that the paper is about.
        says: The claim, in our words.
        find: Reads the figures from the results.
        expected: Verdict for which `why` was written.
        why: One sentence on the reason.
        highest: Best verdict that the comparison allows.
        main: Whether the README shows it.
    """

    paper: str
    says: str
    find: Callable[[Results], Finding]
    expected: str
    why: str
    highest: str = REPRODUCES
    main: bool = False


def judge(claim: Claim, results: Results) -> Finding:
    """Return the finding of a claim, its verdict no better than the comparison allows."""
    found = claim.find(results)
    verdict = min(found.verdict, claim.highest, key=ORDER.index)
    return replace(found, verdict=verdict)


# --- kinds of claims


def level(query: Query) -> Callable[[Results], Finding]:
    """A level of success that the paper reports."""

    def find(results: Results) -> Finding:
        ours = answer(results, query)
        theirs = _published(query)
        if ours is None:
            return _not_run(percent(theirs))
        return Finding(percent(theirs), words(ours), ours.seeds, judge_level(ours, theirs))

    return find


def effect(
    better: Query, worse: Query, split: str = "T_OEP", theirs: float | None = None, note: str = ""
) -> Callable[[Results], Finding]:
    """A difference in success: the first policy's less the second's, in the same scenes.

    Args:
        better: The policy that the paper puts ahead.
        worse: The other one.
        split: Where both are tested.
        theirs: The published difference, where it does not follow from two published figures.
        note: What to add to it.
    """

    def find(results: Results) -> Finding:
        known = _published_gap(better, worse) if theirs is None else theirs
        text = "no figure" if known is None else points(known)
        ours = contrast(results, pairs_of(better, worse), split)
        if ours is None:
            return _not_run(text + note)
        return Finding(text + note, words(ours, signed=True), ours.seeds, judge_effect(ours, known))

    return find


def all_of(*parts: Callable[[Results], Finding]) -> Callable[[Results], Finding]:
    """Several figures of one claim: it reproduces if all do, and partly if some do."""

    def find(results: Results) -> Finding:
        each = [part(results) for part in parts]
        theirs = "; ".join(dict.fromkeys(found.theirs for found in each))
        ours = "; ".join(dict.fromkeys(found.ours for found in each))
        seeds = tuple(sorted({seed for found in each for seed in found.seeds}))
        return Finding(theirs, ours, seeds, judge_several([found.verdict for found in each]))

    return find


def gap(
    better: Query,
    worse: Query,
    digits: int = 1,
    unit: str = "",
    label: str = "",
    less_is_better: bool = False,
) -> Callable[[Results], Finding]:
    """Two figures that have no interval of their own, side by side.

    Args:
        better: The figure that the paper puts ahead.
        worse: The other one.
        digits: Decimals shown.
        unit: What follows the figures.
        label: What precedes ours.
        less_is_better: The smaller figure is the better one, such as a time.
    """

    def find(results: Results) -> Finding:
        theirs = [_published(one) for one in (better, worse)]
        text = _side_by_side(theirs, digits, unit)
        ours = [answer(results, one) for one in (better, worse)]
        if None in ours:
            return _not_run(text)
        values = [found.value for found in ours if found is not None]
        seeds = tuple(sorted({seed for found in ours if found for seed in found.seeds}))
        sign = -1.0 if less_is_better else 1.0
        verdict = judge_gap(sign * (values[0] - values[1]), sign * (theirs[0] - theirs[1]))
        return Finding(text, label + _side_by_side(values, digits, unit), seeds, verdict)

    return find


def at_most(query: Query, digits: int = 1, unit: str = "") -> Callable[[Results], Finding]:
    """A plain figure that reproduces where it is the published one or smaller."""

    def find(results: Results) -> Finding:
        ours = answer(results, query)
        theirs = _published(query)
        text = f"{theirs:.{digits}f}{unit}"
        if ours is None:
            return _not_run(text)
        verdict = REPRODUCES if ours.value <= theirs else DOES_NOT
        return Finding(text, f"{ours.value:.{digits}f}{unit}", ours.seeds, verdict)

    return find


def same(query: Query, unit: str = "") -> Callable[[Results], Finding]:
    """A number that the curriculum sets: it is the published one or not."""

    def find(results: Results) -> Finding:
        ours = answer(results, query)
        theirs = _published(query)
        text = f"{theirs:.0f}{unit}"
        if ours is None:
            return _not_run(text)
        verdict = REPRODUCES if ours.value == theirs else DOES_NOT
        return Finding(text, f"{ours.value:.0f}{unit}", ours.seeds, verdict)

    return find


def never_run(theirs: str) -> Callable[[Results], Finding]:
    """A claim that no run here can tell of."""
    return lambda results: _not_run(theirs)


def _not_run(theirs: str) -> Finding:
    return Finding(theirs, NOT_RUN, (), NOT_RUN)


# --- verdicts


def judge_level(ours: Measurement, theirs: float) -> str:
    """Verdict on a level of success."""
    lows = [end for end in (ours.low, ours.seed_low) if end is not None]
    highs = [end for end in (ours.high, ours.seed_high) if end is not None]
    if min(lows) >= theirs and len(ours.seeds) > 1:
        return REPRODUCES
    return PARTLY if max(highs) >= theirs else DOES_NOT


def judge_effect(ours: Measurement, theirs: float | None) -> str:
    """Verdict on a difference; without a published size its sign alone counts."""
    lows = [end for end in (ours.low, ours.seed_low) if end is not None]
    if not lows or min(lows) <= 0.0:
        return DOES_NOT
    small = theirs is not None and ours.value < SAME_SIZE * theirs
    return PARTLY if small or len(ours.seeds) == 1 else REPRODUCES


def judge_gap(ours: float, theirs: float) -> str:
    """Verdict on a gap between two figures without intervals."""
    share = ours / theirs
    if share < SHOWS:
        return DOES_NOT
    return REPRODUCES if share >= SAME_SIZE else PARTLY


def judge_several(verdicts: Sequence[str]) -> str:
    """Verdict on a claim of several figures."""
    if len(set(verdicts)) == 1:
        return verdicts[0]
    if set(verdicts) <= {NOT_RUN, DOES_NOT}:
        return DOES_NOT
    return PARTLY


# --- figures


def pairs_of(better: Query, worse: Query) -> list[tuple[Query, Query]]:
    """The two policies, once for each task if they are asked of the mean."""
    tasks = tasks_of(better.method) if better.task == "mean" else (better.task,)
    return [(replace(better, task=task), replace(worse, task=task)) for task in tasks]


def _published(query: Query) -> float:
    found = published(query)
    if found is None:
        raise ValueError(f"the papers have no figure for {query}")
    return found.value


def _published_gap(better: Query, worse: Query) -> float | None:
    figures = [published(one) for one in (better, worse)]
    values = [figure.value for figure in figures if figure is not None]
    return round(values[0] - values[1], 1) if len(values) == len(figures) else None


# --- text


def words(found: Measurement, signed: bool = False) -> str:
    """A figure with its intervals: over episodes, and after "seeds" over the seeds."""
    sign = "+" if signed else ""
    parts = [f"{found.value:{sign}.1f}{found.mark}"]
    if found.low is not None:
        parts.append(f"[{found.low:.1f}, {found.high:.1f}]")
    if found.seed_low is not None:
        parts.append(f"seeds [{found.seed_low:.1f}, {found.seed_high:.1f}]")
    return " ".join(parts)


def percent(value: float) -> str:
    """A published success."""
    return f"{value:.1f}"


def points(value: float) -> str:
    """A published difference in success."""
    return f"{value:+.1f}"


def _side_by_side(values: Iterable[float], digits: int, unit: str) -> str:
    first, second = (f"{value:.{digits}f}{unit}" for value in values)
    return f"{first} against {second}"
