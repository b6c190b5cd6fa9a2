"""Check a folder of episodes and say what it holds: `python -m dexfw_envs.demos.verify FOLDER`.

Every file is read whole. Damaged files are named and left where they are: delete them, and the run
that made them makes them again. `--rebuild` also writes the manifest anew from the sound files.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from dexfw_envs.demos.store import EpisodeStore


def verify(folder: str | Path, rebuild: bool = False) -> dict[str, Any]:
    """Read every episode of a store.

    Args:
        folder: The store.
        rebuild: Write the manifest anew.

    Returns:
        "env_id", "control_mode"; "sound", the number of sound episodes; "successes" and
        "failures" (by reason, the most frequent first) among them; "sources", their number by
        source; "damaged", the reason for each file that is damaged or does not fit.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        OSError: The manifest cannot be written.
    """
    if not Path(folder).exists():
        raise FileNotFoundError(f"no folder {folder}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report names what is skipped
        store = EpisodeStore(folder)
        bad = store.verify()
        rows = [row for row in store.manifest() if row["id"] not in bad]
        if rebuild:
            store.rebuild_manifest()
    reasons = Counter(row["failure"] for row in rows if not row["success"])
    return {
        "env_id": store.env_id,
        "control_mode": store.control_mode,
        "sound": len(rows),
        "successes": sum(row["success"] for row in rows),
        "failures": dict(reasons.most_common()),
        "sources": dict(Counter(row["source"] for row in rows).most_common()),
        "damaged": bad,
    }


@dataclass(frozen=True)
class Args:
    """What to check."""

    folder: tyro.conf.Positional[Path]
    """folder of the episodes"""
    rebuild: bool = False
    """write the manifest anew"""
    json: bool = False
    """print one line of JSON"""


def main(args: Args) -> int:
    """Check and print; the exit code is 0 if there are episodes and all are sound."""
    try:
        found = verify(args.folder, args.rebuild)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if args.json else _lines(found))
    return int(bool(found["damaged"]) or not found["sound"])


def _lines(found: dict[str, Any]) -> str:
    counts = (f"{name} {count}" for name, count in found["failures"].items())
    sources = (f"{name} {count}" for name, count in found["sources"].items())
    lines = [
        f"{found['sound']} sound episodes of {found['env_id']}, control mode "
        f"{found['control_mode']}: {', '.join(sources) or 'none'}",
        f"{found['successes']} successes; failures: {', '.join(counts) or 'none'}",
    ]
    lines += [f"damaged: {name}: {reason}" for name, reason in found["damaged"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
