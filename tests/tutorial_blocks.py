"""The code blocks of the tutorials, and how one is run as a reader would from the clone's root."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "tutorials"
FROM_THE_ROOT = ("baselines", "docs", "pyproject.toml", "tests")
COMMAND = 'dexfw() { python -m dexfw_envs "$@"; }\n'  # what installing makes a program of


def blocks_of(name):
    """Return the language and the text of each block of a page."""
    text = (PAGES / f"{name}.md").read_text()
    return re.findall(r"```(python|bash)\n(.*?)```", text, re.DOTALL)


def link_root(folder):
    """Put into a folder what the pages find in the root of the clone."""
    for name in FROM_THE_ROOT:
        (folder / name).symlink_to(ROOT / name)


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
