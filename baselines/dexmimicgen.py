"""DexMimicGen (arXiv 2410.24185, sections III, IV): many demonstrations of a few, then imitation.

Differs: approaches are bent, not replaced by a line; smooth noise; DexFlyWheel's policy.
Command: python baselines/dexmimicgen.py --variant enhanced --seed 1 --eval-splits T_OEP T_O
Expected: 77.5 % [74.0, 80.7] on Grasp's T_OEP, 3 seeds x 200 (DexFlyWheel's paper: 50.3 %).
Time: 3 to 6 min on one core; the other tasks up to 10.
"""

# Contents
#   1. settings
#   2. the method: sources, generation, imitation
#   3. source demonstrations
#   4. generation: a source edited for every new scene
#   5. policy: imitation by diffusion, as in dexflywheel.py
#   6. acting: a queue of actions for every world
#   7. networks, and what they see
#   8. evaluation
#   9. run folder, checkpoints, resuming
#  10. entry point

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import islice, pairwise
from typing import ClassVar, Literal, NamedTuple

from dexfw_envs.catalog.curricula import CURRICULA, iterations
from dexfw_envs.editing.bridging import EditOptions
from dexfw_envs.runs.evaluation import evaluate_checkpoint
from dexfw_envs.runs.settings import ScriptArgs, check_device, command_line

METHOD = "dexmimicgen"
METHOD_VERSION = 1
CONTROL_MODE = "ee_pose"
VIDEO_SIZE = 320  # side of a video's picture where the policy sees none [px]
SOURCES = {"default": 1, "enhanced": 10}  # source demonstrations of each variant


# --- 1. settings ---
@dataclass(frozen=True)
class GenerationArgs:
    """Source demonstrations, and how new ones are made of them."""

    preset: Literal["laptop", "quick", "paper"] = "laptop"  # where all other options start from
    demos: str = ""  # store with the source demonstrations; scripted ones if empty
    generate_only: bool = False  # stop when the trajectories are there
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


# Copied from baselines/dexflywheel.py: PolicyArgs
@dataclass(frozen=True)
class PolicyArgs:
    """The base policy (appendix A.1)."""

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

    @property
    def sees(self) -> bool:
        """Whether the policy looks through the camera."""
        return self.obs == "image"

    def check_chunk(self) -> None:
        if not 1 <= self.execute <= self.chunk:
            raise ValueError(f"--execute must lie in 1 .. {self.chunk}, the chunk")


@dataclass(frozen=True)
class Args(PolicyArgs, GenerationArgs, ScriptArgs):
    """All options; those of `ScriptArgs` every script has."""

    VARIANTS: ClassVar[tuple[str, ...]] = tuple(SOURCES)

    variant: str = "default"  # default: 1 source, enhanced: 10; default-NAME: an ablation of it
    policy: Literal["base"] = "base"  # with --evaluate: there is no other

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            valid = ", ".join(f"{name}, {name}-NAME" for name in SOURCES)
            raise ValueError(f"unknown --variant {self.variant!r}; valid: {valid}")
        self.check_chunk()
        if min(self.trajectories, self.max_attempts, self.nearest, self.num_envs) < 1:
            raise ValueError("--trajectories, --max-attempts, --nearest, --num-envs: at least 1")
        if self.generate_only and self.records:
            raise ValueError("--generate-only measures no policy: leave out --records")
        self.edit_options()  # refuses what cannot be now, not after the sources

    @property
    def kind(self) -> str:
        """The variant without the name of an ablation: "default" or "enhanced"."""
        return self.variant.partition("-")[0]

    def edit_options(self) -> EditOptions:
        """The options of editing, which have the same names here."""
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
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.observation import read_objects, read_proprio
from dexfw_envs.registry import entry
from dexfw_envs.revision import REVISION
from dexfw_envs.runs.checkpoints import check_header
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.progress import Progress
from dexfw_envs.runs.report import all_rounds, evaluate_policies, print_success, success_curves
from dexfw_envs.transforms import matrix_from_quat


# --- 2. the method: sources, generation, imitation ---
def run_method(run: Run) -> None:
    run.stage("sources", collect_sources)
    run.stage("data_1", generate)
    report_generation(run)
    if run.args.generate_only:
        return
    run.stage("base_1", train_base)
    run.stage("eval_1", evaluate_policy)
    print_success(read_json(run.path / "eval_1.json"))


