"""The DexPIE script: its parts one by one, and a tiny run that is killed, resumed and shared."""

import contextlib
import json
import math
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the scripts need the extra train")
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "baselines"))
import dexpie as dp
from scenes import need_drawing, scene, started
from script_calls import call, success_tags
from test_dexflywheel import Killed, observation
from test_dexmimicgen import run_script, without_films
from test_human_demo import store_of_seeds

from dexfw_envs import transforms as tf
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.deployment.collection import FLAG
from dexfw_envs.deployment.stages import STAGE, with_stages
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.records import read_records
from dexfw_envs.runs.checkpoints import load

STATE = 12 + 3 + 1 + 2 * 3 + 6 + 5 * (3 + 1)  # fingers, up, height, places, turn, ramps
TINY = dp.Args(width=32, layers=1, chunk=8, prefix=2, latency=(2,), sampling_steps=2, threads=1,
               base_batch=8, critic_batch=16, lookahead=8, chunk_smoothing=0.0,
               end_value="critic")  # fmt: skip
SMALL = {"demonstrations": 3, "num_envs": 3, "threads": 1, "rollouts": 5, "collect_steps": 90,
         "patience": 0.2, "base_steps": 4, "base_batch": 8,
         "critic_steps": 4, "critic_batch": 8, "width": 32, "layers": 1, "sampling_steps": 2,
         "eval_episodes": 2, "setups": 2,
         "save_seconds": 0.0}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


# --- policy


def policy(guided=False, action=15, **changes):
    found = dp.DiffusionPolicy(STATE, action, replace(TINY, **changes), guided)
    found.centre, found.mean = torch.zeros(action), torch.zeros(STATE)
    return found.eval()


def batch(size=6, action=15, horizon=8):
    chunk = torch.randn(size, horizon, action)
    return {"state": torch.randn(size, STATE), "chunk": chunk, "image": torch.empty(size, 0),
            "counts": torch.ones(size, horizon, dtype=torch.bool),
            "optimality": torch.ones(size)}  # fmt: skip


def test_places_near_the_hand_and_the_table_are_resolved_finely():
    obs = observation(3)
    obs["object"][:, 2] = (0.02, 0.03, 0.4)
    found = dp.palm_features(obs, TINY)
    seen, away, ramps = found[:, 16:19], found[:, -20:-5], found[:, -5:]
    assert ramps[0].tolist() == pytest.approx([0.05, 0.05, 0.02, 0.0, 0.0])
    assert ramps[2].tolist() == pytest.approx([0.05] * 5), "nothing is told apart up there"
    assert torch.allclose(away.reshape(3, 3, 5)[..., 2], seen.clamp(0.0, 0.05))
    assert found.shape[1] == STATE


@pytest.mark.parametrize("arms", [1, 2])
def test_what_palms_see_does_not_tell_where_on_the_table_they_are(arms):
    """Palms and objects are moved and turned together about the vertical."""
    rng, count = np.random.default_rng(0), 5
    turn = tf.quat_from_yaw(0.7)
    palms = tf.quat_normalize(rng.normal(size=(count, arms, 4)))
    position, places = rng.normal(size=(count, arms, 3)), rng.normal(size=(count, 2, 3))

    def features(palms, position, places, **options):
        rest = np.zeros((count, 62 * arms))
        proprio = [rest, position.reshape(count, -1), palms.reshape(count, -1)]
        things = np.concatenate([places, np.zeros((count, 2, 10))], axis=2).reshape(count, -1)
        seen = {"proprio": np.concatenate(proprio, axis=1), "object": things}
        return dp.palm_features(seen, replace(TINY, **options))

    moved = [tf.quat_rotate(turn, x) + (0.2, -0.1, 0.0) for x in (position, places)]
    before, after = (palms, position, places), (tf.quat_multiply(turn, palms), *moved)
    assert torch.allclose(features(*before), features(*after), atol=1e-5)
    absolute = [features(*x, action_space="absolute") for x in (before, after)]
    assert absolute[0].shape[1] == features(*before).shape[1] + 9 * arms
    assert not torch.allclose(*absolute, atol=0.1), "actions in the world have to know where"


def test_embedding_of_optimality():
    found = dp.embed(torch.tensor([0.0, 0.5, 1.0]), replace(TINY, contrast=1.0))
    assert found.shape == (3, 128)
    np.testing.assert_allclose(found.norm(dim=1), 8.0, atol=1e-5)
    assert found[0].tolist() == [0.0] * 64 + [1.0] * 64
    assert (found[2] - found[0]).norm() == pytest.approx(1.94, abs=0.01)
    assert (found[1] - found[0]).norm() < (found[2] - found[0]).norm()
    told = dp.embed(torch.tensor([0.0, 1.0]), TINY)
    assert (told[1] - told[0]).norm() > 3 * (found[2] - found[0]).norm()


class Echo(torch.nn.Module):
    """A denoiser that keeps what it was asked."""

    def __init__(self, answer=None):
        super().__init__()
        self.asked, self.answer = [], answer

    def forward(self, chunk, k, condition):
        self.asked.append((chunk.clone(), k.clone(), condition.clone()))
        return self.answer(chunk, condition) if self.answer else torch.zeros_like(chunk)


