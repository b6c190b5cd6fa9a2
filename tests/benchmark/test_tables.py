"""Tables from stored records: figures, intervals, what was not run, and the three forms."""

import csv as csv_module
import io
import json
from dataclasses import replace

import numpy as np
import pytest

pandas = pytest.importorskip("pandas", reason="tables need the extra report")
pytest.importorskip("pyarrow", reason="records need pyarrow")

from benchmark.__main__ import main
from benchmark.figures.answers import answer
from benchmark.figures.published import published
from benchmark.figures.query import Query
from benchmark.figures.results import Measurement, Results, seed_mark
from benchmark.figures.stats import mean_of_proportions, wilson
from benchmark.grid.variants import GRID, PIE_TASKS, find_variant
from benchmark.protocol import ROOT, TASKS
from benchmark.report.layouts import LAYOUTS, SETTING
from benchmark.report.page import table_html
from benchmark.report.tables import (
    csv,
    escape,
    frame,
    latex,
    make_tables,
    markdown,
    text,
    text_table,
)
from dexfw_envs.evaluation.records import COLUMNS, OLDER, read_record_file, write_records
from dexfw_envs.registry import entry

EPISODES = 20
STORED = ROOT / "results" / "tables"


def write(root, successes, method="dexflywheel", task="Grasp", split="T_OEP", **labels):
    """Records of `EPISODES` episodes, the first of which succeed."""
    labels = {"variant": "", "iteration": 3, "policy": "combined", "seed": 1} | labels
    rows = []
    for k in range(EPISODES):
        row = {name: kind() for name, (kind, _) in COLUMNS.items()} | OLDER
        row |= {"task": task, "split": split, "episode": k, "seed": labels["seed"]}
        row |= {"scenario": f"{split} {k} of {labels['seed']}", "success": k < successes}
        row |= {"object": ("baseball", "egg")[k % 2], "env_id": f"DexFW/{task}-v0"}
        rows.append(row)
    made = {"commit": "c0ffee", "command": f"python {method} --runs runs/x --seed {labels['seed']}"}
    write_records(rows, root / "records", method=method, task=task, **labels, **made)


def summary(root, task="Grasp", seed=1, **more):
    """What the harness keeps of a run."""
    data = {"rollouts": {"tries": 200, "successes": 150}, "edited": {"tries": 90, "successes": 60}}
    found = {
        "method": "dexflywheel", "variant": "", "task": task, "seed": seed, "preset": "laptop",
        "digest": "d", "method_version": 3, "env_id": f"DexFW/{task}-v0", "commit": "c0ffee",
        "versions": {"python": "3.11"}, "machine": {"cpus": 2}, "command": f"run {task} {seed}",
        "threads": 1, "seconds": {"data_3": 120.0, "eval_3": 60.0}, "data": {"3": data},
        "objects": {"3": {"baseball": 40, "egg": 20}}, "coverage": {"3": [[10, 20, 30]]},
        "curves": {"charts/base_success": [[0, 0.5]]}, "residual": {"2": {"residual_ratio": 12.5}},
    }  # fmt: skip
    path = root / "runs" / "dexflywheel" / task / f"main-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found | more))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two seeds of the method on all tasks, one baseline on all, another on one."""
    root = tmp_path_factory.mktemp("results")
    for task in TASKS:
        for seed, won in ((1, 18), (2, 14)):
            write(root, won, task=task, seed=seed)
        write(root, 8, "dexmimicgen", task, variant="enhanced", iteration=1, policy="base")
    write(root, 2, "human_demo", variant="default", iteration=1, policy="base")
    write(root, 15, split="T_O(2)", iteration=1)
    summary(root)
    summary(root, seed=2, objects={"3": {"egg": 30}})
    return root


@pytest.fixture(scope="module")
def results(folder):
    return Results(folder)


FLYWHEEL = find_variant("dexflywheel")


