"""Does a baseline fail where its policy cannot tell objects apart? It sees where one is, not what.

    python -m benchmark.told runs/NAME

trains the policy of a finished run of `dexmimicgen.py` or `human_demo.py` again on the same
demonstrations, told which object it has before it (a column per object beside the state), and tests
it in the same scenes. `--record` keeps the figures of both in `results/told/`.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmark.grid.scripts import load_script
from benchmark.protocol import ROOT, SPLITS
from dexfw_envs.catalog.curricula import iterations, objects_for
from dexfw_envs.catalog.lookup import find
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.checkpoints import load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.settings import from_dict

STORES = {"dexmimicgen": "D_1", "human_demo": "demos"}  # of the demonstrations, by script
KEYS = ("success", "low", "high")
WHICH = "which"  # observation: which object it is, (N, number of objects), one of them 1


@dataclass(frozen=True)
class Args:
    run: tyro.conf.Positional[Path]
    """Folder of a finished run."""
    threads: int = 1
    """Threads of MuJoCo and torch."""
    record: bool = False
    """Keep the figures among the results."""


def tell(script: Any, task: str) -> None:
    """Change a script so that its policy also sees which object is before it; it films nothing."""
    import torch

    names = objects_for(task, iterations(task))
    features, measure = script.features, script.measure
    columns = dict(zip(names, np.eye(len(names)), strict=True))

    def wider(obs: dict[str, np.ndarray], whole: bool = False) -> torch.Tensor:
        return torch.cat([features(obs, whole), torch.as_tensor(obs[WHICH]).float()], dim=1)

    class Acting(script.ChunkPolicy):
        def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
            which = [columns[scene.objects[0]] for scene in self.env.scenarios]
            return super().act({**obs, WHICH: np.stack(which)})

    class Run(script.Run):
        def data(self) -> Iterator[Any]:
            for episode in super().data():
                obs, which = episode.observations, columns[episode.scenario.objects[0]]
                which = np.tile(which, (len(episode.actions) + 1, 1))
                yield replace(episode, observations={**obs, WHICH: which})

    def unfilmed(*given: Any, films: Path, **known: Any) -> list[dict[str, Any]]:
        return measure(*given, **known)

    script.features, script.ChunkPolicy, script.Run = wider, Acting, Run
    script.measure = unfilmed


def learn_again(run: RunFolder, method: str, threads: int) -> list[dict[str, Any]]:
    """Train and test the policy that is told; return the rows of its evaluation."""
    import torch

    script = load_script(method)
    args = from_dict(script.Args, run.config)
    tell(script, args.task)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        changed = {"runs": folder, "records": "", "threads": threads, "capture_video": False}
        again = script.Run(replace(args, **changed, eval_splits=SPLITS[:1]))
        store = STORES[method]
        (again.path / store).symlink_to((run.path / store).resolve(), target_is_directory=True)
        again.stage("base_1", script.train_base)
        again.stage("eval_1", script.evaluate_policy)
        again.metrics.close()
        found: list[dict[str, Any]] = read_json(again.path / "eval_1.json")
    return found


def compare(path: Path, threads: int) -> dict[str, Any]:
    """Success of a run's policy as it is, and told which object it has before it.

    Raises:
        ValueError: It is no finished run of one of the scripts.
        FileNotFoundError: There is no run.
    """
    run = RunFolder(path)
    if not (path / "eval_1.json").is_file():
        raise ValueError(f"{path} has no eval_1.json: not finished, or of another script")
    method = load_checkpoint(run, "policy_1.pt")["method"]
    find(STORES, method, "script whose policies can be told")
    known = {name: run.config[name] for name in ("task", "variant", "seed")}
    rows = {
        "as it is": read_json(path / "eval_1.json"),
        "told": learn_again(run, method, threads),
    }
    figures = {
        name: {key: row[key] for key in (*KEYS, "n", "per_object")}
        for name, each in rows.items()
        for row in each
        if row["split"] == SPLITS[0]
    }
    place = Path(run.config["runs"]) / run.name  # as its script was told, in whatever clone
    command = shlex.join(["python", "-m", "benchmark.told", place.as_posix(), "--record"])
    made = provenance() | {"command": command}
    return {**made, "method": method, **known, "split": SPLITS[0], **figures}


def table(results: Path) -> str:
    """What was recorded, as a Markdown table; a line says so where nothing was."""
    known = [read_json(path) for path in sorted((results / "told").glob("*.json"))]
    if not known:
        return "Not run.\n"
    lines = ["| Policy | Task | Seed | as it is % | told % |", "|---|---|---|---|---|"]
    for found in known:
        both = (found["as it is"], found["told"])
        cells = (
            "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * row[key] for key in KEYS)) for row in both
        )
        line = (f"{found['method']} {found['variant']}", found["task"], str(found["seed"]), *cells)
        lines.append("| " + " | ".join(line) + " |")
    sizes = sorted({str(found["told"]["n"]) for found in known})
    commits = ", ".join(f"`{commit[:12]}`" for commit in sorted({row["commit"] for row in known}))
    return (
        "\n".join(lines)
        + f"\n\n{' or '.join(sizes)} episodes of `T_OEP` each. Commits {commits}.\n"
    )


def main(args: Args) -> int:
    """Compare, print, and return the exit code."""
    found = compare(args.run, args.threads)
    print(json.dumps(found))
    if args.record:
        name = "{method}-{variant}-{task}-seed{seed}.json".format(**found)
        atomic_write_json(ROOT / "results" / "told" / name, found)
    return 0
