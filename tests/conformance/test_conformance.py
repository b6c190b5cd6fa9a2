"""What any backend must do: `pytest tests/conformance --backend NAME`.

Nothing here knows a backend: scenes are scenarios, commands are actions, and what is checked is
what tasks see. Tolerances are those that a task needs, not those of one simulator. A test is left
out where the backend cannot do what it is marked to need; see `base.Capabilities`.
"""

import os

import numpy as np
import pytest
from conformance_tools import (
    aside,
    begin,
    every,
    hold_action,
    joint_action,
    moved,
    scenario_of,
    scenarios,
)

from dexfw_envs import transforms as tf
from dexfw_envs.backends.layout import CAMERAS
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.experts import make_expert
from dexfw_envs.registry import entry
from dexfw_envs.robots.tree import robot_tree

GRAVITY = 9.81
POSES = 10  # at which palms and fingertips are looked at


# --- physics


@pytest.mark.needs("simulated", "true_objects")
def test_a_raised_object_falls(make, task):
    env = make(task, obs_mode="state")
    given = [moved(scenario, (0.0, 0.0, 0.5)) for scenario in scenarios(task, env.num_envs)]
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
    env = make(task)
    given = scenarios(task, env.num_envs, seed=2)
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
    hand = np.full((env.num_envs, robot.arms, 6), 0.3)
    for _ in range(30):
        env.step(joint_action(env, arm, hand))
    assert np.abs(env.world.arm_position - arm).max() < 0.03
    expected = robot.hand.full_positions(hand)
    assert np.abs(env.world.hand_position - expected).max() < 0.08, "passive joints follow"
    assert np.abs(env.world.arm_velocity).max() < 0.2


def test_palms_and_fingertips_are_where_the_joints_put_them(make, task):
    """Against the robot's own tree of links, at `POSES` joint vectors."""
    env = make(task, control_mode="joint")
    env.reset(seed=0)
    robot, rng = env.backend.robot, np.random.default_rng(0)
    tree, home = robot_tree(robot), env.world.arm_position
    low, high = np.array(robot.arm.lower) + 0.02, np.array(robot.arm.upper) - 0.02
    for _ in range(POSES // env.num_envs):
        arm = np.clip(home + rng.uniform(-0.15, 0.15, home.shape), low, high)
        for _ in range(4):
            env.step(joint_action(env, arm, np.full((env.num_envs, robot.arms, 6), 0.1)))
        for world in range(env.num_envs):
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
    start, action = env.world, hold_action(env).reshape(env.num_envs, 2, 12)
    action[:, 0, 2] += 0.4  # the right palm up by 10 cm
    for _ in range(12):
        env.step(action.reshape(env.num_envs, 24))
    rise = (env.world.end_effector_position - start.end_effector_position)[..., 2]
    assert (rise[:, 0] > 0.06).all() and (np.abs(rise[:, 1]) < 0.015).all()


# --- contact and success


@pytest.mark.needs("simulated", "true_objects")
@pytest.mark.parametrize("on_the_hand", [True, False], ids=["on the hand", "far away"])
def test_contact_is_seen_where_it_is(make, on_the_hand):
    """A ball laid on the back of the hand, or far from it on the table."""
    env = make("Grasp")
    given = [scenario_of("baseball", scenario) for scenario in scenarios("Grasp", env.num_envs)]
    begin(env, given)
    if on_the_hand:
        begin(env, [moved(scenario, gap) for scenario, gap in zip(given, gaps(env), strict=True)])
    hand, support = [], []
    for _ in range(3):
        env.step(hold_action(env))
        hand.append(env.world.hand_object_contact[:, 0, 0])
        support.append(env.world.object_support_contact[:, 0])
    if on_the_hand:
        assert np.any(hand, axis=0).all() and not np.any(support)
    else:
        assert not np.any(hand) and np.all(support)


def gaps(env):
    """From the ball of every world to its place on the back of the hand [m], (N, 3)."""
    palm, turn = env.world.end_effector_position[:, 0], env.world.end_effector_quaternion[:, 0]
    normal = tf.quat_rotate(turn, np.array([0.0, 0.0, 1.0]))
    assert (normal[:, 2] < -0.8).all(), "the palms look down"
    radius, thickness = 0.037, 0.024  # of the ball, of the hand [m]
    place = palm - (thickness + radius + 0.002) * normal
    return place - env.world.object_position[:, 0]


@pytest.mark.needs("simulated", "true_objects")
def test_success_is_judged_on_what_is_there(make, task):
    """The object raised by the worlds themselves, while the episode remembers it on the table."""
    env = make(task)
    given = scenarios(task, env.num_envs)
    begin(env, given)
    env.step(aside(env))
    low = env.task.success(env.world, env.memory)
    raised = [moved(scenario, (0.0, 0.0, 0.3)) for scenario in given]
    env.backend.reset(every(env), raised)
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
    env.backend.reset(every(env), [moved(scenario, (0.6, 0.0, 0.0)) for scenario in given])
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


@pytest.mark.needs("simulated", "true_objects")
def test_a_cube_is_seen_where_it_is(make, drawing):
    size, name = 96, "front"
    position, target, fovy = CAMERAS[1][name]
    base = scenario_of("cube", scenarios("Grasp", 1)[0])
    there = [base, moved(base, (0.0, 0.14, 0.0))]
    env = make("Grasp", render_mode="rgb_array", image_size=size, camera=name)
    pictures, pixels = [], []
    for scenario in there:
        begin(env, [scenario] * env.num_envs)
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
    """Row and column at which a pinhole camera, upright, sees a point."""
    ahead = np.array(target) - position
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)

    there = point - np.array(position)
    focal = size / 2 / np.tan(np.deg2rad(fovy) / 2)
    scale = focal / (there @ ahead)
    return size / 2 - scale * (there @ up), size / 2 + scale * (there @ right)


# --- long runs


@pytest.mark.needs("simulated")
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
