import itertools
import math

import mujoco
import numpy as np
import pytest

from dexfw_envs.catalog import (
    CURRICULA,
    GRASP_OBJECTS,
    SURROUNDINGS,
    Part,
    curriculum,
    get_object,
    get_surroundings,
    named_sampler,
    objects_for,
    split,
)
from dexfw_envs.catalog.curricula import iterations, new_objects, poses_for, surroundings_for
from dexfw_envs.catalog.handover_objects import HANDOVER_OBJECTS
from dexfw_envs.catalog.lift_objects import LIFT_OBJECTS
from dexfw_envs.catalog.object_spec import SURFACES
from dexfw_envs.catalog.shapes import centre_of_mass, diagonal_inertia, reach
from dexfw_envs.catalog.splits import combinations, held_out
from dexfw_envs.tasks.grasp import GraspTask
from dexfw_envs.transforms import matrix_from_quat, quat_from_rotvec, quat_multiply

TASKS = tuple(CURRICULA)
SOLID = {"Grasp": GRASP_OBJECTS, "Lift": LIFT_OBJECTS, "Handover": HANDOVER_OBJECTS}
MASSES = {"Grasp": (0.05, 0.75), "Lift": (0.15, 3.0), "Handover": (0.10, 0.60)}  # [kg]
EACH_OBJECT = pytest.mark.parametrize(
    "spec", [*itertools.chain(*SOLID.values())], ids=lambda spec: spec.id
)
EACH_TASK = pytest.mark.parametrize("task", TASKS)


# --- objects


def compiled(parts, density=1000.0):
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body()
    body.add_freejoint()
    for part in parts:
        body.add_geom(
            type=getattr(mujoco.mjtGeom, f"mjGEOM_{part.kind.upper()}"),
            size=part.size,
            pos=part.position,
            quat=part.quaternion,
            density=density,
        )
    return spec.compile()


@EACH_OBJECT
def test_balance_is_that_of_the_compiled_body(spec):
    model = compiled(spec.parts)
    mass = model.body_mass[1]
    np.testing.assert_allclose(model.body_ipos[1], 0.0, atol=1e-9)
    frame = matrix_from_quat(model.body_iquat[1])
    inertia = frame @ np.diag(model.body_inertia[1]) @ frame.T * spec.mass / mass
    np.testing.assert_allclose(inertia, np.diag(spec.inertia), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", ["sphere", "capsule", "cylinder", "box", "ellipsoid"])
def test_inertia_of_turned_parts_is_that_of_the_compiled_body(kind):
    used = {"sphere": 1, "capsule": 2, "cylinder": 2}.get(kind, 3)
    size = (0.03, 0.05, 0.02)[:used] + (0.0,) * (3 - used)
    quarter = tuple(quat_from_rotvec((math.pi / 2, 0.0, 0.0)).tolist())
    parts = (Part(kind, size, (0.0, 0.04, 0.0), quarter), Part(kind, size, (0.0, -0.04, 0.0)))
    model = compiled(parts)
    moments = sorted(diagonal_inertia(parts, float(model.body_mass[1])))
    np.testing.assert_allclose(moments, sorted(model.body_inertia[1]), rtol=1e-6)


def test_objects_with_skew_axes_are_refused():
    parts = (
        Part("sphere", (0.01, 0.0, 0.0), (0.02, 0.02, 0.0)),
        Part("sphere", (0.01, 0.0, 0.0), (-0.02, -0.02, 0.0)),
    )
    with pytest.raises(ValueError, match="principal axes"):
        diagonal_inertia(parts, 1.0)


@pytest.mark.parametrize(
    ("kind", "size"),
    [("cone", (0.1, 0.0, 0.0)), ("sphere", (0.1, 0.1, 0.0)), ("box", (0.1, 0.0, 0.1))],
)
def test_bad_parts_are_refused(kind, size):
    with pytest.raises(ValueError, match=r"valid kinds|positive sizes"):
        Part(kind, size)


@EACH_OBJECT
def test_object_is_complete_and_in_range(spec):
    assert 1 <= len(spec.parts) <= GraspTask().needs.parts
    np.testing.assert_allclose(centre_of_mass(spec.parts), 0.0, atol=1e-12)
    low, high = next(MASSES[task] for task, specs in SOLID.items() if spec in specs)
    assert low <= spec.mass <= high
    assert 0.8 <= spec.friction <= 1.0
    assert (spec.friction, spec.rolling) == SURFACES[spec.surface]
    assert all(0 <= channel <= 1 for channel in spec.rgba)
    assert len(spec.source) > 20
    largest, others = max(spec.inertia), sum(spec.inertia) - max(spec.inertia)
    assert min(spec.inertia) > 0
    assert largest <= others


@EACH_OBJECT
def test_resting_height_touches_and_the_pose_is_no_summit(spec):
    down = -matrix_from_quat(spec.resting_quaternion)[2]
    assert spec.resting_height == pytest.approx(reach(spec.parts, down), abs=1e-9)
    for angle in np.linspace(0, 2 * math.pi, 24, endpoint=False):
        tip = quat_from_rotvec(0.03 * np.array([math.cos(angle), math.sin(angle), 0.0]))
        tipped = -matrix_from_quat(quat_multiply(tip, spec.resting_quaternion))[2]
        assert reach(spec.parts, tipped) >= spec.resting_height - 1e-6


@EACH_OBJECT
def test_object_rests_where_it_is_put(spec):
    world = mujoco.MjSpec()
    world.option.timestep = 0.0025
    world.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=(1, 1, 1), condim=6, friction=(0.8, 0.01, 0.001)
    )
    body = world.worldbody.add_body(
        pos=(0, 0, spec.resting_height),
        quat=spec.resting_quaternion,
        explicitinertial=True,
        ipos=(0, 0, 0),  # MuJoCo would take the body's position
        iquat=(1, 0, 0, 0),
        mass=spec.mass,
        inertia=spec.inertia,
    )
    body.add_freejoint()
    for part in spec.parts:
        kind = getattr(mujoco.mjtGeom, f"mjGEOM_{part.kind.upper()}")
        body.add_geom(type=kind, size=part.size, pos=part.position, quat=part.quaternion)
    model = world.compile()
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 800)
    assert np.linalg.norm(data.qpos[:3] - (0, 0, spec.resting_height)) < 0.001
    turn = 2 * math.acos(min(1.0, abs(data.qpos[3:] @ spec.resting_quaternion)))
    assert turn < math.radians(0.1)


