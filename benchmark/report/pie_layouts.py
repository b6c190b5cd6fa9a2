"""Entries of the tables about DexPIE: what each asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from benchmark.figures.pie_collection import COLLECTION, CRITIC, INTERVENTIONS, JUMPS, STARTS
from benchmark.figures.query import Query
from benchmark.grid.variants import (
    COMPARED,
    DISPLACEMENTS,
    EPISODES_LEARNED,
    GRID,
    OTHER_LATENCIES,
    PIE_TASKS,
    RETRIES,
    SYNCHRONOUS_LATENCIES,
    USUAL_LATENCY,
    Variant,
    find_variant,
)
from benchmark.protocol import PIE
from dexfw_envs.registry import entry


class TableEntry(NamedTuple):
    """One entry of a table: the labels of its row, its column, and what it asks for."""

    labels: tuple[str, ...]
    column: str
    query: Query


COLUMNS = (*PIE_TASKS, "mean")
SYNCHRONOUS = "DexPIE, synchronous"  # holds the last command until a chunk is there
ALL_EPISODES = 60  # that are collected


def _row(labels: tuple[str, ...], row: Variant, quantity: str = "T_OEP") -> Iterator[TableEntry]:
    turn = 1 if row.turns is None else row.turns
    for task in COLUMNS:
        yield TableEntry(labels, task, Query(quantity, PIE, row.name, turn, row.policy, task))


def methods(last: int) -> Iterator[TableEntry]:
    """Success and progress of DexPIE and what it is compared with."""
    for name in COMPARED:
        row = find_variant(PIE, name)
        yield from _row((row.title, "success %"), row)
        yield from _row((row.title, "progress %"), row, "progress")


def differences(last: int) -> Iterator[TableEntry]:
    """DexPIE less the others, and less its ablations."""
    others = [find_variant(PIE, name) for name in COMPARED]
    ablated = _of_table("pie_ablations")
    for row in (*others, *ablated):
        if row.name != PIE and "outcome" not in row.options:
            yield from _row((f"DexPIE less {row.title}",), row, "difference")
    recap = find_variant(PIE, "recap")
    for row in (recap, *(row for row in ablated if "outcome" in row.options)):
        yield from _less(row, "dexpie-saturated", "DexPIE, no ceiling,")  # these labels have none
    yield from _less(recap, "hg-dagger", find_variant(PIE, "hg-dagger").title)
    for steps in SYNCHRONOUS_LATENCIES:
        waiting = find_variant(PIE, f"dexpie-waiting-{steps}")
        acting = _with_latency(PIE, steps)
        yield from _less(waiting, acting, f"DexPIE at {steps} steps")


def _less(row: Variant, minuend: str, title: str) -> Iterator[TableEntry]:
    for labels, task, query in _row((f"{title} less {row.title}",), row, "difference"):
        yield TableEntry(labels, task, replace(query, minuend=minuend))


def ablations(last: int) -> Iterator[TableEntry]:
    """Success with one setting changed."""
    for row in (find_variant(PIE, PIE), *_of_table("pie_ablations")):
        yield from _row((row.title,), row)


def _with_latency(name: str, steps: int) -> str:
    return name if steps == USUAL_LATENCY else f"{name}-latency-{steps}"


def latency(last: int) -> Iterator[TableEntry]:
    """Success against the latency in tests."""
    for name in ("bc", "dexpie"):
        for steps in sorted({USUAL_LATENCY, *OTHER_LATENCIES}):
            row = find_variant(PIE, _with_latency(name, steps))
            yield from _row((COMPARED[name][0], f"{steps} steps"), row)
    for steps in SYNCHRONOUS_LATENCIES:
        row = find_variant(PIE, f"dexpie-waiting-{steps}")
        yield from _row((SYNCHRONOUS, f"{steps} steps"), row)


def displacement(last: int) -> Iterator[TableEntry]:
    """Success where the object starts elsewhere."""
    for name, (title, _) in COMPARED.items():
        for millimetres in (0, *DISPLACEMENTS):
            row = find_variant(PIE, f"{name}-displaced-{millimetres}" if millimetres else name)
            yield from _row((title, f"{millimetres} mm"), row)


def episodes(last: int) -> Iterator[TableEntry]:
    """Success against the number of collected episodes; none is the reference policy."""
    counts = {0: "bc", **{n: f"dexpie-episodes-{n}" for n in EPISODES_LEARNED}, ALL_EPISODES: PIE}
    for count, name in counts.items():
        yield from _row((str(count),), find_variant(PIE, name))


def collection(last: int) -> Iterator[TableEntry]:
    """Starts, interventions and jumps of DexPIE's collection, and how far others' are even."""
    rows = [(name, PIE, "") for name in (*COLLECTION, *JUMPS)]
    for row in (row for row in GRID if RETRIES in row.options):
        rows += [(name, row.name, f", {row.title}") for name in INTERVENTIONS]
    for quantity, name, of in rows:
        for task in PIE_TASKS:
            label = quantity.removeprefix("number of ") + of
            yield TableEntry((label,), task, _of_run(quantity, task, name=name))


def stages(last: int) -> Iterator[TableEntry]:
    """Starts by stage, and how well the critic judges rollouts there."""
    of_task = {task: entry(task).make().stages for task in PIE_TASKS}
    names = dict.fromkeys(name for names in of_task.values() for name in names)
    for stage in ("", *names):
        for quantity in (*([STARTS] if stage else []), *CRITIC):
            for task in PIE_TASKS:
                if not stage or stage in of_task[task]:
                    yield TableEntry(
                        (stage or "all", quantity), task, _of_run(quantity, task, stage)
                    )


def _of_run(quantity: str, task: str, stage: str = "", name: str = PIE) -> Query:
    return Query(quantity, PIE, name, 1, "base", task, stage)


def _of_table(name: str) -> list[Variant]:
    return [row for row in GRID if name in row.tables]
