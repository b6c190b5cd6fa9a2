"""DexFlyWheel (arXiv 2509.23829, sections 3, 4 and A): a data flywheel from one demonstration.

Differs: PPO on success beside the paper's SAC; small denoiser for CPUs; rollouts kept beside A_EP.
Command: python baselines/dexflywheel.py --preset laptop --seed 1 --eval-splits T_OEP T_O
Expected: to be measured (pi_combined on T_OEP after i = 3; the paper: 90.0 +- 3.2 %).
Time: to be measured on 2 CPU cores (the paper: 30 h on data-centre GPUs).
"""

from __future__ import annotations

import copy
import io
import json
import math
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from dexfw_envs.demos.seeds import load_seed
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel
from torch.distributions import Normal

from dexfw_envs.catalog.curricula import iterations, objects_for
from dexfw_envs.catalog.splits import configurations, training_sampler
from dexfw_envs.cli import from_dict, parse
from dexfw_envs.demos.augment import augment
from dexfw_envs.demos.collection import gather, motion_ratios
from dexfw_envs.demos.source import Source
from dexfw_envs.demos.store import EpisodeStore
from dexfw_envs.evaluation import evaluate, summary
from dexfw_envs.progress import Progress, pack, unpack
from dexfw_envs.registry import entry
from dexfw_envs.report import measure, plot_success, print_success
from dexfw_envs.rollout import run_episodes
from dexfw_envs.runs import RunFolder, atomic_write_json
from dexfw_envs.transforms import matrix_from_quat

METHOD_VERSION = 1
CONTROL_MODE = "ee_pose"
TIMESTEP = 0.0025  # of the physics [s]


# --- 1. settings ---
@dataclass(frozen=True)
class Args:
    preset: Literal["quick", "laptop", "paper"] = "laptop"  # where all other options start from
    task: str = "Grasp"  # the task
    seed: int = 1  # same seed, same bits on the CPU
    iterations: int = 3  # turns of the wheel; beyond the third the objects stay those of the third
    residual: bool = True  # train a residual policy (off: an ablation of the paper)
    residual_algo: Literal["ppo", "sac"] = "ppo"  # PPO on success, or the paper's SAC, dense reward
    aep: bool = True  # A_EP on the collected rollouts (off: an ablation; D_1 has it always)
    data: Literal["fresh", "cumulative"] = "fresh"  # base_i learns from D_i, or from D_1 .. D_i
    base_init: Literal["scratch", "finetune"] = "scratch"  # base_i starts anew or from base_{i-1}
    obs: Literal["state", "image"] = "state"  # image: the base policy also sees the camera
    image_size: int = 96  # side of the camera image [px]
    base_object: bool = True  # the base policy sees the object's state
    touch: bool = False  # the residual also feels the fingertip forces
    backend: str = "mujoco"  # the world
    device: str = "cpu"  # torch device of the learners
    threads: int = 2  # threads of torch and of the simulator
    total_timesteps: int = 200_000  # environment steps of residual RL per iteration
    trajectories: tuple[int, ...] = (20, 100, 500)  # size of D_i; the last goes for later turns
    aep_share: float = 0.5  # part of D_i, i > 1, made by A_EP; the rest are rollouts
    aep_smoothing: float = 2.0  # low-pass on rollouts before A_EP, standard deviation [steps]
    # tests and output
    eval_splits: tuple[str, ...] = ("T_VAL",)  # "T_O" means T_O(1) at i = 1, and T_O(i+1)
    eval_episodes: int = 200  # episodes per split
    test_every: int = 65_536  # environment steps between tests of the full residual during RL
    test_episodes: int = 88  # episodes of such a test
    runs: str = "runs"  # folder of all runs
    records: str = ""  # folder for per-episode records (results/records); none if empty
    variant: str = ""  # name of an ablation, for the records
    save_seconds: float = 60.0  # wall time between saves of a stage under way [s]
    track: bool = False  # log to Weights & Biases
    capture_video: bool = False  # film every evaluation (the end of a run is always filmed)
    # base policy (appendix A.1)
    denoiser: Literal["mlp", "transformer"] = "mlp"  # network
    width: int = 512  # its width
    layers: int = 3  # its residual blocks or transformer layers
    encoder: Literal["cnn", "vit"] = "cnn"  # image encoder
    encoder_weights: str = ""  # safetensors file with weights of that encoder; random if empty
    chunk: int = 16  # H, actions predicted at once
    execute: int = 8  # actions executed open loop; the others are faded into the next chunk
    prediction: Literal["epsilon", "sample"] = "sample"  # what the denoiser predicts
    sampling_steps: int = 10  # DDIM steps when acting
    sampling_noise: Literal["zero", "episode", "fresh"] = "zero"  # start of the denoising
    base_steps: int = 6_000  # gradient steps
    base_batch: int = 256  # batch size
    base_lr: float = 5e-4  # learning rate, falling as a cosine
    obs_noise: float = 0.0  # noise on the normalised state in training
    bf16: bool = False  # train under bfloat16 autocast
    # residual policy (appendix A.2)
    alpha: float = 0.2  # largest residual, in units of the action in [-1, 1]
    smoothing: float = 0.5  # k of the filter r_t = (1 - k) r_{t-1} + k alpha u_t; 1: no filter
    residual_cost: float = 0.0  # reward lost per step for the mean square of u
    rate_cost: float = 0.0  # reward lost per step for the mean square change of r / alpha
    ramp_start: int = 0  # step up to which the residual is never added
    ramp: int = 20_000  # step from which it is always added; its probability rises in between
    rl_envs: int = 64  # parallel worlds
    reward: Literal["auto", "sparse", "dense"] = "auto"  # auto: sparse for PPO, dense for SAC
    dense_scale: float = 20.0  # dense reward that counts as the best one
    gamma: float = 0.99  # discount of PPO
    n_steps: int = 64  # steps per world between PPO updates
    epochs: int = 8  # passes over them
    minibatch: int = 2048  # minibatch of PPO
    lr: float = 3e-4  # learning rate of the PPO actor, falling linearly
    critic_lr: float = 1e-3  # learning rate of the PPO critic, likewise
    gae_lambda: float = 0.95  # generalised advantage estimation
    clip: float = 0.2  # clip range of the probability ratio
    log_std: float = -1.0  # initial log standard deviation of u
    target_kl: float = 0.05  # an update stops beyond this divergence
    sac_gamma: float = 0.97  # discount of SAC
    sac_lr: float = 3e-4  # learning rate of SAC
    sac_batch: int = 256  # batch size of SAC
    tau: float = 0.01  # rate of the target critics
    utd: float = 1 / 16  # gradient steps per environment step
    learning_starts: int = 4_000  # steps with uniform random residuals before SAC learns
    replay: int = 300_000  # transitions kept
    # other ways to start the script
    resume: str = ""  # folder of a killed run to go on with
    evaluate: str = ""  # checkpoint to evaluate instead of training
    split: str = "T_OEP"  # with --evaluate: the test set
    episodes: int = 200  # with --evaluate: how many episodes
    policy: Literal["base", "combined"] = "combined"  # with --evaluate: which policy
    json: bool = False  # with --evaluate: print one line of JSON
    timestep_scale: float = 1.0  # physics step relative to the usual one
    friction_scale: float = 1.0  # friction of hand and objects likewise

    @property
    def dense(self) -> bool:
        return self.reward == "dense" or (self.reward == "auto" and self.residual_algo == "sac")


