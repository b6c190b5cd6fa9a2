"""A full disk ends every writer with one line that says so, and leaves nothing half-written."""

import errno
import io
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest
from exports import ENV, MODE, fill, made_up
from small_disk import fill_up, make_room, small_disk

from dexfw_envs.demos.export.hdf5 import Hdf5Output
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.records import COLUMNS, write_records
from dexfw_envs.files import atomic_write_json
from dexfw_envs.runs.folder import RunFolder

EXPORT = """
import resource, sys
from dexfw_envs.console.command import run_command
from dexfw_envs.demos.export.__main__ import Args, main
store, to, *places = sys.argv[1:]
for place in places:
    limit, output = place.split(":", 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), -1))
    words = [store, "--to", to, "--output", output]
    print(run_command(Args, main, argv=words), flush=True)
"""
FORMATS = {"robomimic": (), "minari": ("minari",), "lerobot": ("pyarrow", "av")}
UNLIMITED = -1


def export_lines(store: Path, to: str, places: dict[Path, int]) -> list[str]:
    """Export to places in a process whose files may grow to so many bytes; return its errors."""
    pytest.importorskip("resource", reason="limits of file sizes need POSIX")
    for package in FORMATS[to]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    words = [f"{limit}:{output}" for output, limit in places.items()]
    command = [sys.executable, "-c", EXPORT, str(store), to, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # no crash
    assert done.stdout.split() == ["1"] * len(places)
    return done.stderr.strip().splitlines()


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_that_does_not_fit_ends_with_one_line(tmp_path, to):
    store = fill(tmp_path / "store").folder
    places = {tmp_path / "out" / f"a-v{limit}": limit for limit in (3_000, 20_000, 60_000)}
    lines = export_lines(store, to, places)
    for line, output in zip(lines, places, strict=True):
        assert line.endswith(
            f"cannot write {output}: the file would be larger than is allowed here"
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_on_a_full_disk_ends_with_one_line(tmp_path, to):
    store = fill(tmp_path / "store").folder
    with ExitStack() as stack:
        sizes = (16, 48, 80)  # of the disk [KiB]
        disks = [stack.enter_context(small_disk(tmp_path / f"disk{k}", k)) for k in sizes]
        places = {disk / "grasp-v0": UNLIMITED for disk in disks}
        lines = export_lines(store, to, places)
        for line, output in zip(lines, places, strict=True):
            assert line.endswith(f"cannot write {output}: the disk is full")
            assert list(output.parent.iterdir()) == []


class FullAfter(io.FileIO):
    """A file on a disk that is full after so many bytes; a last write may fit in part."""

    left = 0

    def write(self, data):
        if self.left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data)[: self.left]
        self.left -= len(taken)
        return super().write(taken)


def write_numbers(path: Path) -> None:
    """Write groups that HDF5 has to read again, as it does of trees of many names."""
    numbers = np.arange(3000.0).reshape(100, 30)
    with Hdf5Output(path) as output:
        for k in range(30):
            group = output.file.create_group(f"demo_{k}")
            group.create_dataset("rows", data=numbers + k, chunks=(10, 30))
            group.attrs["label"] = "x" * 500
        for k in range(0, 30, 7):
            assert output.file[f"demo_{k}/rows"][3, 4] == 94 + k
        output.check()


def test_hdf5_survives_a_disk_that_is_full_after_any_number_of_bytes(tmp_path, monkeypatch):
    write_numbers(tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    with h5py.File(tmp_path / "whole.h5") as file:
        assert len(file) == 30 and file["demo_29/rows"][99, 29] == 3028
    monkeypatch.setattr("dexfw_envs.demos.export.hdf5.io.FileIO", FullAfter)
    for left in range(0, size, size // 40):
        monkeypatch.setattr(FullAfter, "left", left)
        with pytest.raises(OSError, match="No space left"):
            write_numbers(tmp_path / "cut.h5")


def test_hdf5_that_fails_otherwise_says_why(tmp_path):
    with pytest.raises(KeyError, match="mine"), Hdf5Output(tmp_path / "a.h5"):
        raise KeyError("mine")


def record() -> dict:
    row = {name: kind() for name, (kind, _) in COLUMNS.items()}
    made = ("method", "variant", "iteration", "policy", "commit", "command")
    return {name: value for name, value in row.items() if name not in made} | {"task": "Grasp"}


def write_episode(folder: Path) -> None:
    EpisodeStore(folder / "D_1", ENV, MODE).add(made_up(0), source="policy", seed=0)


def write_row(folder: Path) -> None:
    pytest.importorskip("pyarrow", reason="records need pyarrow")
    rng = np.random.default_rng(0)
    rows = [record() | {"scenario": str(rng.integers(2**60))} for _ in range(2000)]
    write_records(rows, folder / "records", method="m", task="Grasp", name="a")


def write_settings(folder: Path) -> None:
    RunFolder.create(folder / "runs", ENV, "x", 1, {"a": "b" * 9000})


def write_policy_file(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="policies need torch")
    from dexfw_envs.runs.policies import write_policy

    write_policy(folder / "policies" / "a.safetensors", {"w": torch.rand(300, 300)})


def write_plot(folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    from dexfw_envs.runs.report import plot_success

    row = {"iteration": 1, "split": "T_OEP", "policy": "base", "success": 0.5}
    plot_success([row | {"low": 0.4, "high": 0.6}], folder / "success.png")


def write_film(folder: Path) -> None:
    pytest.importorskip("av", reason="videos need PyAV")
    from dexfw_envs.evaluation.video import VideoWriter

    rng = np.random.default_rng(0)
    with VideoWriter(folder / "films" / "a.mp4") as film:
        for _ in range(30):
            film.add(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))


def write_robot(folder: Path) -> None:
    from dexfw_envs.robots import urdf

    urdf.main(["dual_rm75_inspire", str(folder / "robot.urdf")])


def write_figures(folder: Path) -> None:
    atomic_write_json(folder / "eval_1.json", {"numbers": list(range(3000))})


WRITERS = (
    write_episode,
    write_row,
    write_settings,
    write_policy_file,
    write_plot,
    write_film,
    write_robot,
    write_figures,
)


@pytest.mark.parametrize("write", WRITERS)
def test_a_writer_on_a_full_disk_says_so_and_leaves_nothing(tmp_path, write):
    with small_disk(tmp_path / "disk", 400) as disk:
        for blocks in (2, 0, 1):  # 0: also folders and the files themselves find no place
            fill_up(disk, blocks)
            with pytest.raises(OSError, match=f"cannot write {disk}/.*: the disk is full"):
                write(disk)
            left = [path for path in disk.rglob("*") if path.is_file()]
            assert {path.name for path in left} <= {"filler.bin", "lock"}
        make_room(disk)
        write(disk)
        if write is write_settings:
            (path,) = (disk / "runs").glob("*/config.json")
            assert len(json.loads(path.read_text())["config"]["a"]) == 9000
