"""The result tables of README and task pages, from the stored records and runs alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmark` runs from the clone's root, wherever this is called

from benchmark.figures.results import legend, seed_mark  # noqa: E402
from benchmark.figures.show import figures_of, group_records  # noqa: E402
from benchmark.grid.variants import GRID  # noqa: E402
from benchmark.kept.summaries import read_summaries  # noqa: E402
from dexfw_envs.evaluation.records import Record, mean_measures, read_records  # noqa: E402
from dexfw_envs.evaluation.summary import summary  # noqa: E402
from dexfw_envs.world import SUNK  # noqa: E402

METHOD = "dexflywheel"
# Variants of the records: policies of the method itself, evaluated in another world.
WORLDS = {
    "": "as in training",
    "half-step": "half the physics step",
    "friction-0.8": "all friction 20 % lower",
    "friction-1.2": "all friction 20 % higher",
}


SPEED_NOTE = (
    "Environment steps per second. In contact: 64 worlds on 2 threads, each holding an object "
    "under jitter; `ratio-to-raw` is the share of what MuJoCo alone reaches on the same states. On "
    "one core: with random actions, and holding an object, each as many times as fast as a like "
    "robosuite environment under random actions."
)


def _cell(groups: dict[tuple, list[Record]], key: tuple) -> str:
    if key not in groups:
        return "not run"
    found = figures_of(groups[key])
    success, low, high = (100 * found[name] for name in ("success", "low", "high"))
    return f"{success:.1f}{seed_mark(found['seeds'])} [{low:.1f}, {high:.1f}]"


def _with_legend(lines: Sequence[str]) -> str:
    """A table's lines, and below them what the marks in it mean."""
    text = "\n".join(lines) + "\n"
    note = legend(text)
    return f"{text}\n{note}.\n" if note else text


def _read(task: str, records: Path, method: str = METHOD) -> list[Record]:
    return read_records(records, method, task) if (records / method / task).is_dir() else []


def flywheel_table(task: str, records: Path) -> str:
    """Success in % with 95 % Wilson intervals: a row per policy and split, a column per turn.

    One line says so where there are no records of the task.
    """
    found = [record for record in _read(task, records) if record["variant"] == ""]
    if not found:
        return "Not run yet.\n"
    groups = group_records(found)
    shown: dict[tuple, list[Record]] = {}
    lines = ["| Policy, scenes | i = 1 | i = 2 | i = 3 |", "|---|---|---|---|"]
    rows = [("base", "T_OEP"), ("combined", "T_OEP"), ("base", "T_O"), ("combined", "T_O")]
    for policy, name in rows:
        row = [f"{policy}, {'`T_OEP`' if name == 'T_OEP' else '`T_O(i + 1)`'}"]
        for i in (1, 2, 3):
            split = name if name == "T_OEP" else f"T_O({i + 1})"
            query = name == "T_OEP" or i < 3  # there is no fourth set of objects
            key = (METHOD, "", task, i, policy, split)
            row.append(_cell(groups, key) if query else "")
            shown |= {key: groups[key]} if query and key in groups else {}
        lines.append("| " + " | ".join(row) + " |")
    return _with_legend(lines) + _measures(shown) + _source(shown)


def overview_table(tasks: Sequence[str], records: Path) -> str:
    """Success on T_OEP of every method, the flywheel turn by turn; means where all tasks ran."""
    others = [row for row in GRID if "baselines" in row.tables and row.method != METHOD]
    query = [(row.title, (*row.key, 1, row.policy)) for row in others]
    query += [(f"DexFlyWheel, i = {i}", (METHOD, "", i, "combined")) for i in (1, 2, 3)]
    query += [("DexFlyWheel, i = 3, `base` alone", (METHOD, "", 3, "base"))]
    methods = {key[0] for _, key in query}
    found = [row for task in tasks for name in methods for row in _read(task, records, name)]
    groups = group_records([record for record in found if record["split"] == "T_OEP"])
    lines = [_row("Success %", *tasks, "mean"), "|---" * (len(tasks) + 2) + "|"]
    shown = []
    for title, (method, variant, i, policy) in query:
        keys = [(method, variant, task, i, policy, "T_OEP") for task in tasks]
        there = [groups[key] for key in keys if key in groups]
        mean = _mean_cell(there) if len(there) == len(tasks) else "not run"
        lines.append(_row(title, *(_cell(groups, key) for key in keys), mean))
        shown += there
    sizes = sorted({len(rows) for rows in shown})
    size = " or ".join(map(str, sizes)) or "no"
    seeds = sorted({record["seed"] for rows in shown for record in rows})
    of_seeds = f", seeds {', '.join(map(str, seeds))}" if seeds else ""
    note = f"{size} episodes per figure{of_seeds}; commands and commits in `results/tables/`."
    return _with_legend(lines) + f"\n{note}\n"


