"""DexFlyWheel (arXiv 2509.23829, sections 3, 4 and A): a data flywheel from one demonstration.

Differs: PPO on success beside SAC; a small denoiser, which sees where the object is, while the
residual also sees its orientation and velocities; the residual is filtered.
Command: python baselines/dexflywheel.py --preset laptop --seed 3 --eval-splits T_OEP T_O
Expected: 98.2 % [96.7, 99.0] on T_OEP after turn 3, mean of seeds 1 to 3 (the paper: 90.0 +- 3.2).
Time: 11 min on two cores, other tasks up to 31 (the paper: 30 h on data-centre GPUs).
"""

# docs/dexflywheel.md has the formulas of every step. Its pi_i is base_i here; with a tilde it is
# combined_i. D_i, C_i, alpha, epsilon, u, r1 and r2 are the same in both.
#
# Contents
#   1. settings
#   2. the wheel: the outer loop
#   3. data of a turn: rollouts of the last policy, edited for new scenes (A_EP)
#   4. base policy: imitation by diffusion
#   5. combined policy: chunks of the base, plus the filtered residual
#   6. residual reinforcement learning: worlds, schedule, tests
#   7. residual PPO
#   8. residual SAC
#   9. networks, and what they see
#  10. evaluation
#  11. run folder, checkpoints, resuming
#  12. entry point

from __future__ import annotations

import copy
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

from dexfw_envs.runs.evaluation import evaluate_checkpoint
from dexfw_envs.runs.settings import ScriptArgs, check_device, command_line

METHOD = "dexflywheel"
METHOD_VERSION = 3
CONTROL_MODE = "ee_pose"
VIDEO_SIZE = 320  # side of a video's picture where the policy sees none [px]


# --- 1. settings ---
@dataclass(frozen=True)
class WheelArgs:
    """Turns of the wheel and the data of each."""

    preset: Literal["quick", "laptop", "paper"] = "laptop"  # where all other options start from
    demos: str = ""  # a demonstration of your own, file or store; the shipped one if empty
    iterations: int = 3  # turns of the wheel; beyond the third the objects stay those of the third
    aep: bool = True  # A_EP on the collected rollouts (off: an ablation; D_1 has it always)
    data: Literal["fresh", "cumulative"] = "fresh"  # base_i learns from D_i, or from D_1 .. D_i
    trajectories: tuple[int, ...] = (20, 100, 500)  # size of D_i; the last goes for later turns
    per_scene: int = 1  # successes kept of a drawn configuration (the paper: 4); fewer: variety
    explore: float = 0.0  # standard deviation of an offset on u when a failed scene is tried again
    collect_steps: int | None = None  # longest episode of collection; None: the task's own limit
    aep_smoothing: float = 2.0  # low-pass on rollouts before A_EP, standard deviation [steps]


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
class ResidualArgs:
    """The residual policy (appendix A.2) and its reinforcement learning."""

    residual: bool = True  # train a residual policy (off: an ablation of the paper)
    residual_algo: Literal["ppo", "sac"] = "ppo"  # PPO on success, or the paper's SAC, dense reward
    touch: bool = False  # the residual also feels the fingertip forces
    alpha: tuple[float, float] = (0.15, 0.4)  # largest residual of palm and fingers [action]
    smoothing: float = 0.5  # kappa of both filters: r <- r + kappa (input - r); 1: no filter
    ramp_start: int = 0  # step up to which the residual is never added
    ramp: int = 10_000  # step from which it is always added; its probability rises in between
    total_timesteps: int = 200_000  # environment steps of residual RL per iteration
    rl_envs: int = 64  # parallel worlds
    rl_steps: int = 130  # longest episode of RL; successes in Grasp take about 90 steps
    test_every: int = 102_400  # environment steps between tests of the full residual during RL
    test_episodes: int = 88  # episodes of such a test
    enough: float = 1.0  # success in a test beyond which RL ends (1: never): it would learn haste
    # PPO
    gamma: float = 0.995  # discount of PPO; a smaller one makes for haste
    n_steps: int = 32  # steps per world between PPO updates
    epochs: int = 8  # passes over them
    minibatch: int = 512  # minibatch of PPO
    lr: float = 3e-4  # learning rate of SAC, and of the PPO actor, where it falls linearly
    critic_lr: float = 1e-3  # learning rate of the PPO critic, likewise
    log_std: float = -0.9  # initial log standard deviation of u
    target_kl: float = 0.05  # an update stops beyond this divergence
    # SAC
    dense_scale: float = 20.0  # dense reward of a step that counts as best
    sac_gamma: float = 0.97  # discount of SAC
    sac_batch: int = 256  # batch size of SAC
    utd: float = 1 / 16  # gradient steps per environment step
    learning_starts: int = 4_000  # steps with uniform random residuals before SAC learns


@dataclass(frozen=True)
class Args(ResidualArgs, PolicyArgs, WheelArgs, ScriptArgs):
    """All options; those of `ScriptArgs` every script has."""

    NEGATIVE: ClassVar[tuple[str, ...]] = ("log_std", "enough")  # enough below 0: no RL at all
    RETIRED: ClassVar[dict[str, Any]] = {"base_init": "scratch", "encoder_weights": ""}

    def __post_init__(self) -> None:
        self.check_chunk()
        if not all(0 < value <= 1 for value in (*self.alpha, self.smoothing)):
            raise ValueError("--alpha and --smoothing must lie in (0, 1]")
        counts = (self.iterations, self.per_scene, len(self.trajectories), *self.trajectories)
        if min(counts) < 1:
            raise ValueError("--iterations, --per-scene, --trajectories must be at least 1 each")


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

