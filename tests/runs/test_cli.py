"""Command lines of the scripts: what is refused before anything runs."""

import dataclasses
import sys
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import pytest
from stub_env import GoPolicy, StubVectorEnv, make_scenarios

from dexfw_envs.evaluation.records import read_records, scenario_of
from dexfw_envs.runs import folder
from dexfw_envs.runs.evaluation import _labels, evaluate_checkpoint
from dexfw_envs.runs.precision import Precision
from dexfw_envs.runs.settings import ScriptArgs, check_device, from_dict, parse
from dexfw_envs.variation import AXES


@dataclass(frozen=True)
class Args(ScriptArgs):
    preset: str = "laptop"
    precision: Precision = "fp32"
    residual: bool = True
    test_every: int = 10
    steps: int = 100


PRESETS = {"laptop": {}, "quick": {"preset": "quick", "steps": 7}}
TASKS = {"Grasp": {}, "Lift": {"steps": 9}}


def parsed(*argv):
    return parse(Args, argv, PRESETS, TASKS)


@pytest.fixture
def run(tmp_path):
    return folder.RunFolder.create(tmp_path, "DexFW/Grasp-v0", "x", 1, Args(steps=55))


@pytest.mark.parametrize(
    "changed",
    [
        ("--steps", "9"),
        ("--steps=9",),
        ("--no-residual",),
        ("--seed", "1"),
        ("--preset", "quick"),
        ("--eval-splits", "T_OEP"),
        ("--eval_episodes", "3"),
        ("--records", "x"),
    ],
)
def test_a_resumed_run_keeps_its_settings(run, changed):
    with pytest.raises(ValueError, match="only --threads, --device, --save-seconds, --track; got"):
        parsed("--resume", str(run.path), *changed)


def test_a_resumed_run_takes_what_changes_no_result(run, monkeypatch, capsys):
    flags = ("--threads", "1", "--device", "cpu", "--save-seconds", "3", "--track")
    monkeypatch.setattr("dexfw_envs.provenance.commit", lambda: run.provenance["commit"])
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(login=lambda: True))
    found = parsed("--resume", str(run.path), *flags)
    assert (found.steps, found.threads, found.track) == (55, 1, True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("dexfw_envs.provenance.commit", lambda: "other")
    parsed("--resume", str(run.path))
    assert "this is other" in capsys.readouterr().err


def test_settings_of_runs_from_before_an_option_was_removed_still_load():
    @dataclasses.dataclass(frozen=True)
    class Later(Args):
        RETIRED = MappingProxyType({"start": "anew"})

    before = dataclasses.asdict(Args(steps=7))
    assert from_dict(Later, before | {"start": "anew"}) == Later(steps=7)
    with pytest.raises(ValueError, match=r"another version of the script: it has no start"):
        from_dict(Later, before | {"start": "from the last"})


def test_settings_of_runs_from_before_an_option_still_load():
    values = dataclasses.asdict(Args(steps=7))
    del values["displacement"]
    assert from_dict(Args, values) == Args(steps=7)
    with pytest.raises(ValueError, match=r"another version of the script: it has no stride"):
        from_dict(Args, values | {"stride": 2})


def test_options_that_would_be_ignored_are_refused():
    given = (
        "--split T_VAL",
        "--episodes 3",
        "--policy base",
        "--json",
        "--displacement 0.02",
        "--variation size",
    )
    for flags in map(str.split, given):
        with pytest.raises(ValueError, match=f"without --evaluate.*{flags[0]}"):
            parsed(*flags)
        parsed("--evaluate", "policy.pt", "--seed", "3", "--friction-scale", "0.9", *flags)
    with pytest.raises(ValueError, match=r"--evaluate takes all else.*got --steps"):
        parsed("--evaluate", "policy.pt", "--steps", "3")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--eval-episodes", "0"), "--eval-episodes must be at least 1, got 0"),
        (("--evaluate", "policy.pt", "--episodes", "0"), "--episodes must be at least 1, got 0"),
        (("--seed", "-3"), "--seed must be at least 0, got -3"),
        (("--threads", "0"), "--threads must be at least 1, got 0"),
        (
            ("--evaluate", "policy.pt", "--variation", "weight"),
            "unknown variation 'weight'; choose from size, mass, .* all",
        ),
        (("--backend", "bullet"), "unknown backend 'bullet'; choose one of .*'mujoco'"),
    ],
)
def test_values_are_checked_first(flags, words):
    with pytest.raises(ValueError, match=words):
        parsed(*flags)


