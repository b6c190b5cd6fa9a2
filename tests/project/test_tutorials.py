"""The blocks of the tutorials run as they are written and in their order, as from the root."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "tutorials"
FROM_THE_ROOT = ("baselines", "docs", "pyproject.toml", "tests")
COMMAND = 'dexfw() { python -m dexfw_envs "$@"; }\n'  # what installing makes a program of
EXPECTED = {
    "adding_a_backend": r"'object': \(\d+,\).*[1-9]\d* passed",
    "own_object": r"\('my_mug',\)",
}


@pytest.fixture
def folder(tmp_path):
    """A folder with what the pages find in the root of the clone."""
    for name in FROM_THE_ROOT:
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run_block(language, text, folder):
    """Run a block, a Python one as the file `mine.py`, and return what it printed."""
    if language == "python":
        (folder / "mine.py").write_text(text)
        command = ["python", "mine.py"]
    else:
        command = ["bash", "-e", "-c", COMMAND + text]
    programs = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


def test_every_tutorial_is_run():
    assert {path.stem for path in PAGES.glob("*.md")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_tutorial(name, folder):
    text = (PAGES / f"{name}.md").read_text()
    blocks = re.findall(r"```(python|bash)\n(.*?)```", text, re.DOTALL)
    printed = [run_block(language, block, folder) for language, block in blocks]
    assert re.search(EXPECTED[name], "".join(printed), re.DOTALL)
