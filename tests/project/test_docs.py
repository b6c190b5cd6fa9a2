"""The documentation says what the code does."""

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from benchmark.grid.scripts import load_script
from dexfw_envs.__main__ import COMMANDS
from dexfw_envs.registry import TASKS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]


def load_generator():
    sys.path.insert(0, str(DOCS))  # as when the script itself is run
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", generate.pages(), ids=relative)
def test_tables_are_those_of_the_code(page):
    text = page.read_text()
    assert generate.BLOCK.search(text), "no generated block"
    assert text == generate.regenerated(page), "run: python docs/generate.py"


@pytest.mark.parametrize("page", generate.pages(), ids=relative)
def test_every_table_is_shown(page):
    shown = {match[2] for match in generate.BLOCK.finditer(page.read_text())}
    assert shown == set(generate.blocks(page))


def test_replay_table_follows_the_results(tmp_path, monkeypatch):
    measured = generate.replay("Grasp")
    monkeypatch.setattr(generate, "RESULTS", tmp_path)
    assert "not run" in generate.replay("Grasp") and "not run" not in measured
    found = json.loads((ROOT / "results" / "replay" / "Grasp.json").read_text())
    assert len(found["objects"]["per_object"]) == 22
    found["objects"]["per_object"]["pear"] |= {"success": 0.123, "low": 0.01, "high": 0.456}
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay" / "Grasp.json").write_text(json.dumps(found))
    changed = generate.replay("Grasp")
    assert "| `pear` | 12.3 % | 1.0 % to 45.6 % |" in changed
    assert changed.count("\n") == measured.count("\n")


INTERVAL = re.compile(r"\[(-?\d+\.\d),\s+(-?\d+\.\d)\]")
# The trials of dexpie-trials.md are, as it says, of no records.
QUOTING = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("claims", "concepts", "dexflywheel", "dexpie")),
    *sorted((ROOT / "baselines").glob("*.py")),
]


@pytest.mark.parametrize("page", QUOTING, ids=relative)
def test_intervals_in_prose_are_those_of_the_tables(page):
    """Of a difference that is told the other way round, too."""
    known = set()
    for table in (ROOT / "results" / "tables").glob("*.md"):
        for low, high in INTERVAL.findall(table.read_text()):
            known |= {(float(low), float(high)), (-float(high), -float(low))}
    prose = generate.BLOCK.sub("", page.read_text())
    quoted = {(float(low), float(high)) for low, high in INTERVAL.findall(prose)}
    assert not quoted - known, "not in results/tables/"


def test_an_edited_table_is_noticed(tmp_path):
    page = tmp_path / "tasks" / f"{TASKS[0].name.lower()}.md"
    page.parent.mkdir()
    page.write_text("<!-- generated: success -->\nwrong\n<!-- end -->\n")
    assert "wrong" not in generate.regenerated(page)
    page.write_text("<!-- generated: weather -->\n<!-- end -->\n")
    with pytest.raises(KeyError):
        generate.regenerated(page)


@pytest.mark.parametrize("page", WRITTEN, ids=relative)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{relative(page)} links to {target}"


@pytest.mark.parametrize("page", WRITTEN, ids=relative)
def test_commands_call_what_is_there(page):
    """Scripts, modules and kept policies that a page's shell commands name."""
    for text in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for name in re.findall(r"python (\w\S*\.py)", text):
            assert (ROOT / name).is_file(), f"{relative(page)} calls {name}"
        for name in re.findall(r"python -m (dexfw_envs[\w.]*|benchmark[\w.]*)", text):
            assert importlib.util.find_spec(name), f"{relative(page)} calls {name}"
        for name in re.findall(r"^dexfw (\w+)", text, re.MULTILINE):
            assert name in COMMANDS, f"{relative(page)} calls dexfw {name}"
        for name in re.findall(r"results/\S*policies/\S+", text):
            assert (ROOT / name).is_file(), f"{relative(page)} names {name}"