PRESETS: dict[str, dict] = {
    "laptop": {},  # three turns on two CPU cores
    "quick": dict(  # the shortest run that shows the wheel turning: `make demo`
        preset="quick", iterations=2, trajectories=(20, 100), base_steps=2_500, ramp=10_000,
        total_timesteps=100_000, eval_episodes=120, test_episodes=44, bf16=True,
    ),
    "paper": dict(  # sizes and budgets of the paper's appendix A; for GPUs
        preset="paper", device="cuda", obs="image", image_size=224, encoder="vit", width=768,
        denoiser="transformer", layers=7, chunk=8, prediction="epsilon", sampling_steps=16,
        sampling_noise="fresh", base_steps=200_000, base_lr=3e-4, residual_algo="sac", alpha=0.1,
        smoothing=1.0, total_timesteps=1_500_000, rl_envs=16, ramp_start=1_500, ramp=10_000,
        learning_starts=300, sac_lr=1e-4, sac_batch=1024, utd=0.2, test_every=250_000,
    ),
}  # fmt: skip
TASKS: dict[str, dict] = {"Grasp": {}}  # where a task's settings differ


# --- 2. networks ---
# Columns of proprio in use: joints and velocities of the arm, those of the hand, palm position. The
# hand's columns among the 19 joints are repeats; the palm's orientation is given as two axes.
PROPRIO = [*range(0, 7), *range(19, 26), *range(38, 65)]
ROBOT_SIZE, OBJECT_SIZE = len(PROPRIO) + 6, 13 + 6


def features(obs: dict[str, np.ndarray], object_state: bool = True) -> torch.Tensor:
    """State of the robot, of the object, and of the object as seen from the palm, (N, D)."""
    proprio, thing = obs["proprio"], obs["object"]
    palm = matrix_from_quat(proprio[:, 65:69])
    columns = [proprio[:, PROPRIO], palm[:, :, 0], palm[:, :, 1]]
    if object_state:
        offset = thing[:, :3] - proprio[:, 62:65]
        columns += [thing, offset, (palm * offset[:, :, None]).sum(1)]  # the last in palm frame
    return torch.as_tensor(np.concatenate(columns, axis=1), dtype=torch.float32)


def mlp(sizes: list[int], activation: type[nn.Module], norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), *[nn.LayerNorm(after)] * norm, activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def level_embedding(k: torch.Tensor, width: int) -> torch.Tensor:
    exponent = -math.log(1e4) / (width // 2) * torch.arange(width // 2, device=k.device)
    return torch.cat([f(k[:, None] * exponent.exp()) for f in (torch.sin, torch.cos)], dim=1)


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), mlp([width] * 3, nn.SiLU))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class MlpDenoiser(nn.Module):
    """Denoises a flattened chunk (B, H, action) given the noise level k and a condition."""

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        self.inlet = nn.Linear(horizon * action + condition + 64, args.width)
        self.blocks = nn.Sequential(*(Block(args.width) for _ in range(args.layers)))
        self.outlet = nn.Sequential(
            nn.LayerNorm(args.width), nn.Linear(args.width, horizon * action)
        )

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        x = torch.cat([chunk.flatten(1), condition, level_embedding(k, 64)], dim=1)
        return self.outlet(self.blocks(self.inlet(x))).view_as(chunk)


class TransformerDenoiser(nn.Module):
    """One token for k, one for the condition, one per action; the last ones give the result."""

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        self.condition = nn.Linear(condition, args.width)
        self.action = nn.Linear(action, args.width)
        self.position = nn.Parameter(0.02 * torch.randn(horizon + 2, args.width))
        self.body = transformer(args.width, args.layers, heads=8, dropout=0.1)
        self.outlet = nn.Sequential(nn.LayerNorm(args.width), nn.Linear(args.width, action))

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        context = [level_embedding(k, self.position.shape[1]), self.condition(condition)]
        tokens = torch.cat([torch.stack(context, dim=1), self.action(chunk)], dim=1)
        return self.outlet(self.body(tokens + self.position)[:, 2:])


class ImageEncoder(nn.Module):
    """Features of images (B, h, w, 3) uint8: "cnn", or "vit", a ViT-S on a convolutional stem.

    "vit" has the sizes of `vit_small_r26_s32_224` (stride 32, 12 layers of 384, 6 heads) but a
    plainer stem than that model's ResNet-26, so weights have to come from this class.
    """

    def __init__(self, kind: str, side: int):
        super().__init__()
        widths = {"cnn": (3, 16, 32, 64, 32), "vit": (3, 32, 64, 128, 256, 384)}[kind]
        self.stem = nn.Sequential()
        for before, after in pairwise(widths):
            self.stem.extend([nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()])
            side = (side + 1) // 2
        self.position = nn.Parameter(0.02 * torch.randn(side * side, widths[-1]))
        self.vit = transformer(384, layers=12, heads=6, dropout=0.0) if kind == "vit" else None
        self.outlet = nn.LayerNorm(384) if self.vit else nn.Linear(side * side * widths[-1], 384)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image.permute(0, 3, 1, 2).float() / 127.5 - 1.0).flatten(2).transpose(1, 2)
        return self.outlet(self.vit(x + self.position).mean(1) if self.vit else x.flatten(1))


