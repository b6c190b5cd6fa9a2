"""Every block of docs/recipes.md runs as it is written, in the client's own process."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "recipes.md"
TIMEOUT = 600  # for a block [s]

# What a section needs, and what its block prints when it has done its work.
NEEDS = {
    "Stable-Baselines3": ("stable_baselines3", r"success_rate .*\{'success': [\d.]+, 'n': 8"),
    "CleanRL": ("tensorboard", r"global_step=\d+, episodic_return=-?[\d.]+"),
    "TorchRL": ("torchrl", r"[1-9]\d* episodes ended, \d+ won, mean return -?[\d.]+"),
    "skrl": ("skrl", r"mean reward of a step -?[\d.]+"),
    "RLlib": ("ray", r"[1-9]\d* episodes, mean return -?[\d.]+, success [\d.]+"),
}


def blocks():
    """Return the section, the language and the text of each block."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        for language, text in re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL):
            found.append((title, language, text))
    return found


def environment():
    """Return the variables of a block: our modules, one thread, Ray quiet and on its own."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def test_every_section_has_one_block():
    assert [title for title, _, _ in blocks()] == list(NEEDS)


@pytest.mark.parametrize(("title", "language", "text"), blocks(), ids=list(NEEDS))
def test_block(title, language, text, tmp_path):
    package, expected = NEEDS[title]
    if find_spec(package) is None:
        pytest.skip(f"{title} is not installed here (package {package})")
    if language == "bash":
        command = ["bash", "-e", "-c", text]
        (tmp_path / "docs").symlink_to(ROOT / "docs")  # as from the clone's root
    else:
        command = [sys.executable, "-c", text]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert re.search(expected, run.stdout, re.DOTALL), run.stdout[-3000:]