# --- 3. source demonstrations ---
SOURCE_SEED = 6  # the same sources for every seed of a run, as the shipped one is the same


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
        chosen = demonstrate(env, scenes, SOURCE_SEED)
        env.close()

    store = run.episodes("sources")
    for index, episode in enumerate(chosen):
        origin = getattr(episode, "source", "scripted")
        store.add(episode, source=origin, seed=SOURCE_SEED, index=index)


def make_env(args: Args, image: bool = False, steps: int | None = None, worlds: int | None = None):
    """Make worlds.

    Args:
        image: Every observation holds a picture; else one is drawn only when it is looked at.
        steps: Longest episode; None: the task's own limit.
        worlds: How many; None: `num_envs`.
    """
    backend_options = options_for(
        args.backend, args.threads, args.timestep_scale, args.friction_scale
    )
    return gymnasium.make_vec(
        entry(args.task).env_id,
        num_envs=worlds or args.num_envs,
        backend=args.backend,
        control_mode=CONTROL_MODE,
        obs_mode="image" if image else "state",
        image_size=args.image_size if args.sees else VIDEO_SIZE,
        max_episode_steps=steps,
        autoreset_mode="disabled",
        variation={} if args.variation else None,  # of each scenario, or none at all
        render_mode="rgb_array",
        **backend_options,
    ).unwrapped


# --- 4. generation: a source edited for every new scene ---
ROUND = 256  # most attempts between two looks at what is still missing
LEAST_RATE = 0.1  # success that a round counts on at least


def generate(run: Run) -> None:
    """Edit a source for a new scene of C_3 each time and run it, until enough have succeeded."""
    args = run.args
    chosen = list(run.episodes("sources").episodes())
    longest = max(len(episode.actions) for episode in chosen)
    env = make_env(args, args.sees, steps=longest + SPARE_STEPS)
    edit = editor(args, env, chosen)
    sampler = training_sampler(args.task, iterations(args.task))
    store = run.episodes("D_1")

    saved = run.restore()
    attempts = saved.get("attempts", 0)
    successes = saved.get("successes", 0)
    while successes < args.trajectories and attempts < args.max_attempts:
        rng = np.random.default_rng([run.seed, attempts])
        size = next_attempts(args, attempts, successes)
        scenes = [sampler(rng) for _ in range(size)]
        made = edit(scenes, rng, progress=f"generation, {successes} of {args.trajectories}")
        for episode in made:  # failures too, with their reason
            index = attempts + episode.index
            store.add(episode, source="augmented", seed=args.seed, index=index)
        attempts += len(scenes)
        successes += made.tally.successes
        run.save(attempts=attempts, successes=successes)

    env.close()
    if not successes:
        reasons = generation_report(store, args.task)["failures"]
        raise RuntimeError(f"none of {attempts} attempts succeeded: {reasons}")


def editor(args: Args, env, sources: list) -> partial:
    """What makes episodes of scenes: `augment` with the sources and the options of editing."""
    cut = cut_for(args.task, None if args.coordination == "task" else args.coordination)
    motions = [read_motion(e, env.codec, cut, label=e.identifier) for e in sources]
    choose = choose_nearest(args.nearest) if args.select == "nearest" else choose_random
    options = args.edit_options()
    return partial(augment, env, motions, options=options, choose=choose, failures=True)


def next_attempts(args: Args, attempts: int, successes: int) -> int:
    """How many attempts to make before looking again, by the rate of success so far."""
    rate = max(LEAST_RATE, successes / attempts) if attempts else 1.0
    missing = (args.trajectories - successes) / rate
    size = math.ceil(min(ROUND, missing))
    return min(size, args.max_attempts - attempts)


def report_generation(run: Run) -> None:
    """How often it succeeded, per object too, why it failed, and what time it took."""
    found = generation_report(run.episodes("D_1"), run.args.task)
    successes = found["successes"]
    seconds = run.done["data_1"]
    known = {
        "seconds": seconds,
        "seconds_per_trajectory": seconds / successes,
        "sources": [row["scenario"] for row in run.episodes("sources").manifest()],
    }
    atomic_write_json(run.path / "data_1.json", {"edited": found | known})
    print(
        f"generation: {successes} of {found['tries']} attempts succeeded, "
        f"{found['objects_handled']} objects; failures: {found['failures']}",
        flush=True,
    )
    if successes < run.args.trajectories:
        print(f"warning: --trajectories {run.args.trajectories} not reached in --max-attempts")