def query(quantity="T_OEP", task="Grasp", policy="combined", row=FLYWHEEL, turn=3, **more) -> Query:
    return Query(quantity, *row.key, turn, policy, task, **more)


def test_success_pools_seeds_with_the_wilson_interval(results):
    found = answer(results, query())
    assert (found.value, found.n, found.seeds) == (80.0, 40, (1, 2))
    assert (found.low, found.high) == tuple(100 * end for end in wilson(32, 40))
    commands = [f"python dexflywheel --runs runs/x --seed {seed}" for seed in (1, 2)]
    assert found.made_by == tuple(("c0ffee", command) for command in commands)
    of_egg = answer(results, query(object="egg"))
    assert (of_egg.value, of_egg.n) == (80.0, 20)
    assert answer(results, query(turn=2)) is None
    assert answer(results, query("T_O(2)", turn=1)).value == 75.0


def test_the_mean_needs_all_tasks_and_has_an_interval_over_seeds(results):
    found = answer(results, query(task="mean"))
    assert found.value == pytest.approx(80.0) and found.n == 160
    pooled = mean_of_proportions([32] * 4, [40] * 4)
    assert (found.low, found.high) == (100 * pooled.low, 100 * pooled.high)
    assert (found.seed_low, found.seed_high) == (0.0, 100.0)  # 90 and 70 %: two tell nothing
    assert (found.seeds, found.uneven, found.mark) == ((1, 2), False, "")
    human = find_variant("human_demo", "default")
    assert answer(results, query(task="Grasp", policy="base", row=human, turn=1)).value == 10.0
    assert answer(results, query(task="mean", policy="base", row=human, turn=1)) is None


def test_differences_pair_the_same_scenes_of_the_same_seeds(results):
    mimic = find_variant("dexmimicgen", "enhanced")
    found = answer(results, query("difference", "Grasp", "base", mimic, 1))
    assert (found.value, found.n, found.seeds) == (50.0, 20, (1,))  # the other ran seed 1 alone
    assert 0.0 < found.low < found.high
    whole = answer(results, query("difference", "mean", "base", mimic, 1))
    assert whole.value == pytest.approx(50.0) and whole.high - whole.low < found.high - found.low
    assert published(query("difference", "mean", "base", mimic, 1)).value == 36.7
    assert found.seed_low is None  # a single seed has no spread
    default = find_variant("dexmimicgen", "default")
    assert published(query("difference", "mean", "base", default, 1)).value == 50.5
    assert answer(results, query("difference", "Grasp", "base", default, 1)) is None


def test_differences_have_an_interval_over_seeds(tmp_path):
    for seed, won in ((1, 18), (2, 14), (3, 16)):
        write(tmp_path, won, seed=seed)
        write(tmp_path, 8, "dexmimicgen", variant="enhanced", iteration=1, policy="base", seed=seed)
    mimic = find_variant("dexmimicgen", "enhanced")
    found = answer(Results(tmp_path), query("difference", "Grasp", "base", mimic, 1))
    assert found.value == pytest.approx(40.0) and found.n == 60
    half = 4.302653 * 10.0 / np.sqrt(3)
    assert (found.seed_low, found.seed_high) == pytest.approx((40.0 - half, 40.0 + half))
    assert found.mark == ""


