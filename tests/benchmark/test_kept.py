"""What the report keeps of the methods compared: policies, and short films of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="policies are kept by torch")
pytest.importorskip("av", reason="films need PyAV")
pytest.importorskip("pyarrow", reason="records need pyarrow")

from scenes import need_drawing
from script_calls import call
from test_cells import cell

from benchmark.__main__ import main
from benchmark.grid.scripts import load_script
from benchmark.kept import policies
from benchmark.kept.policies import CANDIDATES, RATE, SIDE, film_policies, keep_policies, shrink
from benchmark.protocol import ROOT, results_of
from dexfw_envs.catalog.splits import split
from dexfw_envs.evaluation.records import COLUMNS, OLDER, write_records
from dexfw_envs.evaluation.video import VideoWriter
from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.policies import read_policy, write_policy
from dexfw_envs.runs.settings import ScriptArgs, from_dict

POLICIES = results_of(ROOT / "results", "laptop") / "policies"
KEPT = sorted((POLICIES / "dexflywheel").glob("*/i*-seed*.safetensors"))
SCENES = split("Grasp", "T_OEP", 8, 1)
WON = [True, True, False, True, True, False, True, True]


@dataclass(frozen=True)
class Args(ScriptArgs):
    threads: int = 2


def film(path, frames=6, side=320) -> Path:
    with VideoWriter(path) as writer:
        for level in range(frames):
            writer.add(np.full((side, side, 3), 30 * level, np.uint8))
    return path


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Records and a kept policy of one turn; `evaluate` films what `outcomes` says."""
    rows = []
    for k, (scene, won) in enumerate(zip(SCENES, WON, strict=True)):
        row = {name: kind() for name, (kind, _) in COLUMNS.items()} | OLDER
        row |= {"task": "Grasp", "split": "T_OEP", "seed": 1, "episode": k, "success": won}
        rows.append(row | {"scenario": scene.to_json()})
    known = {"method": "dexflywheel", "task": "Grasp", "iteration": 2, "policy": "combined"}
    write_records(rows, tmp_path / "records", **known, commit="c", command="x")
    path = tmp_path / "policies/dexflywheel/Grasp/i2-seed1.safetensors"
    write_policy(path, {"args": {"threads": 5}, "base": {"w": torch.ones(2)}})
    ran = SimpleNamespace(scenes=[], args=[], outcomes=["success", "timeout", "success", "dropped"])

    def evaluate(actor, env, *, scenarios, videos, video_folder):
        ran.scenes.append(scenarios)
        for k, outcome in zip(range(videos), ran.outcomes, strict=False):
            film(Path(video_folder) / f"episode-{k:03d}-{scenarios[k].objects[0]}-{outcome}.mp4")

    def open_policy(state, args, policy):
        ran.args.append((args, policy))
        return None, SimpleNamespace(close=lambda: None)

    script = SimpleNamespace(Args=Args, open_policy=open_policy)
    monkeypatch.setattr(policies, "load_script", lambda *_: script)
    monkeypatch.setattr(policies, "evaluate", evaluate)
    return tmp_path, ran


def test_a_success_and_a_failure_are_filmed(results):
    folder, ran = results
    old = film(folder / "videos/dexflywheel/Grasp/i2-combined-099-egg-success.mp4")
    made = film_policies(cell(), folder, ROOT, threads=1)
    first, lost = (SCENES[k].objects[0] for k in (0, 1))
    expected = [f"i2-combined-000-{first}-success.mp4", f"i2-combined-001-{lost}-timeout.mp4"]
    assert [path.name for path in made] == expected
    assert sorted(path.name for path in old.parent.iterdir()) == expected
    wanted = [k for k in range(8) if WON[k]][:CANDIDATES] + [2, 5]
    assert ran.scenes == [[SCENES[k] for k in wanted]]  # the base policy was not measured
    assert ran.args == [(Args(threads=1), "combined")]


def test_films_that_cannot_be_drawn_lose_nothing(results, monkeypatch, capsys):
    folder, _ = results

    def no_display(*_, **__):
        raise RuntimeError("no EGL\nhere")

    monkeypatch.setattr(policies, "evaluate", no_display)
    assert film_policies(cell(), folder, ROOT) == []
    words = "warning: no films of dexflywheel-Grasp-seed1-laptop: RuntimeError: no EGL here\n"
    assert capsys.readouterr().err == words