# --- 5. policy: imitation by diffusion, as in dexflywheel.py ---
LEVELS = 50  # noise levels in training
LEAST_SPREAD = 0.02  # a column that hardly varies is not blown up
STATE_LIMIT = 5.0  # of a standardised state
WARM_UP = 100  # gradient steps over which the learning rate rises
LOGGED = 100  # gradient steps from one row of the curves to the next


def train_base(run: Run) -> None:
    """Behaviour cloning, with the steps of DexFlyWheel's base policy."""
    args = run.args
    data = make_dataset(run.data(), args)
    base = BasePolicy(data.state.shape[1], data.chunk.shape[2], args)
    base.fit_normaliser(data.state, data.chunk.flatten(0, 1))
    parameters = list(base.to(args.device).parameters())
    optimizer = torch.optim.AdamW(parameters, args.base_lr, weight_decay=1e-6, fused=True)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)

    saved = run.restore()
    parts = {"base": base, "optimizer": optimizer, "ema": ema}
    if saved:
        for name, part in parts.items():
            part.load_state_dict(saved[name])

    low_precision = args.precision == "bf16"
    device_type = torch.device(args.device).type
    for step in run.bar("base", saved.get("step", 0), args.base_steps):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / args.base_steps)
        warm_up = min(1.0, (step + 1) / WARM_UP)
        optimizer.param_groups[0]["lr"] = args.base_lr * cosine * warm_up

        index = torch.randint(0, len(data.state), (args.base_batch,))
        state, chunk, image = (column[index].to(args.device) for column in data)
        with torch.autocast(device_type, torch.bfloat16, enabled=low_precision):
            loss = base.loss(state, chunk, image)
        descend(optimizer, loss, limit=10.0)
        ema.step(parameters)

        if (step + 1) % LOGGED == 0:
            run.log(step + 1, {"losses/base": loss.item()})
        run.save(step=step + 1, **{name: part.state_dict for name, part in parts.items()})

    ema.copy_to(parameters)
    known = {"args": asdict(args), "iteration": 1, "base": base.state_dict()}
    run.store("policy_1.pt", header(args) | known)


# Copied from baselines/dexflywheel.py: Dataset
class Dataset(NamedTuple):
    """What the base policy learns from: M moments of successful episodes."""

    state: torch.Tensor  # (M, D)
    chunk: torch.Tensor  # the actions from there on, (M, H, action)
    image: torch.Tensor  # (M, h, w, 3) uint8, or (M, 0) without a camera


# Copied from baselines/dexflywheel.py: make_dataset
def make_dataset(episodes, args: Args) -> Dataset:
    """Cut episodes into moments; past an episode's end its last action is repeated."""
    states, chunks, images = [], [], []
    for episode in episodes:
        obs = episode.observations
        steps = len(episode.actions)
        actions = torch.as_tensor(episode.actions, dtype=torch.float32)
        ahead = torch.arange(steps)[:, None] + torch.arange(args.chunk)  # (T, H)
        image = obs.get("image", np.empty((steps, 0)))

        states.append(features(obs)[:steps])
        chunks.append(actions[ahead.clamp(max=steps - 1)])
        images.append(torch.as_tensor(image[:steps]))

    if not states:
        raise ValueError("no successful demonstration to learn from")
    return Dataset(torch.cat(states), torch.cat(chunks), torch.cat(images))