def worlds_table(tasks: Sequence[str], records: Path) -> str:
    """The flywheel's last turn in today's worlds, on `T_VAL`, with what its successes rest on."""
    head = ("Task", "Policy", "success %", "per minute", "longest run", "link", "hand", "support")
    lines = [_row(*head, "also"), "|---" * (len(head) + 1) + "|"]
    for task in tasks:
        for policy in ("base", "combined"):
            rows = [
                row
                for row in _read(task, records, METHOD)
                if (row["iteration"], row["policy"], row["split"]) == (3, policy, "T_VAL")
            ]
            lines.append(_worlds_row(task, policy, rows))
    return "\n".join(lines) + "\n"


def _worlds_row(task: str, policy: str, rows: Sequence[Record]) -> str:
    if not rows:
        return _row(task, f"`{policy}`", "not run", *[""] * 6)
    found = summary(rows)
    seeds = {row["seed"] for row in rows}
    rate, low, high = (100 * found[name] for name in ("success", "low", "high"))
    depths = (f"{found['penetration'][part]:.1f}" for part in SUNK)
    also = [
        f"`{name}` {100 * found['measures'][name]:.1f} %"
        for name in ("clean", "paper")
        if name in found.get("measures", {})
    ]
    return _row(
        task,
        f"`{policy}`",
        f"{rate:.1f}{seed_mark(seeds)} [{low:.1f}, {high:.1f}]",
        f"{found['throughput']:.1f}",
        f"{found['longest_run']} of {found['n']}",
        *depths,
        ", ".join(also),
    )


def _mean_cell(each: Sequence[list[Record]]) -> str:
    """Mean success of all tasks [%], marked if it is of one seed or of different ones."""
    rates = [100 * figures_of(rows)["success"] for rows in each]
    seeds = {tuple(figures_of(rows)["seeds"]) for rows in each}
    return f"{np.mean(rates):.1f}{seed_mark(max(seeds), uneven=len(seeds) > 1)}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _measures(shown: dict[tuple, list[Record]]) -> str:
    """Say what the task reports beside success, of the last row and turn on T_OEP."""
    kept = [rows for key, rows in shown.items() if key[-2:] == ("combined", "T_OEP")]
    means = mean_measures(kept[-1]) if kept else {}
    note = ", ".join(f"`{name}` {mean:.2f}" for name, mean in means.items())
    where = "means at the end of all episodes of the last `combined` on `T_OEP`"
    return note and f"\nMeasures beside success, {where}: {note}.\n"


def short(commit: str) -> str:
    """Return the first digits of a commit, "-dirty" kept."""
    suffix = "-dirty" if commit.endswith("-dirty") else ""
    return commit[:12] + suffix


def _source(shown: dict[tuple, list[Record]]) -> str:
    found = [record for rows in shown.values() for record in rows]
    if not found:
        return ""
    seeds = sorted({record["seed"] for record in found})
    commits = ", ".join(f"`{short(c)}`" for c in sorted({record["commit"] for record in found}))
    sizes = sorted({str(len(rows)) for rows in shown.values()}, key=int)
    commands = sorted({record["command"] for record in found})
    return (
        f"\n{' or '.join(sizes)} episodes per figure, seeds {', '.join(map(str, seeds))}, "
        f"commit {commits}; made by\n\n```bash\n" + "\n".join(commands) + "\n```\n"
    )


