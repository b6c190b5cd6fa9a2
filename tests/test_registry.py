"""What every registered task must keep, whatever it is about."""

import json
import shutil

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scenes import actions, equal, need_drawing, run_fresh

from dexfw_envs.backends.mjcf.scene import CAMERAS
from dexfw_envs.catalog.curricula import curriculum
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.deployment.stages import stages_of
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.experts import make_expert
from dexfw_envs.registry import TASKS, entry, register_all

pytestmark = pytest.mark.filterwarnings("error")
HEAVY = ("torch", "OpenGL", "mujoco.egl", "mujoco.osmesa", "h5py",
         "pandas", "matplotlib", "av", "diffusers")  # fmt: skip
EACH_TASK = pytest.mark.parametrize("item", TASKS, ids=lambda item: item.name)


def make_vec(item, num_envs, **options):
    return gym.make_vec(
        item.env_id, num_envs=num_envs, **{"threads": 1, "info_mode": "full", **options}
    )


# --- registration


@EACH_TASK
@pytest.mark.parametrize("way", ["import", "prefix"])
def test_made_in_a_fresh_process(item, way):
    prefix = "dexfw_envs:" if way == "prefix" else ""
    code = f"""
import gymnasium as gym
{"import dexfw_envs" if way == "import" else ""}
env = gym.make("{prefix}{item.env_id}")
observation, info = env.reset(seed=0)
print(env.spec.id, sorted(observation))
"""
    assert run_fresh(code).strip() == f"{item.env_id} ['object', 'proprio']"


@EACH_TASK
def test_import_make_and_first_reset_are_light(item):
    """What makes them quick: nothing heavy is imported, nothing is compiled twice.

    The processor time itself is measured by `make bench`.
    """
    code = f"""
import json, sys
import mujoco

compiled = []
compile_spec = mujoco.MjSpec.compile

def counted(spec):
    compiled.append(len(spec.bodies))
    return compile_spec(spec)

mujoco.MjSpec.compile = counted
import dexfw_envs, gymnasium
gymnasium.make("{item.env_id}").reset(seed=0)
heavy = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps([len(compiled), heavy]))
"""
    compiled, heavy = json.loads(run_fresh(code))
    assert heavy == []
    assert compiled == 1 + item.make().needs.objects, "the scene once, each object once"


@EACH_TASK
def test_ids_names_and_duplicates(item):
    for name in (item.name, item.env_id, f"dexfw_envs:{item.env_id}"):
        assert entry(name) is item
    assert gym.spec(item.env_id).max_episode_steps == item.make().max_episode_steps
    with pytest.raises(RuntimeError, match="registered already"):
        register_all()


@EACH_TASK
def test_the_task_is_documented(item):
    text = item.make().__doc__
    for section in ("Task:", "Randomised:", "Success:", "Episode end:", "History:"):
        assert section in text
    assert f"v{item.version}:" in text


# --- Gymnasium's interface


@EACH_TASK
@pytest.mark.parametrize("obs_mode", ["state", "state+touch"])
def test_gymnasium_checker_has_nothing_to_say(item, obs_mode):
    env = gym.make(item.env_id, obs_mode=obs_mode)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@EACH_TASK
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no Xvfb to draw a window on")
def test_gymnasium_checker_draws_in_every_render_mode(item):
    need_drawing()
    code = f"""
import gymnasium as gym
from gymnasium.utils.env_checker import check_env
import dexfw_envs
env = gym.make("{item.env_id}", render_mode="human")
env.reset(seed=0)
print([env.step(env.action_space.sample())[4]["elapsed"] for _ in range(3)])
assert env.unwrapped.batch.backend._window is not None
env.close()
check_env(gym.make("{item.env_id}", render_mode="rgb_array", image_size=32).unwrapped)
"""
    assert run_fresh(code, before=("xvfb-run", "-a")).strip() == "[1, 2, 3]"


@EACH_TASK
def test_make_vec_gives_the_native_class(item):
    env = make_vec(item, 3)
    assert type(env) is DexVectorEnv
    assert env.num_envs == 3 and env.spec.id == item.env_id
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.SAME_STEP
    assert env.max_episode_steps == item.make().max_episode_steps
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    assert reward.dtype == float and terminated.dtype == truncated.dtype == bool
    assert info["scenario"].shape == (3,)


# --- determinism


@EACH_TASK
def test_twins_stay_equal(item):
    first, second = (make_vec(item, 2, obs_mode="state+touch") for _ in range(2))
    assert equal(first.reset(seed=3), second.reset(seed=3))
    for action in actions(50, 2, size=first.single_action_space.shape[0]):
        assert equal(first.step(action), second.step(action))
    assert equal(first.state_vectors(), second.state_vectors())
    assert equal(first.reset(), second.reset())  # the generators too
    other = make_vec(item, 2).reset(seed=4)[1]["scenario"]
    assert (other != first.reset(seed=3)[1]["scenario"]).all()


@EACH_TASK
def test_restored_runs_go_on_equally(item):
    env, other = make_vec(item, 2), make_vec(item, 2)
    env.reset(seed=5)
    commands = actions(60, 2, seed=5, size=env.single_action_space.shape[0])
    for action in commands[:10]:
        env.step(action)
    state = env.get_state()
    json.dumps({k: v for k, v in state.items() if k != "vectors"})  # plain data
    expected = [env.step(action) for action in commands[10:]]
    other.set_state(state)
    assert equal([other.step(action) for action in commands[10:]], expected)
    assert equal(env.reset(), other.reset())


