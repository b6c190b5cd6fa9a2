"""DexPIE (arXiv 2606.09615): policy improvement from deployment experience, with its baselines.

Differs: scripted operator; own successes count half; states seen from palms; small networks; 20 Hz.
Command: python baselines/dexpie.py --variant dexpie --seed 1 --eval-splits T_OEP --threads 1
Expected, time: Grasp 91.0 % from 56.0 % (seed 1, n 200; paper: 87.3 from 50.0, own tasks); 4 min.
"""

# Contents
#   1. settings
#   2. the outer loop: rounds of deployment and improvement
#   3. demonstrations and the reference policy
#   4. deployment: rollouts of the last policy, with an operator
#   5. intervention: who takes over
#   6. restarts from intermediate stages
#   7. asynchronous action in the relative action space
#   8. state: what the palms see
#   9. critic: the distribution of the return
#  10. optimality score of every window
#  11. improvement, conditioned on the optimality score
#  12. policy: diffusion of chunks that may begin with known actions
#  13. networks and training
#  14. evaluation
#  15. run folder and checkpoints
#  16. entry point

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
from dexfw_envs.revision import REVISION
from dexfw_envs.runs.evaluation import evaluate_checkpoint
from dexfw_envs.runs.settings import (
    SAME_METHOD,
    ScriptArgs,
    check_device,
    check_made_with,
    command_line,
)

METHOD = "dexpie"
METHOD_VERSION = 3
CONTROL_MODE = "ee_pose"

# The variants, and by which indicator each turns advantages into optimality scores, if at all
INDICATOR_OF = {"bc": None, "hg-dagger": None, "recap": "binary", "dexpie": "sigmoid"}

COLLECTION_WORLDS = 8  # most worlds of a collection
SPARE_SCENES = 0.25  # share of scenes beyond those needed, since the expert may fail in some
VIDEO_SIZE = 320  # side of a video's picture where the policy sees none [px]


# --- 1. settings ---
@dataclass(frozen=True)
class RoundArgs:
    """How many rounds, and what they start from."""

    preset: Literal["laptop", "quick", "paper"] = "laptop"  # where all other options start from
    rounds: int = 1  # of collection and improvement
    collected: str = ""  # run folder: take demonstrations, reference policy and rollouts from it
    num_envs: int = 64  # parallel worlds
    demos: str = ""  # store with demonstrations, such as a person's; scripted ones if empty
    demonstrations: int = 30  # how many are learned from; this alone sets the reference's success


@dataclass(frozen=True)
class DeploymentArgs:
    """How a policy acts."""

    action_space: Literal["relative", "absolute"] = "relative"  # to the measured palm, or not
    inference: Literal["async", "sync"] = "async"  # in collection; sync waits for every chunk
    latency: tuple[int, ...] = (4,)  # of inference [steps]: fixed, or least and most
    eval_inference: Literal["async", "sync"] = "async"  # in tests
    eval_latency: tuple[int, ...] = ()  # in tests, also beyond the prefix; empty: as in collection


@dataclass(frozen=True)
class CollectionArgs:
    """Where episodes of a collection start, and who intervenes in which."""

    rollouts: int = 60  # episodes per round, retries included
    retries: int | None = None  # most of them in a round; None: every start that fails
    collect_steps: int | None = None  # longest episode of collection; None: the task's own limit
    starts: Literal["staged", "initial"] = "staged"  # also from intermediate stages, or not
    setups: int = 15  # scenes in which the expert reaches these stages; 0: the demonstrations
    initial_share: float = 0.8  # of staged starts that are initial states, before any has failed
    operator: Literal["scripted", "keyboard"] = "scripted"  # who intervenes
    intervene: Literal["retries", "always", "never"] = "retries"  # in which episodes
    patience: float = 1.5  # how long a stall is, in longest stages of an ordinary demonstration
    reaction: tuple[int, int] = (6, 14)  # of the scripted operator, least and most [steps]
    foresight: int = 20  # steps before the first try went wrong at which the operator is called


@dataclass(frozen=True)
class CriticArgs:
    """What the critic sees, and the returns that it learns."""

    critic_steps: int = 400  # gradient steps; 2000 learn the episodes by heart
    critic_batch: int = 512  # batch size
    critic_lr: float = 5e-4  # learning rate, falling as a cosine
    critic_noise: float = 0.5  # on its normalised state in training, as `obs_noise`
    critic_hand: bool = True  # it sees the finger joints (the paper's does not)
    critic_touch: bool = False  # it feels the fingertip forces
    critic_split: Literal["crossfit", "heldout"] = "crossfit"  # five fifths, or one left out
    failure_decay: float = 1.0  # of a failure's penalty per step back (the later code: 0.99)


@dataclass(frozen=True)
class OptimalityArgs:
    """How advantages become optimality scores, and how policies are conditioned on them."""

    lookahead: int = 50  # N of the advantage [steps] (the paper: the chunk); shorter is noisier
    end_value: Literal["critic", "true"] = "true"  # of an episode's last state in the advantage
    indicator: Literal["auto", "sigmoid", "binary", "linear", "outcome"] = "auto"  # auto: variant's
    alpha: float = 5.0  # steepness of the sigmoid
    ceiling: float = 0.5  # of a score by sigmoid or linear: an expert is better (the paper: 1)
    quantiles: tuple[float, float] = (0.4, 0.6)  # of the advantage (the paper: 0.6 and 0.8)
    labels: Literal["paper", "later"] = "paper"  # later: the critic judges demonstrations too
    imitate: Literal["all", "successes", "interventions"] = "all"  # all: with an indicator only
    contrast: float = 10.0  # angle from score 0 to 1 in the embedding [rad] (the paper's code: 1)
    drop: float = 0.3  # probability that the condition is left out in training
    beta: float = 1.25  # guidance; 1: the conditional policy as it is
    init: Literal["scratch", "reference"] = "scratch"  # weights that improvement starts from


@dataclass(frozen=True)
class PolicyArgs:
    """The policy's network and its training."""

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