def test_readme_names_no_commit():
    """Commits and commands of runs are in `results/`."""
    text = (ROOT / "README.md").read_text()
    assert not re.search(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,40}\b", text)


def test_glossary_names_what_is_there():
    rows = re.findall(r"\| `([\w/]+\.py)`: `(\w+)` \|", (DOCS / "concepts.md").read_text())
    assert len(rows) > 50
    for name, what in rows:
        folder = ROOT if name.startswith(("baselines/", "benchmark/")) else ROOT / "dexfw_envs"
        code = (folder / name).read_text()
        assert re.search(rf"^\s*(class|def) {what}\b|^{what}\b", code, re.MULTILINE), (name, what)


@pytest.mark.parametrize("method", ["dexflywheel", "dexpie"])
def test_page_of_a_method_names_what_the_script_has(method):
    code = (ROOT / "baselines" / f"{method}.py").read_text()
    text = (DOCS / f"{method}.md").read_text()
    paragraphs = re.findall(r"In code: (.*?)\n\n", text, re.DOTALL)
    paragraphs += re.findall(r"^\*\*[\w ]+\*\* \((.*?)\)\.", text, re.MULTILINE)
    names = re.findall(r"`([A-Za-z_.]+)`", " ".join(paragraphs))
    assert len(paragraphs) >= 4 and len(names) >= 10
    for name in names:
        last = name.rpartition(".")[2]
        assert re.search(
            rf"\b(def|class) {last}\b|import .*\b{last}\b|^    {last},$|^{last}\b", code, re.M
        ), name


# Options of the harness that these pages name
OF_OTHERS = {"--table"}


@pytest.mark.parametrize("method", ["dexflywheel", "dexpie"])
def test_page_of_a_method_names_options_that_there_are(method):
    script = load_script(method)
    known = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(script.Args)}
    prose = generate.BLOCK.sub("", (DOCS / f"{method}.md").read_text())
    named = set(re.findall(r"--[a-z][a-z-]+", prose))
    options = {re.sub(r"^--no-", "--", name) for name in named}
    assert options - OF_OTHERS <= known


def test_a_reason_of_another_verdict_is_not_shown(monkeypatch):
    claims = sys.modules["claims"]
    finding = claims.Finding("+1.0", "+2.0† [1.0, 3.0]", (1,), "partly")
    known = [
        claims.Claim("A", "first", lambda results: finding, "partly", "It is so.", main=True),
        claims.Claim("A", "second", lambda results: finding, "does not", "It was so."),
    ]
    monkeypatch.setattr(claims, "findings", lambda folder: [(claim, finding) for claim in known])
    text = claims.claims_table(Path(), "A")
    assert "| first | +1.0 | +2.0† [1.0, 3.0] | 1 | **partly** | It is so. |" in text
    assert "It was so." not in text and claims.OUTDATED in text
    assert "\n\n† of one seed, so the spread over seeds is not known.\n" in text
    short = claims.main_claims(Path())
    assert "| A | first |" in short and "second" not in short
    assert "All 2 claims: reproduces 0, partly 2, does not 0, not run 0." in short


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_pages_for_an_overview_are_short(name):
    assert (ROOT / name).read_text().count("\n") <= 150


def test_pictures_and_films_are_small():
    pictures, films = sorted(DOCS.glob("images/*.png")), sorted(DOCS.glob("videos/*.webp"))
    assert pictures and films
    for path in (*pictures, *films):
        usual = 300_000 if path.suffix == ".png" else 500_000
        most = 1_500_000 if path.stem.endswith("_policy") else usual  # tries that time out are long
        assert path.stat().st_size < most, relative(path)


