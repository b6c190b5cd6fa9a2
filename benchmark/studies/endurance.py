"""The harness itself, put to the test on real cells: kills at random moments, two workers for one.

    python -m benchmark.endurance kills        # about a quarter of an hour
    python -m benchmark.endurance workers      # on two cores that nothing else uses

Both run the cheapest cells of the preset `quick` in temporary folders. `--record` keeps what they
find in `results/speed/harness.json`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmark.kept.summaries import read_summaries
from benchmark.protocol import ROOT, results_of
from dexfw_envs import checks
from dexfw_envs.evaluation.records import read_records
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.provenance import provenance

PRESET = "quick"
CHOICE = ("--preset", PRESET, "--method", "human_demo", "--task", "Grasp", "--seed", "1", "2")
LONGEST = 40.0  # between two kills [s]; a stage of these cells takes about as long
# What differs between two equal runs, of records and of summaries.
TIMES = ("wall_time_s", "command"), ("seconds", "command", "machine", "threads")
VICTIMS = ("harness", "worker", "script")


@dataclass(frozen=True)
class Args:
    what: tyro.conf.Positional[Literal["kills", "workers"]]
    """Which of the two."""
    kills: int = 20
    """Random moments."""
    seed: int = 0
    """Seed of moments and victims."""
    record: bool = False
    """Keep the figures among the results."""


def harness(folder: Path, workers: int) -> subprocess.Popen:
    """Start `benchmark run` on the cells, with folders of its own."""
    words = [sys.executable, "-m", "benchmark", "run", *CHOICE, "--workers", str(workers)]
    words += ["--results", str(folder / "results"), "--runs", str(folder / "runs")]
    words += ["--threads", "1"]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def below(pid: int) -> dict[int, int]:
    """Processes that a process has started, and that these have, with their depth; zombies not."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            parents.setdefault(int(parent), []).append(int(path.parent.name))
    depths = {}
    level = [pid]
    for depth in range(1, 4):
        level = [child for parent in level for child in parents.get(parent, [])]
        depths |= dict.fromkeys(level, depth)
    return depths


def strike(
    start: Callable[[], subprocess.Popen],
    wait: Callable[[subprocess.Popen], None],
    kills: int,
    rng: random.Random,
) -> Counter[str]:
    """Kill -9 the harness, or a process below it, at random moments; start it again until all done.

    Args:
        start: Starts the harness.
        wait: Waits until the next moment, or until the harness has ended.
        kills: How many; fewer if everything is done before.
        rng: Draws the victims.

    Returns:
        What was killed how often: "harness", "worker" or "script".

    Raises:
        RuntimeError: The cells cannot be brought to an end.
    """
    struck: Counter[str] = Counter()
    process = start()
    while struck.total() < kills:
        wait(process)
        if process.poll() == 0:
            return struck
        if process.poll() is not None:  # a cell that was killed too often: the next call does it
            process = start()

        name, pid = _victim(process, rng)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended meanwhile, or there was nothing left to kill
        struck[name] += 1
        if pid == process.pid:
            process.wait()
            process = start()

    _finish(process, start)
    return struck


def _victim(process: subprocess.Popen, rng: random.Random) -> tuple[str, int]:
    """Name and id of the harness, or of a process below it."""
    depths = {process.pid: 0} | below(process.pid)
    pid = rng.choice(sorted(depths))
    return VICTIMS[min(depths[pid], 2)], pid


def _finish(process: subprocess.Popen, start: Callable[[], subprocess.Popen]) -> None:
    """Let the harness run to its end, started again if a cell failed."""
    for _ in range(3):
        if process.wait() == 0:
            return
        process = start()
    process.kill()
    raise RuntimeError("the cells fail without being killed")


def figures(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All that tables are made of, times left out."""
    root = results_of(folder / "results", PRESET)
    known = read_records(root / "records"), read_summaries(root)
    without = [
        [{k: v for k, v in row.items() if k not in times} for row in rows]
        for rows, times in zip(known, TIMES, strict=True)
    ]
    return without[0], without[1]


def kills(args: Args, folder: Path) -> dict[str, Any]:
    """Run the cells once undisturbed and once with kills; compare."""
    rng = random.Random(args.seed)

    def wait(process: subprocess.Popen) -> None:
        until = time.monotonic() + rng.uniform(0.0, LONGEST)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)

    if harness(folder / "whole", 2).wait():
        raise RuntimeError("the cells fail without being killed")
    struck = strike(lambda: harness(folder / "cut", 2), wait, args.kills, rng)
    whole, cut = (figures(folder / name) for name in ("whole", "cut"))
    same = json.dumps(whole) == json.dumps(cut)
    return {"kills": struck.total(), **struck, "same": same, "records": len(whole[0])}


def workers(args: Args, folder: Path) -> dict[str, Any]:
    """Time one worker and two on the same cells."""
    took = {}
    for count in (1, 2):
        began = time.perf_counter()
        if harness(folder / str(count), count).wait():
            raise RuntimeError(f"cells failed with {count} worker(s)")
        took[count] = time.perf_counter() - began
    return {
        "one": round(took[1], 1),
        "two": round(took[2], 1),
        "ratio": round(took[1] / took[2], 2),
    }


SENTENCES = {
    "kills": "{kills} processes killed ({struck}): afterwards {records} records, {outcome}",
    "workers": "one worker took {one:.0f} s, two {two:.0f} s: {ratio:.2f} times as fast",
}


def table(results: Path) -> str:
    """What was recorded, as a Markdown list; a line says so where nothing was."""
    path = results / "speed" / "harness.json"
    known = read_json(path) if path.is_file() else {}
    lines = []
    for what, sentence in SENTENCES.items():
        found = known.get(what)
        if found is None:
            lines.append(f"- `{what}`: not run.\n")
            continue
        victims = (f"{name} {found[name]}" for name in VICTIMS if name in found)
        outcome = "the same" if found.get("same") else "NOT the same"
        said = sentence.format(**found, struck=", ".join(victims), outcome=outcome)
        made = f"{found['machine']['cpus']} cores, commit `{found['commit'][:12]}`"
        lines.append(f"- `{what}`: {said}. {made}.\n")
    return "".join(lines)


def main(args: Args) -> int:
    """Do what is asked for, print it and return the exit code: 0 if the target is met."""
    checks.least(args, 0, "seed")
    checks.least(args, 1, "kills")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = {"kills": kills, "workers": workers}[args.what](args, Path(folder))
    print(json.dumps(found))
    if args.record:
        path = ROOT / "results" / "speed" / "harness.json"
        known = read_json(path) if path.is_file() else {}
        known[args.what] = {**provenance(), "load": round(load, 2), **found}
        atomic_write_json(path, known)
    met = found["same"] if args.what == "kills" else found["ratio"] >= 1.8
    return int(not met)
