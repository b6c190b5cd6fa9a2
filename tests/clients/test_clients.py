"""Outside libraries take the environments as they are, without a wrapper of ours."""

import gymnasium as gym
import numpy as np
import pytest

import dexfw_envs  # noqa: F401 (registers the tasks)
from dexfw_envs.registry import TASKS

IDS = [item.env_id for item in TASKS]
STEPS = 6
FLAT = {"obs_mode": "state/flat"}


# --- Stable-Baselines3


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("obs_mode", ["state", "state+touch/flat"])
def test_stable_baselines3_checks_the_env(env_id, obs_mode, recwarn):
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="no SB3 here")
    env = gym.make(env_id, obs_mode=obs_mode)
    checker.check_env(env, skip_render_check=True)
    env.close()
    assert not [str(warning.message) for warning in recwarn if "dexfw" in str(warning.message)]


def test_stable_baselines3_counts_successes(tmp_path):
    pytest.importorskip("stable_baselines3", reason="no SB3 here")
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    options = {**FLAT, "max_episode_steps": STEPS}
    envs = make_vec_env(IDS[0], 2, seed=0, env_kwargs=options, monitor_dir=str(tmp_path))
    model = PPO("MlpPolicy", envs, n_steps=2 * STEPS, batch_size=4 * STEPS, seed=0)
    model.learn(total_timesteps=8 * STEPS)
    assert list(model.ep_success_buffer) == [False] * 8
    assert {episode["l"] for episode in model.ep_info_buffer} == {STEPS}


def test_stable_baselines3_learns_from_dictionaries():
    pytest.importorskip("stable_baselines3", reason="no SB3 here")
    from stable_baselines3 import SAC

    env = gym.make(IDS[0], obs_mode="state+touch")
    model = SAC("MultiInputPolicy", env, learning_starts=4, batch_size=4, buffer_size=64, seed=0)
    model.learn(total_timesteps=12)
    env.close()


# --- TorchRL


@pytest.mark.parametrize("env_id", IDS)
def test_torchrl_takes_an_id(env_id):
    pytest.importorskip("torchrl", reason="no TorchRL here")
    from torchrl.envs import GymEnv, check_env_specs

    env = GymEnv(env_id)
    check_env_specs(env, seed=0)
    assert env.rollout(STEPS).batch_size == (STEPS,)
    env.close()


def test_torchrl_steps_the_native_vector_env():
    """Ended worlds are reset by mask, and what comes next is the next episode's observation."""
    pytest.importorskip("torchrl", reason="no TorchRL here")
    from torchrl.envs import GymWrapper, check_env_specs

    options = {**FLAT, "max_episode_steps": 3, "autoreset_mode": "disabled"}
    env = GymWrapper(gym.make_vec(IDS[0], num_envs=2, **options))
    check_env_specs(env)
    seen = env.rollout(STEPS, break_when_any_done=False)
    ends = np.arange(STEPS) % 3 == 2
    np.testing.assert_array_equal(seen["next", "done"][0, :, 0], ends)
    shown, following = seen["observation"][:, 1:], seen["next", "observation"][:, :-1]
    same = (shown == following).all(-1)
    np.testing.assert_array_equal(same[0], ~ends[:-1])
    env.close()


# --- skrl


@pytest.mark.parametrize("obs_mode", ["state", "state/flat"])
def test_skrl_wraps_the_native_vector_env(obs_mode):
    pytest.importorskip("skrl", reason="no skrl here")
    import torch
    from skrl.envs.wrappers.torch import wrap_env

    env = wrap_env(gym.make_vec(IDS[0], num_envs=3, obs_mode=obs_mode, max_episode_steps=2))
    observation, _ = env.reset()
    assert (env.num_envs, tuple(observation.shape)) == (3, (3, 82))
    for step in range(STEPS):
        observation, reward, _, truncated, _ = env.step(torch.zeros(3, 12))
        assert (tuple(observation.shape), tuple(reward.shape)) == ((3, 82), (3, 1))
        assert truncated.all() == bool(step % 2)
    env.close()


# --- Tianshou


def test_tianshou_collects_episodes():
    pytest.importorskip("tianshou", reason="no Tianshou here")
    from tianshou.algorithm.algorithm_base import Policy
    from tianshou.data import Batch, Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv

    class Still(Policy):
        def forward(self, batch, state=None, **_):
            return Batch(act=np.zeros((len(batch.obs), *self.action_space.shape)))

    options = {**FLAT, "max_episode_steps": STEPS}
    envs = DummyVectorEnv([lambda: gym.make(IDS[0], **options) for _ in range(2)])
    policy = Still(action_space=envs.get_env_attr("action_space")[0])
    collector = Collector(policy, envs, VectorReplayBuffer(64, 2))
    collector.reset(reset_buffer=True, gym_reset_kwargs={"seed": 0})
    found = collector.collect(n_episode=4)
    assert (found.n_collected_episodes, set(found.lens)) == (4, {STEPS})
    envs.close()