def test_a_prefix_is_clean_and_out_of_the_loss():
    data, net = batch(size=400), policy(prefix_exposure=1.0, prediction="sample")
    net.denoiser = echo = Echo()
    data["chunk"][:, :, 0] = 0.7  # recognised where it is clean
    net.loss(**data)
    clean = (echo.asked[0][0][:, :, 0] == 0.7).sum(1)
    delays = torch.bincount(clean, minlength=4)
    assert delays[3:].sum() == 0 and (delays[:3] > 90).all(), "0 .. P, drawn evenly"
    data["chunk"][:] = 0.5  # predicted is 0 by a net that echoes nothing
    steps = torch.arange(8)
    torch.manual_seed(0)
    plain = net.loss(**data)
    delay = (echo.asked[-1][0] == 0.5).all(2).sum(1)  # the prefix is what has no noise
    data["chunk"][steps < delay[:, None]] = 1.0
    torch.manual_seed(0)
    assert net.loss(**data) == plain == 0.25
    never = policy(prefix_exposure=0.0)
    never.denoiser = echo = Echo()
    never.loss(**data)
    assert not (echo.asked[0][0] == data["chunk"]).any()


def test_what_does_not_count_changes_no_loss():
    data, net = batch(), policy(prefix_exposure=0.0)
    net.denoiser = Echo()  # predicts zeros, so the loss is the mean square of what counts
    net.args = replace(net.args, prediction="sample")
    data["counts"][:, 5:] = False
    data["chunk"][:, :5], data["chunk"][:, 5:] = 0.5, 1.0
    assert net.loss(**data).item() == pytest.approx(0.25)


def test_actions_out_of_range_count_as_those_at_its_end():
    net, data = policy(), batch()
    net.centre.zero_()
    net.reach.fill_(0.5)
    at_end = {**data, "chunk": torch.full_like(data["chunk"], 0.5)}
    beyond = {**data, "chunk": torch.full_like(data["chunk"], 20.0)}
    losses = []
    for case in (at_end, beyond):
        torch.manual_seed(0)
        losses.append(net.loss(**case).item())
    assert losses[0] == losses[1]


def test_the_condition_is_left_out_as_often_as_asked():
    data, net = batch(size=1000), policy(drop=0.3)
    net.denoiser = echo = Echo()
    data["optimality"][:200] = -1.0
    net.loss(**data)
    null = (echo.asked[0][2][:, -128:] == 0).all(1)
    assert null[:200].all(), "below zero is always the null condition"
    assert null[200:].float().mean() == pytest.approx(0.3, abs=0.05)


def test_guidance_goes_beyond_the_condition():
    """null + beta (conditional - null), both branches in one batch."""
    net = policy(guided=True, beta=1.5, action=3)
    cosine = STATE + 64  # one where the condition is not null
    answer = lambda chunk, c: (1.0 + c[:, cosine])[:, None, None].expand_as(chunk)  # noqa: E731
    net.denoiser = echo = Echo(answer)
    found = net.denoise(torch.zeros(2, 8, 3), torch.tensor(5), torch.zeros(2, STATE))
    wanted = 1.0 + math.cos(TINY.contrast)
    np.testing.assert_allclose(found, 1.0 + 1.5 * (wanted - 1.0), atol=1e-5)
    assert len(echo.asked) == 1 and len(echo.asked[0][0]) == 4
    plain = policy(action=3)
    plain.denoiser = echo = Echo(answer)
    np.testing.assert_allclose(plain.denoise(torch.zeros(2, 8, 3), torch.tensor(5),
                                             torch.zeros(2, STATE)), 1.0)  # fmt: skip
    assert len(echo.asked[0][0]) == 2


@pytest.mark.parametrize("guided", [False, True])
def test_known_actions_stay_as_they_are(guided):
    net = policy(guided, chunk_smoothing=1.0)
    net.centre, net.reach = torch.randn(15), torch.rand(15) + 0.5
    prefix, known = torch.randn(3, 2, 15), torch.tensor([0, 2, 1])
    found = net.sample(observation(3), prefix, known, torch.zeros(3, 8, 15))
    assert found.shape == (3, 8, 15) and torch.isfinite(found).all()
    for row, count in enumerate(known.tolist()):
        assert torch.equal(found[row, :count], prefix[row, :count])
        assert not torch.isclose(found[row, count:2], prefix[row, count:]).any()
    again = net.sample(observation(3), prefix, known, torch.zeros(3, 8, 15))
    assert torch.equal(found, again)


def test_a_policy_learns_one_motion_and_goes_on_from_its_prefix():
    args = replace(TINY, width=128, prefix_exposure=0.5, sampling_steps=10)
    net = dp.DiffusionPolicy(STATE, 4, args, guided=False)
    obs = observation(16)
    data = batch(16, action=4) | {"state": dp.palm_features(obs, TINY)}
    data["optimality"][:] = -1.0
    data["chunk"] = torch.linspace(-0.5, 0.5, 8)[None, :, None].repeat(16, 1, 4)
    net.fit_normaliser(data["state"], data["chunk"].flatten(0, 1))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        dp.descend(optimizer, net.loss(**data), 10.0)
    net.eval()
    prefix = data["chunk"][:, :2]
    for count in (0, 2):
        found = net.sample(obs, prefix, torch.full((16,), count), torch.zeros(16, 8, 4))
        assert (found - data["chunk"]).abs().mean() < 0.1


