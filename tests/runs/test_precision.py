"""Precision of training: found by the processor, kept by the run, told by records and policies."""

import dataclasses
import json
from dataclasses import dataclass

import pytest

from benchmark.protocol import PRECISION, ROOT
from dexfw_envs.runs import evaluation
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.precision import COMPARED, native_precision, with_precision
from dexfw_envs.runs.settings import ScriptArgs, check_variant, from_dict, parse

torch = pytest.importorskip("torch", reason="the scripts need the extra train")


@dataclass(frozen=True)
class Args(ScriptArgs):
    preset: str = "laptop"


PRESETS = {"laptop": {}}
TASKS = {"Grasp": {}}


def parsed(*argv):
    return parse(Args, argv, PRESETS, TASKS)


@pytest.fixture
def native(monkeypatch):
    """Make the processor one with bf16; the test may call it to make it one without."""

    def become(precision):
        monkeypatch.setattr("dexfw_envs.runs.settings.native_precision", lambda device: precision)

    become("bf16")
    return become


@pytest.mark.parametrize(
    ("level", "instructions", "expected"),
    [
        ("AVX512", {"avx512_bf16": True}, "bf16"),
        ("AVX512", {"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ("AVX512", {"avx512_bf16": False, "amx_bf16": False}, "fp32"),
        ("AVX512", {}, "fp32"),
        ("AVX2", {"avx512_bf16": False}, "fp32"),
        ("AVX2", {"avx512_bf16": True}, "fp32"),  # torch was told not to use what there is
        ("DEFAULT", {}, "fp32"),
    ],
)
def test_the_processor_is_asked(monkeypatch, level, instructions, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert native_precision("cpu") == expected


def test_a_torch_that_cannot_tell_means_fp32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert native_precision("cpu") == "fp32"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_graphics_card_is_asked_for_what_it_does_not_emulate(monkeypatch, supported, expected):
    asked = []

    def is_supported(including_emulation):
        asked.append(including_emulation)
        return supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert native_precision("cuda:0") == expected
    assert asked == [False]
    assert native_precision("meta") == "fp32"


def test_auto_is_resolved_before_a_run_begins(native):
    assert parsed().precision == "bf16"
    assert parsed("--precision", "fp32").precision == "fp32"
    native("fp32")
    assert parsed().precision == "fp32"
    assert parsed("--precision", "bf16").precision == "bf16"
    with pytest.raises(SystemExit):
        parsed("--precision", "fp16")


def test_a_resumed_run_keeps_the_precision_of_its_start(native, tmp_path):
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "x", 1, parsed())
    native("fp32")  # as on another machine
    assert parsed("--resume", str(run.path)).precision == "bf16"
    with pytest.raises(ValueError, match="got --precision"):
        parsed("--resume", str(run.path), "--precision", "fp32")


@pytest.mark.parametrize(("before", "now"), [(True, "bf16"), (False, "fp32")])
def test_older_runs_had_a_switch(native, tmp_path, before, now):
    config = dataclasses.asdict(Args())
    del config["precision"]
    config["bf16"] = before
    assert from_dict(Args, config).precision == now
    assert with_precision(config)["precision"] == now and "bf16" in config
    run = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "x", 1, config)
    assert parsed("--resume", str(run.path)).precision == now


def test_records_of_the_method_itself_are_in_the_precision_of_the_cells(native, tmp_path):
    pytest.importorskip("pyarrow", reason="records need pyarrow")
    assert COMPARED == PRECISION
    with pytest.raises(ValueError, match="need --variant NAME; these differ: --precision"):
        parsed("--records", str(tmp_path))
    assert parsed("--records", str(tmp_path), "--variant", "bf16").precision == "bf16"
    assert parsed("--records", str(tmp_path), "--precision", "fp32").precision == "fp32"
    native("fp32")
    assert parsed("--records", str(tmp_path)).precision == "fp32"


def test_a_policy_from_before_counts_as_it_did():
    values = dataclasses.asdict(Args())
    del values["precision"]
    state = {"method": "x", "iteration": 1, "args": {**values, "bf16": True}}
    found = evaluation._labels(state, Args(), from_dict(Args, state["args"]), TASKS)
    assert (found["variant"], found["precision"]) == ("", "bf16")
    newer = {**state, "args": {**values, "precision": "bf16"}}
    with pytest.raises(ValueError, match="these differ: --precision"):
        evaluation._labels(newer, Args(), from_dict(Args, newer["args"]), TASKS)
    check_variant(Args(precision="fp32"), TASKS)


def test_kept_policies_say_how_they_were_trained():
    pytest.importorskip("diffusers", reason="the scripts need the extra train")
    pytest.importorskip("safetensors", reason="policies need the extra train")
    from benchmark.grid.scripts import load_script
    from dexfw_envs.runs.policies import read_policy

    kept = sorted((ROOT / "results" / "revision-2" / "policies").glob("*/Grasp/i*.safetensors"))
    assert kept
    for path in kept:
        state = read_policy(path)
        settings = load_script(state["method"]).Args
        stored = state["args"]
        wanted = stored.get("precision", "bf16" if stored.get("bf16") else "fp32")
        assert from_dict(settings, stored).precision == wanted


def test_tables_name_the_runs_of_another_precision(tmp_path, capsys):
    pytest.importorskip("pandas", reason="tables need the extra report")
    pytest.importorskip("pyarrow", reason="records need pyarrow")
    from benchmark.__main__ import main

    for seed, known in ((1, {}), (2, {}), (3, {"precision": "fp32"})):
        folder = tmp_path / "runs" / "dexflywheel" / "Grasp"
        folder.mkdir(parents=True, exist_ok=True)
        found = {"method": "dexflywheel", "variant": "", "task": "Grasp", "seed": seed}
        found |= {"digest": "d", "versions": {}, "machine": {}, "env_id": "DexFW/Grasp-v0"}
        found |= {"success": [{"n": 1}], "seconds": {}, "commit": "c", "command": "x"}
        found |= {"data": {}, "objects": {}, "residual": {}, "curves": {}, "coverage": {}} | known
        (folder / f"main-seed{seed}.json").write_text(json.dumps(found))
    main(["tables", "--results", str(tmp_path)])
    said = capsys.readouterr().err
    assert "warning: fp32, all else bf16: dexflywheel Grasp seed 3\n" in said
