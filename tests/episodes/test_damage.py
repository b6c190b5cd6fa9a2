"""Every kind of file that is read, cut at any length or altered: its content, or one clear error.

An altered file either gives what was written or an error that names the file and says that it is
damaged. `stages.json`, summaries and other figures are plain JSON without a checksum: a figure that
was altered to another figure is not seen there, all else is.
"""

from __future__ import annotations

import json
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exports import ENV, MODE, made_up

from benchmark.kept.summaries import read_summary
from dexfw_envs.episodes.store import EpisodeStore, load_episode
from dexfw_envs.evaluation.records import COLUMNS, read_record_file, write_records
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.runs.folder import RunFolder

CUTS, FLIPS = 120, 300  # of a large file


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        write: Writes one into a folder and returns its path.
        read: Reads it, as text that can be compared.
        sealed: Whether it has a checksum, so that altered figures are seen.
        appended: Whether it is a list of rows that can end anywhere; how many there should be is
            known to the checkpoint (see `test_progress.py`).
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    sealed: bool = True
    appended: bool = False


def write_checkpoint(folder: Path) -> Path:
    torch = pytest.importorskip("torch", reason="checkpoints need torch")
    from dexfw_envs.runs.checkpoints import dump

    weights = {"w": torch.arange(600.0).reshape(20, 30), "b": torch.ones(7)}
    path = folder / "policy_1.pt"
    path.write_bytes(dump({"args": {"task": "Grasp"}, "base": weights, "iteration": 3}))
    return path


def read_policy_file(path: Path) -> Any:
    from dexfw_envs.runs.policies import read_policy

    state = read_policy(path)
    weights = {name: (str(v.dtype), v.tolist()) for name, v in state.pop("base").items()}
    return state, weights


def write_policy_file(folder: Path) -> Path:
    torch = pytest.importorskip("torch", reason="policies need torch")
    pytest.importorskip("safetensors", reason="policies need safetensors")
    from dexfw_envs.runs.policies import write_policy

    rows = torch.arange(5000.0).reshape(50, 100)
    path = folder / "i1-seed1.safetensors"
    write_policy(path, {"method": "m", "base": {"w": rows.sin(), "b": torch.ones(30)}})
    return path


def write_episode(folder: Path) -> Path:
    store = EpisodeStore(folder, ENV, MODE)
    return store.path(store.add(made_up(0, pictures=False), source="policy", seed=0))


def read_episode(path: Path) -> Any:
    episode = load_episode(path)
    return episode.scenario, episode.info, episode.actions.tolist(), episode.states.tolist()


def write_row_file(folder: Path) -> Path:
    pytest.importorskip("pyarrow", reason="records need pyarrow")
    row = {name: kind() for name, (kind, _) in COLUMNS.items()}
    made = ("method", "variant", "iteration", "policy", "commit", "command")
    row = {name: value for name, value in row.items() if name not in made}
    rows = [row | {"task": "Grasp", "episode": k, "jerk": k / 7} for k in range(20)]
    return write_records(rows, folder, method="m", task="Grasp", commit="c", command="x")


def write_settings(folder: Path) -> Path:
    run = RunFolder.create(folder, ENV, "x", 1, {"a": "b", "lr": 1e-3, "sizes": [1, 2]})
    return run.path / "config.json"


def read_settings(path: Path) -> Any:
    run = RunFolder(path.parent)
    return run.config, run.provenance


def write_stages(folder: Path) -> Path:
    ends = {f"{name}_1": {"seconds": 1.5, "metrics": 120} for name in ("data", "base", "eval")}
    atomic_write_json(folder / "stages.json", ends)
    return folder / "stages.json"


def read_all_stages(path: Path) -> Any:
    from dexfw_envs.runs.progress import read_stages

    return read_stages(path.parent)


def write_curves(folder: Path) -> Path:
    rows = [{"step": k, "charts/base_success": k / 9} for k in range(12)]
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_curves(path: Path) -> Any:
    from dexfw_envs.runs.metrics import read_rows

    return read_rows(path)


