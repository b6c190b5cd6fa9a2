"""`python -m benchmark tables`: Markdown, LaTeX and CSV from one pandas frame.

Every entry has our figure, or `not run`, and the published one in parentheses where there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

import pandas

from benchmark.figures.answers import answer
from benchmark.figures.published import SOURCE, published
from benchmark.figures.results import LEGEND, ONE_SEED, UNEVEN, Results, legend
from benchmark.protocol import EPISODES
from benchmark.report.layouts import LAYOUTS, Layout
from benchmark.report.pie_layouts import TableEntry
from dexfw_envs.files import atomic_write_bytes

NOT_RUN = "not run"
# Where a run wrote, which changes no figure; its summary in `runs/` keeps the whole command.
OUTPUT_OPTIONS = re.compile(r" --(?:runs|records) \S+")
COUNTS = ("configurations", "trajectories", "objects handled")
INTERVALS = (
    "Intervals are 95 %. In square brackets: over the episodes of all seeds, so where other "
    "episodes of the same policies would come out (success: Wilson; its mean over tasks: a score "
    "interval stratified by task; differences: Bonett and Price, paired by scene, for means by "
    'MOVER; progress: normal). After "seeds": over the seeds, so where other runs would come out '
    "(Student's t of the seeds' means, differences paired by seed, from two seeds on). None is "
    "over both. "
    + ". ".join(f"{mark}: {meaning}" for mark, meaning in LEGEND.items())
    + f". {EPISODES} episodes per seed. In parentheses: {SOURCE}."
)
#: In the CSV, in place of the marks.
MARKS_AS_WORDS = {ONE_SEED: "one seed", UNEVEN: "seeds differ", "": ""}


def frame(results: Results, layouts: Sequence[Layout] = LAYOUTS) -> pandas.DataFrame:
    """Return all figures of all tables, one a row: ours, the published one and where ours is from.

    Figures of ours that were not run are NaN.
    """
    rows = []
    for layout in layouts:
        for entry in layout.entries(results.turns):
            rows.append(_frame_row(results, layout, entry))

    numbers = ["value", "low", "high", "seed_low", "seed_high", "paper", "paper_spread"]
    columns = list(dict.fromkeys([*rows[0], *OURS, "commits"]))  # each once
    whole = pandas.DataFrame(rows).reindex(columns=columns)
    return whole.astype(dict.fromkeys(numbers, float)).fillna({"commits": ""})


#: What is copied from a measurement of ours.
OURS = ("value", "low", "high", "seed_low", "seed_high")


def _frame_row(results: Results, layout: Layout, entry: TableEntry) -> dict[str, Any]:
    """One entry of a table; what only a measurement has is left out where it was not run."""
    labels, column, query = entry
    theirs = published(query)
    row: dict[str, Any] = {
        "table": layout.name,
        "row": labels,
        "column": column,
        **asdict(query),
        "paper": theirs and theirs.value,
        "paper_spread": theirs and theirs.spread,
    }
    ours = answer(results, query)
    if ours is None:
        nothing = {"run": False, "n": 0, "seeds": "", "mark": "", "commands": (), "runs": ()}
        return row | nothing

    commands = {OUTPUT_OPTIONS.sub("", command) for _, command in ours.made_by}
    row |= {
        "run": True,
        "n": ours.n,
        "seeds": " ".join(str(seed) for seed in ours.seeds),
        "mark": ours.mark,
        "commands": tuple(sorted(commands)),
        "runs": ours.runs,
    }
    row |= {name: getattr(ours, name) for name in OURS}
    row["commits"] = " ".join(sorted({commit for commit, _ in ours.made_by}))
    return row


# --- entries as text


def number(value: float, quantity: str) -> str:
    """A figure with as many digits as it deserves."""
    if quantity.startswith("number") or quantity in COUNTS:
        return f"{value:.1f}".removesuffix(".0")
    decimals = 1
    if "[rad]" in quantity:
        decimals = 3
    elif any(word in quantity for word in ("hours", "joint", "variance", "AUROC")):
        decimals = 2
    return f"{value:.{decimals}f}"


def text(row: Any) -> str:
    """Our figure with its mark and intervals, or that it was not run, and the published one."""
    quantity = row.quantity
    parts = []
    if not row.run:
        parts.append(NOT_RUN)
    else:
        parts.append(number(row.value, quantity) + row.mark)
        if not isnan(row.low):
            parts.append(f"[{number(row.low, quantity)}, {number(row.high, quantity)}]")
        if not isnan(row.seed_low):
            ends = f"{number(row.seed_low, quantity)}, {number(row.seed_high, quantity)}"
            parts.append(f"seeds [{ends}]")

    if not isnan(row.paper):
        theirs = number(row.paper, quantity)
        if not isnan(row.paper_spread):
            theirs += f" ± {row.paper_spread:.1f}"
        parts.append(f"({theirs})")
    return " ".join(parts)


def text_table(rows: pandas.DataFrame, layout: Layout) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of a table as text."""
    columns = list(dict.fromkeys(rows["column"]))
    lines: dict[tuple, dict[str, str]] = {}
    for row in rows.itertuples():
        lines.setdefault(row.row, {})[row.column] = text(row)
    body = [[*labels, *(cells.get(c, "") for c in columns)] for labels, cells in lines.items()]
    return [*layout.heads, *columns], body


# --- where figures come from


