"""DexPIE (arXiv 2606.09615): policy improvement from deployment experience, with its baselines.

Differs: scripted operator; own successes count half; states seen from palms; small networks; 20 Hz.
Command: python baselines/dexpie.py --variant dexpie --seed 1 --eval-splits T_OEP --threads 1
Expected, time: Grasp 91.0 % from 56.0 % (seed 1, n 200; paper: 87.3 from 50.0, own tasks); 4 min.
"""

from __future__ import annotations

import contextlib
import copy
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from dexfw_envs import checks
from dexfw_envs.deployment.chunk_executor import check_latency
from dexfw_envs.registry import entry
from dexfw_envs.runs.evaluation import evaluate_checkpoint
from dexfw_envs.runs.settings import (
    SAME_METHOD,
    ScriptArgs,
    check_device,
    check_made_with,
    command_line,
)

METHOD, METHOD_VERSION, CONTROL_MODE = "dexpie", 3, "ee_pose"
LEVELS, EMBEDDING = 50, 128  # noise levels in training; sines and cosines of the optimality
BINS, BIN_WIDTH, FOLDS = 201, 1.0, 5  # of the critic, over [-1, 0]; spread of a label [bins]
KINDS = {"bc": None, "hg-dagger": None, "recap": "binary", "dexpie": "sigmoid"}  # their indicator
SPARE, DEPLOYED = 0.25, 8  # share of scenes that the expert may pass over; worlds of collection
RAMPS = np.linspace(-0.1, 0.1, 5)  # where places are resolved to millimetres, in pieces [m]
PROPRIO = np.cumsum([38, 12, 12, 3])  # of an arm: joints, fingers, their speeds, palm; its turn


# --- 1. settings ---
@dataclass(frozen=True)
class Args(ScriptArgs):
    VARIANTS: ClassVar[tuple[str, ...]] = tuple(KINDS)
    SAME: ClassVar[tuple[str, ...]] = ("collected", "demonstrations")
    ASKED: ClassVar[tuple[str, ...]] = ("eval_inference", "eval_latency")

    preset: Literal["laptop", "quick", "paper"] = "laptop"  # where all other options start from
    variant: str = "dexpie"  # bc, hg-dagger, recap or dexpie; dexpie-NAME: an ablation of it
    policy: Literal["base"] = "base"  # with --evaluate: there is no other
    rounds: int = 1  # of collection and improvement
    collected: str = ""  # run folder: take demonstrations, reference policy and rollouts from it
    num_envs: int = 64  # parallel worlds
    demos: str = ""  # store with demonstrations, such as a person's; scripted ones if empty
    demonstrations: int = 30  # how many are learned from; this alone sets the reference's success
    # deployment
    action_space: Literal["relative", "absolute"] = "relative"  # to the measured palm, or not
    inference: Literal["async", "sync"] = "async"  # in collection; sync waits for every chunk
    latency: tuple[int, ...] = (4,)  # of inference [steps]: fixed, or least and most
    eval_inference: Literal["async", "sync"] = "async"  # in tests
    eval_latency: tuple[int, ...] = ()  # in tests, also beyond the prefix; empty: as in collection
    # collection
    rollouts: int = 60  # episodes per round, retries included
    retries: int | None = None  # most of them in a round; None: every start that fails
    collect_steps: int | None = None  # longest episode of collection; None: the task's own limit
    starts: Literal["staged", "initial"] = "staged"  # also from intermediate stages, or not
    setups: int = 15  # scenes brought to these stages by the expert; 0: those of demonstrations
    initial_share: float = 0.8  # of the initial state in staged starts, before any has failed
    operator: Literal["scripted", "keyboard"] = "scripted"  # who intervenes
    intervene: Literal["retries", "always", "never"] = "retries"  # in which episodes
    patience: float = 1.5  # times the longest stage of most demonstrations: a stall
    reaction: tuple[int, int] = (6, 14)  # of the scripted operator, least and most [steps]
    foresight: int = 20  # steps before the first try went wrong that it is called in the second
    # critic
    critic_steps: int = 400  # gradient steps; 2000 learn the episodes by heart
    critic_batch: int = 512  # batch size
    critic_lr: float = 5e-4  # learning rate, falling as a cosine
    critic_noise: float = 0.5  # on its normalised state in training, as `obs_noise`
    critic_hand: bool = True  # it sees the finger joints (the paper's does not)
    critic_touch: bool = False  # it feels the fingertip forces
    critic_split: Literal["crossfit", "heldout"] = "crossfit"  # five fifths, or one left out
    failure_penalty: float = 1.0  # of a failed end, relative to the longest episode
    failure_decay: float = 1.0  # of the penalty per step back (the authors' later code: 0.99)
    # optimality
    lookahead: int = 50  # N of the advantage [steps] (the paper: the chunk); shorter is noisier
    end_value: Literal["critic", "true"] = "true"  # of a last frame in the advantage
    indicator: Literal["auto", "sigmoid", "binary", "linear", "outcome"] = "auto"  # auto: variant's
    alpha: float = 5.0  # steepness of the sigmoid
    ceiling: float = 0.5  # of sigmoid and linear: an expert is better (the paper: 1)
    quantiles: tuple[float, float] = (0.4, 0.6)  # of the advantage (the paper: 0.6 and 0.8)
    labels: Literal["paper", "later"] = "paper"  # later: demonstrations and mixed windows judged
    imitate: Literal["all", "successes", "interventions"] = "all"  # all: with an indicator only
    contrast: float = 10.0  # turns of the optimality in its embedding [rad] (the paper's code: 1)
    drop: float = 0.3  # probability that the condition is left out in training
    beta: float = 1.25  # guidance; 1: the conditional policy as it is
    init: Literal["scratch", "reference"] = "scratch"  # weights that improvement starts from
    # policy
    obs: Literal["state", "image"] = "state"  # image: policy and critic also see the camera
    image_size: int = 96  # side of the camera image [px]
    encoder: Literal["cnn", "vit"] = "cnn"  # image encoder
    width: int = 256  # of denoiser and critic
    layers: int = 3  # residual blocks of the denoiser
    chunk: int = 16  # H, actions predicted at once
    prefix: int = 4  # P, actions still executed while the next chunk is worked out
    prefix_exposure: float = 0.1  # share of windows that may get a clean prefix in training
    chunk_smoothing: float = 1.5  # of a predicted chunk, standard deviation [steps]; 0: none
    prediction: Literal["epsilon", "sample"] = "sample"  # what the denoiser predicts
    sampling_steps: int = 10  # DDIM steps when acting
    sampling_noise: Literal["zero", "fresh"] = "zero"  # start of the denoising
    base_steps: int = 15_000  # gradient steps of every policy
    base_batch: int = 256  # batch size
    base_lr: float = 5e-4  # learning rate, falling as a cosine
    obs_noise: float = 0.1  # on the normalised state in training: off the data, go on all the same

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            valid = ", ".join(f"{name}, {name}-NAME" for name in KINDS)
            raise ValueError(f"unknown --variant {self.variant!r}; valid: {valid}")
        if self.indicator != "auto" and not KINDS[self.kind]:
            raise ValueError(f"--variant {self.variant} has no use for --indicator")
        checks.least(self, 0, "retries", "setups", "foresight", "beta", "failure_penalty")
        checks.least(self, 0, "chunk_smoothing")
        checks.least(self, 1, "rounds", "num_envs", "rollouts", "lookahead", "demonstrations")
        checks.shares(self, "initial_share", "quantiles", "ceiling", "drop", "prefix_exposure")
        if not 0 <= self.prefix < self.chunk / 2:
            raise ValueError(f"--prefix must be below half of --chunk {self.chunk}: {self.prefix}")
        for latency in (self.latency, self.eval_latency or (0,)):
            check_latency(latency)
        late = "async" in (self.inference, self.eval_latency or self.eval_inference)
        if late and (longest := max(self.latency)) > self.prefix:
            raise ValueError(f"--latency {longest} is longer than --prefix {self.prefix} allows")
        if self.quantiles[0] >= self.quantiles[1]:
            raise ValueError(f"--quantiles: the low one must be below the high: {self.quantiles}")

    @property
    def kind(self) -> str:
        return next((name for name in KINDS if f"{self.variant}-".startswith(f"{name}-")), "")

    @property
    def longest(self) -> int:
        return entry(self.task).make().max_episode_steps  # the unit of value [steps]


