"""The result tables of the README, from the per-episode records alone."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmark` runs from the clone's root, wherever this is called

from benchmark.show import cells, figures  # noqa: E402
from dexfw_envs.records import Record, read_records  # noqa: E402

METHOD = "dexflywheel"


def _cell(groups: dict[tuple, list[Record]], key: tuple) -> str:
    if key not in groups:
        return "not run"
    found = figures(groups[key])
    success, low, high = (100 * found[name] for name in ("success", "low", "high"))
    return f"{success:.1f} [{low:.1f}, {high:.1f}]"


def flywheel_table(task: str, records: Path) -> str:
    """Success in % with 95 % Wilson intervals: a row per policy and split, a column per turn.

    One line says so where there are no records of the task.
    """
    found = read_records(records, METHOD, task) if (records / METHOD / task).is_dir() else []
    if not found:
        return "Not run yet.\n"
    groups = cells([record for record in found if record["variant"] == ""])
    shown: dict[tuple, list[Record]] = {}
    lines = ["| Policy, scenes | i = 1 | i = 2 | i = 3 |", "|---|---|---|---|"]
    rows = [("base", "T_OEP"), ("combined", "T_OEP"), ("base", "T_O"), ("combined", "T_O")]
    for policy, name in rows:
        row = [f"{policy}, {'`T_OEP`' if name == 'T_OEP' else '`T_O(i + 1)`'}"]
        for i in (1, 2, 3):
            split = name if name == "T_OEP" else f"T_O({i + 1})"
            asked = name == "T_OEP" or i < 3  # there is no fourth set of objects
            key = (METHOD, "", task, i, policy, split)
            row.append(_cell(groups, key) if asked else "")
            shown |= {key: groups[key]} if asked and key in groups else {}
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n" + _source(shown)


def short(commit: str) -> str:
    """Return the first digits of a commit, "-dirty" kept."""
    return commit[:12] + "-dirty" * commit.endswith("-dirty")


def _source(shown: dict[tuple, list[Record]]) -> str:
    found = [record for rows in shown.values() for record in rows]
    if not found:
        return ""
    seeds = sorted({record["seed"] for record in found})
    commits = ", ".join(f"`{short(c)}`" for c in sorted({record["commit"] for record in found}))
    sizes = sorted({len(rows) for rows in shown.values()})
    commands = sorted({record["command"] for record in found})
    return (
        f"\n{min(sizes)} to {max(sizes)} episodes a cell, seeds {', '.join(map(str, seeds))}, "
        f"commit {commits}; by\n\n```bash\n" + "\n".join(commands) + "\n```\n"
    )
