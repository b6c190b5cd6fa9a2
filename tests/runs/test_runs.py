"""Run folders and atomic writes: nothing half-written is ever seen, nothing saved is ever lost."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dexfw_envs import provenance
from dexfw_envs.files import atomic_write_bytes, atomic_write_json
from dexfw_envs.runs.folder import RunFolder


def test_atomic_write_replaces_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    atomic_write_bytes(path, b"one")
    atomic_write_bytes(str(path), memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission")]
)
def test_failed_write_says_why_and_keeps_the_old_file(tmp_path, monkeypatch, number, words):
    path = tmp_path / "a.bin"
    atomic_write_bytes(path, b"old")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=words) as caught:
        atomic_write_bytes(path, b"new")
    assert caught.value.errno == number
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_disk_that_is_really_full(tmp_path, monkeypatch):
    real_open = open
    monkeypatch.setattr("builtins.open", lambda *a, **k: real_open("/dev/full", "wb"))
    with pytest.raises(OSError, match="disk is full") as caught:
        atomic_write_bytes(tmp_path / "a.bin", b"x" * 100_000)
    assert caught.value.errno == errno.ENOSPC


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a file, not a folder"):
        atomic_write_bytes(tmp_path / "file" / "a.bin", b"x")
    with pytest.raises(OSError, match="is a file, not a folder"):
        RunFolder.create(tmp_path / "file", "DexFW/Grasp-v0", "exp", 0, {})


def test_folder_without_permission(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match=f"cannot write {tmp_path}.*no permission"):
        RunFolder.create(tmp_path, "DexFW/Grasp-v0", "exp", 0, {})


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "no permission"), (errno.EROFS, "read-only")]
)
def test_checkpoint_and_settings_where_nothing_may_be_written(tmp_path, monkeypatch, number, words):
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "exp", 0, {"a": 1})
    path = run.write_checkpoint("last.bin", b"old")
    real_open = open

    def refuse(file, mode="r", *args, **kwargs):
        if "x" in mode or "w" in mode:
            raise OSError(number, os.strerror(number))
        return real_open(file, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        with pytest.raises(OSError, match=f"cannot write {path}.*{words}"):
            run.write_checkpoint("last.bin", b"new")
        with pytest.raises(OSError, match=words):
            atomic_write_json(run.path / "eval.json", {})
    assert RunFolder.open(run.path).read_checkpoint("last.bin") == b"old"


def test_kill_in_the_middle_of_a_write_keeps_the_old_file(tmp_path):
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "exp", 0, {})
    path = run.write_checkpoint("last.bin", b"old")
    program = (
        "import os, sys\n"
        "from dexfw_envs.runs.folder import atomic_write_bytes\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), 9)\n"
        "atomic_write_bytes(sys.argv[1], b'new' * 1000)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert run.read_checkpoint("last.bin") == b"old"
    assert len(list(path.parent.iterdir())) == 2  # the half-written file is still there
    again = RunFolder.open(run.path)
    assert [p.name for p in path.parent.iterdir()] == ["last.bin"]
    assert again.checkpoints() == ["last.bin"]


def test_json_takes_numpy_paths_and_dataclasses(tmp_path):
    @dataclasses.dataclass
    class Args:
        rate: float
        out: Path

    value = {"a": np.float32(0.5), "b": np.arange(3), "args": Args(0.1, Path("runs"))}
    atomic_write_json(tmp_path / "a.json", value)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"a": 0.5, "b": [0, 1, 2], "args": {"rate": 0.1, "out": "runs"}}
    with pytest.raises(TypeError, match="no JSON form"):
        atomic_write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == read


def test_run_folder_round_trip(tmp_path):
    run = RunFolder.create(tmp_path / "runs", "DexFW/Grasp-v0", "dexflywheel", 3, {"lr": 1e-3})
    twin = RunFolder.create(tmp_path / "runs", "DexFW/Grasp-v0", "dexflywheel", 3, {"lr": 2e-3})
    assert run.path != twin.path
    assert run.name.startswith("DexFW-Grasp-v0__dexflywheel__3__")
    run.write_checkpoint("step_1.bin", b"\x00\x01")
    again = RunFolder.open(run.path)
    assert again.config == {"lr": 1e-3}
    assert again.provenance["versions"]["python"].count(".") == 2
    assert again.read_checkpoint("step_1.bin") == b"\x00\x01"
    with pytest.raises(FileNotFoundError, match=r"there: step_1\.bin"):
        again.read_checkpoint("step_2.bin")
    with pytest.raises(ValueError, match="plain file name"):
        again.write_checkpoint("../escape", b"")


def test_no_run_and_damaged_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run at"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(ValueError, match="damaged"):
        RunFolder.open(tmp_path)


def test_versions_name_what_is_installed():
    found = provenance.versions()
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_commit_outside_git_is_unknown(tmp_path, monkeypatch):
    copy = tmp_path / "provenance.py"
    shutil.copy(provenance.__file__, copy)
    monkeypatch.setattr(provenance, "__file__", str(copy))
    assert provenance.commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "unknown"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_inside_git(tmp_path, monkeypatch):
    copy = tmp_path / "provenance.py"
    shutil.copy(provenance.__file__, copy)
    monkeypatch.setattr(provenance, "__file__", str(copy))
    for name in [n for n in os.environ if n.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert provenance.commit() == "unknown"  # a repository, but not this file's
    record = tmp_path / "results" / "record.txt"
    record.parent.mkdir()
    record.write_text("first")
    subprocess.run([*git, "add", "provenance.py", "results"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    clean = provenance.commit()
    assert len(clean) == 40
    record.write_text("again")
    assert provenance.commit() == clean  # a result that was made again changes no code
    copy.write_text(copy.read_text() + "\n")
    assert provenance.commit() == f"{clean}-dirty"
