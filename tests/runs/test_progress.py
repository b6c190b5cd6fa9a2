"""Runs that end at any moment: killed, on a full disk, without power, or worked on twice."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_disk import fill_up, make_room, small_disk

torch = pytest.importorskip("torch", reason="a run's progress is kept by torch")

from dexfw_envs.files import A_DAY, sweep
from dexfw_envs.runs.checkpoints import load
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import METRICS, MetricsLog
from dexfw_envs.runs.progress import STAGES, STATE, Progress

STEPS = 6
ROW = b'{"step": 0, "losses/x": 0.5}\n'


def new_run(folder: Path) -> Progress:
    run = RunFolder.create(folder, "DexFW/Grasp-v0", "x", 1, {})
    return Progress(run, seed=1, save_seconds=0.0, tracked=False)


def resumed(path: Path) -> Progress:
    return Progress(RunFolder.open(path), seed=1, save_seconds=0.0, tracked=False)


def learn(run: Progress) -> None:
    state = run.restore()
    for step in range(state.get("step", 0), STEPS):
        run.log(step, {"losses/x": float(torch.rand(1)), "weights": 9000.0})
        run.save(step=step + 1, weights=torch.zeros(5000))


def finish(run: Progress) -> bytes:
    """Do all that is left, and return the curves."""
    run.stage("base", learn)
    run.stage("residual", learn)
    run.metrics.close()
    return (run.path / METRICS).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The curves of a run that nothing has stopped."""
    return finish(new_run(tmp_path_factory.mktemp("whole")))


@pytest.fixture(autouse=True)
def no_board(monkeypatch):
    """TensorBoard shows the same numbers, and takes its time."""
    monkeypatch.setattr("dexfw_envs.runs.metrics._tensorboard", lambda folder: None)


# --- power loss: of the curves only what was forced to disk is there ---


def test_no_checkpoint_counts_on_curves_that_a_power_loss_can_take(tmp_path, monkeypatch, whole):
    run = new_run(tmp_path)
    moments: list[Path] = []
    on_disk = {"curves": b""}
    sync = os.fsync

    def note(descriptor):
        sync(descriptor)
        if os.path.samestat(os.fstat(descriptor), os.stat(run.path / METRICS)):
            on_disk["curves"] = (run.path / METRICS).read_bytes()

    def power_loss(name, data):
        path = RunFolder.write_checkpoint(run.folder, name, data)
        moment = tmp_path / f"moment{len(moments)}" / run.folder.name
        shutil.copytree(run.path, moment)
        (moment / METRICS).write_bytes(on_disk["curves"])
        moments.append(moment)
        return path

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", note)
        patch.setattr(run.folder, "write_checkpoint", power_loss)
        assert finish(run) == whole
    assert len(moments) == 2 * STEPS + 2
    for moment in moments:
        assert finish(resumed(moment)) == whole


@pytest.mark.skipif(sys.platform != "linux", reason="kills need Linux's processes")
def test_a_run_killed_between_any_two_writes_goes_on_to_the_same_curves(tmp_path, whole):
    """Every write is a rename or an appended row: stop after each of the first ones in turn."""
    for count in range(0, 3 * STEPS, 2):
        folder = tmp_path / str(count)
        process = multiprocessing.get_context("fork").Process(
            target=stop_after, args=(count, folder)
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        (path,) = folder.iterdir()
        if (path / "config.json").exists():  # else there was no run yet
            assert finish(resumed(path)) == whole


def stop_after(count: int, folder: Path) -> None:
    """Work on a new run; be killed in place of a write after so many ones."""
    writes, replace = [0], os.replace

    def kill(*paths):
        if writes[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        writes[0] += 1
        replace(*paths)

    os.replace = kill
    finish(new_run(folder))


# --- a full disk ---


def test_a_full_disk_stops_a_run_that_goes_on_once_there_is_room(tmp_path, whole):
    for blocks in (1, 4, 9):
        with small_disk(tmp_path / f"disk{blocks}", 256) as disk:
            run = new_run(disk)
            fill_up(disk, blocks)
            with pytest.raises(OSError, match=f"cannot write {run.path}.*: the disk is full"):
                finish(run)
            make_room(disk)
            assert finish(resumed(run.path)) == whole


def test_half_a_row_does_not_stay(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)
    log.log(0, {"losses/x": 0.5})
    real_open = open

    class Full:
        def __init__(self, *args):
            self.file = real_open(*args, buffering=0)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:7])
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", Full)
        with pytest.raises(OSError, match=f"cannot write {log.path}: the disk is full"):
            log.log(1, {"losses/x": 0.5})
    log.log(1, {"losses/x": 0.25})
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [0, 1]


# --- curves that are damaged already ---


def stopped_run(folder: Path) -> Path:
    """A run with one stage done and the next one under way."""
    run = new_run(folder)
    run.stage("base", learn)

    def half(run):
        run.log(0, {"losses/x": 1.0})
        run.save(step=1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("residual", half)
    return run.path


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / METRICS).read_text().splitlines()]


