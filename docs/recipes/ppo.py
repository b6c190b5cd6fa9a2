"""PPO in CleanRL's manner: one file, plain Gymnasium calls, the episode's return as it ends.

    python docs/recipes/ppo.py --env-id DexFW/Grasp-v0 --total-timesteps 2000000

A recipe, not a result: it shows the calls. From the dense reward alone PPO learns these tasks
slowly; the methods in `baselines/` start from demonstrations.
"""

import time
from dataclasses import dataclass

import gymnasium as gym
import torch
import tyro
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import dexfw_envs  # noqa: F401 (registers the tasks)


@dataclass
class Args:
    env_id: str = "DexFW/Grasp-v0"
    """task to learn"""
    seed: int = 1
    """of networks, actions and scenes"""
    total_timesteps: int = 2_000_000
    """steps of all worlds together"""
    num_envs: int = 64
    """worlds stepped side by side"""
    num_steps: int = 64
    """steps of each world between two updates"""
    learning_rate: float = 3e-4
    """of Adam"""
    gamma: float = 0.99
    """discount of a step"""
    gae_lambda: float = 0.95
    """decay of the advantage estimate"""
    update_epochs: int = 5
    """passes over the steps of an update"""
    num_minibatches: int = 8
    """parts of a pass"""
    clip_coef: float = 0.2
    """greatest change of an action's probability in an update"""
    ent_coef: float = 0.0
    """weight of the entropy"""
    vf_coef: float = 0.5
    """weight of the value's error"""
    max_grad_norm: float = 0.5
    """greatest norm of a gradient"""


def layer(inputs, outputs, gain=2**0.5):
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.critic = nn.Sequential(
            layer(inputs, 256), nn.Tanh(), layer(256, 256), nn.Tanh(), layer(256, 1, 1.0)
        )
        self.actor_mean = nn.Sequential(
            layer(inputs, 256), nn.Tanh(), layer(256, 256), nn.Tanh(), layer(256, outputs, 0.01)
        )
        self.actor_logstd = nn.Parameter(torch.full((1, outputs), -0.5))

    def get_value(self, x):
        return self.critic(x).squeeze(-1)

    def get_action_and_value(self, x, action=None):
        probs = torch.distributions.Normal(self.actor_mean(x), self.actor_logstd.exp())
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action).sum(1), probs.entropy().sum(1), self.get_value(x)


if __name__ == "__main__":
    args = tyro.cli(Args)
    batch_size = args.num_envs * args.num_steps
    minibatch_size = batch_size // args.num_minibatches
    run_name = f"{args.env_id.replace('/', '-')}__ppo__{args.seed}__{int(time.time())}"
    writer = SummaryWriter(f"runs/{run_name}")
    torch.manual_seed(args.seed)

    # One flat observation of all groups; the worlds are stepped natively, in threads.
    envs = gym.make_vec(args.env_id, num_envs=args.num_envs, obs_mode="state/flat")
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    obs_shape = envs.single_observation_space.shape
    action_shape = envs.single_action_space.shape

    agent = Agent(obs_shape[0], action_shape[0])
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    obs = torch.zeros((args.num_steps, args.num_envs, *obs_shape))
    actions = torch.zeros((args.num_steps, args.num_envs, *action_shape))
    logprobs = torch.zeros((args.num_steps, args.num_envs))
    rewards = torch.zeros((args.num_steps, args.num_envs))
    dones = torch.zeros((args.num_steps, args.num_envs))
    values = torch.zeros((args.num_steps, args.num_envs))

    global_step = 0
    start_time = time.time()
    next_obs, _ = envs.reset(seed=args.seed)
    next_obs = torch.as_tensor(next_obs)

    for _ in range(args.total_timesteps // batch_size):
        for step in range(args.num_steps):
            global_step += args.num_envs
            obs[step] = next_obs
            with torch.no_grad():
                action, logprobs[step], _, values[step] = agent.get_action_and_value(next_obs)
            actions[step] = action

            next_obs, reward, terminated, truncated, infos = envs.step(action.numpy())
            next_obs = torch.as_tensor(next_obs)
            rewards[step] = torch.as_tensor(reward)
            dones[step] = torch.as_tensor(terminated | truncated)

            # The env has begun the next episode already: what an ended one showed last is in
            # "final_obs", and a truncated one would have gone on from there.
            if truncated.any():
                with torch.no_grad():
                    last = agent.get_value(torch.as_tensor(infos["final_obs"]))
                rewards[step] += args.gamma * last * torch.as_tensor(truncated)

            if "episode" in infos:
                ended = infos["_episode"]
                episodic_return = infos["episode"]["r"][ended].mean()
                success = infos["final_info"]["is_success"][ended].mean()
                print(f"global_step={global_step}, episodic_return={episodic_return:.1f}")
                writer.add_scalar("charts/episodic_return", episodic_return, global_step)
                writer.add_scalar("charts/success", success, global_step)

        with torch.no_grad():
            next_value = agent.get_value(next_obs)
        advantages = torch.zeros_like(rewards)
        lastgaelam = torch.zeros(args.num_envs)
        for t in reversed(range(args.num_steps)):
            going_on = 1.0 - dones[t]
            following = next_value if t == args.num_steps - 1 else values[t + 1]
            delta = rewards[t] + args.gamma * following * going_on - values[t]
            lastgaelam = delta + args.gamma * args.gae_lambda * going_on * lastgaelam
            advantages[t] = lastgaelam
        returns = advantages + values

        b_obs = obs.flatten(0, 1)
        b_actions = actions.flatten(0, 1)
        b_logprobs = logprobs.flatten()
        b_advantages = advantages.flatten()
        b_returns = returns.flatten()

        for _ in range(args.update_epochs):
            for mb_inds in torch.randperm(batch_size).split(minibatch_size):
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(
                    b_obs[mb_inds], b_actions[mb_inds]
                )
                ratio = (newlogprob - b_logprobs[mb_inds]).exp()
                advantage = b_advantages[mb_inds]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)

                clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                pg_loss = -torch.minimum(advantage * ratio, advantage * clipped).mean()
                v_loss = 0.5 * ((newvalue - b_returns[mb_inds]) ** 2).mean()
                loss = pg_loss - args.ent_coef * entropy.mean() + args.vf_coef * v_loss

                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        sps = global_step / (time.time() - start_time)
        writer.add_scalar("charts/SPS", sps, global_step)
        writer.add_scalar("losses/value_loss", v_loss.item(), global_step)
        writer.add_scalar("losses/policy_loss", pg_loss.item(), global_step)

    envs.close()
    writer.close()
