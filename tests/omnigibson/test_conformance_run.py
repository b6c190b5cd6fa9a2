"""Commands: the one for a machine with a GPU, what it writes and how it stops; and make's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source import ROOT

from dexfw_envs.backends.omnigibson.facade import requirements


def run(report: Path, *arguments: str) -> tuple[subprocess.CompletedProcess, dict]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    done = subprocess.run(
        [*command, "--report", str(report)], cwd=ROOT, capture_output=True, text=True
    )
    return done, json.loads(report.read_text())


def test_it_stops_with_one_message_where_something_is_missing(tmp_path):
    try:
        requirements.check(requirements.look())
        pytest.skip("nothing is missing here")
    except requirements.MissingRequirementError as error:
        message = str(error)
    done, report = run(tmp_path / "report.json", "tests/conformance", "--backend", "omnigibson")
    assert done.returncode == 4
    assert message in report["stopped"] and message in done.stdout
    assert report["backend"] == "omnigibson" and report["counts"]["passed"] == 0
    assert "Traceback" not in done.stdout + done.stderr


def test_a_report_says_what_ran_where(tmp_path):
    name = "tests/conformance/test_api.py::test_the_same_seed_begins_alike[Grasp]"
    done, report = run(tmp_path / "report.json", name)
    assert done.returncode == 0, done.stdout
    assert report["backend"] == "mujoco" and report["stopped"] == ""
    assert report["counts"] == {"passed": 1, "failed": 0, "skipped": 0}
    [(test, result)] = report["tests"].items()
    assert test == name and result["outcome"] == "passed"
    assert report["versions"]["mujoco"] and report["machine"]["python"] and report["commit"]
    assert set(report["machine"]) >= {"gpus", "isaac_sim", "system", "command"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_builds_the_environments_from_nothing(tmp_path):
    def plan(target, *variables):
        places = (f"VENV={tmp_path / 'venv'}", f"OMNIGIBSON={tmp_path / 'og'}")
        command = ["make", "-n", target, *places, *variables]
        # A make above, which may have started these tests, hands its variables down.
        alone = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
        done = subprocess.run(
            command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True
        )  # fmt: skip
        return done.stdout

    release = f"omnigibson=={requirements.TESTED}"
    newer = plan("test-omnigibson", "PYTHON310=/python3.10", "PYTHON311=/python3.11")
    assert f"\n/python3.11 -m venv {tmp_path / 'og'}\n" in newer and release in newer
    assert newer.count("-m pytest tests/omnigibson tests/robots/test_urdf.py") == 1
    assert "-310/bin" not in newer
    older = plan("test-omnigibson-310", "PYTHON310=/python3.10", "PYTHON311=/python3.11")
    assert f"\n/python3.10 -m venv {tmp_path / 'og'}-310\n" in older and release in older
    assert older.count("-m pytest tests/omnigibson tests/robots/test_urdf.py") == 1

    fetched = f"--target {tmp_path / 'og'}-source {release}"
    everything = plan("test")
    assert everything.index(fetched) < everything.index("-m pytest -n 2")
