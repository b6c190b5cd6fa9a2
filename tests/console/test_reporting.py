"""How far a long work has come: lines where no terminal is, with a clock that the tests turn."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from stub_env import GoPolicy, StubVectorEnv, make_scenarios

from dexfw_envs.catalog import make_scenario
from dexfw_envs.catalog.quota import CollectionQuota
from dexfw_envs.console import reporting
from dexfw_envs.console.reporting import Lines, NotebookBar, duration, progress, rate
from dexfw_envs.demos.collection import Tries
from dexfw_envs.episodes.rollout import run_episodes


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_line_every_thirty_seconds(clock):
    stream = io.StringIO()
    report = Lines("base 1", total=500, stream=stream, clock=clock)
    for done in range(1, 101):  # one a second
        clock.now += 1.0
        report(done)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "base 1: 30 of 500 (6 %), 1.0 per s, 8 min left",
        "base 1: 60 of 500 (12 %), 1.0 per s, 7 min left",
        "base 1: 90 of 500 (18 %), 1.0 per s, 7 min left",
    ]


def test_a_run_that_is_gone_on_with_counts_its_own_rate(clock):
    report = Lines("base 1", total=1000, start=400, stream=io.StringIO(), clock=clock)
    clock.now += 50.0
    assert report.line(500) == "base 1: 500 of 1000 (50 %), 2.0 per s, 4 min left"


def test_without_a_total_the_share_is_told_if_it_is_known(clock):
    report = Lines("A_EP 2", stream=io.StringIO(), clock=clock)
    clock.now += 40.0
    assert report.line(10, "7 won") == "A_EP 2: 10 done, 4.0 s each, 7 won"
    assert report.line(10, "7 won", 0.5) == "A_EP 2: 10 done (50 %), 4.0 s each, 40 s left, 7 won"


def test_nothing_done_yet_has_no_time_left(clock):
    report = Lines("cells", total=4, stream=io.StringIO(), clock=clock)
    clock.now += 31.0
    assert report.line(0, "2 under way") == "cells: 0 of 4 (0 %), none yet, 2 under way"


def test_words_for_rates_and_times():
    assert (rate(41.68), rate(0.25), rate(0.0)) == ("41.7 per s", "4.0 s each", "none yet")
    words = [duration(seconds) for seconds in (4.23, 56.4, 119.0, 720.0, 5400.0, 9000.0)]
    assert words == ["4.2 s", "56 s", "119 s", "12 min", "90 min", "2.5 h"]


def test_a_notebook_has_a_plain_bar_in_one_line(clock):
    stream = io.StringIO()
    bar = NotebookBar("base", total=4, stream=stream, clock=clock)
    for done in (1, 2, 4):
        clock.now += 1.0
        bar(done)
    bar.close()
    states = stream.getvalue().split("\r")[1:]
    assert [state.count("█") for state in states] == [8, 15, 30]
    assert "base: 4 of 4 (100 %)" in states[-1] and states[-1].endswith("\n")
    lengths = [len(state.rstrip("\n")) for state in states]
    assert lengths == sorted(lengths)  # what was longer is written over


@pytest.mark.parametrize(
    ("where", "kind"), [({"is_jupyter": True}, NotebookBar), ({"is_terminal": False}, Lines)]
)
def test_the_place_decides(where, kind, monkeypatch):
    place = SimpleNamespace(**{"is_jupyter": False, "is_terminal": True, **where})
    monkeypatch.setattr(reporting, "Console", lambda stderr: place)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with progress("x", 3) as report:
        assert type(report) is kind


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress("base 1", 3) as report:
        report(2, "1 won")
    reporting.say("base_1 begins")
    err = capsys.readouterr().err
    assert "base 1" in err and "\x1b" in err and "begins" not in err


def told(monkeypatch, capsys, work) -> list[str]:
    monkeypatch.setattr(reporting, "EVERY", 0.0)
    work()
    return capsys.readouterr().err.splitlines()


def test_episodes_are_counted(monkeypatch, capsys):
    def work():
        scenarios = make_scenarios(5)
        list(run_episodes(StubVectorEnv(2), GoPolicy(), scenarios, progress="evaluate"))

    lines = told(monkeypatch, capsys, work)
    assert lines[0].startswith("evaluate: 0 of 5 (0 %), none yet, 0 won")
    counts = [int(line.split()[1]) for line in lines]
    assert sorted(set(counts)) == [0, 1, 2, 3, 4, 5] and counts == sorted(counts)
    assert len(lines) > 20  # also at steps at which no episode ends


def test_tries_tell_their_share():
    scenarios = [make_scenario("Grasp", "baseball", "neutral", 0, seed=i) for i in range(4)]
    quota = CollectionQuota(scenarios, max_tries=2, max_successes=1)
    tries = Tries(quota, np.random.default_rng(0))
    assert tries.share == 0.0
    next(tries)
    next(tries)
    tries.quota.record(tries.scenes[0], True, 0)
    tries.quota.record(tries.scenes[1], False)
    assert tries.share == 0.25