# What the tasks that take longer than Grasp share
SLOW = {
    "rl_steps": 240,
    "collect_steps": 240,
    "explore": 0.25,
    "smoothing": 0.35,
    "test_every": 32_768,
    "enough": 0.98,
}
TASKS: dict[str, dict] = {  # where the settings of a task differ
    "Grasp": {},
    "Pour": SLOW,
    "Lift": SLOW | {"explore": 0.5, "rl_steps": 150, "collect_steps": 150, "gamma": 0.998},
    "Handover": SLOW | {"log_std": -1.8, "n_steps": 64, "minibatch": 1024},
}

if __name__ == "__main__":
    ARGS = command_line(Args, PRESETS, TASKS, __doc__)  # before the imports that take seconds

import gymnasium
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel
from torch.distributions import Normal

from dexfw_envs.backends import options_for
from dexfw_envs.catalog.splits import training_sampler
from dexfw_envs.control.codec import HAND_ACTIONS, PALM_ACTIONS
from dexfw_envs.control.smoothing import local_lines
from dexfw_envs.demos.collection import Tries, gather
from dexfw_envs.demos.demonstrations import read_demonstrations
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.editing.augment import augment
from dexfw_envs.editing.reading import read_motions
from dexfw_envs.episodes.episode import Episode, Observation
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.observation import read_objects, read_proprio
from dexfw_envs.registry import entry
from dexfw_envs.revision import REVISION
from dexfw_envs.runs.checkpoints import check_header, pack, unpack
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import means
from dexfw_envs.runs.progress import Progress
from dexfw_envs.runs.report import (
    curves,
    evaluate_policies,
    plot_success,
    print_success,
    success_curves,
    wheel_turned,
)
from dexfw_envs.transforms import matrix_from_quat

Batch = dict[str, torch.Tensor]  # columns of equal length


# --- 2. the wheel: the outer loop ---
def turn_wheel(run: Run) -> list[dict]:
    """Turn the wheel; return the success of every base and combined policy.

    C_i is row i of the task's curriculum: objects, surroundings and poses, more in every row.
    Every stage leaves its result in the run's folder, where the next one finds it.
    """
    rows: list[dict] = []
    for i in range(1, run.args.iterations + 1):
        # D_1: the demonstration, edited. D_i: what combined_{i-1} did with new objects, edited
        run.stage("data", build_data, i)
        # base_i: imitation of D_i
        run.stage("base", train_base, i)
        # combined_i: base_i plus a residual, learned on the objects of turn i + 1
        if run.args.residual:
            run.stage("residual", train_residual, i)
        run.stage("eval", evaluate_turn, i)
        rows += read_json(run.path / f"eval_{i}.json")
    return rows


# --- 3. data of a turn: rollouts of the last policy, edited for new scenes (A_EP) ---
def build_data(run: Run, i: int) -> None:
    """D_1 = A_EP(demonstration; C_1). D_i = A_EP(rollouts of combined_{i-1}; C_i)."""
    args = run.args
    shutil.rmtree(run.path / f"D_{i}", ignore_errors=True)  # left half-full by a killed process
    store = EpisodeStore(run.path / f"D_{i}", entry(args.task).env_id, CONTROL_MODE)
    add = partial(store.add, seed=args.seed, config={"turn": i})
    env = make_env(args, image=args.sees, steps=args.collect_steps)
    rng = np.random.default_rng(run.seed)
    report = {}

    if i == 1:
        motions = [first_demonstration(args)]
    else:
        motions, report["rollouts"] = gather_rollouts(run, i, env, rng, add)
    if i == 1 or args.aep:
        episodes, report["edited"] = edit_motions(run, i, env, rng, add, motions)
        source = "augmented"
    else:
        episodes = motions
        source = "policy"

    env.close()
    for episode in episodes:  # the failures are stored already
        add(episode, source=source)
    atomic_write_json(run.path / f"data_{i}.json", report)


def first_demonstration(args: Args) -> Episode:
    """The first success of `--demos`, or the demonstration that ships with the task."""
    if not args.demos:
        return load_seed(args.task)
    return read_demonstrations(args.demos, entry(args.task).env_id, CONTROL_MODE, count=1)[0]


def gather_rollouts(
    run: Run, i: int, env, rng: np.random.Generator, add: Callable
) -> tuple[list[Episode], dict]:
    """Successes of combined_{i-1} with the objects of turn i, and a report; failures are stored.

    Base and residual were trained in scenes of C_{i-1}, so they act there, and A_EP takes the
    motions to the new scenes. Without A_EP the rollouts have to go to the new scenes themselves.
    """
    args = run.args
    base, residual = run.policy(i - 1)
    policy = ChunkPolicy(base, residual, args, env)
    return gather(
        args.task,
        i,
        data_size(args, i),
        rng,
        produce=policy.rollouts,
        keep_failure=partial(add, source="policy"),
        scenes=i - 1 if args.aep else i,
        per_scene=args.per_scene,
    )


