"""The flywheel script: its parts one by one, and a tiny run that is killed and resumed."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the scripts need the extra train")
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "baselines"))
import dexflywheel as fw
from script_calls import call, settings, success_tags

from dexfw_envs.catalog.splits import training_sampler
from dexfw_envs.control.smoothing import local_lines
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore
from dexfw_envs.runs.checkpoints import dump, load

ACTION = 12
STATE = 7 + 7 + 12 + 12 + 3 + 6 + 9  # joints, speeds, fingers twice, palm, offsets
TINY = fw.Args(
    iterations=1, trajectories=(3,), base_steps=6, base_batch=8, width=32, layers=1, threads=1,
    rl_envs=4, n_steps=4, epochs=2, minibatch=8, total_timesteps=48, ramp=16, learning_starts=16,
    sac_batch=8, utd=0.25, test_every=32, test_episodes=4, eval_episodes=4, sampling_steps=2,
    save_seconds=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_first_demonstration_can_be_ones_own(tmp_path):
    assert np.array_equal(fw.first_demonstration(TINY).actions, load_seed("Grasp").actions)

    mine = replace(load_seed("Grasp"), actions=load_seed("Grasp").actions / 2)
    store = EpisodeStore(tmp_path / "mine", mine.env_id, mine.control_mode)
    identifier = store.add(mine, source="scripted", seed=0, index=0)
    for given in (tmp_path / "mine", store.path(identifier)):
        chosen = fw.first_demonstration(replace(TINY, demos=str(given)))
        assert np.array_equal(chosen.actions, mine.actions)

    with pytest.raises(EpisodeMismatch, match="DexFW/Pour-v0"):
        fw.first_demonstration(replace(TINY, demos=str(tmp_path / "mine"), task="Pour"))


def observation(worlds: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    obs = {"proprio": rng.normal(size=(worlds, 69)), "object": rng.normal(size=(worlds, 13))}
    obs["proprio"][:, 65:69] /= np.linalg.norm(obs["proprio"][:, 65:69], axis=1, keepdims=True)
    return {name: value.astype(np.float32) for name, value in obs.items()}


class CountingBase:
    """Its n-th plan for a world is n.00, n.01, n.02, ... in every action element (times 0.01)."""

    def __init__(self, chunk: int):
        self.shape, self.batches = (chunk, ACTION), []
        self.plans = 0

    def sample(self, obs, noise):
        self.plans += 1
        self.batches.append(obs["object"][:, 0].astype(int).tolist())
        steps = torch.arange(self.shape[0])[None, :, None] * 0.001
        return (0.1 * self.plans + steps).expand(len(noise), -1, ACTION).clone()


def chunk_policy(worlds=3, aligned=False, residual=None, **changes):
    args = replace(fw.Args(chunk=4, execute=4), **changes)
    base = CountingBase(args.chunk)
    policy = fw.ChunkPolicy(base, residual, args, SimpleNamespace(num_envs=worlds), aligned)
    obs = observation(worlds)
    obs["object"][:, 0] = range(worlds)  # tells which world was planned for
    policy.reset(np.ones(worlds, bool))
    return policy, base, obs


# --- networks


def test_features_see_the_object_from_the_palm():
    obs = observation(5)
    x = fw.features(obs)
    assert x.shape == (5, STATE)
    assert torch.allclose(x[:, -6:-3].norm(dim=1), x[:, -3:].norm(dim=1), atol=1e-5)
    quarter = {k: v.copy() for k, v in obs.items()}
    quarter["proprio"][:, 62:69] = (0, 0, 0, math.sqrt(0.5), 0, 0, math.sqrt(0.5))  # turned left
    quarter["object"][:, :3] = (0, 1, 0)  # to the left, so straight ahead of the palm
    ahead = fw.features(quarter)[0, -3:]
    assert torch.allclose(ahead, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_only_the_residual_sees_how_the_object_is_turned_and_moves():
    """As the README, the harness page and the script's header say."""
    obs = observation(3)
    other = {name: value.copy() for name, value in obs.items()}
    other["object"][:, 3:] += 0.5
    assert torch.equal(fw.features(obs), fw.features(other))  # all that the base policy sees
    base = torch.zeros(len(obs["object"]), ACTION)
    filters = torch.zeros(len(base), 2, ACTION)
    before, after = (fw.residual_input(seen, base, filters, TINY) for seen in (obs, other))
    assert int((before != after)[0].sum()) == 10  # quaternion and two velocities