@dataclass(frozen=True)
class Args(
    PolicyArgs, OptimalityArgs, CriticArgs, CollectionArgs, DeploymentArgs, RoundArgs, ScriptArgs
):
    """All options; those of `ScriptArgs` every script has."""

    VARIANTS: ClassVar[tuple[str, ...]] = tuple(INDICATOR_OF)
    SAME: ClassVar[tuple[str, ...]] = ("collected", "demonstrations")
    ASKED: ClassVar[tuple[str, ...]] = ("eval_inference", "eval_latency")
    RETIRED: ClassVar[dict[str, Any]] = {"failure_penalty": 1.0}

    variant: str = "dexpie"  # bc, hg-dagger, recap or dexpie; dexpie-NAME: an ablation of it
    policy: Literal["base"] = "base"  # with --evaluate: there is no other

    def __post_init__(self) -> None:
        self._check_variant()
        checks.least(self, 0, "retries", "setups", "foresight", "beta", "chunk_smoothing")
        checks.least(self, 1, "rounds", "num_envs", "rollouts", "lookahead", "demonstrations")
        checks.fractions(self, "initial_share", "quantiles", "ceiling", "drop", "prefix_exposure")
        self._check_latency()
        low, high = self.quantiles
        if low >= high:
            raise ValueError(f"--quantiles: the low one must be below the high: {self.quantiles}")

    def _check_variant(self) -> None:
        if self.kind not in INDICATOR_OF:
            valid = ", ".join(f"{name}, {name}-NAME" for name in INDICATOR_OF)
            raise ValueError(f"unknown --variant {self.variant!r}; valid: {valid}")
        if self.indicator != "auto" and not self.guided:
            raise ValueError(f"--variant {self.variant} has no use for --indicator")

    def _check_latency(self) -> None:
        if not 0 <= self.prefix < self.chunk / 2:
            raise ValueError(f"--prefix must be below half of --chunk {self.chunk}: {self.prefix}")
        check_latency(self.latency)
        if self.eval_latency:
            check_latency(self.eval_latency)

        # Tests with a latency of their own may be late, which is what they measure
        tests_overlap = self.eval_inference == "async" and not self.eval_latency
        overlaps = self.inference == "async" or tests_overlap
        longest = max(self.latency)
        if overlaps and longest > self.prefix:
            raise ValueError(f"--latency {longest} is longer than --prefix {self.prefix} allows")

    @property
    def kind(self) -> str:
        """The variant of which this run is, or is an ablation; "" if there is no such variant."""
        for name in INDICATOR_OF:
            if self.variant == name or self.variant.startswith(f"{name}-"):
                return name
        return ""

    @property
    def deploys(self) -> bool:
        """Whether the variant learns from deployment; cloning stops at the reference policy."""
        return self.kind != "bc"

    @property
    def guided(self) -> bool:
        """Whether policies are conditioned on an optimality score."""
        return INDICATOR_OF[self.kind] is not None

    @property
    def sees(self) -> bool:
        """Whether policy and critic see the camera, in place of the objects' states."""
        return self.obs == "image"

    @property
    def longest_episode(self) -> int:
        """The task's limit, which is the unit of value [steps]."""
        return entry(self.task).make().max_episode_steps


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
    "collected",
    "rounds",
    "rollouts",
    "num_envs",
    *Args.ASKED,
    *(option.name for option in fields(CriticArgs)),
    *(option.name for option in fields(OptimalityArgs)),
    *(name for name in SAME_METHOD if name != "seed"),
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
from dexfw_envs.deployment.stages import (
    STAGE,
    StagedEnv,
    Start,
    longest_stage,
    stage_starts,
    with_stages,
)
from dexfw_envs.deployment.starts import Starts
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.calibration import calibrations, label_fractions, split_by_scene
from dexfw_envs.experts import TEACHER_STYLES
from dexfw_envs.files import atomic_write_json
from dexfw_envs.observation import HAND_JOINTS, arm_count, read_objects, read_proprio
from dexfw_envs.runs.checkpoints import check_header, load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.progress import Progress, check_finished
from dexfw_envs.runs.report import all_rounds, evaluate_policies, print_success, success_curves
from dexfw_envs.scenario import Scenario
from dexfw_envs.teleop.keyboard import keyboard_operator, raw_terminal
from dexfw_envs.transforms import matrix_from_quat

# What policies learn from: the round that an episode is of, 0 for demonstrations, and the episode
Experience = list[tuple[int, Any]]
DEMONSTRATED = 0  # in place of a round
NULL = -1.0  # in place of an optimality score: the null condition


# --- 2. the outer loop: rounds of deployment and improvement ---
def learn_from_deployment(run: Run) -> None:
    """Clone demonstrations; then deploy, judge and improve, round by round."""
    args = run.args
    if args.collected:
        run.stage("adopt", adopt)
    else:
        run.stage("demos", collect_demonstrations)
        run.stage("reference", train_reference)
    if not args.collected or not args.deploys:
        run.stage("eval", evaluate_policy, 0)  # known before anything is collected
    if not args.deploys:
        return

    for i in range(1, args.rounds + 1):
        adopted = i == 1 and args.collected
        if not adopted:
            run.stage("collect", collect_rollouts, i)  # D_i: policy i - 1 acts, the operator helps
        if args.guided:
            run.stage("critic", train_critic, i)  # value of every state, score of every window
        run.stage("improve", improve, i)  # policy i imitates windows, conditioned on their scores
        run.stage("eval", evaluate_policy, i)


# --- 3. demonstrations and the reference policy ---
def make_env(
    args: Args,
    image: bool = False,
    worlds: int | None = None,
    steps: int | None = None,
    watched: bool = False,
):
    """Make worlds of the task; `image`: observations hold pictures, `watched`: in a window."""
    modality = "image" if image else "state"
    options = options_for(args.backend, args.threads, args.timestep_scale, args.friction_scale)

    return gymnasium.make_vec(
        entry(args.task).env_id,
        backend=args.backend,
        num_envs=worlds or args.num_envs,
        obs_mode=f"{modality}+touch",
        image_size=args.image_size if args.sees else VIDEO_SIZE,
        control_mode=CONTROL_MODE,
        render_mode="human" if watched else "rgb_array",
        autoreset_mode="disabled",
        variation={} if args.variation else None,  # of each scenario, or none at all
        max_episode_steps=steps,
        **options,
    ).unwrapped


