"""The tests of this folder need the clients, which `make test-clients` installs."""

from importlib.util import find_spec

import pytest

REASON = "the clients need an environment of their own, run: make test-clients"


def pytest_collection_modifyitems(items):
    if find_spec("stable_baselines3") is not None:
        return
    for item in items:
        if "clients" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason=REASON))