def test_films_are_made_small(tmp_path):
    import av

    source = film(tmp_path / "a.mp4", frames=7)
    with av.open(str(shrink(source, tmp_path / "b" / "c.mp4"))) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert file.streams.video[0].average_rate == RATE
    assert [frame.shape for frame in frames] == [(SIDE, SIDE, 3)] * 4
    assert frames[2].mean() == pytest.approx(120, abs=6)  # every other picture


def test_policies_of_a_cells_own_turns_are_kept(tmp_path):
    for turn in (0, 2, 3, 4):
        path = tmp_path / "checkpoints" / f"policy_{turn}.pt"
        path.parent.mkdir(exist_ok=True)
        weights = {"actor.0.weight": torch.ones(80, 80), "critic.0.weight": torch.ones(80, 80)}
        path.write_bytes(dump({"base": {"w": torch.ones(2)}, "residual": weights}))
    files = keep_policies(tmp_path / "checkpoints", cell(), tmp_path / "results")
    folder = tmp_path / "results/policies/dexflywheel/Grasp"
    assert files == [folder / f"i{turn}-seed1.safetensors" for turn in (2, 3)]
    residual = read_policy(files[0])["residual"]
    assert (residual["actor.0.weight"] == 1).all() and (residual["critic.0.weight"] == 0).all()


def test_what_is_kept_is_the_first_seed_of_the_methods_compared():
    assert cell().keeps_policies and cell("dexpie", "dexpie").keeps_policies
    assert cell("default", "human_demo", "Lift").keeps_policies
    for other in (cell(seed=2), cell("sac"), cell("bc", "dexpie"), cell("no-aep")):
        assert not other.keeps_policies
    assert cell("enhanced", "dexmimicgen").kept_folder == Path("dexmimicgen-enhanced/Grasp")
    assert cell().kept_folder == Path("dexflywheel/Grasp")


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*/*/*.safetensors")),
                         ids=lambda path: "-".join(path.parts[-3:]))  # fmt: skip
def test_scripts_open_every_policy_that_is_kept(path):
    state = read_policy(path)
    script = load_script(path.parent.parent.name.partition("-")[0])
    policy, env = script.open_policy(state, from_dict(script.Args, state["args"]), "base")
    assert callable(policy.act) and env.task.name == path.parent.name
    env.close()


@pytest.mark.parametrize("path", [path for path in KEPT if path.name.startswith("i3")],
                         ids=lambda path: path.parent.name)  # fmt: skip
def test_a_kept_policy_agrees_with_its_records(path, capsys):
    """In other scenes, those of another seed; the intervals of both must meet."""
    script = load_script("dexflywheel")
    words = ["--evaluate", str(path), "--split", "T_VAL", "--episodes", "32", "--seed", "1000"]
    assert call(script, [*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    words = ["show", "--method", "dexflywheel", "--task", path.parent.name, "--iteration", "3"]
    words += ["--split", "T_VAL", "--json", "--root", str(POLICIES.parent / "records")]
    assert main(words) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["policy_path"] == path.as_posix()
    assert known["n"] == 200
    assert found["n"] == 32
    assert found["low"] <= known["high"] and known["low"] <= found["high"]


SEEN = POLICIES / "dexflywheel/Grasp/i3-seed1.safetensors"  # as the README names it
LOOK = ["--evaluate", str(SEEN), "--episodes", "1", "--threads", "1", "--capture-video", "--json"]


def test_a_kept_policy_can_be_seen_at_once(tmp_path, monkeypatch, capsys):
    need_drawing()
    monkeypatch.chdir(tmp_path)
    assert call(load_script("dexflywheel"), LOOK) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["n"] == 1
    [folder] = (tmp_path / "runs").glob("DexFW-*__evaluate__1__*/videos")
    assert captured.err.strip().endswith(f"videos: {folder.relative_to(tmp_path)}")
    assert len(list(folder.glob("episode-000-*.mp4"))) == 1


def test_where_nothing_draws_the_evaluation_goes_on(tmp_path, monkeypatch, capsys):
    def no_display(*_, **__):
        raise RuntimeError("no EGL\nhere")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dexfw_envs.backends.mujoco.backend.MujocoBackend.render", no_display)
    assert call(load_script("dexflywheel"), LOOK) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["n"] == 1
    assert captured.err.strip().endswith("warning: no videos: RuntimeError: no EGL here")
