"""The environments beside Gymnasium's own: autoreset modes, wrappers, options, info."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers
from scenes import actions, equal, make, need_drawing, rows, scene, started

from dexfw_envs.backends import make_backend
from dexfw_envs.envs.observe import MODES, flat_order
from dexfw_envs.envs.single import DexEnv
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.tasks.base import FAILURES
from dexfw_envs.tasks.grasp import GraspTask

ID = "DexFW/Grasp-v0"
STEPS = 5  # an episode of these tests
RESETTING = ("same_step", "next_step")


def ours(mode, **options):
    """Three worlds whose episodes end after 5, 4 and 3 steps, then after 5 each."""
    env = gym.make_vec(
        ID, num_envs=3, threads=1, autoreset_mode=mode, max_episode_steps=STEPS, **options
    )
    env.reset(seed=7)
    env.unwrapped.memory.elapsed[:] = [0, 1, 2]
    return env


def theirs(mode, **options):
    """The same as three single environments in Gymnasium's own vector environment."""
    make_one = lambda: DexEnv("Grasp", threads=1, max_episode_steps=STEPS, **options)  # noqa: E731
    env = SyncVectorEnv([make_one] * 3, autoreset_mode=AutoresetMode[mode.upper()])
    env.reset(seed=7)
    for world, single in enumerate(env.envs):
        single.batch.memory.elapsed[:] = world
    return env


