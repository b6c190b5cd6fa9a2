"""What any backend must do: `pytest tests/conformance --backend NAME`.

Nothing here knows a backend: scenes are scenarios, commands are actions, and what is checked is
what tasks see. Tolerances are those that a task needs, not those of one simulator.
"""

import os

import numpy as np
import pytest
from conformance_tools import hold_action, joint_action, moved, scenarios
from scenes import need_drawing

from dexfw_envs import transforms as tf
from dexfw_envs.backends.layout import CAMERAS
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.experts import make_expert
from dexfw_envs.registry import entry
from dexfw_envs.robots.tree import robot_tree

GRAVITY = 9.81
AWAY = (-0.6, 0.0, 0.8)  # a palm command far from objects, for one arm
EVERY = np.ones(2, dtype=bool)


def aside(env):
    """An action that takes the hands away from the objects, fingers as they are at home."""
    action = hold_action(env).reshape(env.num_envs, -1, 12)
    action[..., 2] = AWAY[2]
    if action.shape[1] == 1:
        action[..., :3] = AWAY
    return action.reshape(env.num_envs, -1)


def begin(env, given):
    return env.reset(options={"scenarios": given})


# --- interface


def test_interface(make, task):
    env = make(task)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    env.action_space.seed(0)
    for _ in range(3):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        for value in (reward, terminated, truncated, info["success"]):
            assert value.shape == (2,)
        assert np.isfinite(reward).all()
    assert np.allclose(env.world.time, 0.15)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.full(env.action_space.shape, np.nan))


def test_world_state_has_its_shapes(make, task):
    env = make(task)
    env.reset(seed=0)
    needs, world = env.task.needs, env.world
    arms, objects, balls = needs.robot.arms, needs.objects, needs.contents
    shapes = {
        "arm_position": (2, arms, 7), "arm_velocity": (2, arms, 7),
        "hand_position": (2, arms, 12), "hand_velocity": (2, arms, 12),
        "end_effector_position": (2, arms, 3), "end_effector_quaternion": (2, arms, 4),
        "fingertip_position": (2, arms, 5, 3), "fingertip_force": (2, arms, 5),
        "object_position": (2, objects, 3), "object_quaternion": (2, objects, 4),
        "object_linear_velocity": (2, objects, 3), "object_angular_velocity": (2, objects, 3),
        "contents_position": (2, balls, 3), "object_opening": (2, objects, 4),
        "hand_object_contact": (2, arms, objects), "object_support_contact": (2, objects),
        "object_object_contact": (2,), "arm_arm_contact": (2,), "fault": (2,), "time": (2,),
    }  # fmt: skip
    for name, shape in shapes.items():
        value = getattr(world, name)
        assert value.shape == shape, name
        assert (value.dtype == bool) == (name.endswith("contact") or name == "fault"), name
    assert np.allclose(np.linalg.norm(world.object_quaternion, axis=-1), 1.0, atol=1e-4)
    before = world.arm_position.copy()
    env.step(aside(env))
    assert np.array_equal(world.arm_position, before), "what was handed out never changes"


# --- seeds and states


def test_the_same_seed_begins_alike(make, task):
    env = make(task)
    worlds = []
    for seed in (3, 3, 4):
        env.reset(seed=seed)
        worlds.append(env.world)
    for name in ("arm_position", "hand_position", "object_position", "contents_position"):
        first, same, other = (getattr(world, name) for world in worlds)
        assert np.allclose(first, same, atol=1e-5), name
        if name == "arm_position":
            assert not np.allclose(first, other, atol=1e-4)


def test_a_scenario_is_what_is_there(make, task):
    given = scenarios(task, 2)
    env = make(task)
    begin(env, given)
    for world, scenario in enumerate(given):
        poses = np.array(scenario.object_poses)
        assert np.allclose(env.world.object_position[world], poses[:, :3], atol=1e-4)
        same = np.abs((env.world.object_quaternion[world] * poses[:, 3:]).sum(axis=1))
        assert (same > 1 - 1e-4).all()
        openings = [get_object(name).opening for name in scenario.objects]
        assert np.allclose(env.world.object_opening[world], openings)


def test_a_state_is_put_back(make, task):
    env = make(task)
    env.reset(seed=1)
    env.action_space.seed(1)
    for _ in range(4):
        env.step(env.action_space.sample())
    state, world = env.get_state(), env.world
    for _ in range(4):
        env.step(env.action_space.sample())
    env.set_state(state)
    exact = env.backend.capabilities.exact_restore
    close = 0.0 if exact else 1e-3
    for name in ("arm_position", "hand_position", "object_position", "contents_position"):
        assert np.allclose(getattr(env.world, name), getattr(world, name), rtol=0, atol=close), name
    assert np.array_equal(env.world.time, world.time)


