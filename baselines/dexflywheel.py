"""DexFlyWheel (arXiv 2509.23829, sections 3 and 4, appendix A): a data flywheel from one demonstration.

Differs: PPO on success beside the paper's SAC, a small denoiser for CPUs, rollouts kept beside A_EP.
Command: python baselines/dexflywheel.py --preset laptop --seed 1 --eval-splits T_OEP T_O
Expected: to be measured (pi_combined on T_OEP after i = 3; the paper: 90.0 +- 3.2 %).
Time: to be measured on 2 CPU cores (the paper: 30 h on data-centre GPUs).
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import shutil
import sys
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import tyro
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel
from rich.console import Console
from rich.progress import track as progress_bar

from dexfw_envs.catalog.curricula import iterations, objects_for
from dexfw_envs.catalog.splits import configurations, training_sampler
from dexfw_envs.demos.augment import augment
from dexfw_envs.demos.collection import gather, motion_ratios
from dexfw_envs.demos.source import Source
from dexfw_envs.demos.store import EpisodeStore
from dexfw_envs.evaluation import evaluate, summary, write_records
from dexfw_envs.progress import Progress
from dexfw_envs.report import plot_success, print_success
from dexfw_envs.rollout import mean_second_difference, run_episodes
from dexfw_envs.runs import RunFolder, atomic_write_json

METHOD_VERSION = 1
CONTROL_MODE = "ee_pose"


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
    aep_share: float = 0.5  # part of D_i, i > 1, made by A_EP; the rest are the rollouts themselves
    aep_smoothing: float = (
        2.0  # low-pass on the rollouts that A_EP edits, standard deviation [steps]
    )
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


TASKS: dict[str, dict] = {"Grasp": {}}  # where a task's hyper-parameters differ from those above


def laptop() -> Args:
    """Three turns on two CPU cores."""
    return Args()


def quick() -> Args:
    """The shortest run that shows the wheel turning: `make demo`."""
    return replace(
        Args(), preset="quick", iterations=2, trajectories=(20, 100), base_steps=2_500, bf16=True,
        total_timesteps=100_000, ramp=10_000, eval_episodes=120, test_episodes=44,
    )  # fmt: skip


def paper() -> Args:
    """The paper's sizes and budgets (tables of appendix A); for GPUs."""
    return replace(
        Args(), preset="paper", device="cuda", obs="image", image_size=224, encoder="vit",
        denoiser="transformer", width=768, layers=7, chunk=8, prediction="epsilon",
        sampling_steps=16, sampling_noise="fresh", base_steps=200_000, base_lr=3e-4,
        residual_algo="sac", alpha=0.1, smoothing=1.0, total_timesteps=1_500_000, rl_envs=16,
        ramp_start=1_500, ramp=10_000, learning_starts=300, sac_lr=1e-4, sac_batch=1024, utd=0.2,
        test_every=250_000,
    )  # fmt: skip


PRESETS = {"quick": quick, "laptop": laptop, "paper": paper}


# --- 2. networks ---
# Columns of proprio that are used: arm joints and their velocities, those of the hand, the palm's
# position. The hand's columns among the 19 joints are repeats; orientation is given as two axes.
PROPRIO = [*range(0, 7), *range(19, 26), *range(38, 65)]
HAND_SIZE, OBJECT_SIZE = len(PROPRIO) + 6, 13 + 6


def features(obs: dict[str, np.ndarray], object_state: bool = True) -> torch.Tensor:
    """State of the robot, of the object, and of the object as seen from the palm, (N, D)."""
    proprio, thing = torch.as_tensor(obs["proprio"]), torch.as_tensor(obs["object"])
    w, v = proprio[:, 65:66], proprio[:, 66:69]

    def rotate(x: torch.Tensor, sign: float = 1.0) -> torch.Tensor:
        turn = 2.0 * sign * torch.linalg.cross(v, x)
        return x + w * turn + sign * torch.linalg.cross(v, turn)

    axes = [rotate(axis.expand_as(v)) for axis in torch.eye(3)[:2]]
    columns = [proprio[:, PROPRIO], *axes]
    if object_state:
        offset = thing[:, :3] - proprio[:, 62:65]
        columns += [thing, offset, rotate(offset, -1.0)]  # the last: from table to palm frame
    return torch.cat(columns, dim=1)


