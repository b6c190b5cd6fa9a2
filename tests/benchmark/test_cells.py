"""The grid: what is in it, what makes a cell another one, and how it is listed."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from benchmark.__main__ import main
from benchmark.grid.cells import (
    Cell,
    digest,
    earlier_digest,
    method_version,
    select_cells,
    settings_tables,
    version_in,
)
from benchmark.grid.scripts import load_script
from benchmark.grid.variants import GRID, PARENT, RETRIES, find_variant
from benchmark.kept.summaries import status, summary_path
from benchmark.protocol import ROOT, SEEDS, TASKS, TURNS, name_in_grid, results_of
from dexfw_envs.runs.settings import parse

STUB = Path(__file__).parents[1] / "stub_method.py"
script_of = cache(load_script)


@pytest.fixture
def root(tmp_path):
    """A clone with one script, a stub."""
    (tmp_path / "baselines").mkdir()
    shutil.copy(STUB, tmp_path / "baselines" / "dexflywheel.py")
    return tmp_path


def cell(name="", method="dexflywheel", task="Grasp", seed=1, preset="laptop") -> Cell:
    return Cell(find_variant(method, name), task, seed, preset)


def test_every_cell_is_there_once_and_what_matters_comes_first():
    cells = select_cells()
    assert len({c.name for c in cells}) == len(cells) == len(set(cells))
    assert [c.order for c in cells] == sorted(c.order for c in cells)
    whole = [c for c in cells if c.variant.name == ""]
    assert {(c.task, c.seed) for c in whole} == {(t, s) for t in TASKS for s in SEEDS}
    assert {c.order for c in whole} == {"a", "b"}
    left_out = [c for c in cells if c.variant.name == "no-aep"]
    assert {(c.order, c.seed) for c in left_out} == {("c", 1), ("d", 2), ("d", 3)}
    methods = {"dexflywheel", "human_demo", "dexmimicgen", "dexpie"}
    assert {row.method for row in GRID} == methods


def test_shared_turns_belong_to_the_parent():
    assert list(cell("no-aep").own_turns) == list(cell("no-residual-no-aep").own_turns) == [2, 3]
    assert list(cell("five-turns", preset="quick").own_turns) == [1, 2, 3, 4, 5]  # no third there
    assert list(cell().own_turns) == [1, 2, 3]


def test_the_grid_is_narrowed_by_what_is_named():
    cells = select_cells(tables=["ablations"], tasks=["Lift"], seeds=[1])
    assert [c.variant.name for c in cells] == ["", "no-residual-no-aep", "no-residual", "no-aep"]
    assert select_cells(methods=["human_demo"], variants=["sac"]) == []
    with pytest.raises(ValueError, match="valid: dexflywheel, human_demo-default"):
        find_variant("dexflywheel", "wrong")


def test_options_are_those_of_the_script_and_of_the_protocol():
    options = " ".join(cell("no-aep", seed=2).options)
    assert options == (
        "--task Grasp --preset laptop --seed 2 --eval-splits T_OEP --eval-episodes 200 "
        "--no-aep --variant no-aep --precision fp32"
    )
    assert " ".join(cell("no-aep", seed=2).earlier_options) + " --precision fp32" == options
    assert "--eval-splits T_OEP T_O --eval-episodes" in " ".join(cell().options)
    assert "--variant" not in cell().options
    assert cell(preset="quick").label == "quick"  # scripts refuse such records as their own
    assert cell("default", "human_demo", preset="quick").label == "default-quick"
    assert cell("enhanced", "dexmimicgen").earlier_options[-2:] == ("--variant", "enhanced")
    started = {name: cell(name, "dexpie", "Pour", seed=3).options for name in ("recap", "bc-30")}
    assert "--demonstrations 2 --collected" in " ".join(started["recap"])
    assert started["bc-30"].count("--demonstrations") == 1 and "30" in started["bc-30"]
    assert " ".join(cell("bc-latency-8", "dexpie", seed=3).options) == (
        "--evaluate {parent} --task Grasp --seed 3 --split T_OEP --episodes 200 --policy base "
        "--json --eval-latency 8 --variant bc-latency-8"
    )


def test_what_a_cell_is_given_comes_from_a_cell_of_the_grid():
    cells = select_cells()
    needed = [c for c in cells if c.variant.uses_run_of is not None]
    assert needed and all(c.parent.variant in GRID for c in needed)
    assert all(c.parent in cells for c in needed if c.seed == 1)
    said = ({PARENT, RETRIES} & set(c.options) for c in needed)
    assert all(len(words) == 1 for words in said), "each is told one thing"
    ways = ({"--collected", "--evaluate", "--retries"} & set(c.options) for c in needed)
    assert all(len(way) == 1 for way in ways)


@pytest.mark.parametrize("preset", TURNS)
@pytest.mark.parametrize("row", GRID, ids=lambda row: "-".join(filter(None, row.key)))
def test_scripts_take_the_options_of_the_grid(row, preset, tmp_path):
    pytest.importorskip("diffusers", reason="the scripts need the extra train")
    script, one = script_of(row.method), Cell(row, row.tasks[-1], 1, preset)
    words = [{PARENT: str(tmp_path), RETRIES: "5"}.get(word, word) for word in one.options]
    words += ["--records", str(tmp_path), "--device", "cpu"]
    args = parse(script.Args, words, script.PRESETS, script.TASKS)
    assert args.variant == one.label and name_in_grid(one.label, preset) == row.name
    assert (args.preset == preset) == (row.evaluates_turn is None or preset == "laptop")
    if row.method == "dexflywheel":
        assert args.iterations == row.last_turn(preset)
        assert args.residual == (row.policy == "combined")


def test_the_digest_changes_with_options_method_and_environment(root, monkeypatch):
    known = digest(cell(), root)
    assert known != earlier_digest(cell(), root), "trained in another precision"
    only_measured = cell("bc-latency-8", "dexpie")
    assert digest(only_measured, ROOT) == earlier_digest(only_measured, ROOT)
    others = [cell(seed=2), cell(task="Lift"), cell("sac"), cell(preset="quick")]
    assert len({known, *(digest(other, root) for other in others)}) == 5
    assert digest(cell("default", "human_demo"), root) is None  # no such script there
    script = root / "baselines" / "dexflywheel.py"
    script.write_text(script.read_text() + "\n# a comment changes nothing\n")
    assert digest(cell(), root) == known
    script.write_text(
        script.read_text().replace("METHOD_VERSION, CONTROL_MODE = 7", "METHOD_VERSION, X = 8")
    )
    assert digest(cell(), root) != known
    known = digest(cell(), root)
    settings = '\nSLOW = {"a": 1}\nTASKS: dict = {"Grasp": {}, "Lift": SLOW | {"b": (2,)}}\n'
    settings += 'OTHER = load("x")\nPRESETS = {"quick": {"preset": "quick"}}\n'
    script.write_text(script.read_text() + settings)
    lift, quick = digest(cell(task="Lift"), root), digest(cell(preset="quick"), root)
    assert digest(cell(), root) == known
    script.write_text(script.read_text().replace('"a": 1', '"a": 3'))
    assert digest(cell(), root) == known and digest(cell(task="Lift"), root) != lift
    assert digest(cell(preset="quick"), root) == quick
    from benchmark.grid import cells as module

    raised = replace(module.entry("Grasp"), version=5)
    monkeypatch.setattr(module, "entry", lambda task: raised)
    assert digest(cell(), root) != known


def test_settings_of_the_scripts_are_read_without_running_them():
    pytest.importorskip("diffusers", reason="the script needs the extra train")
    from benchmark.grid.scripts import load_script

    fw = load_script("dexflywheel")
    found = settings_tables((ROOT / "baselines" / "dexflywheel.py").read_text())
    assert found == {"PRESETS": fw.PRESETS, "TASKS": fw.TASKS}
    for method in ("human_demo", "dexmimicgen", "dexpie"):
        found = settings_tables((ROOT / "baselines" / f"{method}.py").read_text())
        assert set(found["PRESETS"]) == {"quick", "laptop", "paper"}


def test_the_method_version_is_read_without_running_the_script(tmp_path):
    assert version_in("A = 1\nMETHOD_VERSION = 4\n", "x") == 4
    assert method_version(tmp_path / "none.py") is None
    assert method_version(ROOT / "baselines" / "dexflywheel.py") >= 3
    with pytest.raises(ValueError, match=r"x\.py sets no METHOD_VERSION"):
        version_in("METHOD = 4", "x.py")


def test_status_follows_the_summary(root):
    results, one = root / "results", cell()
    path = summary_path(one, results)
    assert status(one, results, root) == "missing"
    path.parent.mkdir(parents=True)
    for text, expected in (
        (json.dumps({"digest": digest(one, root)}), "done"),
        (json.dumps({"digest": earlier_digest(one, root)}), "done"),  # from before --precision
        (json.dumps({"digest": "older"}), "stale"),
        (json.dumps({"digest": None}), "partial"),
        ('{"digest": "to', "missing"),  # damaged: runs again
    ):
        path.write_text(text)
        assert status(one, results, root) == expected
    assert status(cell("default", "human_demo"), results, root) == "no script"


def test_cells_are_listed_with_their_cost(tmp_path, capsys):
    words = ["cells", "--table", "variants", "--task", "Grasp", "--results", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    five = next(row for row in rows if row["variant"] == "five-turns")
    assert five["iterations"] == [4, 5]  # the others are those of the method itself
    assert (five["status"], five["measured"], five["order"]) == ("missing", False, "d")
    known = summary_path(cell(seed=2), results_of(tmp_path, "laptop"))
    known.parent.mkdir(parents=True)
    known.write_text(json.dumps({"digest": "x", "seconds": {"data_1": 600.0, "base_1": 60.0}}))
    assert main(words) == 0
    out = capsys.readouterr().out
    (first,) = [line for line in out.splitlines() if "| laptop" in line and "|    1 |" in line][:1]
    assert first.split("|")[-2].strip() == "11"  # measured on another seed
    assert "hours of one core" in out
    assert main(["cells", "--variant", "bc", "--task", "Grasp", "--json"]) == 0
    (row, *_) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["iterations"], row["order"]) == ([0], "e")
    assert main(["cells", "--variant", "bc", "--task", "Grasp"]) == 0
    assert "| 0          |" in capsys.readouterr().out
    assert main(["cells", "--task", "Graps", "--results", str(tmp_path)]) == 2
    assert "did you mean 'Grasp'?" in capsys.readouterr().err
    assert main(["cells", "--preset", "huge"]) == 2
    assert "choose one of quick, laptop, paper" in capsys.readouterr().err
