"""Run the tests with this interpreter and its packages, and say how it went.

    python -m tests.tried "python 3.12" [--record]

`--record` keeps the outcome in `results/install.json`, from which docs/install.md is made.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from dexfw_envs.files import atomic_write_json
from dexfw_envs.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "results" / "install.json"
PACKAGES = (
    "gymnasium", "h5py", "mujoco", "numpy", "rich", "tyro",
    "av", "diffusers", "pyarrow", "safetensors", "tensorboard", "torch",
    "minari", "pillow", "matplotlib", "pandas",
)  # fmt: skip


class Outcomes:
    """What became of the tests, counted while pytest runs."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self._skip(report)
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self._skip(report)

    def _skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else "unknown"
        self.skipped[reason.removeprefix("Skipped: ")] += 1


def installed() -> dict[str, str]:
    """Return the versions of the packages that are there."""
    found = {}

    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue

    return found


def record(name: str, load: float, outcomes: Outcomes, path: Path = RECORD) -> None:
    """Put the outcome beside those of other environments."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    made = provenance()

    known[name] = {
        "commit": made["commit"],
        "machine": made["machine"],
        "load": round(load, 2),
        "python": platform.python_version(),
        "packages": installed(),
        "passed": outcomes.passed,
        "failed": sorted(outcomes.failed),
        "skipped": dict(sorted(outcomes.skipped.items())),
    }
    atomic_write_json(path, dict(sorted(known.items())))
    print(f"recorded in {path.relative_to(ROOT)}; show it: python docs/generate.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help='what the outcome is kept under, such as "python 3.12"')
    parser.add_argument("--record", action="store_true", help="keep the outcome")
    args = parser.parse_args()

    load = os.getloadavg()[0]
    outcomes = Outcomes()
    words = ["-n", "2", "-p", "no:benchmark", "-q", str(ROOT / "tests")]
    code = int(pytest.main(words, plugins=[outcomes]))

    total = outcomes.skipped.total()
    print(f"{args.name}: {outcomes.passed} passed, {len(outcomes.failed)} failed, {total} skipped")
    if args.record:
        record(args.name, load, outcomes)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