def measures(spec):
    """Sizes along the body axes [m], mass [kg] and friction."""
    sizes = [reach(spec.parts, axis) + reach(spec.parts, -axis) for axis in np.eye(3)]
    return np.array([*sizes, spec.mass, spec.friction])


@pytest.mark.parametrize(
    ("task", "count", "frictions"), [("Grasp", 22, 12), ("Lift", 26, 10), ("Handover", 20, 10)]
)
def test_objects_differ(task, count, frictions):
    specs = SOLID[task]
    assert len({spec.id for spec in specs}) == len(specs) == count
    assert {spec.id for spec in specs} == set(objects_for(task, iterations(task)))
    assert len({spec.friction for spec in specs}) >= frictions
    for one, other in itertools.combinations(specs, 2):
        same_kind = [p.kind for p in one.parts] == [p.kind for p in other.parts]
        unlike = measures(one) / measures(other)
        unlike = np.maximum(unlike, 1 / unlike).max()
        assert not same_kind or unlike > 1.1, f"{one.id} is nearly {other.id}"


def test_the_four_tasks_have_80_objects():
    ids = [name for task in TASKS for name in objects_for(task, iterations(task))]
    assert len(ids) == len(set(ids)) == 80


def test_lift_objects_are_too_big_or_too_heavy_for_one_hand():
    for spec in LIFT_OBJECTS:
        sizes = [reach(spec.parts, axis) + reach(spec.parts, -axis) for axis in np.eye(3)]
        assert sizes[1] >= 0.14, "a hand spans less"
        assert spec.resting_quaternion == (1.0, 0.0, 0.0, 0.0), "tilt is measured from upright"


def test_handover_objects_have_room_for_two_hands_and_fit_into_one():
    for spec in HANDOVER_OBJECTS:
        sizes = [reach(spec.parts, axis) + reach(spec.parts, -axis) for axis in np.eye(3)]
        assert max(sizes[:2]) <= 0.08 and sizes[2] >= 0.155
        assert spec.resting_quaternion == (1.0, 0.0, 0.0, 0.0)


def test_objects_span_more_than_one_grip():
    """What one recorded motion meets: heights, lengths, masses and shapes far apart."""
    table = np.array([measures(spec) for spec in GRASP_OBJECTS])
    heights = np.array([2 * spec.resting_height for spec in GRASP_OBJECTS])
    lengths = table[:, :3].max(axis=1)
    assert heights.max() > 2 * heights.min()
    assert lengths.max() > 3 * lengths.min()
    assert table[:, 3].max() > 10 * table[:, 3].min()
    assert np.isclose(table[:, 4].min(), 0.8) and np.isclose(table[:, 4].max(), 1.0)
    shapes = {part.kind for spec in GRASP_OBJECTS for part in spec.parts}
    assert shapes >= {"sphere", "cylinder", "ellipsoid", "box"}
    slender = (lengths > 1.4 * table[:, :3].min(axis=1)).sum()
    assert 8 <= slender <= 14, "some turn under the hand, some do not"


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ValueError, match=r"did you mean 'baseball'\?.*small_carton"):
        get_object("basebal")
    with pytest.raises(ValueError, match="unknown surroundings 'disco'; valid: neutral"):
        get_surroundings("disco")
    with pytest.raises(ValueError, match="unknown task 'Juggle'; valid: Grasp"):
        objects_for("Juggle", 1)
    with pytest.raises(ValueError, match=r"unknown split of Grasp 'T_O\(4\)'.*T_OEP, T_VAL"):
        split("Grasp", "T_O(4)", 1, 0)
    with pytest.raises(ValueError, match=r"unknown scenarios of Grasp 'train\(9\)'.*train\(3\)"):
        named_sampler("Grasp", "train(9)")
    with pytest.raises(ValueError, match="held-out set"):
        held_out("Grasp", "T_TEST")