def object_table(task: str, results: Path) -> str:
    """Success of the last turn's combined policies on every object, split "objects"."""
    found = [
        r for r in _read(task, results / "records") if (r["variant"], r["split"]) == ("", "objects")
    ]
    if not found:
        return "Not run.\n"
    groups = group_records(found, per_object=True)
    lines = ["| Object | Success % | n |", "|---|---|---|"]
    for key in sorted(groups, key=lambda key: figures_of(groups[key])["success"]):
        lines.append(f"| {key[-1]} | {_cell(groups, key)} | {len(groups[key])} |")
    whole = group_records(found)
    lines += [f"| **all** | {_cell(whole, key)} | {len(whole[key])} |" for key in whole]
    return _with_legend(lines) + _source(whole)


def robustness_table(task: str, results: Path) -> str:
    """Success of the last turn's combined policies on T_OEP in a changed world, by variant."""
    found = [
        r
        for r in _read(task, results / "records")
        if (r["policy"], r["split"]) == ("combined", "T_OEP")
    ]
    last = max((record["iteration"] for record in found), default=0)
    groups = group_records([record for record in found if record["iteration"] == last])
    keys = {name: (METHOD, name, task, last, "combined", "T_OEP") for name in WORLDS}
    lines = ["| World | Success % |", "|---|---|"]
    lines += [f"| {WORLDS[name]} | {_cell(groups, key)} |" for name, key in keys.items()]
    return _with_legend(lines) + _source({k: groups[k] for k in keys.values() if k in groups})


def variants_table(task: str, results: Path) -> str:
    """Success on T_VAL, turn by turn, of the method and its variants; one seed each."""
    found = [record for record in _read(task, results / "records") if record["split"] == "T_VAL"]
    if not found:
        return "Not run.\n"
    groups = group_records(found)
    lines = ["| Variant | Turn | Policy | Success % | Seeds |", "|---|---|---|---|---|"]
    for key, rows in groups.items():
        _, variant, _, turn, policy, _ = key
        seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in rows}))
        name = variant or "the method itself"
        lines.append(f"| {name} | {turn} | {policy} | {_cell(groups, key)} | {seeds} |")
    return _with_legend(lines) + _source(groups)


NOT_COUNTED = "–"  # first tries, in runs made before they were


def generation_table(task: str, results: Path) -> str:
    """What every turn collected and how its motions compare with the seed's; means over runs."""
    kept = [run for run in read_summaries(results, METHOD, task) if not run["variant"]]
    if not kept:
        return "Not run.\n"
    lines = [
        "| Turn | Made by | First try % | All tries % | Tries | Jerk | Duration |",
        "|---|---|---|---|---|---|---|",
    ]
    for turn in kept[0]["data"]:
        for kind in kept[0]["data"][turn]:
            lines.append(_generation_row(turn, kind, [run["data"][turn][kind] for run in kept]))
    times = "; ".join(map(_run_times, kept))
    commits = ", ".join(sorted({f"`{short(run['commit'])}`" for run in kept}))
    return _with_legend(lines) + (
        "\n*First try*: share of scenes that succeed at once. *All tries*: share of all attempts; "
        "a scene is tried up to ten times, so hard ones weigh more. "
        f"{NOT_COUNTED}: an older run, which did not count first tries. *Jerk* (mean second "
        "difference of the actions) and *duration* are relative to the seed "
        f"demonstration. Commit {commits}. Wall time, evaluation included: {times}.\n"
    )


def _run_times(run: dict[str, Any]) -> str:
    whole = sum(run["seconds"].values()) / 60
    last = max(name for name in run["seconds"] if name.startswith("data_"))
    return (
        f"seed {run['seed']} {whole:.0f} min on {run['threads']} thread(s), of which "
        f"{run['seconds'][last] / 60:.1f} min for the data of the last turn"
    )