def test_figures_of_one_seed_and_of_different_seeds_are_marked(tmp_path):
    for task in TASKS:
        write(tmp_path, 18, task=task)
        write(tmp_path, 8, "dexmimicgen", task, variant="enhanced", iteration=1, policy="base")
    of = Results(tmp_path)
    mimic = find_variant("dexmimicgen", "enhanced")
    alone = [query(), query(task="mean"), query("difference", "mean", "base", mimic, 1)]
    assert {answer(of, one).mark for one in alone} == {"†"}

    write(tmp_path, 14, seed=2)  # Grasp alone
    of = Results(tmp_path)
    found = answer(of, query(task="mean"))
    assert (found.mark, found.seeds, found.seed_low) == ("‡", (1, 2), None)
    assert [answer(of, query(task=task)).mark for task in ("Grasp", "Pour")] == ["", "†"]
    gap = answer(of, query("difference", "mean", "base", mimic, 1))
    assert gap.mark == "†", "the other method ran the first seed alone"

    summary(tmp_path)
    assert answer(Results(tmp_path), query("hours of the run")).mark == "†"
    for task in TASKS[1:]:
        summary(tmp_path, task, seed=2)
    found = answer(Results(tmp_path), query("hours of the run", "mean"))
    assert (found.mark, found.seeds) == ("‡", (1, 2))
    assert Measurement(3.0).mark == "", "a figure of the design has no seeds"
    assert seed_mark([3, 3]) == "†" and seed_mark([]) == seed_mark([1, 2]) == ""


def test_marks_are_in_all_forms_of_a_table_and_explained(results):
    layout = next(one for one in LAYOUTS if one.name == "baselines")
    rows = frame(results, [layout])
    page, paper = markdown(rows, layout, results), latex(rows, layout)
    assert "| 10.0† [2.8, 30.1] (6.1) |" in page and "†: of one seed" in page
    assert r"10.0\dag{} [2.8, 30.1] (6.1)" in paper
    assert (
        "\\par\\footnotesize \\dag{} of one seed, so the spread over seeds is not known\n" in paper
    )
    lines = csv_module.DictReader(io.StringIO(csv(rows, results)))
    told = {(line["method"], line["mark"]) for line in lines if line["value"] != "not run"}
    assert told == {("human_demo", "one seed"), ("dexmimicgen", "one seed"), ("dexflywheel", "")}
    shown = table_html(rows, layout, results)
    assert "10.0† <small>[2.8, 30.1]</small> <small>(6.1)</small>" in shown
    assert '<p class="note">† of one seed, so the spread over seeds is not known.</p>' in shown


def test_notes_say_how_long_episodes_are():
    usual, longer = (entry(task).make().max_episode_steps for task in ("Grasp", "Handover"))
    assert f"episodes of {usual} steps at 20 Hz (Handover {longer})" in SETTING
    assert {entry(task).make().max_episode_steps for task in ("Pour", "Lift")} == {usual}


@pytest.mark.skipif(not STORED.is_dir(), reason="no tables are kept yet")
def test_the_kept_tables_are_those_of_the_records():
    kept = {path.name: path.read_bytes() for path in STORED.iterdir()}
    _, made = make_tables(Results(ROOT / "results"))
    other = sorted(name for name in made if made[name] != kept.get(name))
    assert not other, "run: python -m benchmark report"
    assert made.keys() == kept.keys()


def test_figures_of_runs(results):
    assert answer(results, query("generation", policy="rollouts")).value == 75.0
    assert answer(results, query("generation", policy="rollouts")).n == 400
    assert answer(results, query("seconds a trajectory")).value == pytest.approx(3.0)
    assert answer(results, query("hours for 500")).value == pytest.approx(3.0 * 500 / 3600)
    assert answer(results, query("hours of the run")).value == pytest.approx(0.05)
    assert answer(results, query("objects handled", policy="edited")).value == 1.5
    assert answer(results, query("trajectories", policy="")).value == 45.0
    assert answer(results, query("residual ratio", turn=2)).value == 12.5
    assert answer(results, query("residual ratio", turn=3)) is None
    assert answer(results, query("joint difference", object="can")) is None
    assert answer(results, query("configurations", turn=2)).value == 880