def edit_motions(
    run: Run, i: int, env, rng: np.random.Generator, add: Callable, motions: list[Episode]
) -> tuple[list[Episode], dict]:
    """A_EP: motions edited for scenes of C_i and run there.

    Returns:
        The successes and a report on all tries, as `gather_rollouts` does; failures are stored.
    """
    args = run.args
    smoothing = args.aep_smoothing if i > 1 else 0.0  # the demonstration is smooth
    sources = read_motions(motions, env.codec, smoothing=smoothing)
    produce = partial(augment, env, sources, rng=rng, failures=True, progress=f"A_EP {i}")
    return gather(
        args.task,
        i,
        data_size(args, i),
        rng,
        produce=produce,
        keep_failure=partial(add, source="augmented"),
        per_scene=args.per_scene,
    )


def data_size(args: Args, i: int) -> int:
    """How many episodes D_i holds; the last number goes for all later turns."""
    last = len(args.trajectories) - 1
    return args.trajectories[min(i - 1, last)]


def make_env(
    args: Args,
    image: bool = False,
    steps: int | None = None,
    reward_mode: str = "sparse",
    autoreset_mode: str = "disabled",
    **options: Any,
):
    """Make parallel worlds; as they are for collection and tests: `run_episodes` resets them.

    Args:
        image: Every observation holds a picture; else one is drawn only when it is looked at.
        steps: Longest episode; None: the task's own limit.
        **options: More options of the environment.
    """
    obs_mode = "image" if image else "state"
    if args.touch:
        obs_mode += "+touch"
    backend_options = options_for(
        args.backend, args.threads, args.timestep_scale, args.friction_scale
    )
    return gymnasium.make_vec(
        entry(args.task).env_id,
        num_envs=args.rl_envs,
        backend=args.backend,
        control_mode=CONTROL_MODE,
        obs_mode=obs_mode,
        image_size=args.image_size if args.sees else VIDEO_SIZE,
        max_episode_steps=steps,
        reward_mode=reward_mode,
        autoreset_mode=autoreset_mode,
        variation={} if args.variation else None,  # of each scenario, or none at all
        info_mode="full",
        render_mode="rgb_array",
        **options,
        **backend_options,
    ).unwrapped


# --- 4. base policy: imitation by diffusion ---
LEVELS = 50  # noise levels in training
LEAST_SPREAD = 0.02  # a column that hardly varies is not blown up
STATE_LIMIT = 5.0  # of a standardised state
WARM_UP = 100  # gradient steps over which the learning rate rises
LOGGED = 100  # gradient steps from one row of the curves to the next


def train_base(run: Run, i: int) -> None:
    """Behaviour cloning of D_i, from scratch."""
    args = run.args
    data = run.data(i)
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
    for step in run.bar(f"base {i}", saved.get("step", 0), args.base_steps):
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
            done = (i - 1) * args.base_steps + step + 1
            run.log(done, {"losses/base": loss.item()})
        run.save(step=step + 1, **{name: part.state_dict for name, part in parts.items()})

    ema.copy_to(parameters)
    run.store_policy(i, base, None)


class Dataset(NamedTuple):
    """What the base policy learns from: M moments of successful episodes."""

    state: torch.Tensor  # (M, D)
    chunk: torch.Tensor  # the actions from there on, (M, H, action)
    image: torch.Tensor  # (M, h, w, 3) uint8, or (M, 0) without a camera


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


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    """Take one gradient step; the gradient's norm is cut to `limit`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, limit)
    optimizer.step()


# --- 5. combined policy: chunks of the base, plus the filtered residual ---
def combine(
    base_action: torch.Tensor, r: torch.Tensor, u: torch.Tensor, args: Args
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add the residual alpha * r2 to the base's action a; r2 is u after two low-pass filters.

    Args:
        base_action: a, (N, action).
        r: State of the two filters, (N, 2, action).
        u: What the residual policy puts out, in [-1, 1], (N, action).

    Returns:
        Action to execute (N, action), and the next state of the filters.
    """
    r1 = torch.lerp(r[:, 0], u, args.smoothing)  # (1 - k) r1 + k u
    r2 = torch.lerp(r[:, 1], r1, args.smoothing)
    alpha = largest_residual(args, base_action.shape[1]).to(r.device)
    action = (base_action + alpha * r2).clamp(-1.0, 1.0)
    return action, torch.stack([r1, r2], dim=1)