def test_an_unknown_device_is_refused():
    pytest.importorskip("torch")
    check_device("cpu")
    with pytest.raises(ValueError, match=r"--device abacus cannot be used here: .*cpu, cuda"):
        check_device("abacus")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")

    def none(*_, device):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "empty", none)
    with pytest.raises(ValueError, match="--device cuda cannot be used here: Torch not compiled"):
        check_device("cuda")


def test_splits_are_checked_first():
    assert parsed("--eval-splits", "T_OEP", "T_O", "T_O(2)").eval_splits[-1] == "T_O(2)"
    with pytest.raises(ValueError, match=r"unknown split of Grasp 'T_OPE' \(did you mean 'T_OEP'"):
        parsed("--eval-splits", "T_OPE")
    with pytest.raises(ValueError, match="unknown split"):
        parsed("--evaluate", "policy.pt", "--split", "T_O")


def test_the_folder_of_records_is_checked_first(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write --records"):
        parsed("--records", str(tmp_path / "file"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="records need pyarrow, which is not installed: pip inst"):
        parsed("--records", str(tmp_path / "new"))


def test_tracking_is_checked_first(monkeypatch):
    def refused():
        raise PermissionError("the key is not valid\nmore")

    def parsed_with(login, mode=""):
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(login=login))
        monkeypatch.setenv("WANDB_MODE", mode or "online")
        return parsed("--track").track

    assert parsed_with(lambda: True)
    assert parsed_with(refused, "offline")
    with pytest.raises(RuntimeError, match=r"^--track cannot log in to .*: the key is not valid$"):
        parsed_with(refused)
    with pytest.raises(RuntimeError, match="run `wandb login`, or set WANDB_MODE=offline"):
        parsed_with(lambda: False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"--track needs wandb, .*: pip install .*\[track\]"):
        parsed("--track")


def test_records_of_changed_settings_need_a_variant(tmp_path):
    records = ("--records", str(tmp_path))
    same = ("--seed", "3", "--threads", "1", "--eval-splits", "T_OEP", "--eval-episodes", "5")
    assert parsed(*records, *same, "--test-every", "3", "--capture-video").records
    for flags, named in [
        (("--preset", "quick"), "--preset, --steps"),
        (("--no-residual",), "--residual"),
        (("--friction-scale", "0.9"), "--friction-scale"),
    ]:
        with pytest.raises(ValueError, match=f"need --variant NAME; these differ: .*{named}"):
            parsed(*records, *flags)
        assert parsed(*records, *flags, "--variant", "other").variant == "other"
    assert parsed(*records, "--task", "Lift").steps == 9, "what the task changes is its own"
    with pytest.raises(ValueError, match="these differ: --steps"):
        parsed(*records, "--task", "Lift", "--steps", "100")


def grasp_stub():
    env = StubVectorEnv(2)
    env.spec = SimpleNamespace(id="DexFW/Grasp-v0")
    return env


def evaluated(tmp_path, trained, *flags, **header):
    from dexfw_envs.runs.checkpoints import dump

    (tmp_path / "policy.pt").write_bytes(dump(header | {"args": dataclasses.asdict(trained)}))
    asked = Args(evaluate=str(tmp_path / "policy.pt"), records=str(tmp_path / "records"),
                 split="T_VAL", episodes=3, **dict(flags))  # fmt: skip
    return evaluate_checkpoint(asked, lambda *_: (GoPolicy(), grasp_stub()), TASKS)


def test_the_task_to_evaluate_on_is_the_checkpoints(tmp_path):
    pytest.importorskip("torch")
    from dexfw_envs.runs.policies import write_policy

    path = tmp_path / "policy.safetensors"
    write_policy(path, {"args": dataclasses.asdict(Args(task="Lift"))})
    assert parsed("--evaluate", str(path)).task == "Lift"
    assert parsed("--evaluate", str(path), "--task", "Grasp").task == "Grasp"  # refused later
    assert parsed("--evaluate", str(tmp_path / "none.pt")).task == "Grasp"


def test_evaluation_writes_records_of_the_checkpoint(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    draw = lambda task, split, episodes, seed: make_scenarios(episodes)  # noqa: E731
    monkeypatch.setattr("dexfw_envs.evaluation.evaluator._draw", draw)
    labels = {"method": "x", "iteration": 2}
    with pytest.raises(ValueError, match="does not say its iteration"):
        evaluated(tmp_path, Args(seed=4), method="x")
    with pytest.raises(ValueError, match="need --variant NAME"):
        evaluated(tmp_path, Args(steps=7), **labels)
    with pytest.raises(ValueError, match=r"need --variant NAME.*--displacement"):
        evaluated(tmp_path, Args(seed=4), ("displacement", 0.02), **labels)
    with pytest.raises(ValueError, match=r"need --variant NAME.*--variation"):
        evaluated(tmp_path, Args(seed=4), ("variation", "size"), **labels)
    evaluated(tmp_path, Args(seed=4), **labels)
    evaluated(tmp_path, Args(steps=7), ("variant", "short"), **labels)
    rows = read_records(tmp_path / "records")
    found = {(r["method"], r["variant"], r["iteration"], r["seed"], r["policy"]) for r in rows}
    assert found == {("x", "", 2, 4, "combined"), ("x", "short", 2, 1, "combined")}


def test_evaluation_varies_the_worlds_as_asked(tmp_path):
    pytest.importorskip("torch")
    varied = (("variation", "size"), ("variant", "sizes"))
    evaluated(tmp_path, Args(), *varied, method="x", iteration=2)
    scenes = [scenario_of(row) for row in read_records(tmp_path / "records")]
    low, high = AXES["size"].usual
    assert len({scene.value("size") for scene in scenes}) == len(scenes) == 3
    assert all(low <= scene.value("size") <= high for scene in scenes)


@dataclass(frozen=True)
class Varied(Args):
    VARIANTS = ("default", "enhanced")

    variant: str = "default"


def test_variants_of_a_method_are_no_ablations(tmp_path):
    records = ("--records", str(tmp_path))
    for name in Varied.VARIANTS:
        flags = (*records, "--variant", name)
        assert parse(Varied, flags, PRESETS, TASKS).variant == name
        with pytest.raises(ValueError, match=f"need --variant {name}-NAME; these differ: --steps"):
            parse(Varied, (*flags, "--steps", "7"), PRESETS, TASKS)
    flags = (*records, "--variant", "enhanced-short", "--steps", "7")
    assert parse(Varied, flags, PRESETS, TASKS).steps == 7


@pytest.mark.parametrize("named", [{}, {"variant": "enhanced-slippery"}])
def test_a_checkpoint_keeps_its_variant_unless_another_is_named(named):
    state = {"method": "x", "iteration": 1}
    asked, args = Varied(**named), Varied(variant="enhanced")
    found = _labels(state, asked, args, TASKS)["variant"]
    assert found == named.get("variant", "enhanced")


@dataclass(frozen=True)
class Lent(Args):
    SAME = ("steps",)
    ASKED = ("latency",)

    latency: int = 0


def test_a_script_says_which_of_its_settings_make_no_other_method(tmp_path):
    records = ("--records", str(tmp_path))
    assert parse(Lent, (*records, "--steps", "7"), PRESETS, TASKS).steps == 7
    with pytest.raises(ValueError, match="need --variant NAME; these differ: --latency"):
        parse(Lent, (*records, "--latency", "7"), PRESETS, TASKS)


def test_a_script_says_which_of_its_settings_an_evaluation_takes(tmp_path):
    pytest.importorskip("torch")
    from dexfw_envs.runs.checkpoints import dump

    trained = Lent(steps=5, latency=1)
    path = tmp_path / "policy.pt"
    path.write_bytes(dump({"args": dataclasses.asdict(trained)}))
    flags = ("--evaluate", str(path))
    asked = parse(Lent, (*flags, "--latency", "8"), PRESETS, TASKS)
    with pytest.raises(ValueError, match=r"beside it only .*--latency; got --steps"):
        parse(Lent, (*flags, "--steps", "8"), PRESETS, TASKS)
    seen = []

    def open_policy(state, args, name):
        seen.append((args.steps, args.latency))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate_checkpoint(asked, open_policy, TASKS)
    assert seen == [(5, 8)]