def test_a_policy_does_what_was_good():
    """In the same places one half of the chunks was good and the other bad."""
    args = replace(TINY, width=128, sampling_steps=10, drop=0.3, beta=1.0)
    net, obs = dp.DiffusionPolicy(STATE, 4, args, guided=True), observation(16)
    data = batch(32, action=4) | {"state": dp.palm_features(obs, TINY).repeat(2, 1)}
    data["optimality"] = torch.arange(2.0).repeat_interleave(16)
    data["chunk"] = (data["optimality"] - 0.5)[:, None, None].repeat(1, 8, 4)
    net.fit_normaliser(data["state"], data["chunk"].flatten(0, 1))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        dp.descend(optimizer, net.loss(**data), 10.0)
    net.eval()
    nothing = torch.zeros(16, 2, 4), torch.zeros(16).long(), torch.zeros(16, 8, 4)
    wanted = net.sample(obs, *nothing)
    assert (wanted - 0.5).abs().mean() < 0.1
    net.guided = False
    assert net.sample(obs, *nothing).mean() < 0.4, "the null condition knows of both"


def test_policy_and_critic_see_pictures():
    args = replace(TINY, obs="image", image_size=32)
    seen = observation(2)
    felt = dp.palm_features(seen, args)  # where the object is, the camera has to show
    moved = {**seen, "object": seen["object"] + 0.1}
    assert torch.equal(dp.palm_features(moved, args, whole=True),
                       dp.palm_features(seen, args, whole=True))  # fmt: skip
    net = dp.DiffusionPolicy(felt.shape[1], 15, args, guided=True)
    critic = dp.Critic(3, args)
    picture = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8)
    data = batch(2) | {"image": picture, "state": felt}
    assert torch.isfinite(net.loss(**data))
    chunks = [
        net.eval().sample({**seen, "image": i.numpy()}, torch.zeros(2, 2, 15),
                          torch.zeros(2).long(), torch.zeros(2, 8, 15))
        for i in (picture, picture // 2)
    ]  # fmt: skip
    assert not torch.equal(*chunks)
    state = torch.zeros(2, 3)
    assert torch.isfinite(critic.loss(state, picture, -torch.rand(2)))
    values = [critic.eval().value(state, i) for i in (picture, picture // 2)]
    assert not torch.equal(*values)


# --- data


@pytest.mark.parametrize("space", ["relative", "absolute"])
def test_windows_are_seen_from_the_palm_of_their_first_step(space):
    seed, args = load_seed("Grasp"), replace(TINY, action_space=space)
    found = dp.windows([seed, replace(seed, success=False)], args)
    steps = seed.length
    assert found["state"].shape == (2 * steps, STATE + 9 * (space == "absolute"))
    codec = dp.PoseCodec(dp.entry("Grasp").make().needs.robot)
    palms = dp.measured_palms(seed.observations["proprio"][:steps])
    back = dp.ACTION_SPACES[space](codec).decode(found["chunk"][:steps].numpy(), palms)
    for step in (0, 40, steps - 3):
        ahead = np.minimum(step + np.arange(8), steps - 1)
        np.testing.assert_allclose(back[step], seed.actions[ahead], atol=1e-5)
    assert found["counts"][:steps].all(), "a success ends in a hold"
    assert found["counts"][steps:].sum(1)[-8:].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert (found["optimality"] == -1).all(), "unless judged, the null condition"


@pytest.mark.parametrize(("variant", "imitate", "learned"), [
    ("dexpie", "all", [1.0, 0.5, 0.2]), ("recap", "successes", [1.0, 0.5]),
    ("hg-dagger", "all", [-1.0, -1.0]), ("hg-dagger", "interventions", [-1.0, -1.0]),
    ("dexpie", "interventions", [1.0, 0.5]),
])  # fmt: skip
def test_only_policies_with_an_optimality_learn_from_failures(
    monkeypatch, variant, imitate, learned
):
    seed, caught = load_seed("Grasp"), {}
    judged = [torch.full((seed.length,), x) for x in (1.0, 0.5, 0.2)]
    flags = {FLAG: np.arange(seed.length + 1) > 30}  # the operator has all steps but the first 30
    kept = replace(seed, observations=seed.observations | flags)
    wild = replace(kept, success=False, failure="dropped", actions=2 * seed.actions)
    run = SimpleNamespace(
        args=replace(TINY, variant=variant, imitate=imitate),
        experience=lambda i: [(0, seed), (1, kept), (1, wild)],
        load=lambda name: {"optimality": judged},
    )
    monkeypatch.setattr(
        dp, "learn", lambda run, i, policy, data: caught.update(data, reach=policy.reach)
    )
    dp.improve(run, 1)
    assert torch.equal(caught["reach"], dp.new_policy(dp.windows([seed], TINY), TINY, True).reach)
    assert caught["optimality"][:: seed.length].tolist() == pytest.approx(learned)
    own = 30 if imitate == "interventions" else 0
    assert len(caught["state"]) == len(learned) * seed.length - own


# --- critic and labels


def episode(steps=40, success=True, flags=None, attempt=0, pair=0, stage=0):
    seen = {STAGE: np.full(steps + 1, stage, np.int8), **observation(steps + 1, seed=pair)}
    seen[FLAG] = np.concatenate([[False], np.zeros(steps, bool) if flags is None else flags])
    info = {"start": {"stage": 0, "pair": pair, "attempt": attempt, "armed": False}}
    return SimpleNamespace(
        scenario=scene(seed=1000 + pair), actions=np.zeros((steps, 12)), success=success,
        failure="" if success else "dropped", observations=seen, info=info,
        identifier=f"policy-{pair}-{attempt}", index=pair,
    )  # fmt: skip


def test_returns_count_steps_and_failures():
    args = replace(TINY, task="Grasp")
    won = dp.returns(episode(30), args)
    np.testing.assert_allclose(won, -np.arange(30, -1, -1) / 300, atol=1e-6)
    assert (dp.returns(episode(30, success=False), args) == -1.0).all()
    decayed = dp.returns(episode(30, success=False), replace(args, failure_decay=0.9))
    assert decayed[-1] == -1.0 and decayed[0] == pytest.approx(-0.1 - 0.9**30, abs=1e-6)


def test_a_calibrated_critic_gives_no_advantage_on_pace():
    args = replace(TINY, lookahead=8)
    for success in (True, False):
        value = dp.returns(episode(30, success), args)
        wait = dp.advantages(value, success, args)
        expected = 0.0 if success else -torch.tensor([8.0] * 23 + [*range(7, 0, -1)]) / 300
        np.testing.assert_allclose(wait, expected * torch.ones(30), atol=1e-6)
    sure = torch.full((31,), -0.3)
    assert dp.advantages(sure, True, args)[-1] == pytest.approx(-1 / 300, abs=1e-6)
    true = replace(args, end_value="true")
    assert dp.advantages(sure, True, true)[-1] == pytest.approx(0.3 - 1 / 300, abs=1e-6)
    assert dp.advantages(sure, False, true)[-1] == pytest.approx(-0.7 - 1 / 300, abs=1e-6)
    assert dp.advantages(sure, False, true)[0] == pytest.approx(-8 / 300, abs=1e-6)


def test_indicators_between_the_quantiles():
    place = torch.tensor([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])
    paper = replace(TINY, ceiling=1.0)
    found = {name: rule(place, paper, True) for name, rule in dp.INDICATORS.items()}
    known = [0.007, 0.076, 0.5, 0.777, 0.924, 0.993]
    np.testing.assert_allclose(found["sigmoid"], known, atol=1e-3)
    assert found["binary"].tolist() == [0, 0, 0, 1, 1, 1]
    assert found["linear"].tolist() == [0, 0, 0, 0.25, 0.5, 1]
    assert found["outcome"].tolist() == [1] * 6
    assert dp.INDICATORS["outcome"](place, paper, False).tolist() == [0] * 6
    for name, rule in dp.INDICATORS.items():
        below = 0.5 if name in ("sigmoid", "linear") else 1.0
        limited = rule(place, replace(TINY, ceiling=0.5), True)
        assert torch.allclose(limited, below * found[name]), "a bit says nothing between"


def labelled(**changes):
    """A demonstration, and an episode in which the operator commands steps 20 to 29."""
    flags = np.zeros(40, bool)
    flags[20:30] = True
    experience = [(0, episode(40)), (1, episode(40, flags=flags))]
    torch.manual_seed(1)
    values = [torch.rand(41) - 1.0 for _ in experience]
    args = replace(TINY, chunk=8, **changes)
    found, report = dp.label(experience, values, args)
    advantage = torch.cat([dp.advantages(v, True, args) for v in values])
    return found, report, advantage


def test_labels_are_quantiles_of_all_windows():
    found, report, advantage = labelled(labels="later", quantiles=(0.6, 0.8), ceiling=0.9)
    low, high = torch.quantile(advantage, torch.tensor([0.6, 0.8])).tolist()
    assert report["quantiles"] == pytest.approx([low, high])
    expected = 0.9 * torch.sigmoid(5 * (advantage - low) / (high - low))
    full = torch.arange(40, 80)[20:23]  # windows 20 .. 22 lie within the intervention
    expected[full] = 1.0
    np.testing.assert_allclose(torch.cat(found), expected, atol=1e-5)


def test_demonstrations_and_interventions_are_optimal_as_in_the_paper():
    found, report, _ = labelled(quantiles=(0.6, 0.8))
    assert (found[0] == 1.0).all()
    share = [sum(20 <= k < 30 for k in range(t, min(t + 8, 40))) / min(8, 40 - t)
             for t in range(40)]  # fmt: skip
    ones = [t for t in range(40) if share[t] > 1 / 3]
    assert ones == list(range(15, 28))
    assert (found[1][ones] == 1.0).all()
    rest = [t for t in range(40) if t not in ones]
    assert (found[1][rest] < 1.0).all()
    counts = {name: row["windows"] for name, row in report["labels"].items()}
    assert counts == {"demonstrations": 40, "interventions": 13, "successes": 27}


@pytest.mark.parametrize("labels", ["paper", "later"])
def test_interventions_that_did_not_help_are_judged(labels):
    flags = np.ones(40, bool)
    experience = [(0, episode(40)), (1, episode(40, flags=flags, success=False))]
    torch.manual_seed(1)
    values = [torch.rand(41) - 1.0 for _ in experience]
    found, report = dp.label(experience, values, replace(TINY, chunk=8, labels=labels))
    assert (found[1] < 0.5).any()
    assert report["labels"]["failures"]["windows"] == 40
    experience[1][1].success, experience[1][1].failure = True, ""
    assert (dp.label(experience, values, replace(TINY, chunk=8, labels=labels))[0][1] == 1).all()


@pytest.mark.parametrize(("changes", "kind"), [
    ({"variant": "recap"}, "binary"), ({"variant": "dexpie-x"}, "sigmoid"),
    ({"indicator": "linear"}, "linear"),
])  # fmt: skip
def test_variants_have_their_indicator(changes, kind):
    found, report, _ = labelled(**changes)
    assert report["indicator"] == kind
    between = (found[1] > 0) & (found[1] < 1)
    assert between.any() != (kind == "binary")


def test_the_critic_learns_values():
    args = replace(TINY, width=64, critic_noise=0.0)
    critic = dp.Critic(3, args)
    critic.mean = torch.zeros(3)
    state = torch.rand(256, 3)
    target = -state[:, 0]
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(150):
        dp.descend(optimizer, critic.loss(state, torch.empty(256, 0), target), 10.0)
    value = critic.eval().value(state, torch.empty(256, 0))
    assert (value - target).abs().mean() < 0.03


def test_policy_and_critic_have_their_own_noise():
    args = replace(TINY, obs_noise=0.0, critic_noise=3.0)
    critic, net, none = dp.Critic(STATE, args), policy(obs_noise=0.0).train(), torch.empty(0)
    state = torch.zeros(40, STATE)
    assert critic.condition(state, none).std() == pytest.approx(3.0, rel=0.1)
    assert critic.eval().condition(state, none).std() == net.condition(state, none).std() == 0.0


def test_what_the_critic_sees():
    obs = {**observation(4), "touch": np.ones((4, 5), np.float32)}
    whole = dp.critic_state(obs, TINY)
    blind = dp.critic_state(obs, replace(TINY, critic_hand=False))
    hand = torch.cat([torch.arange(12), torch.arange(whole.shape[1] - 12, whole.shape[1])])
    others = torch.arange(12, whole.shape[1] - 12)
    assert torch.equal(blind[:, others], whole[:, others])
    assert (blind[:, hand] == 0).all() and (whole[:, hand] != 0).all()
    felt = dp.critic_state(obs, replace(TINY, critic_touch=True))
    assert felt.shape[1] == whole.shape[1] + 5
    del obs["touch"]
    with pytest.raises(ValueError, match=r"--critic-touch: an episode has no touch, only \["):
        dp.critic_state(obs, replace(TINY, critic_touch=True))


# --- deployment


@pytest.mark.parametrize("mode", ["async", "sync"])
@pytest.mark.parametrize("space", ["relative", "absolute"])
def test_a_policy_that_knows_the_motion_succeeds_in_spite_of_the_latency(mode, space):
    """Chunks of the seed demonstration, handed on through the action space and the executor."""
    seed = load_seed("Grasp")
    env = started([seed.scenario])
    args = dp.Args(action_space=space, threads=1)
    motion = dp.ACTION_SPACES[space](env.codec)
    counts = {"async": [], "sync": []}[mode]

    class Oracle:
        shape = (args.chunk, motion.size)

        def sample(self, seen, prefix, known, noise):
            palms = dp.measured_palms(seen["proprio"])
            first = args.chunk - args.prefix
            begin = len(counts) * first
            counts.append(known.tolist())
            ahead = np.minimum(begin + np.arange(args.chunk), seed.length - 1)
            if known[0]:
                given = motion.decode(prefix.numpy(), palms)[0]
                np.testing.assert_allclose(given, seed.actions[ahead[: args.prefix]], atol=1e-5)
            return torch.as_tensor(motion.encode(seed.actions[ahead][None], palms))

    acting = dp.executor(Oracle(), args, env, mode, (4,))
    acting.reset(np.ones(1, bool))
    obs, success = env._observe(), False
    for _ in range(seed.length + 4 * 14):
        obs, _, _, _, info = env.step(acting.act(obs))
        success |= bool(info["success"][0])
    assert success
    assert acting.late == 0
    assert counts[0] == [0] and counts[1] == [4 if mode == "async" else 0]
    env.close()


def test_a_person_can_operate_and_inference_can_take_real_time(tmp_path, monkeypatch):
    """Collection with the keyboard operator, on a backend that claims to be in real time."""
    args = replace(TINY, operator="keyboard", rollouts=2, collect_steps=6, starts="initial")
    make, threads = dp.make_env, []

    def made(args, image, worlds, steps, watched):
        assert (worlds, watched) == (1, True)
        env = make(args, image, worlds, steps)
        can = replace(env.backend.capabilities, real_time=True, exact_restore=False)
        env.backend.capabilities = can
        return env

    class Waiting(dp.ChunkExecutor):  # until the thread is done, so that every chunk is used
        def act(self, observation, active=None):
            found = super().act(observation, active)
            threads.append(type(self.inference).__name__)
            for job in [job for _, _, job in self.inference._jobs]:
                job.exception()
            return found

    monkeypatch.setattr(dp, "make_env", made)
    monkeypatch.setattr(dp, "raw_terminal", contextlib.nullcontext)
    monkeypatch.setattr(dp, "ChunkExecutor", Waiting)
    run = SimpleNamespace(
        args=args, path=tmp_path, seed=1, policy=lambda i: policy(), experience=lambda i: [],
        log=lambda *_: None,
        episodes=lambda name: EpisodeStore(tmp_path / name, "DexFW/Grasp-v0", "ee_pose"),
    )  # fmt: skip
    dp.collect_rollouts(run, 1)
    found = json.loads((tmp_path / "collection_1.json").read_text())
    assert (found["episodes"], found["steps"], found["intervened"]) == (2, 12, 0)
    assert found["chunks"] >= 2 and set(threads) == {"WorkerThread"}
    assert not [t for t in threading.enumerate() if t.name.startswith("inference")]


# --- a whole run


def arguments(runs, **changes):
    flags = ["--runs", str(runs)]
    for name, value in {**SMALL, **changes}.items():
        flags += ["--" + name.replace("_", "-"), *map(str, [value] * (value is not None))]
    return flags


@pytest.fixture
def short(monkeypatch):
    """Tests of 20 steps, without films."""
    make = dp.make_env

    def made(args, *a, **k):
        env = make(args, *a, **k)
        env.max_episode_steps = env.max_episode_steps if a or k else 20
        return env

    monkeypatch.setattr(dp, "make_env", made)
    monkeypatch.setattr(dp, "evaluate_policies", without_films(dp.evaluate_policies))


def checkpoint(run, name):
    return load((run / "checkpoints" / name).read_bytes())


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def rollouts(run):
    return {e.index: e for e in EpisodeStore(run / "D_1").episodes()}


def only(folder):
    (run,) = folder.iterdir()
    return run


@pytest.fixture
def demos(tmp_path):
    return store_of_seeds(tmp_path / "mine", 3)


def test_stages_are_set_up_in_scenes_of_their_own(tmp_path, demos, monkeypatch):
    seeds, args = EpisodeStore(demos).episodes(), replace(TINY, setups=3)
    own = [replace(e, scenario=scene(seed=50 + k)) for k, e in enumerate(seeds)]
    env, asked = started([scene(seed=3)]), []
    own = [with_stages(env, episode) for episode in own]
    env.close()

    def demonstrate(env, scenes, seed, count, styles):
        asked.append((env.num_envs, len({s.seed for s in scenes}), count))
        return own

    monkeypatch.setattr(dp, "demonstrate", demonstrate)
    rng = np.random.default_rng(5)
    run = SimpleNamespace(args=args, seed=5, experience=lambda i: [(0, own[0])])
    found = dp.intermediate_starts(run, rng)
    assert asked == [(4, 4, 3)], "one scene more, as one may be beyond the expert"
    assert set(found) == {1, 2}
    assert {start.scenario.seed for starts in found.values() for start in starts} == {50, 51, 52}
    run.args = replace(args, setups=0)
    staged = replace(own[0], observations={**own[0].observations, STAGE: np.repeat([0, 1, 2], 40)})
    run.experience = lambda i: [(0, staged)]
    found = dp.intermediate_starts(run, rng)
    places = {stage: [start.state.tolist() for start in starts] for stage, starts in found.items()}
    assert places == {stage: [staged.states[40 * stage].tolist()] for stage in places}
    assert 1 in places


def test_killed_resumed_and_shared_runs_are_the_same(tmp_path, demos, short, capsys):
    known = {"demos": demos, "records": tmp_path / "records", "variant": "dexpie-tiny"}
    assert run_script(dp, arguments(tmp_path / "a", **known)) == 0
    whole = only(tmp_path / "a")
    known["records"] = tmp_path / "others"
    with pytest.raises(Killed):  # while the reference policy learns
        run_script(dp, arguments(tmp_path / "b", **known), kill_at=3)
    broken = only(tmp_path / "b")
    with pytest.raises(Killed):  # while the critic learns
        run_script(dp, ["--resume", str(broken)], kill_at=7)
    assert run_script(dp, ["--resume", str(broken)]) == 0
    check_same(whole, broken)
    check_collection(whole)
    rows = read_records(tmp_path / "records")
    assert {(r["method"], r["variant"], r["iteration"], r["policy"]) for r in rows} == {
        ("dexpie", "dexpie-tiny", 0, "base"), ("dexpie", "dexpie-tiny", 1, "base")
    }  # fmt: skip
    check_evaluation(whole, capsys)
    known = {"demos": demos, "collected": whole}
    for kind in ("bc", "hg-dagger", "recap"):
        more = {"records": tmp_path / "shared", "variant": f"{kind}-tiny"}
        more |= {"rounds": 2} if kind == "recap" else {}
        assert call(dp, arguments(tmp_path / kind, **known, **more)) == 0
    check_shared(whole, *(only(tmp_path / kind) for kind in ("bc", "hg-dagger", "recap")))
    found = {(r["variant"], r["iteration"]) for r in read_records(tmp_path / "shared")}
    assert found == {("bc-tiny", 0), ("hg-dagger-tiny", 1), ("recap-tiny", 1), ("recap-tiny", 2)}
    check_second_round(only(tmp_path / "recap"))
    check_refusals(tmp_path, known, whole)


def test_staged_starts_are_refused_at_once_where_states_cannot_be_restored(monkeypatch):
    make, args = dp.make_env, replace(TINY, demonstrations=1, demos="")

    def made(*given, **known):
        env = make(*given, **known)
        env.backend.capabilities = replace(env.backend.capabilities, exact_restore=False)
        return env

    monkeypatch.setattr(dp, "make_env", made)
    with pytest.raises(ValueError, match="--starts staged: mujoco cannot restore states; use ini"):
        dp.collect_demonstrations(SimpleNamespace(args=args, seed=1))


@pytest.mark.parametrize("ways", [
    "--inference sync --latency 0 4 --eval-inference sync --critic-split heldout --critic-touch "
    "--no-critic-hand --init reference --imitate successes --labels later --precision bf16",
    "--obs image --image-size 32 --starts initial --intervene never --critic-split crossfit",
    "--obs image --image-size 32 --setups 0 --chunk 24 --prediction epsilon "
    "--sampling-noise fresh --action-space absolute --foresight 0",
], ids=["waiting", "seeing", "seeing like the paper"])  # fmt: skip
def test_other_ways_go_through(tmp_path, short, ways):
    if "image" in ways:
        need_drawing()
    flags = arguments(tmp_path, demonstrations=2, rollouts=4, variant="dexpie-other")
    assert call(dp, [*flags, *ways.split()]) == 0
    found = json.loads((only(tmp_path) / "collection_1.json").read_text())
    assert found["episodes"] == 4 and (only(tmp_path) / "eval_1.json").is_file()
    assert success_tags(only(tmp_path)) == {"charts/success_T_VAL_base"}


def check_same(whole, broken):
    first, second = rollouts(whole), rollouts(broken)
    assert first.keys() == second.keys() == set(range(5))
    assert all(np.array_equal(first[i].actions, second[i].actions) for i in first)
    for name in ("policy_0.pt", "policy_1.pt"):
        assert same(checkpoint(whole, name)["policy"], checkpoint(broken, name)["policy"])
    values = [checkpoint(run, "critic_1.pt")["values"] for run in (whole, broken)]
    assert all(torch.equal(*pair) for pair in zip(*values, strict=True))
    curves = [(run / "metrics.jsonl").read_text() for run in (whole, broken)]
    assert curves[0] == curves[1]


def check_collection(run):
    found = json.loads((run / "collection_1.json").read_text())
    assert found["episodes"] == 5 and found["late_steps"] == 0 and found["chunks"] > 10
    assert sum(row["share"] for row in found["starts"].values()) == pytest.approx(1.0)
    assert found["intervened"] > 0 and found["retries"] > 0
    jumps = found["jumps"]
    assert all(0 < jumps["take_over"][part] <= jumps["policy"][part] for part in ("arm", "hand"))
    kept = rollouts(run).values()
    assert all(bool(e.failure) is not e.success and FLAG in e.observations for e in kept)
    report = json.loads((run / "critic_1.json").read_text())
    assert report["indicator"] == "sigmoid" and report["quantiles"][0] < report["quantiles"][1]
    assert report["calibration"]["all"]["episodes"] == 8
    assert report["calibration"]["rollouts"]["episodes"] == 5
    assert json.loads((run / "eval_1.json").read_text())[0]["late_steps"] == 0


def check_evaluation(run, capsys):
    capsys.readouterr()
    asked = ["--evaluate", str(run / "checkpoints/policy_1.pt"), "--split", "T_VAL", "--episodes",
             "2", "--threads", "1", "--json"]  # fmt: skip
    for more in ([], ["--eval-latency", "8"], ["--eval-inference", "sync"]):
        assert call(dp, [*asked, *more]) == 0
        assert json.loads(capsys.readouterr().out)["n"] == 2


def check_shared(whole, bc, dagger, recap):
    reference = checkpoint(whole, "policy_0.pt")["policy"]
    for run in (bc, dagger, recap):
        assert same(checkpoint(run, "policy_0.pt")["policy"], reference)
    assert not (bc / "D_1").exists() and (bc / "eval_0.json").exists()
    assert not (dagger / "eval_0.json").exists() and not (dagger / "critic_1.json").exists()
    for run in (dagger, recap):
        assert rollouts(run).keys() == rollouts(whole).keys()
    guided = [checkpoint(run, "policy_1.pt")["guided"] for run in (whole, dagger, recap)]
    assert guided == [True, False, True]
    ours, theirs = (checkpoint(run, "critic_1.pt") for run in (whole, recap))
    assert all(torch.equal(a, b) for a, b in zip(ours["values"], theirs["values"], strict=True))
    bits = torch.cat(theirs["optimality"])
    assert set(bits.tolist()) == {0.0, 1.0}
    assert not same(checkpoint(whole, "policy_1.pt")["policy"],
                    checkpoint(recap, "policy_1.pt")["policy"])  # fmt: skip


def check_second_round(run):
    """It has rollouts of its own policy, and labels all experience anew."""
    first, second = (checkpoint(run, f"critic_{i}.pt") for i in (1, 2))
    assert len(EpisodeStore(run / "D_2")) == 5
    assert second["identifiers"][:8] == first["identifiers"] and len(second["identifiers"]) == 13
    assert not torch.equal(first["values"][0], second["values"][0])
    report = json.loads((run / "critic_2.json").read_text())
    assert report["calibration"]["rollouts"]["episodes"] == 10


def check_refusals(tmp_path, known, whole):
    """Data and reference policies that do not fit."""
    flags = arguments(tmp_path / "no", **known, action_space="absolute")
    with pytest.raises(ValueError, match="has action_space 'relative', needed is 'absolute'"):
        call(dp, flags)
    flags = arguments(tmp_path / "no", **known, starts="initial", seed=2)
    with pytest.raises(ValueError, match=r"was made with --seed 1, --starts staged; give the same"):
        call(dp, flags)
    flags = arguments(tmp_path / "no", **{**known, "rollouts": 9})
    with pytest.raises(ValueError, match="D_1 holds 5 episodes, needed are 9"):
        call(dp, flags)
    finished = (whole / "stages.json").read_text()
    cut = {k: v for k, v in json.loads(finished).items() if k < "collect_1" or k > "critic_1"}
    (whole / "stages.json").write_text(json.dumps(cut))
    with pytest.raises(ValueError, match=r"has not finished collect_1, only demos, .*--resume"):
        call(dp, arguments(tmp_path / "no", **known))
    (whole / "stages.json").write_text(finished)
    store = EpisodeStore(whole / "D_1", "DexFW/Grasp-v0", "ee_pose")
    store.add(load_seed("Grasp"), source="policy", seed=0, index=77)
    run = SimpleNamespace(episodes=lambda name: EpisodeStore(whole / name))
    with pytest.raises(ValueError, match="has no flags of intervention: it needs"):
        dp.Run.experience(run, 1)


# --- bad input


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"variant": "awr"}, "unknown --variant 'awr'; valid: bc, bc-NAME, hg-dagger"),
        ({"variant": "hg"}, "unknown --variant 'hg'"),
        ({"variant": "bc", "indicator": "binary"}, "--variant bc has no use for --indicator"),
        ({"latency": (6,)}, "--latency 6 is longer than --prefix 4 allows"),
        ({"latency": (0, 5)}, "--latency 5 is longer than --prefix 4 allows"),
        ({"latency": (3, 1)}, "one number of steps, or least and most"),
        ({"eval_latency": (-1,)}, "one number of steps, or least and most"),
        ({"prefix": 8}, "--prefix must be below half of --chunk 16: 8"),
        ({"demonstrations": 0}, "--demonstrations must be at least 1"),
        ({"rollouts": 0}, "--rollouts must be at least 1, got 0"),
        ({"foresight": -1}, "--foresight must be at least 0, got -1"),
        ({"beta": -0.5}, "--beta must be at least 0, got -0.5"),
        ({"ceiling": 1.5}, r"--ceiling must be in \[0, 1\], got 1.5"),
        ({"quantiles": (0.6, 1.2)}, r"--quantiles must be in \[0, 1\], got \(0.6, 1.2\)"),
        ({"quantiles": (0.8, 0.6)}, "the low one must be below the high"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        dp.Args(**wrong)


def test_settings_that_seem_alike_are_not_refused():
    assert dp.Args(inference="sync", eval_inference="sync", latency=(9,)).latency == (9,)
    assert dp.Args(inference="sync", eval_latency=(4,), latency=(9,)).latency == (9,)
    assert dp.Args(eval_latency=(8,)).eval_latency == (8,)
    assert dp.Args(variant="hg-dagger-few").kind == "hg-dagger"


@pytest.mark.parametrize("preset", dp.PRESETS)
def test_presets_fit(preset):
    assert replace(dp.Args(), **dp.PRESETS[preset]).preset == preset


def test_records_of_an_ablation_need_a_name(tmp_path):
    with pytest.raises(ValueError, match="need --variant dexpie-NAME; these differ: --beta"):
        call(dp, ["--records", str(tmp_path), "--precision", "fp32", "--beta", "2.0"])