def largest_residual(args: Args, size: int) -> torch.Tensor:
    """alpha of every element of the action, (action,): palm and hand of every arm."""
    palm, hand = args.alpha
    arm = torch.tensor([palm] * PALM_ACTIONS + [hand] * HAND_ACTIONS)
    return arm.repeat(size // len(arm))


def residual_input(
    obs: Observation, base_action: torch.Tensor, r: torch.Tensor, args: Args
) -> torch.Tensor:
    """What the residual sees, (N, D): state, base action, filters; never the image."""
    seen = [features(obs, whole=True)]
    if args.touch:
        seen.append(torch.as_tensor(obs["touch"]))
    return torch.cat([*seen, base_action, r.flatten(1)], dim=1)


def base_and_filter(x: torch.Tensor, action: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Take base action (B, action) and filters (B, 2, action) out of the residual's input."""
    base_action = x[:, -3 * action : -2 * action]
    r = x[:, -2 * action :].unflatten(1, (2, action))
    return base_action, r


class ChunkPolicy:
    """The combined policy, or the base alone; every world of `env` has its own queue of actions.

    Args:
        aligned: In RL the first chunk of a world that was reset is cut short, so that all worlds
            plan at the same step, in one batch. In tests and collection each world plans by
            itself, so that none depends on another.
    """

    STATE = ("queue", "noise", "r", "left")

    def __init__(
        self, base: BasePolicy, residual: Agent | None, args: Args, env, aligned: bool = False
    ):
        self.base = base
        self.residual = residual
        self.args = args
        self.env = env
        self.aligned = aligned
        worlds = env.num_envs
        horizon, action = base.shape
        self.queue = torch.zeros(worlds, horizon, action)  # to come, the last one repeated
        self.noise = torch.zeros(worlds, horizon, action)  # where the denoising starts
        self.left = -torch.ones(worlds).long()  # steps to the next plan; -1: the first
        self.r = torch.zeros(worlds, 2, action)  # filters of the residual
        self.offset = torch.zeros(worlds, action)  # on u, the same for a whole episode

        overlap = args.chunk - args.execute  # a new chunk is faded in over these steps
        share = torch.arange(1, args.chunk + 1) / (overlap + 1)
        self.fade = share.clamp(max=1.0)[:, None]  # (H, 1)

    def reset(self, mask: np.ndarray) -> None:
        self.left[mask] = -1
        self.r[mask] = 0.0

    @torch.no_grad()
    def act(self, obs: Observation) -> np.ndarray:
        """Actions to execute, (N, action)."""
        base_action = self.base_action(obs)
        u = torch.zeros_like(base_action)
        if self.residual is not None:
            x = residual_input(obs, base_action, self.r, self.args)
            u = self.residual.mean(x.to(self.args.device)).cpu()
        u = (u + self.offset).clamp(-1.0, 1.0)
        action, self.r = combine(base_action, self.r, u, self.args)
        return action.numpy()

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

    def rollouts(self, tries: Tries):
        """Collect episodes; where it failed it tries again in another way, by an offset on u."""

        def draw_offsets(episode: np.ndarray, length: np.ndarray) -> None:
            """Where an episode begins: an offset if its scene was tried before, else none."""
            for world in np.flatnonzero((episode >= 0) & (length == 0)):
                direction = torch.randn(self.offset.shape[1])
                spread = self.args.explore if tries.retry[episode[world]] else 0.0
                self.offset[world] = spread * direction

        return run_episodes(self.env, self, tries, progress="rollouts", on_step=draw_offsets)

    def state(self) -> Batch:
        return {name: getattr(self, name) for name in self.STATE}

    def load_state(self, state: Batch) -> None:
        for name in self.STATE:
            setattr(self, name, state[name])


# --- 6. residual reinforcement learning: worlds, schedule, tests ---
def train_residual(run: Run, i: int) -> None:
    """RL of residual_i over the frozen base_i, with the objects of turn i + 1 in scenes of C_i."""
    args = run.args
    base, _ = run.policy(i)
    env = make_rl_env(args, i)
    policy = ChunkPolicy(base, None, args, env, aligned=True)
    worlds = Worlds(env, policy, args, run.seed)
    agent = new_agent(worlds.x.shape[1], base.shape[1], args)
    saved = run.restore()
    if saved:
        agent.load_state(saved["agent"])
        worlds.load_state(saved["worlds"])

    round_size = agent.round_steps * args.rl_envs  # environment steps
    rounds = max(1, args.total_timesteps // round_size)
    rounds_between_tests = max(1, args.test_every // round_size)
    origin = (i - 1) * args.total_timesteps  # of this turn's curves
    stopped = False
    for n in run.bar(f"residual {i}", saved.get("round", 0), rounds):
        step = n * round_size
        if n % rounds_between_tests == 0:
            success = test_residual(run, i, base, agent, n, origin + step)
            stopped = success > args.enough
            if stopped:
                break

        losses = agent.round(worlds, step)
        schedule = {"charts/epsilon": epsilon(step + round_size, args)}
        successes = curves("scheduled", worlds.take_ended())
        run.log(origin + step + round_size, losses | schedule | successes)
        run.save(round=n + 1, agent=agent.state, worlds=worlds.state)

    if not stopped:
        test_residual(run, i, base, agent, rounds, origin + rounds * round_size)
    env.close()
    run.store_policy(i, base, agent)


def epsilon(step: float, args: Args) -> float:
    """Probability that the residual is added, rising linearly with the environment steps."""
    ramp = max(1, args.ramp - args.ramp_start)
    return min(1.0, max(0.0, (step - args.ramp_start) / ramp))


def test_residual(run: Run, i: int, base: BasePolicy, agent: Agent, n: int, step: int) -> float:
    """Test the residual after n rounds without its noise; return its success in [0, 1].

    At n = 0 the residual is zero, so one test begins all three curves: of the base, of the policy
    as the schedule mixes it, and of the residual.
    """
    args = run.args
    rng = np.random.default_rng(run.seed)
    sampler = training_sampler(args.task, i + 1, scenes=i)
    scenarios = [sampler(rng) for _ in range(args.test_episodes)]
    env = make_env(args)
    policy = ChunkPolicy(base, agent if n > 0 else None, args, env)
    records = evaluate(policy, env, scenarios=scenarios)
    env.close()

    names = ["residual"] if n > 0 else ["base", "scheduled", "residual"]
    for name in names:
        run.log(step, curves(name, records))
    return sum(record["success"] for record in records) / len(records)


def make_rl_env(args: Args, i: int):
    """Make worlds with the objects of turn i + 1 in scenes of C_i; they reset themselves."""
    return make_env(
        args,
        steps=args.rl_steps,
        reward_mode="dense" if args.residual_algo == "sac" else "sparse",
        autoreset_mode="same_step",
        scenarios=training_sampler(args.task, i + 1, scenes=i),
    )


class Worlds:
    """The parallel worlds of RL with their queues and filters, stepped together.

    Attributes:
        base_action: What the base does next, (N, action).
        x: What the residual sees now, (N, D).
        gate: Where u entered the filters in the last step, (N,) of 0 and 1.
    """

    def __init__(self, env, policy: ChunkPolicy, args: Args, seed: int):
        self.env = env
        self.policy = policy
        self.args = args
        self.ended: list[list[dict]] = [[] for _ in range(env.num_envs)]  # object, success
        obs, _ = env.reset(seed=seed)
        self._look(obs)

    def _look(self, obs: Observation) -> None:
        self.base_action = self.policy.base_action(obs)
        self.x = residual_input(obs, self.base_action, self.policy.r, self.args)

    def step(self, u: torch.Tensor, probability: float = 1.0) -> Batch:
        """Execute the base's actions plus the residual; u (N, action) enters with a probability.

        Returns:
            The transition, all (N, ...): x, u as executed, reward, done, terminated, and x_next,
            which is the episode's last state where one ended.
        """
        x = self.x
        self.gate = (torch.rand(len(u)) < probability).float()
        u = u * self.gate[:, None]
        action, self.policy.r = combine(self.base_action, self.policy.r, u, self.args)
        obs, reward, terminated, truncated, info = self.env.step(action.numpy())

        done = terminated | truncated
        ends = x  # at an episode's end what is seen there; of no use elsewhere
        if done.any():
            queued = self.policy.queue[:, 0]  # what the base would have done next
            ends = residual_input(info["final_obs"], queued, self.policy.r, self.args)
            self._note_ended(done, info["final_info"])
            self.policy.reset(done)
        if self.env.reward_mode == "dense":
            reward = self._below_zero(reward, terminated, info)
        self._look(obs)

        ended = torch.as_tensor(done)
        return {
            "x": x,
            "u": u,
            "reward": torch.as_tensor(reward, dtype=torch.float32),
            "done": ended.float(),
            "terminated": torch.as_tensor(terminated, dtype=torch.float32),
            "x_next": torch.where(ended[:, None], ends, self.x),
        }

    def _note_ended(self, done: np.ndarray, info: dict) -> None:
        for world in np.flatnonzero(done):
            name = info["scenario"][world].objects[0]
            success = bool(info["success"][world])
            self.ended[world].append({"object": name, "success": success})

    def _below_zero(self, reward: np.ndarray, terminated: np.ndarray, info: dict) -> np.ndarray:
        """Shift the dense reward to [-1, 0], so that ending by success is best, by loss worst."""
        running = np.clip(reward / self.args.dense_scale, 0.0, 1.0) - 1.0
        if not terminated.any():
            return running
        worst_return = -1.0 / (1.0 - self.args.sac_gamma)  # of a run that never ends
        ending = np.where(info["final_info"]["success"], 1.0, worst_return)
        return np.where(terminated, ending, running)

    def take_ended(self) -> list[dict]:
        """As many ended episodes of each world, else short ones, successes, count too often."""
        taken = []
        for _ in range(min(len(rows) for rows in self.ended)):
            for rows in self.ended:
                taken.append(rows.pop(0))
        return taken

    def state(self) -> dict:
        return {
            "env": pack(self.env.get_state()),
            "ended": self.ended,
            "x": self.x,
            "base": self.base_action,
            "policy": self.policy.state(),
        }

    def load_state(self, state: dict) -> None:
        self.env.set_state(unpack(state["env"]))
        self.policy.load_state(state["policy"])
        self.ended = state["ended"]
        self.x = state["x"]
        self.base_action = state["base"]


class Agent(nn.Module):
    """A residual policy that learns: what PPO and SAC share.

    Attributes:
        round_steps: Steps of every world in a round.
        optimizers: Of its networks.
        memory: What else a resumed run needs, such as the replay of SAC.
    """

    def __init__(self, inputs: int, args: Args, round_steps: int):
        super().__init__()
        self.args = args
        self.round_steps = round_steps
        self.optimizers: list[torch.optim.Optimizer] = []
        self.memory: dict[str, Any] = {}
        one_seen = torch.tensor(
            [1.0, 0.0, 1.0], dtype=torch.float64
        )  # as if one x of variance 1 was seen
        self.register_buffer("sums", one_seen[:, None].repeat(1, inputs))  # of 1, x, x^2: (3, D)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise x, (..., D), by all that was observed."""
        count, total, squares = self.sums
        mean = total / count
        variance = squares / count - mean.square()
        std = variance.clamp(min=1e-4).sqrt()
        return ((x - mean) / std).clamp(-STATE_LIMIT, STATE_LIMIT).float()

    def observe(self, x: torch.Tensor) -> None:
        """Count x, (..., D), in for the normaliser."""
        x = x.flatten(0, -2).double()
        self.sums += torch.stack([torch.ones_like(x), x, x.square()]).sum(1)

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        """u without noise, in [-1, 1], (N, action)."""
        raise NotImplementedError

    def round(self, worlds: Worlds, step: int) -> dict[str, float]:
        """Step every world `round_steps` times and learn; return the mean losses."""
        raise NotImplementedError

    def state(self) -> dict:
        return {
            "weights": self.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "memory": self.memory,
        }

    def load_state(self, state: dict) -> None:
        self.load_state_dict(state["weights"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.memory = state["memory"]


# --- 7. residual PPO ---
CLIP = 0.2  # PPO's ratios count within 1 - CLIP .. 1 + CLIP
GAE_LAMBDA = 0.95
LEAST_LR = 0.05  # learning rates fall linearly to this share
PPO_WIDTH = 256


class PpoAgent(Agent):
    """Gaussian residual whose spread does not depend on the state, and its critic."""

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__(inputs, args, round_steps=args.n_steps)
        self.actor = mlp([inputs, PPO_WIDTH, PPO_WIDTH, action], nn.Tanh)
        self.critic = mlp([inputs, PPO_WIDTH, PPO_WIDTH, 1], nn.Tanh)
        self.log_std = nn.Parameter(torch.full((action,), args.log_std))
        nn.init.zeros_(self.actor[-1].weight)  # training starts from the base policy
        nn.init.zeros_(self.actor[-1].bias)
        self.to(args.device)

        actor = {"params": [*self.actor.parameters(), self.log_std]}
        critic = {"params": [*self.critic.parameters()]}
        self.optimizers = [torch.optim.Adam([actor, critic], eps=1e-5)]

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.norm(x)).clamp(-1.0, 1.0)

    def distribution(self, x: torch.Tensor) -> Normal:
        return Normal(self.actor(self.norm(x)), self.log_std.exp())

    def log_prob(self, x: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor:
        return self.distribution(x).log_prob(sampled).sum(-1)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.critic(self.norm(x))[..., 0]

    def round(self, worlds: Worlds, step: int) -> dict[str, float]:
        """Step every world n_steps times, then update; returns the mean losses."""
        args = self.args
        rows = []
        for t in range(args.n_steps):
            now = step + t * args.rl_envs
            sampled = self.distribution(worlds.x.to(args.device)).sample().cpu()
            u = sampled.clamp(-1.0, 1.0)
            row = worlds.step(u, epsilon(now, args))
            rows.append(row | {"sampled": sampled, "gate": worlds.gate})
        rollout = stacked(rows, args.device)  # (T, N, ...)

        self.observe(rollout["x"])  # now: old and new probabilities see the same
        self.add_advantages(rollout)
        self.anneal(step)
        batch = {name: column.flatten(0, 1) for name, column in rollout.items()}  # (T N, ...)

        losses = []
        for _ in range(args.epochs):
            for index in torch.randperm(len(batch["x"])).split(args.minibatch):
                minibatch = {name: column[index] for name, column in batch.items()}
                losses.append(self.update(minibatch))
            if losses[-1]["losses/approx_kl"] > args.target_kl:
                break
        return means(losses)

    @torch.no_grad()
    def add_advantages(self, rollout: Batch) -> None:
        """Add old log probabilities, advantages and returns to a rollout, (T, N) each."""
        value = self.value(rollout["x"])
        next_value = self.value(rollout["x_next"])
        rollout["log_prob"] = self.log_prob(rollout["x"], rollout["sampled"])
        rollout["advantage"] = gae(
            rollout["reward"],
            value,
            next_value,
            rollout["terminated"],
            rollout["done"],
            self.args.gamma,
        )
        rollout["return"] = rollout["advantage"] + value

    def anneal(self, step: int) -> None:
        """Lower both learning rates linearly."""
        left = max(LEAST_LR, 1.0 - step / self.args.total_timesteps)
        actor, critic = self.optimizers[0].param_groups
        actor["lr"] = self.args.lr * left
        critic["lr"] = self.args.critic_lr * left

    def update(self, b: Batch) -> dict[str, float]:
        """One gradient step on a minibatch. There is no entropy bonus: the spread is learned.

        Steps at which the residual was not added (gate 0) say nothing of it, only of the value.
        """
        log_ratio = self.log_prob(b["x"], b["sampled"]) - b["log_prob"]
        ratio = log_ratio.exp()
        gate = b["gate"]
        executed = gate.sum().clamp(min=1.0)

        advantage = b["advantage"]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped_ratio = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
        gain = torch.min(ratio * advantage, clipped_ratio * advantage)
        policy_loss = -(gain * gate).sum() / executed
        value_loss = 0.5 * F.mse_loss(self.value(b["x"]), b["return"])
        descend(self.optimizers[0], policy_loss + value_loss, limit=0.5)

        approx_kl = ((ratio - 1.0 - log_ratio) * gate).sum() / executed
        return {
            "losses/policy": policy_loss.item(),
            "losses/value": value_loss.item(),
            "losses/approx_kl": approx_kl.item(),
        }


def stacked(rows: list[Batch], device: str) -> Batch:
    """Put T steps, each (N, ...), one behind the other: (T, N, ...)."""
    columns = {}
    for name in rows[0]:
        steps = [row[name] for row in rows]
        columns[name] = torch.stack(steps).to(device)
    return columns


def gae(reward, value, next_value, terminated, done, gamma: float, lam: float = GAE_LAMBDA):
    """Generalised advantages, all (T, N).

    Truncated episodes are bootstrapped with the value of their last state, `next_value`.
    """
    advantage = reward + gamma * next_value * (1.0 - terminated) - value  # of one step
    for t in reversed(range(len(advantage) - 1)):
        advantage[t] += gamma * lam * (1.0 - done[t]) * advantage[t + 1]
    return advantage


# --- 8. residual SAC ---
REPLAY_SIZE = 300_000  # transitions kept
TAU = 0.01  # rate at which the target critics follow
SAC_ROUND = 16  # steps of every world in a round
SAC_WIDTH = 256
LOG_STD_RANGE = (-5.0, 1.0)
FIRST_ENTROPY_WEIGHT = 0.05  # tuned from there
GRADIENT_LIMIT = 10.0


class SacAgent(Agent):
    """Squashed Gaussian residual, twin critics of the combined action, and the replay."""

    def __init__(self, inputs: int, action: int, args: Args):
        super().__init__(inputs, args, round_steps=SAC_ROUND)
        hidden = [SAC_WIDTH, SAC_WIDTH, SAC_WIDTH]
        self.action = action
        self.actor = mlp([inputs, *hidden, 2 * action], nn.ReLU)
        self.actor[-1].weight.data.mul_(0.01)  # training starts near the base policy
        sizes = [inputs + action, *hidden, 1]
        self.critics = nn.ModuleList(mlp(sizes, nn.ReLU, norm=True) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_weight = nn.Parameter(torch.tensor(math.log(FIRST_ENTROPY_WEIGHT)))
        self.to(args.device)

        self.q_optimizer = torch.optim.Adam(self.critics.parameters(), lr=args.lr)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=args.lr)
        self.weight_optimizer = torch.optim.Adam([self.log_weight], lr=args.lr)
        self.optimizers = [self.q_optimizer, self.actor_optimizer, self.weight_optimizer]
        # Transitions, how many were seen, and gradient steps that are due
        self.memory = {"replay": {}, "seen": 0, "owed": 0.0}

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        mean, _ = self.actor(self.norm(x)).chunk(2, dim=-1)
        return mean.tanh()

    def sample(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw u = tanh(raw), (B, action), and return its log probability (B,) too."""
        mean, log_std = self.actor(self.norm(x)).chunk(2, dim=-1)
        normal = Normal(mean, log_std.clamp(*LOG_STD_RANGE).exp())
        raw = normal.mean + normal.stddev * torch.randn(mean.shape).to(mean.device)
        log_slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))  # log(1 - tanh(raw)^2)
        return raw.tanh(), (normal.log_prob(raw) - log_slope).sum(-1)

    def q(self, critics: nn.ModuleList, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Both critics' values, (2, B), of the action that u leads to, base + residual."""
        base_action, r = base_and_filter(x, self.action)
        action, _ = combine(base_action, r, u, self.args)
        joint = torch.cat([self.norm(x), action], dim=1)
        return torch.stack([critic(joint).squeeze(-1) for critic in critics])

    def round(self, worlds: Worlds, step: int) -> dict[str, float]:
        """A few steps of every world, each followed by the gradient steps that are due by then."""
        args = self.args
        losses = []
        for t in range(self.round_steps):
            now = step + t * args.rl_envs
            u = 2.0 * torch.rand(worlds.base_action.shape) - 1.0
            if now >= args.learning_starts:
                sampled, _ = self.sample(worlds.x.to(args.device))
                u = sampled.detach().cpu()
                self.memory["owed"] += args.utd * args.rl_envs

            row = worlds.step(u, epsilon(now, args))
            self.remember(row)
            self.observe(row["x"].to(args.device))
            while self.memory["owed"] >= 1.0:
                self.memory["owed"] -= 1.0
                losses.append(self.update(self.batch()))
        return means(losses)

    def remember(self, row: Batch) -> None:
        """Put N transitions into the replay, in place of the oldest."""
        replay = self.memory["replay"]
        first = self.memory["seen"]
        index = torch.arange(first, first + len(row["x"])) % REPLAY_SIZE
        for name, value in row.items():
            if name not in replay:
                replay[name] = torch.zeros(REPLAY_SIZE, *value.shape[1:])
            replay[name][index] = value
        self.memory["seen"] += len(index)

    def batch(self) -> Batch:
        """Draw transitions from the replay, (B, ...) each."""
        filled = min(self.memory["seen"], REPLAY_SIZE)
        index = torch.randint(0, filled, (self.args.sac_batch,))
        replay = self.memory["replay"]
        return {name: column[index].to(self.args.device) for name, column in replay.items()}

    def update(self, b: Batch) -> dict[str, float]:
        """One gradient step of critics, actor and entropy weight, in CleanRL's order."""
        entropy_weight = self.log_weight.exp().detach()

        with torch.no_grad():
            next_u, next_log_prob = self.sample(b["x_next"])
            next_q = self.q(self.targets, b["x_next"], next_u).amin(0)
            next_value = next_q - entropy_weight * next_log_prob
            going_on = 1.0 - b["terminated"]
            q_target = b["reward"] + self.args.sac_gamma * going_on * next_value  # (B,)
        q_values = self.q(self.critics, b["x"], b["u"])  # (2, B)
        q_loss = F.mse_loss(q_values, q_target.expand(2, -1))
        descend(self.q_optimizer, q_loss, GRADIENT_LIMIT)

        u, log_prob = self.sample(b["x"])
        least_q = self.q(self.critics, b["x"], u).amin(0)
        actor_loss = (entropy_weight * log_prob - least_q).mean()
        descend(self.actor_optimizer, actor_loss, GRADIENT_LIMIT)

        target_entropy = -self.action
        surplus = -log_prob.detach().mean() - target_entropy
        descend(self.weight_optimizer, self.log_weight * surplus, GRADIENT_LIMIT)

        for target, critic in zip(
            self.targets.parameters(), self.critics.parameters(), strict=True
        ):
            target.lerp_(critic.detach(), TAU)
        return {
            "losses/critic": q_loss.item(),
            "losses/actor": actor_loss.item(),
            "losses/entropy_weight": entropy_weight.item(),
        }


def new_agent(inputs: int, action: int, args: Args) -> Agent:
    """The residual policy before its training."""
    kind = {"ppo": PpoAgent, "sac": SacAgent}[args.residual_algo]
    return kind(inputs, action, args)


# --- 9. networks, and what they see ---
LEVEL_FEATURES = 64  # of the noise level
IMAGE_FEATURES = 384
VIT_LAYERS = 12
CHANNELS = {"cnn": (3, 16, 32, 64, 32), "vit": (3, 32, 64, 128, 256, IMAGE_FEATURES)}


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


# --- 10. evaluation ---
def evaluate_turn(run: Run, i: int) -> None:
    """Success and motion of base_i and combined_i on the splits asked for."""
    args = run.args
    base, residual = run.policy(i)
    env = make_env(args)
    policies = {"base": ChunkPolicy(base, None, args, env)}
    if args.residual:
        policies["combined"] = ChunkPolicy(base, residual, args, env)

    filmed = args.capture_video or i == args.iterations
    rows = evaluate_policies(
        policies,
        env,
        args,
        method=METHOD,
        iteration=i,
        films=run.path / "videos" if filmed else None,
        provenance=run.folder.provenance,
    )
    env.close()
    run.log(i, success_curves(rows))
    atomic_write_json(run.path / f"eval_{i}.json", rows)


def open_policy(state: dict, args: Args, name: str) -> tuple:
    """Make the policy of a checkpoint and worlds for it to act in (`--evaluate`)."""
    base, residual = build_policy(state, args)
    if name == "base":
        residual = None
    elif residual is None:
        raise ValueError("the checkpoint holds no residual; evaluate it with --policy base")
    env = make_env(args)
    return ChunkPolicy(base, residual, args, env), env


# --- 11. run folder, checkpoints, resuming ---
class Run(Progress):
    """A run's folder, and what its stages find there."""

    def __init__(self, args: Args):
        if args.resume:
            folder = RunFolder.open(args.resume)
        else:
            env_id = entry(args.task).env_id
            folder = RunFolder.create(args.runs, env_id, METHOD, args.seed, args)
        super().__init__(folder, args.seed, args.save_seconds, args.track)
        self.args = args

    def data(self, i: int) -> Dataset:
        """What base_i learns from."""
        env_id = entry(self.args.task).env_id
        first = 1 if self.args.data == "cumulative" else i
        folders = [self.path / f"D_{j}" for j in range(first, i + 1)]
        stores = [EpisodeStore(folder, env_id, CONTROL_MODE) for folder in folders]
        episodes = (episode for store in stores for episode in store.episodes(success=True))
        return make_dataset(episodes, self.args)

    def store_policy(self, i: int, base: BasePolicy, agent: Agent | None) -> None:
        state = header(self.args)
        state["args"] = asdict(self.args)
        state["iteration"] = i
        state["base"] = base.state_dict()
        state["residual"] = agent.state_dict() if agent is not None else None
        self.store(f"policy_{i}.pt", state)

    def policy(self, i: int) -> tuple[BasePolicy, Agent | None]:
        """base_i and residual_i, if it is trained already."""
        return build_policy(self.load(f"policy_{i}.pt"), self.args)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    keys = ["proprio", "object"]
    if args.touch:
        keys.append("touch")
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


def build_policy(state: dict, args: Args) -> tuple[BasePolicy, Agent | None]:
    """Make base and residual of a checkpoint, for acting."""
    check_header(state, header(args))
    weights = state["base"]
    base = BasePolicy(len(weights["mean"]), len(weights["centre"]), args)
    base.load_state_dict(weights)
    base = base.to(args.device).eval().requires_grad_(False)

    weights = state["residual"]
    if not weights:
        return base, None
    inputs = weights["sums"].shape[1]
    agent = new_agent(inputs, base.shape[1], args)
    agent.load_state_dict(weights)
    return base, agent


# --- 12. entry point ---
def main(args: Args) -> int:
    check_device(args.device)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        return evaluate_checkpoint(args, open_policy, TASKS)

    run = Run(args)
    print(f"run folder: {run.path}", flush=True)
    rows = turn_wheel(run)
    run.metrics.close()
    print_success(rows)
    plot_success(rows, run.path / "success.png", run.path.name)
    minutes = sum(run.done.values()) / 60
    print(f"wall time {minutes:.1f} min; curves, plot, videos: {run.path}")
    if args.preset == "quick" and not wheel_turned(rows):
        return 1  # the demo says if it worked
    return 0


if __name__ == "__main__":
    sys.exit(main(ARGS))
