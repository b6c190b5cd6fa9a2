"""Print the speed lines after everything that pytest prints."""

import pytest

LINES = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[LINES] = []


@pytest.fixture
def closing_lines(request):
    return request.config.stash[LINES]


def pytest_unconfigure(config):
    for column in zip(*config.stash[LINES], strict=True):
        print("\n".join(column))