def test_every_figure_of_every_table_is_there_or_not_run(results):
    whole = frame(results)
    assert list(dict.fromkeys(whole["table"])) == [layout.name for layout in LAYOUTS]
    assert {name for row in GRID for name in row.tables} <= set(whole["table"])
    ran, absent = whole[whole["run"]], whole[~whole["run"]]
    assert len(ran) and len(absent)
    assert ran["value"].notna().all() and absent["value"].isna().all()
    assert not whole.duplicated(["table", "row", "column"]).any()
    texts = [text(row) for row in absent.itertuples()]
    assert all(words.startswith("not run") for words in texts)
    one = whole[(whole["table"] == "baselines") & (whole["column"] == "Grasp")]
    assert [text(row) for row in one.itertuples()] == [
        "10.0† [2.8, 30.1] (6.1)", "not run (15.0)", "not run (30.3)", "40.0† [21.9, 61.3] (50.3)",
        "80.0 [65.2, 89.5] (90.0 ± 3.2)",
    ]  # fmt: skip


def test_the_three_forms_say_the_same(results):
    layout = next(one for one in LAYOUTS if one.name == "baselines")
    rows = frame(results, [layout])
    head, body = text_table(rows, layout)
    assert head == ["Method", *TASKS, "mean"] and len(body) == 5
    page = markdown(rows, layout, results)
    assert page.splitlines()[4] == "| " + " | ".join(body[0]) + " |"
    assert "with python 3.11; cpus 2\nrun dexflywheel-Grasp-1: 3 min on 1 thread(s)" in page
    assert "no summary, so neither versions" in page and "commit c0ffee" in page
    assert "python dexmimicgen --seed 1\n" in page
    paper = latex(rows, layout)
    assert "% made by: baselines.md" in paper
    assert r"80.0 [65.2, 89.5] (90.0 $\pm$ 3.2)" in paper and r"T\_OEP" in paper
    assert paper.count(r"\\{}") == 6
    lines = list(csv_module.DictReader(io.StringIO(csv(rows, results))))
    assert len(lines) == 25
    ours = next(line for line in lines if line["row"] == "DexFlyWheel" and line["task"] == "Grasp")
    assert (ours["value"], ours["paper"], ours["seeds"]) == ("80.0", "90.0", "1 2")
    assert (ours["versions"], ours["hardware"]) == ("python 3.11", "cpus 2")
    assert ours["minutes"] == "6.0" and "dexflywheel" in ours["commands"]
    mean = [line for line in lines if line["task"] == "mean" and line["value"] != "not run"]
    assert {line["commands"] for line in mean} == {"those of the tasks"}
    assert sum(line["value"] == "not run" for line in lines) == 14


def test_latex_is_escaped():
    assert escape("a_b & 5 % ± 1 #2 {x}") == r"a\_b \& 5 \% $\pm$ 1 \#2 \{x\}"


def test_tables_are_the_same_bytes_again(folder, capsys):
    words = ["tables", "--results", str(folder)]
    assert main(words) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == 3 * len(LAYOUTS)
    files = sorted((folder / "tables").iterdir())
    first = [path.read_bytes() for path in files]
    assert main(words) == 0
    assert [path.read_bytes() for path in files] == first
    assert not any(b"\r" in content for content in first)


def test_other_presets_have_results_of_their_own(tmp_path, capsys):
    root = tmp_path / "quick"
    write(root, 5, variant="quick", iteration=2)  # what scripts call records of other presets
    found = answer(Results(tmp_path, "quick"), query(turn=2))
    assert (found.value, found.n) == (25.0, 20)
    assert answer(Results(tmp_path), query(turn=2)) is None
    assert main(["tables", "--preset", "quick", "--results", str(tmp_path)]) == 0
    assert "--preset quick" in (root / "tables" / "baselines.md").read_text()
    assert main(["tables", "--preset", "big", "--results", str(tmp_path)]) == 2
    assert "unknown preset 'big'" in capsys.readouterr().err


