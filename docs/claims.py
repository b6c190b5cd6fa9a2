"""The table of claims: what reproduces and what does not, from the stored results alone."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmark` runs from the clone's root, wherever this is called

from benchmark.figures.results import Results, legend  # noqa: E402
from benchmark.report.claims import ORDER, Claim, Finding, judge  # noqa: E402
from benchmark.report.paper_claims import CLAIMS  # noqa: E402

HEADS = ("Claim", "Paper", "Here", "Seeds", "Verdict", "Why")
#: In place of a reason that was written for another verdict.
OUTDATED = "The verdict has changed with later runs; the reason is to be written anew."


@cache
def findings(folder: Path) -> tuple[tuple[Claim, Finding], ...]:
    """Every claim with what a folder of results says of it."""
    results = Results(folder)
    return tuple((claim, judge(claim, results)) for claim in CLAIMS)


def claims_table(folder: Path, paper: str) -> str:
    """All claims of a paper, a row each."""
    rows = [(claim, found) for claim, found in findings(folder) if claim.paper == paper]
    return _table(HEADS, [_row(claim, found) for claim, found in rows])


def main_claims(folder: Path) -> str:
    """The main claims of both papers, and how many of all have which verdict."""
    known = findings(folder)
    rows = [(claim.paper, *_row(claim, found)) for claim, found in known if claim.main]
    return _table(("Paper", *HEADS[:1], "Its figure", *HEADS[2:]), rows) + verdict_counts(folder)


def verdict_counts(folder: Path) -> str:
    """One line: how many claims have which verdict."""
    counts = Counter(found.verdict for _, found in findings(folder))
    parts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in reversed(ORDER))
    return f"\nAll {sum(counts.values())} claims: {parts}.\n"


def _row(claim: Claim, found: Finding) -> tuple[str, ...]:
    seeds = ", ".join(str(seed) for seed in found.seeds)
    why = claim.why if found.verdict == claim.expected else OUTDATED
    return claim.says, found.theirs, found.ours, seeds, f"**{found.verdict}**", why


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]
    text = "\n".join(lines) + "\n"
    note = legend(text)
    return f"{text}\n{note}.\n" if note else text
