"""DexMimicGen (arXiv 2410.24185, sections III, IV): many demonstrations of a few, then imitation.

Differs: approaches are bent, not replaced by a line; smooth noise; DexFlyWheel's policy.
Command: python baselines/dexmimicgen.py --variant enhanced --seed 1 --eval-splits T_OEP T_O
Expected: 77.5 % [74.0, 80.7] on Grasp's T_OEP, 3 seeds x 200 (DexFlyWheel's paper: 50.3 %).
Time: 3 to 6 min on one core; the other tasks up to 10.
"""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import islice, pairwise
from typing import ClassVar, Literal

from dexfw_envs.catalog.curricula import CURRICULA, iterations
from dexfw_envs.editing.bridging import EditOptions
from dexfw_envs.runs.evaluation import evaluate_checkpoint
from dexfw_envs.runs.settings import ScriptArgs, check_device, command_line

METHOD, METHOD_VERSION, CONTROL_MODE = "dexmimicgen", 1, "ee_pose"
LEVELS = 50  # noise levels in training
SOURCES = {"default": 1, "enhanced": 10}  # source demonstrations of each variant
SEED = 6  # of the scripted sources: the same ones for every seed of a run, like the seed's own
ROUND = 256  # most attempts between two looks at what is still missing


# --- 1. settings ---
@dataclass(frozen=True)
class Args(ScriptArgs):
    VARIANTS: ClassVar[tuple[str, ...]] = tuple(SOURCES)

    preset: Literal["laptop", "quick", "paper"] = "laptop"  # where all other options start from
    variant: str = "default"  # default: 1 source, enhanced: 10; default-NAME: an ablation of it
    policy: Literal["base"] = "base"  # with --evaluate: there is no other
    demos: str = ""  # store with the source demonstrations; scripted ones if empty
    generate_only: bool = False  # stop when the trajectories are there
    # generation
    trajectories: int = 500  # successes to generate
    max_attempts: int = 20_000  # attempts after which fewer have to do
    select: Literal["nearest", "random"] = "nearest"  # source of an attempt; the same for all arms
    nearest: int = 3  # drawn from so many, those of the scene's own object first
    bridge: Literal["warp", "straight"] = "warp"  # into a subtask: bend the approach, or a line
    interpolation_steps: int = 5  # length of a line
    noise: Literal["smooth", "white", "none"] = "smooth"  # on the targets
    noise_position: float = 0.003  # its standard deviation per axis [m]
    noise_rotation: float = 0.02  # likewise [rad]
    coordination: Literal["task", "transform", "replay"] = "task"  # scheme; task: what suits it
    num_envs: int = 64  # parallel worlds
    # base policy, as in dexflywheel.py
    obs: Literal["state", "image"] = "state"  # image: the policy also sees the camera
    image_size: int = 96  # side of the camera image [px]
    denoiser: Literal["mlp", "transformer"] = "mlp"  # network
    width: int = 256  # its width
    layers: int = 3  # its residual blocks or transformer layers
    encoder: Literal["cnn", "vit"] = "cnn"  # image encoder
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

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            valid = ", ".join(f"{name}, {name}-NAME" for name in SOURCES)
            raise ValueError(f"unknown --variant {self.variant!r}; valid: {valid}")
        if not 1 <= self.execute <= self.chunk:
            raise ValueError(f"--execute must lie in 1 .. {self.chunk}, the chunk")
        if min(self.trajectories, self.max_attempts, self.nearest, self.num_envs) < 1:
            raise ValueError("--trajectories, --max-attempts, --nearest, --num-envs: at least 1")
        if self.generate_only and self.records:
            raise ValueError("--generate-only measures no policy: leave out --records")
        assert self.editing  # refuses what cannot be now, not after the sources

    @property
    def kind(self) -> str:
        return self.variant.partition("-")[0]  # "default" or "enhanced"

    @property
    def editing(self) -> EditOptions:
        names = [field.name for field in fields(EditOptions) if hasattr(self, field.name)]
        return EditOptions(**{name: getattr(self, name) for name in names})


PRESETS: dict[str, dict] = {
    "laptop": {},  # two CPU cores
    "quick": {"preset": "quick", "trajectories": 100, "base_steps": 2_500, "eval_episodes": 120},
    "paper": {  # the policy of the paper of DexFlyWheel, appendix A; for GPUs
        "preset": "paper", "device": "cuda", "obs": "image", "image_size": 224, "encoder": "vit",
        "denoiser": "transformer", "width": 768, "layers": 7, "chunk": 8, "prediction": "epsilon",
        "sampling_steps": 16, "sampling_noise": "fresh", "base_steps": 200_000, "base_lr": 3e-4,
        "obs_noise": 0.0, "precision": "fp32", "chunk_smoothing": 0.0,
    },
}  # fmt: skip
TASKS: dict[str, dict] = {task: {} for task in CURRICULA}  # no task has settings of its own

if __name__ == "__main__":
    ARGS = command_line(Args, PRESETS, TASKS, __doc__)  # before the imports that take seconds

import gymnasium
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel

