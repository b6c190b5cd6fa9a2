"""Bad input: one clear error that names what was wrong and what would be right."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from scenes import actions, equal, make, play, scene, started

from dexfw_envs.backends import make_backend
from dexfw_envs.catalog import split
from dexfw_envs.demos.seeds import load_seed, seed_path
from dexfw_envs.deployment.stages import stages_of
from dexfw_envs.editing.augment import augment
from dexfw_envs.editing.reading import read_motion
from dexfw_envs.envs.single import DexEnv
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.store import load_episode
from dexfw_envs.tasks.grasp import GraspTask

ID = "DexFW/Grasp-v0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "bullet"}, "unknown backend 'bullet'; choose one of .*'mujoco'"),
        ({"obs_mode": "pixels"}, r"unknown obs_mode 'pixels'.*'state', .*'image\+touch'"),
        ({"control_mode": "delta"}, "unknown control_mode 'delta'.*'ee_pose', 'joint'"),
        ({"reward_mode": "none"}, "unknown reward_mode 'none'.*'dense', 'sparse'"),
        ({"render_mode": "ansi"}, "unknown render_mode 'ansi'.*'rgb_array', 'human'"),
        ({"scenarios": "T_X"}, r"'T_X'.*train\(1\).*T_OEP.*objects"),
        ({"image_size": 4}, "image_size must be at least 16 px, got 4"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer of at least 1, got 0"),
        ({"timestep": 0.003}, "0.003 s does not divide the control period.*0.0025"),
        ({"threads": 0}, "threads must be an integer of at least 1, got 0"),
        ({"threads": "2"}, "threads must be an integer of at least 1, got '2'"),
        ({"friction_scale": -1.0}, r"friction_scale must be a number above 0, got -1\.0"),
        ({"friction_scale": "x"}, "friction_scale must be a number above 0, got 'x'"),
        ({"timestep": 0}, "timestep must be a number above 0, got 0"),
        ({"timestep": "a"}, "timestep must be a number above 0, got 'a'"),
        ({"image_size": "64"}, "image_size must be an integer .*, got '64'"),
        ({"obs_mode": 3}, "unknown obs_mode 3; choose one of"),
        ({"obs_mode": "image/flat"}, r"'image/flat': pictures are not flattened.*'state/flat'"),
        ({"info_mode": "text"}, r"unknown info_mode 'text'; choose one of \('arrays', 'full'\)"),
    ],
)
@pytest.mark.parametrize("build", [DexEnv, DexVectorEnv])
def test_options(build, options, message):
    with pytest.raises(ValueError, match=message):
        build("Grasp", **options)


def test_options_through_gymnasium():
    with pytest.raises(ValueError, match="unknown obs_mode 'pixels'"):
        gym.make(ID, obs_mode="pixels")
    for mode in ("SAME", True, None):
        with pytest.raises(ValueError, match=r"unknown autoreset_mode .*'same_step', 'disabled'"):
            gym.make_vec(ID, num_envs=2, autoreset_mode=mode)
    for number in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="num_envs must be an integer of at least 1"):
            DexVectorEnv("Grasp", number)


def test_ids_and_tasks():
    with pytest.raises(gym.error.NameNotFound, match="Grasp"):
        gym.make("DexFW/Grsp-v0")
    with pytest.raises(gym.error.VersionNotFound, match="v0"):
        gym.make("DexFW/Grasp-v7")
    with pytest.raises(ValueError, match=r"unknown task 'Juggle'; choose one of \['Grasp', "):
        DexVectorEnv("Juggle")


@pytest.mark.parametrize("make_one", [gym.make, gym.make_vec])
def test_an_id_keeps_its_task(make_one):
    with pytest.raises(ValueError, match="is the task Grasp, not Pour; make DexFW/Pour-v0"):
        make_one(ID, task="Pour")
    assert make_one(ID, task="Grasp").spec.id == ID
    assert DexEnv("Pour").spec.id == DexVectorEnv("Pour").spec.id == "DexFW/Pour-v0"


@pytest.mark.parametrize("seed", [2.5, "123", [1.5, 2, 3], np.array([1.0, 2.0, 3.0]), {1, 2, 3}])
def test_seeds_are_integers(seed):
    with pytest.raises(ValueError, match=r"seed .*must be an integer"):
        make(3).reset(seed=seed)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_episode_steps", -3, "max_episode_steps must be an integer of at least 1, got -3"),
        ("reward_mode", "much", "unknown reward_mode 'much'"),
        ("sampler", "train(1)", r"sampler must be a function of a generator, got 'train\(1\)'"),
    ],
)
def test_what_is_set_of_worlds_is_checked(name, value, message):
    with pytest.raises(ValueError, match=message):
        make(2).set_attr(name, value)


def test_half_a_state_is_refused():
    env = started([scene()])
    with pytest.raises(ValueError, match="this one lacks vectors, generators"):
        env.set_state({"scenarios": [scene().to_json()]})


def test_unknown_camera_names_the_cameras():
    named = r"unknown camera 'top'; choose one of \('front', 'side'\)"
    with pytest.raises(ValueError, match=named):
        make(1, camera="top")
    with pytest.raises(ValueError, match=named):
        make(2).set_attr("camera", "top")


def test_pour_needs_a_vessel():
    (known,) = split("Pour", "T_VAL", 1, 0)
    swapped = dataclasses.replace(known, objects=("egg", known.objects[1]))
    with pytest.raises(ValueError, match="egg holds nothing; Pour needs a vessel as its first"):
        DexVectorEnv("Pour").reset(options={"scenarios": [swapped]})


# --- actions


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_actions_must_be_finite(bad):
    env = started([scene(), scene(), scene()])
    before = env.state_vectors()
    action = np.zeros((3, 12))
    action[1, 4] = bad
    with pytest.raises(ValueError, match=r"actions of worlds \[1\] are not finite"):
        env.step(action)
    assert np.array_equal(env.state_vectors(), before), "nothing moved"
    single = DexEnv("Grasp")
    single.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        single.step(action[1])


def test_actions_must_have_the_shape():
    env = started([scene(), scene()])
    for shape in ((2, 11), (12,), (3, 12), (2, 13)):
        with pytest.raises(ValueError, match=r"expected \(2, 12\)"):
            env.step(np.zeros(shape))
    single = DexEnv("Grasp", control_mode="joint")
    single.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(12,\), expected \(13,\)"):
        single.step(np.zeros(12))


def test_step_before_reset():
    with pytest.raises(RuntimeError, match="call reset before step"):
        make(2).step(np.zeros((2, 12)))
    env = make(2)
    env.reset(seed=0, options={"reset_mask": np.array([True, False])})
    with pytest.raises(RuntimeError, match="call reset before step"):
        env.step(np.zeros((2, 12)))


# --- resets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": 1}, r"unknown reset options \['scenario'\].*'reset_mask', 'scenarios'"),
        ({"reset_mask": [True]}, r"mask of worlds must be bool \(2,\)"),
        ({"reset_mask": np.array([0, 1])}, "mask of worlds must be bool"),
        ({"scenarios": [scene()]}, "1 scenarios given for 2 worlds"),
        ({"scenarios": ["cube", "egg"]}, "a Scenario is needed for every world, got 'cube'"),
        ({"scenarios": [scene(), dataclasses.replace(scene(), objects=("ufo",))]},
         "unknown object 'ufo'; valid: baseball, .*small_carton"),
        ({"scenarios": [scene(), dataclasses.replace(scene(), surroundings="moon")]},
         "unknown surroundings 'moon'; valid: neutral, .*dim_violet"),
        ({"scenarios": [scene(), dataclasses.replace(scene(), task="Pour")]},
         "a scenario of Pour cannot run in Grasp"),
        ({"scenarios": [scene(), dataclasses.replace(
            scene(), objects=("egg", "egg"), object_poses=scene().object_poses * 2)]},
         "Grasp has 1 objects in its scene, a scenario has 2"),
        ({"scenarios": [scene(), dataclasses.replace(scene(), objects=("tumbler",))]},
         "tumbler has 11 parts; the scene of Grasp holds objects of up to 3"),
    ],
)  # fmt: skip
def test_resets(options, message):
    env = started([scene("pear"), scene("cube")])
    twin = started([scene("pear"), scene("cube")])
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)
    # A refused reset leaves the episodes going on as they were.
    assert env.scenarios == twin.scenarios
    commands = actions(5, 2)
    assert equal(play(env, commands), play(twin, commands))


def test_resets_of_a_single_environment():
    env = DexEnv("Grasp")
    for name in ("scenarios", "reset_mask", "seed"):
        with pytest.raises(ValueError, match=f"{name}.*there is only 'scenario'"):
            env.reset(options={name: None})


def test_seeds():
    env = make(2)
    with pytest.raises(ValueError, match="3 seeds given for 2 worlds"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="non-negative"):
        env.reset(seed=-4)


# --- states


def test_states_that_do_not_fit():
    env = started([scene(), scene()])
    state, vectors = env.get_state(), env.state_vectors()
    with pytest.raises(ValueError, match="a state of 2 worlds cannot be set in 3"):
        make(3).set_state(state)
    with pytest.raises(ValueError, match="before the first reset"):
        make(2).set_state(make(2).get_state())
    with pytest.raises(ValueError, match=r"states have shape .* expected"):
        env.set_state_vectors(vectors[:, :-1], [scene()] * 2)
    with pytest.raises(ValueError, match="1 scenarios given for 2 worlds"):
        env.set_state_vectors(vectors, [scene()])
    with pytest.raises(ValueError, match="mask of worlds"):
        env.set_state_vectors(vectors, [scene()] * 2, np.array([True]))
    assert np.array_equal(env.state_vectors(), vectors)


def test_render_without_a_mode():
    env = started([scene()])
    with pytest.raises(RuntimeError, match=r"render_mode.*'rgb_array', 'human'"):
        env.render()


def test_backend_checks_its_own_input():
    backend = make_backend("mujoco", GraspTask().needs, 2)
    with pytest.raises(ValueError, match="2 worlds to reset but 1 scenarios"):
        backend.reset(np.ones(2, bool), [scene()])
    with pytest.raises(ValueError, match="state has shape"):
        backend.set_state(np.ones(2, bool), np.zeros((2, 3)), [scene()] * 2)


# --- demonstrations, and actions, of another robot


TWO_ARMS = {"Lift": "milk_case", "Handover": "drink_carton"}


def other_world(task):
    """A world of a task, after its reset."""
    items = {"Grasp": "baseball", "Pour": "tumbler", **TWO_ARMS}
    return started([scene(items[task], task=task)])


@pytest.mark.parametrize(("task", "seed"), [("Lift", "Grasp"), ("Grasp", "Lift")])
def test_a_demonstration_of_another_robot_is_refused(task, seed):
    with pytest.raises(ValueError, match=rf"DexFW/{seed}-v0', but 'DexFW/{task}-v0' is needed"):
        load_episode(seed_path(seed), env_id=f"DexFW/{task}-v0", control_mode="ee_pose")
    episode, env = load_seed(seed), other_world(task)
    before = env.state_vectors()
    with pytest.raises(ValueError, match=f"a scenario of {seed} cannot run in {task}"):
        env.set_state_vectors(episode.states[:1], [episode.scenario])
    with pytest.raises(ValueError, match=f"a scenario of {seed} cannot run in {task}"):
        stages_of(env, episode)
    has, needs = episode.actions.shape[1], env.codec.size
    with pytest.raises(
        ValueError, match=rf"actions have shape \(1, {has}\), expected \(1, {needs}"
    ):
        env.step(episode.actions[:1])
    with pytest.raises(
        ValueError, match=rf"of {needs // 12} arm\(s\) has {needs} numbers, got .*{has}"
    ):
        read_motion(episode, env.codec)
    assert np.array_equal(env.state_vectors(), before), "nothing moved"


@pytest.mark.parametrize(
    ("task", "seed"),
    [("Lift", "Grasp"), ("Grasp", "Lift"), ("Handover", "Lift"), ("Pour", "Grasp")],
)
def test_only_demonstrations_of_the_task_are_edited(task, seed):
    env, rng = other_world(task), np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"'{seed.lower()}' of {seed} cannot be edited for {task}"):
        augment(env, [load_seed(seed)], list(env.scenarios), rng)


def test_motions_of_other_arms_or_objects_are_not_edited():
    rng, grasp = np.random.default_rng(0), other_world("Grasp")
    for task, message in (
        ("Lift", r"of 2 arm\(s\) among 1 object\(s\), here are 1 and 1"),
        ("Pour", r"of 1 arm\(s\) among 2 object\(s\), here are 1 and 1"),
    ):
        motion = read_motion(load_seed(task), other_world(task).codec, label="theirs")
        with pytest.raises(ValueError, match=f"'theirs' is {message}"):
            augment(grasp, [motion], list(grasp.scenarios), rng)


@pytest.mark.parametrize("task", ["Grasp", *TWO_ARMS])
@pytest.mark.parametrize("mode", ["ee_pose", "joint"])
def test_an_action_for_another_number_of_arms_is_refused(task, mode):
    env = make(1, task, control_mode=mode)
    env.reset(seed=0)
    before, (right,) = env.state_vectors(), env.single_action_space.shape
    wrong = right // 2 if task in TWO_ARMS else right * 2
    with pytest.raises(ValueError, match=rf"shape \(1, {wrong}\), expected \(1, {right}\)"):
        env.step(np.zeros((1, wrong)))
    assert np.array_equal(env.state_vectors(), before), "nothing moved"


@pytest.mark.parametrize("side", ["top", "Left", ""])
def test_an_unknown_side_of_a_hand_is_refused(side):
    mount = other_world("Lift").backend.robot.mounts[0]
    with pytest.raises(ValueError, match=rf"of a hand '{side}'; choose one of \('right', 'left'\)"):
        dataclasses.replace(mount, side=side)
