"""The API part: what a backend must do before any physics: `-m api`.

pytest tests/conformance --backend NAME -m api
"""

import numpy as np
import pytest
from conformance_tools import aside, begin, every, scenarios

from dexfw_envs.backends import backend_entry, backend_options, make_backend
from dexfw_envs.backends.base import Capabilities
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.registry import entry

pytestmark = pytest.mark.api

STEPS = 3


# --- what it states of itself


def test_a_backend_is_what_its_entry_states(make, task, backend_name):
    stated = backend_entry(backend_name)
    env = make(task)
    assert isinstance(stated.capabilities, Capabilities)
    assert env.backend.capabilities == stated.capabilities
    assert env.backend.num_worlds == env.num_envs
    assert env.backend.robot.arms == env.task.needs.robot.arms
    assert set(stated.perturbations) <= set(backend_options(backend_name))


def test_an_unknown_option_is_refused(backend_name):
    with pytest.raises(TypeError, match="'gravitation'"):
        make_backend(backend_name, entry("Grasp").make().needs, 1, gravitation=0.0)


# --- interface


def test_interface(make, task, simulated):
    env = make(task)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    env.action_space.seed(0)
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        for value in (reward, terminated, truncated, info["success"]):
            assert value.shape == (env.num_envs,)
        assert np.isfinite(reward).all()
    if simulated:
        assert np.allclose(env.world.time, STEPS * CONTROL_PERIOD)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.full(env.action_space.shape, np.nan))


def test_world_state_has_its_shapes(make, task):
    env = make(task)
    env.reset(seed=0)
    needs, world, n = env.task.needs, env.world, env.num_envs
    arms, objects, balls = needs.robot.arms, needs.objects, needs.contents
    shapes = {
        "arm_position": (n, arms, 7), "arm_velocity": (n, arms, 7),
        "hand_position": (n, arms, 12), "hand_velocity": (n, arms, 12),
        "end_effector_position": (n, arms, 3), "end_effector_quaternion": (n, arms, 4),
        "fingertip_position": (n, arms, 5, 3), "fingertip_force": (n, arms, 5),
        "object_position": (n, objects, 3), "object_quaternion": (n, objects, 4),
        "object_linear_velocity": (n, objects, 3), "object_angular_velocity": (n, objects, 3),
        "contents_position": (n, balls, 3), "object_opening": (n, objects, 4),
        "hand_object_contact": (n, arms, objects), "object_support_contact": (n, objects),
        "object_object_contact": (n,), "arm_arm_contact": (n,), "fault": (n,), "time": (n,),
    }  # fmt: skip
    for name, shape in shapes.items():
        value = getattr(world, name)
        assert value.shape == shape, name
        assert (value.dtype == bool) == (name.endswith("contact") or name == "fault"), name
    for quaternion in (world.object_quaternion, world.end_effector_quaternion):
        assert np.allclose(np.linalg.norm(quaternion, axis=-1), 1.0, atol=1e-4)


def test_what_was_handed_out_never_changes(make, task):
    env = make(task)
    env.reset(seed=0)
    world, before = env.world, env.world.arm_position.copy()
    env.step(aside(env))
    assert np.array_equal(world.arm_position, before)


def test_a_picture_has_its_size(make, drawing):
    env = make("Grasp", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.backend.render(0, env.camera, 48, 64)
    assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8


def test_episodes_run(make, task):
    class Aside:
        def reset(self, mask):
            pass

        def act(self, observation):
            return aside(env)

    env = make(task, max_episode_steps=STEPS)
    count = env.num_envs + 1  # a world gets a second one by a masked reset, others rest
    found = list(run_episodes(env, Aside(), scenarios(task, count)))
    assert sorted(episode.index for episode in found) == list(range(count))
    for episode in found:
        assert 1 <= episode.length <= STEPS and np.isfinite(episode.rewards).all()
        assert bool(episode.states.size) == env.backend.capabilities.exact_restore


# --- seeds and states


@pytest.mark.needs("simulated")
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


@pytest.mark.needs("true_objects")
def test_a_scenario_is_what_is_there(make, task):
    env = make(task)
    given = scenarios(task, env.num_envs)
    begin(env, given)
    for world, scenario in enumerate(given):
        poses = np.array(scenario.object_poses)
        assert np.allclose(env.world.object_position[world], poses[:, :3], atol=1e-4)
        same = np.abs((env.world.object_quaternion[world] * poses[:, 3:]).sum(axis=1))
        assert (same > 1 - 1e-4).all()
        openings = [get_object(name).opening for name in scenario.objects]
        assert np.allclose(env.world.object_opening[world], openings)


@pytest.mark.needs("simulated")
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


@pytest.mark.needs("exact_restore")
def test_a_state_goes_on_bit_for_bit(make, task):
    env = make(task)
    env.reset(seed=1)
    state = env.get_state()
    ends = []
    for _ in range(2):
        env.set_state(state)
        env.action_space.seed(2)
        for _ in range(STEPS):
            env.step(env.action_space.sample())
        ends.append(env.state_vectors())
    assert np.array_equal(*ends)


@pytest.mark.needs("parallel_worlds")
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
    assert np.allclose(env.world.time, [3 * CONTROL_PERIOD, 0.0])


def test_a_rest_is_over_with_the_next_reset(make):
    env = make("Grasp")
    begin(env, scenarios("Grasp", env.num_envs))
    env.backend.rest(every(env))
    begin(env, scenarios("Grasp", env.num_envs, seed=1))
    start = env.world.end_effector_position[..., 2]
    action = aside(env)
    for _ in range(8):
        env.step(action)
    assert (env.world.end_effector_position[..., 2] - start > 0.02).all(), "the palms rise"


def test_closing_twice_does_no_harm(make):
    env = make("Grasp")
    env.close()
    env.close()