def _generation_row(turn: str, kind: str, reports: list[dict[str, Any]]) -> str:
    success = sum(r["successes"] for r in reports) / sum(r["tries"] for r in reports)
    jerk, duration = (np.mean([r[name] for r in reports]) for name in ("jerk", "duration"))
    maker = {"rollouts": "policy of the last turn", "edited": "A_EP"}[kind]
    counted = [r for r in reports if "scenes" in r]
    first, scenes = (sum(r[name] for r in counted) for name in ("first", "scenes"))
    words = f"{100 * first / scenes:.1f}{seed_mark(range(len(counted)))}" if scenes else NOT_COUNTED
    whole = f"{100 * success:.1f}{seed_mark(range(len(reports)))}"
    figures = (turn, maker, words, whole, sum(r["tries"] for r in reports))
    return "| " + " | ".join(map(str, (*figures, f"{jerk:.2f}", f"{duration:.2f}"))) + " |"


def policy_film(task: str, videos: Path) -> str:
    """The film of a trained policy in the first held-out scenes, and what is seen in it."""
    path = videos / f"{task.lower()}_policy.json"
    if not path.exists():
        return "Film of a trained policy: not run.\n"
    known = json.loads(path.read_text(encoding="utf-8"))
    made = f"{known['method']} --preset {known['preset']} {known['variant']}".rstrip()
    lost = [
        f"{one['object']} on {one['surroundings']} ({one['failure']})".replace("_", " ")
        for one in known["episodes"]
        if not one["success"]
    ]
    total = len(known["episodes"])
    return (
        f"![A trained policy in {total} scenes](../videos/{path.stem}.webp)\n\n"
        f"*The {known['policy']} policy of `{made}` after turn {known['iteration']}, seed "
        f"{known['seed']}, commit `{short(known['commit'])}`, in the first {total} scenes of "
        f"`{known['split']}`, in real time: {total - len(lost)} solved; failed: "
        f"{', '.join(lost) or 'none'}. `{known['command']}`*\n"
    )


def speed_line(tasks: Sequence[str], results: Path) -> str:
    """One line on speed: the slowest and the fastest task, and against robosuite."""
    found = _speeds(results)
    ours, peers = (found[name].get("rows", {}) for name in ("tasks", "peers"))
    if not set(tasks) <= set(ours) & set(peers):
        return "Speed: not run.\n"

    steps = [ours[name]["steps_per_second"] for name in tasks]
    speeds = [peers[name]["steps_per_second"] for name in tasks]
    times = [speed["held"] / speed["peer"] for speed in speeds]
    return (
        f"Sixty-four worlds on two threads take {min(steps):.0f} to {max(steps):.0f} environment "
        f"steps per second while they hold an object. On one core that is {min(times):.0f} to "
        f"{max(times):.0f} times as fast as a like robosuite environment under random actions "
        "([all speeds](docs/install.md#speed)).\n"
    )


