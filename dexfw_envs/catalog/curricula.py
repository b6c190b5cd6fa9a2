"""Which objects, surroundings and pose cells each iteration of a task adds: one table."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.surroundings import SURROUNDINGS


@dataclass(frozen=True)
class Curriculum:
    """What one task is trained and tested on; entry k of a tuple belongs to iteration k + 1.

    Attributes:
        new_objects: Object ids that each iteration adds.
        surroundings: How many surroundings each iteration uses, the first ones of the catalogue.
        poses: How many pose cells each iteration uses, the first ones of `cells`.
        cells: Centre of each pose cell from `WORKSPACE_CENTRE`: x, y [m], yaw [deg].
        jitter: Half width of every cell: x, y [m], yaw [deg].
        support_height: Height of the surface under the objects above the table [m].
        receivers: Ids of the objects that stand beside the first one, alternating over its kinds.
        receiver_cell: Where they stand, and half width of the jitter: x, y, jx, jy [m].
    """

    new_objects: tuple[tuple[str, ...], ...]
    surroundings: tuple[int, ...]
    poses: tuple[int, ...]
    cells: tuple[tuple[float, float, float], ...]
    jitter: tuple[float, float, float]
    support_height: float = 0.0
    receivers: tuple[str, ...] = ()
    receiver_cell: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


# Combinations that a task of the user's own must have: 40 each are held out for T_OEP and T_VAL,
# and the rest is to be more than those.
LEAST_SCENES = 160

# Two-armed tasks: five places on a line across the table, the centre first.
LINE = (
    (0.0, 0.000, 0.0), (0.0, 0.050, 0.0), (0.0, -0.050, 0.0), (0.0, 0.100, 0.0), (0.0, -0.100, 0.0),
)  # fmt: skip

# The one table of tasks: the first five Grasp cells lie near the seed's pose, later ones further.
CURRICULA: dict[str, Curriculum] = {
    "Grasp": Curriculum(
        new_objects=(
            ("baseball",),
            ("tennis_ball", "billiard_ball", "lacrosse_ball", "petanque_boule", "softball",
             "slim_can", "drink_can", "food_can", "spice_jar", "vitamin_jar"),
            ("apple_tiny", "apple_small", "apple_medium", "apple_large", "pear", "egg",
             "painted_egg", "eggplant", "bottle", "cube", "small_carton"),
        ),
        surroundings=(3, 8, 12),
        poses=(5, 10, 15),
        cells=(
            (0.000, 0.000, 0.0), (0.015, 0.020, 5.0), (-0.015, 0.020, -5.0),
            (0.015, -0.020, -5.0), (-0.015, -0.020, 5.0),
            (0.030, 0.000, 10.0), (-0.030, 0.000, -10.0), (0.000, 0.040, -12.0),
            (0.000, -0.040, 12.0), (0.025, 0.045, 8.0),
            (0.050, 0.060, -15.0), (-0.050, 0.060, 15.0), (0.050, -0.060, 20.0),
            (-0.050, -0.060, -20.0), (0.000, 0.070, 18.0),
        ),
        jitter=(0.010, 0.010, 5.0),
    ),
    "Pour": Curriculum(
        new_objects=(
            ("tumbler",),
            ("highball_glass", "paper_cup", "steel_cup"),
            ("square_glass", "hexagonal_beaker", "stoneware_cup", "slim_glass", "pint_glass",
             "bamboo_cup", "dice_cup", "travel_tumbler"),
        ),
        surroundings=(7, 9, 12),
        poses=(3, 8, 10),
        cells=(
            (0.040, -0.100, 0.0), (0.055, -0.085, 5.0), (0.025, -0.115, -5.0),
            (0.070, -0.100, 10.0), (0.010, -0.100, -10.0), (0.040, -0.070, -8.0),
            (0.040, -0.130, 8.0), (0.065, -0.130, -12.0),
            (0.090, -0.080, 15.0), (0.000, -0.135, -15.0),
        ),
        jitter=(0.010, 0.010, 5.0),
        receivers=("soup_bowl", "rice_bowl"),
        receiver_cell=(0.04, 0.12, 0.02, 0.02),
    ),
    "Lift": Curriculum(
        new_objects=(
            ("milk_case",),
            ("shoe_box", "post_parcel", "tea_chest", "toy_crate", "file_box"),
            ("cereal_box", "detergent_carton", "gift_box", "paper_ream_case", "cake_box",
             "speaker", "wipes_pack", "first_aid_case", "bread_tin", "basketball", "football",
             "volleyball", "handball", "medicine_ball", "play_ball", "pickle_jar", "protein_tub",
             "paint_tin", "water_jug", "cookie_jar"),
        ),
        surroundings=(1, 5, 12),
        poses=(1, 2, 5),
        cells=LINE,
        jitter=(0.010, 0.010, 5.0),
    ),
    "Handover": Curriculum(
        new_objects=(
            ("drink_carton",),
            ("spaghetti_box", "toothpaste_box", "cracker_box", "foil_box", "tea_box"),
            ("cream_carton", "soup_carton", "syrup_carton", "pencil_case", "chocolate_box",
             "domino_box", "sauce_bottle", "shampoo_bottle", "sports_bottle", "thermos_flask",
             "olive_jar", "asparagus_jar", "chips_tube", "spray_can"),
        ),
        surroundings=(1, 5, 12),
        poses=(1, 2, 5),
        # Moved towards the giving hand.
        cells=(
            (0.0, -0.040, 0.0), (0.0, 0.000, 0.0), (0.0, -0.080, 0.0), (0.0, 0.040, 0.0),
            (0.0, -0.120, 0.0),
        ),
        jitter=(0.010, 0.010, 5.0),
    ),
}  # fmt: skip


def register_curriculum(task: str, entry: Curriculum) -> None:
    """Give a task of the user's own its objects and scenes, in this process.

    Raises:
        TypeError: This is no `Curriculum`.
        ValueError: The task has a curriculum already, or the rows do not fit together: their
            number differs, they name an unknown object, or more surroundings or cells than there
            are; or the last row has too few scenes for tests and training.
    """
    if not isinstance(entry, Curriculum):
        raise TypeError(f"a curriculum is a Curriculum, got {entry!r}")
    if task in CURRICULA:
        raise ValueError(f"task {task!r} has a curriculum already")

    rows = {len(entry.new_objects), len(entry.surroundings), len(entry.poses)}
    if len(rows) != 1 or not all(entry.new_objects):
        raise ValueError(
            "a curriculum has as many rows of new_objects, none of them empty, as of surroundings "
            f"and poses; got {len(entry.new_objects)}, {len(entry.surroundings)}, "
            f"{len(entry.poses)}"
        )
    for object_id in itertools.chain(*entry.new_objects, entry.receivers):
        get_object(object_id)
    _check_counts("surroundings", entry.surroundings, len(SURROUNDINGS))
    _check_counts("poses", entry.poses, len(entry.cells))

    scenes = len(list(itertools.chain(*entry.new_objects)))
    scenes *= entry.surroundings[-1] * entry.poses[-1]
    if scenes < LEAST_SCENES:
        raise ValueError(
            f"the curriculum of {task} has {scenes} combinations of object, surroundings and pose "
            f"in its last row; {LEAST_SCENES} are needed for tests and training"
        )
    CURRICULA[task] = entry


def _check_counts(what: str, counts: tuple[int, ...], most: int) -> None:
    if not all(1 <= count <= most for count in counts):
        raise ValueError(f"{what} of a curriculum lie in 1 .. {most}, got {counts}")


def curriculum(task: str) -> Curriculum:
    """The curriculum of a task; ``ValueError`` names the valid tasks."""
    return find(CURRICULA, task, "task")


def receivers_of(task: str, object_id: str) -> tuple[str, ...]:
    """Ids of the other objects in a scene with this one: none, or the receiver that is its turn."""
    entry = curriculum(task)
    if not entry.receivers:
        return ()
    known = list(itertools.chain(*entry.new_objects))
    index = known.index(object_id) if object_id in known else 0  # one's own gets the first
    return (entry.receivers[index % len(entry.receivers)],)


def iterations(task: str) -> int:
    """How many iterations the curriculum has; later iterations reuse the last one."""
    return len(curriculum(task).new_objects)


def new_objects(task: str, iteration: int) -> tuple[str, ...]:
    """Ids of the objects introduced at an iteration, counted from 1."""
    entry = curriculum(task)
    count = len(entry.new_objects)
    if iteration not in range(1, count + 1):
        raise ValueError(f"{task} introduces objects at iterations 1 to {count}, not {iteration!r}")
    return entry.new_objects[iteration - 1]


def objects_for(task: str, iteration: int) -> tuple[str, ...]:
    """Ids of all objects in use at an iteration, counted from 1."""
    entry = curriculum(task)
    return tuple(itertools.chain(*entry.new_objects[: _stage(task, iteration) + 1]))


def surroundings_for(task: str, iteration: int) -> tuple[str, ...]:
    """Ids of the surroundings in use at an iteration, counted from 1."""
    count = curriculum(task).surroundings[_stage(task, iteration)]
    return tuple(entry.id for entry in SURROUNDINGS[:count])


def poses_for(task: str, iteration: int) -> tuple[int, ...]:
    """Indices of the pose cells in use at an iteration, counted from 1."""
    return tuple(range(curriculum(task).poses[_stage(task, iteration)]))


def _stage(task: str, iteration: int) -> int:
    """Row of the curriculum of an iteration; a run may go on beyond the last row."""
    if isinstance(iteration, bool) or not isinstance(iteration, int) or iteration < 1:
        raise ValueError(f"iteration must be an integer of at least 1, got {iteration!r}")
    return min(iteration, iterations(task)) - 1