def test_a_partial_reset_leaves_the_others_alone(make, task):
    given = scenarios(task, 3)
    env = make(task)
    begin(env, given[:2])
    for _ in range(3):
        env.step(aside(env))
    before = env.world
    mask = np.array([False, True])
    env.reset(options={"reset_mask": mask, "scenarios": given[2:]})
    exact = env.backend.capabilities.exact_restore
    close = 0.0 if exact else 1e-4
    for name in ("arm_position", "object_position", "object_linear_velocity"):
        kept, now = getattr(before, name)[0], getattr(env.world, name)[0]
        assert np.allclose(now, kept, rtol=0, atol=close), name
    pose = np.array(given[2].object_poses[0])
    assert np.allclose(env.world.object_position[1, 0], pose[:3], atol=1e-4)
    assert np.allclose(env.world.time, [0.15, 0.0])


# --- physics


def test_a_raised_object_falls(make, task):
    given = [moved(scenario, (0.0, 0.0, 0.5)) for scenario in scenarios(task, 2)]
    env = make(task, obs_mode="state")
    begin(env, given)
    height = env.world.object_position[:, 0, 2].copy()
    assert not env.world.object_support_contact[:, 0].any()
    for step in range(1, 5):
        env.step(aside(env))
        fallen, after = height - env.world.object_position[:, 0, 2], 0.05 * step
        assert np.allclose(fallen, 0.5 * GRAVITY * after**2, rtol=0, atol=0.012 + 0.1 * after**2)
        speed = env.world.object_linear_velocity[:, 0, 2]
        assert np.allclose(speed, -GRAVITY * after, rtol=0.05, atol=0.1)


def test_objects_rest_where_they_are_put(make, task):
    given = scenarios(task, 2, seed=2)
    env = make(task)
    begin(env, given)
    before = env.world
    for _ in range(10):
        env.step(aside(env))
    gap = np.linalg.norm(env.world.object_position - before.object_position, axis=-1)
    assert gap.max() < 0.01, [scenario.objects for scenario in given]
    assert env.world.object_support_contact.all() and not env.world.hand_object_contact.any()
    assert not env.world.object_object_contact.any() and not env.world.fault.any()


def test_holding_keeps_the_pose(make, task):
    env = make(task, control_mode="joint")
    env.reset(seed=0)
    start = env.world
    driven = list(env.backend.robot.hand.driven)
    action = joint_action(env, start.arm_position, start.hand_position[..., driven])
    for _ in range(10):
        env.step(action)
    assert np.abs(env.world.arm_position - start.arm_position).max() < 0.02
    assert np.abs(env.world.hand_position - start.hand_position).max() < 0.05
    moved_by = env.world.end_effector_position - start.end_effector_position
    assert np.linalg.norm(moved_by, axis=-1).max() < 0.01


def test_joints_reach_their_targets(make, task):
    env = make(task, control_mode="joint")
    env.reset(seed=0)
    arm = env.world.arm_position + np.array([0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1])
    robot = env.backend.robot
    arm = np.clip(arm, np.array(robot.arm.lower) + 0.02, np.array(robot.arm.upper) - 0.02)
    hand = np.full((2, robot.arms, 6), 0.3)
    for _ in range(30):
        env.step(joint_action(env, arm, hand))
    assert np.abs(env.world.arm_position - arm).max() < 0.03
    expected = robot.hand.full_positions(hand)
    assert np.abs(env.world.hand_position - expected).max() < 0.08, "passive joints follow"
    assert np.abs(env.world.arm_velocity).max() < 0.2


def test_palms_and_fingertips_are_where_the_joints_put_them(make, task):
    """Against the robot's own tree of links, at ten joint vectors."""
    env = make(task, control_mode="joint")
    env.reset(seed=0)
    robot, rng = env.backend.robot, np.random.default_rng(0)
    tree, home = robot_tree(robot), env.world.arm_position
    low, high = np.array(robot.arm.lower) + 0.02, np.array(robot.arm.upper) - 0.02
    for _ in range(5):  # two worlds each
        arm = np.clip(home + rng.uniform(-0.15, 0.15, home.shape), low, high)
        for _ in range(4):
            env.step(joint_action(env, arm, np.full((2, robot.arms, 6), 0.1)))
        for world in range(2):
            for index, mount in enumerate(robot.mounts):
                names = [f"{mount.side}_joint{i + 1}" for i in range(7)]
                angles = dict(zip(names, env.world.arm_position[world, index], strict=True))
                place, turn = tree.link_poses(angles)[f"{mount.side}_palm"]
                found = env.world.end_effector_position[world, index]
                assert np.linalg.norm(found - place) < 0.002
                same = abs(env.world.end_effector_quaternion[world, index] @ turn)
                assert same > 1 - 1e-4
                tips = env.world.fingertip_position[world, index]
                ahead = tf.quat_rotate(tf.quat_conjugate(turn), tips - place)
                assert (ahead[1:, 0] > 0.08).all(), "fingers point along the palm's x axis"
                assert (np.linalg.norm(ahead, axis=1) < 0.2).all()


def test_one_arms_action_moves_that_arm(make, task):
    if entry(task).make().needs.robot.arms == 1:
        pytest.skip("the task has one arm")
    env = make(task)
    env.reset(seed=0)
    start, action = env.world, hold_action(env).reshape(2, 2, 12)
    action[:, 0, 2] += 0.4  # the right palm up by 10 cm
    for _ in range(12):
        env.step(action.reshape(2, 24))
    rise = (env.world.end_effector_position - start.end_effector_position)[..., 2]
    assert (rise[:, 0] > 0.06).all() and (np.abs(rise[:, 1]) < 0.015).all()