# --- 3. base policy: imitation by diffusion ---
class BasePolicy(nn.Module):
    """pi_base: a chunk of H actions from one observation. Its normaliser is part of it."""

    def __init__(self, action: int, args: Args):
        super().__init__()
        self.args, self.shape = args, (args.chunk, action)
        state = ROBOT_SIZE + OBJECT_SIZE * args.base_object
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.obs == "image" else None
        denoiser = {"mlp": MlpDenoiser, "transformer": TransformerDenoiser}[args.denoiser]
        self.denoiser = denoiser(state + 384 * (args.obs == "image"), *self.shape, args)
        self.scheduler = DDIMScheduler(
            50, beta_schedule="squaredcos_cap_v2", prediction_type=args.prediction
        )
        self.scheduler.set_timesteps(args.sampling_steps)
        for name, size in (("mean", state), ("std", state), ("centre", action), ("reach", action)):
            self.register_buffer(name, torch.ones(size))

    def fit_normaliser(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Standardise states, bring actions to [-1, 1]; a nearly constant column is not blown up."""
        low, high = action.amin(0), action.amax(0)
        self.mean.copy_(state.mean(0))
        self.std.copy_(state.std(0).clamp(min=0.02))
        self.centre.copy_((low + high) / 2)
        self.reach.copy_(((high - low) / 2).clamp(min=0.02))

    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        state = ((state - self.mean) / self.std).clamp(-5.0, 5.0)
        if self.training and self.args.obs_noise:
            state = state + self.args.obs_noise * torch.randn_like(state)
        return torch.cat([state, self.encoder(image)], dim=1) if self.encoder else state

    def loss(self, state: torch.Tensor, chunk: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        chunk = (chunk - self.centre) / self.reach
        k = torch.randint(0, 50, (len(chunk),)).to(chunk.device)
        noise = torch.randn(chunk.shape).to(chunk.device)
        noisy = self.scheduler.add_noise(chunk, noise, k)
        predicted = self.denoiser(noisy, k, self.condition(state, image)).float()
        return F.mse_loss(predicted, noise if self.args.prediction == "epsilon" else chunk)

    @torch.no_grad()
    def sample(self, obs: dict[str, np.ndarray], chunk: torch.Tensor) -> torch.Tensor:
        """Actions (N, H, action) by DDIM from noise of that shape; nothing else is random."""
        device = self.mean.device
        image = torch.as_tensor(obs["image"]).to(device) if self.encoder else torch.empty(0)
        condition = self.condition(features(obs, self.args.base_object).to(device), image)
        chunk = chunk.to(device)
        for k in self.scheduler.timesteps:
            predicted = self.denoiser(chunk, k.to(device).expand(len(chunk)), condition)
            chunk = self.scheduler.step(predicted, k, chunk).prev_sample
        return (chunk * self.reach + self.centre).cpu()


def make_dataset(episodes: Iterable, args: Args) -> list[torch.Tensor]:
    """State (M, D), the chunk of actions from there on (M, H, action), image (M, ...) or empty.

    Past the end of an episode its last action is repeated.
    """
    states, chunks, images = [], [], []
    for episode in episodes:
        steps = len(episode.actions)
        obs = {name: value[:steps] for name, value in episode.observations.items()}
        ahead = (torch.arange(steps)[:, None] + torch.arange(args.chunk)).clamp(max=steps - 1)
        states.append(features(obs, args.base_object))
        chunks.append(torch.as_tensor(episode.actions, dtype=torch.float32)[ahead])
        images.append(torch.as_tensor(obs.get("image", np.empty((steps, 0)))))
    if not states:
        raise ValueError("no successful demonstration to learn from")
    return [torch.cat(states), torch.cat(chunks), torch.cat(images)]


def make_base(action: int, args: Args, weights: dict | None = None) -> BasePolicy:
    base = BasePolicy(action, args).to(args.device)
    if weights:
        base.load_state_dict(weights)
    elif base.encoder and args.encoder_weights:
        from safetensors.torch import load_model

        load_model(base.encoder, args.encoder_weights)  # strict: names what does not fit
    return base


def train_base(run: Run, i: int) -> None:
    """Behaviour cloning of D_i, from scratch or from base_{i-1}."""
    args, data = run.args, run.data(i)
    finetune = i > 1 and args.base_init == "finetune"
    base = make_base(
        data[1].shape[2], args, run.policy(i - 1)[0].state_dict() if finetune else None
    )
    base.fit_normaliser(data[0], data[1].flatten(0, 1))
    parameters = list(base.parameters())
    optimizer = torch.optim.AdamW(parameters, args.base_lr, weight_decay=1e-6, fused=True)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    if saved := run.restore():
        base.load_state_dict(saved["base"])
        optimizer.load_state_dict(saved["optimizer"])
        ema.load_state_dict(saved["ema"])
    for step in run.bar(f"base {i}", saved.get("step", 0), args.base_steps):
        index = torch.randint(0, len(data[0]), (args.base_batch,))
        with torch.autocast(base.mean.device.type, torch.bfloat16, enabled=args.bf16):
            loss = base.loss(*(x[index].to(args.device) for x in data))
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / args.base_steps)
        optimizer.param_groups[0]["lr"] = args.base_lr * cosine * min(1.0, (step + 1) / 100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.step(parameters)
        if (step + 1) % 100 == 0:
            run.log((i - 1) * args.base_steps + step + 1, {"losses/base": loss.item()})
        state = {"base": base.state_dict, "optimizer": optimizer.state_dict, "ema": ema.state_dict}
        run.save(step=step + 1, generator=torch.get_rng_state, **state)
    ema.copy_to(parameters)
    run.store_policy(i, base, None)


# --- 4. combined policy: queues of chunks, plus the filtered residual ---
class ChunkPolicy(nn.Module):
    """pi_combined, or pi_base if there is no residual; every world of `env` has its own queue.

    With `aligned` all worlds replan in the same step, in one batch: one that is reset in between
    gets a short first chunk. Without, worlds have no influence on one another.
    """

    def __init__(self, base, residual, args: Args, env, aligned: bool = False):
        super().__init__()
        self.networks, self.args, self.env, self.aligned = (base, residual), args, env, aligned
        shape, worlds = (env.num_envs, *base.shape), env.num_envs
        self.register_buffer("queue", torch.zeros(shape))  # actions to come, the last one repeated
        self.register_buffer("noise", torch.zeros(shape))
        self.register_buffer("r", torch.zeros(worlds, base.shape[1]))  # filtered residual
        self.register_buffer(
            "left", torch.zeros(worlds, dtype=torch.long)
        )  # steps to the next plan
        self.register_buffer("fresh", torch.ones(worlds, dtype=torch.bool))  # no plan yet
        self.register_buffer("clock", torch.zeros((), dtype=torch.long))
        overlap = args.chunk - args.execute  # weight of the new chunk over the rest of the old one
        self.fade = (torch.arange(1, args.chunk + 1) / (overlap + 1)).clamp(max=1.0)[:, None]

    def reset(self, mask: np.ndarray) -> None:
        worlds = torch.as_tensor(mask)
        self.fresh |= worlds
        self.left[worlds], self.r[worlds] = 0, 0.0
        if self.args.sampling_noise == "episode":
            self.noise[worlds] = torch.randn(self.noise[worlds].shape)

    def base_action(self, obs: dict[str, np.ndarray]) -> torch.Tensor:
        """Take the next action from every queue, (N, action); worlds whose time is up plan anew."""
        due = self.left <= 0
        if due.any():
            if self.args.sampling_noise == "fresh":
                self.noise[due] = torch.randn(self.noise[due].shape)
            seen = {name: value[due.numpy()] for name, value in obs.items()}
            if self.args.obs == "image":  # drawn only when looked at
                seen["image"] = self.env.render(worlds=np.flatnonzero(due))
            new, old = self.networks[0].sample(seen, self.noise[due]), self.queue[due]
            fade = torch.where(self.fresh[due][:, None, None], 1.0, self.fade)
            self.queue[due] = old + fade * (new - old)
            self.left[due] = self.args.execute - self.clock * self.aligned
            self.fresh[due] = False
        action = self.queue[:, 0]
        self.queue = torch.cat([self.queue[:, 1:], self.queue[:, -1:]], dim=1)
        self.left -= 1
        self.clock = (self.clock + 1) % self.args.execute
        return action

    def residual_input(self, obs: dict[str, np.ndarray], base_action: torch.Tensor):
        """No image, no geometry; (N, D), ending in base action and filter state."""
        touch = [torch.as_tensor(obs["touch"])] if self.args.touch else []
        return torch.cat([features(obs), *touch, base_action, self.r / self.args.alpha], dim=1)

    def combine(self, base_action: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Action to execute, (N, action), for outputs u in [-1, 1] of the residual."""
        self.r = low_pass(self.r, u, self.args)
        return (base_action + self.r).clamp(-1.0, 1.0)

    @torch.no_grad()
    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        base_action = self.base_action(obs)
        if self.networks[1] is None:
            return base_action.clamp(-1.0, 1.0).numpy()
        x = self.residual_input(obs, base_action).to(self.args.device)
        return self.combine(base_action, self.networks[1].mean(x).cpu()).numpy()


def low_pass(r: torch.Tensor, u: torch.Tensor, args: Args) -> torch.Tensor:
    return (1.0 - args.smoothing) * r + args.smoothing * args.alpha * u


# --- 5. residual reinforcement learning: what PPO and SAC share ---
class RunningNorm(nn.Module):
    """Standardises by the mean and spread of all it was shown."""

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("sums", torch.zeros(3, size, dtype=torch.float64))  # of 1, x, x^2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    @torch.no_grad()
    def update(self, x: torch.Tensor) -> None:
        x = x.flatten(0, -2).double()
        self.sums += torch.stack([torch.ones_like(x), x, x.square()]).sum(1)
        self.mean.copy_(self.sums[1] / self.sums[0])
        variance = self.sums[2] / self.sums[0] - (self.sums[1] / self.sums[0]).square()
        self.std.copy_(variance.clamp(min=1e-4).sqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) / self.std).clamp(-5.0, 5.0)


