"""All of Gymnasium's vector wrappers on the native environment.

Those that need a further package say so; `make test-clients` has them all.
"""

from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import vector as wrappers

import dexfw_envs  # noqa: F401 (registers the ids)

ID = "DexFW/Grasp-v0"
WORLDS = 2
STEPS = 3  # of an episode
SIDE = 32  # of pictures [px]
ALL_MODES = ("same_step", "next_step", "disabled")


def flat(mode, **options):
    """Two worlds with one row of numbers each."""
    return made(mode, obs_mode="state/flat", **options)


def grouped(mode, **options):
    return made(mode, obs_mode="state", **options)


def made(mode, **options):
    fixed = {"max_episode_steps": STEPS, "image_size": SIDE, "threads": 1}
    return gym.make_vec(ID, num_envs=WORLDS, autoreset_mode=mode, **fixed, **options)


def pictures(mode):
    """The camera's pictures alone, as a Box."""
    env = made(mode, obs_mode="image")
    single = env.single_observation_space["image"]
    whole = env.observation_space["image"]
    return wrappers.TransformObservation(env, lambda seen: seen["image"], whole, single)


# What each wrapper is tried on, and the package that it needs.
OBSERVATION = {
    "TransformObservation": (lambda mode: wrappers.TransformObservation(flat(mode), np.tanh), ""),
    "VectorizeTransformObservation": (
        lambda mode: wrappers.VectorizeTransformObservation(
            flat(mode), gym.wrappers.TransformObservation, func=np.tanh, observation_space=None
        ),
        "",
    ),
    "FilterObservation": (lambda mode: wrappers.FilterObservation(grouped(mode), ["object"]), ""),
    "FlattenObservation": (lambda mode: wrappers.FlattenObservation(grouped(mode)), ""),
    "ReshapeObservation": (lambda mode: wrappers.ReshapeObservation(flat(mode), (2, 41)), ""),
    "RescaleObservation": (lambda mode: wrappers.RescaleObservation(flat(mode), -1.0, 1.0), ""),
    "DtypeObservation": (lambda mode: wrappers.DtypeObservation(flat(mode), np.float64), ""),
    "GrayscaleObservation": (lambda mode: wrappers.GrayscaleObservation(pictures(mode)), ""),
    "ResizeObservation": (lambda mode: wrappers.ResizeObservation(pictures(mode), (16, 16)), "cv2"),
    "NormalizeObservation": (lambda mode: wrappers.NormalizeObservation(flat(mode)), ""),
}
NEXT_STEP_ALONE = ("NormalizeObservation",)
OTHER = {
    "TransformAction": (lambda mode: wrappers.TransformAction(flat(mode), np.tanh), ""),
    "VectorizeTransformAction": (
        lambda mode: wrappers.VectorizeTransformAction(
            flat(mode), gym.wrappers.TransformAction, func=np.tanh, action_space=None
        ),
        "",
    ),
    "ClipAction": (lambda mode: wrappers.ClipAction(flat(mode)), ""),
    "RescaleAction": (lambda mode: wrappers.RescaleAction(flat(mode), -2.0, 2.0), ""),
    "TransformReward": (lambda mode: wrappers.TransformReward(flat(mode), np.tanh), ""),
    "VectorizeTransformReward": (
        lambda mode: wrappers.VectorizeTransformReward(
            flat(mode), gym.wrappers.TransformReward, func=np.tanh
        ),
        "",
    ),
    "ClipReward": (lambda mode: wrappers.ClipReward(flat(mode), 0.0, 0.1), ""),
    "NormalizeReward": (lambda mode: wrappers.NormalizeReward(flat(mode)), ""),
    "RecordEpisodeStatistics": (lambda mode: wrappers.RecordEpisodeStatistics(flat(mode)), ""),
    "DictInfoToList": (lambda mode: wrappers.DictInfoToList(flat(mode)), ""),
}
ELSEWHERE = {"RecordVideo", "HumanRendering", "ArrayConversion", "NumpyToTorch"}  # tested below
OF_JAX = {"JaxToNumpy", "JaxToTorch"}  # wrap envs that return JAX's arrays; ours return NumPy's
OBSERVATION_CASES = [
    (name, mode)
    for name in OBSERVATION
    for mode in ("next_step", "disabled")
    if mode == "next_step" or name not in NEXT_STEP_ALONE
]