def test_published_figures_are_those_of_the_paper():
    assert published(query(task="mean")).value == 81.9
    assert published(query(task="Lift")).spread == 7.9
    without = find_variant("dexflywheel", "no-residual")
    assert published(query(task="mean", policy="base", row=without)).value == 18.9  # not given
    assert published(query(task="Lift", object="milk_case")) is None
    assert published(query("objects", object="cube", turn=2)).value == 20.0
    assert published(query(object="cube")) is None  # only the split that meets it equally often
    five = find_variant("dexflywheel", "five-turns")
    assert published(query(row=five, turn=5, task="Pour")) is None
    assert published(query(row=five, turn=5, task="Lift")).value == 83.5
    assert published(query("residual ratio", "mean", turn=2)).spread == 2.6


def test_show_names_the_kept_policy(folder, capsys):
    words = ["show", "--method", "dexflywheel", "--task", "Grasp", "--iteration", "3", "--json"]
    words += ["--root", str(folder / "records")]
    assert main(words) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["policy_path"] is None
    kept = folder / "policies" / "dexflywheel" / "Grasp" / "i3-seed0.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert main(words) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["policy_path"] == kept.as_posix()
    assert (line["success"], line["n"], line["seeds"]) == (0.8, 40, [1, 2])
    assert main([*words, "--variant", "sac"]) == 1
    assert "not run" in capsys.readouterr().err


@pytest.fixture
def pie(tmp_path):
    """DexPIE and its reference policy on its three tasks."""
    for task in PIE_TASKS:
        write(tmp_path, 18, "dexpie", task, variant="dexpie", iteration=1, policy="base")
        write(tmp_path, 8, "dexpie", task, variant="bc", iteration=0, policy="base")
    return Results(tmp_path)


def test_dexpie_is_compared_on_its_own_tasks_with_its_own_reference(pie):
    found = answer(pie, Query("T_OEP", "dexpie", "dexpie", 1, "base", "mean"))
    assert (found.value, found.n) == (90.0, 3 * EPISODES)
    gap = answer(pie, Query("difference", "dexpie", "bc", 0, "base", "mean"))
    assert gap.value == pytest.approx(50.0) and gap.low > 30
    assert published(Query("difference", "dexpie", "bc", 0, "base", "mean")).value == 37.3
    assert answer(pie, Query("T_OEP", "dexpie", "recap", 1, "base", "mean")) is None


def test_a_difference_may_be_to_another_than_the_method_itself(tmp_path):
    write(tmp_path, 12, "dexpie", variant="dexpie-saturated", iteration=1, policy="base")
    write(tmp_path, 8, "dexpie", variant="recap", iteration=1, policy="base")
    query = Query("difference", "dexpie", "recap", 1, "base", "Grasp")
    assert answer(Results(tmp_path), query) is None, "DexPIE was not run"
    query = replace(query, minuend="dexpie-saturated")
    assert answer(Results(tmp_path), query).value == pytest.approx(20.0)


def test_progress_is_a_mean_with_an_interval(tmp_path):
    values = [0.0, 0.5, 1.0, 1.0]
    write(tmp_path, 2, "dexpie", variant="dexpie", iteration=1, policy="base")
    [path] = (tmp_path / "records").glob("*/*/*.parquet")
    rows = [row | {"progress": v} for row, v in zip(read_record_file(path), values, strict=False)]
    labels = {name: rows[0][name] for name in ("method", "task", "variant", "iteration", "policy")}
    write_records(rows, tmp_path / "records", **labels, seed=1)
    found = answer(Results(tmp_path), Query("progress", "dexpie", "dexpie", 1, "base", "Grasp"))
    assert (found.value, found.n) == (62.5, 4)
    half = 1.96 * 100 * np.std(values, ddof=1) / 2
    assert found.low == pytest.approx(62.5 - half, abs=0.01)
    assert found.high == 100.0  # and no more


def test_progress_of_records_from_before_it_is_not_run(folder):
    write(folder / "old", 2)
    assert answer(Results(folder / "old"), query("progress")) is None