from dexfw_envs.backends import options_for
from dexfw_envs.catalog.splits import training_sampler
from dexfw_envs.control.smoothing import local_lines
from dexfw_envs.demos.collection import generation_report
from dexfw_envs.demos.demonstrations import demonstrate, read_demonstrations, spread_scenes
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.demos.transfer import SPARE_STEPS
from dexfw_envs.editing.augment import augment, choose_nearest, choose_random
from dexfw_envs.editing.cuts import cut_for
from dexfw_envs.editing.reading import read_motion
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.registry import entry
from dexfw_envs.runs.checkpoints import check_header
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.progress import Progress
from dexfw_envs.runs.report import all_rounds, measure, print_success, success_curves
from dexfw_envs.transforms import matrix_from_quat


# --- 2. networks ---
# Copied from baselines/dexflywheel.py: features
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


# Copied from baselines/dexflywheel.py: TransformerDenoiser
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


# --- 3. policy: imitation by diffusion ---
# Copied from baselines/dexflywheel.py: BasePolicy
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


# Copied from baselines/dexflywheel.py: descend
def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], limit)
    optimizer.step()


# Copied from baselines/dexflywheel.py: make_dataset
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


def train_base(run: Run) -> None:
    """Behaviour cloning, with the steps of DexFlyWheel's base policy."""
    args, data = run.args, make_dataset(run.data(), run.args)
    base = BasePolicy(data[0].shape[1], data[1].shape[2], args)
    base.fit_normaliser(data[0], data[1].flatten(0, 1))
    parameters = list(base.to(args.device).parameters())
    optimizer = torch.optim.AdamW(parameters, args.base_lr, weight_decay=1e-6, fused=True)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    parts = {"base": base, "optimizer": optimizer, "ema": ema}
    low = args.precision == "bf16"
    saved = run.restore()
    for name in parts if saved else ():
        parts[name].load_state_dict(saved[name])
    for step in run.bar("base", saved.get("step", 0), args.base_steps):
        index = torch.randint(0, len(data[0]), (args.base_batch,))
        with torch.autocast(base.mean.device.type, torch.bfloat16, enabled=low):
            loss = base.loss(*(x[index].to(args.device) for x in data))
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / args.base_steps)
        optimizer.param_groups[0]["lr"] = args.base_lr * cosine * min(1.0, (step + 1) / 100)
        descend(optimizer, loss, limit=10.0)
        ema.step(parameters)
        if (step + 1) % 100 == 0:
            run.log(step + 1, {"losses/base": loss.item()})
        run.save(step=step + 1, **{name: part.state_dict for name, part in parts.items()})
    ema.copy_to(parameters)
    known = {"args": asdict(args), "iteration": 1, "base": base.state_dict()}
    run.store("policy_1.pt", header(args) | known)


class ChunkPolicy(nn.Module):
    """Acts in the worlds of `env`, each with a queue of actions to come."""

    def __init__(self, base: BasePolicy, args: Args, env):
        super().__init__()
        self.networks, self.args, self.env, self.aligned = (base,), args, env, False
        overlap = args.chunk - args.execute  # a new chunk is faded in over these
        self.queue, self.noise = (torch.zeros(env.num_envs, *base.shape) for _ in range(2))
        self.left = -torch.ones(env.num_envs).long()  # steps to the next plan; -1: the first
        self.fade = (torch.arange(1, args.chunk + 1) / (overlap + 1)).clamp(max=1.0)[:, None]

    def reset(self, mask: np.ndarray) -> None:
        self.left[mask] = -1

    # Copied from baselines/dexflywheel.py: ChunkPolicy.base_action
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

    @torch.no_grad
    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        return self.base_action(obs).clamp(-1.0, 1.0).numpy()


# --- 4. source demonstrations ---
def make_env(args: Args, image=False, steps: int | None = None, worlds: int | None = None):
    return gymnasium.make_vec(
        entry(args.task).env_id, num_envs=worlds or args.num_envs, backend=args.backend,
        obs_mode="image" if image else "state", autoreset_mode="disabled", max_episode_steps=steps,
        image_size={"state": 320, "image": args.image_size}[args.obs],  # state: only for videos
        control_mode=CONTROL_MODE, render_mode="rgb_array",
        **options_for(args.backend, args.threads, args.timestep_scale, args.friction_scale),
    ).unwrapped  # fmt: skip


def collect_sources(run: Run) -> None:
    """The shipped seed demonstration; or one of each of ten objects; or what a person recorded."""
    args = run.args
    if args.demos:
        chosen = read_demonstrations(args.demos, entry(args.task).env_id, CONTROL_MODE)
    elif args.kind == "default":
        chosen = [load_seed(args.task)]
    else:
        scenes = spread_scenes(args.task, SOURCES[args.kind])
        env = make_env(args, worlds=len(scenes))
        chosen = demonstrate(env, scenes, SEED)
        env.close()
    for index, episode in enumerate(chosen):
        kind = getattr(episode, "source", "scripted")
        run.episodes("sources").add(episode, source=kind, seed=SEED, index=index)