def write_summary(folder: Path) -> Path:
    atomic_write_json(folder / "main-seed1.json", {"digest": "abc", "seconds": {"a": 1.5}})
    return folder / "main-seed1.json"


def read_summary_or_warning(path: Path) -> Any:
    """A damaged summary is told of by a warning, and its cell runs again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return read_summary(path)
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning


def write_figures(folder: Path) -> Path:
    atomic_write_json(folder / "eval_1.json", [{"split": "T_VAL", "success": 0.25}])
    return folder / "eval_1.json"


def write_player(folder: Path) -> Path:
    file = pytest.importorskip("dexfw_envs.play.file")
    from dexfw_envs.play import shipped_path

    header, arrays = file.read_arrays(shipped_path("Grasp"))
    few = {name: array for name, array in arrays.items() if array.size < 2000}
    path = folder / "player.npz"
    file.write_arrays(path, header, few)
    return path


def read_player(path: Path) -> Any:
    from dexfw_envs.play.file import read_arrays

    header, arrays = read_arrays(path)
    return header, {name: array.tolist() for name, array in arrays.items()}


KINDS = {
    "checkpoint": Kind(write_checkpoint, read_policy_file),
    "policy": Kind(write_policy_file, read_policy_file),
    "episode": Kind(write_episode, read_episode),
    "records": Kind(write_row_file, read_record_file),
    "settings": Kind(write_settings, read_settings),
    "stages": Kind(write_stages, read_all_stages, sealed=False),
    "curves": Kind(write_curves, read_curves, sealed=False, appended=True),
    "summary": Kind(write_summary, read_summary_or_warning, sealed=False),
    "figures": Kind(write_figures, read_json, sealed=False),
    "player": Kind(write_player, read_player),
}
SMALL = 3000  # files up to this size are cut at every length [byte]


def check(kind: Kind, path: Path, content: bytes, whole: Any, sealed: bool = True) -> None:
    """Read an altered file: what was written, or one error that names it as damaged."""
    path.write_bytes(content)
    try:
        found = kind.read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        assert "damaged" in text, text
        assert path.name in text, text
        assert "\n" not in text, text
        return
    assert not sealed or repr(found) == repr(whole)


@pytest.fixture(params=KINDS)
def written(request, tmp_path) -> tuple[Kind, Path, bytes, Any]:
    kind = KINDS[request.param]
    path = kind.write(tmp_path)
    return kind, path, path.read_bytes(), kind.read(path)


def lengths(size: int) -> Iterator[int]:
    yield from range(0, size, 1 if size <= SMALL else size // CUTS)
    yield from range(max(0, size - 20), size)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_cut_at_any_length_is_named(written):
    kind, path, content, whole = written
    for size in lengths(len(content)):
        check(kind, path, content[:size], whole, not kind.appended)
        if size % 10 == 0:
            check(kind, path, content[:size] + bytes(len(content) - size), whole)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_with_an_altered_byte_is_named(written):
    kind, path, content, whole = written
    rng = random.Random(0)
    places = rng.choices(range(len(content)), k=FLIPS) + list(range(0, min(len(content), 200)))
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1 << rng.randrange(8)
        check(kind, path, bytes(altered), whole, kind.sealed)


@pytest.mark.parametrize("name", KINDS)
def test_no_file_runs_code(tmp_path, name):
    kind = KINDS[name]
    path = kind.write(tmp_path)
    mark = tmp_path / "code-ran"
    path.write_bytes(pickle.dumps(Touch(str(mark))))
    with pytest.raises((ValueError, OSError), match="damaged"):
        kind.read(path)
    assert not mark.exists()


class Touch:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_an_altered_manifest_gives_way_to_the_files(tmp_path):
    store = EpisodeStore(tmp_path, ENV, MODE)
    store.add(made_up(0, pictures=False), source="policy", seed=0)
    rows, path = store.manifest(), tmp_path / "manifest.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"success": true', '"success": false'))
    assert path.read_text() != text
    assert EpisodeStore(tmp_path).manifest() == rows