# Copied from baselines/dexflywheel.py: BasePolicy
class BasePolicy(nn.Module):
    """The base policy: a chunk of H actions from one observation, with its normaliser."""

    def __init__(self, state: int, action: int, args: Args):
        super().__init__()
        self.args = args
        self.shape = (args.chunk, action)
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.sees else None
        condition = state + IMAGE_FEATURES if args.sees else state
        kind = {"mlp": MlpDenoiser, "transformer": TransformerDenoiser}[args.denoiser]
        self.denoiser = kind(condition, args.chunk, action, args)

        self.scheduler = DDIMScheduler(
            LEVELS, beta_schedule="squaredcos_cap_v2", prediction_type=args.prediction
        )
        self.scheduler.set_timesteps(args.sampling_steps)
        self.smoother = torch.as_tensor(local_lines(args.chunk, args.chunk_smoothing))  # (H, H)

        self.register_buffer("mean", torch.ones(state))
        self.register_buffer("std", torch.ones(state))
        self.register_buffer("centre", torch.ones(action))
        self.register_buffer("reach", torch.ones(action))

    def fit_normaliser(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Standardise states (M, D), bring actions (M, action) to [-1, 1]."""
        low = action.amin(0)
        high = action.amax(0)
        self.mean = state.mean(0)
        self.std = state.std(0).clamp(min=LEAST_SPREAD)
        self.centre = (low + high) / 2
        self.reach = ((high - low) / 2).clamp(min=LEAST_SPREAD)

    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """What the network is told of states (B, D) and images; noisy while it is trained."""
        state = ((state - self.mean) / self.std).clamp(-STATE_LIMIT, STATE_LIMIT)
        if self.training:
            state = state + self.args.obs_noise * torch.randn_like(state)
        if self.encoder is None:
            return state
        return torch.cat([state, self.encoder(image)], dim=1)

    def loss(self, state: torch.Tensor, chunk: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Error of denoising chunks (B, H, action) that were made noisy at random levels k."""
        clean = (chunk - self.centre) / self.reach
        k = torch.randint(0, LEVELS, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean.device)
        noisy = self.scheduler.add_noise(clean, noise, k)
        predicted = self.denoiser(noisy, k, self.condition(state, image)).float()
        target = noise if self.args.prediction == "epsilon" else clean
        return F.mse_loss(predicted, target)

    @torch.no_grad()
    def sample(self, obs: Observation, noise: torch.Tensor) -> torch.Tensor:
        """Actions (N, H, action) by DDIM from noise of that shape; nothing else is random."""
        device = self.args.device
        image = torch.empty(0)
        if self.encoder is not None:
            image = torch.as_tensor(obs["image"]).to(device)
        condition = self.condition(features(obs).to(device), image)

        chunk = noise.to(device)
        for k in self.scheduler.timesteps:
            levels = k.to(device).expand(len(chunk))
            predicted = self.denoiser(chunk, levels, condition)
            chunk = self.scheduler.step(predicted, k, chunk).prev_sample
        actions = chunk * self.reach + self.centre
        return self.smoother @ actions.cpu()


# Copied from baselines/dexflywheel.py: descend
def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    """Take one gradient step; the gradient's norm is cut to `limit`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, limit)
    optimizer.step()


# --- 6. acting: a queue of actions for every world ---
class ChunkPolicy:
    """Acts in the worlds of `env`, each with a queue of actions to come."""

    def __init__(self, base: BasePolicy, args: Args, env):
        self.base = base
        self.args = args
        self.env = env
        self.aligned = False  # worlds plan on their own, not with others
        worlds = env.num_envs
        horizon, action = base.shape
        self.queue = torch.zeros(worlds, horizon, action)  # to come, the last one repeated
        self.noise = torch.zeros(worlds, horizon, action)  # where the denoising starts
        self.left = -torch.ones(worlds).long()  # steps to the next plan; -1: the first

        overlap = args.chunk - args.execute  # a new chunk is faded in over these steps
        share = torch.arange(1, args.chunk + 1) / (overlap + 1)
        self.fade = share.clamp(max=1.0)[:, None]  # (H, 1)

    def reset(self, mask: np.ndarray) -> None:
        self.left[mask] = -1

    @torch.no_grad()
    def act(self, obs: Observation) -> np.ndarray:
        """Actions to execute, (N, action)."""
        return self.base_action(obs).clamp(-1.0, 1.0).numpy()

    # Copied from baselines/dexflywheel.py: ChunkPolicy.base_action
    def base_action(self, obs: Observation) -> torch.Tensor:
        """Take the next action of every queue, (N, action); worlds whose time is up plan anew."""
        due = self.left <= 0  # (N,)
        if due.any():
            self.plan(obs, due)
        action = self.queue[:, 0]
        rest = self.queue[:, 1:]
        last = self.queue[:, -1:]
        self.queue = torch.cat([rest, last], dim=1)
        self.left -= 1
        return action

    # Copied from baselines/dexflywheel.py: ChunkPolicy.plan
    def plan(self, obs: Observation, due: torch.Tensor) -> None:
        """Predict a chunk for the worlds of `due` (N,) and fade it into what is left of the old."""
        if self.args.sampling_noise == "fresh":
            self.noise[due] = torch.randn(self.noise[due].shape)
        seen = {name: value[due.numpy()] for name, value in obs.items()}
        if self.args.sees:  # drawn only when looked at
            seen["image"] = self.env.draw(np.flatnonzero(due))

        new = self.base.sample(seen, self.noise[due])  # (n, H, action)
        old = self.queue[due]
        first = (self.left[due] < 0)[:, None, None]  # nothing to fade from
        fade = torch.where(first, 1.0, self.fade)
        self.queue[due] = old + fade * (new - old)

        if self.aligned and not due.all():
            self.left[due] = self.left[~due].max()
        else:
            self.left[due] = self.args.execute


# --- 7. networks, and what they see ---
LEVEL_FEATURES = 64  # of the noise level
IMAGE_FEATURES = 384
VIT_LAYERS = 12
CHANNELS = {"cnn": (3, 16, 32, 64, 32), "vit": (3, 32, 64, 128, 256, IMAGE_FEATURES)}


# Copied from baselines/dexflywheel.py: features
def features(obs: Observation, whole: bool = False) -> torch.Tensor:
    """State of A arms, place of K objects, and with `whole` orientation and velocities, (N, D).

    Observations with an "object_id", one-hot (N, I), also say which object it is: a study adds it.
    """
    arms = read_proprio(obs["proprio"])
    objects = read_objects(obs["object"])

    palm = matrix_from_quat(arms.palm_quaternion)  # its axes are the columns, (N, A, 3, 3)
    offset = objects.position[:, None] - arms.palm_position[:, :, None]  # (N, A, K, 3)
    in_palm = (palm[:, :, None] * offset[..., None]).sum(3)  # the offset in the palm's frame

    columns = [arms.arm_position, arms.arm_velocity, arms.hand_position, arms.hand_velocity]
    columns += [arms.palm_position, palm[..., 0], palm[..., 1]]
    columns += [objects.position, offset, in_palm]
    if whole:
        columns.append(objects.quaternion_and_velocities)
    if "object_id" in obs:
        columns.append(obs["object_id"])
    return torch.cat([torch.as_tensor(x).flatten(1) for x in columns], dim=1).float()


# Copied from baselines/dexflywheel.py: mlp
def mlp(sizes: list[int], activation: type[nn.Module], norm: bool = False) -> nn.Sequential:
    """Linear layers with an activation between them, and with `norm` a layer norm before it."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        if norm:
            layers.append(nn.LayerNorm(outputs))
        layers.append(activation())
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    return nn.Sequential(*layers)


# Copied from baselines/dexflywheel.py: transformer
def transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width,
        heads,
        dim_feedforward=4 * width,
        dropout=dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


# Copied from baselines/dexflywheel.py: MlpDenoiser
class MlpDenoiser(nn.Module):
    """Denoises a flattened chunk (B, H, action) given the noise level k and a condition."""

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        size = horizon * action
        width = args.width
        self.level = nn.Embedding(LEVELS, LEVEL_FEATURES)
        self.inlet = nn.Linear(size + condition + LEVEL_FEATURES, width)
        block = nn.Sequential(nn.LayerNorm(width), mlp([width, width, width], nn.SiLU))
        self.blocks = nn.ModuleList(copy.deepcopy(block) for _ in range(args.layers))
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        x = torch.cat([chunk.flatten(1), condition, self.level(k)], dim=1)
        x = self.inlet(x)
        for block in self.blocks:
            x = x + block(x)
        return self.outlet(x).view_as(chunk)


# Copied from baselines/dexflywheel.py: TransformerDenoiser
class TransformerDenoiser(nn.Module):
    """One token for k, one for the condition, one per action; the last ones give the result."""

    CONTEXT = 2  # tokens before those of the actions

    def __init__(self, condition: int, horizon: int, action: int, args: Args):
        super().__init__()
        width = args.width
        self.level = nn.Embedding(LEVELS, width)
        self.condition = nn.Linear(condition, width)
        self.action = nn.Linear(action, width)
        self.position = nn.Parameter(0.02 * torch.randn(self.CONTEXT + horizon, width))
        self.body = transformer(width, args.layers, heads=8, dropout=0.1)
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, action))

    def forward(self, chunk: torch.Tensor, k: torch.Tensor, condition: torch.Tensor):
        context = torch.stack([self.level(k), self.condition(condition)], dim=1)  # (B, 2, width)
        tokens = torch.cat([context, self.action(chunk)], dim=1)  # (B, 2 + H, width)
        tokens = self.body(tokens + self.position)
        return self.outlet(tokens[:, self.CONTEXT :])