PRESETS: dict[str, dict] = {
    "laptop": {},  # two CPU cores
    "quick": {"preset": "quick", "base_steps": 5_000, "rollouts": 30},
    "paper": {  # sizes of the paper and its code, as far as the networks here go; for GPUs
        "preset": "paper", "device": "cuda", "obs": "image", "image_size": 224, "encoder": "vit",
        "width": 1024, "layers": 6, "chunk": 24, "lookahead": 24, "prediction": "epsilon",
        "sampling_noise": "fresh", "base_steps": 100_000, "base_lr": 1e-4,
        "critic_steps": 50_000, "critic_lr": 1e-4, "critic_hand": False, "critic_noise": 0.0,
        "obs_noise": 0.0, "precision": "fp32", "chunk_smoothing": 0.0, "contrast": 1.0, "beta": 1.5,
        "end_value": "critic", "demonstrations": 43, "quantiles": (0.6, 0.8), "ceiling": 1.0,
    },
}  # fmt: skip
TASKS: dict[str, dict] = {  # so many that seed 1's reference comes nearest to every second time
    "Grasp": {"demonstrations": 3}, "Pour": {"demonstrations": 1},
    "Handover": {"demonstrations": 2}, "Lift": {}}  # fmt: skip
# With --collected these may differ from that run's; all else made its policy and its data.
LATER = (
    *("collected", *Args.ASKED, "rounds", "rollouts", "lookahead", "end_value", "indicator"),
    *("alpha", "ceiling", "quantiles", "labels", "imitate", "contrast", "beta", "init", "num_envs"),
    *(field.name for field in fields(Args) if field.name.startswith(("critic_", "failure_"))),
    *("drop", *(name for name in SAME_METHOD if name != "seed")),
)

if __name__ == "__main__":
    ARGS = command_line(Args, PRESETS, TASKS, __doc__)  # before the imports that take seconds

import gymnasium
import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel

