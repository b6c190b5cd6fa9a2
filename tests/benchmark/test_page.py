"""Plots and the report page, opened in a real browser where there is one."""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

pytest.importorskip("matplotlib", reason="plots need the extra report")
pytest.importorskip("pandas", reason="tables need the extra report")

from scenes import HUNG
from test_tables import summary, write

from benchmark.__main__ import main
from benchmark.figures.results import Measurement
from benchmark.protocol import ROOT
from benchmark.report.drawing import BLUE, error_bars, panels
from benchmark.report.layouts import LAYOUTS
from benchmark.report.plots import CYCLE, PLOTS, WIDTH

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
PROBE = """<script>
const errors = []; window.addEventListener("error", e => errors.push(String(e.message || e)), true);
window.addEventListener("load", async () => {
  const films = [...document.querySelectorAll("video")];
  for (let k = 0; k < 100 && films.some(f => f.readyState < 1 && !f.error); k++)
    await new Promise(go => setTimeout(go, 50));
  const found = {
    images: [...document.images].map(i => i.naturalWidth), errors: errors,
    films: films.map(f => f.videoWidth), links: [...document.querySelectorAll("nav a")].map(
      a => document.querySelector(a.getAttribute("href")) !== null),
  };
  document.body.innerHTML = "<pre id=found>" + JSON.stringify(found) + "</pre>";
});
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    for turn in (1, 2, 3):
        for policy in ("base", "combined"):
            write(root, 4 * turn, iteration=turn, policy=policy)
    summary(root)
    films = root / "videos" / "dexflywheel" / "Grasp"
    films.mkdir(parents=True)
    for name in ("i3-combined-000-egg-success", "i3-combined-001-tennis_ball-dropped"):
        film(films / f"{name}.mp4")
    assert main(["report", "--results", str(root)]) == 0
    return root


def film(path) -> None:
    """A film of a few frames, or only its name where PyAV is missing."""
    try:
        import numpy as np

        from dexfw_envs.evaluation.video import VideoWriter

        writer = VideoWriter(path, 20.0)
        for level in (0, 100, 200):
            writer.add(np.full((64, 64, 3), level, np.uint8))
        writer.close()
    except ImportError:
        path.touch()


def test_every_plot_is_there_in_both_forms_as_wide_as_a_column(folder):
    for name in PLOTS:
        png = (folder / "plots" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) < 200_000
        width = int.from_bytes(png[16:20], "big")
        assert width == int(200 * WIDTH)
        svg = (folder / "plots" / f"{name}.svg").read_text()
        assert f'width="{72 * WIDTH:.1f}' in svg.replace("pt", "")
        assert "<dc:date>" not in svg
    assert len(set(CYCLE)) == len(CYCLE)


def test_what_was_not_run_is_said_in_the_plots(folder):
    from benchmark.figures.results import Results
    from benchmark.report.plots import comparison, success_over_turns

    results = Results(folder)
    panels = success_over_turns(results).axes
    told = {axes.get_title(): [t.get_text() for t in axes.texts] for axes in panels}
    assert told == {"Grasp": [], **{task: ["not run"] for task in ("Pour", "Lift", "Handover")}}
    (axes,) = comparison(results).axes
    assert [t.get_text() for t in axes.texts] == ["not run"] * 24
    assert [bar.get_height() for bar in axes.patches if bar.get_height()] == [60.0]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_points_of_one_seed_are_open():
    _, [(_, axes)] = panels(("Grasp",))
    several = Measurement(90.0, 85.0, 94.0, seeds=(1, 2))
    alone = Measurement(50.0, 40.0, 60.0, seeds=(1,))
    error_bars(axes, [(1, several)], color=BLUE)
    assert "one seed" not in axes.get_legend_handles_labels()[1]
    error_bars(axes, [(1, several), (2, alone)], color=BLUE)
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    drawn = [list(zip(*line.get_data(), strict=True)) for line in hollow]
    assert drawn == [[(2, 50.0)], []]  # the second is for the legend
    assert "one seed" in axes.get_legend_handles_labels()[1]


def test_the_page_holds_everything_and_asks_no_network(folder):
    page = (folder / "index.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert sum(tag == "table" for tag, _ in tags.found) == len(LAYOUTS)
    pictures = [known["src"] for tag, known in tags.found if tag == "img"]
    for source, name in zip(pictures, PLOTS, strict=True):
        drawn = unquote(source.removeprefix("data:image/svg+xml,"))
        assert drawn.split() == (folder / "plots" / f"{name}.svg").read_text().split()
    films = [known["src"] for tag, known in tags.found if tag == "video"]
    assert len(films) == 2 and all((folder / source).is_file() for source in films)
    linked = [known["href"] for tag, known in tags.found if tag == "a"]
    inside = {known["id"] for _, known in tags.found if "id" in known}
    for target in linked:
        assert target[1:] in inside if target[0] == "#" else (folder / target).is_file(), target
    assert "turn 3, combined: tennis ball, dropped" in page and 'class="lost"' in page
    assert "python -m benchmark run --table ablations" in page


def test_the_report_is_the_same_bytes_again(folder):
    """Also in another process, which puts sets of words in another order."""

    def content():
        return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    before = content()
    words = [sys.executable, "-m", "benchmark", "report", "--results", str(folder)]
    subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "7"}, check=True)
    after = content()
    assert [path.name for path in after if after[path] != before.get(path)] == []
    assert after.keys() == before.keys()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_page_without_errors(folder):
    page = (folder / "index.html").read_text()
    probed = folder / "probed.html"
    probed.write_text(page.replace("<head>", "<head>" + PROBE))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=20000", "--dump-dom", probed.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=HUNG, check=True)
    probed.unlink()
    match = re.search(r'<pre id="found">(.*?)</pre>', shown.stdout)
    assert match, shown.stdout[-500:]
    found = json.loads(unescape(match[1]))
    assert found["errors"] == [] and "CONSOLE" not in shown.stderr
    assert len(found["images"]) == len(PLOTS) and all(found["images"])
    assert all(found["links"])
    pytest.importorskip("av", reason="films need PyAV")
    assert found["films"] == [64, 64]


def test_a_page_without_films_says_so(tmp_path):
    assert main(["report", "--results", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    assert '<p class="absent">not run</p>' in page
