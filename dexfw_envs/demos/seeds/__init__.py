"""The one demonstration per task that the flywheel starts from, shipped with the package."""

from __future__ import annotations

from pathlib import Path

from dexfw_envs.episodes.store import StoredEpisode, load_episode
from dexfw_envs.registry import entry


def seed_path(task: str) -> Path:
    """Return where the seed demonstration of a task is kept."""
    return Path(__file__).parent / f"{entry(task).name.lower()}.h5"


def load_seed(task: str) -> StoredEpisode:
    """Load the seed demonstration of a task; refuses one of another environment version."""
    return load_episode(seed_path(task), env_id=entry(task).env_id, control_mode="ee_pose")
