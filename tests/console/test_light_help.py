"""Reading options needs no torch and no simulator: `--help` and a wrong option are told at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [f"baselines/{path.name}" for path in sorted((ROOT / "baselines").glob("*.py"))]
NO_COMMANDS = {"command.py", "settings.py"}  # their docstrings show how commands end
ELSEWHERE = {"peers.py"}  # runs in the environment of another project, without ours


def command_files() -> list[Path]:
    """Return the modules of the package and the harness that are commands."""
    files = [*(ROOT / "dexfw_envs").rglob("*.py"), *(ROOT / "benchmark").rglob("*.py")]
    found = [path for path in files if '__name__ == "__main__"' in path.read_text()]
    return sorted(path for path in found if path.name not in NO_COMMANDS | ELSEWHERE)


def module_of(path: Path) -> str:
    """Return the name that `python -m` takes."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__main__")


MODULES = [module_of(path) for path in command_files()]
HEAVY = ["av", "diffusers", "matplotlib", "minari", "mujoco", "pandas", "pyarrow",
         "safetensors", "torch", "wandb"]  # fmt: skip
WITH_MUJOCO = {"benchmark.speed.measure", "benchmark.speed.scaling"}  # they time it by itself
MOST = 1_100  # modules; torch and diffusers alone bring 2,000 more

RUN = """
import contextlib, io, json, runpy, sys
kind, name, *words = sys.argv[1:]
sys.argv = [name, *words]
said = io.StringIO()
code = None
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    try:
        if kind == "script":
            runpy.run_path(name, run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
print(json.dumps({"code": code, "said": said.getvalue(), "modules": sorted(sys.modules)}))
"""


def loaded(kind: str, name: str, *words: str) -> dict:
    """Run a command in a new process; what it said, its exit code and the modules it imported."""
    command = [sys.executable, "-c", RUN, kind, name, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def check_light(found: dict, name: str) -> None:
    own = ["mujoco"] if name in WITH_MUJOCO else []
    assert [name for name in HEAVY if name in found["modules"]] == own
    assert len(found["modules"]) < MOST


COMMANDS = [("script", name) for name in SCRIPTS] + [("module", name) for name in MODULES]


@pytest.mark.parametrize("path", command_files(), ids=module_of)
def test_every_command_ends_like_the_others(path):
    text = path.read_text()
    assert "run_command(" in text or "run_main(" in text


@pytest.mark.parametrize(("kind", "name"), COMMANDS)
def test_help_imports_little(kind, name):
    found = loaded(kind, name, "--help")
    assert not found["code"] and "--help" in found["said"]
    check_light(found, name)


@pytest.mark.parametrize(("kind", "name"), COMMANDS)
def test_a_wrong_option_is_refused_as_fast(kind, name):
    found = loaded(kind, name, "--no-such-option")
    assert found["code"] == 2
    check_light(found, name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrong_value_is_refused_as_fast(name):
    found = loaded("script", name, "--task", "Juggle")
    assert found["code"] == 2 and "Juggle" in found["said"]
    check_light(found, name)