@pytest.mark.parametrize("denoiser", ["mlp", "transformer"])
@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
def test_base_learns_one_motion(denoiser, prediction):
    args = replace(TINY, denoiser=denoiser, prediction=prediction, width=128, sampling_steps=10)
    base = fw.BasePolicy(STATE, ACTION, args)
    obs = observation(16)
    state = fw.features(obs)
    chunk = torch.linspace(-0.5, 0.5, args.chunk)[None, :, None].repeat(16, 1, ACTION)
    base.fit_normaliser(state, chunk.flatten(0, 1))
    optimizer, losses = torch.optim.Adam(base.parameters(), 3e-3), []
    for _ in range(150):
        losses.append(loss := base.loss(state, chunk, torch.empty(16, 0)))
        fw.descend(optimizer, loss, 10.0)
    assert losses[-1] < 0.7 * losses[0]
    base.eval()
    found = base.sample(obs, torch.zeros(16, args.chunk, ACTION))
    assert torch.equal(found, base.sample(obs, torch.zeros(16, args.chunk, ACTION)))
    if prediction == "sample":
        assert (found - chunk).abs().mean() < 0.1


@pytest.mark.parametrize(("encoder", "size"), [("cnn", 96), ("cnn", 50), ("vit", 64)])
def test_image_encoders_see_the_light(encoder, size):
    args = replace(TINY, obs="image", encoder=encoder, image_size=size)
    base = fw.BasePolicy(STATE, ACTION, args).eval()
    state, image = (
        torch.zeros(2, STATE),
        torch.randint(0, 255, (2, size, size, 3)),
    )
    bright, dim = base.condition(state, image), base.condition(state, image // 2)
    assert bright.shape == (2, STATE + 384)
    assert not torch.allclose(bright, dim)


def test_normaliser_does_not_blow_up_constant_columns():
    base = fw.BasePolicy(STATE, ACTION, TINY)
    state = torch.zeros(10, STATE)
    state[:, 0] = torch.arange(10)
    base.fit_normaliser(state, torch.zeros(10, ACTION))
    shifted = base.eval().condition(state + 0.01, torch.empty(10, 0))
    assert shifted[:, 1:].abs().max() <= 0.5 + 1e-6
    assert base.condition(state + 100.0, torch.empty(10, 0)).abs().max() <= 5.0


def test_dataset_repeats_the_last_action():
    obs = dict(observation(6).items())
    episode = SimpleNamespace(actions=np.arange(5)[:, None] * np.ones(ACTION), observations=obs)
    state, chunk, image = fw.make_dataset([episode], replace(TINY, chunk=3, execute=2))
    assert state.shape[0] == chunk.shape[0] == image.shape[0] == 5
    assert chunk[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4], [4, 4, 4]]
    with pytest.raises(ValueError, match="no successful demonstration"):
        fw.make_dataset([], TINY)


# --- chunks


def test_chunks_are_executed_in_order_and_planned_in_one_batch():
    policy, base, obs = chunk_policy()
    first = [policy.base_action(obs)[0, 0].item() for _ in range(6)]
    assert np.allclose(first, [0.1, 0.101, 0.102, 0.103, 0.2, 0.201])
    assert base.batches == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("aligned", [True, False])
def test_a_reset_world_replans_alone_and_leaves_the_others(aligned):
    policy, base, obs = chunk_policy(aligned=aligned)
    for _ in range(3):
        policy.base_action(obs)
    policy.reset(np.array([False, True, False]))
    action = policy.base_action(obs)
    assert np.allclose(action[:, 0], [0.103, 0.2, 0.103])
    policy.base_action(obs)
    assert base.batches == [[0, 1, 2], [1], [0, 1, 2] if aligned else [0, 2]]


def test_consecutive_chunks_are_faded_into_each_other():
    policy, _, obs = chunk_policy(chunk=4, execute=2)
    actions = [policy.base_action(obs)[0, 0].item() for _ in range(4)]
    old, new = (0.102, 0.103), (0.2, 0.201)
    expected = [old[j] + (j + 1) / 3 * (new[j] - old[j]) for j in range(2)]
    assert np.allclose(actions, [0.1, 0.101, *expected])
    policy.reset(np.ones(3, bool))  # a new episode starts with a plan of its own
    assert np.isclose(policy.base_action(obs)[0, 0].item(), 0.3)


