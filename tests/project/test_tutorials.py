"""Every Python block of the tutorials runs as it is written, in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {"own_object": "('my_mug',)"}


def test_every_tutorial_is_run():
    assert {path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_tutorial(name, tmp_path):
    text = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    path = tmp_path / "mine.py"
    path.write_text(code)
    command = [sys.executable, str(path)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert EXPECTED[name] in run.stdout