def mlp(sizes: list[int], activation: type[nn.Module], norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(before, after), *([nn.LayerNorm(after)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def time_embedding(k: torch.Tensor, width: int) -> torch.Tensor:
    half = width // 2
    angle = k[:, None] * torch.exp(-math.log(1e4) / half * torch.arange(half, device=k.device))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), *mlp([width] * 3, nn.SiLU))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class MlpDenoiser(nn.Module):
    """Denoises a flattened chunk (B, H, action) given the noise level k and a condition."""

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        size = horizon * action
        blocks = (ResidualBlock(args.width) for _ in range(args.layers))
        self.body = nn.Sequential(
            nn.Linear(size + condition + 64, args.width), *blocks,
            nn.LayerNorm(args.width), nn.Linear(args.width, size),
        )  # fmt: skip

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        x = torch.cat([chunk.flatten(1), condition, time_embedding(k, 64)], dim=1)
        return self.body(x).view_as(chunk)


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
        level = time_embedding(k, self.position.shape[1])[:, None]
        tokens = torch.cat([level, self.condition(condition)[:, None], self.action(chunk)], dim=1)
        return self.outlet(self.body(tokens + self.position)[:, 2:])


class ImageEncoder(nn.Module):
    """(B, h, w, 3) bytes to features: "cnn", or "vit", a ViT-S on a convolutional stem.

    "vit" has the sizes of `vit_small_r26_s32_224` (stride 32, 12 layers of 384, 6 heads), but a
    plainer stem than that model's ResNet-26, so weights have to come from this class.
    """

    def __init__(self, kind: str, size: int):
        super().__init__()
        widths = {"cnn": (3, 16, 32, 64, 32), "vit": (3, 32, 64, 128, 256, 384)}[kind]
        self.stem = nn.Sequential()
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            size = (size + 1) // 2
            self.stem.extend([nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()])
        self.size = 384 if kind == "vit" else 128
        self.vit = transformer(384, layers=12, heads=6, dropout=0.0) if kind == "vit" else None
        self.position = nn.Parameter(0.02 * torch.randn(size * size, widths[-1]))
        self.outlet = nn.LayerNorm(384) if self.vit else nn.Linear(widths[-1] * size * size, 128)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
        x = x.flatten(2).transpose(1, 2) + self.position
        return self.outlet(self.vit(x).mean(1) if self.vit else x.flatten(1))


# --- 3. base policy: imitation by diffusion ---
class BasePolicy(nn.Module):
    """pi_base: a chunk of H actions from one observation. Its normaliser is part of it."""

    def __init__(self, action: int, args: Args):
        super().__init__()
        self.args, self.shape = args, (args.chunk, action)
        state = HAND_SIZE + OBJECT_SIZE * args.base_object
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.obs == "image" else None
        denoiser = {"mlp": MlpDenoiser, "transformer": TransformerDenoiser}[args.denoiser]
        condition = state + (self.encoder.size if self.encoder else 0)
        self.denoiser = denoiser(condition, *self.shape, args)
        self.scheduler = DDIMScheduler(
            50, beta_schedule="squaredcos_cap_v2", prediction_type=args.prediction
        )
        self.scheduler.set_timesteps(args.sampling_steps)
        for name, size in (("mean", state), ("std", state), ("centre", action), ("half", action)):
            self.register_buffer(name, torch.ones(size))

    def fit_normaliser(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Standardise states, bring actions to [-1, 1]; nearly constant columns are not blown up."""
        low, high = action.amin(0), action.amax(0)
        self.mean.copy_(state.mean(0))
        self.std.copy_(state.std(0).clamp(min=0.02))
        self.centre.copy_((low + high) / 2)
        self.half.copy_(((high - low) / 2).clamp(min=0.02))

    def condition(self, state: torch.Tensor, image: torch.Tensor | None) -> torch.Tensor:
        state = ((state - self.mean) / self.std).clamp(-5.0, 5.0)
        if self.training and self.args.obs_noise:
            state = state + self.args.obs_noise * torch.randn_like(state)
        return torch.cat([state, self.encoder(image)], dim=1) if self.encoder else state

    def loss(self, state: torch.Tensor, chunk: torch.Tensor, image: torch.Tensor | None):
        chunk = (chunk - self.centre) / self.half
        k = torch.randint(0, 50, (len(chunk),)).to(chunk.device)
        noise = torch.randn(chunk.shape).to(chunk.device)
        noisy = self.scheduler.add_noise(chunk, noise, k)
        predicted = self.denoiser(noisy, k, self.condition(state, image))
        target = noise if self.args.prediction == "epsilon" else chunk
        return F.mse_loss(predicted.float(), target)

    @torch.no_grad()
    def sample(self, obs: dict[str, np.ndarray], chunk: torch.Tensor) -> torch.Tensor:
        """Actions (N, H, action) by DDIM from noise of that shape; nothing else is random."""
        device = self.mean.device
        state, chunk = features(obs, self.args.base_object).to(device), chunk.to(device)
        image = torch.as_tensor(obs["image"]).to(device) if self.encoder else None
        condition = self.condition(state, image)
        for k in self.scheduler.timesteps:
            predicted = self.denoiser(chunk, k.to(device).expand(len(chunk)), condition)
            chunk = self.scheduler.step(predicted, k, chunk).prev_sample
        return (chunk * self.half + self.centre).cpu()


def make_dataset(episodes, args: Args) -> list[torch.Tensor | None]:
    """State (M, D), the chunk of actions that follows it (M, H, action), and image if any.

    Past the end of an episode its last action is repeated.
    """
    states, chunks, images = [], [], []
    for episode in episodes:
        steps = len(episode.actions)
        obs = {name: value[:steps] for name, value in episode.observations.items()}
        states.append(features(obs, args.base_object).float())
        ahead = torch.arange(steps)[:, None] + torch.arange(args.chunk)
        chunks.append(torch.as_tensor(episode.actions).float()[ahead.clamp(max=steps - 1)])
        images.append(torch.as_tensor(obs["image"]) if args.obs == "image" else torch.empty(0))
    if not states:
        raise ValueError("no successful demonstration to learn from")
    image = torch.cat(images) if args.obs == "image" else None
    return [torch.cat(states), torch.cat(chunks), image]


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
    earlier = run.policy(i - 1)[0].state_dict() if finetune else None
    base = make_base(data[1].shape[2], args, earlier)
    base.fit_normaliser(data[0], data[1].flatten(0, 1))
    parameters = list(base.parameters())
    optimizer = torch.optim.AdamW(parameters, args.base_lr, weight_decay=1e-6)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    if saved := run.restore():
        base.load_state_dict(saved["base"])
        optimizer.load_state_dict(saved["optimizer"])
        ema.load_state_dict(saved["ema"])
    for step in run.bar(f"base_{i}", saved.get("step", 0), args.base_steps):
        index = torch.randint(0, len(data[0]), (args.base_batch,))
        batch = [None if x is None else x[index].to(args.device) for x in data]
        with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.bf16):
            loss = base.loss(*batch)
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / args.base_steps)
        optimizer.param_groups[0]["lr"] = args.base_lr * cosine * min(1.0, (step + 1) / 100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.step(parameters)
        if (step + 1) % 100 == 0:
            run.log((i - 1) * args.base_steps + step + 1, {"losses/base": loss.item()})
        run.checkpoint(
            step=step + 1, base=base.state_dict, optimizer=optimizer.state_dict, ema=ema.state_dict
        )
    ema.copy_to(parameters)
    run.store_policy(i, base.state_dict(), None)


# --- 4. combined policy: queues of chunks, plus the filtered residual ---
class ChunkPolicy:
    """pi_combined, or pi_base if there is no residual; every world has its own queue.

    With `aligned` all worlds replan in the same step, in one batch: one that is reset in between
    gets a short first chunk. Without, worlds have no influence on one another.
    """

    def __init__(self, base, residual, args: Args, num_envs: int, seed: int = 0, aligned=False):
        self.base, self.residual, self.args, self.aligned = base, residual, args, aligned
        self.generator = torch.Generator().manual_seed(seed)
        self.queue = torch.zeros(num_envs, *base.shape)  # actions to come, the last one repeated
        self.noise = torch.zeros(num_envs, *base.shape)
        self.r = torch.zeros(num_envs, base.shape[1])  # filtered residual
        self.left = torch.zeros(num_envs, dtype=torch.long)  # steps until the next plan
        self.fresh = torch.ones(num_envs, dtype=torch.bool)  # no plan yet in this episode
        self.clock = torch.zeros((), dtype=torch.long)
        overlap = args.chunk - args.execute  # weight of the new chunk over the rest of the old one
        self.fade = (torch.arange(1, args.chunk + 1) / (overlap + 1)).clamp(max=1.0)[:, None]

    def reset(self, mask: np.ndarray) -> None:
        worlds = torch.as_tensor(mask)
        self.fresh |= worlds
        self.left[worlds], self.r[worlds] = 0, 0.0
        if self.args.sampling_noise == "episode":
            self._draw(worlds)

    def _draw(self, worlds: torch.Tensor) -> None:
        self.noise[worlds] = torch.randn(self.noise[worlds].shape, generator=self.generator)

    def base_action(self, obs: dict[str, np.ndarray]) -> torch.Tensor:
        """Take the next action from every queue, (N, action); worlds whose time is up plan anew."""
        due = self.left <= 0
        if due.any():
            if self.args.sampling_noise == "fresh":
                self._draw(due)
            seen = {name: value[due.numpy()] for name, value in obs.items()}
            new, old = self.base.sample(seen, self.noise[due]), self.queue[due]
            fade = torch.where(self.fresh[due][:, None, None], 1.0, self.fade)
            self.queue[due] = old + fade * (new - old)
            self.left[due] = self.args.execute - (self.clock if self.aligned else 0)
            self.fresh[due] = False
        action = self.queue[:, 0].clone()
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
        if self.residual is None:
            return base_action.clamp(-1.0, 1.0).numpy()
        x = self.residual_input(obs, base_action).to(self.args.device)
        return self.combine(base_action, self.residual.mean(x).cpu()).numpy()

    KEPT = ("queue", "noise", "r", "left", "fresh", "clock")

    def state(self) -> dict:
        kept = {name: getattr(self, name).clone() for name in self.KEPT}
        return kept | {"generator": self.generator.get_state()}

    def load_state(self, state: dict) -> None:
        for name in self.KEPT:
            setattr(self, name, state[name])
        self.generator.set_state(state["generator"])


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
        x = x.reshape(-1, x.shape[-1]).double()
        self.sums += torch.stack([torch.ones_like(x), x, x.square()]).sum(1)
        mean = self.sums[1] / self.sums[0]
        self.mean.copy_(mean)
        self.std.copy_((self.sums[2] / self.sums[0] - mean.square()).clamp(min=1e-4).sqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) / self.std).clamp(-5.0, 5.0)


class Worlds:
    """The parallel worlds of RL with their queues and filters, stepped together."""

    def __init__(self, env, policy: ChunkPolicy, args: Args, seed: int):
        self.env, self.policy, self.args = env, policy, args
        self.obs, _ = env.reset(seed=seed)
        self.tries, self.wins = Counter(), Counter()  # episodes per object since the last log
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
        action = self.policy.combine(self.base, u).numpy()
        self.obs, reward, terminated, truncated, info = self.env.step(action)
        over, final = terminated | truncated, None
        if over.any():
            final = self.policy.residual_input(info["final_obs"], self.policy.queue[:, 0])
            self._count(over, info["final_info"])
            self.policy.reset(over)
        if residual_reward(self.args) == "dense":
            reward = self._below_zero(reward, terminated, info)
        change = (
            torch.where(torch.as_tensor(over)[:, None], 0.0, self.policy.r - r) / self.args.alpha
        )
        cost = self.args.residual_cost * u.square().mean(1)
        reward = (
            torch.as_tensor(reward).float() - cost - self.args.rate_cost * change.square().mean(1)
        )
        self._observe()
        done, lost = (torch.as_tensor(flag).float() for flag in (over, terminated))
        x_next = self.x if final is None else torch.where(done[:, None] > 0, final, self.x)
        return {
            "x": x,
            "u": u,
            "reward": reward,
            "x_next": x_next,
            "done": done,
            "terminated": lost,
        }

    def _below_zero(self, reward: np.ndarray, terminated: np.ndarray, info: dict) -> np.ndarray:
        """Shift the dense reward to [-1, 0], so that success, which ends the episode, is best.

        An episode that ends by a lost object costs as much as the lowest reward for ever.
        """
        reward = np.clip(reward / self.args.dense_scale, 0.0, 1.0) - 1.0
        if not terminated.any():
            return reward
        end = np.where(info["final_info"]["success"], 1.0, -1.0 / (1.0 - self.args.sac_gamma))
        return np.where(terminated, end, reward)

    def _count(self, over: np.ndarray, info: dict) -> None:
        for world in np.flatnonzero(over):
            name = info["scenario"][world].objects[0]
            self.tries[name] += 1
            self.wins[name] += int(info["success"][world])

    def success(self) -> dict[str, float]:
        """Success of the episodes that ended since the last call: overall (""), and per object."""
        rates = {name: self.wins[name] / count for name, count in self.tries.items()}
        rates |= {"": self.wins.total() / self.tries.total()} if rates else {}
        self.tries.clear()
        self.wins.clear()
        return rates

    def state(self) -> dict:
        kept = {"obs": pack(self.obs), "env": pack(self.env.get_state()), "x": self.x.clone()}
        counts = {"tries": dict(self.tries), "wins": dict(self.wins)}
        return kept | counts | {"base": self.base.clone(), "policy": self.policy.state()}

    def load_state(self, state: dict) -> None:
        self.env.set_state(unpack(state["env"]))
        self.policy.load_state(state["policy"])
        self.obs, self.x, self.base = unpack(state["obs"]), state["x"], state["base"]
        self.tries, self.wins = Counter(state["tries"]), Counter(state["wins"])


def residual_reward(args: Args) -> str:
    automatic = {"ppo": "sparse", "sac": "dense"}[args.residual_algo]
    return automatic if args.reward == "auto" else args.reward


def gate_probability(step: int, args: Args) -> float:
    """epsilon: how likely the residual is added, drawn anew per world and step."""
    return min(1.0, max(0.0, (step - args.ramp_start) / max(1, args.ramp - args.ramp_start)))


def tagged(policy: str, rates: dict[str, float]) -> dict[str, float]:
    return {f"charts/{policy}_success{'/' if o else ''}{o}": rate for o, rate in rates.items()}


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def train_residual(run: Run, i: int) -> None:
    """RL of residual_i over the frozen base_i, on the objects of the next turn."""
    args, (base, _) = run.args, run.policy(i)
    env = make_env(
        args, args.rl_envs, residual_reward(args), sampler_of=curriculum_row(args, i + 1)
    )
    policy = ChunkPolicy(base, None, args, args.rl_envs, run.seed, aligned=True)
    worlds = Worlds(env, policy, args, run.seed)
    make, update = {"ppo": (PpoAgent, ppo_round), "sac": (SacAgent, sac_round)}[args.residual_algo]
    agent = make(worlds.x.shape[1], base.shape[1], args).to(args.device)
    if saved := run.restore():
        agent.load_state(saved["agent"])
        worlds.load_state(saved["worlds"])
    origin, size = (i - 1) * args.total_timesteps, agent.round_steps * args.rl_envs
    rounds, between = max(1, args.total_timesteps // size), max(1, args.test_every // size)
    for n in run.bar(f"residual_{i}", saved.get("round", 0), rounds):
        if n % between == 0:
            test_residual(run, i, base, agent if n else None, origin + n * size)
        losses = update(worlds, agent, n * size, args)
        losses["charts/epsilon"] = gate_probability((n + 1) * size, args)
        run.log(origin + (n + 1) * size, losses | tagged("scheduled", worlds.success()))
        run.checkpoint(round=n + 1, agent=agent.state, worlds=worlds.state)
    test_residual(run, i, base, agent, origin + rounds * size)
    env.close()
    run.store_policy(i, base.state_dict(), agent.state_dict())


def test_residual(run: Run, i: int, base: BasePolicy, agent: nn.Module | None, step: int) -> None:
    """Test the full residual without noise. Before training it is the base, as is the schedule."""
    args, rng = run.args, np.random.default_rng(run.seed)
    sampler = training_sampler(args.task, curriculum_row(args, i + 1))
    scenarios = [sampler(rng) for _ in range(args.test_episodes)]
    records = test(
        args, ChunkPolicy(base, agent, args, args.rl_envs, run.seed), scenarios=scenarios
    )
    found = summary(records)
    rates = {"": found["success"]} | {o: row["success"] for o, row in found["per_object"].items()}
    for name in ("residual",) if agent else ("base", "scheduled", "residual"):
        run.log(step, tagged(name, rates))


# --- 6. residual PPO ---
class PpoAgent(nn.Module):
    """Gaussian residual whose spread does not depend on the state, its critic, their optimiser."""

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__()
        self.round_steps = args.n_steps
        self.norm = RunningNorm(inputs)
        self.actor = mlp([inputs, 256, 256, action], nn.Tanh)
        self.critic = mlp([inputs, 256, 256, 1], nn.Tanh)
        self.log_std = nn.Parameter(torch.full((action,), args.log_std))
        for parameter in self.actor[-1].parameters():
            nn.init.zeros_(parameter)  # training starts from the base policy
        actor, critic = [*self.actor.parameters(), self.log_std], [*self.critic.parameters()]
        self.optimizer = torch.optim.Adam([{"params": actor}, {"params": critic}], eps=1e-5)

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.norm(x)).clamp(-1.0, 1.0)

    def distribution(self, x: torch.Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.actor(self.norm(x)), self.log_std.exp())

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.critic(self.norm(x)).squeeze(-1)

    def state(self) -> dict:
        return {"weights": self.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict) -> None:
        self.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])


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
    for t in range(args.n_steps):
        with torch.no_grad():
            sampled = agent.distribution(worlds.x.to(args.device)).sample().cpu()
        gate = torch.rand(len(sampled), 1) < gate_probability(step + t * args.rl_envs, args)
        row = worlds.step(sampled.clamp(-1.0, 1.0) * gate)
        rows.append(row | {"sampled": sampled, "gate": gate[:, 0].float()})
    b = {name: torch.stack([row[name] for row in rows]).to(args.device) for name in rows[0]}
    agent.norm.update(b["x"])  # before the old probabilities are taken: all ratios start at one
    with torch.no_grad():
        b["value"], b["next_value"] = agent.value(b["x"]), agent.value(b["x_next"])
        b["log_prob"] = agent.distribution(b["x"]).log_prob(b["sampled"]).sum(-1)
    names = ("reward", "value", "next_value", "terminated", "done")
    b["advantage"] = gae(*(b[name] for name in names), args.gamma, args.gae_lambda)
    b["return"] = b["advantage"] + b["value"]
    for group, lr in zip(agent.optimizer.param_groups, (args.lr, args.critic_lr), strict=True):
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
    policy_loss = -(gain * b["gate"]).sum() / executed  # others were sampled but not executed
    value_loss = 0.5 * F.mse_loss(agent.value(b["x"]), b["return"])
    agent.optimizer.zero_grad()
    (policy_loss + value_loss).backward()
    for group in agent.optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 0.5)
    agent.optimizer.step()
    kl = ((ratio - 1.0 - log_ratio) * b["gate"]).sum() / executed
    found = {"policy": policy_loss, "value": value_loss, "approx_kl": kl}
    found["spread"] = agent.log_std.exp().mean()
    return {f"losses/{name}": value.item() for name, value in found.items()}


# --- 7. residual SAC ---
class SacAgent(nn.Module):
    """Squashed Gaussian residual, twin critics of the combined action, their optimisers, replay."""

    round_steps = 16

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__()
        self.args, self.action = args, action
        self.norm = RunningNorm(inputs)
        self.actor = mlp([inputs, 256, 256, 256, 2 * action], nn.ReLU)
        self.actor[-1].weight.data.mul_(0.01)  # training starts near the base policy
        sizes = [inputs + action, 256, 256, 256, 1]
        self.critics = nn.ModuleList(mlp(sizes, nn.ReLU, norm=True) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_weight = nn.Parameter(torch.tensor(math.log(0.05)))  # of the entropy, tuned
        learned = (self.critics.parameters(), self.actor.parameters(), [self.log_weight])
        self.optimizers = [torch.optim.Adam(group, lr=args.sac_lr) for group in learned]
        self.replay: dict[str, torch.Tensor] = {}
        self.seen, self.owed = 0, 0.0  # transitions stored so far; gradient steps due

    def sample(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = self.actor(self.norm(x)).chunk(2, dim=-1)
        std = log_std.clamp(-5.0, 1.0).exp()
        raw = mean + std * torch.randn(mean.shape).to(mean.device)
        squash = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))  # log(1 - tanh(raw)^2)
        log_prob = torch.distributions.Normal(mean, std).log_prob(raw) - squash
        return raw.tanh(), log_prob.sum(-1)

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.norm(x)).chunk(2, dim=-1)[0].tanh()

    def q(self, critics: nn.ModuleList, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Both critics' values, (2, B), of the action that u leads to, base + residual."""
        base, r = x[:, -2 * self.action : -self.action], x[:, -self.action :] * self.args.alpha
        action = (base + low_pass(r, u, self.args)).clamp(-1.0, 1.0)
        joint = torch.cat([self.norm(x), action], dim=1)
        return torch.stack([critic(joint).squeeze(-1) for critic in critics])

    def remember(self, row: dict[str, torch.Tensor]) -> None:
        for name, value in row.items():
            if name not in self.replay:
                self.replay[name] = torch.zeros(self.args.replay, *value.shape[1:])
            at = torch.arange(self.seen, self.seen + len(value)) % self.args.replay
            self.replay[name][at] = value
        self.seen += len(row["x"])

    def state(self) -> dict:
        filled = min(self.seen, self.args.replay)
        replay = {name: value[:filled].clone() for name, value in self.replay.items()}
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        counts = {"seen": self.seen, "owed": self.owed}
        return {"weights": self.state_dict(), "optimizers": optimizers, "replay": replay} | counts

    def load_state(self, state: dict) -> None:
        self.load_state_dict(state["weights"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.remember(state["replay"])
        self.seen, self.owed = state["seen"], state["owed"]


def sac_round(worlds: Worlds, agent: SacAgent, step: int, args: Args) -> dict[str, float]:
    """A few steps of every world, each followed by the gradient steps that are due by then."""
    losses = []
    for now in range(step, step + agent.round_steps * args.rl_envs, args.rl_envs):
        u = 2.0 * torch.rand(args.rl_envs, agent.action) - 1.0
        if now >= args.learning_starts:
            with torch.no_grad():
                u = agent.sample(worlds.x.to(args.device))[0].cpu()
        gate = torch.rand(args.rl_envs, 1) < gate_probability(now, args)
        agent.remember(row := worlds.step(u * gate))
        if now < args.learning_starts:  # frozen later, lest the critics' input drifts
            agent.norm.update(row["x"].to(args.device))
            continue
        agent.owed += args.utd * args.rl_envs
        while agent.owed >= 1.0:
            agent.owed -= 1.0
            losses.append(sac_update(agent, args))
    return means(losses)


def sac_update(agent: SacAgent, args: Args) -> dict[str, float]:
    index = torch.randint(0, min(agent.seen, args.replay), (args.sac_batch,))
    b = {name: value[index].to(args.device) for name, value in agent.replay.items()}
    weight = agent.log_weight.exp().detach()
    with torch.no_grad():
        next_u, next_log_prob = agent.sample(b["x_next"])
        next_q = agent.q(agent.targets, b["x_next"], next_u).amin(0) - weight * next_log_prob
        target = b["reward"] + args.sac_gamma * (1.0 - b["terminated"]) * next_q
    critic_loss = F.mse_loss(agent.q(agent.critics, b["x"], b["u"]), target.expand(2, -1))
    descend(agent.optimizers[0], critic_loss)
    u, log_prob = agent.sample(b["x"])
    actor_loss = (weight * log_prob - agent.q(agent.critics, b["x"], u).amin(0)).mean()
    descend(agent.optimizers[1], actor_loss)
    surplus = agent.action - log_prob.detach().mean()  # entropy above its target, -dimension
    descend(agent.optimizers[2], agent.log_weight * surplus)
    with torch.no_grad():
        for old, new in zip(agent.targets.parameters(), agent.critics.parameters(), strict=True):
            old.lerp_(new, args.tau)
    found = {"critic": critic_loss, "actor": actor_loss, "entropy_weight": weight}
    return {f"losses/{name}": value.item() for name, value in found.items()}


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 10.0)
    optimizer.step()


# --- 8. worlds, tests, and the data of each turn ---
def env_id(args: Args) -> str:
    return f"DexFW/{args.task}-v0"


def curriculum_row(args: Args, i: int) -> int:
    return min(i, iterations(args.task))


def make_env(args: Args, num_envs: int, reward: str = "sparse", sampler_of: int = 0, **options):
    """Make parallel worlds. With `sampler_of` they reset themselves to that iteration's scenes."""
    env = gymnasium.make_vec(
        f"dexfw_envs:{env_id(args)}", num_envs=num_envs, backend=args.backend,
        obs_mode=args.obs + "+touch" * args.touch, reward_mode=reward, control_mode=CONTROL_MODE,
        image_size=args.image_size, threads=args.threads, autoreset=sampler_of > 0,
        timestep_scale=args.timestep_scale, friction_scale=args.friction_scale, **options,
    ).unwrapped  # fmt: skip
    if sampler_of:
        env.sampler = training_sampler(args.task, sampler_of)
    return env


def test(args: Args, policy: ChunkPolicy, videos: int = 0, **what) -> list[dict]:
    env = make_env(args, len(policy.left), **({"render_mode": "rgb_array"} if videos else {}))
    try:
        return evaluate(policy, env, videos=videos, **what)
    finally:
        env.close()


def build_data(run: Run, i: int) -> None:
    """D_1 = A_EP(seed; C_1). D_i = rollouts of the last pi_combined, and A_EP of them to C_i."""
    args, rng, report = run.args, np.random.default_rng(run.seed), {}
    count, row = args.trajectories[:i][-1], curriculum_row(args, i)
    env, seed, rollouts, edited = make_env(args, args.rl_envs), seed_demonstration(args), [], []

    def collect(wanted: int, produce) -> tuple[list, dict]:
        scenes = max(math.ceil(1.25 * wanted / 4), len(objects_for(args.task, row)))
        kept, tally = gather(configurations(args.task, row, scenes, rng), wanted, rng, produce)
        return kept, tally | motion_ratios(kept, seed) if kept else tally

    if i > 1:
        policy = ChunkPolicy(*run.policy(i - 1), args, args.rl_envs, run.seed)
        rollouts, report["rollouts"] = collect(
            count - round(count * args.aep_share * args.aep),
            lambda tries: run_episodes(env, policy, tries, f"rollouts_{i}"),
        )
    if (args.aep or i == 1) and count > len(rollouts):
        sources = [
            Source.from_episode(e, env.codec, smoothing=args.aep_smoothing) for e in rollouts
        ]
        sources = sources or [Source.from_episode(seed, env.codec)]
        edited, report["edited"] = collect(
            count - len(rollouts),
            lambda tries: augment(env, sources, tries, rng, failures=True, progress=f"A_EP_{i}"),
        )
    env.close()
    shutil.rmtree(run.path / f"D_{i}", ignore_errors=True)  # left half-full by a killed process
    store = EpisodeStore(run.path / f"D_{i}", env_id(args), CONTROL_MODE)
    for n, episode in enumerate([*rollouts, *edited]):
        source = "policy" if n < len(rollouts) else "augmented"
        store.add(episode, source=source, seed=args.seed, config={"iteration": i}, index=n)
    atomic_write_json(run.path / f"data_{i}.json", report)


def evaluate_turn(run: Run, i: int) -> None:
    """Success of base_i and of pi_combined on the splits asked for, with motion quality."""
    args, rows, seed = run.args, [], seed_demonstration(run.args)
    base, residual = run.policy(i)
    asked = [s for s in args.eval_splits if s != "T_O"]
    if "T_O" in args.eval_splits:
        asked += ["T_O(1)"] * (i == 1) + [f"T_O({i + 1})"] * (i < iterations(args.task))
    for split in asked:
        for name, head in {"base": None, "combined": residual}.items():
            policy = ChunkPolicy(base, head, args, args.rl_envs, run.seed)
            films = {"videos": 4, "video_folder": run.path / "videos" / f"{split}-{i}-{name}"}
            records = test(args, policy, split=split, episodes=args.eval_episodes, seed=args.seed,
                           **(films if args.capture_video else {}))  # fmt: skip
            won = [record for record in records if record["success"]]
            jerk, length = ([r[key] for r in won] or [math.nan] for key in ("jerk", "length"))
            rows.append({"iteration": i, "split": split, "policy": name} | summary(records) | {
                "jerk": float(np.mean(jerk)) / mean_second_difference(seed.actions),
                "duration": float(np.mean(length)) / len(seed.actions)})  # fmt: skip
            if args.records:
                write_records(records, args.records, method="dexflywheel", task=args.task,
                              variant=args.variant, iteration=i, policy=name)  # fmt: skip
    atomic_write_json(run.path / f"eval_{i}.json", rows)


# --- 9. runs, checkpoints, resuming ---
def dump(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load(data: bytes):
    return torch.load(io.BytesIO(data), weights_only=True)


def pack(arrays: dict[str, np.ndarray]) -> torch.Tensor:
    """Turn a dict of arrays and strings into bytes that a weights-only file can hold."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def unpack(data: torch.Tensor) -> dict[str, np.ndarray]:
    arrays = np.load(io.BytesIO(data.numpy().tobytes()), allow_pickle=False)
    return {name: arrays[name] if arrays[name].ndim or arrays[name].dtype.kind != "U"
            else str(arrays[name]) for name in arrays.files}  # fmt: skip


class Run(Progress):
    """Folder and progress of one run, new or resumed."""

    def __init__(self, args: Args):
        create = RunFolder.create
        folder = (RunFolder.open(args.resume) if args.resume
                  else create(args.runs, env_id(args), "dexflywheel", args.seed, args))  # fmt: skip
        super().__init__(folder, dump, load, args.save_seconds, args.track)
        self.args, self.seed = args, args.seed

    def stage(self, name: str, work, i: int) -> None:
        """Run `work(self, i)` unless done. Its seed depends on its name only, so stages can be skipped."""
        if self.begin(f"{name}_{i}"):
            self.seed = zlib.crc32(f"{self.args.seed} {name} {i}".encode())
            torch.manual_seed(self.seed)
            work(self, i)
            self.finish()

    def restore(self) -> dict:
        """State of the stage under way, {} at its start; the generator goes on from there as well."""
        if self.state:
            torch.set_rng_state(self.state["generator"])
        return self.state

    def checkpoint(self, **state) -> None:
        """Save if it is time to; callables are asked for their state only then."""
        self.save(lambda: {name: value() if callable(value) else value
                           for name, value in (state | {"generator": torch.get_rng_state}).items()})  # fmt: skip

    def bar(self, title: str, start: int, stop: int):
        console = Console(stderr=True)
        return progress_bar(range(start, stop), title, console=console, transient=True,
                            disable=not console.is_terminal)  # fmt: skip

    def data(self, i: int) -> list[torch.Tensor | None]:
        first = 1 if self.args.data == "cumulative" else i
        stores = [EpisodeStore(self.path / f"D_{j}") for j in range(first, i + 1)]
        return make_dataset((e for s in stores for e in s.episodes(success=True)), self.args)

    def store_policy(self, i: int, base: dict, residual: dict | None) -> None:
        state = header(self.args) | {"args": asdict(self.args), "base": base, "residual": residual}
        self.store(f"policy_{i}.pt", state)

    def policy(self, i: int) -> tuple[BasePolicy, nn.Module | None]:
        """Return base_i, and residual_i if it is trained."""
        return build_policy(self.load(f"policy_{i}.pt"), self.args)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that it is used in."""
    keys = ["proprio", "object", *["image"] * (args.obs == "image"), *["touch"] * args.touch]
    return {"method": "dexflywheel", "method_version": METHOD_VERSION, "env_id": env_id(args),
            "control_mode": CONTROL_MODE, "observation_keys": keys}  # fmt: skip


def build_policy(state: dict, args: Args) -> tuple[BasePolicy, nn.Module | None]:
    for name, needed in header(args).items():
        if state.get(name) != needed:
            raise ValueError(f"checkpoint has {name} = {state.get(name)!r}, need {needed!r}")
    action = len(state["base"]["centre"])
    base, residual = make_base(action, args, state["base"]), None
    if state["residual"] is not None:
        agent = {"ppo": PpoAgent, "sac": SacAgent}[args.residual_algo]
        residual = agent(len(state["residual"]["norm.mean"]), action, args).to(args.device)
        residual.load_state_dict(state["residual"])
        residual.eval().requires_grad_(False)
    return base.eval().requires_grad_(False), residual


def evaluate_checkpoint(asked: Args) -> dict:
    """`--evaluate`: the networks' settings come from the checkpoint, the world's from the command."""
    state = load(Path(asked.evaluate).read_bytes())
    world = ("task", "backend", "device", "threads", "timestep_scale", "friction_scale")
    args = replace(from_dict(state["args"]), **{name: getattr(asked, name) for name in world})
    base, residual = build_policy(state, args)
    policy = ChunkPolicy(base, residual if asked.policy == "combined" else None, args, args.rl_envs)
    return summary(test(args, policy, split=asked.split, episodes=asked.episodes, seed=asked.seed))


# --- 10. entry point ---
def from_dict(values: dict) -> Args:
    """Settings as read from JSON, which knows no tuples."""
    return Args(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def parse(argv: list[str]) -> Args:
    """Command line over the preset, or over the settings of the run that is resumed."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default="laptop", choices=[*PRESETS])
    early.add_argument("--task", default="Grasp", choices=[*TASKS])
    early.add_argument("--resume", default="")
    known, _ = early.parse_known_args(argv)
    default = replace(PRESETS[known.preset](), **TASKS[known.task])
    if known.resume:
        default = from_dict(RunFolder.open(known.resume).config)
    return tyro.cli(Args, default=default, args=argv, description=__doc__)


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


def film(run: Run) -> None:
    policy = ChunkPolicy(*run.policy(run.args.iterations), run.args, 4)
    test(
        run.args,
        policy,
        split="objects",
        episodes=4,
        seed=0,
        videos=4,
        video_folder=run.path / "videos",
    )


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        found = evaluate_checkpoint(args)
        print(json.dumps(found) if args.json else found)
        return 0
    run = Run(args)
    print(f"run folder: {run.path}")
    rows = turn(run)
    print_success(rows)
    plot_success(rows, run.path / "success.png", run.path.name)
    film(run)
    run.metrics.close()
    print(f"wall time {sum(run.done.values()) / 60:.1f} min; curves, plot and videos in {run.path}")
    first, last = rows[0], [row for row in rows if row["split"] == rows[0]["split"]][-1]
    turned = last["low"] > first["high"]
    print(f"the wheel {'turns' if turned else 'does not turn'}: first base against last combined")
    return int(args.preset == "quick" and not turned)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