# Copied from baselines/dexflywheel.py: ImageEncoder
class ImageEncoder(nn.Module):
    """Features (B, 384) of images (B, h, w, 3) uint8; "vit": `vit_small_r26_s32_224`, plainer."""

    def __init__(self, kind: str, side: int):
        super().__init__()
        self.stem = nn.Sequential()
        for before, after in pairwise(CHANNELS[kind]):
            self.stem.append(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1))
            self.stem.append(nn.GroupNorm(8, after))
            self.stem.append(nn.SiLU())
            side = (side + 1) // 2

        patches = side * side
        channels = CHANNELS[kind][-1]
        self.position = nn.Parameter(0.02 * torch.randn(patches, channels))
        if kind == "vit":
            self.vit = transformer(IMAGE_FEATURES, VIT_LAYERS, heads=6, dropout=0.0)
            self.outlet = nn.LayerNorm(IMAGE_FEATURES)
        else:
            self.vit = None
            self.outlet = nn.Linear(patches * channels, IMAGE_FEATURES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scaled = image.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        patches = self.stem(scaled).flatten(2).transpose(1, 2)  # (B, patches, channels)
        if self.vit is None:
            return self.outlet(patches.flatten(1))
        return self.outlet(self.vit(patches + self.position).mean(1))


# --- 8. evaluation ---
def evaluate_policy(run: Run) -> None:
    """Success and motion on the splits asked for."""
    args = run.args
    env = make_env(args)
    base = build_policy(run.load("policy_1.pt"), args)
    rows = evaluate_policies(
        {"base": ChunkPolicy(base, args, env)},
        env,
        replace(args, eval_splits=all_rounds(args.eval_splits, args.task)),
        method=METHOD,
        iteration=1,
        films=run.path / "videos",
        provenance=run.folder.provenance,
    )
    env.close()
    run.log(1, success_curves(rows))
    atomic_write_json(run.path / "eval_1.json", rows)


def open_policy(state: dict, args: Args, name: str) -> tuple:
    """Make the policy of a checkpoint and worlds for it to act in (`--evaluate`)."""
    env = make_env(args)
    return ChunkPolicy(build_policy(state, args), args, env), env


# --- 9. run folder, checkpoints, resuming ---
class Run(Progress):
    """A run's folder, and what its stages find there."""

    def __init__(self, args: Args):
        if args.resume:
            folder = RunFolder.open(args.resume)
        else:
            name = f"{METHOD}-{args.variant}"
            folder = RunFolder.create(args.runs, entry(args.task).env_id, name, args.seed, args)
        super().__init__(folder, args.seed, args.save_seconds, args.track)
        self.args = args

    def episodes(self, name: str) -> EpisodeStore:
        return EpisodeStore(self.path / name, entry(self.args.task).env_id, CONTROL_MODE)

    def data(self) -> Iterator:
        """The episodes that are learned from."""
        successes = self.episodes("D_1").episodes(success=True)
        return islice(successes, self.args.trajectories)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    keys = ["proprio", "object"]
    if args.sees:
        keys.append("image")
    return {
        "method": METHOD,
        "method_version": METHOD_VERSION,
        "revision": REVISION,
        "observation_keys": keys,
        "env_id": entry(args.task).env_id,
        "control_mode": CONTROL_MODE,
    }


def build_policy(state: dict, args: Args) -> BasePolicy:
    """Make the policy of a checkpoint, for acting."""
    check_header(state, header(args))
    weights = state["base"]
    base = BasePolicy(len(weights["mean"]), len(weights["centre"]), args)
    base.load_state_dict(weights)
    return base.to(args.device).eval().requires_grad_(False)


# --- 10. entry point ---
def main(args: Args) -> int:
    check_device(args.device)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        return evaluate_checkpoint(args, open_policy, TASKS)

    run = Run(args)
    print(f"run folder: {run.path}", flush=True)
    run_method(run)
    run.metrics.close()
    minutes = sum(run.done.values()) / 60
    print(f"wall time {minutes:.1f} min; episodes, curves: {run.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(ARGS))