class Agent(nn.Module):
    """A residual policy that learns; `memory` is what it needs besides weights to go on."""

    optimizers: list[torch.optim.Optimizer]

    def __init__(self, inputs: int):
        super().__init__()
        self.norm, self.memory = RunningNorm(inputs), {}

    def state(self) -> dict:
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"weights": self.state_dict(), "optimizers": optimizers, "memory": self.memory}

    def load_state(self, state: dict) -> None:
        self.load_state_dict(state["weights"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.memory = state["memory"]


class Worlds:
    """The parallel worlds of RL with their queues and filters, stepped together."""

    def __init__(self, env, policy: ChunkPolicy, args: Args, seed: int):
        self.env, self.policy, self.args = env, policy, args
        self.obs, _ = env.reset(seed=seed)
        self.ended: list[dict] = []  # object and success of the episodes since the last log
        policy.reset(np.ones(env.num_envs, dtype=bool))
        self._observe()

    def _observe(self) -> None:
        self.base = self.policy.base_action(self.obs)
        self.x = self.policy.residual_input(self.obs, self.base)

    def step(self, u: torch.Tensor) -> dict[str, torch.Tensor]:
        """Execute base + filtered alpha u and return the transition.

        `x_next` is the true successor. At the end of an episode that is the final observation, with
        the base action that the old queue would give next, not the start of the next episode.
        """
        x, r = self.x, self.policy.r
        action = self.policy.combine(self.base, u)
        self.obs, reward, terminated, truncated, info = self.env.step(action.numpy())
        change = (self.policy.r - r) / self.args.alpha
        cost = self.args.residual_cost * u.square() + self.args.rate_cost * change.square()
        over, final = terminated | truncated, None
        if over.any():
            final = self.policy.residual_input(info["final_obs"], self.policy.queue[:, 0])
            outcome = zip(
                info["final_info"]["scenario"], info["final_info"]["success"], strict=True
            )
            ended = [{"object": s.objects[0], "success": bool(won)} for s, won in outcome]
            self.ended += [ended[world] for world in np.flatnonzero(over)]
            self.policy.reset(over)
        if self.args.dense:
            reward = self._below_zero(reward, terminated, info)
        self._observe()
        done, dead = (torch.as_tensor(flag).float() for flag in (over, terminated))
        x_next = self.x if final is None else torch.where(done[:, None] > 0, final, self.x)
        reward = torch.as_tensor(reward, dtype=torch.float32) - cost.mean(1)
        return dict(x=x, u=u, reward=reward, x_next=x_next, done=done, terminated=dead)

    def _below_zero(self, reward: np.ndarray, terminated: np.ndarray, info: dict) -> np.ndarray:
        """Shift the dense reward to [-1, 0], so that success, which ends the episode, is best.

        An episode that ends by a lost object costs as much as the lowest reward for ever.
        """
        reward = np.clip(reward / self.args.dense_scale, 0.0, 1.0) - 1.0
        won = info["final_info"]["success"] if terminated.any() else terminated
        return np.where(terminated, np.where(won, 1.0, -1.0 / (1.0 - self.args.sac_gamma)), reward)

    def state(self) -> dict:
        kept = {"obs": pack(self.obs), "env": pack(self.env.get_state()), "ended": self.ended}
        return kept | {"x": self.x, "base": self.base, "policy": self.policy.state_dict()}

    def load_state(self, state: dict) -> None:
        self.env.set_state(unpack(state["env"]))
        self.policy.load_state_dict(state["policy"])
        self.obs, self.ended = unpack(state["obs"]), state["ended"]
        self.x, self.base = state["x"], state["base"]


def gate_probability(step: int, args: Args) -> float:
    """epsilon: how likely the residual is added, drawn anew per world and step."""
    return min(1.0, max(0.0, (step - args.ramp_start) / max(1, args.ramp - args.ramp_start)))


def success_rates(policy: str, records: list[dict]) -> dict[str, float]:
    """Success for the curves: of all episodes and of each object's."""
    if not records:
        return {}
    found, name = summary(records), f"charts/{policy}_success"
    return {name: found["success"]} | {
        f"{name}/{thing}": row["success"] for thing, row in found["per_object"].items()
    }


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], limit)
    optimizer.step()