@pytest.mark.parametrize("lost", [2, 5, 29, 30, 31, 200, 10_000])
def test_curves_that_were_cut_keep_their_whole_rows(tmp_path, capsys, lost):
    path = stopped_run(tmp_path)
    content = (path / METRICS).read_bytes()
    (path / METRICS).write_bytes(content[: max(0, len(content) - lost)])
    kept = sum(end.start() <= len(content) - lost for end in re.finditer(b"\n", content))
    capsys.readouterr()  # what the stages told
    run = resumed(path)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"{path / METRICS} was cut or damaged: {kept} whole rows are kept" in line
    assert len(rows(path)) == kept
    assert load((path / "checkpoints" / STATE).read_bytes())["metrics"] == run.metrics.size
    del run
    again = resumed(path)  # and never worse
    assert capsys.readouterr().err == ""
    finish(again)
    assert b"\0" not in (path / METRICS).read_bytes()
    assert len(rows(path)) == kept + STEPS - 1


def test_curves_that_were_padded_keep_what_is_whole(tmp_path, capsys):
    path = stopped_run(tmp_path)
    content = (path / METRICS).read_bytes()
    second = content.index(b"\n") + 1
    harmed = content[: second + 9] + bytes(len(content[second + 9 :]) - len(ROW)) + ROW
    (path / METRICS).write_bytes(harmed)
    ends = json.loads((path / STAGES).read_text())
    run = resumed(path)
    assert "2 whole rows are kept" in capsys.readouterr().err
    assert (path / METRICS).read_bytes() == content[:second] + ROW
    assert ends["base"]["metrics"] > second
    assert run.ends["base"]["metrics"] == second
    assert json.loads((path / STAGES).read_text())["base"]["metrics"] == second


def test_a_last_row_without_its_end_is_whole(tmp_path, capsys):
    path = stopped_run(tmp_path)
    content = (path / METRICS).read_bytes()
    (path / METRICS).write_bytes(content[:-1])
    capsys.readouterr()  # what the stages told
    assert resumed(path).metrics.size == len(content)
    assert (path / METRICS).read_bytes() == content
    assert capsys.readouterr().err == ""


def test_rows_after_the_last_save_come_again(tmp_path, capsys):
    path = stopped_run(tmp_path)
    content = (path / METRICS).read_bytes()
    (path / METRICS).write_bytes(content + ROW + b'{"step": 1, "los')
    capsys.readouterr()  # what the stages told
    assert resumed(path).metrics.size == len(content)
    assert (path / METRICS).read_bytes() == content
    assert capsys.readouterr().err == ""


# --- two at once ---

HOLDER = """
import sys, time
from dexfw_envs.runs.folder import RunFolder
run = RunFolder.open(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks need POSIX")
def test_a_run_is_worked_on_by_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("dexfw_envs.runs.locks.PATIENCE", 0.2)
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "x", 1, {})
    path = run.path
    del run  # as at the end of its process
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        who = re.escape(f"{path} is at work in process {other.pid} on {os.uname().nodename}, since")
        with pytest.raises(BlockingIOError, match=who):
            RunFolder.open(path)
        assert RunFolder(path).config == {}  # who only reads is not kept out
        other.kill()
    assert other.wait() == -9
    assert RunFolder.open(path).config == {}  # what a dead process held is taken over


@pytest.mark.skipif(sys.platform == "win32", reason="locks need POSIX")
def test_a_new_run_is_held_from_its_start(tmp_path):
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "x", 1, {})
    second = RunFolder.open(run.path)  # the same process may
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, str(run.path)], capture_output=True, text=True, check=False
    )
    assert second.path == run.path
    assert done.returncode == 1
    assert f"is at work in process {os.getpid()} on" in done.stderr


def test_what_killed_processes_left_is_swept(tmp_path):
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "x", 1, {})
    (run.path / "videos" / "1-T_VAL-base").mkdir(parents=True)
    film = run.path / "videos" / "1-T_VAL-base" / ".a-unfinished.mp4.0123456789ab.tmp"
    film.write_bytes(b"half")
    mine = run.path / ".notes.tmp"
    mine.write_text("not ours")
    RunFolder(run.path)
    assert film.exists()  # who only reads removes nothing
    RunFolder.open(run.path)
    assert not film.exists() and mine.exists()


def test_old_leftovers_are_swept_where_others_may_be_at_work(tmp_path):
    names = (".a.parquet.0123456789ab.tmp", ".b.parquet.0123456789ab.tmp", ".notes.tmp")
    for name in names:
        (tmp_path / name).write_text("half")
    long_ago = time.time() - 2 * A_DAY
    for name in names[::2]:
        os.utime(tmp_path / name, (long_ago, long_ago))
    sweep(tmp_path, older_than=A_DAY)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
    sweep(tmp_path, "a.*")
    assert (tmp_path / names[1]).exists()
    sweep(tmp_path, "b.*")
    assert [path.name for path in tmp_path.iterdir()] == [".notes.tmp"]