def test_start_noise_is_held_or_drawn_as_asked():
    for kind, changes in (("zero", False), ("fresh", True)):
        policy, _, obs = chunk_policy(sampling_noise=kind)
        policy.base_action(obs)
        before = policy.noise.clone()
        for _ in range(4):
            policy.base_action(obs)
        assert torch.equal(before, policy.noise) is not changes
        assert (before == 0).all().item() is (kind == "zero")


def test_chunk_smoother_keeps_lines_and_damps_jitter():
    matrix = torch.as_tensor(local_lines(16, 1.5))
    line = 0.3 - 0.1 * torch.arange(16.0)
    assert torch.allclose(matrix @ line, line, atol=1e-5)
    jitter = (-1.0) ** torch.arange(16)
    assert (matrix @ jitter).abs().max() < 0.6 and (matrix @ jitter)[3:-3].abs().max() < 0.05
    assert torch.equal(torch.as_tensor(local_lines(16, 0.0)), torch.eye(16))


def test_residual_is_filtered_scaled_and_forgotten_at_reset():
    full = SimpleNamespace(mean=lambda x: torch.ones(len(x), ACTION))
    policy, _, obs = chunk_policy(residual=full, alpha=(0.2, 0.4), smoothing=0.5)
    actions = [policy.act(obs)[0, [0, 6]] for _ in range(2)]
    palm, fingers = np.transpose(actions)
    assert np.allclose(palm, [0.1 + 0.05, 0.101 + 0.1])
    assert np.allclose(fingers, [0.1 + 0.1, 0.101 + 0.2])
    policy.reset(np.array([True, False, False]))
    assert policy.r[0].abs().max() == 0
    assert policy.r[1].abs().max() > 0


def test_a_failed_scene_is_tried_again_with_an_offset_on_u(monkeypatch):
    policy, _, obs = chunk_policy(explore=0.5, alpha=(0.2, 0.4), smoothing=1.0)
    monkeypatch.setattr(fw, "run_episodes", lambda *_, on_step, progress: on_step)
    begin = policy.rollouts(SimpleNamespace(retry=[False, True, False, False, True]))
    begin(np.array([0, 1, 2]), np.zeros(3))
    assert policy.offset.abs().amax(1).gt(0).tolist() == [False, True, False]
    moved = torch.as_tensor(policy.act(obs)) - 0.1  # the base's first action
    expected = torch.tensor([0.2] * 6 + [0.4] * 6) * policy.offset.clamp(-1.0, 1.0)
    assert torch.allclose(moved, expected, atol=1e-6)
    before = policy.offset.clone()
    begin(np.array([0, 1, 2]), np.ones(3))
    assert torch.equal(policy.offset, before), "the episodes go on"
    begin(np.array([0, 3, 2]), np.array([2, 0, 2]))
    assert policy.offset.abs().max() == 0, "the fourth try is the first of its scene"
    begin(np.array([-1, 3, 4]), np.array([0, 1, 0]))
    assert policy.offset[2].std() > 0.1
    assert policy.offset[:2].abs().max() == 0


# --- reinforcement learning


def test_gate_rises_linearly():
    args = replace(TINY, ramp_start=1500, ramp=10_000)
    assert [fw.epsilon(s, args) for s in (0, 1500, 5750, 10_000, 99_999)] == [
        0,
        0,
        0.5,
        1,
        1,
    ]


def test_gae_bootstraps_truncated_and_not_terminated_episodes():
    t, gamma, lam = torch.tensor, 0.9, 0.8
    reward, value = t([[1.0], [2.0], [3.0]]), t([[0.5], [0.6], [0.7]])
    next_value = t([[0.6], [10.0], [20.0]])  # row 1: the final observation's, not row 2's value
    done = t([[0.0], [1.0], [1.0]])
    terminated = t([[0.0], [0.0], [1.0]])
    advantage = fw.gae(reward, value, next_value, terminated, done, gamma, lam)[:, 0].tolist()
    last = 3.0 - 0.7
    middle = 2.0 + gamma * 10.0 - 0.6
    first = 1.0 + gamma * 0.6 - 0.5 + gamma * lam * middle
    assert np.allclose(advantage, [first, middle, last])