def _speeds(results: Path) -> dict[str, dict[str, Any]]:
    """What was measured of our tasks and of their peers; empty where nothing was."""
    found = {}
    for name in ("tasks", "peers"):
        path = results / "speed" / f"{name}.json"
        found[name] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def speed_table(tasks: Sequence[str], results: Path) -> str:
    """Speed of every task, a row each, against MuJoCo alone and against robosuite.

    Args:
        tasks: Ids of the environments.
        results: The folder that holds `speed/tasks.json` and `speed/peers.json`.
    """
    found = _speeds(results)
    ours, peers = (found[name].get("rows", {}) for name in ("tasks", "peers"))
    lines = [
        "| Task | In contact | `ratio-to-raw` | One core, random | holding | robosuite 1.5.2 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_speed_row(env_id, ours.get(env_id), peers.get(env_id)) for env_id in tasks]
    sources = [_speed_source(found[name]) for name in found if found[name]]
    return "\n".join(lines) + f"\n\n{SPEED_NOTE} {'; '.join(sources) or 'Not run'}.\n"


def _speed_row(env_id: str, ours: dict[str, Any] | None, peer: dict[str, Any] | None) -> str:
    row = [f"`{env_id}`", *["not run"] * 2, "", "", ""]
    if ours:
        row[1:3] = f"{ours['steps_per_second']:.0f}", f"{ours['ratio_to_raw']:.2f}"
    if peer:
        speed = peer["steps_per_second"]
        row[3:5] = (_times(speed[name], speed["peer"]) for name in ("random", "held"))
        row[5] = f"{peer['peer']}, {peer['robots']}: {speed['peer']:.0f}"
    return "| " + " | ".join(row) + " |"


def _times(speed: float, peer: float) -> str:
    ratio = speed / peer
    return f"{speed:.0f} ({ratio:.{0 if ratio >= 10 else 1}f} ×)"


def _speed_source(known: dict[str, Any]) -> str:
    load = "" if known["load"] is None else f", load {known['load']:.1f} before"
    machine = f"{known['machine']['cpus']} CPU cores{load}"
    return f"`{known['command']}` at commit `{short(known['commit'])}` ({machine})"


def harness_table(page: Path) -> str:
    """The table of a page that the harness has written, and what the marks in it mean."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return _with_legend([line for line in lines if line.startswith("|")])


TASK_TABLES = {
    "turns": lambda task, results: flywheel_table(task, results / "records"),
    "per object": object_table,
    "robustness": robustness_table,
    "variants": variants_table,
    "generation": generation_table,
}


# --- docs/install.md

STATED = ("mujoco", "numpy", "gymnasium", "tyro", "torch")


def install_table(results: Path) -> str:
    """How the tests went with each Python, and with the lowest versions."""
    path = results / "install.json"
    if not path.is_file():
        return "Not run.\n"

    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| Environment | Python | Versions | Passed | Failed | Skipped |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        packages = row["packages"]
        versions = ", ".join(f"{key} {packages[key]}" for key in STATED if key in packages)
        failed = ", ".join(f"`{test}`" for test in row["failed"]) or "0"
        skipped = sum(row["skipped"].values())
        lines.append(_row(name, row["python"], versions, str(row["passed"]), failed, str(skipped)))

    commits = ", ".join(sorted({f"`{short(row['commit'])}`" for row in found.values()}))
    return "\n".join(lines) + f"\n\nCommit {commits}; reasons of skips are kept in the file.\n"


def scaling_table(results: Path) -> str:
    """Steps per second, a row per number of worlds and a column per number of threads."""
    path = results / "speed" / "scaling.json"
    if not path.is_file():
        return "Not run.\n"

    known = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for env_id, points in known["rows"].items():
        threads = sorted({point["threads"] for point in points})
        worlds = sorted({point["worlds"] for point in points})
        speed = {(point["worlds"], point["threads"]): point for point in points}
        head = [f"{count} thread{'s' if count > 1 else ''}" for count in threads]
        parts += [f"`{env_id}`:", "", _row("Worlds", *head, "Memory [MB]")]
        parts += ["|---" * (len(threads) + 2) + "|"]
        for number in worlds:
            there = [speed.get((number, count)) for count in threads]
            cells = [f"{point['steps_per_second']:.0f}" if point else "" for point in there]
            most = max(point["memory"] for point in there if point)
            parts.append(_row(str(number), *cells, f"{most:.0f}"))
        parts.append("")

    note = (
        "Memory is what the whole process holds after the first step, Python and MuJoCo included. "
        "A process for each point; medians of three rounds. "
    )
    if known["load"] > known["machine"]["cpus"]:
        note += "**Other processes had the machine meanwhile: the speeds are too low.** "
    return "\n".join(parts) + f"\n{note}{_speed_source(known)}.\n"


def start_table(results: Path) -> str:
    """Processor time of import, make and first reset."""
    path = results / "speed" / "start.json"
    if not path.is_file():
        return "Not run.\n"

    known = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| Task | Import [s] | Make [s] | First reset [s] |", "|---|---|---|---|"]
    for env_id, row in known["rows"].items():
        seconds = [f"{row[name]:.2f}" for name in ("import", "make", "reset")]
        lines.append(_row(f"`{env_id}`", *seconds))

    return "\n".join(lines) + f"\n\n{_speed_source(known)}.\n"
