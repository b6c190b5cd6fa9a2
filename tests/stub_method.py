"""A script with the habits of those in `baselines/`, that does nothing: for tests of the harness.

It finishes stages, keeps their results, resumes, and notes every stage it does in `trace.txt`
beside its run folder. It imports nothing but the standard library, so it starts at once.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

METHOD_VERSION, CONTROL_MODE = 7, "ee_pose"
SECONDS = float(os.environ.get("STUB_SECONDS", "0"))  # time per stage [s]
# Stages after whose beginning the script waits to be killed, counted by the lines of its trace.
HALTS = {int(word) for word in os.environ.get("STUB_HALTS", "").split()}
# A file that says how many stages may begin in all, of all scripts beside it; none: any number.
LEASH = Path(os.environ.get("STUB_LEASH", "no leash"))


def write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(json.dumps(value))
    draft.rename(path)


def start(words: list[str]) -> Path:
    options = dict(zip(words, [*words[1:], ""], strict=True))
    seed, task = int(options["--seed"]), options["--task"]
    config = {"task": task, "seed": seed, "variant": options.get("--variant", ""), "aep": True}
    config |= {"threads": int(options["--threads"]), "runs": options["--runs"], "data": "fresh"}
    config |= {"precision": options["--precision"]}
    config |= {"iterations": int(options.get("--iterations", "3"))}
    run = Path(options["--runs"]) / f"DexFW-{task}-v0__stub__{seed}__1"
    made = {"commit": "c0ffee", "versions": {}, "machine": {"cpus": 2}, "command": "stub"}
    write(run / "config.json", {"config": config, "provenance": made})
    return run


def lines(trace: Path) -> int:
    return trace.read_text().count("\n")


def leashed() -> bool:
    """Whether no further stage may begin."""
    try:
        allowed = int(LEASH.read_text())
    except FileNotFoundError:
        return False
    return sum(map(lines, LEASH.parent.glob("runs/**/trace.txt"))) >= allowed


def stage(run: Path, done: dict, name: str, i: int, config: dict) -> None:
    while leashed():
        time.sleep(0.005)
    time.sleep(SECONDS)
    with open(run.parent / "trace.txt", "a") as trace:
        trace.write(f"{name}_{i} {os.getpid()}\n")
    if lines(run.parent / "trace.txt") in HALTS:
        signal.pause()
    success = (config["seed"] + i) / 10
    with open(run / "metrics.jsonl", "ab") as file:
        file.truncate(max((int(end["metrics"]) for end in done.values()), default=0))
        row = {"step": 100 * i, "charts/base_success": success, "charts/base_success/egg": 1.0}
        file.write(json.dumps(row).encode() + b"\n")
        size = file.tell()
    if name == "data":
        write(run / f"data_{i}.json", {"edited": {"tries": 10, "successes": 8, "success": 0.8}})
    else:
        row = {"iteration": i, "split": "T_OEP", "policy": "base", "success": success}
        write(run / f"eval_{i}.json", [{**row, "n": 200, "per_object": {}}])
    done[f"{name}_{i}"] = {"seconds": 60.0, "metrics": size}
    write(run / "stages.json", done)


def main(words: list[str]) -> int:
    if os.environ.get("STUB_FAILS"):
        print("ValueError: the stub was asked to fail")
        return 1
    if "--evaluate" in words:
        print("measured", words[words.index("--evaluate") + 1])
        return 0
    run = Path(words[words.index("--resume") + 1]) if "--resume" in words else start(words)
    config = json.loads((run / "config.json").read_text())["config"]
    ends = run / "stages.json"
    done = json.loads(ends.read_text()) if ends.is_file() else {}
    for i in range(1, config["iterations"] + 1):
        for name in ("data", "eval"):
            if f"{name}_{i}" not in done:
                stage(run, done, name, i, config)
    return int(os.environ.get("STUB_EXIT", "0"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
