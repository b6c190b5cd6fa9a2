"""Check episodes and say what there is: `python -m dexfw_envs.demos.verify FOLDER` or `FILE`.

Every file is read whole. Damaged and unreadable ones are named and left where they are: delete
them, and the run that made them makes them again. `--rebuild` also writes the manifest anew from
the sound files.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro

from dexfw_envs.console.command import run_command
from dexfw_envs.episodes.store import (
    DamagedEpisode,
    EpisodeMismatch,
    EpisodeStore,
    load_episode,
    open_store,
)


def verify(path: str | Path, rebuild: bool = False) -> dict[str, Any]:
    """Read every episode of a store.

    Args:
        path: The store, or one episode file.
        rebuild: Write the manifest anew.

    Returns:
        "env_id", "control_mode" of the first; "kinds", the number of sound episodes by env id and
        control mode, of which a store has one; "sound", the number of sound episodes; "successes"
        and "failures" (by reason, the most frequent first) among them; "sources", their number by
        source; "damaged", the reason for each file that is damaged or cannot be read.

    Raises:
        FileNotFoundError: There is nothing, or no episode.
        ValueError: It is no episode file, or a manifest is asked for of a single file.
        OSError: The folder cannot be read, or the manifest not be written.
    """
    if rebuild and Path(path).is_file():
        raise ValueError(f"--rebuild writes the manifest of a folder, {path} is a file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report names what is skipped
        store = open_store(path)
        sound, bad = _read_all(store)
        if rebuild:
            store.rebuild_manifest()

    kinds = Counter(f"{episode.env_id}, control mode {episode.control_mode}" for episode in sound)
    reasons = Counter(episode.failure for episode in sound if not episode.success)
    return {
        "env_id": store.env_id,
        "control_mode": store.control_mode,
        "kinds": dict(kinds.most_common()),
        "sound": len(sound),
        "successes": sum(episode.success for episode in sound),
        "failures": dict(reasons.most_common()),
        "sources": dict(Counter(episode.source for episode in sound).most_common()),
        "damaged": bad,
    }


def _read_all(store: EpisodeStore) -> tuple[list[_Outcome], dict[str, str]]:
    """Return the outcomes of a store's sound episodes, of whatever task, and what is damaged."""
    sound: list[_Outcome] = []
    bad: dict[str, str] = {}
    for identifier in store.ids():
        try:
            episode = load_episode(store.path(identifier))
        except DamagedEpisode as error:
            bad[identifier] = error.reason
        except EpisodeMismatch as error:  # of another version of the file format
            bad[identifier] = str(error)
        else:
            names = [field.name for field in fields(_Outcome)]
            sound.append(_Outcome(**{name: getattr(episode, name) for name in names}))

    return sound, bad


@dataclass(frozen=True)
class _Outcome:
    """What is kept of an episode that was read."""

    env_id: str
    control_mode: str
    source: str
    success: bool
    failure: str


@dataclass(frozen=True)
class Args:
    """What to check."""

    folder: tyro.conf.Positional[Path]
    """folder of the episodes, or one episode file"""
    rebuild: bool = False
    """write the manifest anew"""
    json: bool = False
    """print one line of JSON"""


def main(args: Args) -> int:
    """Check and print; the exit code is 0 if all episodes are sound and of one task."""
    report = verify(args.folder, args.rebuild)
    print(json.dumps(report) if args.json else _lines(report))
    return int(bool(report["damaged"]) or len(report["kinds"]) != 1)


def _lines(report: dict[str, Any]) -> str:
    counts = (f"{name} {count}" for name, count in report["failures"].items())
    sources = (f"{name} {count}" for name, count in report["sources"].items())
    of_kinds = "; ".join(f"{count} of {kind}" for kind, count in report["kinds"].items())
    if len(report["kinds"]) > 1:
        of_kinds += "; a folder of episodes is of one task and control mode: part them"
    lines = [
        f"{report['sound']} sound episodes: {of_kinds or 'none'}",
        f"sources: {', '.join(sources) or 'none'}",
        f"{report['successes']} successes; failures: {', '.join(counts) or 'none'}",
    ]
    lines += [f"damaged: {name}: {reason}" for name, reason in report["damaged"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