def make_worlds(args, steps, reward="sparse"):
    scenarios = training_sampler(args.task, 1)
    resets = {"autoreset_mode": "same_step", "reward_mode": reward, "scenarios": scenarios}
    env = fw.make_env(args, steps=steps, **resets)
    base = CountingBase(args.chunk)
    base.sample = lambda obs, noise: torch.zeros(len(noise), *base.shape)
    return fw.Worlds(env, fw.ChunkPolicy(base, None, args, env, aligned=True), args, seed=0)


def test_transition_ends_in_the_final_observation():
    worlds = make_worlds(TINY, steps=3)
    for n in range(3):
        row = worlds.step(torch.full((4, ACTION), 0.5))
        assert row["done"].tolist() == [float(n == 2)] * 4
        assert not row["terminated"].any()
    home, final = worlds.x, row["x_next"]
    assert not torch.allclose(home, final, atol=1e-3)
    assert final[:, -ACTION:].min() > 0  # the filter's state, gone in the next episode
    assert home[:, -ACTION:].abs().max() == 0
    assert worlds.take_ended() == [{"object": "baseball", "success": False}] * 4
    assert worlds.take_ended() == []
    row = worlds.step(torch.zeros(4, ACTION))
    assert torch.equal(row["x"], home)
    assert torch.equal(row["x_next"], worlds.x)


def test_a_world_of_short_episodes_counts_no_more_than_the_others():
    worlds = make_worlds(TINY, steps=5)
    worlds.ended = [["a", "b", "c"], ["d"], ["e", "f"], ["g"]]
    assert worlds.take_ended() == ["a", "d", "e", "g"]
    worlds.ended[1] += ["h"]
    worlds.ended[3] += ["i", "j"]
    assert worlds.take_ended() == ["b", "h", "f", "i"]


def test_worlds_go_on_exactly_from_their_state():
    worlds = make_worlds(TINY, steps=5)
    u = torch.rand(8, 4, ACTION)
    worlds.step(u[0])
    state = load(dump(worlds.state()))
    first = [worlds.step(row) for row in u]
    other = make_worlds(TINY, steps=5)
    other.load_state(state)
    second = [other.step(row) for row in u]
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_dense_reward_makes_success_best_and_loss_worst():
    worlds = make_worlds(TINY, steps=5, reward="dense")
    terminated = np.array([False, False, True, True])
    info = {"final_info": {"success": np.array([False, False, True, False])}}
    shaped = worlds._below_zero(np.array([-1.0, 21.0, 20.0, 0.0]), terminated, info)
    assert np.allclose(shaped, [-1.0, 0.0, 1.0, -1 / (1 - 0.97)])
    running = worlds._below_zero(np.array([5.0] * 4), np.zeros(4, bool), {})
    assert np.allclose(running, -0.75)


def test_untrained_residuals_are_the_base():
    x = torch.randn(6, 90)
    assert fw.PpoAgent(90, ACTION, TINY).mean(x).abs().max() == 0
    assert fw.SacAgent(90, ACTION, TINY).mean(x).abs().max() < 0.1


def test_ppo_moves_towards_the_better_action():
    agent = fw.PpoAgent(20, ACTION, TINY)
    x = torch.randn(256, 20)
    with torch.no_grad():
        sampled = agent.distribution(x).sample()
        log_prob = agent.distribution(x).log_prob(sampled).sum(-1)
    batch = {"x": x, "sampled": sampled, "log_prob": log_prob, "gate": torch.ones(256)}
    batch |= {"advantage": sampled[:, 0].clone(), "return": torch.zeros(256)}
    for _ in range(20):
        agent.update(batch)
    assert agent.mean(x)[:, 0].mean() > 0.01
    before = [p.clone() for p in agent.actor.parameters()]
    batch["gate"] = torch.zeros(256)  # nothing was executed: nothing to learn for the actor
    agent.optimizers[0].state.clear()
    agent.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.actor.parameters(), strict=True))