@EACH_TASK
def test_the_demonstration_has_every_stage_and_goes_on_from_each(item):
    """Started where each later stage is first reached, side by side, the rest of it succeeds."""
    seed = load_seed(item.name)
    assert (seed.env_id, seed.source, seed.success) == (item.env_id, "scripted", True)
    later = list(range(1, len(item.make().stages)))
    env = make_vec(item, len(later), autoreset_mode="disabled")
    found = stages_of(env, seed)
    assert found[0] == 0 and set(found) == {0, *later}
    first = np.array([np.argmax(found == stage) for stage in later])
    seen = env.set_state_vectors(seed.states[first], [seed.scenario] * len(later))
    assert env.task.stage(env.world, env.memory).tolist() == later
    for name, values in seen.items():
        assert np.allclose(values, seed.observations[name][first], atol=1e-5), name
    won, step = np.zeros(len(later), bool), 0
    while not won.all() and step < seed.length:
        at = np.minimum(first + step, seed.length - 1)
        won |= env.step(seed.actions[at])[4]["success"]
        step += 1
    assert won.all(), env.task.stages


# --- observations, resets, rewards


@EACH_TASK
def test_no_element_of_the_observation_is_constant(item):
    env = make_vec(item, 12, obs_mode="state+touch", autoreset_mode="disabled")
    observation, _ = env.reset(seed=0)
    expert, rng = make_expert(env), np.random.default_rng(0)
    expert.reset(np.ones(12, bool))
    seen = [observation]
    for _ in range(env.max_episode_steps // 2):
        action = expert.act(observation) + rng.normal(0, 0.05, (12, env.codec.size))
        observation, *_ = env.step(action)
        assert env.observation_space.contains(observation)
        seen.append(observation)
    for name in observation:
        values = np.concatenate([o[name] for o in seen])
        spread = np.ptp(values, axis=0)
        assert (spread > 1e-4).all(), f"{name}: {np.flatnonzero(spread <= 1e-4)}"


@EACH_TASK
def test_resets_vary_within_the_declared_ranges(item):
    env = make_vec(item, 32)
    table, mounts = curriculum(item.name), env.task.needs.robot.mounts
    seen, starts = [], []
    for _ in range(4):
        env.reset(seed=None if seen else 0)
        seen += list(env.scenarios)
        starts.append(env.world.arm_position)
    for scenario in seen:
        x, y, _ = table.cells[scenario.pose]
        away = np.array(scenario.object_poses[0][:2]) - (x, y)
        assert (np.abs(away) <= np.array(table.jitter[:2]) + 1e-12).all()
    assert {scenario.pose for scenario in seen} == set(range(len(table.cells)))
    for axis in ("objects", "surroundings", "seed", "object_poses"):
        assert len({getattr(scenario, axis) for scenario in seen}) > 8, axis
    noise = np.concatenate(starts) - np.array([mount.home for mount in mounts])
    assert np.abs(noise).max() <= 0.02
    assert (noise.std(axis=0) > 0.008).all()  # 0.0115 if uniform


@EACH_TASK
def test_reward_terms_sum_to_the_reward(item):
    env = make_vec(item, 4, autoreset_mode="disabled")
    _, info = env.reset(seed=0)
    assert tuple(info["reward_terms"]) == env.task.reward_terms
    assert tuple(info["success_terms"]) == env.task.success_terms
    for action in actions(40, 4, size=env.codec.size):
        _, reward, _, _, info = env.step(action)
        assert np.array_equal(reward, np.sum(list(info["reward_terms"].values()), axis=0))
        assert tuple(info["success_terms"]) == env.task.success_terms
        assert all(flag.dtype == bool for flag in info["success_terms"].values())


@EACH_TASK
def test_zero_and_random_actions_never_succeed(item):
    env = make_vec(item, 8, reward_mode="sparse")
    env.reset(seed=0)
    commands = actions(env.max_episode_steps, 8, size=env.codec.size)
    commands[:, :2] = 0.0
    ended = 0
    for action in commands:
        _, reward, terminated, truncated, info = env.step(action)
        assert not reward.any()
        assert not info["success"].any()
        ended += (terminated | truncated).sum()
    assert ended >= 8


@EACH_TASK
def test_every_task_has_its_own_view(item):
    env = make_vec(item, 1)
    assert env.camera == item.camera and item.camera in CAMERAS[env.task.needs.robot.arms]
    assert make_vec(item, 1, camera="side").camera == "side"


@pytest.mark.parametrize(
    ("item", "camera"),
    [(item, camera) for item in TASKS for camera in CAMERAS[item.make().needs.robot.arms]],
    ids=lambda value: getattr(value, "name", value),
)
def test_frames_are_not_blank(item, camera):
    need_drawing()
    env = make_vec(item, 2, render_mode="rgb_array", image_size=96, camera=camera)
    env.reset(seed=0)
    frames = env.render()
    env.close()
    assert isinstance(frames, tuple) and len(frames) == 2
    frames = np.stack(frames)
    assert frames.shape == (2, 96, 96, 3) and frames.dtype == np.uint8
    assert (frames.std(axis=(1, 2)) > 5).any(axis=1).all()
    assert not np.array_equal(frames[0], frames[1])