from dexfw_envs.backends import options_for
from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.catalog.splits import configurations
from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.control.relative import ACTION_SPACES, measured_palms
from dexfw_envs.control.smoothing import local_lines
from dexfw_envs.demos.demonstrations import demonstrate, read_demonstrations, take_episodes
from dexfw_envs.deployment import collection
from dexfw_envs.deployment.chunk_executor import ChunkExecutor, make_inference
from dexfw_envs.deployment.scripted_operator import Gate, ScriptedOperator
from dexfw_envs.deployment.shared_control import SharedControl
from dexfw_envs.deployment.stages import STAGE, StagedEnv, longest_stage, stage_starts, with_stages
from dexfw_envs.deployment.starts import Starts
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.calibration import calibrations, shares, split_by_scene
from dexfw_envs.experts import TEACHER_STYLES
from dexfw_envs.files import atomic_write_json
from dexfw_envs.runs.checkpoints import check_header, load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.progress import Progress, check_finished
from dexfw_envs.runs.report import all_rounds, measure, print_success, success_curves
from dexfw_envs.teleop.keyboard import keyboard_operator, raw_terminal
from dexfw_envs.transforms import matrix_from_quat


# --- 2. networks ---
def palm_features(obs: dict[str, np.ndarray], args: Args, whole: bool = False) -> torch.Tensor:
    """What the palms see, near things finely, (N, D); `whole`, for absolute actions: where, too."""
    things, arms = obs["object"].reshape(len(obs["object"]), -1, 13), obs["proprio"].shape[1] // 69
    things = things[:, :0] if args.obs == "image" else things  # the camera's part
    _, fingers, speeds, position, turn = np.split(obs["proprio"], arms * PROPRIO, axis=1)
    palm, position = matrix_from_quat(turn.reshape(-1, arms, 4)), position.reshape(-1, arms, 3)
    offset = np.concatenate([things[..., :3], position], 1)[:, None] - position[:, :, None]
    seen = (palm[:, :, None] * offset[..., None]).sum(3)  # in the palms' frames, as is what follows
    turned = palm[:, :, None].swapaxes(3, 4) @ palm[:, None]
    near = [np.clip(x[..., None] - RAMPS, 0.0, 0.05) for x in (seen[:, :, :-arms], things[..., 2])]
    columns = [fingers, palm[..., 2, :], position[..., 2], seen, turned[..., :2], *near]
    if whole or args.action_space == "absolute":
        columns += [position, palm[..., :2]]
    if whole:
        columns += [things, speeds]
    return torch.cat([torch.as_tensor(x).flatten(1) for x in columns], dim=1).float()


# Copied from baselines/dexflywheel.py: mlp
def mlp(sizes: list[int], activation: type[nn.Module], norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), *[nn.LayerNorm(after)] * norm, activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


# Copied from baselines/dexflywheel.py: transformer
def transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    options = {"activation": "gelu", "batch_first": True, "norm_first": True}
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


# Copied from baselines/dexflywheel.py: MlpDenoiser
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


# Copied from baselines/dexflywheel.py: ImageEncoder
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


