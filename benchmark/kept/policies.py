"""What is kept of the methods compared: the policy of each turn, in small files, and short films.

A film shows a success or a failure on T_OEP. What the records know is looked for in their order and
run again with the kept policy, so that whoever has the clone can make the same films.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmark.grid.cells import Cell
from benchmark.grid.scripts import load_script
from benchmark.protocol import SPLITS
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.evaluation.records import Record, read_record_file, scenario_of
from dexfw_envs.evaluation.video import VideoWriter
from dexfw_envs.files import sweep
from dexfw_envs.runs.policies import read_policy, write_policy
from dexfw_envs.runs.settings import from_dict

CANDIDATES = 3  # scenes of each kind that are tried: a kept policy is rounded, and may do otherwise
SIDE = 192  # of a film [px]
EVERY = 2  # every second picture is kept
RATE = 10.0  # pictures per second
CRITICS = ("critic", "targets")  # begin the names of their weights


def keep_policies(
    checkpoints: Path, cell: Cell, results: Path, made: Mapping[str, Any] | None = None
) -> list[Path]:
    """Keep the policy of each turn, small enough to be handed on, and return the files.

    Critics are needed by learning alone: theirs are zeros, which take no space.

    Args:
        checkpoints: Folder of the run's checkpoints.
        cell: What the run is.
        results: Folder of the results.
        made: "commit" and "command" of the run, which the files then name.
    """
    kept = []
    for path in sorted(checkpoints.glob("policy_*.pt")):
        turn = path.stem.rpartition("_")[2]
        if int(turn) in cell.turns:
            target = (
                results / "policies" / cell.kept_folder / f"i{turn}-seed{cell.seed}.safetensors"
            )
            state = read_policy(path)
            for name, weights in (state.get("residual") or {}).items():
                if name.startswith(CRITICS):
                    weights.zero_()
            if made is not None:
                state["made"] = {name: made[name] for name in ("commit", "command")}
            write_policy(target, state)
            kept.append(target)
    return kept


def film_policies(cell: Cell, results: Path, root: Path, threads: int = 1) -> list[Path]:
    """Film the kept policies of a cell and return the films.

    Where nothing can be drawn, a line on stderr says so and there are none.

    Args:
        cell: Its records and policies are among the results.
        results: Folder of the results.
        root: The clone with the script.
        threads: Threads of the environment.
    """
    made: list[Path] = []
    for path in sorted((results / "policies" / cell.kept_folder).glob(f"i*-seed{cell.seed}.*")):
        turn = int(path.stem.partition("-")[0].removeprefix("i"))
        for policy in ("base", "combined"):
            chosen = candidates(cell, turn, policy, results)
            target = results / "videos" / cell.kept_folder
            sweep(target, f"i{turn}-{policy}-*.mp4.*")
            for old in target.glob(f"i{turn}-{policy}-*.mp4"):
                old.unlink()
            try:
                if chosen:
                    made += _film(cell, path, policy, chosen, target, root, threads)
            except Exception as error:  # each graphics library has its own
                words = " ".join(f"{type(error).__name__}: {error}".split())
                print(f"warning: no films of {cell.name}: {words}", file=sys.stderr)
                return made
    return made


def candidates(cell: Cell, turn: int, policy: str, results: Path) -> list[Record]:
    """Return the first successes and the first failures of a policy; [] if it was not measured."""
    parts = (cell.label, f"i{turn}", policy, SPLITS[0], f"seed{cell.seed}")
    folder = results / "records" / cell.variant.method / cell.task
    path = folder / f"{'-'.join(filter(None, parts))}.parquet"
    rows = read_record_file(path) if path.is_file() else []
    kinds = ((row for row in rows if row["success"] == won) for won in (True, False))
    return [row for kind in kinds for row in islice(kind, CANDIDATES)]


def _film(
    cell: Cell,
    path: Path,
    policy: str,
    chosen: Sequence[Record],
    target: Path,
    root: Path,
    threads: int,
) -> list[Path]:
    """Run a policy in the scenes of records and keep the first film of each outcome."""
    script = load_script(cell.variant.method, root)
    state = read_policy(path)
    args = replace(from_dict(script.Args, state["args"]), threads=threads)
    torch.manual_seed(cell.seed)
    actor, env = script.open_policy(state, args, policy)
    scenes = [scenario_of(record) for record in chosen]
    with TemporaryDirectory() as draft:
        evaluate(actor, env, scenarios=scenes, videos=len(scenes), video_folder=draft)
        env.close()
        found: dict[bool, Path] = {}
        for film in sorted(Path(draft).glob("episode-*.mp4")):
            found.setdefault(film.stem.endswith("-success"), film)
        return [_keep(film, chosen, target, path, policy) for film in found.values()]


def _keep(film: Path, chosen: Sequence[Record], target: Path, path: Path, policy: str) -> Path:
    """Make a film small and name it by turn, policy, episode of the split, object and outcome."""
    _, index, rest = film.stem.split("-", 2)
    turn = path.stem.partition("-")[0]
    name = f"{turn}-{policy}-{chosen[int(index)]['episode']:03d}-{rest}.mp4"
    return shrink(film, target / name)


def shrink(source: Path, target: Path) -> Path:
    """Write a film again with fewer, smaller pictures: a quarter of its size."""
    import av

    with av.open(str(source)) as file, VideoWriter(target, RATE) as writer:
        for number, frame in enumerate(file.decode(video=0)):
            if number % EVERY == 0:
                height = SIDE * frame.height // frame.width
                small = frame.reformat(width=SIDE, height=height, format="rgb24")
                writer.add(small.to_ndarray())
    return target