# --- 5. generation ---
def generate(run: Run) -> None:
    """Edit a source for a new scene of C_3 each time and run it, until enough have succeeded."""
    args, sampler = run.args, training_sampler(run.args.task, iterations(run.args.task))
    chosen = list(run.episodes("sources").episodes())
    steps = max(len(episode.actions) for episode in chosen) + SPARE_STEPS
    env, store = make_env(args, args.obs == "image", steps), run.episodes("D_1")
    cut = cut_for(args.task, None if args.coordination == "task" else args.coordination)
    sources = [read_motion(e, env.codec, cut, label=e.identifier) for e in chosen]
    choose = {"nearest": choose_nearest(args.nearest), "random": choose_random}[args.select]
    edit = partial(augment, env, sources, options=args.editing, choose=choose, failures=True)
    saved = run.restore()
    attempts, successes = saved.get("attempts", 0), saved.get("successes", 0)
    while successes < args.trajectories and attempts < args.max_attempts:
        rng = np.random.default_rng([run.seed, attempts])
        rate = max(0.1, successes / attempts) if attempts else 1.0
        size = math.ceil(min(ROUND, (args.trajectories - successes) / rate))
        scenes = [sampler(rng) for _ in range(min(size, args.max_attempts - attempts))]
        made = edit(scenes, rng, progress=f"generation, {successes} of {args.trajectories}")
        for episode in made:
            index = attempts + episode.index  # failures are stored too, with their reason
            store.add(episode, source="augmented", seed=args.seed, index=index)
        attempts, successes = attempts + len(scenes), successes + made.tally.successes
        run.save(attempts=attempts, successes=successes)
    env.close()
    if not successes:
        reasons = generation_report(store, args.task)["failures"]
        raise RuntimeError(f"none of {attempts} attempts succeeded: {reasons}")


def report_generation(run: Run) -> None:
    """How often it succeeded, per object too, why it failed, and what time it took."""
    found = generation_report(run.episodes("D_1"), run.args.task)
    seconds = run.done["data_1"]
    known = {"seconds": seconds, "seconds_per_trajectory": seconds / found["successes"]}
    known["sources"] = [row["scenario"] for row in run.episodes("sources").manifest()]
    atomic_write_json(run.path / "data_1.json", {"edited": found | known})
    print("generation: {successes} of {tries} attempts succeeded, {objects_handled} objects; "
          "failures: {failures}".format(**found), flush=True)  # fmt: skip
    if found["successes"] < run.args.trajectories:
        print(f"warning: --trajectories {run.args.trajectories} not reached in --max-attempts")


def evaluate_policy(run: Run) -> None:
    args, env = run.args, make_env(run.args)
    policies = {"base": ChunkPolicy(build_policy(run.load("policy_1.pt"), args), args, env)}
    known = {"method": METHOD, "iteration": 1, "provenance": run.folder.provenance}
    asked = replace(args, eval_splits=all_rounds(args.eval_splits, args.task))
    rows = measure(policies, env, asked, films=run.path / "videos", **known)
    env.close()
    run.log(1, success_curves(rows))
    atomic_write_json(run.path / "eval_1.json", rows)


# --- 6. runs, checkpoints, resuming ---
class Run(Progress):
    def __init__(self, args: Args):
        new = (args.runs, entry(args.task).env_id, f"{METHOD}-{args.variant}", args.seed, args)
        folder = RunFolder.open(args.resume) if args.resume else RunFolder.create(*new)
        super().__init__(folder, args.seed, args.save_seconds, args.track)
        self.args = args

    def episodes(self, name: str) -> EpisodeStore:
        return EpisodeStore(self.path / name, entry(self.args.task).env_id, CONTROL_MODE)

    def data(self):
        return islice(self.episodes("D_1").episodes(success=True), self.args.trajectories)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    keys = ["proprio", "object", *["image"] * (args.obs == "image")]
    return {"method": METHOD, "method_version": METHOD_VERSION, "observation_keys": keys,
            "env_id": entry(args.task).env_id, "control_mode": CONTROL_MODE}  # fmt: skip


def build_policy(state: dict, args: Args) -> BasePolicy:
    check_header(state, header(args))
    base = BasePolicy(len(state["base"]["mean"]), len(state["base"]["centre"]), args)
    base.load_state_dict(state["base"])
    return base.to(args.device).eval().requires_grad_(False)


def open_policy(state: dict, args: Args, name: str) -> tuple:
    """Make the policy of a checkpoint and worlds for it to act in (`--evaluate`)."""
    env = make_env(args)
    return ChunkPolicy(build_policy(state, args), args, env), env


# --- 7. entry point ---
def main(args: Args) -> int:
    check_device(args.device)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        return evaluate_checkpoint(args, open_policy, TASKS)
    run = Run(args)
    print(f"run folder: {run.path}", flush=True)
    run.stage("sources", collect_sources)
    run.stage("data_1", generate)
    report_generation(run)
    if not args.generate_only:
        run.stage("base_1", train_base)
        run.stage("eval_1", evaluate_policy)
        print_success(read_json(run.path / "eval_1.json"))
    run.metrics.close()
    print(f"wall time {sum(run.done.values()) / 60:.1f} min; episodes, curves: {run.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(ARGS))
