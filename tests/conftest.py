"""Options of the conformance suite: which backend, and a report to hand on."""

from __future__ import annotations

import json
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from extras import lacking

from dexfw_envs import provenance
from dexfw_envs.backends import backend_entry

if find_spec("hypothesis"):  # the environments of clients do without
    from hypothesis import HealthCheck, settings

    # Neither of the two measures of wall time: a busy machine is no fault.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")

PACKAGES = ("dexfw", "gymnasium", "mujoco", "numpy", "omnigibson", "isaacsim", "torch")


def pytest_addoption(parser):
    parser.addoption("--backend", default="mujoco",
                     help="backend that the conformance suite tests, or its module")  # fmt: skip
    parser.addoption("--report", type=Path, help="file for the conformance suite's report")


def skip_what_is_lacking():
    """Run the rest; where it fails for want of an extra, skip and say which module it is."""
    try:
        return (yield)
    except ImportError as error:
        if (name := lacking(error)) is None:
            raise
        pytest.skip(f"{name} is not installed here: it comes with an extra")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from skip_what_is_lacking())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from skip_what_is_lacking())


def pytest_configure(config):
    try:
        backend_entry(config.getoption("--backend"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    if config.getoption("--report"):
        config.pluginmanager.register(Report(config), "conformance-report")


def pytest_unconfigure(config):
    """End Isaac Sim last: it may take the process with it."""
    from dexfw_envs.backends.omnigibson.session import _sessions

    for running in _sessions:
        running.simulator.shutdown()


class Report:
    """What ran where, with what outcome, as one JSON file that is whole after every test."""

    def __init__(self, config):
        self.path, self.backend = config.getoption("--report"), config.getoption("--backend")
        self.tests, self.stopped, self.commit = {}, "", provenance.commit()

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.tests[report.nodeid] = {
                "outcome": report.outcome,
                "seconds": round(report.duration, 3),
                "printed": report.capstdout[-2000:],
                "message": str(report.longrepr)[-4000:] if report.outcome != "passed" else "",
            }
            self.write()

    def pytest_keyboard_interrupt(self, excinfo):
        self.stopped = str(excinfo.value)

    def pytest_sessionfinish(self):
        self.write()

    def write(self):
        outcomes = [test["outcome"] for test in self.tests.values()]
        report = {
            "backend": self.backend,
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "commit": self.commit,
            "versions": {name: known_version(name) for name in PACKAGES},
            "stopped": self.stopped,
            "counts": {name: outcomes.count(name) for name in ("passed", "failed", "skipped")},
            "tests": self.tests,
        }
        self.path.write_text(json.dumps(report, indent=1) + "\n")


def machine():
    from dexfw_envs.backends.omnigibson.facade import requirements

    found = requirements.look()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "gpus": list(found.gpus),
        "isaac_sim": found.isaac_version,
        "command": " ".join(sys.argv[1:]),
    }


def known_version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@pytest.fixture(scope="session")
def backend_name(request):
    return request.config.getoption("--backend")
