"""A backend in a folder of the user's own passes the API part of the conformance suite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).parent / "stub_backend.py"
NAME = "my_package.my_backend"


@pytest.fixture
def folder(tmp_path):
    """A package outside of this one with the stub in it, as one folder."""
    backend = tmp_path / "my_package" / "my_backend"
    backend.mkdir(parents=True)
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (backend / "__init__.py").write_text(STUB.read_text())
    return tmp_path


def change(folder, before, after):
    path = folder / "my_package" / "my_backend" / "__init__.py"
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def api_part(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance",
               "--backend", NAME, "-m", "api", *arguments]  # fmt: skip
    paths = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_one_world_passes(folder):
    done = api_part(folder)
    assert done.returncode == 0, done.stdout
    assert "has no parallel_worlds" in done.stdout and "failed" not in done.stdout


def test_several_worlds_pass(folder):
    change(folder, "parallel_worlds=False", "parallel_worlds=True")
    done = api_part(folder)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_a_backend_without_states_passes(folder):
    """As a real robot: nothing of it is read or restored."""
    change(folder, "exact_restore=True", "exact_restore=False")
    change(folder, "real_time=False", "real_time=True")
    for name in ("get_state", "set_state"):
        change(folder, f"    def {name}(", f"    def _no_{name}(")
    done = api_part(folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("before", "after", "test"),
    [
        ("time=self.time.copy()", "time=self.time[:, None]", "test_world_state_has_its_shapes"),
        ("        self.resting[mask] = False\n", "", "test_a_rest_is_over"),
        ("self.poses[world] = scenario.object_poses", "self.poses[world, :, :3] = 0.1",
         "test_a_scenario_is_what_is_there"),
    ],
)  # fmt: skip
def test_a_fault_is_found(folder, before, after, test):
    change(folder, before, after)
    done = api_part(folder, "-x", "-k", f"{test} and not Pour and not Lift and not Handover")
    assert done.returncode == 1, done.stdout
    assert f"FAILED tests/conformance/test_api.py::{test}" in done.stdout


def test_a_name_that_is_no_backend_is_one_line(folder):
    (folder / "my_package" / "my_backend" / "__init__.py").unlink()
    done = api_part(folder)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "my_package.my_backend" in done.stderr and "Traceback" not in done.stderr