def test_readme_examples_run():
    """The Gymnasium examples, as written."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(examples) >= 2
    exec("\n".join(examples), {})


def test_results_name_the_source_of_what_is_shown(tmp_path, monkeypatch):
    tables = sys.modules["tables"]
    usual = {"method": "dexflywheel", "variant": "", "task": "Grasp", "policy": "combined"}
    usual |= {"success": True, "jerk": 0.1, "length": 9}

    def record(iteration, split, seed, commit):
        changing = {
            "iteration": iteration,
            "split": split,
            "seed": seed,
            "commit": commit,
            "precision": "",
        }
        return usual | changing | {"command": f"python x.py --seed {seed}"}

    rows = [record(1, "T_OEP", 1, "a" * 40 + "-dirty"), record(1, "T_VAL", 2, "b" * 40)]
    (tmp_path / "dexflywheel" / "Grasp").mkdir(parents=True)
    monkeypatch.setattr(tables, "read_records", lambda *_: rows)
    text = tables.flywheel_table("Grasp", tmp_path)
    assert f"commit `{'a' * 12}-dirty`" in text
    assert "seeds 1," in text and "bbb" not in text and "--seed 2" not in text
    assert "Measures beside success" not in text
    rows[:] = [
        record(i, "T_OEP", seed, "a" * 40) | {"measures": f'{{"tilt": {10 * i + seed}}}'}
        for i in (1, 2) for seed in (1, 2)
    ]  # fmt: skip
    assert "`T_OEP`: `tilt` 21.50.\n" in tables.flywheel_table("Grasp", tmp_path)


def test_overview_has_a_mean_only_where_every_task_ran(tmp_path, monkeypatch):
    tables = sys.modules["tables"]
    known = {"method": "dexflywheel", "variant": "", "split": "T_OEP", "policy": "combined"}
    known |= {
        "jerk": 0.1,
        "length": 9,
        "commit": "a" * 40,
        "precision": "",
        "seed": 1,
        "measures": "{}",
    }
    other = {"method": "dexmimicgen", "variant": "default", "iteration": 1, "policy": "base"}
    rows = {
        ("dexflywheel", "Grasp"): [
            known | {"task": "Grasp", "iteration": i, "success": True} for i in (1, 2)
        ],
        ("dexflywheel", "Lift"): [known | {"task": "Lift", "iteration": 2, "success": False}],
        ("dexmimicgen", "Grasp"): [known | other | {"task": "Grasp", "success": True}],
    }
    for method, task in rows:
        (tmp_path / method / task).mkdir(parents=True)
    monkeypatch.setattr(tables, "read_records", lambda _, *key: rows[key])
    text = tables.overview_table(["Grasp", "Lift"], tmp_path)
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert lines["| DexFlyWheel, i = 2"].endswith("| 50.0† |")
    assert lines["| DexFlyWheel, i = 1"].endswith("| not run | not run |")
    assert lines["| DexMimicGen, 1 source"].endswith("| 100.0† [20.7, 100.0] | not run | not run |")
    told = "\n\n† of one seed, so the spread over seeds is not known.\n\n"
    assert f"{told}1 episodes per figure, seeds 1;" in text

    rows["dexflywheel", "Grasp"].append(rows["dexflywheel", "Grasp"][1] | {"seed": 2})
    text = tables.overview_table(["Grasp", "Lift"], tmp_path)
    [line] = (line for line in text.splitlines() if line.startswith("| DexFlyWheel, i = 2"))
    assert line == "| DexFlyWheel, i = 2 | 100.0 [34.2, 100.0] | 0.0† [0.0, 79.3] | 50.0‡ |"
    assert "; ‡ the tasks of the mean were not all run with the same seeds.\n" in text


def test_task_tables_mark_what_is_of_one_seed(tmp_path, monkeypatch):
    tables = sys.modules["tables"]
    known = {
        "method": "dexflywheel",
        "task": "Grasp",
        "policy": "combined",
        "iteration": 3,
        "precision": "",
    }
    known |= {"success": True, "jerk": 0.1, "length": 9, "commit": "a" * 40, "command": "python x"}
    rows = [known | {"variant": "", "split": "T_OEP", "seed": seed} for seed in (1, 2)]
    rows += [known | {"variant": "half-step", "split": "T_OEP", "seed": 1}]
    rows += [known | {"variant": "", "split": "objects", "object": "egg", "seed": 1}]
    rows += [known | {"variant": "sac", "split": "T_VAL", "seed": 1}]
    monkeypatch.setattr(tables, "_read", lambda *_: rows)
    told = "\n\n† of one seed, so the spread over seeds is not known.\n"
    robust = tables.robustness_table("Grasp", tmp_path)
    assert "| as in training | 100.0 [34.2, 100.0] |" in robust
    assert "| half the physics step | 100.0† [20.7, 100.0] |" in robust and told in robust
    assert "| egg | 100.0† [20.7, 100.0] | 1 |" in tables.object_table("Grasp", tmp_path)
    assert "| sac | 3 | combined | 100.0† " in tables.variants_table("Grasp", tmp_path)
    assert "†" not in tables.flywheel_table("Grasp", tmp_path)


def test_tables_of_generation_mark_what_one_run_tells(tmp_path, monkeypatch):
    tables = sys.modules["tables"]
    report = {"successes": 3, "tries": 4, "jerk": 1.0, "duration": 1.0}
    runs = [{"variant": "", "seed": 1, "commit": "a" * 40, "threads": 1,
             "seconds": {"data_1": 60.0}, "data": {"1": {"edited": report}}}]  # fmt: skip
    monkeypatch.setattr(tables, "read_summaries", lambda *_: runs)
    text = tables.generation_table("Grasp", tmp_path)
    assert "| 1 | A_EP | – | 75.0† | 4 | 1.00 | 1.00 |\n\n† of one seed" in text
    counted = report | {"first": 1, "scenes": 2}
    runs.append(runs[0] | {"seed": 2, "data": {"1": {"edited": counted}}})
    text = tables.generation_table("Grasp", tmp_path)
    assert "| 1 | A_EP | 50.0† | 75.0 | 8 | 1.00 | 1.00 |" in text


def test_embedded_tables_explain_their_marks(tmp_path):
    page = tmp_path / "pie.md"
    page.write_text("# Title\n\n| a |\n| --- |\n| 1.0† |\n\nNotes of the harness.\n")
    table = "| a |\n| --- |\n| 1.0† |\n"
    told = "\n† of one seed, so the spread over seeds is not known.\n"
    assert sys.modules["tables"].harness_table(page) == table + told
    page.write_text(table.replace("†", ""))
    assert sys.modules["tables"].harness_table(page) == table.replace("†", "")


def test_speed_table_follows_the_records(tmp_path):
    tables = sys.modules["tables"]
    ids = ["DexFW/Grasp-v0", "DexFW/Lift-v0"]
    assert tables.speed_table(ids, tmp_path).count("| not run | not run |") == 2
    known = {"command": "make x", "commit": "a" * 40, "machine": {"cpus": 2}, "load": 3.21}
    speed = {"peer": 10.0, "random": 222.0, "held": 55.0}
    rows = {ids[1]: {"peer": "TwoArmLift", "robots": "two", "steps_per_second": speed}}
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "peers.json").write_text(json.dumps(known | {"rows": rows}))
    text = tables.speed_table(ids, tmp_path)
    assert "| 222 (22 ×) | 55 (5.5 ×) | TwoArmLift, two: 10 |" in text

    assert tables.speed_line(ids, tmp_path) == "Speed: not run.\n"
    ours = {ids[1]: {"steps_per_second": 1234.0, "ratio_to_raw": 0.9}}
    (tmp_path / "speed" / "tasks.json").write_text(json.dumps(known | {"rows": ours}))
    line = tables.speed_line(ids[1:], tmp_path)
    assert "1234 to 1234 environment steps per second" in line and " 6 to 6 times" in line
    assert f"`make x` at commit `{'a' * 12}` (2 CPU cores, load 3.2 before)" in text


def test_the_readme_says_what_became_of_cleanrl_utils():
    """Its conventions are followed; it is no dependency, as it has no release for these Pythons."""
    text = (ROOT / "README.md").read_text()
    assert "`cleanrl-utils`" in text and "cannot be installed" in text
