"""The one program `dexfw`: it finds the command, and does what the command's module does."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_light_help import check_light, loaded

from dexfw_envs import __main__ as program
from dexfw_envs.console import command

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "results" / "revision-2" / "policies").glob("*/*/*.safetensors"))


def told(capsys, *words: str) -> str:
    assert program.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("name", program.COMMANDS)
def test_help_of_every_command_is_light(name):
    found = loaded("module", "dexfw_envs", name, "--help")
    assert not found["code"], found["said"]
    assert name in found["said"]
    check_light(found, "dexfw_envs")


def test_the_help_names_every_command(capsys):
    assert program.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in (*program.MODULES, *program.SCRIPTS):
        assert f" {name} " in text


def test_an_unknown_command_is_told_with_the_nearest(capsys):
    assert "unknown command 'recrod'; did you mean record? commands: list, play" in told(
        capsys, "recrod"
    )
    assert "unknown command 'zzz'; commands: list" in told(capsys, "zzz")


def test_a_command_does_what_its_module_does(tmp_path):
    written = []
    for words in (["dexfw_envs", "urdf"], ["dexfw_envs.robots.urdf"]):
        path = tmp_path / f"{len(written)}.urdf"
        call = [sys.executable, "-m", *words, "panda_inspire", str(path)]
        subprocess.run(call, cwd=ROOT, check=True, capture_output=True)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_errors_and_exit_codes_of_a_command_come_through(tmp_path, capsys):
    assert program.main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert program.main(["verify", str(tmp_path), "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err
    assert program.main(["verify", str(tmp_path / "none"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_command_tells_the_name_by_which_it_was_called(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dexfw", "replay", "--help"])
    assert program.main() == 0
    assert capsys.readouterr().out.startswith("usage: dexfw replay ")


def test_scripts_run_from_a_clone(capsys):
    assert program.main(["train"]) == 0
    assert "usage: " in capsys.readouterr().out
    assert "unknown method 'ppo'; choose one of dexflywheel, dexmimicgen" in told(
        capsys, "train", "ppo"
    )
    assert program.main(["train", "human_demo", "--task", "Juggle"]) == 2
    assert "Juggle" in capsys.readouterr().err
    assert program.main(["demo", "--help"]) == 0
    assert "dexflywheel.py" in capsys.readouterr().out


def test_a_wheel_says_that_scripts_need_a_clone(monkeypatch, capsys):
    monkeypatch.setattr(program, "is_clone", lambda: False)
    for words in (["demo"], ["train", "dexpie"], ["evaluate", "policy.pt"]):
        assert f"{words[0]} needs the scripts, which an installed package does not hold" in told(
            capsys, *words
        )


@pytest.mark.parametrize("path", KEPT[::4], ids=lambda path: path.parents[1].name)
def test_a_kept_policy_names_its_method(path):
    method, _, _ = path.parents[1].name.partition("-")
    assert program.method_of(path) == method


def test_a_checkpoint_is_known_by_its_run(tmp_path):
    checkpoint = tmp_path / "DexFW-Grasp-v0__dexpie__1__1700000000" / "checkpoints" / "policy_1.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"")
    assert program.method_of(checkpoint) == "dexpie"

    for name in ("policy.pt", "policy.safetensors", "other.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"\xff" * 7 if name.startswith("policy") else b"\xff" * 90)
        with pytest.raises(ValueError, match="does not say which method made it: call its script"):
            program.method_of(path)
    with pytest.raises(FileNotFoundError, match="no policy or checkpoint at"):
        program.method_of(tmp_path / "none.pt")


def test_evaluate_calls_the_script_of_the_policy(monkeypatch):
    calls = []
    monkeypatch.setattr(program, "_run_method", lambda *call: calls.append(call) or 0)
    path = KEPT[0]
    assert program.main(["evaluate", str(path), "--episodes", "8"]) == 0
    assert calls == [(program.method_of(path), ["--evaluate", str(path), "--episodes", "8"])]


def test_the_console_script_is_this_program():
    text = (ROOT / "pyproject.toml").read_text()
    assert f'{command.CONSOLE_SCRIPT} = "dexfw_envs.__main__:main"' in text