# --- surroundings


def test_surroundings_are_12_and_differ():
    assert len({entry.id for entry in SURROUNDINGS}) == len(SURROUNDINGS) == 12
    assert len({entry.table_friction for entry in SURROUNDINGS}) == 12
    assert {entry.table_texture for entry in SURROUNDINGS} == {"flat", "checker", "gradient"}
    assert min(entry.table_friction for entry in SURROUNDINGS) == 0.5
    assert max(entry.table_friction for entry in SURROUNDINGS) == 1.1
    assert SURROUNDINGS[0].id == "neutral"
    assert len(set(SURROUNDINGS[0].light_diffuse)) == 1


# --- curricula


@pytest.mark.parametrize(
    ("task", "rows", "products"),
    [
        ("Grasp", [(1, 3, 5), (11, 8, 10), (22, 12, 15)], [15, 880, 3960]),
        ("Pour", [(1, 7, 3), (4, 9, 8), (12, 12, 10)], [21, 288, 1440]),
        ("Lift", [(1, 1, 1), (6, 5, 2), (26, 12, 5)], [1, 60, 1560]),
        ("Handover", [(1, 1, 1), (6, 5, 2), (20, 12, 5)], [1, 60, 1200]),
    ],
)
def test_counts_are_those_of_the_paper(task, rows, products):
    parts = (objects_for, surroundings_for, poses_for)
    assert [tuple(len(part(task, i)) for part in parts) for i in (1, 2, 3)] == rows
    assert [len(combinations(task, i)) for i in (1, 2, 3)] == products


@EACH_TASK
def test_curriculum_grows_over_known_things(task):
    entry, last = curriculum(task), iterations(task)
    assert len(entry.new_objects) == len(entry.surroundings) == len(entry.poses)
    assert entry.surroundings == tuple(sorted(entry.surroundings))
    assert entry.surroundings[-1] <= len(SURROUNDINGS)
    assert entry.poses == tuple(sorted(entry.poses))
    assert entry.poses[-1] == len(entry.cells)
    ids = objects_for(task, last)
    assert len(set(ids)) == len(ids)
    assert all(get_object(object_id) for object_id in ids)
    assert objects_for(task, last + 4) == ids


@pytest.mark.parametrize("iteration", [0, -1, 1.0, True, "1"])
def test_bad_iterations_are_refused(iteration):
    with pytest.raises(ValueError, match="iteration must be"):
        objects_for("Grasp", iteration)


def test_no_objects_are_new_beyond_the_curriculum():
    assert len(new_objects("Grasp", 3)) == 11
    with pytest.raises(ValueError, match="1 to 3"):
        new_objects("Grasp", 4)


@EACH_TASK
def test_cells_differ_and_move_outward(task):
    entry = curriculum(task)
    places = np.array(entry.cells)[:, :2]
    assert len({tuple(cell) for cell in entry.cells}) == len(entry.cells)
    away = np.hypot(*(places - places[0]).T)
    for before, after in itertools.pairwise((0, *entry.poses)):
        assert away[:before].max(initial=0.0) <= away[before:after].min() + 1e-9


@pytest.mark.parametrize("task", ["Lift", "Handover"])
def test_two_armed_tasks_have_five_places_on_a_line_across_the_table(task):
    x, y, yaw = np.array(curriculum(task).cells).T
    assert not x.any() and not yaw.any()
    gaps = np.diff(np.sort(y))
    assert len(y) == 5 and np.allclose(gaps, gaps[0]) and gaps[0] > 0.039
    assert y[0] == np.median(y), "the first is the middle one"


def test_grasp_cells_move_outward_and_stay_inside():
    entry = curriculum("Grasp")
    reaches = np.abs(entry.cells) + entry.jitter
    assert (reaches <= (0.06 + 1e-9, 0.08 + 1e-9, 25.0)).all()
    distance = np.hypot(*np.array(entry.cells)[:, :2].T)
    assert distance[0] == 0
    assert distance[:5].max() < distance[5:10].min()
    assert distance[5:10].max() < distance[10:].min()
    assert len(set(entry.cells)) == 15
