"""The evaluator, its records and `python -m benchmark show`."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest
from stub_env import GoPolicy, StubVectorEnv, make_scenarios

from benchmark.__main__ import main
from benchmark.figures.stats import over_seeds
from dexfw_envs.catalog.splits import split as draw_split
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.evaluation import records as records_module
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.evaluation.records import (
    COLUMNS,
    mean_measures,
    read_record_file,
    read_records,
    reference,
    scenario_of,
    with_references,
    write_records,
)
from dexfw_envs.evaluation.summary import longest_run, per_object, summary, throughput, wilson
from dexfw_envs.evaluation.video import VideoWriter
from dexfw_envs.experts.lift import LiftExpert

LABELS = {"method": "dexflywheel", "task": "Stub", "commit": "abc", "command": "python x.py"}


@pytest.fixture
def stub_id():
    gym.register("DexFW/Stub-v0", vector_entry_point=StubVectorEnv, disable_env_checker=True)
    yield "DexFW/Stub-v0"
    del gym.registry["DexFW/Stub-v0"]


def stub_records(count=12, limit=0.2, **options):
    scenarios = make_scenarios(count)
    return evaluate(GoPolicy(limit), StubVectorEnv(4), scenarios=scenarios, **options)


def test_one_record_per_scenario_in_order():
    records = stub_records()
    assert [record["episode"] for record in records] == list(range(12))
    assert [record["object"] for record in records[:4]] == ["ball", "can", "egg", "ball"]
    assert {record["failure"] for record in records} == {"", "dropped"}
    assert all(record["success"] == (record["failure"] == "") for record in records)
    assert records[0]["task"] == "Stub"
    assert (records[0]["env_id"], records[0]["env_version"]) == ("DexFW/Stub-v0", 0)
    labels = {"method", "variant", "iteration", "policy", "precision", "commit", "command"}
    assert set(records[0]) | labels == set(COLUMNS)


def test_env_made_from_its_id_and_a_split(stub_id, monkeypatch):
    asked, made = [], []

    def draw(*arguments):
        asked.append(arguments)
        return make_scenarios(arguments[2])

    class Remembered(StubVectorEnv):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("dexfw_envs.evaluation.evaluator._draw", draw)
    monkeypatch.setattr(gym.registry[stub_id], "vector_entry_point", Remembered)
    options = {"split": "T_VAL", "episodes": 7, "seed": 3, "num_envs": 2}
    records = evaluate(GoPolicy(), stub_id, **options, env_options={"max_episode_steps": 5})
    assert asked == [("Stub", "T_VAL", 7, 3)]
    assert len(records) == 7
    assert {(record["split"], record["seed"]) for record in records} == {("T_VAL", 3)}
    assert max(record["length"] for record in records) == 5
    assert made[0].num_envs == 2
    assert made[0].closed


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match="either split or scenarios"):
        evaluate(GoPolicy(), StubVectorEnv())
    nameless = StubVectorEnv()
    nameless.spec = None
    with pytest.raises(ValueError, match="no spec"):
        evaluate(GoPolicy(), nameless, scenarios=make_scenarios(1))
    with pytest.raises(ValueError, match="env_options"):
        stub_records(env_options={"image_size": 96})
    with pytest.raises(ValueError, match="no records"):
        summary([])


class Still:
    """A policy that keeps every arm where it is told once."""

    def reset(self, mask):
        pass

    def act(self, observation):
        return np.zeros((len(observation["proprio"]), 12))


def test_a_single_env_is_evaluated_as_its_batch_of_one():
    env = gym.make("DexFW/Grasp-v0", threads=1)
    many = gym.make_vec("DexFW/Grasp-v0", num_envs=2, autoreset_mode="disabled", threads=1)
    what = {"split": "T_VAL", "episodes": 2, "seed": 1}
    one, two = evaluate(Still(), env, **what), evaluate(Still(), many, **what)
    times = {"wall_time_s": 0.0}
    assert [row | times for row in one] == [row | times for row in two]
    env.reset(seed=0)  # left open
    env.close()
    many.close()


def test_a_single_env_cut_short_by_a_wrapper_is_refused():
    env = gym.make("DexFW/Grasp-v0", max_episode_steps=5)
    with pytest.raises(ValueError, match=r"after 5 steps .*make_vec\(.*max_episode_steps=5\)"):
        evaluate(Still(), env, split="T_VAL", episodes=1)
    env.close()


@pytest.mark.parametrize(
    "wrap",
    [
        gym.wrappers.FlattenObservation,
        lambda env: gym.wrappers.RescaleAction(env, np.float32(-2.0), np.float32(2.0)),
    ],
)
def test_a_wrapper_that_would_be_passed_over_is_refused(wrap):
    env = wrap(gym.make("DexFW/Grasp-v0"))
    with pytest.raises(
        ValueError, match=r"^(FlattenObservation|RescaleAction) would be passed over"
    ):
        evaluate(Still(), env, split="T_VAL", episodes=1)
    env.close()


@pytest.mark.parametrize("policy", [None, np.zeros, Still, object()])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match=r"a policy is an object with reset\(mask\) and act"):
        evaluate(policy, "DexFW/Grasp-v0", split="T_VAL", episodes=1)


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ("CartPole-v1", "'CartPole-v1'"),
        ("DexFW/Juggle-v0", "'DexFW/Juggle-v0'"),
        ("nonsense", "'nonsense'"),
    ],
)
def test_an_id_of_none_of_our_envs_is_refused(env, named):
    with pytest.raises(ValueError, match=f"^{named} is no environment of this suite: give an id"):
        evaluate(Still(), env, split="T_VAL", episodes=1)


def test_a_foreign_env_is_refused():
    for env in (gym.make("CartPole-v1"), gym.make_vec("CartPole-v1", num_envs=2)):
        with pytest.raises(ValueError, match="is no environment of this suite"):
            evaluate(Still(), env, split="T_VAL", episodes=1)
        env.close()
    with pytest.raises(ValueError, match="no spec"):
        evaluate(Still(), object(), split="T_VAL", episodes=1)


def test_summary_is_json_ready_and_adds_up():
    records = stub_records(30)
    line = json.loads(json.dumps(summary(records)))
    told = {"success", "n", "low", "high", "per_object", "measures"}
    assert set(line) == told | {"throughput", "longest_run", "penetration"}
    assert line["n"] == 30
    assert 0 < line["low"] < line["success"] < line["high"] < 1
    assert (line["low"], line["high"]) == wilson(round(30 * line["success"]), 30)
    assert line["per_object"] == per_object(records)
    assert sum(part["n"] for part in line["per_object"].values()) == 30
    wins = sum(part["success"] * part["n"] for part in line["per_object"].values())
    assert wins == pytest.approx(30 * line["success"])


def row(success, length=100, **more):
    return {"object": "ball", "success": success, "length": length, **more}


def test_throughput_counts_successes_per_minute_of_robot_time():
    """Ten episodes of 100 steps of 50 ms are 50 s."""
    records = [row(success=k < 5) for k in range(10)]
    assert throughput(records) == pytest.approx(6.0)
    assert summary(records)["throughput"] == pytest.approx(6.0)


def test_the_longest_run_is_of_successes_on_end():
    outcomes = [True, True, False, True, True, True, False, True]
    assert longest_run([row(success) for success in outcomes]) == 3
    assert longest_run([row(False)]) == 0


def test_the_deepest_penetration_is_that_of_successes():
    def deep(success, link, hand):
        depths = {"penetration_link": link, "penetration_hand": hand}
        return row(success, **depths, penetration_support=float("nan"))

    records = [deep(True, 0.0, 1.5), deep(True, 0.2, 0.5), deep(False, 9.0, 9.0)]
    assert summary(records)["penetration"] == {"link": 0.2, "hand": 1.5}
    assert "penetration" not in summary([deep(False, 9.0, 9.0)])


def test_measures_are_those_of_the_episodes_ends():
    env = StubVectorEnv(4)
    ends = {}

    def keep(done, total, episode):
        point, goal = episode.states[-1, :2], episode.states[-1, 2:4]
        ends[episode.index] = float(np.linalg.norm(point - goal))

    for _ in run_episodes(env, GoPolicy(0.2), make_scenarios(12), progress=keep):
        pass
    records = stub_records()
    found = [json.loads(record["measures"]) for record in records]
    assert [row["distance"] for row in found] == pytest.approx([ends[k] for k in range(12)])
    assert len({round(end, 6) for end in ends.values()}) > 6
    mean = np.mean(list(ends.values()))
    assert summary(records)["measures"] == {"distance": pytest.approx(mean)}
    bare = [row(True)]
    assert "measures" not in summary(bare) and mean_measures(bare) == {}


def test_a_measure_without_a_value_is_left_out(monkeypatch):
    step = StubVectorEnv.step

    def broken(self, action):
        *rest, info = step(self, action)
        info["measures"]["distance"] = np.where(np.arange(4) == 1, np.nan, 1.0)
        return (*rest, info)

    monkeypatch.setattr(StubVectorEnv, "step", broken)
    records = stub_records(4)
    assert [record["measures"] for record in records].count("{}") == 1
    assert mean_measures(records) == {"distance": 1.0}


def test_progress_is_the_furthest_stage_and_one_for_a_success():
    records = stub_records(11)
    assert {record["progress"] for record in records if record["success"]} == {1.0}
    lost = [record for record in records if not record["success"]]
    assert lost and all(record["progress"] == (record["hold"] > 0) / 2 for record in lost)


def test_a_real_task_reports_its_measures():
    env = DexVectorEnv("Lift", 1, autoreset_mode="disabled", max_episode_steps=2, threads=1)
    (record,) = evaluate(LiftExpert(env), env, split="T_VAL", episodes=1)
    assert record["failure"] == "timeout"
    assert 0 <= json.loads(record["measures"])["tilt"] < 1


def test_videos_of_the_first_episodes(tmp_path):
    av = pytest.importorskip("av")
    records = stub_records(9, videos=5, video_folder=tmp_path)
    names = [f"episode-{r['episode']:03d}-{r['object']}-{r['failure'] or 'success'}.mp4"
             for r in records[:5]]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name, record in zip(names, records, strict=False):
        with av.open(str(tmp_path / name)) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(frames) == record["length"] + 1
        assert frames[0].shape == (32, 48, 3)
        assert frames[0].mean() < frames[-1].mean()


def test_a_failing_policy_leaves_no_half_videos(tmp_path):
    pytest.importorskip("av")
    policy = GoPolicy()
    policy.act = lambda observation: 1 / 0
    with pytest.raises(ZeroDivisionError):
        evaluate(policy, StubVectorEnv(2), scenarios=make_scenarios(2), videos=2,
                 video_folder=tmp_path)  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def film(path, *shapes, dtype=np.uint8):
    with VideoWriter(path) as writer:
        for shape in shapes:
            writer.add(np.zeros(shape, dtype))


def test_video_writer_checks_and_is_atomic(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "new" / "odd.mp4"
    film(path, *[(31, 33, 3)] * 3)
    assert path.stat().st_size > 0
    before = path.read_bytes()
    with pytest.raises(ValueError, match="uint8"):
        film(path, (32, 32, 3), dtype=float)
    with pytest.raises(ValueError, match="keep their shape"):
        film(path, (32, 32, 3), (64, 32, 3))
    with pytest.raises(ValueError, match="no frame"):
        film(path)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["odd.mp4"]
    with pytest.raises(ValueError, match=r"\.mp4"):
        VideoWriter(tmp_path / "film.avi")


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("av", lambda path: VideoWriter(path / "a.mp4")),
        ("pyarrow", lambda path: write_records(stub_records(2), path, **LABELS)),
    ],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, module, use):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"need {module}, .*: pip install .*\[train,report\]"):
        use(tmp_path)


def test_records_come_back_as_written(tmp_path):
    records = stub_records(6)
    path = write_records(records, tmp_path, **LABELS, iteration=3, seed=1, precision="fp32")
    assert path == tmp_path / "dexflywheel" / "Stub" / "i3-combined-custom-seed1.parquet"
    rows = read_record_file(path)
    assert list(rows[0]) == list(COLUMNS)
    for row, record in zip(rows, records, strict=True):
        same = {**record, **LABELS, "variant": "", "iteration": 3, "policy": "combined", "seed": 1}
        same["precision"] = "fp32"
        assert row == same
    again = {"iteration": 3, "seed": 1, "precision": "fp32"}
    assert write_records(records, tmp_path, **LABELS, **again) == path
    assert len(read_records(tmp_path)) == 6
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_records_carry_commit_and_command(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["baselines/dexflywheel.py", "--split", "T_O(2)"])
    path = write_records(stub_records(1), tmp_path, method="dexflywheel", task="Stub")
    row = read_record_file(path)[0]
    assert row["command"] == "python baselines/dexflywheel.py --split 'T_O(2)'"
    assert row["commit"]


def test_wrong_records_are_refused(tmp_path):
    records = stub_records(2)
    with pytest.raises(ValueError, match=r"missing columns.*jerk"):
        write_records([{k: v for k, v in records[0].items() if k != "jerk"}], tmp_path, **LABELS)
    with pytest.raises(ValueError, match=r"unknown columns.*colour"):
        write_records([{**records[0], "colour": "red"}], tmp_path, **LABELS)
    with pytest.raises(ValueError, match="cannot be written as task 'Grasp'"):
        write_records(records, tmp_path, **{**LABELS, "task": "Grasp"})
    with pytest.raises(ValueError, match="no records"):
        write_records([], tmp_path, **LABELS)
    assert list(tmp_path.iterdir()) == []


def test_files_that_lack_columns_or_are_damaged(tmp_path, monkeypatch):
    good = write_records(stub_records(4), tmp_path, **LABELS)
    cut = good.with_name("cut.parquet")
    cut.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(OSError, match="damaged"):
        read_record_file(cut)
    with pytest.warns(UserWarning, match=r"skipped.*cut\.parquet"):
        assert len(read_records(tmp_path)) == 4
    cut.unlink()
    fewer = {name: column for name, column in COLUMNS.items() if name != "commit"}
    labels = {**LABELS, "iteration": 1}
    with monkeypatch.context() as patch:
        patch.setattr(records_module, "COLUMNS", fewer)
        patch.setattr(records_module, "_complete", lambda record: {k: record[k] for k in fewer})
        write_records(stub_records(4), tmp_path, **labels)
    with pytest.raises(ValueError, match=r"lacks the columns \['commit'\]"):
        read_records(tmp_path)


@pytest.mark.parametrize(("task", "split"), [("Grasp", "T_OEP"), ("Handover", "T_O(2)")])
def test_a_record_names_its_scenario_by_its_place_in_the_split(task, split):
    scenarios = draw_split(task, split, 5, seed=3)
    for k, scenario in enumerate(scenarios):
        record = {"task": task, "scenario": reference(scenario.to_json(), split, 3, k)}
        assert scenario_of(record) == scenario and len(record["scenario"]) < 30
    assert scenario_of({"task": task, "scenario": scenarios[0].to_json()}) == scenarios[0]


def test_older_records_are_named_by_place_too():
    drawn = draw_split("Grasp", "T_OEP", 3, seed=2)
    rows = [
        {"task": "Grasp", "split": "T_OEP", "seed": 2, "episode": k, "scenario": scene.to_json()}
        for k, scene in enumerate([*drawn[:2], drawn[0]])
    ]
    first, second, other = with_references(rows)
    assert [scenario_of(row) for row in (first, second)] == drawn[:2]
    assert first["scenario"].startswith("T_OEP 2 0 ") and rows[0]["scenario"].startswith("{")
    assert other == rows[2]  # it is not the third scene of the split
    assert with_references([first, second]) == [first, second]


def test_a_split_that_has_changed_is_noticed():
    text = draw_split("Grasp", "T_OEP", 1, seed=3)[0].to_json()
    for wrong in (reference(text + " ", "T_OEP", 3, 0), reference(text, "T_OEP", 4, 0)):
        with pytest.raises(ValueError, match=r"T_OEP has changed since"):
            scenario_of({"task": "Grasp", "scenario": wrong})
    with pytest.raises(ValueError, match="no scenario is named 'T_NEW 1 2 00000000'"):
        scenario_of({"task": "Grasp", "scenario": "T_NEW 1 2 00000000"})


def test_displaced_scenes_are_kept_whole():
    env = DexVectorEnv("Lift", 2, autoreset_mode="disabled", max_episode_steps=2, threads=1)
    what = {"split": "T_OEP", "episodes": 2, "seed": 3}
    usual = evaluate(LiftExpert(env), env, **what)
    moved = evaluate(LiftExpert(env), env, **what, displacement=0.03)
    for one, other in zip(usual, moved, strict=True):
        before, after = scenario_of(one), scenario_of(other)
        assert np.hypot(*np.subtract(before.object_poses[0], after.object_poses[0])[:2]) == (
            pytest.approx(0.03)
        )
        assert one["split"] == other["split"] == "T_OEP" and len(one["scenario"]) < 30


def test_files_from_before_there_was_progress_still_load(tmp_path, monkeypatch):
    fewer = {name: column for name, column in COLUMNS.items() if name != "progress"}
    with monkeypatch.context() as patch:
        patch.setattr(records_module, "COLUMNS", fewer)
        patch.setattr(records_module, "_complete", lambda record: {k: record[k] for k in fewer})
        write_records(stub_records(4), tmp_path, **LABELS)
    assert all(np.isnan(row["progress"]) for row in read_records(tmp_path))


def test_files_from_before_there_were_measures_still_load(tmp_path, monkeypatch, capsys):
    fewer = {name: column for name, column in COLUMNS.items() if name != "measures"}
    with monkeypatch.context() as patch:
        patch.setattr(records_module, "COLUMNS", fewer)
        patch.setattr(records_module, "_complete", lambda record: {k: record[k] for k in fewer})
        write_records(stub_records(4), tmp_path, **LABELS)
    old = read_records(tmp_path)
    assert list(old[0]) == list(COLUMNS) and {row["measures"] for row in old} == {"{}"}
    assert show(tmp_path) == 0
    assert "distance" not in capsys.readouterr().out
    write_records(stub_records(4), tmp_path, **LABELS, iteration=1)
    assert show(tmp_path) == 0
    head, _, first, second = capsys.readouterr().out.strip().splitlines()
    place = [cell.strip() for cell in head.split("|")].index("distance")
    shown = [row.split("|")[place].strip() for row in (first, second)]
    assert shown == ["", f"{mean_measures(stub_records(4))['distance']:.2f}"]


def test_the_same_episodes_twice_are_refused(tmp_path):
    write_records(stub_records(4), tmp_path, **LABELS)
    write_records(stub_records(4), tmp_path, **LABELS, name="again")
    with pytest.raises(ValueError, match="hold the same episodes"):
        read_records(tmp_path)


@pytest.fixture
def results(tmp_path):
    """Records of two seeds, base and combined, over three iterations."""
    root = tmp_path / "results" / "records"
    for iteration in (1, 2, 3):
        for policy in ("base", "combined"):
            for seed in (0, 1):
                limit = -0.5 + 0.3 * iteration
                write_records(
                    [{**record, "split": "T_OEP"} for record in stub_records(20, limit)],
                    root, **LABELS, iteration=iteration, policy=policy, seed=seed,
                )  # fmt: skip
    write_records(stub_records(5), root, **LABELS, variant="no-residual", iteration=3)
    return root


def show(root, *arguments):
    return main(["show", "--root", str(root), *arguments])


def test_show_prints_one_cell_as_one_json_line(results, capsys):
    assert show(results, "--method", "dexflywheel", "--task", "Stub", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    cell = json.loads(line)
    assert (cell["iteration"], cell["policy"], cell["variant"]) == (3, "combined", "")
    assert (cell["n"], cell["seeds"], cell["commit"]) == (40, [0, 1], "abc")
    assert (cell["low"], cell["high"]) == wilson(round(cell["success"] * 40), 40)
    assert cell["seed_mean"] == pytest.approx(cell["success"])
    assert 0 < cell["measures"]["distance"] < 1.5
    named = ("--variant", "no-residual", "--per-object")
    assert show(results, "--method", "dexflywheel", "--task", "Stub", "--json", *named) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["n"] == 5
    assert (other["seeds"], other["seed_mean"], other["seed_low"]) == ([0], None, None)
    assert sum(part["n"] for part in other["per_object"].values()) == 5


def test_show_gives_the_interval_over_seeds_beside_the_pooled_one(tmp_path, capsys):
    pytest.importorskip("scipy", reason="intervals over seeds need the extra report")
    for seed, wins in ((1, 9), (2, 5), (3, 7)):
        records = stub_records(10)
        records = [{**r, "success": k < wins, "split": "T_OEP"} for k, r in enumerate(records)]
        write_records(records, tmp_path, **LABELS, seed=seed)
    assert show(tmp_path, "--method", "dexflywheel", "--task", "Stub", "--json") == 0
    cell = json.loads(capsys.readouterr().out)
    assert (cell["success"], cell["n"], cell["seeds"]) == (0.7, 30, [1, 2, 3])
    assert (cell["low"], cell["high"]) == wilson(21, 30)
    expected = over_seeds(np.array([[0.9], [0.5], [0.7]]))
    found = (cell["seed_mean"], cell["seed_low"], cell["seed_high"])
    assert found == (expected.value, expected.low, expected.high)
    half = 4.302653 * 0.2 / np.sqrt(3)
    assert found[1:] == pytest.approx((0.7 - half, 1.0))
    assert show(tmp_path) == 0
    assert "70.0 [20.3, 100.0]" in capsys.readouterr().out


def test_show_prints_tables(results, capsys):
    assert show(results) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 + 7
    assert "success [95 %]" in lines[0] and "over seeds [95 %]" in lines[0]
    assert show(results, "--iteration", "2", "--policy", "base", "--per-object") == 0
    rows = capsys.readouterr().out.strip().splitlines()[2:]
    assert [row.split("|")[7].strip() for row in rows] == ["ball", "can", "egg"]
    assert show(results, "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_show_fails_for_a_cell_not_run(results, capsys):
    cell = ("--method", "dexflywheel", "--task", "Stub", "--json")
    for more in (("--iteration", "4"), ("--variant", "none"), ("--split", "T_VAL")):
        assert show(results, *cell, *more) == 1
    assert show(results, "--method", "dexpie", "--task", "Stub", "--json") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "not run: no records" in captured.err


def test_show_asks_back_where_a_cell_is_not_clear(tmp_path, capsys):
    for variant in ("default", "enhanced"):
        write_records(stub_records(3), tmp_path, **LABELS, variant=variant)
    assert show(tmp_path, "--method", "dexflywheel", "--task", "Stub", "--json") == 2
    assert "--variant of 'default', 'enhanced'" in capsys.readouterr().err