def test_sac_judges_the_executed_action_and_its_replay_goes_round():
    args = replace(TINY, residual_algo="sac", alpha=(0.5, 0.5), smoothing=1.0)
    agent = fw.SacAgent(40, ACTION, args)
    x, u = torch.rand(8, 40) * 0.1, torch.rand(8, ACTION)
    moved, shifted = x.clone(), u - 0.2
    moved[:, -3 * ACTION : -2 * ACTION] += 0.1  # base + 0.1, u - 0.2 at alpha 0.5: the same
    agent.norm = lambda x: torch.zeros_like(x)
    assert torch.allclose(
        agent.q(agent.critics, x, u), agent.q(agent.critics, moved, shifted), atol=1e-5
    )
    row = {"x": x, "u": u, "reward": torch.zeros(8), "x_next": x, "terminated": torch.ones(8)}
    for _ in range(5):
        agent.remember(row)
    losses = [agent.update(agent.batch())["losses/critic"] for _ in range(30)]
    assert losses[-1] < losses[0]


# --- the whole script


class Killed(Exception):
    pass


def short_env(make):
    """Episodes of 20 steps, except where demonstrations are made."""

    def wrapped(*args, **options):
        env = make(*args, **options)
        if "image" not in options:
            env.max_episode_steps = 20
        return env

    return wrapped


def run_script(args, kill_at=None):
    """Run with `args`; raise `Killed` right after the save number `kill_at`."""
    saves, save = [0], fw.Run._write

    def counted(self, *state):
        save(self, *state)
        saves[0] += 1
        if saves[0] == kill_at:
            raise Killed

    fw.Run._write = counted
    try:
        return call(fw, args)
    finally:
        fw.Run._write = save


def tiny_arguments(runs, **changes):
    values = dict(vars(replace(TINY, runs=str(runs), **changes)).items())
    changed = {k: v for k, v in values.items() if v != getattr(fw.Args(), k)}
    flags = []
    for name, value in changed.items():
        parts = value if isinstance(value, tuple) else (value,)
        flags += ["--" + name.replace("_", "-"), *map(str, parts)]
    return flags


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_killed_and_resumed_run_gives_the_same_curves(algo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fw, "make_env", short_env(fw.make_env))
    assert run_script(tiny_arguments(tmp_path / "a", residual_algo=algo)) == 0
    whole = next((tmp_path / "a").iterdir())
    with pytest.raises(Killed):
        run_script(tiny_arguments(tmp_path / "b", residual_algo=algo), kill_at=3)
    broken = next((tmp_path / "b").iterdir())
    with open(broken / "metrics.jsonl", "a") as file:
        file.write('{"step": 1, "losses/base": 7.0}\n{"ste')  # written after the last save
    for kill_at in (6, 1, None):  # in the base, in the residual, in the residual again, and on
        try:
            run_script(["--resume", str(broken)], kill_at)
        except Killed:
            continue
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    weights = [load((run / "checkpoints/policy_1.pt").read_bytes()) for run in (whole, broken)]
    for part in ("base", "residual"):
        assert all(torch.equal(weights[0][part][k], weights[1][part][k]) for k in weights[0][part])
    rows = [json.loads((run / "eval_1.json").read_text()) for run in (whole, broken)]
    assert str(rows[0]) == str(rows[1])
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    tags = {tag for line in lines for tag in json.loads(line)}
    assert {"charts/base_success", "charts/scheduled_success", "charts/residual_success"} <= tags
    tests = {"charts/success_base", "charts/success_scheduled", "charts/success_residual"}
    ends = {"charts/success_T_VAL_base", "charts/success_T_VAL_combined"}
    assert success_tags(whole) == tests | ends
    assert (whole / "success.png").stat().st_size > 1000
    assert list((whole / "videos").rglob("*.mp4"))
    check_evaluation(whole / "checkpoints/policy_1.pt", capsys)


def test_reinforcement_learning_stops_when_a_test_is_good_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(fw, "make_env", short_env(fw.make_env))
    assert run_script(tiny_arguments(tmp_path, enough=-0.1)) == 0
    run = next(tmp_path.iterdir())
    state = load((run / "checkpoints/policy_1.pt").read_bytes())
    assert state["residual"]["actor.4.weight"].abs().max() == 0, "stopped before the first round"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum("charts/residual_success" in row for row in rows) == 1