def diverse_scenes(args: Args, count: int, rng: np.random.Generator) -> list[Scenario]:
    """Scenes with the objects, surroundings and poses of training, of all rounds."""
    return configurations(args.task, iterations(args.task), count, rng)


def with_spares(count: int) -> int:
    """How many scenes to offer the expert where `count` successes are needed."""
    return math.ceil(count * (1 + SPARE_SCENES))


def collect_demonstrations(run: Run) -> None:
    """A person's demonstrations from a store; else the expert's, in diverse scenes."""
    args = run.args
    if args.demos:
        chosen = stored_demonstrations(args)

    rng = np.random.default_rng(run.seed)
    scenes = diverse_scenes(args, with_spares(args.demonstrations), rng)
    worlds = min(len(scenes), args.num_envs)
    env = StagedEnv(make_env(args, image=args.sees, worlds=worlds))
    staged = args.deploys and args.starts == "staged"
    if staged and not env.backend.capabilities.exact_restore:
        raise ValueError(f"--starts staged: {args.backend} cannot restore states; use initial")
    if not args.demos:
        chosen = demonstrate(env, scenes, run.seed, args.demonstrations, TEACHER_STYLES)

    store = run.episodes("demos")
    for index, episode in enumerate(chosen):
        source = getattr(episode, "source", "scripted")
        staged_episode = with_stages(env, episode)
        store.add(staged_episode, source=source, seed=args.seed, index=index)
    env.close()


def stored_demonstrations(args: Args) -> list:
    """The first successes of the store that --demos names."""
    needs = []
    if args.sees:
        needs.append("image")
    if args.critic_touch:
        needs.append("touch")
    env_id = entry(args.task).env_id
    return read_demonstrations(args.demos, env_id, CONTROL_MODE, args.demonstrations, needs)


def train_reference(run: Run) -> None:
    """Behaviour cloning, already with prefixes, of the null condition alone."""
    demonstrations = [episode for _, episode in run.experience(0)]
    data = windows(demonstrations, run.args)
    policy = new_policy(data, run.args, guided=False)
    learn(run, 0, policy, data)


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
    reference = other.read_checkpoint("policy_0.pt")
    take_episodes(other.path / "demos", run.path / "demos", args.demonstrations)
    if args.deploys:
        check_finished(other.path, "collect_1")
        take_episodes(other.path / "D_1", run.path / "D_1", args.rollouts)
    run.folder.write_checkpoint("policy_0.pt", reference)


# --- 4. deployment: rollouts of the last policy, with an operator ---
def collect_rollouts(run: Run, i: int) -> None:
    """Deploy the policy of round i - 1 and keep every episode, with who commanded its steps."""
    args = run.args
    by_keyboard = args.operator == "keyboard"
    worlds = 1 if by_keyboard else min(args.num_envs, COLLECTION_WORLDS)
    env = make_env(
        args,
        image=args.sees,
        worlds=worlds,
        steps=args.collect_steps,
        watched=by_keyboard,
    )
    last_policy = run.policy(i - 1)
    policy = executor(last_policy, args, env, args.inference, args.latency)
    control = SharedControl(policy, make_operator(run, env), env)
    deployed = collection.DeployedEnv(env, control)
    starts = make_starts(run)

    shutil.rmtree(run.path / f"D_{i}", ignore_errors=True)  # left half-full by a killed process
    store = run.episodes(f"D_{i}")
    episodes = []
    with raw_terminal() if by_keyboard else contextlib.nullcontext():
        for episode in collection.deploy(deployed, control, starts, f"rollouts {i}"):
            store.add(episode, source="policy", seed=args.seed, config={"round": i})
            episodes.append(episode)

    report = collection.collection_report(episodes, deployed, env.task.stages)
    policy.inference.close()
    env.close()

    atomic_write_json(run.path / f"collection_{i}.json", report)
    starts_by_stage = report["starts"].items()
    curves = {f"starts/{name}": row["share"] for name, row in starts_by_stage}
    run.log(i * args.base_steps, curves)
    print(f"collection {i}: {report}", flush=True)


# --- 5. intervention: who takes over ---
def make_operator(run: Run, env):
    """The expert, as patient as demonstrations suggest; or a person at the keyboard."""
    args = run.args
    if args.operator == "keyboard":
        return keyboard_operator(env)

    demonstrations = run.experience(0)
    stages = [episode.observations[STAGE] for _, episode in demonstrations]
    patience = math.ceil(args.patience * longest_stage(stages))
    gate = Gate(args.foresight, patience, delay=args.reaction)
    return ScriptedOperator(env, gate, run.seed)


# --- 6. restarts from intermediate stages ---
def make_starts(run: Run) -> Starts:
    """Where episodes start: initial states, intermediate stages, and again where one failed."""
    args = run.args
    rng = np.random.default_rng(run.seed)
    scenes = diverse_scenes(args, args.rollouts, rng)
    staged: dict[int, list[Start]] = {}
    if args.starts == "staged":
        staged = intermediate_starts(run, rng)

    return Starts(
        args.rollouts,
        iter(scenes),
        staged,
        rng,
        initial=args.initial_share,
        armed=args.intervene,
        retries=args.retries,
    )


def intermediate_starts(run: Run, rng: np.random.Generator) -> dict[int, list[Start]]:
    """Where stages begin: in scenes that the expert brings there, or in what is learned from."""
    args = run.args
    if not args.setups:
        return stage_starts(episode for _, episode in run.experience(0))

    scenes = diverse_scenes(args, with_spares(args.setups), rng)
    worlds = min(len(scenes), args.num_envs)
    env = StagedEnv(make_env(args, worlds=worlds))
    with contextlib.closing(env):
        shown = demonstrate(env, scenes, run.seed, args.setups, TEACHER_STYLES)
    return stage_starts(shown)


