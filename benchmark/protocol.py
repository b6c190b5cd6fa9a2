"""How everything is measured, in one place: the same episodes for every method and variant.

The last checkpoint (of the averaged weights) of every turn is measured, never the best of several.
Scenarios follow from split, number of episodes and seed alone, so that methods can be compared
episode by episode. Methods are tuned on `T_VAL`, which no table of results shows;
docs/dexpie-trials.md says what of DexPIE was not.
"""

from __future__ import annotations

from pathlib import Path

from dexfw_envs.registry import TASKS as REGISTERED
from dexfw_envs.revision import FIRST, REVISION

ROOT = Path(__file__).resolve().parents[1]  # the clone, where scripts and results are

#: Names of the scripts in `baselines/`, as the records have them.
FLYWHEEL = "dexflywheel"
MIMICGEN = "dexmimicgen"
HUMAN = "human_demo"
PIE = "dexpie"

TASKS = tuple(item.name for item in REGISTERED)
SEEDS = (1, 2, 3)
SPLITS = ("T_OEP", "T_O")  # "T_O": T_O(1) after turn 1, and T_O(i + 1) after each turn i
EPISODES = 200  # per split, policy, turn and seed
PRECISION = "fp32"  # of training in all cells, so that machines do not mix

#: Trajectories that each turn keeps with the usual preset; later turns as many as the third.
TRAJECTORIES = (20, 100, 500)
#: Turns of the flywheel by preset.
TURNS = {"quick": 2, "laptop": 3, "paper": 3}
USUAL_PRESET = "laptop"
#: Revision of the worlds whose results tables, plots and pages show: the newest that was run whole.
SHOWN_REVISION = 1


def check_preset(preset: str) -> str:
    """Return the preset.

    Raises:
        ValueError: There is none of that name; the message lists those there are.
    """
    if preset not in TURNS:
        raise ValueError(f"unknown preset {preset!r}; choose one of {', '.join(TURNS)}")
    return preset


def results_of(results: Path, preset: str, revision: int = REVISION) -> Path:
    """Folder of the results of a preset in a revision of the worlds, which never share one.

    Those of the first revision and of the usual preset are the folder itself, others lie within.
    """
    if revision != FIRST:
        results = results / f"revision-{revision}"
    return results if check_preset(preset) == USUAL_PRESET else results / preset


def name_in_records(variant: str, preset: str) -> str:
    """A variant's name in the records.

    Scripts refuse records of other presets as their method's own, so those carry the preset.
    """
    return "-".join(filter(None, (variant, preset if preset != USUAL_PRESET else "")))


def name_in_grid(recorded: str, preset: str) -> str:
    """The variant of the grid that a name in a preset's records stands for."""
    return "" if recorded == preset else recorded.removesuffix(f"-{preset}")