def train_residual(run: Run, i: int) -> None:
    """RL of residual_i over the frozen base_i, on the objects of the next turn."""
    args, (base, _) = run.args, run.policy(i)
    env = make_env(args, reward="dense" if args.dense else "sparse", sampler_of=i + 1)
    worlds = Worlds(env, ChunkPolicy(base, None, args, env, aligned=True), args, run.seed)
    make, update = {"ppo": (PpoAgent, ppo_round), "sac": (SacAgent, sac_round)}[args.residual_algo]
    agent = make(worlds.x.shape[1], base.shape[1], args)
    if saved := run.restore():
        agent.load_state(saved["agent"])
        worlds.load_state(saved["worlds"])
    origin, size = (i - 1) * args.total_timesteps, agent.round_steps * args.rl_envs
    rounds, between = max(1, args.total_timesteps // size), max(1, args.test_every // size)
    for n in run.bar(f"residual {i}", saved.get("round", 0), rounds):
        if n % between == 0:
            test_residual(run, i, base, agent if n else None, origin + n * size)
        losses = update(worlds, agent, n * size, args)
        losses["charts/epsilon"] = gate_probability((n + 1) * size, args)
        run.log(origin + (n + 1) * size, losses | success_rates("scheduled", worlds.ended))
        worlds.ended = []
        state = {"agent": agent.state, "worlds": worlds.state, "generator": torch.get_rng_state}
        run.save(round=n + 1, **state)
    test_residual(run, i, base, agent, origin + rounds * size)
    env.close()
    run.store_policy(i, base, agent)


def test_residual(run: Run, i: int, base: BasePolicy, agent: Agent | None, step: int) -> None:
    """Test the full residual without noise. Before training it is the base, as is the schedule."""
    rng, sampler = np.random.default_rng(run.seed), scenes(run.args, i + 1)
    scenarios, env = [sampler(rng) for _ in range(run.args.test_episodes)], make_env(run.args)
    records = evaluate(ChunkPolicy(base, agent, run.args, env), env, scenarios=scenarios)
    env.close()
    for name in ("residual",) if agent else ("base", "scheduled", "residual"):
        run.log(step, success_rates(name, records))


# --- 6. residual PPO ---
class PpoAgent(Agent):
    """Gaussian residual whose spread does not depend on the state, and its critic."""

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__(inputs)
        self.round_steps = args.n_steps
        self.actor = mlp([inputs, 256, 256, action], nn.Tanh)
        self.critic = mlp([inputs, 256, 256, 1], nn.Tanh)
        self.log_std = nn.Parameter(torch.full((action,), args.log_std))
        for parameter in self.actor[-1].parameters():
            nn.init.zeros_(parameter)  # training starts from the base policy
        self.to(args.device)
        actor, critic = [*self.actor.parameters(), self.log_std], [*self.critic.parameters()]
        self.optimizers = [torch.optim.Adam([{"params": actor}, {"params": critic}], eps=1e-5)]

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.norm(x)).clamp(-1.0, 1.0)

    def distribution(self, x: torch.Tensor) -> Normal:
        return Normal(self.actor(self.norm(x)), self.log_std.exp())

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.critic(self.norm(x)).squeeze(-1)