def provenance_lines(rows: pandas.DataFrame, results: Results) -> list[str]:
    """Lines that say what made a table: commits, versions, hardware, wall time, commands."""
    ran = rows[rows["run"]]
    runs = sorted({run for of_entry in ran["runs"] for run in of_entry})
    commits = sorted({word for words in ran["commits"] for word in words.split()})
    lines = [f"commit {commit}" for commit in commits]

    stacks: dict[str, list[str]] = {}  # runs by the versions and the machine that they ran with
    absent = []
    for run in runs:
        name = "-".join(str(part) for part in run if part)
        summary = _summary(results, run)
        if summary is None:
            absent.append(name)
            continue
        minutes = sum(summary["seconds"].values()) / 60
        stack = "; ".join(_flat([summary], part) for part in ("versions", "machine"))
        line = f"run {name}: {minutes:.0f} min on {summary['threads']} thread(s)"
        stacks.setdefault(stack, []).append(line)
    for stack, of_stack in sorted(stacks.items()):
        lines.append(f"with {stack}")
        lines += of_stack

    if absent:
        names = ", ".join(absent)
        lines.append(f"no summary, so neither versions, hardware nor wall time, of: {names}")
    commands = sorted({command for of_entry in ran["commands"] for command in of_entry})
    return lines + commands


def _summary(results: Results, run: tuple[str, str, str, int]) -> dict | None:
    method, variant, task, seed = run
    found = results.summaries.get((method, variant, task), [])
    return next((kept for kept in found if kept["seed"] == seed), None)


# --- three forms


def markdown(rows: pandas.DataFrame, layout: Layout, results: Results) -> str:
    """A table for a page, with what made it."""
    head, body = text_table(rows, layout)
    lines = [f"# {layout.title}", "", _line(head), _line(["---"] * len(head)), *map(_line, body)]
    lines += ["", INTERVALS, "", layout.note, "", "```text"]
    lines += provenance_lines(rows, results) or [NOT_RUN]
    return "\n".join([*lines, f"regenerate: python -m benchmark tables{_preset(results)}", "```"])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _preset(results: Results) -> str:
    return "" if results.root == results.folder else f" --preset {results.preset}"


ESCAPES = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$",
           "|": r"\textbar{}", "$": r"\$", "{": r"\{", "}": r"\}",
           ONE_SEED: r"\dag{}", UNEVEN: r"\ddag{}"}  # fmt: skip


def escape(words: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(ESCAPES.get(letter, letter) for letter in words)


def latex(rows: pandas.DataFrame, layout: Layout) -> str:
    """A table for a paper, `tabular` alone needed; what made it is on the page beside it."""
    head, body = text_table(rows, layout)
    lines = [f"% {line}" for line in (f"made by: {layout.name}.md", INTERVALS, layout.note)]
    lines += [r"\begin{table}", rf"\caption{{{escape(layout.title)}}}", r"\centering"]
    width = len(layout.heads)
    lines += [rf"\begin{{tabular}}{{{'l' * width}{'r' * (len(head) - width)}}}", r"\hline"]
    lines += [_tex(head), r"\hline", *map(_tex, body), r"\hline"]
    lines.append(r"\end{tabular}")
    if marks := legend("".join(rows["mark"])):
        lines.append(rf"\par\footnotesize {escape(marks)}")
    return "\n".join([*lines, r"\end{table}"])


def _tex(cells: Sequence[str]) -> str:
    # A bracket after a line's end would be taken for its optional argument.
    return " & ".join(map(escape, cells)) + r" \\{}"


def csv(rows: pandas.DataFrame, results: Results) -> str:
    """All figures of a table, one a line, unrounded."""
    flat = rows.assign(
        row=[" / ".join(labels) for labels in rows["row"]],
        commands=[
            "those of the tasks" if row.task == "mean" and row.run else " ; ".join(row.commands)
            for row in rows.itertuples()
        ],
        value=[row.value if row.run else NOT_RUN for row in rows.itertuples()],
        mark=[MARKS_AS_WORDS[mark] for mark in rows["mark"]],
    )
    known = [[_summary(results, run) for run in found] for found in rows["runs"]]
    kept = [[one for one in found if one is not None] for found in known]
    flat["versions"] = [_flat(found, "versions") for found in kept]
    flat["hardware"] = [_flat(found, "machine") for found in kept]
    flat["minutes"] = [
        round(sum(sum(one["seconds"].values()) for one in found) / 60, 1) if found else None
        for found in kept
    ]
    return flat.drop(columns=["runs", "run"]).to_csv(index=False, lineterminator="\n").rstrip()


def _flat(found: Sequence[dict], name: str) -> str:
    texts = {", ".join(f"{k} {v}" for k, v in sorted(one[name].items())) for one in found}
    return " ; ".join(sorted(texts))


def make_tables(results: Results) -> tuple[pandas.DataFrame, dict[str, bytes]]:
    """Return the frame, and every table in three forms by the name of its file."""
    whole = frame(results)
    made = {}
    for layout in LAYOUTS:
        rows = whole[whole["table"] == layout.name]
        forms = {"md": markdown(rows, layout, results), "tex": latex(rows, layout)}
        for suffix, content in (forms | {"csv": csv(rows, results)}).items():
            made[f"{layout.name}.{suffix}"] = (content + "\n").encode()
    return whole, made


def write_tables(results: Results) -> tuple[pandas.DataFrame, list[Path]]:
    """Write every table in three forms below `tables/`; return the frame and the files."""
    whole, made = make_tables(results)
    for name, content in made.items():
        atomic_write_bytes(results.root / "tables" / name, content)
    missing = int((~whole["run"]).sum())
    print(f"{len(whole) - missing} of {len(whole)} figures are there", file=sys.stderr)
    return whole, [results.root / "tables" / name for name in made]