def test_tests_during_reinforcement_learning_change_no_weight(tmp_path, monkeypatch):
    monkeypatch.setattr(fw, "make_env", short_env(fw.make_env))
    learned, curves = [], []
    for name, tests in (("many", {"test_every": 16}), ("few", {"test_every": 10**6})):
        assert run_script(tiny_arguments(tmp_path / name, **tests)) == 0
        run = next((tmp_path / name).iterdir())
        learned.append(load((run / "checkpoints/policy_1.pt").read_bytes())["residual"])
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        curves.append(sum("charts/residual_success" in row for row in rows))
    assert curves == [4, 2]  # 48 steps: before them, after 16 and 32, and at the end
    for key, value in learned[0].items():
        assert torch.equal(value, learned[1][key]), key


def check_evaluation(checkpoint, capsys):
    capsys.readouterr()
    asked = ["--evaluate", str(checkpoint), "--split", "T_VAL", "--episodes", "4", "--threads", "1"]
    assert call(fw, [*asked, "--json", "--timestep-scale", "0.5"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert {"success", "n", "low", "high", "per_object"} <= line.keys()
    assert line["n"] == 4
    state = load(checkpoint.read_bytes())
    state["env_id"] = "DexFW/Grasp-v99"
    with pytest.raises(ValueError, match="env_id 'DexFW/Grasp-v99'"):
        fw.build_policy(state, TINY)


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        call(fw, ["--presett", "quick"])
    with pytest.raises(SystemExit):
        call(fw, ["--preset", "huge"])
    with pytest.raises(FileNotFoundError, match="no run at"):
        call(fw, ["--resume", str(tmp_path / "nothing")])
    (tmp_path / "broken.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match="no checkpoint"):
        call(fw, ["--evaluate", str(tmp_path / "broken.pt")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env_id", "DexFW/Grasp-v99"),
        ("control_mode", "joint"),
        ("observation_keys", ["proprio"]),
        ("method", "dexpie"),
        ("method_version", -1),
    ],
)
def test_checkpoint_that_does_not_fit_is_refused(tmp_path, name, value):
    state = fw.header(TINY) | {"args": fw.asdict(TINY), "base": {}, "residual": None}
    path = tmp_path / "policy.pt"
    path.write_bytes(dump(state | {name: value}))
    needed = fw.header(TINY)[name]
    words = re.escape(f"the checkpoint has {name} {value!r}, needed is {needed!r}")
    with pytest.raises(ValueError, match=words):
        call(fw, ["--evaluate", str(path)])
    path.write_bytes(dump({key: v for key, v in state.items() if key != name}))
    with pytest.raises(ValueError, match=f"the checkpoint has {name} None"):
        call(fw, ["--evaluate", str(path)])


def test_truncated_checkpoint_is_refused(tmp_path):
    content = dump(fw.header(TINY) | {"args": fw.asdict(TINY)})
    for size in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "torn.pt").write_bytes(content[:size])
        with pytest.raises(ValueError, match="no checkpoint, or a damaged one"):
            call(fw, ["--evaluate", str(tmp_path / "torn.pt")])


def test_presets_and_ablations_parse():
    parsed = {name: settings(fw, ["--preset", name, "--device", "cpu"]) for name in fw.PRESETS}
    assert parsed["paper"].width == 768
    assert parsed["paper"].residual_algo == "sac"
    assert parsed["quick"].iterations == 2
    flags = [
        "--no-residual",
        "--no-aep",
        "--data",
        "cumulative",
        "--touch",
    ]
    assert settings(fw, flags).aep is False


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"chunk": 4, "execute": 8}, "--execute"),
        ({"alpha": (0.0, 0.4)}, "--alpha"),
        ({"smoothing": 2.0}, "--smoothing"),
        ({"iterations": 0}, "--iterations"),
        ({"trajectories": ()}, "--trajectories"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        replace(TINY, **wrong)


def test_residual_input_is_standardised_over_batches_of_different_means():
    agent = fw.PpoAgent(2, ACTION, TINY)
    rng = np.random.default_rng(0)
    for mean in (-3.0, 3.0):  # the spread between batches counts too
        batch = rng.normal(mean, 0.1, (5000, 2))
        agent.observe(torch.as_tensor(batch, dtype=torch.float32))
    seen = agent.norm(torch.tensor([[3.0, -3.0]]))
    assert torch.allclose(seen, torch.tensor([[1.0, -1.0]]), atol=0.02)
