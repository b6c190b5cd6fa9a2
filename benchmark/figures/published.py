"""Figures published with DexFlyWheel (arXiv 2509.23829) and DexPIE (2606.09615), beside ours.

Camera-ready where both versions have a figure; T_O(1) is in the submission's appendix alone.
Success in %, of 5 runs with their spread where one is given. They come from another simulator,
another robot hand, camera images and demonstrations by people: no setting here is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.figures.query import Query, reference
from benchmark.protocol import FLYWHEEL, HUMAN, MIMICGEN, PIE, TASKS

SOURCE = "DexFlyWheel, arXiv 2509.23829, or DexPIE, arXiv 2606.09615"
NAMES = ("Grasp", "Pour", "Lift", "Handover", "mean")  # order of the columns below
assert set(TASKS) == set(NAMES[:-1])


@dataclass(frozen=True)
class Published:
    """A published figure and its spread over runs."""

    value: float
    spread: float | None = None


Row = tuple[str, str, str, int, str]  # quantity, method, variant, turn, policy

#: Rows over `NAMES`; a shorter row has no figure for the last ones, None is not published. The mean
#: of four tasks follows from them where it is not given.
_ROWS: dict[Row, tuple[float | None, ...]] = {
    ("T_OEP", FLYWHEEL, "", 1, "combined"): (15.0, 36.1, 13.9, 0.8, 16.5),
    ("T_OEP", FLYWHEEL, "", 2, "combined"): (58.0, 55.6, 44.4, 17.5, 43.9),
    ("T_OEP", FLYWHEEL, "", 3, "combined"): (90.0, 85.8, 79.4, 72.5, 81.9),
    ("T_OEP", FLYWHEEL, "five-turns", 4, "combined"): (92.5, None, 82.1),
    ("T_OEP", FLYWHEEL, "five-turns", 5, "combined"): (93.2, None, 83.5),
    ("T_O(1)", FLYWHEEL, "", 1, "base"): (100.0, 100.0, 90.0, 28.8, 79.7),
    ("T_O(2)", FLYWHEEL, "", 1, "base"): (71.0, 58.3, 50.0, 28.6, 52.0),
    ("T_O(2)", FLYWHEEL, "", 1, "combined"): (84.0, 75.0, 83.3, 85.7, 82.0),
    ("T_O(3)", FLYWHEEL, "", 2, "base"): (35.0, 58.0, 68.8, 32.1, 48.5),
    ("T_O(3)", FLYWHEEL, "", 2, "combined"): (89.1, 80.7, 98.0, 62.5, 82.6),
    ("T_OEP", HUMAN, "default", 1, "base"): (6.1, 16.7, 13.9, 0.8, 9.4),
    ("T_OEP", HUMAN, "enhanced", 1, "base"): (15.0, 36.1, 2.5, 0.0, 13.4),
    ("T_OEP", MIMICGEN, "default", 1, "base"): (30.3, 38.9, 28.2, 28.3, 31.4),
    ("T_OEP", MIMICGEN, "enhanced", 1, "base"): (50.3, 44.4, 43.7, 42.5, 45.2),
    ("T_OEP", FLYWHEEL, "no-residual-no-aep", 3, "base"): (10.2, 13.6, 7.8, 4.2),
    ("T_OEP", FLYWHEEL, "no-residual", 3, "base"): (22.5, 17.5, 23.1, 12.5),
    ("T_OEP", FLYWHEEL, "no-aep", 3, "combined"): (45.7, 43.2, 56.4, 34.2),
    ("generation", MIMICGEN, "enhanced", 1, "edited"): (87.3, 81.5, 68.2, 14.8, 63.0),
    ("generation", FLYWHEEL, "", 3, "rollouts"): (93.6, 90.2, 89.5, 85.7, 89.8),
    ("seconds a trajectory", MIMICGEN, "enhanced", 1, "edited"): (None, None, 15.0),
    ("seconds a trajectory", FLYWHEEL, "", 3, "rollouts"): (None, None, 15.0),
    ("seconds a trajectory", HUMAN, "enhanced", 1, "edited"): (None, None, 60.0),
    ("hours for 500", MIMICGEN, "enhanced", 1, "edited"): (None, None, 4.4),
    ("hours for 500", FLYWHEEL, "", 3, "rollouts"): (None, None, 2.4),
    ("hours for 500", HUMAN, "enhanced", 1, "edited"): (None, None, 12.5),
    ("hours of the run", FLYWHEEL, "", 3, "rollouts"): (None, None, 30.0),
    ("objects handled", MIMICGEN, "enhanced", 1, "edited"): (10, 9, 6, 2),
    ("objects handled", FLYWHEEL, "no-residual", 3, "edited"): (12, 9, 8, 4),
    ("objects handled", FLYWHEEL, "", 3, "edited"): (22, 12, 26, 20),
    ("number of objects", FLYWHEEL, "", 1, ""): (1, 1, 1, 1, 1),
    ("number of objects", FLYWHEEL, "", 2, ""): (11, 4, 6, 6, 6.8),
    ("number of objects", FLYWHEEL, "", 3, ""): (22, 12, 26, 20, 20),
    ("number of surroundings", FLYWHEEL, "", 1, ""): (3, 7, 1, 1, 3),
    ("number of surroundings", FLYWHEEL, "", 2, ""): (8, 9, 5, 5, 6.8),
    ("number of surroundings", FLYWHEEL, "", 3, ""): (12, 12, 12, 12, 12),
    ("number of poses", FLYWHEEL, "", 1, ""): (5, 3, 1, 1, 2.5),
    ("number of poses", FLYWHEEL, "", 2, ""): (10, 8, 2, 2, 5.5),
    ("number of poses", FLYWHEEL, "", 3, ""): (15, 10, 5, 5, 8.8),
    ("configurations", FLYWHEEL, "", 1, ""): (15, 21, 1, 1, 9.5),
    ("configurations", FLYWHEEL, "", 2, ""): (880, 288, 60, 60, 322),
    ("configurations", FLYWHEEL, "", 3, ""): (3960, 1440, 1560, 1200, 2040),
    # Mean of three other tasks on a real robot, as summaries of the paper give it.
    ("T_OEP", PIE, "bc", 0, "base"): (*[None] * 4, 50.0),
    ("T_OEP", PIE, "hg-dagger", 1, "base"): (*[None] * 4, 75.3),
    ("T_OEP", PIE, "recap", 1, "base"): (*[None] * 4, 80.0),
    ("T_OEP", PIE, "dexpie", 1, "base"): (*[None] * 4, 87.3),
    **{("trajectories", FLYWHEEL, "", i + 1, ""): (n,) * 5 for i, n in enumerate((20, 100, 500))},
}

_SPREADS: dict[Row, tuple[float | None, ...]] = {
    ("T_OEP", FLYWHEEL, "", 1, "combined"): (2.1, 3.3, 2.8, 1.1),
    ("T_OEP", FLYWHEEL, "", 2, "combined"): (4.8, 4.5, 4.6, 3.4),
    ("T_OEP", FLYWHEEL, "", 3, "combined"): (3.2, 3.5, 7.9, 4.1),
    ("T_OEP", FLYWHEEL, "five-turns", 4, "combined"): (2.8, None, 6.5),
    ("T_OEP", FLYWHEEL, "five-turns", 5, "combined"): (2.5, None, 5.8),
}

#: |residual| / (|base| + 1e-6) in %, over all tasks, by turn.
RESIDUAL_RATIO = {2: Published(14.3, 2.6), 3: Published(16.5, 2.1)}
#: Mean absolute difference of the joints to the nominal trajectory [rad], by task and object.
JOINT_DIFFERENCE = {
    ("Lift", "box of density 0.1"): 0.23, ("Lift", "box of density 10"): 0.74,
    ("Lift", "box of density 50"): 1.06, ("Grasp", "bowling ball"): 0.75, ("Grasp", "can"): 0.59,
    ("Grasp", "eggplant"): 0.95, ("Grasp", "water bottle"): 1.18,
}  # fmt: skip


#: Success on single objects [%], by task and object of ours of the same kind, turns 1 to 3.
OBJECTS = {
    ("Grasp", "tennis_ball"): (94.0, 93.7, 94.2), ("Grasp", "eggplant"): (20.6, 30.8, 70.9),
    ("Grasp", "cube"): (15.9, 20.0, 85.6),
}  # fmt: skip


def published(query: Query) -> Published | None:
    """Return the published figure, None where there is none; differences follow from their two."""
    if query.quantity == "difference":
        return _difference(query)
    if query.quantity == "residual ratio":
        return RESIDUAL_RATIO.get(query.iteration) if query.task == "mean" else None
    if query.quantity == "joint difference":
        value = JOINT_DIFFERENCE.get((query.task, query.object))
        return None if value is None else Published(value)
    if query.object:
        known = OBJECTS.get((query.task, query.object), ()) if query.quantity == "objects" else ()
        return Published(known[query.iteration - 1]) if query.iteration <= len(known) else None
    quantity = "generation" if query.quantity == "first tries" else query.quantity
    key = (quantity, query.method, query.variant, query.iteration, query.policy)
    value, spread = (_of_task(rows.get(key, ()), query.task) for rows in (_ROWS, _SPREADS))
    if value is None and query.task == "mean":
        value = _mean(_ROWS.get(key, ()))
    return None if value is None else Published(value, spread)


def _mean(row: tuple[float | None, ...]) -> float | None:
    known = [value for value in row if value is not None]
    return round(sum(known) / len(known), 1) if len(known) == len(TASKS) else None


def _of_task(row: tuple[float | None, ...], task: str) -> float | None:
    index = NAMES.index(task)
    return row[index] if index < len(row) else None


def _difference(query: Query) -> Published | None:
    whole = published(reference(query, 3))
    other = published(
        Query("T_OEP", query.method, query.variant, query.iteration, query.policy, query.task)
    )
    if whole is None or other is None:
        return None
    return Published(round(whole.value - other.value, 1))