def embed(optimality: torch.Tensor, args: Args) -> torch.Tensor:
    """Sines and cosines of an optimality in [0, 1], (B, 128); the null condition is all zeros."""
    steps = torch.arange(EMBEDDING // 2, device=optimality.device) / (EMBEDDING // 2 - 1)
    angles = args.contrast * optimality[:, None] * 10_000.0**-steps
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# --- 3. policy: diffusion of chunks that may begin with known actions ---
class DiffusionPolicy(nn.Module):
    """A chunk of H actions from one observation, some first actions, and a wish for optimality.

    The reference policy knows the null condition alone; `guided` ones act at optimality 1.
    """

    def __init__(self, state: int, action: int, args: Args, guided: bool):
        super().__init__()
        self.args, self.shape, self.guided = args, (args.chunk, action), guided
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.obs == "image" else None
        condition = state + 384 * (args.obs == "image") + EMBEDDING
        self.denoiser = MlpDenoiser(condition, *self.shape, args)
        kind = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": args.prediction}
        self.scheduler = DDIMScheduler(LEVELS, **kind)
        self.scheduler.set_timesteps(args.sampling_steps)
        self.smoother = torch.as_tensor(local_lines(args.chunk, args.chunk_smoothing))
        for name, size in {"mean": state, "std": state, "centre": action, "reach": action}.items():
            self.register_buffer(name, torch.ones(size))

    # Copied from baselines/dexflywheel.py: BasePolicy.fit_normaliser
    def fit_normaliser(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Standardise states, bring actions to [-1, 1]; a constant column is not blown up."""
        low, high = action.amin(0), action.amax(0)
        self.mean, self.std = state.mean(0), state.std(0).clamp(min=0.02)
        self.centre, self.reach = (low + high) / 2, ((high - low) / 2).clamp(min=0.02)

    # Copied from baselines/dexflywheel.py: BasePolicy.condition
    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        state = ((state - self.mean) / self.std).clamp(-5.0, 5.0)
        state = state + self.args.obs_noise * torch.randn_like(state) if self.training else state
        return torch.cat([state, self.encoder(image)], dim=1) if self.encoder else state

    def loss(self, state, chunk, counts, image, optimality) -> torch.Tensor:
        """Denoising error of the actions that count (B, H) and were not given as a prefix.

        An optimality (B,) below zero is the null condition. Actions out of range are clipped.
        """
        device, size = chunk.device, (len(chunk),)
        chunk = ((chunk - self.centre) / self.reach).clamp(-1.0, 1.0)
        k, noise = torch.randint(0, LEVELS, size).to(device), torch.randn(chunk.shape).to(device)
        delay = torch.randint(0, self.args.prefix + 1, size)
        delay = torch.where(torch.rand(size) < self.args.prefix_exposure, delay, 0).to(device)
        clean = torch.arange(self.shape[0], device=device) < delay[:, None]
        noisy = self.scheduler.add_noise(chunk, noise, k)
        noisy = torch.where(clean[..., None], chunk, noisy)  # one level k for all, as in the paper
        wish = (optimality >= 0) & (torch.rand(size).to(device) >= self.args.drop)
        condition = [self.condition(state, image), embed(optimality, self.args) * wish[:, None]]
        predicted = self.denoiser(noisy, k, torch.cat(condition, dim=1)).float()
        error = (predicted - (noise if self.args.prediction == "epsilon" else chunk)).square()
        weight = (counts & ~clean).float()
        return (error.mean(dim=2) * weight).sum() / weight.sum().clamp(min=1.0)

    def denoise(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        """Prediction at level k; with guidance both branches in one batch."""
        null, k = torch.zeros(len(chunk), EMBEDDING, device=chunk.device), k.expand(len(chunk))
        if not self.guided:
            return self.denoiser(chunk, k, torch.cat([condition, null], dim=1))
        wish = torch.cat([embed(torch.ones_like(null[:, 0]), self.args), null])
        both = torch.cat([condition.repeat(2, 1), wish], dim=1)
        wanted, plain = self.denoiser(chunk.repeat(2, 1, 1), k.repeat(2), both).chunk(2)
        return plain + self.args.beta * (wanted - plain)

    @torch.no_grad()
    def sample(self, obs, prefix: torch.Tensor, known: torch.Tensor, chunk: torch.Tensor):
        """Chunks (N, H, action) by DDIM from noise of that shape.

        Before every step the first `known` (N,) actions of `prefix` (N, P, action) are put in.
        """
        device, horizon = self.args.device, self.shape[0]
        image = torch.as_tensor(obs["image"]).to(device) if self.encoder else torch.empty(0)
        state, chunk = (x.to(device) for x in (palm_features(obs, self.args), chunk))
        condition = self.condition(state, image)
        prefix = F.pad(prefix, (0, 0, 0, horizon - prefix.shape[1])).to(device)
        given = (torch.arange(horizon) < known[:, None])[..., None].to(device)
        normal = ((prefix - self.centre) / self.reach).clamp(-1.0, 1.0)
        for k in self.scheduler.timesteps:
            chunk = torch.where(given, normal, chunk)
            predicted = self.denoise(chunk, k.to(device), condition)
            chunk = self.scheduler.step(predicted, k, chunk).prev_sample
        chunk = torch.where(given, normal, chunk) * self.reach + self.centre
        return torch.where(given, prefix, self.smoother.to(device) @ chunk).cpu()


# Copied from baselines/dexflywheel.py: descend
def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], limit)
    optimizer.step()


def fit(run: Run, title: str, net: nn.Module, loss: Callable, steps: int, lr: float, i: int):
    """Descend for that many steps and leave the average of the weights; the same after a kill."""
    args, parameters = run.args, list(net.to(run.args.device).parameters())
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=1e-6, fused=True)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    parts = {"net": net, "optimizer": optimizer, "ema": ema}
    device = torch.device(args.device).type
    low = args.precision == "bf16"
    saved = run.restore()
    for name in parts if saved else ():
        parts[name].load_state_dict(saved[name])
    for step in run.bar(f"{title} {i}", saved.get("step", 0), steps):
        with torch.autocast(device, torch.bfloat16, enabled=low):
            value = loss()
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimizer.param_groups[0]["lr"] = lr * cosine * min(1.0, (step + 1) / 100)
        descend(optimizer, value, limit=10.0)
        ema.step(parameters)
        if (step + 1) % 100 == 0:
            run.log(i * steps + step + 1, {f"losses/{title}": value.item()})
        run.save(step=step + 1, **{name: part.state_dict for name, part in parts.items()})
    ema.copy_to(parameters)


# --- 4. what policies learn from ---
def windows(episodes: Iterable, args: Args, judged: list | None = None) -> dict[str, torch.Tensor]:
    """What to learn from M frames: state (M, D), chunk (M, H, action), what counts of it, image.

    And optimality (M,), of every episode as `judged`, or the null condition. Past the end of an
    episode the last action is repeated; it counts after a success (hold what is held) alone.
    """
    codec = PoseCodec(entry(args.task).make().needs.robot)
    rows: dict[str, list] = {name: [] for name in ("state", "chunk", "counts", "image")}
    space = ACTION_SPACES[args.action_space](codec)
    for episode in episodes:
        steps, obs = len(episode.actions), episode.observations
        ahead = torch.arange(steps)[:, None] + torch.arange(args.chunk)
        chunk = episode.actions[ahead.clamp(max=steps - 1).numpy()]
        chunk = space.encode(chunk, measured_palms(obs["proprio"][:steps], codec.arms))
        rows["state"].append(palm_features(obs, args)[:steps])
        rows["chunk"].append(torch.as_tensor(chunk, dtype=torch.float32))
        rows["counts"].append((ahead < steps) | bool(episode.success))
        rows["image"].append(torch.as_tensor(obs.get("image", np.empty((steps, 0)))[:steps]))
    rows["optimality"] = judged or [-torch.ones(len(state)) for state in rows["state"]]
    return {name: torch.cat(parts) for name, parts in rows.items()}


def learn(run: Run, i: int, policy: DiffusionPolicy, data: dict[str, torch.Tensor]) -> None:
    """Train a policy on windows and store it as that of round i."""
    args = run.args

    def loss() -> torch.Tensor:
        index = torch.randint(0, len(data["state"]), (args.base_batch,))
        return policy.loss(**{name: x[index].to(args.device) for name, x in data.items()})

    fit(run, "policy", policy, loss, args.base_steps, args.base_lr, i)
    known = {"args": asdict(args), "iteration": i, "guided": policy.guided}
    run.store(f"policy_{i}.pt", header(args) | known | {"policy": policy.state_dict()})


# --- 5. demonstrations and the reference policy ---
def make_env(args: Args, image=False, worlds: int | None = None, steps=None, watched=False):
    return gymnasium.make_vec(
        entry(args.task).env_id, num_envs=worlds or args.num_envs, backend=args.backend,
        obs_mode=("image" if image else "state") + "+touch", autoreset_mode="disabled",
        image_size={"state": 320, "image": args.image_size}[args.obs],  # state: only for videos
        control_mode=CONTROL_MODE, render_mode="human" if watched else "rgb_array",
        max_episode_steps=steps,
        **options_for(args.backend, args.threads, args.timestep_scale, args.friction_scale),
    ).unwrapped  # fmt: skip


def collect_demonstrations(run: Run) -> None:
    """A person's demonstrations from a store; else the expert's, in diverse scenes."""
    args, env_id, number = run.args, entry(run.args.task).env_id, run.args.demonstrations
    if args.demos:
        needs = ["image"] * (args.obs == "image") + ["touch"] * args.critic_touch
        chosen = read_demonstrations(args.demos, env_id, CONTROL_MODE, number, needs)
    tries, rng = math.ceil(number * (1 + SPARE)), np.random.default_rng(run.seed)
    scenes = configurations(args.task, iterations(args.task), tries, rng)
    env = StagedEnv(make_env(args, args.obs == "image", worlds=min(tries, args.num_envs)))
    staged = args.starts == "staged" and args.kind != "bc"
    if staged and not env.backend.capabilities.exact_restore:
        raise ValueError(f"--starts staged: {args.backend} cannot restore states; use initial")
    if not args.demos:
        chosen = demonstrate(env, scenes, run.seed, number, TEACHER_STYLES)
    for index, episode in enumerate(chosen):
        kind, episode = getattr(episode, "source", "scripted"), with_stages(env, episode)
        run.episodes("demos").add(episode, source=kind, seed=args.seed, index=index)
    env.close()


def train_reference(run: Run) -> None:
    """Behaviour cloning, already with prefixes, of the null condition alone."""
    data = windows((e for _, e in run.experience(0)), run.args)
    learn(run, 0, new_policy(data, run.args, guided=False), data)


def new_policy(data: dict[str, torch.Tensor], args: Args, guided: bool) -> DiffusionPolicy:
    policy = DiffusionPolicy(data["state"].shape[1], data["chunk"].shape[2], args, guided)
    policy.fit_normaliser(data["state"], data["chunk"].flatten(0, 1))
    return policy


# --- 6. asynchronous deployment ---
def executor(policy: DiffusionPolicy, args: Args, env, mode: str, latency: tuple[int, ...]):
    """Act in `env` with a latency; known actions are seen from where the palms are measured now."""
    space = ACTION_SPACES[args.action_space](env.codec)

    def plan(seen: dict, prefix: np.ndarray, known: np.ndarray) -> np.ndarray:
        palms = measured_palms(seen["proprio"], env.codec.arms)
        given = torch.as_tensor(space.encode(prefix, palms), dtype=torch.float32)
        noise = torch.randn(len(known), *policy.shape) * (args.sampling_noise == "fresh")
        chunk = policy.sample(seen, given, torch.as_tensor(known), noise)
        return np.clip(space.decode(chunk.numpy(), palms), -1.0, 1.0)

    def look(seen: dict, worlds: np.ndarray) -> dict:
        return seen if "image" in seen else {**seen, "image": env.draw(worlds)}

    inference = make_inference(env, plan, args.chunk, latency, args.seed)
    return ChunkExecutor(env, inference, args.prefix, mode, look if args.obs == "image" else None)


# --- 7. collection: staged starts, retries, interventions ---
def make_operator(run: Run, env):
    """The expert, as patient as demonstrations suggest; or a person at the keyboard."""
    args = run.args
    if args.operator == "keyboard":
        return keyboard_operator(env)
    steps = args.patience * longest_stage([e.observations[STAGE] for _, e in run.experience(0)])
    gate = Gate(args.foresight, math.ceil(steps), delay=args.reaction)
    return ScriptedOperator(env, gate, run.seed)


def intermediate_starts(run: Run, rng: np.random.Generator) -> dict:
    """Where stages begin: in scenes that the expert brings there, or in what is learned from."""
    args, tries = run.args, math.ceil(run.args.setups * (1 + SPARE))
    if not args.setups:
        return stage_starts(episode for _, episode in run.experience(0))
    scenes = configurations(args.task, iterations(args.task), tries, rng)
    with contextlib.closing(StagedEnv(make_env(args, worlds=min(tries, args.num_envs)))) as env:
        return stage_starts(demonstrate(env, scenes, run.seed, args.setups, TEACHER_STYLES))


def collect_rollouts(run: Run, i: int) -> None:
    """Deploy the last policy, with an operator, from the start and from intermediate stages."""
    args, keys = run.args, run.args.operator == "keyboard"
    worlds = min(args.num_envs, 1 if keys else DEPLOYED)
    env = make_env(args, args.obs == "image", worlds, args.collect_steps, watched=keys)
    acting = executor(run.policy(i - 1), args, env, args.inference, args.latency)
    control = SharedControl(acting, make_operator(run, env), env)
    rng = np.random.default_rng(run.seed)
    scenes = iter(configurations(args.task, iterations(args.task), args.rollouts, rng))
    staged = intermediate_starts(run, rng) if args.starts == "staged" else {}
    order = args.initial_share, args.intervene, args.retries
    starts = Starts(args.rollouts, scenes, staged, rng, *order)
    shutil.rmtree(run.path / f"D_{i}", ignore_errors=True)  # left half-full by a killed process
    store, deployed, made = run.episodes(f"D_{i}"), collection.DeployedEnv(env, control), []
    with raw_terminal() if keys else contextlib.nullcontext():
        for episode in collection.deploy(deployed, control, starts, f"rollouts {i}"):
            store.add(episode, source="policy", seed=args.seed, config={"round": i})
            made.append(episode)
    report = collection.collection_report(made, deployed, env.task.stages)
    acting.inference.close()
    env.close()
    atomic_write_json(run.path / f"collection_{i}.json", report)
    run.log(i * args.base_steps, {f"starts/{k}": v["share"] for k, v in report["starts"].items()})
    print(f"collection {i}: {report}", flush=True)


def check_collected(args: Args) -> RunFolder:
    """The run that --collected names; refused if other settings made its policy and its data."""
    other = RunFolder(args.collected)
    check_header(load_checkpoint(other, "policy_0.pt"), header(args))
    check_made_with(args, other.config, LATER, "collected")
    return other


def adopt(run: Run) -> None:
    """Take demonstrations, reference policy and first rollouts of another run, which must fit."""
    args = run.args
    other = check_collected(args)
    data = other.read_checkpoint("policy_0.pt")
    take_episodes(other.path / "demos", run.path / "demos", args.demonstrations)
    if args.kind != "bc":
        check_finished(other.path, "collect_1")
        take_episodes(other.path / "D_1", run.path / "D_1", args.rollouts)
    run.folder.write_checkpoint("policy_0.pt", data)


# --- 8. critic: distribution of the return, by cross-fitting or with episodes held out ---
class Critic(nn.Module):
    """Value of a state in [-1, 0], the mean of a distribution over 201 bins."""

    def __init__(self, inputs: int, args: Args):
        super().__init__()
        self.args = replace(args, obs_noise=args.critic_noise)
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.obs == "image" else None
        images = 384 * (args.obs == "image")
        self.net = mlp([inputs + images, *[args.width] * 3, BINS], nn.SiLU, norm=True)
        self.register_buffer("bins", torch.linspace(-1.0, 0.0, BINS))
        for name in ("mean", "std"):
            self.register_buffer(name, torch.ones(inputs))

    # Copied from baselines/dexflywheel.py: BasePolicy.condition
    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        state = ((state - self.mean) / self.std).clamp(-5.0, 5.0)
        state = state + self.args.obs_noise * torch.randn_like(state) if self.training else state
        return torch.cat([state, self.encoder(image)], dim=1) if self.encoder else state

    def loss(self, state: torch.Tensor, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy to a Gaussian around the target's bin."""
        away = (self.bins - target[:, None]) * (BINS - 1) / BIN_WIDTH
        logits = self.net(self.condition(state, image)).float()
        return F.cross_entropy(logits, torch.softmax(-0.5 * away.square(), dim=1))

    @torch.no_grad()
    def value(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Values (n,) on the CPU."""
        found, device = [], self.bins.device
        for part in torch.arange(len(state)).split(4096):
            logits = self.net(self.condition(state[part].to(device), image[part].to(device)))
            found.append((torch.softmax(logits, dim=1) * self.bins).sum(1).cpu())
        return torch.cat(found)


def critic_state(obs: dict[str, np.ndarray], args: Args) -> torch.Tensor:
    """What the critic sees beside images, (n, D)."""
    state, fingers = palm_features(obs, args, whole=True), obs["proprio"].shape[1] // 69 * 12
    if not args.critic_hand:  # joints and speeds of the fingers
        state[:, :fingers] = state[:, -fingers:] = 0.0
    if args.critic_touch and "touch" not in obs:
        raise ValueError(f"--critic-touch: an episode has no touch, only {sorted(obs)}")
    return torch.cat([state, torch.as_tensor(obs["touch"])], 1) if args.critic_touch else state


def returns(episode: Any, args: Args) -> torch.Tensor:
    """Monte-Carlo return from every state (T+1,): steps to go, and the penalty of a failed end."""
    left = torch.arange(len(episode.actions), -1, -1).float()
    penalty = args.failure_penalty * args.failure_decay**left * (not episode.success)
    return (-left / args.longest - penalty).clamp(-1.0, 0.0)


def train_critic(run: Run, i: int) -> None:
    """Fit critics to all experience so far, value every state, label every window, report."""
    args, experience = run.args, run.experience(i)
    episodes = [episode for _, episode in experience]
    states = [critic_state(e.observations, args) for e in episodes]
    images = [torch.as_tensor(e.observations.get("image", np.empty((len(s), 0))))
              for e, s in zip(episodes, states, strict=True)]  # fmt: skip
    scenes, rng = [e.scenario for e in episodes], np.random.default_rng(run.seed)
    learned, judge, held = split_by_scene(scenes, args.critic_split, FOLDS, rng)
    state, image, target = map(torch.cat, (states, images, [returns(e, args) for e in episodes]))
    owner = torch.arange(len(episodes)).repeat_interleave(torch.tensor([len(s) for s in states]))
    critics = nn.ModuleList(Critic(state.shape[1], args) for _ in learned)
    pools = [torch.nonzero(torch.as_tensor(chosen)[owner])[:, 0] for chosen in learned]
    for critic, pool in zip(critics, pools, strict=True):
        critic.mean, critic.std = state[pool].mean(0), state[pool].std(0).clamp(min=0.02)

    def loss() -> torch.Tensor:
        total = torch.zeros((), device=args.device)
        for critic, pool in zip(critics, pools, strict=True):
            index = pool[torch.randint(0, len(pool), (args.critic_batch,))]
            total = total + critic.loss(*(x[index].to(args.device) for x in (state, image, target)))
        return total / len(critics)

    fit(run, "critic", critics, loss, args.critic_steps, args.critic_lr, i)
    critics.eval()
    values = [critics[j].value(*x) for j, *x in zip(judge.tolist(), states, images, strict=True)]
    optimality, report = label(experience, values, args)
    report["calibration"] = report_critic(experience, values, held, args)
    atomic_write_json(run.path / f"critic_{i}.json", report)
    known = {"identifiers": [e.identifier for e in episodes], "values": values}
    run.store(f"critic_{i}.pt", known | {"optimality": optimality, "critics": critics.state_dict()})


def report_critic(experience: list, values: list, held: torch.Tensor, args: Args) -> dict:
    """Calibration of the values of held-out episodes, with demonstrations and without."""
    rows = [(j, v, returns(e, args), np.full(len(v), e.success), e.observations[STAGE])
            for (j, e), v, h in zip(experience, values, held, strict=True) if h]  # fmt: skip
    groups = {"all": [row[1:] for row in rows], "rollouts": [row[1:] for row in rows if row[0]]}
    return calibrations(groups, entry(args.task).make().stages)


# --- 9. optimality of every window ---
INDICATORS: dict[str, Callable] = {  # of the place between low and high quantile, 0 and 1
    "sigmoid": lambda place, args, success: args.ceiling * torch.sigmoid(args.alpha * place),
    "binary": lambda place, args, success: (place > 0).float(),
    "linear": lambda place, args, success: args.ceiling * place.clamp(0.0, 1.0),
    "outcome": lambda place, args, success: torch.full_like(place, success),  # no critic's word
}


def advantages(value: torch.Tensor, success: bool, args: Args) -> torch.Tensor:
    """N-step advantage of every step (T,) from values (T+1,): reward of -1 a step, no discount."""
    steps, after = torch.arange(len(value) - 1), value.clone()
    end = (steps + args.lookahead).clamp(max=len(steps))
    if args.end_value == "true":
        after[-1] = 0.0 if success else -args.failure_penalty
    return -(end - steps) / args.longest + after[end] - value[:-1]


def label(experience: list, values: list, args: Args) -> tuple[list[torch.Tensor], dict]:
    """Optimality in [0, 1] of the window from every step on (T,), per episode; and a report.

    Paper: demonstrations, and windows of which an intervention makes up more than a third, are 1.
    Later: demonstrations are judged like all else, and an intervention must fill the window.
    """
    pairs = zip(values, experience, strict=True)
    advantage = [advantages(value, e.success, args) for value, (_, e) in pairs]
    low, high = torch.cat(advantage).quantile(torch.tensor(args.quantiles)).tolist()
    kind = KINDS[args.kind] if args.indicator == "auto" else args.indicator
    found, groups = [], defaultdict(list)
    for (j, episode), a in zip(experience, advantage, strict=True):
        judged = INDICATORS[kind]((a - low) / max(high - low, 1e-6), args, episode.success)
        helped = helpful(j, episode, args)
        demonstrated = args.labels == "paper" and j == 0
        found.append(torch.where(helped | demonstrated, 1.0, judged))
        name = ("successes" if episode.success else "failures") if j else "demonstrations"
        groups[name].append(found[-1][~helped])
        groups["interventions"].append(found[-1][helped])
    return found, {"indicator": kind, "quantiles": [low, high], "labels": shares(groups)}


def helpful(j: int, episode: Any, args: Args) -> torch.Tensor:
    """Windows that count as an intervention (T,), in rollouts that succeeded."""
    if j == 0 or not episode.success:
        return torch.zeros(len(episode.actions), dtype=torch.bool)
    share = torch.as_tensor(collection.intervened(episode, args.chunk))
    return share > 1 / 3 if args.labels == "paper" else share == 1


# --- 10. improved policy ---
def improve(run: Run, i: int) -> None:
    """Imitate successes (hg-dagger), or all at its optimality; the scale is that of successes."""
    args, experience, guided = run.args, run.experience(i), KINDS[run.args.kind] is not None
    every = guided and args.imitate == "all"
    kept = [n for n, (_, e) in enumerate(experience) if e.success or every]
    optimality = run.load(f"critic_{i}.pt")["optimality"] if guided else {}
    judged = [optimality[n] for n in kept] if guided else None
    data = windows((experience[n][1] for n in kept), args, judged)
    if args.imitate == "interventions":  # and demonstrations, as HG-DAgger did at first
        chosen = (experience[n] for n in kept)
        flags = [collection.flags_of(e) if j else [True] * len(e.actions) for j, e in chosen]
        data = {name: x[np.concatenate(flags)] for name, x in data.items()}
    policy = new_policy(windows((e for _, e in experience if e.success), args), args, guided)
    if args.init == "reference":  # its normaliser fits its weights
        policy.load_state_dict(run.policy(0).state_dict())
    learn(run, i, policy, data)


# --- 11. evaluation, runs, checkpoints, resuming ---
def evaluate_policy(run: Run, i: int) -> None:
    """Success on the splits asked for, with the latency of deployment."""
    args, env = run.args, make_env(run.args)
    acting = tested(run.policy(i), args, env)
    known = {"method": METHOD, "iteration": i, "provenance": run.folder.provenance}
    asked = replace(args, eval_splits=all_rounds(args.eval_splits, args.task))
    filmed = args.capture_video or i == (args.rounds if args.kind != "bc" else 0)
    films = run.path / "videos" if filmed else None
    rows = measure({"base": acting}, env, asked, films=films, **known)
    acting.inference.close()
    env.close()
    print_success(rows)
    run.log(i, success_curves(rows))
    late = {"chunks": acting.planned, "late_steps": acting.late}
    atomic_write_json(run.path / f"eval_{i}.json", [row | late for row in rows])


def tested(policy: DiffusionPolicy, args: Args, env) -> ChunkExecutor:
    return executor(policy, args, env, args.eval_inference, args.eval_latency or args.latency)


class Run(Progress):
    # Copied from baselines/dexmimicgen.py: Run.__init__
    def __init__(self, args: Args):
        new = (args.runs, entry(args.task).env_id, f"{METHOD}-{args.variant}", args.seed, args)
        folder = RunFolder.open(args.resume) if args.resume else RunFolder.create(*new)
        super().__init__(folder, args.seed, args.save_seconds, args.track)
        self.args = args

    # Copied from baselines/dexmimicgen.py: Run.episodes
    def episodes(self, name: str) -> EpisodeStore:
        return EpisodeStore(self.path / name, entry(self.args.task).env_id, CONTROL_MODE)

    def experience(self, i: int) -> list:
        """Demonstrations as (0, episode), then rollouts of rounds j = 1 .. i as (j, episode)."""
        names = ["demos", *(f"D_{j}" for j in range(1, i + 1))]
        found = [(j, e) for j, name in enumerate(names) for e in self.episodes(name).episodes()]
        for _, episode in (pair for pair in found if pair[0]):
            collection.check_deployed(episode)
        return found

    def policy(self, i: int) -> DiffusionPolicy:
        return build_policy(self.load(f"policy_{i}.pt"), self.args)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    return {"method": METHOD, "method_version": METHOD_VERSION, "control_mode": CONTROL_MODE,
            "observation_keys": ["proprio", "image" if args.obs == "image" else "object"],
            "env_id": entry(args.task).env_id, "action_space": args.action_space,
            "chunk": args.chunk}  # fmt: skip


def build_policy(state: dict, args: Args) -> DiffusionPolicy:
    check_header(state, header(args))
    kept = state["policy"]
    policy = DiffusionPolicy(len(kept["mean"]), len(kept["centre"]), args, state["guided"])
    policy.load_state_dict(kept)
    return policy.to(args.device).eval().requires_grad_(False)


def open_policy(state: dict, args: Args, name: str) -> tuple:
    """Make the policy of a checkpoint and worlds for it to act in (`--evaluate`)."""
    env = make_env(args)
    return tested(build_policy(state, args), args, env), env


# --- 12. entry point ---
def main(args: Args) -> int:
    check_device(args.device)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        return evaluate_checkpoint(args, open_policy, TASKS)
    if args.collected and not args.resume:  # known before there is a run
        check_collected(args)
    run = Run(args)
    print(f"run folder: {run.path}", flush=True)
    if args.collected:
        run.stage("adopt", adopt)
    else:
        run.stage("demos", collect_demonstrations)
        run.stage("reference", train_reference)
    if args.kind == "bc" or not args.collected:  # known before anything is collected
        run.stage("eval", evaluate_policy, 0)
    for i in range(1, args.rounds + 1 if args.kind != "bc" else 1):
        if i > 1 or not args.collected:
            run.stage("collect", collect_rollouts, i)
        if KINDS[args.kind]:
            run.stage("critic", train_critic, i)
        run.stage("improve", improve, i)
        run.stage("eval", evaluate_policy, i)
    run.metrics.close()
    print(f"wall time {sum(run.done.values()) / 60:.1f} min; episodes, curves: {run.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(ARGS))