# --- 7. asynchronous action in the relative action space ---
def executor(
    policy: DiffusionPolicy, args: Args, env, mode: str, latency: tuple[int, ...]
) -> ChunkExecutor:
    """Act in `env` with a latency; known actions are seen from where the palms are measured now."""
    space = ACTION_SPACES[args.action_space](env.codec)

    def plan(seen: Observation, prefix: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Chunks (n, H, action); they begin with the first `known` (n,) actions of `prefix`."""
        palms = measured_palms(seen["proprio"])
        given = space.encode(prefix, palms)
        given = torch.as_tensor(given, dtype=torch.float32)

        noise = torch.zeros(len(known), *policy.shape)
        if args.sampling_noise == "fresh":
            noise = torch.randn(noise.shape)
        chunk = policy.sample(seen, given, torch.as_tensor(known), noise)
        action = space.decode(chunk.numpy(), palms)
        return np.clip(action, -1.0, 1.0)

    def look(seen: Observation, worlds: np.ndarray) -> Observation:
        """Draw a picture of the worlds that plan, unless every step is drawn anyway."""
        if "image" in seen:
            return seen
        return {**seen, "image": env.draw(worlds)}

    inference = make_inference(env, plan, args.chunk, latency, args.seed)
    completed = look if args.sees else None
    return ChunkExecutor(env, inference, args.prefix, mode, completed)


Windows = dict[str, torch.Tensor]


def windows(
    episodes: Iterable, args: Args, optimality: list[torch.Tensor] | None = None
) -> Windows:
    """What to learn from episodes of M steps in all: one window of H actions from every step on.

    Args:
        episodes: Demonstrations or rollouts.
        args: The action space, H, and what the policy sees.
        optimality: Scores of every episode's windows, (T,) each; None: the null condition.

    Returns:
        "state" (M, D), "image" (M, h, w, 3), "chunk" (M, H, action), "counts" bool (M, H) and
        "optimality" (M,). Past the end of an episode the last action is repeated; there it counts
        only after a success, which goes on holding what it holds.
    """
    codec = PoseCodec(entry(args.task).make().needs.robot)
    space = ACTION_SPACES[args.action_space](codec)
    rows: dict[str, list[torch.Tensor]] = defaultdict(list)
    for episode in episodes:
        obs = episode.observations
        steps = len(episode.actions)
        ahead = torch.arange(steps)[:, None] + torch.arange(args.chunk)  # steps (T, H)
        there = ahead.clamp(max=steps - 1)
        palms = measured_palms(obs["proprio"][:steps])
        chunk = space.encode(episode.actions[there.numpy()], palms)
        goes_on = bool(episode.success)

        rows["state"].append(palm_features(obs, args)[:steps])
        rows["chunk"].append(torch.as_tensor(chunk, dtype=torch.float32))
        rows["counts"].append((ahead < steps) | goes_on)
        rows["image"].append(image_of(episode)[:steps])
        rows["optimality"].append(torch.full((steps,), NULL))

    if optimality is not None:
        rows["optimality"] = optimality
    return {name: torch.cat(parts) for name, parts in rows.items()}


def image_of(episode: Any) -> torch.Tensor:
    """The pictures of an episode (T+1, h, w, 3), or (T+1, 0) if it has none."""
    obs = episode.observations
    if "image" in obs:
        return torch.as_tensor(obs["image"])
    return torch.as_tensor(np.empty((len(episode.actions) + 1, 0)))


# --- 8. state: what the palms see ---
# Where near places are resolved to millimetres: a ramp of 5 cm from each of these on [m]
RAMP_STARTS = np.linspace(-0.1, 0.1, 5)
RAMP_LENGTH = 0.05


def ramps(distance: np.ndarray) -> np.ndarray:
    """Spread distances [m] (...) over ramps that each saturate after 5 cm, (..., 5)."""
    return np.clip(distance[..., None] - RAMP_STARTS, 0.0, RAMP_LENGTH)


def palm_features(obs: Observation, args: Args, whole: bool = False) -> torch.Tensor:
    """What A palms see of K objects, near ones finely, and nothing of where in the world, (N, D).

    Args:
        obs: The groups "proprio" (N, 69 A) and "object" (N, 13 K).
        args: With `obs` "image" the camera shows the objects, and they are left out here; with
            `action_space` "absolute" the palms' places in the world are told too.
        whole: Tell these, the objects' turns and velocities, and the fingers' speeds.
    """
    shown = obs["object"]
    if args.sees:
        shown = shown[:, :0]
    objects = read_objects(shown)
    arms = read_proprio(obs["proprio"])
    palm = arms.palm_position  # in the table frame [m], (N, A, 3)
    rotation = matrix_from_quat(arms.palm_quaternion)  # palm to table, (N, A, 3, 3)
    vertical = rotation[..., 2, :]  # in the palm's frame

    # From every palm to all objects and palms, in that palm's frame
    places = np.concatenate([objects.position, palm], axis=1)  # (N, K + A, 3)
    offset = places[:, None] - palm[:, :, None]  # (N, A, K + A, 3)
    seen = (rotation[:, :, None] * offset[..., None]).sum(axis=3)
    turned = rotation[:, :, None].swapaxes(3, 4) @ rotation[:, None]  # (N, A, A, 3, 3)
    axes = turned[..., :2]  # of the other palms: x and y say it all
    near_palm = ramps(seen[:, :, : -arms.arms])
    near_table = ramps(objects.position[..., 2])

    fingers = arms.hand_position
    height = palm[..., 2]
    columns = [fingers, vertical, height, seen, axes, near_palm, near_table]
    if whole or args.action_space == "absolute":
        columns += [palm, rotation[..., :2]]
    if whole:
        columns += [objects.rows, arms.hand_velocity]

    flat = [torch.as_tensor(column).flatten(1) for column in columns]
    return torch.cat(flat, dim=1).float()


# --- 9. critic: the distribution of the return ---
FAILURE_PENALTY = 1.0  # of a failed end [longest episodes]
BINS = 201  # of the distribution, over [-1, 0]
BIN_WIDTH = 1.0  # spread of a label [bins]
FOLDS = 5  # parts of the scenes; each part is judged by a critic that has not seen it
VALUED = 4096  # states whose values are worked out at once
LEAST_SPREAD = 0.02  # a column of the state that hardly varies is not blown up
STATE_LIMIT = 5.0  # of a standardised state


class Critic(nn.Module):
    """Value of a state in [-1, 0]: the mean of a distribution over 201 bins."""

    def __init__(self, inputs: int, args: Args):
        super().__init__()
        self.noise = args.critic_noise
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.sees else None
        features = inputs + IMAGE_FEATURES if args.sees else inputs

        sizes = [features, args.width, args.width, args.width, BINS]
        self.net = mlp(sizes, nn.SiLU, norm=True)
        self.register_buffer("bins", torch.linspace(-1.0, 0.0, BINS))
        self.register_buffer("mean", torch.ones(inputs))
        self.register_buffer("std", torch.ones(inputs))

    def fit_normaliser(self, state: torch.Tensor) -> None:
        """Standardise states (n, D)."""
        self.mean = state.mean(0)
        self.std = state.std(0).clamp(min=LEAST_SPREAD)

    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Input of the network (n, D + image features); in training the state is noisy."""
        standardised = (state - self.mean) / self.std
        state = standardised.clamp(-STATE_LIMIT, STATE_LIMIT)
        if self.training:
            state = state + self.noise * torch.randn_like(state)
        if self.encoder is None:
            return state
        return torch.cat([state, self.encoder(image)], dim=1)

    def loss(self, state: torch.Tensor, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy to a Gaussian around the target's bin; targets are returns (n,)."""
        away = (self.bins - target[:, None]) * (BINS - 1)  # from the target's bin [bins]
        deviations = away / BIN_WIDTH
        probability = torch.softmax(-0.5 * deviations.square(), dim=1)
        logits = self.net(self.condition(state, image)).float()
        return F.cross_entropy(logits, probability)

    @torch.no_grad()
    def value(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Values (n,) on the CPU."""
        device = self.bins.device
        values = []
        for part in torch.arange(len(state)).split(VALUED):
            condition = self.condition(state[part].to(device), image[part].to(device))
            probability = torch.softmax(self.net(condition), dim=1)
            mean = (probability * self.bins).sum(1)
            values.append(mean.cpu())
        return torch.cat(values)


def critic_state(obs: Observation, args: Args) -> torch.Tensor:
    """What the critic sees beside images, (n, D)."""
    state = palm_features(obs, args, whole=True)  # begins with finger joints, ends with speeds
    if not args.critic_hand:
        fingers = arm_count(obs["proprio"]) * HAND_JOINTS
        state[:, :fingers] = 0.0
        state[:, -fingers:] = 0.0
    if not args.critic_touch:
        return state
    if "touch" not in obs:
        raise ValueError(f"--critic-touch: an episode has no touch, only {sorted(obs)}")
    touch = torch.as_tensor(obs["touch"])
    return torch.cat([state, touch], dim=1)


def returns(episode: Any, args: Args) -> torch.Tensor:
    """Monte-Carlo return from every state (T+1,): steps to go, and the penalty of a failed end."""
    length = len(episode.actions)
    steps_left = torch.arange(length, -1, -1).float()
    value = -steps_left / args.longest_episode
    if not episode.success:
        penalty = FAILURE_PENALTY * args.failure_decay**steps_left
        value = value - penalty
    return value.clamp(-1.0, 0.0)


def train_critic(run: Run, i: int) -> None:
    """Fit critics to all experience so far, value every state, score every window, report."""
    args = run.args
    experience = run.experience(i)
    episodes = [episode for _, episode in experience]
    states = [critic_state(episode.observations, args) for episode in episodes]
    images = [image_of(episode) for episode in episodes]
    targets = [returns(episode, args) for episode in episodes]

    scenes = [episode.scenario for episode in episodes]
    rng = np.random.default_rng(run.seed)
    learned, judge, held_out = split_by_scene(scenes, args.critic_split, FOLDS, rng)
    critics = fit_critics(run, i, states, images, targets, learned)
    frames = zip(judge.tolist(), states, images, strict=True)
    values = [critics[critic].value(state, image) for critic, state, image in frames]

    optimality, report = label(experience, values, args)
    report["calibration"] = report_critic(experience, values, held_out, args)
    atomic_write_json(run.path / f"critic_{i}.json", report)
    known = {
        "identifiers": [episode.identifier for episode in episodes],
        "values": values,
        "optimality": optimality,
        "critics": critics.state_dict(),
    }
    run.store(f"critic_{i}.pt", known)


def fit_critics(
    run: Run,
    i: int,
    states: list[torch.Tensor],
    images: list[torch.Tensor],
    targets: list[torch.Tensor],
    learned: np.ndarray,
) -> nn.ModuleList:
    """Train C critics, each on its part of E episodes; `learned` bool (C, E) says on which."""
    args = run.args
    frames = [torch.cat(parts) for parts in (states, images, targets)]
    state = frames[0]
    lengths = torch.tensor([len(rows) for rows in states])
    owner = torch.arange(len(states)).repeat_interleave(lengths)  # episode of every frame

    critics = nn.ModuleList(Critic(state.shape[1], args) for _ in learned)
    pools = []  # frames that each critic learns from
    for critic, chosen in zip(critics, torch.as_tensor(learned), strict=True):
        pool = torch.nonzero(chosen[owner])[:, 0]
        critic.fit_normaliser(state[pool])
        pools.append(pool)

    def loss() -> torch.Tensor:
        total = torch.zeros((), device=args.device)
        for critic, pool in zip(critics, pools, strict=True):
            drawn = torch.randint(0, len(pool), (args.critic_batch,))
            index = pool[drawn]
            batch = [frame[index].to(args.device) for frame in frames]
            total = total + critic.loss(*batch)
        return total / len(critics)

    fit(run, "critic", critics, loss, args.critic_steps, args.critic_lr, i)
    return critics.eval()


def report_critic(
    experience: Experience, values: list[torch.Tensor], held_out: np.ndarray, args: Args
) -> dict:
    """Calibration of the values of held-out episodes, with demonstrations and without."""
    groups: dict[str, list] = {"all": [], "rollouts": []}
    for (source, episode), value, unseen in zip(experience, values, held_out, strict=True):
        if not unseen:
            continue

        true = returns(episode, args)
        success = np.full(len(value), episode.success)
        row = (value, true, success, episode.observations[STAGE])
        groups["all"].append(row)
        if source != DEMONSTRATED:
            groups["rollouts"].append(row)
    return calibrations(groups, entry(args.task).make().stages)


# --- 10. optimality score of every window ---
INTERVENED = 1 / 3  # share of a window beyond which it counts as the operator's
LEAST_QUANTILES = 1e-6  # distance between them

# Scores in [0, 1] of advantages z (T,), scaled to 0 at the low quantile and 1 at the high one
INDICATORS: dict[str, Callable] = {
    "sigmoid": lambda z, args, success: args.ceiling * torch.sigmoid(args.alpha * z),
    "binary": lambda z, args, success: (z > 0).float(),
    "linear": lambda z, args, success: args.ceiling * z.clamp(0.0, 1.0),
    "outcome": lambda z, args, success: torch.full_like(z, success),  # whatever the critic says
}


def advantages(value: torch.Tensor, success: bool, args: Args) -> torch.Tensor:
    """N-step advantage of every step (T,) from values (T+1,).

    A_t = sum of N rewards + V(s_{t+N}) - V(s_t), with a reward of -1 a step and no discount, in
    units of the longest episode. Where fewer than N steps are left it ends with the episode.
    """
    steps = torch.arange(len(value) - 1)
    end = (steps + args.lookahead).clamp(max=len(steps))
    rewards = -(end - steps) / args.longest_episode  # their sum

    value_after = value.clone()
    if args.end_value == "true":
        value_after[-1] = 0.0 if success else -FAILURE_PENALTY
    return rewards + value_after[end] - value[:-1]


def label(
    experience: Experience, values: list[torch.Tensor], args: Args
) -> tuple[list[torch.Tensor], dict]:
    """Score the window from every step on in [0, 1]; (T,) per episode, and a report.

    Paper: demonstrations, and windows of which an intervention makes up more than a third, are 1.
    Later: demonstrations are judged like all else, and an intervention must fill the window.
    """
    pairs = zip(values, experience, strict=True)
    advantage = [advantages(value, episode.success, args) for value, (_, episode) in pairs]
    quantiles = torch.tensor(args.quantiles)
    low, high = torch.cat(advantage).quantile(quantiles).tolist()
    spread = max(high - low, LEAST_QUANTILES)

    name = INDICATOR_OF[args.kind] if args.indicator == "auto" else args.indicator
    indicator = INDICATORS[name]
    optimality = []
    groups = defaultdict(list)
    for (source, episode), of_episode in zip(experience, advantage, strict=True):
        scaled = (of_episode - low) / spread
        judged = indicator(scaled, args, episode.success)
        helped = helpful(source, episode, args)
        unjudged = args.labels == "paper" and source == DEMONSTRATED
        score = torch.where(helped | unjudged, 1.0, judged)
        optimality.append(score)
        groups[group_of(source, episode)].append(score[~helped])
        groups["interventions"].append(score[helped])

    report = {"indicator": name, "quantiles": [low, high], "labels": label_fractions(groups)}
    return optimality, report


def group_of(source: int, episode: Any) -> str:
    """Under which name the report counts an episode's windows."""
    if source == DEMONSTRATED:
        return "demonstrations"
    return "successes" if episode.success else "failures"


def helpful(source: int, episode: Any, args: Args) -> torch.Tensor:
    """Windows that count as an intervention (T,), in rollouts that succeeded."""
    if source == DEMONSTRATED or not episode.success:
        return torch.zeros(len(episode.actions), dtype=torch.bool)
    share = torch.as_tensor(collection.intervened(episode, args.chunk))
    return share > INTERVENED if args.labels == "paper" else share == 1


# --- 11. improvement, conditioned on the optimality score ---
def improve(run: Run, i: int) -> None:
    """Train the policy of round i on all windows at their score, or on successes (hg-dagger).

    States and actions are scaled to the successes, however far failures strayed.
    """
    args = run.args
    experience = run.experience(i)
    episodes = [episode for _, episode in experience]
    successes = [n for n, episode in enumerate(episodes) if episode.success]
    with_failures = args.guided and args.imitate == "all"
    chosen = range(len(episodes)) if with_failures else successes

    scores = None
    if args.guided:
        optimality = run.load(f"critic_{i}.pt")["optimality"]
        scores = [optimality[n] for n in chosen]
    data = windows([episodes[n] for n in chosen], args, scores)
    if args.imitate == "interventions":
        flags = expert_steps([experience[n] for n in chosen])
        data = {name: rows[flags] for name, rows in data.items()}

    well_done = windows([episodes[n] for n in successes], args)
    policy = new_policy(well_done, args, args.guided)
    if args.init == "reference":  # its normaliser fits its weights
        policy.load_state_dict(run.policy(0).state_dict())
    learn(run, i, policy, data)


def expert_steps(experience: Experience) -> np.ndarray:
    """Steps of demonstrations and of the operator, bool (M,): what HG-DAgger imitated at first."""
    flags = []
    for source, episode in experience:
        if source == DEMONSTRATED:
            flags.append(np.ones(len(episode.actions), dtype=bool))
        else:
            flags.append(collection.flags_of(episode))
    return np.concatenate(flags)


def new_policy(data: Windows, args: Args, guided: bool) -> DiffusionPolicy:
    """A policy that has learned nothing yet but the scale of the data."""
    state = data["state"]  # (M, D)
    action = data["chunk"].flatten(0, 1)  # (M H, action)
    policy = DiffusionPolicy(state.shape[1], action.shape[1], args, guided)
    policy.fit_normaliser(state, action)
    return policy


def learn(run: Run, i: int, policy: DiffusionPolicy, data: Windows) -> None:
    """Train a policy on windows and store it as that of round i."""
    args = run.args
    count = len(data["state"])

    def loss() -> torch.Tensor:
        index = torch.randint(0, count, (args.base_batch,))
        batch = {name: rows[index].to(args.device) for name, rows in data.items()}
        return policy.loss(**batch)

    fit(run, "policy", policy, loss, args.base_steps, args.base_lr, i)
    checkpoint = header(args)
    checkpoint |= {"args": asdict(args), "iteration": i, "guided": policy.guided}
    checkpoint["policy"] = policy.state_dict()
    run.store(f"policy_{i}.pt", checkpoint)


# --- 12. policy: diffusion of chunks that may begin with known actions ---
LEVELS = 50  # noise levels in training
EMBEDDING = 128  # sines and cosines of the optimality score
WAVELENGTHS = 10_000.0  # the longest over the shortest of them
LEVEL_FEATURES = 64  # of the noise level
IMAGE_FEATURES = 384
VIT_LAYERS = 12
CHANNELS = {"cnn": (3, 16, 32, 64, 32), "vit": (3, 32, 64, 128, 256, IMAGE_FEATURES)}


def embed(optimality: torch.Tensor, args: Args) -> torch.Tensor:
    """Sines and cosines of an optimality in [0, 1], (B, 128); the null condition is all zeros."""
    half = EMBEDDING // 2
    exponents = torch.arange(half, device=optimality.device) / (half - 1)
    frequencies = WAVELENGTHS**-exponents
    angles = args.contrast * optimality[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class DiffusionPolicy(nn.Module):
    """A chunk of H actions from one observation, some first actions, and a wish for optimality.

    The reference policy knows the null condition alone; `guided` ones act at optimality 1.
    """

    def __init__(self, state: int, action: int, args: Args, guided: bool):
        super().__init__()
        self.args = args
        self.guided = guided
        self.shape = (args.chunk, action)
        self.encoder = ImageEncoder(args.encoder, args.image_size) if args.sees else None
        features = state + IMAGE_FEATURES if args.sees else state
        self.denoiser = MlpDenoiser(features + EMBEDDING, args.chunk, action, args)

        self.scheduler = DDIMScheduler(
            LEVELS, beta_schedule="squaredcos_cap_v2", prediction_type=args.prediction
        )
        self.scheduler.set_timesteps(args.sampling_steps)
        self.smoother = torch.as_tensor(local_lines(args.chunk, args.chunk_smoothing))  # (H, H)

        self.register_buffer("mean", torch.ones(state))
        self.register_buffer("std", torch.ones(state))
        self.register_buffer("centre", torch.ones(action))
        self.register_buffer("reach", torch.ones(action))

    # Copied from baselines/dexflywheel.py: BasePolicy.fit_normaliser
    def fit_normaliser(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Standardise states (M, D), bring actions (M, action) to [-1, 1]."""
        low = action.amin(0)
        high = action.amax(0)
        self.mean = state.mean(0)
        self.std = state.std(0).clamp(min=LEAST_SPREAD)
        self.centre = (low + high) / 2
        self.reach = ((high - low) / 2).clamp(min=LEAST_SPREAD)

    # Copied from baselines/dexflywheel.py: BasePolicy.condition
    def condition(self, state: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """What the network is told of states (B, D) and images; noisy while it is trained."""
        state = ((state - self.mean) / self.std).clamp(-STATE_LIMIT, STATE_LIMIT)
        if self.training:
            state = state + self.args.obs_noise * torch.randn_like(state)
        if self.encoder is None:
            return state
        return torch.cat([state, self.encoder(image)], dim=1)

    def normalised(self, action: torch.Tensor) -> torch.Tensor:
        """Actions (..., action) in [-1, 1]; those out of range count as those at its end."""
        scaled = (action - self.centre) / self.reach
        return scaled.clamp(-1.0, 1.0)

    def loss(self, state, chunk, counts, image, optimality) -> torch.Tensor:
        """Denoising error of the actions that count (B, H) and were not given as a prefix.

        All actions of a chunk have one noise level k, but those given have no noise, as in the
        paper. An optimality (B,) below zero is the null condition.
        """
        args = self.args
        device = chunk.device
        batch = (len(chunk),)
        action = self.normalised(chunk)  # (B, H, action)

        k = torch.randint(0, LEVELS, batch).to(device)
        noise = torch.randn(action.shape).to(device)
        given = self.draw_prefix(batch).to(device)  # (B, H)
        noisy = self.scheduler.add_noise(action, noise, k)
        noisy = torch.where(given[..., None], action, noisy)

        kept = torch.rand(batch).to(device) >= args.drop
        told = (optimality >= 0) & kept
        features = self.condition(state, image)
        score = embed(optimality, args) * told[:, None]
        condition = torch.cat([features, score], dim=1)
        predicted = self.denoiser(noisy, k, condition).float()
        target = noise if args.prediction == "epsilon" else action

        error = (predicted - target).square().mean(dim=2)  # (B, H)
        weight = (counts & ~given).float()
        return (error * weight).sum() / weight.sum().clamp(min=1.0)

    def draw_prefix(self, batch: tuple[int]) -> torch.Tensor:
        """Which first actions are given in training, bool (B, H): none, or 0 to P of them."""
        args = self.args
        delay = torch.randint(0, args.prefix + 1, batch)
        exposed = torch.rand(batch) < args.prefix_exposure
        delay = torch.where(exposed, delay, 0)
        return torch.arange(args.chunk) < delay[:, None]

    def denoise(self, chunk: torch.Tensor, k: torch.Tensor, features: torch.Tensor):
        """Prediction at level k; with guidance both branches in one batch.

        null + beta (conditional - null), the condition being the optimality score 1.
        """
        null = torch.zeros(len(chunk), EMBEDDING, device=chunk.device)
        k = k.expand(len(chunk))
        if not self.guided:
            return self.denoiser(chunk, k, torch.cat([features, null], dim=1))

        best = embed(torch.ones_like(null[:, 0]), self.args)
        scores = torch.cat([best, null])
        condition = torch.cat([features.repeat(2, 1), scores], dim=1)
        both = self.denoiser(chunk.repeat(2, 1, 1), k.repeat(2), condition)
        conditional, unconditional = both.chunk(2)
        return unconditional + self.args.beta * (conditional - unconditional)

    @torch.no_grad()
    def sample(self, obs, prefix: torch.Tensor, known: torch.Tensor, chunk: torch.Tensor):
        """Chunks (N, H, action) by DDIM from noise of that shape.

        Before every step the first `known` (N,) actions of `prefix` (N, P, action) are put in.
        """
        device = self.args.device
        horizon = self.args.chunk
        state = palm_features(obs, self.args).to(device)
        image = torch.empty(0)
        if self.args.sees:
            image = torch.as_tensor(obs["image"]).to(device)
        features = self.condition(state, image)

        unknown = horizon - prefix.shape[1]
        prefix = F.pad(prefix, (0, 0, 0, unknown)).to(device)  # (N, H, action)
        given = (torch.arange(horizon) < known[:, None])[..., None].to(device)  # (N, H, 1)
        first = self.normalised(prefix)

        chunk = chunk.to(device)
        for k in self.scheduler.timesteps:
            chunk = torch.where(given, first, chunk)
            predicted = self.denoise(chunk, k.to(device), features)
            chunk = self.scheduler.step(predicted, k, chunk).prev_sample

        chunk = torch.where(given, first, chunk) * self.reach + self.centre
        smooth = self.smoother.to(device) @ chunk
        return torch.where(given, prefix, smooth).cpu()


# --- 13. networks and training ---
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


# Copied from baselines/dexflywheel.py: descend
def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, limit: float) -> None:
    """Take one gradient step; the gradient's norm is cut to `limit`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, limit)
    optimizer.step()


WARM_UP = 100  # gradient steps over which the learning rate rises
LOGGED = 100  # gradient steps from one row of the curves to the next


def fit(
    run: Run,
    title: str,
    net: nn.Module,
    loss: Callable[[], torch.Tensor],
    steps: int,
    lr: float,
    i: int,
) -> None:
    """Descend for that many steps and leave the average of the weights; the same after a kill."""
    args = run.args
    parameters = list(net.to(args.device).parameters())
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=1e-6, fused=True)
    ema = EMAModel(parameters, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    parts = {"net": net, "optimizer": optimizer, "ema": ema}
    saved = run.restore()
    if saved:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    first_step = saved.get("step", 0)

    kind_of_device = torch.device(args.device).type
    low_precision = args.precision == "bf16"
    for step in run.bar(f"{title} {i}", first_step, steps):
        with torch.autocast(kind_of_device, torch.bfloat16, enabled=low_precision):
            value = loss()
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        warm_up = min(1.0, (step + 1) / WARM_UP)
        optimizer.param_groups[0]["lr"] = lr * cosine * warm_up

        descend(optimizer, value, limit=10.0)
        ema.step(parameters)
        done = step + 1
        if done % LOGGED == 0:
            run.log(i * steps + done, {f"losses/{title}": value.item()})
        states = {name: part.state_dict for name, part in parts.items()}
        run.save(step=done, **states)
    ema.copy_to(parameters)


# --- 14. evaluation ---
def tested(policy: DiffusionPolicy, args: Args, env) -> ChunkExecutor:
    """A policy that acts as tests ask for."""
    latency = args.eval_latency or args.latency
    return executor(policy, args, env, args.eval_inference, latency)


def evaluate_policy(run: Run, i: int) -> None:
    """Success on the splits asked for, with the latency of deployment."""
    args = run.args
    env = make_env(args)
    policy = tested(run.policy(i), args, env)
    last = i == (args.rounds if args.deploys else 0)
    films = run.path / "videos" if last or args.capture_video else None
    asked = replace(args, eval_splits=all_rounds(args.eval_splits, args.task))
    rows = evaluate_policies(
        {"base": policy},
        env,
        asked,
        method=METHOD,
        iteration=i,
        films=films,
        provenance=run.folder.provenance,
    )
    policy.inference.close()
    env.close()

    print_success(rows)
    run.log(i, success_curves(rows))
    late = {"chunks": policy.planned, "late_steps": policy.late}
    atomic_write_json(run.path / f"eval_{i}.json", [row | late for row in rows])


def open_policy(state: dict, args: Args, name: str) -> tuple:
    """Make the policy of a checkpoint and worlds for it to act in (`--evaluate`)."""
    env = make_env(args)
    policy = build_policy(state, args)
    return tested(policy, args, env), env


# --- 15. run folder and checkpoints ---
class Run(Progress):
    # Copied from baselines/dexmimicgen.py: Run.__init__
    def __init__(self, args: Args):
        if args.resume:
            folder = RunFolder.open(args.resume)
        else:
            name = f"{METHOD}-{args.variant}"
            folder = RunFolder.create(args.runs, entry(args.task).env_id, name, args.seed, args)
        super().__init__(folder, args.seed, args.save_seconds, args.track)
        self.args = args

    # Copied from baselines/dexmimicgen.py: Run.episodes
    def episodes(self, name: str) -> EpisodeStore:
        return EpisodeStore(self.path / name, entry(self.args.task).env_id, CONTROL_MODE)

    def experience(self, i: int) -> Experience:
        """Demonstrations, then the rollouts of rounds 1 .. i."""
        demonstrations = self.episodes("demos").episodes()
        found = [(DEMONSTRATED, episode) for episode in demonstrations]
        for source in range(1, i + 1):
            for episode in self.episodes(f"D_{source}").episodes():
                collection.check_deployed(episode)
                found.append((source, episode))
        return found

    def policy(self, i: int) -> DiffusionPolicy:
        return build_policy(self.load(f"policy_{i}.pt"), self.args)


def header(args: Args) -> dict:
    """What a checkpoint has to agree on with the code and the environment that use it."""
    sight = "image" if args.obs == "image" else "object"
    return {
        "method": METHOD,
        "method_version": METHOD_VERSION,
        "revision": REVISION,
        "control_mode": CONTROL_MODE,
        "observation_keys": ["proprio", sight],
        "env_id": entry(args.task).env_id,
        "action_space": args.action_space,
        "chunk": args.chunk,
    }


def build_policy(state: dict, args: Args) -> DiffusionPolicy:
    """The policy of a checkpoint, ready to act."""
    check_header(state, header(args))
    weights = state["policy"]
    inputs = len(weights["mean"])
    action = len(weights["centre"])
    policy = DiffusionPolicy(inputs, action, args, state["guided"])
    policy.load_state_dict(weights)
    return policy.to(args.device).eval().requires_grad_(False)


# --- 16. entry point ---
def main(args: Args) -> int:
    check_device(args.device)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if args.evaluate:
        return evaluate_checkpoint(args, open_policy, TASKS)
    if args.collected and not args.resume:
        check_collected(args)  # known before there is a run

    run = Run(args)
    print(f"run folder: {run.path}", flush=True)
    learn_from_deployment(run)
    run.metrics.close()
    minutes = sum(run.done.values()) / 60
    print(f"wall time {minutes:.1f} min; episodes, curves: {run.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(ARGS))