def need(package):
    if package and find_spec(package) is None:
        pytest.skip(f"this wrapper of Gymnasium needs the package {package}")


def run(env, mode, steps=2 * STEPS):
    """Step through the ends of episodes and yield what every step returned."""
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(steps):
        found = env.step(env.action_space.sample())
        yield found
        done = found[2] | found[3]
        if mode == "disabled" and done.any():
            env.reset(options={"reset_mask": done})


def test_every_wrapper_is_tried():
    assert set(wrappers.__all__) == {*OBSERVATION, *OTHER, *ELSEWHERE, *OF_JAX}


@pytest.mark.parametrize(("name", "mode"), OBSERVATION_CASES)
def test_observation_wrappers(name, mode):
    build, package = OBSERVATION[name]
    need(package)
    env = build(mode)
    for observation, reward, *_ in run(env, mode):
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward).all()
    env.close()


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("name", OTHER)
def test_other_wrappers(name, mode):
    build, package = OTHER[name]
    need(package)
    env = build(mode)
    ends = 0
    for observation, reward, terminated, truncated, info in run(env, mode):
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward).all()
        ends += int((terminated | truncated).sum())
        assert len(info) > 0
    assert ends >= WORLDS
    env.close()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_returns_and_lengths_are_those_of_the_episode(mode):
    """Return and length of an ended episode, and its success, at the step that ended it."""
    env = wrappers.RecordEpisodeStatistics(flat(mode))
    paid = np.zeros(WORLDS)
    ended = []
    for _, reward, _, truncated, info in run(env, mode, steps=3 * STEPS):
        paid += reward
        assert ("episode" in info) == truncated.any()
        if truncated.any():
            np.testing.assert_allclose(info["episode"]["r"], paid)
            ended.append(info["episode"]["l"].tolist())
            final = info["final_info"] if mode == "same_step" else info
            assert final["is_success"].tolist() == [False] * WORLDS
            paid[:] = 0
    assert len(ended) >= 2 and ended == [[STEPS] * WORLDS] * len(ended)
    env.close()


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.filterwarnings("ignore:.*same-step:UserWarning")
def test_videos_are_recorded(mode, tmp_path):
    need("moviepy")
    env = wrappers.RecordVideo(
        flat(mode, render_mode="rgb_array"), str(tmp_path), episode_trigger=lambda number: True
    )
    for _ in run(env, mode, steps=2 * STEPS + 2):
        pass
    env.close()
    films = list(tmp_path.glob("*.mp4"))
    assert len(films) >= 2 and all(film.stat().st_size > 0 for film in films)


def test_a_person_watches_without_a_screen(monkeypatch):
    need("pygame")
    need("cv2")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = wrappers.HumanRendering(flat("next_step", render_mode="rgb_array"))
    for _ in run(env, "next_step", steps=2):
        pass
    env.close()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_tensors(mode):
    need("array_api_compat")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    env = wrappers.NumpyToTorch(flat(mode))
    env.reset(seed=0)
    for _ in range(STEPS):
        observation, reward, _, truncated, _ = env.step(torch.zeros(WORLDS, 12))
    assert isinstance(observation, torch.Tensor) and isinstance(reward, torch.Tensor)
    assert truncated.all()
    env.close()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_array_conversion(mode):
    need("array_api_compat")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    env = wrappers.ArrayConversion(flat(mode), env_xp=np, target_xp=torch)
    observation, _ = env.reset(seed=0)
    assert isinstance(observation, torch.Tensor)
    env.close()
