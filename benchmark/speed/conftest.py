"""Print the speed lines after everything that pytest prints, and keep them if asked to."""

import os

import pytest

from benchmark.speed.record import keep

ROWS = pytest.StashKey[dict]()
LOAD = pytest.StashKey[float]()
LINES = {
    "steps_per_second": "env-steps-per-second {}: {:.0f}",
    "ratio_to_raw": "ratio-to-raw {}: {:.2f}",
}


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write results/speed/tasks.json")


def pytest_configure(config):
    config.stash[ROWS] = {}
    config.stash[LOAD] = os.getloadavg()[0]


@pytest.fixture
def rows(request):
    """What is measured, by id of the environment."""
    return request.config.stash[ROWS]


def pytest_unconfigure(config):
    rows = config.stash[ROWS]
    for name, line in LINES.items():
        for env_id, row in rows.items():
            setting = f"{env_id} worlds={row['worlds']} threads={row['threads']}"
            print(line.format(setting, row[name]))
    if rows and config.getoption("--record"):
        keep("tasks", config.stash[LOAD], rows)