def gae(reward, value, next_value, terminated, done, gamma: float, lam: float) -> torch.Tensor:
    """Generalised advantages, all (T, N); `next_value` is that of the true successor.

    A truncated episode is thus bootstrapped with its final observation, a terminated one with zero.
    """
    advantage, running = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        delta = reward[t] + gamma * next_value[t] * (1.0 - terminated[t]) - value[t]
        running = delta + gamma * lam * (1.0 - done[t]) * running
        advantage[t] = running
    return advantage


def ppo_round(worlds: Worlds, agent: PpoAgent, step: int, args: Args) -> dict[str, float]:
    """Step every world n_steps times, then update; returns the mean losses."""
    rows = []
    for now in range(step, step + args.n_steps * args.rl_envs, args.rl_envs):
        with torch.no_grad():
            sampled = agent.distribution(worlds.x.to(args.device)).sample().cpu()
        gate = (torch.rand(len(sampled), 1) < gate_probability(now, args)).float()
        row = worlds.step(sampled.clamp(-1.0, 1.0) * gate)
        rows.append(row | {"sampled": sampled, "gate": gate[:, 0]})
    b = {name: torch.stack([row[name] for row in rows]).to(args.device) for name in rows[0]}
    agent.norm.update(b["x"])  # before the old probabilities are taken: all ratios start at one
    with torch.no_grad():
        b["value"], b["next_value"] = agent.value(b["x"]), agent.value(b["x_next"])
        b["log_prob"] = agent.distribution(b["x"]).log_prob(b["sampled"]).sum(-1)
    columns = (b[name] for name in ("reward", "value", "next_value", "terminated", "done"))
    b["advantage"] = gae(*columns, args.gamma, args.gae_lambda)
    b["return"] = b["advantage"] + b["value"]
    groups = agent.optimizers[0].param_groups
    for group, lr in zip(groups, (args.lr, args.critic_lr), strict=True):
        group["lr"] = lr * max(0.05, 1.0 - step / args.total_timesteps)
    return ppo_update(agent, {name: value.flatten(0, 1) for name, value in b.items()}, args)


def ppo_update(agent: PpoAgent, batch: dict[str, torch.Tensor], args: Args) -> dict[str, float]:
    losses = []
    for _ in range(args.epochs):
        for index in torch.randperm(len(batch["x"])).split(args.minibatch):
            losses.append(ppo_step(agent, {k: v[index] for k, v in batch.items()}, args))
        if losses[-1]["losses/approx_kl"] > args.target_kl:
            break
    return means(losses)


def ppo_step(agent: PpoAgent, b: dict[str, torch.Tensor], args: Args) -> dict[str, float]:
    log_ratio = agent.distribution(b["x"]).log_prob(b["sampled"]).sum(-1) - b["log_prob"]
    ratio, executed = log_ratio.exp(), b["gate"].sum().clamp(min=1.0)
    advantage = (b["advantage"] - b["advantage"].mean()) / (b["advantage"].std() + 1e-8)
    gain = torch.min(ratio * advantage, ratio.clamp(1 - args.clip, 1 + args.clip) * advantage)
    policy_loss = -(gain * b["gate"]).sum() / executed  # the others were not executed
    value_loss = 0.5 * F.mse_loss(agent.value(b["x"]), b["return"])
    descend(agent.optimizers[0], policy_loss + value_loss, limit=0.5)
    kl = ((ratio - 1.0 - log_ratio) * b["gate"]).sum() / executed
    found = {"policy": policy_loss, "value": value_loss, "approx_kl": kl}
    found["spread"] = agent.log_std.exp().mean()
    return {f"losses/{name}": value.item() for name, value in found.items()}