# --- contact and success


def test_contact_is_seen_where_it_is(make):
    """A ball laid on the back of the hand, and one far from it on the table."""
    given = [scenario_of("baseball", scenario) for scenario in scenarios("Grasp", 2)]
    env = make("Grasp")
    begin(env, given)
    palm, turn = env.world.end_effector_position[0, 0], env.world.end_effector_quaternion[0, 0]
    normal = tf.quat_rotate(turn, np.array([0.0, 0.0, 1.0]))
    assert normal[2] < -0.8, "the palm looks down"
    radius, back = 0.037, palm - 0.024 * normal  # the hand is 24 mm thick
    above = back - (radius + 0.002) * normal - np.array(given[0].object_poses[0][:3])
    begin(env, [moved(given[0], above), given[1]])
    hand, support = [], []
    for _ in range(3):
        env.step(hold_action(env))
        hand.append(env.world.hand_object_contact[:, 0, 0])
        support.append(env.world.object_support_contact[:, 0])
    assert np.any(hand, axis=0).tolist() == [True, False]
    assert np.all(support, axis=0).tolist() == [False, True]
    assert not np.any(support, axis=0)[0]


def scenario_of(object_id, like):
    from dexfw_envs.catalog.splits import make_scenario

    return make_scenario("Grasp", object_id, like.surroundings, 0, like.seed)


def test_success_is_judged_on_what_is_there(make, task):
    """The object raised by the worlds themselves, while the episode remembers it on the table."""
    given = scenarios(task, 2)
    env = make(task)
    begin(env, given)
    env.step(aside(env))
    low = env.task.success(env.world, env.memory)
    raised = [moved(scenario, (0.0, 0.0, 0.3)) for scenario in given]
    env.backend.reset(EVERY, raised)
    world = env.backend.world()
    high = env.task.success(world, env.memory)
    assert set(low) == set(high) == set(env.task.success_terms)
    both = [np.logical_and.reduce(list(terms.values())) for terms in (low, high)]
    assert not both[0].any() and not both[1].any(), "no hand holds it"
    for name in ("raised", "lifted"):
        if name in high:
            assert high[name].all() and not low[name].any()
    if "free" in high:
        assert high["free"].all() and not low["free"].any()
    env.backend.reset(EVERY, [moved(scenario, (0.6, 0.0, 0.0)) for scenario in given])
    lost = env.task.lost(env.backend.world(), env.memory)
    assert lost["dropped"].all()


def test_the_expert_reaches_success(make, task):
    """A script that knows the scene: whether the task can be done here at all."""
    env = make(task)
    given = scenarios(task, 2, seed=3)
    episodes = [*run_episodes(env, make_expert(env), given, trajectories=False)]
    ends = [(episode.failure or "success", episode.length) for episode in episodes]
    print(f"{task}: {', '.join(f'{end} after {length} steps' for end, length in ends)}")
    assert any(end == "success" for end, _ in ends)


# --- pictures


def test_a_cube_is_seen_where_it_is(make, backend_name):
    if backend_name == "mujoco":
        need_drawing()
    size, name = 96, "front"
    position, target, fovy = CAMERAS[1][name]
    base = scenario_of("cube", scenarios("Grasp", 1)[0])
    there = [base, moved(base, (0.0, 0.14, 0.0))]
    env = make("Grasp", render_mode="rgb_array", image_size=size, camera=name)
    pictures, pixels = [], []
    for scenario in there:
        begin(env, [scenario, scenario])
        picture = env.backend.render(0, name, size, size)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
        pictures.append(picture.astype(float))
        pixels.append(seen_at(np.array(scenario.object_poses[0][:3]), position, target, fovy, size))
    change = np.abs(pictures[0] - pictures[1]).max(axis=2)
    rows, columns = np.array(pixels).round().astype(int).T
    for row, column in zip(rows, columns, strict=True):
        assert change[row - 1 : row + 2, column - 1 : column + 2].mean() > 10
    assert np.median(change) < 5, "the rest of the picture stays as it was"


def seen_at(point, position, target, fovy, size):
    """Row and column at which a pinhole camera sees a point."""
    from dexfw_envs.backends.omnigibson.description.frames import look_at

    turn = look_at(np.array(position), np.array(target))
    x, y, z = tf.quat_rotate(tf.quat_conjugate(turn), point - np.array(position))
    focal = size / 2 / np.tan(np.deg2rad(fovy) / 2)
    return size / 2 + focal * y / z, size / 2 - focal * x / z


# --- long runs


def test_a_thousand_steps_leave_nothing_behind(make):
    env = make("Grasp", 1)
    begin(env, scenarios("Grasp", 1))
    action = aside(env)
    for _ in range(100):
        env.step(action)
    before = resident()
    for _ in range(1000):
        env.step(action)
    grown = resident() - before
    print(f"{grown / 2**20:.1f} MiB more")
    assert grown < 64 * 2**20
    assert not env.world.fault.any()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
