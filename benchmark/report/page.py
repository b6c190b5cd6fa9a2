"""`python -m benchmark report`: one page with tables, plots, films and how each was made.

The page opens from disk and asks no network: plots are in it, films lie beside it in `videos/`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pandas

from benchmark.figures.results import Results, legend
from benchmark.kept.summaries import write_manifest
from benchmark.report.layouts import LAYOUTS, Layout
from benchmark.report.plots import PLOTS, write_plots
from benchmark.report.tables import INTERVALS, NOT_RUN, provenance_lines, text_table, write_tables
from dexfw_envs.files import atomic_write_bytes

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>DexFW results</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }}
h1 {{ margin-bottom: 0; }} h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #ddd; }}
nav a {{ margin-right: .9rem; }} a {{ color: #0072b2; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }}
th, td {{ padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #eee; }}
td small, .label {{ white-space: nowrap; }} td small {{ color: #555; }}
th {{ border-bottom: 2px solid #888; }} .label {{ text-align: left; }}
.absent {{ color: #8a8a8a; }}
.note, summary {{ color: #555; font-size: 13px; }}
pre {{ background: #f6f6f6; padding: .6rem; overflow-x: auto; font-size: 12px; }}
.plots, .films {{ display: flex; flex-wrap: wrap; gap: 1.2rem; }}
figure {{ margin: 0; }} figcaption {{ font-size: 13px; color: #555; max-width: 26rem; }}
.plots img {{ width: 26rem; max-width: 100%; }} video {{ width: 15rem; background: #eee; }}
.won {{ border-left: 4px solid #009e73; }} .lost {{ border-left: 4px solid #d55e00; }}
.films figcaption {{ padding-left: .4rem; max-width: 15rem; }}
</style>
</head>
<body>
<h1>DexFW results</h1>
<p class="note">{intervals}</p>
<nav>{links}</nav>
{body}
</body>
</html>
"""
BARS = "Bars at success are intervals of 95 % over the episodes of all seeds, as in the tables."
# A figure with its mark or that it was not run, an interval, the published figure.
PARTS_OF_CELL = re.compile(rf"{NOT_RUN}|(?:seeds )?\[.*?\]|\(.*?\)|\S+")
# The parts of the page beside the tables, by their anchor; the first comes before them.
PARTS = {"plots": "Plots", "films": "Films", "again": "Making it again"}


def table_html(rows: pandas.DataFrame, layout: Layout, results: Results) -> str:
    """A table with its note and, folded away, what made it."""
    head, body = text_table(rows, layout)
    labels = len(layout.heads)
    lines = [
        f'<h2 id="{layout.name}">{html.escape(layout.title)}</h2>',
        '<div class="wide"><table>',
    ]
    lines.append("<thead>" + _cells(head, labels, "th") + "</thead><tbody>")
    lines += [_cells(line, labels, "td") for line in body]
    lines.append("</tbody></table></div>")
    notes = [words + "." for words in [legend("".join(rows["mark"]))] if words]
    notes.append(layout.note)
    lines += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    made = html.escape("\n".join(provenance_lines(rows, results) or [NOT_RUN]))
    lines.append(f"<details><summary>What made it</summary><pre>{made}</pre></details>")
    forms = " ".join(f'<a href="tables/{layout.name}.{s}">{s}</a>' for s in ("md", "tex", "csv"))
    return "\n".join([*lines, f'<p class="note">{forms}</p>'])


def _cells(line: Sequence[str], labels: int, tag: str) -> str:
    found = []
    for index, words in enumerate(line):
        kind = "label" if index < labels else "absent" if words.startswith(NOT_RUN) else ""
        name = f' class="{kind}"' if kind else ""
        parts = [words] if index < labels or tag == "th" else PARTS_OF_CELL.findall(words)
        first, *more = map(html.escape, parts or [""])  # lines break between parts alone
        shown = " ".join([first, *(f"<small>{part}</small>" for part in more)])
        found.append(f"<{tag}{name}>{shown}</{tag}>")
    return "<tr>" + "".join(found) + "</tr>"


def plots_html(root: Path) -> str:
    """All plots, drawn into the page."""
    figures = []
    for name, (_, title) in PLOTS.items():
        svg = " ".join((root / "plots" / f"{name}.svg").read_text(encoding="utf-8").split())
        data = quote(svg, safe=" /:;,=()<>?!+*")  # shorter than base64 by a quarter
        picture = f'<img alt="{title}" src="data:image/svg+xml,{data}">'
        links = f'<a href="plots/{name}.png">png</a> <a href="plots/{name}.svg">svg</a>'
        figures.append(f"<figure>{picture}<figcaption>{title} {links}</figcaption></figure>")
    note = f'<p class="note">{html.escape(BARS)}</p>'
    return note + '\n<div class="plots">' + "\n".join(figures) + "</div>"


def films_html(root: Path) -> str:
    """Films by method and task, turn by turn: `videos/<method>/<task>/i1-base-000-egg-success.mp4`.

    Text says so where there are none.
    """
    parts = []
    for folder in sorted(path for path in (root / "videos").glob("*/*") if path.is_dir()):
        method, task = folder.parts[-2:]
        films = [_film(path, root) for path in sorted(folder.glob("*.mp4"))]
        if films:
            title = html.escape(f"{task}, {method}")
            parts.append(f'<h3>{title}</h3>\n<div class="films">{"".join(films)}</div>')
    return "\n".join(parts) or f'<p class="absent">{NOT_RUN}</p>'


def _film(path: Path, root: Path) -> str:
    turn, policy, _, name, outcome = path.stem.split("-", 4)
    words = f"turn {turn[1:]}, {policy}: {name}, {outcome}".replace("_", " ")
    kind = "won" if outcome == "success" else "lost"
    source = html.escape(path.relative_to(root).as_posix())
    film = f'<video controls muted preload="metadata" src="{source}"></video>'
    return f'<figure class="{kind}">{film}<figcaption>{html.escape(words)}</figcaption></figure>'


def again_html(results: Results) -> str:
    """The commands that make everything here again."""
    preset = "" if results.root == results.folder else f" --preset {results.preset}"
    lines = [
        f"python -m benchmark cells{preset}     # the grid: what is done, what the rest would cost",
        f"python -m benchmark run{preset}       # run what is missing, go on with what was cut",
        f"python -m benchmark report{preset}    # tables, plots and this page",
        *(f"python -m benchmark run{preset} --table {one.name}" for one in LAYOUTS),
        "python -m benchmark show --method dexflywheel --task Grasp --iteration 3 --json",
    ]
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def write_report(results: Results) -> Path:
    """Write tables, plots, manifest and `index.html`, and return the page's path."""
    whole, _ = write_tables(results)
    write_plots(results)
    write_manifest(results.root)
    made = (plots_html(results.root), films_html(results.root), again_html(results))
    first, *others = (
        f'<h2 id="{name}">{title}</h2>\n{content}'
        for (name, title), content in zip(PARTS.items(), made, strict=True)
    )
    parts = [table_html(whole[whole["table"] == one.name], one, results) for one in LAYOUTS]
    names = {"plots": PARTS["plots"]} | {one.name: one.title for one in LAYOUTS} | PARTS
    links = " ".join(f'<a href="#{name}">{html.escape(title)}</a>' for name, title in names.items())
    parts = [first, *parts, *others]
    page = PAGE.format(intervals=html.escape(INTERVALS), links=links, body="\n".join(parts))
    path = results.root / "index.html"
    atomic_write_bytes(path, page.encode())
    return path