def leaves(value):
    """All that nested dictionaries hold."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [value]


# --- autoreset


@pytest.mark.parametrize("mode", RESETTING)
@pytest.mark.parametrize("reward_mode", ["dense", "sparse"])
def test_every_step_equals_that_of_gymnasiums_vector_environment(mode, reward_mode):
    env, reference = (make_env(mode, reward_mode=reward_mode) for make_env in (ours, theirs))
    ended = 0
    for action in actions(3 * STEPS, 3):
        *step, info = env.step(action)
        *expected, other = reference.step(action)
        assert equal(step, expected)
        for key in ("success", "is_success", "failure_code", "elapsed", "stage", "hold"):
            assert np.array_equal(info[key], other[key]), key
        assert equal(
            info["reward_terms"], {k: v for k, v in other["reward_terms"].items() if k[0] != "_"}
        )
        assert ("final_obs" in info) == ("final_obs" in other)
        if "final_obs" in other:
            assert (info["_final_obs"] == other["_final_obs"]).all()
            for world in np.flatnonzero(info["_final_obs"]):
                assert equal(rows(info["final_obs"], world), other["final_obs"][world])
        ended += int((step[2] | step[3]).sum())
    assert ended >= 6, "each world ended at least twice"


def test_disabled_equals_gymnasiums_reset_by_mask():
    env, reference = ours("disabled"), theirs("disabled")
    for action in actions(3 * STEPS, 3):
        step, expected = env.step(action), reference.step(action)
        assert equal(step[:4], expected[:4])
        done = step[2] | step[3]
        if done.any():
            observation, info = env.reset(options={"reset_mask": done})
            assert equal(observation, reference.reset(options={"reset_mask": done.copy()})[0])
            assert not info["elapsed"][done].any() and info["elapsed"][~done].all()


def test_the_step_that_resets_takes_no_action_and_pays_nothing():
    env = ours("next_step")
    for action in actions(3, 3):
        *_, truncated, info = env.step(action)
    assert truncated.tolist() == [False, False, True]
    assert info["failure_code"].tolist() == [0, 0, FAILURES.index("timeout")]
    last, state = env.unwrapped.world.object_position[2], env.unwrapped.get_state()

    wild = actions(1, 3, seed=5)[0]
    observation, reward, terminated, truncated, info = env.step(wild)
    assert reward[2] == 0 and not terminated[2] and not truncated[2]
    assert info["elapsed"].tolist() == [4, 5, 0] and info["failure_code"][2] == 0
    assert not np.array_equal(env.unwrapped.world.object_position[2], last)
    # Restored, the world still waits for its next episode, whatever its action.
    env.unwrapped.set_state(state)
    wild[2] = 0.3
    assert equal(env.step(wild)[0], observation)


def test_a_reset_by_hand_settles_what_was_to_come():
    env = ours("next_step")
    for action in actions(3, 3):
        env.step(action)
    env.reset(options={"reset_mask": np.array([False, False, True])})
    *_, info = env.step(np.zeros((3, 12)))
    assert info["elapsed"].tolist() == [4, 5, 1]


@pytest.mark.parametrize("name", [*AutoresetMode, "SameStep", "next_step", "disabled"])
def test_modes_are_named_in_every_way_of_gymnasium(name):
    env = gym.make_vec(ID, num_envs=1, autoreset_mode=name)
    assert isinstance(env.unwrapped.autoreset_mode, AutoresetMode)
    assert env.metadata["autoreset_mode"] is env.unwrapped.autoreset_mode
    given = name.name if isinstance(name, AutoresetMode) else name
    assert env.unwrapped.autoreset_mode.name.replace("_", "") == given.replace("_", "").upper()


# --- wrappers


def test_observations_are_normalised_as_by_gymnasiums_vector_environment():
    env, reference = (
        vector_wrappers.NormalizeObservation(vector_wrappers.FlattenObservation(made))
        for made in (ours("next_step"), theirs("next_step"))
    )
    for action in actions(2 * STEPS, 3):
        seen, expected = env.step(action)[0], reference.step(action)[0]
        assert np.array_equal(seen, expected)


@pytest.mark.parametrize("obs_mode", ["state", "state/flat"])
@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_all_that_is_returned_becomes_tensors(obs_mode, mode):
    pytest.importorskip("array_api_compat", reason="Gymnasium's NumpyToTorch needs it")
    torch = pytest.importorskip("torch")
    wrapped = vector_wrappers.NumpyToTorch(ours(mode, obs_mode=obs_mode))
    for _ in range(STEPS):
        info = wrapped.step(torch.zeros(3, 12))[4]
    found = leaves(info)
    assert len(found) >= 13 and all(isinstance(leaf, torch.Tensor) for leaf in found)


def test_all_that_a_single_environment_returns_becomes_tensors():
    pytest.importorskip("array_api_compat", reason="Gymnasium's NumpyToTorch needs it")
    torch = pytest.importorskip("torch")
    env = gym.wrappers.NumpyToTorch(gym.make(ID, obs_mode="state/flat"))
    observation, info = env.reset(seed=0)
    assert isinstance(observation, torch.Tensor)
    *_, later = env.step(torch.zeros(12))
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves(info) + leaves(later))


def test_single_environments_are_wrapped_before_they_are_batched():
    vector = gym.make_vec(
        ID,
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        wrappers=(gym.wrappers.FlattenObservation,),
        obs_mode="state+touch",
    )
    observation, info = vector.reset(seed=0)
    assert observation.shape == (2, 87) and info["stage"].tolist() == [0, 0]
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


# --- seeds


SEEDS = [5, [5, None, 9], (1, 2, 3), None]


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_are_taken_and_told_as_by_gymnasiums_vector_environment(seed):
    env = make(3)
    reference = SyncVectorEnv([lambda: DexEnv("Grasp", threads=1)] * 3)
    for one in (env, reference):
        one.reset(seed=40)
        one.reset(seed=seed)
    assert env.np_random_seed == reference.np_random_seed
    assert type(env.np_random) is type(reference.np_random) is tuple
    states = [[g.bit_generator.state for g in one.np_random] for one in (env, reference)]
    assert states[0] == states[1]
    observations = [one.reset()[0] for one in (env, reference)]
    assert equal(*observations), "the streams go on equally"


def test_a_seed_of_nobodys_choice_is_told_and_repeats_the_run():
    env = make(2)
    env.reset()
    assert all(seed >= 0 for seed in env.np_random_seed)
    again = make(2)
    again.reset(seed=list(env.np_random_seed))
    assert env.scenarios == again.scenarios
    single = DexEnv("Grasp", threads=1)
    single.reset()
    found = single.scenario
    single.reset(seed=single.np_random_seed)
    assert single.scenario == found


def test_seeds_concern_the_worlds_that_are_reset():
    env, reference = ours("disabled"), theirs("disabled")
    mask = np.array([True, False, True])
    for one in (env, reference):
        one.reset(seed=11, options={"reset_mask": mask.copy()})
    assert env.unwrapped.np_random_seed == reference.np_random_seed == (11, 8, 13)


def test_a_single_environment_tells_its_seed():
    env = DexEnv("Grasp", threads=1)
    env.reset(seed=5)
    assert env.np_random_seed == 5
    env.reset()
    assert env.np_random_seed == 5, "its stream goes on"
    env.set_state(env.get_state())
    assert env.np_random_seed == -1, "restored, not seeded"
    env.np_random = np.random.default_rng(3)
    state = env.get_state()
    env.reset()
    first = env.scenario
    env.set_state(state)
    env.reset()
    assert env.scenario == first


# --- the attributes of vector environments


def test_attributes_are_read_as_from_gymnasiums_vector_environment():
    env, reference = ours("disabled", render_mode="rgb_array"), theirs("disabled")
    native = env.unwrapped
    assert native.call("scenario") == tuple(native.scenarios)
    names = ("np_random_seed", "action_space", "observation_space", "scenario")
    for name in names:
        assert native.get_attr(name) == reference.get_attr(name), name
    assert native.get_attr("render_mode") == ("rgb_array",) * 3
    assert native.get_attr("spec")[2].id == ID
    with pytest.raises(AttributeError, match="have no method 'reset' of their own"):
        native.call("reset")
    with pytest.raises(AttributeError, match="colour"):
        native.get_attr("colour")


def test_what_all_worlds_share_can_be_set():
    env = make(2)
    env.set_attr("sampler", lambda rng: scene("cube", seed=int(rng.integers(100))))
    env.set_attr("max_episode_steps", [3, 3])
    env.reset(seed=0)
    assert [s.objects for s in env.call("scenario")] == [("cube",), ("cube",)]
    assert [env.step(np.zeros((2, 12)))[3].all() for _ in range(3)] == [False, False, True]
    with pytest.raises(ValueError, match="all worlds share 'reward_mode'"):
        env.set_attr("reward_mode", ["dense", "sparse"])
    with pytest.raises(ValueError, match="3 values of 'camera' given for 2 worlds"):
        env.set_attr("camera", ["top"] * 3)
    with pytest.raises(AttributeError, match=r"cannot set 'control_mode'.*'sampler'"):
        env.set_attr("control_mode", "joint")


def test_pictures_are_a_tuple():
    need_drawing()
    env = gym.make_vec(ID, num_envs=3, render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    frames = env.render()
    assert type(frames) is tuple and [frame.shape for frame in frames] == [(32, 32, 3)] * 3
    assert equal(frames, env.unwrapped.call("render"))
    assert np.array_equal(np.stack(frames[1:]), env.unwrapped.draw([1, 2]))
    env.close()


@pytest.mark.parametrize("use", ["reset", "step", "render"])
@pytest.mark.parametrize("native", [True, False])
def test_after_close_one_error_says_so(use, native):
    options = {"render_mode": "rgb_array", "threads": 1}
    env = make(2, **options) if native else DexEnv("Grasp", **options)
    env.reset(seed=0)
    env.close()
    given = {"step": [env.action_space.sample()]}.get(use, [])
    with pytest.raises(gym.error.ClosedEnvironmentError, match="is closed; make a new one"):
        getattr(env, use)(*given)


# --- options


KEYWORDS = r"got an unexpected keyword argument '{}'"


@pytest.mark.parametrize("build", [DexEnv, DexVectorEnv])
def test_an_unknown_keyword_is_a_type_error_that_names_all_valid_ones(build):
    with pytest.raises(TypeError, match=KEYWORDS.format("frameskip")) as caught:
        build("Grasp", frameskip=1)
    text = str(caught.value)
    assert text.startswith(f"{build.__name__}.__init__() got") and "\n" not in text
    for name in ("obs_mode", "reward_mode", "image_size", "info_mode", "threads", "fault_folder"):
        assert name in text
    assert ("num_envs" in text) == (build is DexVectorEnv)
    with pytest.raises(TypeError, match=KEYWORDS.format("image_sise") + ".*mean 'image_size'"):
        build("Grasp", image_sise=3)
    with pytest.raises(TypeError, match=r"arguments 'colour', 'friction'.*mean 'friction_scale'"):
        build("Grasp", colour="red", friction=1)


def test_an_unknown_keyword_in_every_way_of_making():
    with pytest.raises(TypeError, match=KEYWORDS.format("image_sise")):
        gym.make(ID, image_sise=3)
    for mode in ("sync", "vector_entry_point"):
        with pytest.raises(TypeError, match=KEYWORDS.format("image_sise")):
            gym.make_vec(ID, num_envs=2, vectorization_mode=mode, image_sise=3)
    with pytest.raises(TypeError, match=KEYWORDS.format("autoreset") + ".*mean 'autoreset_mode'"):
        gym.make_vec(ID, num_envs=2, autoreset=False)
    for name in ("num_envs", "autoreset_mode"):
        with pytest.raises(TypeError, match=KEYWORDS.format(name)):
            DexEnv("Grasp", **{name: 2})
    with pytest.raises(ValueError, match="unknown backend 'bullet'"):
        DexEnv("Grasp", backend="bullet", gravity=0)


@pytest.mark.parametrize("backend", ["mujoco", "omnigibson"])
def test_an_unknown_option_of_a_backend(backend):
    with pytest.raises(TypeError, match=KEYWORDS.format("gravity") + ".*friction_scale"):
        make_backend(backend, GraspTask().needs, 1, gravity=0)
    with pytest.raises(TypeError, match=KEYWORDS.format("gravity") + f".*'{backend}': .*threads"):
        DexEnv("Grasp", backend=backend, gravity=0)


# --- flat observations


@pytest.mark.parametrize("task", ["Grasp", "Pour", "Lift", "Handover"])
@pytest.mark.parametrize("mode", ["state", "state+touch"])
def test_flat_observations_are_the_groups_side_by_side(task, mode):
    grouped, flat = (
        make(2, task, obs_mode=chosen, max_episode_steps=4) for chosen in (mode, f"{mode}/flat")
    )
    space = grouped.single_observation_space
    assert flat.single_observation_space == gym.spaces.flatten_space(space)
    assert flat.observation_space.shape == (2, *flat.single_observation_space.shape)
    assert list(space) == list(flat_order(mode)), "as Gymnasium flattens"

    seen, expected = flat.reset(seed=3)[0], grouped.reset(seed=3)[0]
    for action in actions(6, 2, size=flat.codec.size):
        assert seen.dtype == np.float32 and flat.observation_space.contains(seen)
        joined = np.concatenate([expected[name] for name in flat_order(mode)], axis=1)
        assert np.array_equal(seen, joined)
        seen, *_, info = flat.step(action)
        expected, *_, other = grouped.step(action)
        if "final_obs" in info:
            last = [other["final_obs"][name] for name in flat_order(mode)]
            assert np.array_equal(info["final_obs"], np.concatenate(last, axis=1))
    assert np.array_equal(flat.set_state(flat.get_state()), seen)


def test_flat_observations_of_a_single_environment():
    env = gym.make(ID, obs_mode="state+touch/flat")
    reference = gym.wrappers.FlattenObservation(gym.make(ID, obs_mode="state+touch"))
    assert env.observation_space == reference.observation_space
    assert np.array_equal(env.reset(seed=1)[0], reference.reset(seed=1)[0])
    action = actions(1, 1)[0, 0]
    assert np.array_equal(env.step(action)[0], reference.step(action)[0])


def test_flat_observations_survive_a_fault_and_are_the_callers_own():
    env = started([scene(), scene()], obs_mode="state/flat")
    first = env.step(np.zeros((2, 12)))[0]
    kept = first.copy()
    env.backend._qvel[0] = np.nan
    second = env.step(np.zeros((2, 12)))[0]
    assert np.isfinite(second).all() and np.array_equal(first, kept)


class Same:
    """Acts by what it sees, in groups or flat."""

    def reset(self, mask):
        """Nothing is remembered."""

    def act(self, observation):
        if isinstance(observation, dict):
            observation = np.concatenate([observation[k] for k in ("object", "proprio")], axis=1)
        return np.sin(observation[:, :12])


@pytest.mark.parametrize("info_mode", ["arrays", "full"])
def test_the_evaluator_takes_flat_environments_and_every_info(info_mode):
    options = {"max_episode_steps": 4, "threads": 1}
    run = {"split": "T_VAL", "episodes": 5, "num_envs": 2}
    found = [
        evaluate(
            Same(), ID, env_options={**options, "obs_mode": mode, "info_mode": info_mode}, **run
        )
        for mode in ("state", "state/flat")
    ]
    for records in found:
        for record in records:
            del record["wall_time_s"]
    assert found[0] == found[1] and {record["failure"] for record in found[0]} == {"timeout"}


def test_whole_episodes_need_groups():
    env = make(1, obs_mode="state/flat", autoreset_mode="disabled")
    with pytest.raises(ValueError, match=r"kept by observation groups.*without '/flat'"):
        next(run_episodes(env, Same(), [scene()]))


def test_there_are_flat_modes_without_pictures_alone():
    assert {mode for mode in MODES if "/" in mode} == {"state/flat", "state+touch/flat"}


# --- info


@pytest.mark.parametrize("task", ["Grasp", "Pour", "Lift", "Handover"])
def test_info_holds_numbers_and_arrays_alone(task):
    env = make(2, task, info_mode="arrays", max_episode_steps=2)
    found = [env.reset(seed=0)[1]]
    found += [env.step(np.zeros((2, env.codec.size)))[4] for _ in range(3)]
    assert "final_info" in found[2]
    for array in [leaf for info in found for leaf in leaves(info)]:
        assert array.dtype.kind in "bif" and array.shape[0] == 2
    single = DexEnv(task)
    single.reset(seed=0)
    *_, info = single.step(np.zeros(single.batch.codec.size))
    assert all(type(leaf) in (bool, int, float) for leaf in leaves(info))


def test_full_info_adds_scenario_and_reason():
    env, plain = (make(2, info_mode=mode, max_episode_steps=2) for mode in ("full", "arrays"))
    for one in (env, plain):
        one.reset(seed=0)
    scenarios = list(env.scenarios)
    for _ in range(2):
        *_, info = env.step(np.zeros((2, 12)))
        *_, other = plain.step(np.zeros((2, 12)))
    final = info["final_info"]
    assert final["scenario"].tolist() == scenarios
    assert final["failure"].tolist() == ["timeout", "timeout"]
    assert [FAILURES[code] for code in other["final_info"]["failure_code"]] == ["timeout"] * 2
    assert final.keys() - other["final_info"].keys() == {"scenario", "failure"}


def test_every_reason_of_a_task_has_a_code():
    for task in ("Grasp", "Pour", "Lift", "Handover"):
        env = make(1, task)
        env.reset(seed=0)
        assert set(env.task.lost(env.world, env.memory)) <= set(FAILURES)
    env = started([scene(), scene()])
    env.backend._qpos[1, env.backend._object_q[0, 0]] += 0.31
    *_, info = env.step(np.zeros((2, 12)))
    assert info["failure_code"].tolist() == [0, FAILURES.index("dropped")]