# --- 7. residual SAC ---
class SacAgent(Agent):
    """Squashed Gaussian residual, twin critics of the combined action, and the replay."""

    round_steps = 16

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__(inputs)
        self.args, self.action = args, action
        self.actor = mlp([inputs, 256, 256, 256, 2 * action], nn.ReLU)
        self.actor[-1].weight.data.mul_(0.01)  # training starts near the base policy
        sizes = [inputs + action, 256, 256, 256, 1]
        self.critics = nn.ModuleList(mlp(sizes, nn.ReLU, norm=True) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_weight = nn.Parameter(torch.tensor(math.log(0.05)))  # of the entropy, tuned
        self.to(args.device)
        learned = (self.critics.parameters(), self.actor.parameters(), [self.log_weight])
        self.optimizers = [torch.optim.Adam(group, lr=args.sac_lr) for group in learned]
        self.memory = {"replay": {}, "seen": 0, "owed": 0.0}  # owed: gradient steps due

    def sample(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = self.actor(self.norm(x)).chunk(2, dim=-1)
        normal = Normal(mean, log_std.clamp(-5.0, 1.0).exp())
        raw = normal.mean + normal.stddev * torch.randn(mean.shape).to(mean.device)
        squash = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))  # log(1 - tanh(raw)^2)
        return raw.tanh(), (normal.log_prob(raw) - squash).sum(-1)

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.norm(x)).chunk(2, dim=-1)[0].tanh()

    def q(self, critics: nn.ModuleList, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Both critics' values, (2, B), of the action that u leads to, base + residual."""
        base, r = x[:, -2 * self.action : -self.action], x[:, -self.action :] * self.args.alpha
        action = (base + low_pass(r, u, self.args)).clamp(-1.0, 1.0)
        joint = torch.cat([self.norm(x), action], dim=1)
        return torch.stack([critic(joint).squeeze(-1) for critic in critics])

    def remember(self, row: dict[str, torch.Tensor]) -> None:
        replay, seen = self.memory["replay"], self.memory["seen"]
        for name, value in row.items():
            if name not in replay:
                replay[name] = torch.zeros(self.args.replay, *value.shape[1:])
            replay[name][torch.arange(seen, seen + len(value)) % self.args.replay] = value
        self.memory["seen"] += len(row["x"])

    def batch(self) -> dict[str, torch.Tensor]:
        filled = min(self.memory["seen"], self.args.replay)
        index = torch.randint(0, filled, (self.args.sac_batch,))
        return {k: v[index].to(self.args.device) for k, v in self.memory["replay"].items()}


def sac_round(worlds: Worlds, agent: SacAgent, step: int, args: Args) -> dict[str, float]:
    """A few steps of every world, each followed by the gradient steps that are due by then."""
    losses = []
    for now in range(step, step + agent.round_steps * args.rl_envs, args.rl_envs):
        u = 2.0 * torch.rand(args.rl_envs, agent.action) - 1.0
        if learning := now >= args.learning_starts:
            with torch.no_grad():
                u = agent.sample(worlds.x.to(args.device))[0].cpu()
        gate = (torch.rand(len(u), 1) < gate_probability(now, args)).float()
        agent.remember(row := worlds.step(u * gate))
        if not learning:  # frozen later, lest the critics' input drifts
            agent.norm.update(row["x"].to(args.device))
            continue
        agent.memory["owed"] += args.utd * args.rl_envs
        while agent.memory["owed"] >= 1.0:
            agent.memory["owed"] -= 1.0
            losses.append(sac_update(agent, agent.batch(), args))
    return means(losses)


def sac_update(agent: SacAgent, b: dict[str, torch.Tensor], args: Args) -> dict[str, float]:
    weight = agent.log_weight.exp().detach()
    with torch.no_grad():
        next_u, next_log_prob = agent.sample(b["x_next"])
        next_q = agent.q(agent.targets, b["x_next"], next_u).amin(0) - weight * next_log_prob
        target = b["reward"] + args.sac_gamma * (1.0 - b["terminated"]) * next_q
    critic_loss = F.mse_loss(agent.q(agent.critics, b["x"], b["u"]), target.expand(2, -1))
    descend(agent.optimizers[0], critic_loss, limit=10.0)
    u, log_prob = agent.sample(b["x"])
    actor_loss = (weight * log_prob - agent.q(agent.critics, b["x"], u).amin(0)).mean()
    descend(agent.optimizers[1], actor_loss, limit=10.0)
    surplus = agent.action - log_prob.detach().mean()  # entropy above its target, -dimension
    descend(agent.optimizers[2], agent.log_weight * surplus, limit=10.0)
    with torch.no_grad():
        for old, new in zip(agent.targets.parameters(), agent.critics.parameters(), strict=True):
            old.lerp_(new, args.tau)
    found = {"critic": critic_loss, "actor": actor_loss, "entropy_weight": weight}
    return {f"losses/{name}": value.item() for name, value in found.items()}


# --- 8. worlds, and the data of each turn ---
def scenes(args: Args, i: int) -> Callable:
    return training_sampler(args.task, min(i, iterations(args.task)))


def make_env(args: Args, reward: str = "sparse", sampler_of: int = 0, image: bool = False):
    """Make parallel worlds. With `sampler_of` they reset themselves to that iteration's scenes."""
    return gymnasium.make_vec(
        entry(args.task).env_id, num_envs=args.rl_envs, backend=args.backend, reward_mode=reward,
        obs_mode=("image" if image else "state") + "+touch" * args.touch, autoreset=sampler_of > 0,
        scenarios=scenes(args, max(1, sampler_of)), image_size=args.image_size,
        control_mode=CONTROL_MODE, render_mode="rgb_array", threads=args.threads,
        timestep=TIMESTEP * args.timestep_scale, friction_scale=args.friction_scale,
    ).unwrapped  # fmt: skip


def build_data(run: Run, i: int) -> None:
    """D_1 = A_EP(seed; C_1). D_i = rollouts of the last pi_combined, and A_EP of them to C_i."""
    args, rng, report, row = (
        run.args,
        np.random.default_rng(run.seed),
        {},
        min(i, iterations(run.args.task)),
    )
    env, seed, rollouts, edited = (
        make_env(args, image=args.obs == "image"),
        load_seed(args.task),
        [],
        [],
    )
    count = args.trajectories[:i][-1]

    def collect(name: str, wanted: int, produce: Callable) -> list:
        number = max(math.ceil(1.25 * wanted / 4), len(objects_for(args.task, row)))
        scenarios = configurations(args.task, row, number, rng)
        kept, report[name] = gather(scenarios, wanted, rng, produce)
        report[name] |= motion_ratios(kept, seed) if kept else {}
        return kept

    if i > 1:
        policy, wanted = run.pi(i - 1, env), count - round(count * args.aep_share * args.aep)
        rollouts = collect("rollouts", wanted, lambda s: run_episodes(env, policy, s, f"D_{i}"))
    if (args.aep or i == 1) and count > len(rollouts):
        smoothing = args.aep_smoothing if rollouts else 0.0
        sources = [
            Source.from_episode(e, env.codec, smoothing=smoothing) for e in rollouts or [seed]
        ]
        aep = dict(failures=True, progress=f"A_EP {i}")
        edited = collect(
            "edited", count - len(rollouts), lambda s: augment(env, sources, s, rng, **aep)
        )
    env.close()
    shutil.rmtree(run.path / f"D_{i}", ignore_errors=True)  # left half-full by a killed process
    store = EpisodeStore(run.path / f"D_{i}", entry(args.task).env_id, CONTROL_MODE)
    for n, episode in enumerate([*rollouts, *edited]):
        source = "policy" if n < len(rollouts) else "augmented"
        store.add(episode, source=source, seed=args.seed, config={"iteration": i}, index=n)
    atomic_write_json(run.path / f"data_{i}.json", report)


def evaluate_turn(run: Run, i: int) -> None:
    """Success and motion of base_i and pi_combined on the splits asked for."""
    args, env = run.args, make_env(run.args)
    splits = [split for split in args.eval_splits if split != "T_O"]
    if "T_O" in args.eval_splits:
        splits += ["T_O(1)"] * (i == 1) + [f"T_O({i + 1})"] * (i < iterations(args.task))
    labels = {"root": args.records, "method": "dexflywheel", "task": args.task}
    rows = measure(
        {"base": run.pi(i, env, base_only=True), "combined": run.pi(i, env)}, env, splits,
        load_seed(args.task), episodes=args.eval_episodes, seed=args.seed, iteration=i,
        records=labels | {"variant": args.variant} if args.records else None,
        films=run.path / "videos" if args.capture_video else None,
    )  # fmt: skip
    env.close()
    atomic_write_json(run.path / f"eval_{i}.json", rows)


# --- 9. runs, checkpoints, resuming ---
def dump(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load(data: bytes) -> dict:
    return torch.load(io.BytesIO(data), weights_only=True)


class Run(Progress):
    """One run, new or resumed."""

    def __init__(self, args: Args):
        self.args, self.seed = args, args.seed
        new = (args.runs, entry(args.task).env_id, "dexflywheel", args.seed, args)
        folder = RunFolder.open(args.resume) if args.resume else RunFolder.create(*new)
        super().__init__(folder, dump, load, args.save_seconds, args.track)

    def stage(self, name: str, work: Callable[[Run, int], None], i: int) -> None:
        """Do `work` unless it is done. Seeded by its name alone, whatever was skipped before."""
        if self.begin(f"{name}_{i}"):
            self.seed = zlib.crc32(f"{self.args.seed} {name} {i}".encode())
            torch.manual_seed(self.seed)
            work(self, i)
            self.finish()

    def restore(self) -> dict:
        """State of the stage under way, {} at its start; random numbers go on from there too."""
        if self.state:
            torch.set_rng_state(self.state["generator"])
        return self.state

    def data(self, i: int) -> list[torch.Tensor]:
        first = 1 if self.args.data == "cumulative" else i
        stores = [EpisodeStore(self.path / f"D_{j}") for j in range(first, i + 1)]
        return make_dataset(
            (e for store in stores for e in store.episodes(success=True)), self.args
        )

    def store_policy(self, i: int, base: BasePolicy, agent: Agent | None) -> None:
        weights = {"base": base.state_dict(), "residual": agent.state_dict() if agent else None}
        self.store(f"policy_{i}.pt", header(self.args) | {"args": asdict(self.args)} | weights)

    def policy(self, i: int) -> tuple[BasePolicy, Agent | None]:
        return build_policy(self.load(f"policy_{i}.pt"), self.args)

    def pi(self, i: int, env, base_only: bool = False) -> ChunkPolicy:
        base, residual = self.policy(i)
        return ChunkPolicy(base, None if base_only else residual, self.args, env)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    keys = ["proprio", "object", *["touch"] * args.touch, *["image"] * (args.obs == "image")]
    return {"method": "dexflywheel", "method_version": METHOD_VERSION, "observation_keys": keys,
            "env_id": entry(args.task).env_id, "control_mode": CONTROL_MODE}  # fmt: skip


def build_policy(state: dict, args: Args) -> tuple[BasePolicy, Agent | None]:
    """Return base and residual, ready to act.

    Raises:
        ValueError: The checkpoint is of another method, environment, version or control mode.
    """
    for name, needed in header(args).items():
        if state.get(name) != needed:
            raise ValueError(f"the checkpoint has {name} {state.get(name)!r}, needed is {needed!r}")
    action, weights = len(state["base"]["centre"]), state["residual"]
    base, residual = make_base(action, args, state["base"]), None
    if weights is not None:
        make = {"ppo": PpoAgent, "sac": SacAgent}[args.residual_algo]
        residual = make(len(weights["norm.mean"]), action, args)
        residual.load_state_dict(weights)
        residual.eval().requires_grad_(False)
    return base.eval().requires_grad_(False), residual


def evaluate_checkpoint(asked: Args) -> dict:
    """`--evaluate`: the networks' settings come from the checkpoint, the world's from the command."""
    state = load(Path(asked.evaluate).read_bytes())
    if "args" not in state:
        raise ValueError(f"{asked.evaluate} is no checkpoint of a policy")
    world = ("task", "backend", "device", "threads", "rl_envs", "timestep_scale", "friction_scale")
    args = replace(from_dict(Args, state["args"]), **{name: getattr(asked, name) for name in world})
    base, residual = build_policy(state, args)
    if asked.policy == "combined" and residual is None:
        raise ValueError(f"{asked.evaluate} holds no residual; evaluate it with --policy base")
    torch.manual_seed(asked.seed)
    env = make_env(args)
    policy = ChunkPolicy(base, residual if asked.policy == "combined" else None, args, env)
    records = evaluate(policy, env, split=asked.split, episodes=asked.episodes, seed=asked.seed,
                       progress=asked.split)  # fmt: skip
    return summary(records)


# --- 10. entry point ---
def turn(run: Run) -> list[dict]:
    """The flywheel; returns the rows of the final table."""
    rows = []
    for i in range(1, run.args.iterations + 1):
        run.stage("data", build_data, i)
        run.stage("base", train_base, i)
        if run.args.residual:
            run.stage("residual", train_residual, i)
        run.stage("eval", evaluate_turn, i)
        rows += json.loads((run.path / f"eval_{i}.json").read_text())
    return rows


def show(run: Run, rows: list[dict]) -> bool:
    """Print the table, draw the plot, film the last policy; returns whether the wheel turned."""
    print_success(rows)
    plot_success(rows, run.path / "success.png", run.path.name)
    env = make_env(run.args)
    films = {"videos": 4, "video_folder": run.path / "videos"}
    evaluate(run.pi(run.args.iterations, env), env, split="objects", episodes=4, seed=0, **films)
    env.close()
    first, last = rows[0], [row for row in rows if row["split"] == rows[0]["split"]][-1]
    turned = last["low"] > first["high"]
    print(f"last combined {'above' if turned else 'NOT above'} first base, beyond both intervals")
    print(f"wall time {sum(run.done.values()) / 60:.1f} min; curves, plot, videos: {run.path}")
    return turned


def main(argv: list[str]) -> int:
    args = parse(Args, argv, PRESETS, TASKS, __doc__)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        found = evaluate_checkpoint(args)
        print(json.dumps(found, indent=None if args.json else 2))
        return 0
    run = Run(args)
    print(f"run folder: {run.path}", flush=True)
    turned = show(run, turn(run))
    run.metrics.close()
    return int(args.preset == "quick" and not turned)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
