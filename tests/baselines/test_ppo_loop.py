"""A PPO loop in CleanRL's shape, written against plain Gymnasium calls, runs on the suite.

It is a test of the interface: storage by step and world, bootstrapping of truncated episodes from
`final_obs`, episode statistics from Gymnasium's wrapper. It is not meant to learn much. Groups are
joined by hand: Gymnasium's vector observation wrappers do not take SAME_STEP autoreset.
"""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from scenes import make

import dexfw_envs  # noqa: F401 (registers the ids)

torch = pytest.importorskip("torch")
from torch import nn

ENVS, STEPS, UPDATES, EPOCHS, GAMMA, LAMBDA = 4, 16, 2, 2, 0.97, 0.95


def flat(observation):
    return np.concatenate([observation["proprio"], observation["object"]], axis=1)


def make_envs():
    env = gym.make_vec("DexFW/Grasp-v0", num_envs=ENVS, threads=1, max_episode_steps=10)
    return RecordEpisodeStatistics(env)


class Agent(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 1))
        self.actor = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs))
        self.logstd = nn.Parameter(torch.full((outputs,), -1.0))

    def value(self, x):
        return self.critic(x).squeeze(-1)

    def act(self, x, action=None):
        normal = torch.distributions.Normal(self.actor(x), self.logstd.exp())
        action = normal.sample() if action is None else action
        return action, normal.log_prob(action).sum(-1), normal.entropy().sum(-1)


def collect(env, agent, observation, finished):
    """One rollout: lists of observations, actions, log-probabilities, rewards, ends, values."""
    rows = []
    for _ in range(STEPS):
        x = torch.as_tensor(flat(observation))
        with torch.no_grad():
            action, logp, _ = agent.act(x)
            value = agent.value(x)
        observation, reward, terminated, truncated, info = env.step(action.numpy())
        reward = torch.as_tensor(reward, dtype=torch.float32)
        if truncated.any():  # the episode would have gone on: its value is part of the return
            final = torch.as_tensor(flat(info["final_obs"]))
            with torch.no_grad():
                reward += GAMMA * agent.value(final) * torch.as_tensor(truncated)
            finished += info["episode"]["l"][info["_episode"]].tolist()
        done = torch.as_tensor(terminated | truncated).float()
        rows.append((x, action, logp, reward, done, value))
    return observation, [torch.stack(column) for column in zip(*rows, strict=True)]


def advantages(rewards, dones, values, last):
    out, running = torch.zeros_like(rewards), torch.zeros(ENVS)
    following = torch.cat([values[1:], last[None]])
    for t in reversed(range(STEPS)):
        going_on = 1 - dones[t]
        delta = rewards[t] + GAMMA * following[t] * going_on - values[t]
        running = delta + GAMMA * LAMBDA * going_on * running
        out[t] = running
    return out


def update(agent, optimizer, batch, gain, target):
    x, action, old = (column.flatten(0, 1) for column in batch[:3])
    gain, target = gain.flatten(), target.flatten()
    gain = (gain - gain.mean()) / (gain.std() + 1e-8)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).chunk(2):
            _, logp, entropy = agent.act(x[rows], action[rows])
            ratio = (logp - old[rows]).exp()
            clipped = ratio.clamp(0.8, 1.2)
            policy = -torch.minimum(ratio * gain[rows], clipped * gain[rows]).mean()
            error = (agent.value(x[rows]) - target[rows]).square().mean()
            loss = policy + 0.5 * error - 0.01 * entropy.mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
    return float(loss.detach())


def test_ppo_runs():
    torch.manual_seed(0)
    env, finished, losses = make_envs(), [], []
    size = sum(space.shape[0] for space in env.single_observation_space.values())
    agent = Agent(size, env.single_action_space.shape[0])
    before = [parameter.clone() for parameter in agent.parameters()]
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    observation, _ = env.reset(seed=1)
    for _ in range(UPDATES):
        observation, batch = collect(env, agent, observation, finished)
        with torch.no_grad():
            gain = advantages(*batch[3:], agent.value(torch.as_tensor(flat(observation))))
        losses.append(update(agent, optimizer, batch, gain, gain + batch[5]))
    env.close()
    assert finished == [10] * (ENVS * (STEPS * UPDATES // 10))
    assert np.isfinite(losses).all()
    changed = [not torch.equal(a, b) for a, b in zip(before, agent.parameters(), strict=True)]
    assert all(changed)


def test_the_value_to_bootstrap_from_is_of_the_ended_episode():
    """`final_obs` is what the world would have shown had the episode gone on."""
    env, twin = make(2, max_episode_steps=3), make(2, max_episode_steps=300)
    env.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(3):
        observation, *_, info = env.step(np.zeros((2, 12)))
        going_on, *_ = twin.step(np.zeros((2, 12)))
    assert np.array_equal(flat(info["final_obs"]), flat(going_on))
    assert not np.array_equal(flat(observation), flat(going_on))
