"""DexFlyWheel (arXiv 2509.23829, sections 3, 4 and A): a data flywheel from one demonstration.

Differs: PPO on success beside SAC; small denoiser, which sees the object's place alone, where the
residual also sees its turn and velocities; residual filtered.
Command: python baselines/dexflywheel.py --preset laptop --seed 3 --eval-splits T_OEP T_O
Expected: 98.2 % [96.7, 99.0] on T_OEP after turn 3, 3 seeds x 200 (the paper: 90.0 +- 3.2 %).
Time: 16 min on two cores (the paper: 30 h on data-centre GPUs).
"""

from __future__ import annotations

import copy
import math
import shutil
import sys
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal

from dexfw_envs.runs.evaluation import evaluate_checkpoint
from dexfw_envs.runs.settings import ScriptArgs, check_device, command_line

METHOD_VERSION, CONTROL_MODE = 3, "ee_pose"
LEVELS, REPLAY_SIZE = 50, 300_000  # noise levels in training; transitions kept by SAC
CLIP, TAU = 0.2, 0.01  # range of PPO's ratios; rate of SAC's target critics


# --- 1. settings ---
@dataclass(frozen=True)
class Args(ScriptArgs):
    NEGATIVE: ClassVar[tuple[str, ...]] = ("log_std", "enough")

    preset: Literal["quick", "laptop", "paper"] = "laptop"  # where all other options start from
    iterations: int = 3  # turns of the wheel; beyond the third the objects stay those of the third
    residual: bool = True  # train a residual policy (off: an ablation of the paper)
    residual_algo: Literal["ppo", "sac"] = "ppo"  # PPO on success, or the paper's SAC, dense reward
    aep: bool = True  # A_EP on the collected rollouts (off: an ablation; D_1 has it always)
    data: Literal["fresh", "cumulative"] = "fresh"  # base_i learns from D_i, or from D_1 .. D_i
    base_init: Literal["scratch", "finetune"] = "scratch"  # base_i starts anew or from base_{i-1}
    obs: Literal["state", "image"] = "state"  # image: the base policy also sees the camera
    image_size: int = 96  # side of the camera image [px]
    touch: bool = False  # the residual also feels the fingertip forces
    total_timesteps: int = 200_000  # environment steps of residual RL per iteration
    trajectories: tuple[int, ...] = (20, 100, 500)  # size of D_i; the last goes for later turns
    per_scene: int = 1  # successes kept of a configuration (the paper: 4); fewer, more variety
    explore: float = 0.0  # standard deviation of an offset on u when a failed scene is tried again
    collect_steps: int | None = None  # longest episode of collection; None: the task's own limit
    aep_smoothing: float = 2.0  # low-pass on rollouts before A_EP, standard deviation [steps]
    test_every: int = 102_400  # environment steps between tests of the full residual during RL
    test_episodes: int = 88  # episodes of such a test
    enough: float = 1.0  # success in such a test beyond which RL stops: then it only learns haste
    # base policy (appendix A.1)
    denoiser: Literal["mlp", "transformer"] = "mlp"  # network
    width: int = 256  # its width
    layers: int = 3  # its residual blocks or transformer layers
    encoder: Literal["cnn", "vit"] = "cnn"  # image encoder
    encoder_weights: str = ""  # safetensors file with weights of that encoder; random if empty
    chunk: int = 16  # H, actions predicted at once
    chunk_smoothing: float = 1.5  # of a predicted chunk, standard deviation [steps]; 0: none
    execute: int = 8  # actions executed open loop; the others are faded into the next chunk
    prediction: Literal["epsilon", "sample"] = "sample"  # what the denoiser predicts
    sampling_steps: int = 10  # DDIM steps when acting
    sampling_noise: Literal["zero", "fresh"] = "zero"  # start of the denoising
    base_steps: int = 5_000  # gradient steps
    base_batch: int = 256  # batch size
    base_lr: float = 5e-4  # learning rate, falling as a cosine
    obs_noise: float = 0.1  # on the normalised state in training: off the data, go on all the same
    # residual policy (appendix A.2)
    alpha: tuple[float, float] = (0.15, 0.4)  # largest residual of palm and fingers [action]
    smoothing: float = 0.5  # k of the filter, twice r_t = (1 - k) r_{t-1} + k alpha u_t; 1: none
    ramp_start: int = 0  # step up to which the residual is never added
    ramp: int = 10_000  # step from which it is always added; its probability rises in between
    rl_envs: int = 64  # parallel worlds
    rl_steps: int = 130  # longest episode of RL; the base's successes take about 90 steps
    gamma: float = 0.995  # discount of PPO; a smaller one makes for haste
    n_steps: int = 32  # steps per world between PPO updates
    epochs: int = 8  # passes over them
    minibatch: int = 512  # minibatch of PPO
    lr: float = 3e-4  # learning rate of SAC, and of the PPO actor, where it falls linearly
    critic_lr: float = 1e-3  # learning rate of the PPO critic, likewise
    log_std: float = -0.9  # initial log standard deviation of u
    target_kl: float = 0.05  # an update stops beyond this divergence
    dense_scale: float = 20.0  # dense reward of a step that counts as best
    sac_gamma: float = 0.97  # discount of SAC
    sac_batch: int = 256  # batch size of SAC
    utd: float = 1 / 16  # gradient steps per environment step
    learning_starts: int = 4_000  # steps with uniform random residuals before SAC learns

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.chunk:
            raise ValueError(f"--execute must lie in 1 .. {self.chunk}, the chunk")
        if not all(0 < value <= 1 for value in (*self.alpha, self.smoothing)):
            raise ValueError("--alpha and --smoothing must lie in (0, 1]")
        if min(self.iterations, self.per_scene, len(self.trajectories), *self.trajectories) < 1:
            raise ValueError("--iterations, --per-scene, --trajectories must be at least 1 each")
        if self.encoder_weights and self.obs != "image":
            raise ValueError("--encoder-weights needs --obs image")

    def epsilon(self, step: float) -> float:
        """Probability that the residual is added, rising linearly."""
        return min(1.0, max(0.0, (step - self.ramp_start) / max(1, self.ramp - self.ramp_start)))

    def combine(self, base: torch.Tensor, r: torch.Tensor, u: torch.Tensor):
        """Action to execute for u in [-1, 1], and next state r (N, 2, action) of the filter."""
        first = torch.lerp(r[:, 0], u, self.smoothing)
        second = torch.lerp(r[:, 1], first, self.smoothing)  # the filter's output
        scale = torch.tensor(self.alpha, device=r.device).repeat_interleave(6)  # of palm and hand
        action = (base + scale.repeat(base.shape[1] // 12) * second).clamp(-1.0, 1.0)  # every arm
        return action, torch.stack([first, second], dim=1)


PRESETS: dict[str, dict] = {
    "laptop": {},  # three turns on two CPU cores
    "quick": {  # the shortest run that shows the wheel turning: `make demo`
        "preset": "quick", "iterations": 2, "trajectories": (20, 100), "base_steps": 2_500,
        "total_timesteps": 100_000, "test_every": 100_000, "test_episodes": 44,
        "eval_episodes": 120,
    },
    "paper": {  # sizes and budgets of the paper's appendix A; for GPUs
        "preset": "paper", "device": "cuda", "obs": "image", "image_size": 224, "encoder": "vit",
        "denoiser": "transformer", "width": 768, "layers": 7, "chunk": 8, "prediction": "epsilon",
        "sampling_steps": 16, "sampling_noise": "fresh", "base_steps": 200_000, "base_lr": 3e-4,
        "residual_algo": "sac", "alpha": (0.1, 0.1), "smoothing": 1.0, "total_timesteps": 1_500_000,
        "rl_envs": 16, "ramp_start": 1_500, "ramp": 10_000, "learning_starts": 300, "utd": 0.2,
        "lr": 1e-4, "sac_batch": 1024, "test_every": 250_000, "obs_noise": 0.0, "precision": "fp32",
        "rl_steps": 300, "per_scene": 4, "chunk_smoothing": 0.0,
    },
}  # fmt: skip
SLOW = {"rl_steps": 240, "collect_steps": 240, "explore": 0.25, "smoothing": 0.35}
SLOW |= {"test_every": 32_768, "enough": 0.98}
TASKS: dict[str, dict] = {"Grasp": {}, "Pour": SLOW,  # where the settings of a task differ
    "Lift": SLOW | {"explore": 0.5, "rl_steps": 150, "collect_steps": 150, "gamma": 0.998},
    "Handover": SLOW | {"log_std": -1.8, "n_steps": 64, "minibatch": 1024},
}  # fmt: skip

if __name__ == "__main__":
    ARGS = command_line(Args, PRESETS, TASKS, __doc__)  # before the imports that take seconds

import gymnasium
import numpy as np
import safetensors.torch
import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel
from torch.distributions import Normal

from dexfw_envs.backends import options_for
from dexfw_envs.catalog.splits import training_sampler
from dexfw_envs.control.smoothing import local_lines
from dexfw_envs.demos.collection import Tries, gather
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.editing.augment import augment
from dexfw_envs.editing.reading import read_motions
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.episodes.store import SOURCES, EpisodeStore
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.registry import entry
from dexfw_envs.runs.checkpoints import check_header, pack, unpack
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import means
from dexfw_envs.runs.progress import Progress
from dexfw_envs.runs.report import (
    curves,
    measure,
    plot_success,
    print_success,
    success_curves,
    wheel_turned,
)
from dexfw_envs.transforms import matrix_from_quat


# --- 2. networks ---
def features(obs: dict[str, np.ndarray], whole: bool = False) -> torch.Tensor:
    """State of the arms, place of the objects, and with `whole` their turn, velocities, (N, D)."""
    things = obs["object"].reshape(len(obs["object"]), -1, 13)
    arms = obs["proprio"].shape[1] // 69
    ends = np.cumsum([19, 19, 12, 12, 3]) * arms
    joints, speeds, *fingers, position, turn = np.split(obs["proprio"], ends, axis=1)
    joints, speeds = (x.reshape(-1, arms, 19)[..., :7] for x in (joints, speeds))
    palm = matrix_from_quat(turn.reshape(-1, arms, 4))
    offset = things[:, None, :, :3] - position.reshape(-1, arms, 1, 3)
    seen = (palm[:, :, None] * offset[..., None]).sum(3)  # the offset in the palm's frame
    columns = [joints, speeds, *fingers, position, palm[..., 0], palm[..., 1], things[..., :3]]
    columns += [offset, seen, *[things[..., 3:]] * whole]
    return torch.cat([torch.as_tensor(x).flatten(1) for x in columns], dim=1).float()


def mlp(sizes: list[int], activation: type[nn.Module], norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), *[nn.LayerNorm(after)] * norm, activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    options = {"activation": "gelu", "batch_first": True, "norm_first": True}
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class MlpDenoiser(nn.Module):
    """Denoises a flattened chunk (B, H, action) given the noise level k and a condition."""

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        size, width = horizon * action, args.width
        self.level = nn.Embedding(LEVELS, 64)
        self.inlet = nn.Linear(size + condition + 64, width)
        block = nn.Sequential(nn.LayerNorm(width), mlp([width] * 3, nn.SiLU))
        self.blocks = nn.ModuleList(copy.deepcopy(block) for _ in range(args.layers))
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        x = self.inlet(torch.cat([chunk.flatten(1), condition, self.level(k)], dim=1))
        for block in self.blocks:
            x = x + block(x)
        return self.outlet(x).view_as(chunk)


class TransformerDenoiser(nn.Module):
    """One token for k, one for the condition, one per action; the last ones give the result."""

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        self.level = nn.Embedding(LEVELS, args.width)
        self.condition, self.action = (nn.Linear(n, args.width) for n in (condition, action))
        self.position = nn.Parameter(0.02 * torch.randn(horizon + 2, args.width))
        self.body = transformer(args.width, args.layers, heads=8, dropout=0.1)
        self.outlet = nn.Sequential(nn.LayerNorm(args.width), nn.Linear(args.width, action))

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        context = torch.stack([self.level(k), self.condition(condition)], dim=1)
        tokens = torch.cat([context, self.action(chunk)], dim=1)
        return self.outlet(self.body(tokens + self.position)[:, 2:])


class ImageEncoder(nn.Module):
    """Features of images (B, h, w, 3) uint8; "vit": `vit_small_r26_s32_224`, plainer stem."""

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

    def __init__(self, state: int, action: int, args: Args):
        super().__init__()
        self.args, self.shape = args, (args.chunk, action)
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.obs == "image" else None
        denoiser = {"mlp": MlpDenoiser, "transformer": TransformerDenoiser}[args.denoiser]
        self.denoiser = denoiser(state + 384 * (args.obs == "image"), *self.shape, args)
        kind = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": args.prediction}
        self.scheduler = DDIMScheduler(LEVELS, **kind)
        self.scheduler.set_timesteps(args.sampling_steps)
        self.smoother = torch.as_tensor(local_lines(args.chunk, args.chunk_smoothing))
        sizes = {"mean": state, "std": state, "centre": action, "reach": action}
        for name, size in sizes.items():
            self.register_buffer(name, torch.ones(size))

    def fit_normaliser(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Standardise states, bring actions to [-1, 1]; a constant column is not blown up."""
        low, high = action.amin(0), action.amax(0)
        self.mean, self.std = state.mean(0), state.std(0).clamp(min=0.02)
        self.centre, self.reach = (low + high) / 2, ((high - low) / 2).clamp(min=0.02)

    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        state = ((state - self.mean) / self.std).clamp(-5.0, 5.0)
        state = state + self.args.obs_noise * torch.randn_like(state) if self.training else state
        return torch.cat([state, self.encoder(image)], dim=1) if self.encoder else state

    def loss(self, state: torch.Tensor, chunk: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        chunk = (chunk - self.centre) / self.reach
        k = torch.randint(0, LEVELS, (len(chunk),)).to(chunk.device)
        noise = torch.randn(chunk.shape).to(chunk.device)
        noisy = self.scheduler.add_noise(chunk, noise, k)
        predicted = self.denoiser(noisy, k, self.condition(state, image)).float()
        return F.mse_loss(predicted, noise if self.args.prediction == "epsilon" else chunk)

    @torch.no_grad()
    def sample(self, obs: dict[str, np.ndarray], chunk: torch.Tensor) -> torch.Tensor:
        """Actions (N, H, action) by DDIM from noise of that shape; nothing else is random."""
        device, chunk = self.args.device, chunk.to(self.args.device)
        image = torch.as_tensor(obs["image"]).to(device) if self.encoder else torch.empty(0)
        condition = self.condition(features(obs).to(device), image)
        for k in self.scheduler.timesteps:
            predicted = self.denoiser(chunk, k.to(device).expand(len(chunk)), condition)
            chunk = self.scheduler.step(predicted, k, chunk).prev_sample
        return self.smoother @ (chunk * self.reach + self.centre).cpu()


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], limit)
    optimizer.step()


def make_dataset(episodes, args: Args) -> list[torch.Tensor]:
    """State (M, D), actions from there on (M, H, action), the last one repeated, image if any."""
    states, chunks, images = [], [], []
    for episode in episodes:
        steps, obs = len(episode.actions), episode.observations
        ahead = (torch.arange(steps)[:, None] + torch.arange(args.chunk)).clamp(max=steps - 1)
        states.append(features(obs)[:steps])
        chunks.append(torch.as_tensor(episode.actions, dtype=torch.float32)[ahead])
        images.append(torch.as_tensor(obs.get("image", np.empty((steps, 0)))[:steps]))
    if not states:
        raise ValueError("no successful demonstration to learn from")
    return [torch.cat(states), torch.cat(chunks), torch.cat(images)]


def train_base(run: Run, i: int) -> None:
    """Behaviour cloning of D_i, from scratch or from base_{i-1}."""
    args, data = run.args, run.data(i)
    base = BasePolicy(data[0].shape[1], data[1].shape[2], args)
    base.fit_normaliser(data[0], data[1].flatten(0, 1))
    if args.encoder_weights:  # load_model refuses weights that do not fit and names them
        safetensors.torch.load_model(base.encoder, args.encoder_weights)
    if i > 1 and args.base_init == "finetune":
        base.load_state_dict(run.policy(i - 1)[0].state_dict())  # its normaliser fits its weights
    parameters = list(base.to(args.device).parameters())
    optimizer = torch.optim.AdamW(parameters, args.base_lr, weight_decay=1e-6, fused=True)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    parts = {"base": base, "optimizer": optimizer, "ema": ema}
    low = args.precision == "bf16"
    saved = run.restore()
    for name in parts if saved else ():
        parts[name].load_state_dict(saved[name])
    for step in run.bar(f"base {i}", saved.get("step", 0), args.base_steps):
        index = torch.randint(0, len(data[0]), (args.base_batch,))
        with torch.autocast(base.mean.device.type, torch.bfloat16, enabled=low):
            loss = base.loss(*(x[index].to(args.device) for x in data))
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / args.base_steps)
        optimizer.param_groups[0]["lr"] = args.base_lr * cosine * min(1.0, (step + 1) / 100)
        descend(optimizer, loss, limit=10.0)
        ema.step(parameters)
        if (step + 1) % 100 == 0:
            run.log((i - 1) * args.base_steps + step + 1, {"losses/base": loss.item()})
        run.save(step=step + 1, **{name: part.state_dict for name, part in parts.items()})
    ema.copy_to(parameters)
    run.store_policy(i, base, None)


# --- 4. combined policy: queues of chunks, plus the filtered residual ---
class ChunkPolicy(nn.Module):
    """pi_combined, or pi_base without a residual; every world of `env` has its own queue."""

    def __init__(self, base, residual, args: Args, env, aligned: bool = False):
        super().__init__()
        self.networks, self.args, self.env, self.aligned = (base, residual), args, env, aligned
        n, overlap = env.num_envs, args.chunk - args.execute  # a new chunk is faded in over these
        for name in ("queue", "noise"):  # actions to come, the last one repeated; where plans start
            self.register_buffer(name, torch.zeros(n, *base.shape))
        self.register_buffer("r", torch.zeros(n, 2, base.shape[1]))  # filter of the residual
        self.register_buffer("left", -torch.ones(n).long())  # steps to the next plan; -1: first
        self.retry, self.offset = None, torch.zeros(n, base.shape[1])  # on u, one for an episode
        self.fade = (torch.arange(1, args.chunk + 1) / (overlap + 1)).clamp(max=1.0)[:, None]

    def reset(self, mask: np.ndarray) -> None:
        self.left[mask], self.r[mask] = -1, 0.0
        for world in np.flatnonzero(mask) if self.retry else ():  # the n-th reset is the n-th try
            self.offset[world] = self.args.explore * next(self.retry) * torch.randn(self.r.shape[2])

    def rollouts(self, tries: Tries):
        """Collect; where it failed it tries again in another way, with a random offset on u."""
        self.retry = iter(tries.retry)
        return run_episodes(self.env, self, tries, progress="rollouts")

    def base_action(self, obs: dict[str, np.ndarray]) -> torch.Tensor:
        """Take the next action from every queue, (N, action); worlds whose time is up plan anew."""
        due = self.left <= 0
        if due.any():
            if self.args.sampling_noise == "fresh":
                self.noise[due] = torch.randn(self.noise[due].shape)
            seen = {name: value[due.numpy()] for name, value in obs.items()}
            if self.args.obs == "image":  # drawn only when looked at
                seen["image"] = self.env.draw(np.flatnonzero(due))
            new, old = self.networks[0].sample(seen, self.noise[due]), self.queue[due]
            fade = torch.where((self.left[due] < 0)[:, None, None], 1.0, self.fade)
            self.queue[due] = old + fade * (new - old)
            short = self.aligned and not due.all()  # after a reset, to replan with all others again
            self.left[due] = self.left[~due].max() if short else self.args.execute
        action = self.queue[:, 0]
        self.queue = torch.cat([self.queue[:, 1:], self.queue[:, -1:]], dim=1)
        self.left -= 1
        return action

    def residual_input(self, obs: dict[str, np.ndarray], base_action: torch.Tensor):
        """No image, no geometry; (N, D), ending in base action and filter state."""
        touch = [torch.as_tensor(obs["touch"])] if self.args.touch else []
        return torch.cat([features(obs, whole=True), *touch, base_action, self.r.flatten(1)], dim=1)

    @torch.no_grad()
    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        base, u = self.base_action(obs), torch.zeros(())
        if self.networks[1] is not None:
            u = self.networks[1].mean(self.residual_input(obs, base).to(self.args.device)).cpu()
        action, self.r = self.args.combine(base, self.r, (u + self.offset).clamp(-1.0, 1.0))
        return action.numpy()


# --- 5. residual reinforcement learning: what PPO and SAC share ---
class Agent(nn.Module):
    """A residual policy that learns; `memory` is what it needs besides weights to go on."""

    def __init__(self, inputs: int, args: Args, round_steps: int):
        super().__init__()
        self.args, self.round_steps = args, round_steps
        start = torch.tensor([1.0, 0.0, 1.0]).double()[:, None]  # as if one x of spread 1 was seen
        self.register_buffer("sums", start.repeat(1, inputs))  # over all x seen: of 1, x, x^2
        self.optimizers, self.memory = [], {}

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        mean, square = self.sums[1:] / self.sums[0]
        std = (square - mean.square()).clamp(min=1e-4).sqrt()
        return ((x - mean) / std).clamp(-5.0, 5.0).float()

    def observe(self, x: torch.Tensor) -> None:
        """Count x, (..., D), in for the normaliser."""
        x = x.flatten(0, -2).double()
        self.sums += torch.stack([torch.ones_like(x), x, x.square()]).sum(1)

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
        self.ended: list[list[dict]] = [[] for _ in range(env.num_envs)]  # object, success
        self._observe()

    def _observe(self) -> None:
        self.base = self.policy.base_action(self.obs)
        self.x = self.policy.residual_input(self.obs, self.base)

    def step(self, u: torch.Tensor, now: float = math.inf) -> dict[str, torch.Tensor]:
        """Execute base + filtered alpha u; where an episode ends, `x_next` is its last state."""
        self.gate = (torch.rand(len(u)) < self.args.epsilon(now)).float()  # 1: u is added
        policy, row = self.policy, {"x": self.x, "u": u * self.gate[:, None]}
        action, policy.r = self.args.combine(self.base, policy.r, row["u"])
        self.obs, reward, terminated, truncated, info = self.env.step(action.numpy())
        over, final = terminated | truncated, self.x
        if over.any():  # the base action in it is what the old queue would give next
            final = policy.residual_input(info["final_obs"], policy.queue[:, 0])
            for world in np.flatnonzero(over):
                scenario, won = (info["final_info"][k][world] for k in ("scenario", "success"))
                self.ended[world].append({"object": scenario.objects[0], "success": bool(won)})
            policy.reset(over)
        if self.env.reward_mode == "dense":
            reward = self._below_zero(reward, terminated, info)
        self._observe()
        for name, value in {"reward": reward, "done": over, "terminated": terminated}.items():
            row[name] = torch.as_tensor(value, dtype=torch.float32)
        return row | {"x_next": torch.where(row["done"][:, None] > 0, final, self.x)}

    def _below_zero(self, reward: np.ndarray, terminated: np.ndarray, info: dict) -> np.ndarray:
        """Shift the dense reward to [-1, 0], so that ending by success is best, by loss worst."""
        reward = np.clip(reward / self.args.dense_scale, 0.0, 1.0) - 1.0
        won = info["final_info"]["success"] if terminated.any() else terminated
        return np.where(terminated, np.where(won, 1.0, -1.0 / (1.0 - self.args.sac_gamma)), reward)

    def take_ended(self) -> list[dict]:
        """Episodes not taken yet, as many of each world: those that succeed end sooner."""
        return [rows.pop(0) for _ in range(min(map(len, self.ended))) for rows in self.ended]

    def state(self) -> dict:
        kept = {"env": pack(self.env.get_state()), "ended": self.ended}
        return kept | {"x": self.x, "base": self.base, "policy": self.policy.state_dict()}

    def load_state(self, state: dict) -> None:
        self.env.set_state(unpack(state["env"]))
        self.policy.load_state_dict(state["policy"])
        self.x, self.base, self.ended = state["x"], state["base"], state["ended"]


def train_residual(run: Run, i: int) -> None:
    """RL of residual_i over the frozen base_i, on the objects of the next turn."""
    args, (base, _) = run.args, run.policy(i)
    env = make_env(args, {"ppo": "sparse", "sac": "dense"}[args.residual_algo], sampler_of=i + 1)
    worlds = Worlds(env, ChunkPolicy(base, None, args, env, aligned=True), args, run.seed)
    agent = AGENTS[args.residual_algo](worlds.x.shape[1], base.shape[1], args)
    if saved := run.restore():
        agent.load_state(saved["agent"])
        worlds.load_state(saved["worlds"])
    origin, size = (i - 1) * args.total_timesteps, agent.round_steps * args.rl_envs
    rounds, between = max(1, args.total_timesteps // size), max(1, args.test_every // size)
    for n in run.bar(f"residual {i}", saved.get("round", 0), rounds):
        if n % between == 0 and test_residual(run, i, base, agent, n, origin + n * size):
            break
        losses = agent.round(worlds, n * size) | {"charts/epsilon": args.epsilon((n + 1) * size)}
        run.log(origin + (n + 1) * size, losses | curves("scheduled", worlds.take_ended()))
        run.save(round=n + 1, agent=agent.state, worlds=worlds.state)
    else:
        test_residual(run, i, base, agent, rounds, origin + rounds * size)
    env.close()
    run.store_policy(i, base, agent)


def test_residual(run: Run, i: int, base: BasePolicy, agent: Agent, n: int, step: int) -> bool:
    """Test the residual; say if it is enough. In round 0 it is the base, as is the schedule."""
    rng, sampler = np.random.default_rng(run.seed), training_sampler(run.args.task, i + 1, scenes=i)
    scenarios, env = [sampler(rng) for _ in range(run.args.test_episodes)], make_env(run.args)
    policy = ChunkPolicy(base, agent if n else None, run.args, env)
    records = evaluate(policy, env, scenarios=scenarios)
    env.close()
    for name in ("residual",) if n else ("base", "scheduled", "residual"):
        run.log(step, curves(name, records))
    return sum(record["success"] for record in records) > run.args.enough * len(records)


# --- 6. residual PPO ---
def gae(reward, value, next_value, terminated, done, gamma: float, lam: float = 0.95):
    """Advantages (T, N). Truncated episodes are bootstrapped with the value of their last state."""
    advantage = reward + gamma * next_value * (1.0 - terminated) - value
    for t in reversed(range(len(advantage) - 1)):
        advantage[t] += gamma * lam * (1.0 - done[t]) * advantage[t + 1]
    return advantage


class PpoAgent(Agent):
    """Gaussian residual whose spread does not depend on the state, and its critic."""

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__(inputs, args, round_steps=args.n_steps)
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

    def round(self, worlds: Worlds, step: int) -> dict[str, float]:
        """Step every world n_steps times, then update; returns the mean losses."""
        args, rows, losses = self.args, [], []
        for now in range(step, step + args.n_steps * args.rl_envs, args.rl_envs):
            sampled = self.distribution(worlds.x.to(args.device)).sample().cpu()
            row = worlds.step(sampled.clamp(-1.0, 1.0), now)
            rows.append(row | {"sampled": sampled, "gate": worlds.gate})
        b = {name: torch.stack([row[name] for row in rows]).to(args.device) for name in rows[0]}
        self.observe(b["x"])  # before the old probabilities are taken: all ratios start at one
        with torch.no_grad():
            value, next_value = (self.critic(self.norm(b[k]))[..., 0] for k in ("x", "x_next"))
            b["log_prob"] = self.distribution(b["x"]).log_prob(b["sampled"]).sum(-1)
        b["advantage"] = gae(b["reward"], value, next_value, b["terminated"], b["done"], args.gamma)
        b["return"] = b["advantage"] + value
        left, (actor, critic) = 1.0 - step / args.total_timesteps, self.optimizers[0].param_groups
        actor["lr"], critic["lr"] = (lr * max(0.05, left) for lr in (args.lr, args.critic_lr))
        batch = {name: column.flatten(0, 1) for name, column in b.items()}
        for _ in range(args.epochs):
            for index in torch.randperm(len(batch["x"])).split(args.minibatch):
                losses.append(self.update({name: x[index] for name, x in batch.items()}))
            if losses[-1]["losses/approx_kl"] > args.target_kl:
                break
        return means(losses)

    def update(self, b: dict[str, torch.Tensor]) -> dict[str, float]:
        log_ratio = self.distribution(b["x"]).log_prob(b["sampled"]).sum(-1) - b["log_prob"]
        ratio, executed = log_ratio.exp(), b["gate"].sum().clamp(min=1.0)
        advantage = (b["advantage"] - b["advantage"].mean()) / (b["advantage"].std() + 1e-8)
        gain = torch.min(ratio * advantage, ratio.clamp(1.0 - CLIP, 1.0 + CLIP) * advantage)
        policy_loss = -(gain * b["gate"]).sum() / executed  # the others were not executed
        value_loss = 0.5 * F.mse_loss(self.critic(self.norm(b["x"]))[..., 0], b["return"])
        descend(self.optimizers[0], policy_loss + value_loss, limit=0.5)
        kl = ((ratio - 1.0 - log_ratio) * b["gate"]).sum() / executed
        found = {"policy": policy_loss, "value": value_loss, "approx_kl": kl}
        return {f"losses/{name}": value.item() for name, value in found.items()}


# --- 7. residual SAC ---
class SacAgent(Agent):
    """Squashed Gaussian residual, twin critics of the combined action, and the replay."""

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__(inputs, args, round_steps=16)
        self.actor = mlp([inputs, 256, 256, 256, 2 * action], nn.ReLU)
        self.actor[-1].weight.data.mul_(0.01)  # training starts near the base policy
        sizes = [inputs + action, 256, 256, 256, 1]
        self.critics = nn.ModuleList(mlp(sizes, nn.ReLU, norm=True) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_weight = nn.Parameter(torch.tensor(math.log(0.05)))  # of the entropy, tuned
        self.to(args.device)
        learned = (self.critics.parameters(), self.actor.parameters(), [self.log_weight])
        self.optimizers = [torch.optim.Adam(group, lr=args.lr) for group in learned]
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
        end = x[:, -3 * u.shape[1] :].unflatten(1, (3, -1))  # base action, then filter state
        action, _ = self.args.combine(end[:, 0], end[:, 1:], u)
        joint = torch.cat([self.norm(x), action], dim=1)
        return torch.stack([critic(joint).squeeze(-1) for critic in critics])

    def remember(self, row: dict[str, torch.Tensor]) -> None:
        replay, seen = self.memory["replay"], self.memory["seen"]
        for name, value in row.items():
            if name not in replay:
                replay[name] = torch.zeros(REPLAY_SIZE, *value.shape[1:])
            replay[name][torch.arange(seen, seen + len(value)) % REPLAY_SIZE] = value
        self.memory["seen"] += len(row["x"])

    def batch(self) -> dict[str, torch.Tensor]:
        index = torch.randint(0, min(self.memory["seen"], REPLAY_SIZE), (self.args.sac_batch,))
        return {k: v[index].to(self.args.device) for k, v in self.memory["replay"].items()}

    def round(self, worlds: Worlds, step: int) -> dict[str, float]:
        """A few steps of every world, each followed by the gradient steps that are due by then."""
        args, losses = self.args, []
        for now in range(step, step + self.round_steps * args.rl_envs, args.rl_envs):
            u = 2.0 * torch.rand(worlds.base.shape) - 1.0
            if now >= args.learning_starts:
                u = self.sample(worlds.x.to(args.device))[0].detach().cpu()
                self.memory["owed"] += args.utd * args.rl_envs
            self.remember(row := worlds.step(u, now))
            self.observe(row["x"].to(args.device))
            while self.memory["owed"] >= 1.0:
                self.memory["owed"] -= 1.0
                losses.append(self.update(self.batch()))
        return means(losses)

    def update(self, b: dict[str, torch.Tensor]) -> dict[str, float]:
        weight = self.log_weight.exp().detach()
        with torch.no_grad():
            next_u, next_log_prob = self.sample(b["x_next"])
            next_q = self.q(self.targets, b["x_next"], next_u).amin(0) - weight * next_log_prob
            target = b["reward"] + self.args.sac_gamma * (1.0 - b["terminated"]) * next_q
        critic_loss = F.mse_loss(self.q(self.critics, b["x"], b["u"]), target.expand(2, -1))
        descend(self.optimizers[0], critic_loss, limit=10.0)
        u, log_prob = self.sample(b["x"])
        actor_loss = (weight * log_prob - self.q(self.critics, b["x"], u).amin(0)).mean()
        descend(self.optimizers[1], actor_loss, limit=10.0)
        surplus = u.shape[1] - log_prob.detach().mean()  # entropy above its target, -dimension
        descend(self.optimizers[2], self.log_weight * surplus, limit=10.0)
        for old, new in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            old.lerp_(new.detach(), TAU)
        found = {"critic": critic_loss, "actor": actor_loss, "entropy_weight": weight}
        return {f"losses/{name}": value.item() for name, value in found.items()}


AGENTS: dict[str, type[Agent]] = {"ppo": PpoAgent, "sac": SacAgent}


# --- 8. worlds, and the data of each turn ---
def make_env(args: Args, reward="sparse", sampler_of=0, image=False, steps: int | None = None):
    """Make worlds. Those of RL bring a turn's objects into the last turn's scenes."""
    return gymnasium.make_vec(
        entry(args.task).env_id, num_envs=args.rl_envs, backend=args.backend, reward_mode=reward,
        obs_mode=("image" if image else "state") + "+touch" * args.touch, info_mode="full",
        autoreset_mode="same_step" if sampler_of else "disabled",
        scenarios=training_sampler(args.task, max(1, sampler_of), scenes=max(1, sampler_of - 1)),
        image_size={"state": 320, "image": args.image_size}[args.obs],  # state: only for videos
        max_episode_steps=args.rl_steps if sampler_of else steps,
        control_mode=CONTROL_MODE, render_mode="rgb_array",
        **options_for(args.backend, args.threads, args.timestep_scale, args.friction_scale),
    ).unwrapped  # fmt: skip


def build_data(run: Run, i: int) -> None:
    """D_1 = A_EP(seed; C_1). D_i: rollouts of the last pi_combined, and A_EP of them to C_i.

    They bring the objects of turn i into scenes of C_{i-1}, where base and residual were trained;
    A_EP takes them to the new ones. Without it the rollouts have to go there themselves.
    """
    args, rng, count = run.args, np.random.default_rng(run.seed), run.args.trajectories[:i][-1]
    env, report = make_env(args, image=args.obs == "image", steps=args.collect_steps), {}
    collect = partial(gather, args.task, i, per_scene=args.per_scene)
    chosen, source = [load_seed(args.task)], "augmented" if args.aep or i == 1 else "policy"
    shutil.rmtree(run.path / f"D_{i}", ignore_errors=True)  # left half-full by a killed process
    store = EpisodeStore(run.path / f"D_{i}", entry(args.task).env_id, CONTROL_MODE)
    add = {s: partial(store.add, source=s, seed=args.seed, config={"turn": i}) for s in SOURCES}
    if i > 1:
        make = ChunkPolicy(*run.policy(i - 1), args, env).rollouts
        chosen, report["rollouts"] = collect(count, rng, make, add["policy"], scenes=i - args.aep)
    if source == "augmented":
        blur = args.aep_smoothing if i > 1 else 0.0
        sources = read_motions(chosen, env.codec, smoothing=blur)
        aep = partial(augment, env, sources, rng=rng, failures=True, progress=f"A_EP {i}")
        chosen, report["edited"] = collect(count, rng, aep, add["augmented"])
    env.close()
    for episode in chosen:  # the failures are stored already
        add[source](episode)
    atomic_write_json(run.path / f"data_{i}.json", report)


def evaluate_turn(run: Run, i: int) -> None:
    """Success and motion of base_i and pi_combined on the splits asked for."""
    args, env = run.args, make_env(run.args)
    policies = {"base": ChunkPolicy(run.policy(i)[0], None, args, env)}
    if args.residual:
        policies["combined"] = ChunkPolicy(*run.policy(i), args, env)
    films = run.path / "videos" if args.capture_video or i == args.iterations else None
    known = {"method": "dexflywheel", "iteration": i, "provenance": run.folder.provenance}
    rows = measure(policies, env, args, films=films, **known)
    run.log(i, success_curves(rows))
    atomic_write_json(run.path / f"eval_{i}.json", rows)
    env.close()


# --- 9. runs, checkpoints, resuming ---
class Run(Progress):
    def __init__(self, args: Args):
        new = (args.runs, entry(args.task).env_id, "dexflywheel", args.seed, args)
        folder = RunFolder.open(args.resume) if args.resume else RunFolder.create(*new)
        super().__init__(folder, args.seed, args.save_seconds, args.track)
        self.args = args

    def data(self, i: int) -> list[torch.Tensor]:
        first = 1 if self.args.data == "cumulative" else i
        kind = entry(self.args.task).env_id, CONTROL_MODE
        stores = [EpisodeStore(self.path / f"D_{j}", *kind) for j in range(first, i + 1)]
        return make_dataset((e for s in stores for e in s.episodes(success=True)), self.args)

    def store_policy(self, i: int, base: BasePolicy, agent: Agent | None) -> None:
        weights = {"base": base.state_dict(), "residual": agent.state_dict() if agent else None}
        known = header(self.args) | {"args": asdict(self.args), "iteration": i}
        self.store(f"policy_{i}.pt", known | weights)

    def policy(self, i: int) -> tuple[BasePolicy, Agent | None]:
        return build_policy(self.load(f"policy_{i}.pt"), self.args)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    keys = ["proprio", "object", *["touch"] * args.touch, *["image"] * (args.obs == "image")]
    return {"method": "dexflywheel", "method_version": METHOD_VERSION, "observation_keys": keys,
            "env_id": entry(args.task).env_id, "control_mode": CONTROL_MODE}  # fmt: skip


def build_policy(state: dict, args: Args) -> tuple[BasePolicy, Agent | None]:
    check_header(state, header(args))
    kept, agent = state["base"], None
    base = BasePolicy(len(kept["mean"]), len(kept["centre"]), args)
    base.load_state_dict(kept)
    if weights := state["residual"]:
        agent = AGENTS[args.residual_algo](weights["sums"].shape[1], base.shape[1], args)
        agent.load_state_dict(weights)
    return base.to(args.device).eval().requires_grad_(False), agent


def open_policy(state: dict, args: Args, name: str) -> tuple:
    """Make the policy of a checkpoint and worlds for it to act in (`--evaluate`)."""
    base, residual = build_policy(state, args)
    if name == "combined" and residual is None:
        raise ValueError("the checkpoint holds no residual; evaluate it with --policy base")
    env = make_env(args)
    return ChunkPolicy(base, residual if name == "combined" else None, args, env), env


# --- 10. entry point ---
def main(args: Args) -> int:
    check_device(args.device)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        return evaluate_checkpoint(args, open_policy, TASKS)
    run, rows = Run(args), []
    print(f"run folder: {run.path}", flush=True)
    for i in range(1, args.iterations + 1):
        run.stage("data", build_data, i)
        run.stage("base", train_base, i)
        if args.residual:
            run.stage("residual", train_residual, i)
        run.stage("eval", evaluate_turn, i)
        rows += read_json(run.path / f"eval_{i}.json")
    run.metrics.close()
    print_success(rows)
    plot_success(rows, run.path / "success.png", run.path.name)
    print(f"wall time {sum(run.done.values()) / 60:.1f} min; curves, plot, videos: {run.path}")
    return int(args.preset == "quick" and not wheel_turned(rows))  # the demo says if it worked


if __name__ == "__main__":
    sys.exit(main(ARGS))
