"""L4: the backend and the environments on it, with a stand-in that only remembers."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scenes import scene
from script_calls import call
from source import ROOT
from stub import StubSimulator

import dexfw_envs  # noqa: F401 (registers)
from dexfw_envs.backends import make_backend
from dexfw_envs.backends.omnigibson import assets, backend, session
from dexfw_envs.backends.omnigibson.facade import requirements
from dexfw_envs.backends.omnigibson.facade.requirements import Machine, MissingRequirementError
from dexfw_envs.catalog import named_sampler
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.registry import TASKS, entry
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.tasks.grasp import GraspTask

NAMES = [item.name for item in TASKS]


@pytest.fixture
def stub(monkeypatch):
    """Make environments run on the stub; the returned function begins a new process's session."""
    made = []

    def begin(task="Grasp", robot=None):
        needs = entry(task).make().needs
        made.append(StubSimulator(needs.robot, robot))
        monkeypatch.setattr(session, "_sessions", [])
        monkeypatch.setattr(session, "_start", lambda release, headless: made[-1])
        return made[-1]

    monkeypatch.setattr(requirements, "check", lambda machine, files=(): "1.1.1")
    monkeypatch.setattr(backend, "need_files", lambda folder, own: None)
    return begin


def scenarios(task, count, seed=0):
    rng, sampler = np.random.default_rng(seed), named_sampler(task, "train(3)")
    return [sampler(rng) for _ in range(count)]


USUAL = {"autoreset_mode": "disabled", "info_mode": "full"}


def make(task="Grasp", num_envs=2, **options):
    return DexVectorEnv(task, num_envs, backend="omnigibson", **{**USUAL, **options})


def loads(stub):
    return [call[1] for call in stub.calls if call[0] == "load"]


# --- before anything is started


WHOLE = Machine((3, 10), "1.1.1", True, "/isaac", False, "4.1.0", ("RTX A5000",), "/assets")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"omnigibson": None}, r"pip install omnigibson==1\.1\.1 torch"),
        ({"omnigibson": "2.0.0"}, r"omnigibson 2\.0\.0 is installed"),
        ({"python": (3, 12)}, r"runs on Python 3\.10, this is 3\.12"),
        ({"isaac_path": None}, "Isaac Sim is not installed"),
        ({"gpus": ()}, "no NVIDIA GPU"),
        ({}, r"franka_inspire\.usd is not under"),
    ],
    ids=["package", "version", "python", "isaac", "gpu", "assets"],
)
def test_nothing_starts_where_something_is_missing(monkeypatch, change, message):
    monkeypatch.setattr(requirements, "look", lambda: dataclasses.replace(WHOLE, **change))
    monkeypatch.setattr(session, "_start", lambda *_: pytest.fail("started"))
    with pytest.raises(MissingRequirementError, match=message):
        gym.make("DexFW/Grasp-v0", backend="omnigibson")
    with pytest.raises(MissingRequirementError, match=message):
        gym.make_vec("DexFW/Pour-v0", num_envs=2, backend="omnigibson")


def test_nothing_starts_without_our_files(monkeypatch, tmp_path):
    monkeypatch.setattr(requirements, "check", lambda machine, files=(): "1.1.1")
    monkeypatch.setattr(session, "_start", lambda *_: pytest.fail("started"))
    with pytest.raises(MissingRequirementError, match=r"write them with `python -m .*usd-core"):
        make(files=tmp_path)
    (tmp_path / assets.MANIFEST).write_text('{"definitions": "another"}')
    with pytest.raises(MissingRequirementError, match="of other objects or robots"):
        make(files=tmp_path)
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(MissingRequirementError, match="elsewhere"):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gains": "soft"}, r"unknown gains 'soft'.*suite.*simulator"),
        ({"robot": "spot"}, "unknown robot with 1 arm 'spot'"),
        ({"timestep": 0.3}, r"timestep 0\.3 s does not divide"),
        ({"cameras": ("roof",)}, "unknown camera 'roof'"),
        ({"friction_scale": 0.0}, "friction_scale must be a number above 0"),
        ({"threads": 0}, "threads must be an integer of at least 1"),
        ({"control_mode": "torque"}, "unknown control_mode 'torque'"),
    ],
)
def test_bad_options_before_anything_starts(stub, monkeypatch, options, message):
    stub()
    monkeypatch.setattr(session, "_start", lambda *_: pytest.fail("started"))
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_an_option_of_another_backend_is_refused(stub):
    stub()
    with pytest.raises(TypeError, match=r"'fault_folder'.*backend 'omnigibson': robot, files"):
        make(fault_folder="x")


# --- environments


@pytest.mark.parametrize("task", NAMES)
def test_every_task_runs_unchanged(stub, task):
    simulator = stub(task)
    env = make(task, 3)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    mujoco = DexVectorEnv(task, 1, threads=1)
    assert env.single_action_space == mujoco.single_action_space
    assert env.single_observation_space == mujoco.single_observation_space
    for _ in range(3):
        observation, reward, _, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert np.isfinite(reward).all() and not truncated.any()
    assert set(info["failure"]) <= {"", "dropped", "spilled"}
    assert np.allclose(env.world.time, 0.15)
    assert [call for call in simulator.calls if call[0] == "open"] == [("open", 3)]


@pytest.mark.parametrize("task", NAMES)
def test_gymnasium_makes_one_world_or_many(stub, task):
    stub(task)
    env = gym.make(f"DexFW/{task}-v0", backend="omnigibson")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()
    envs = gym.make_vec(f"DexFW/{task}-v0", num_envs=3, backend="omnigibson")
    observations, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observations) and envs.num_envs == 3


def test_seeds_are_ours(stub):
    """OmniGibson ignores them."""
    stub("Pour")
    env, starts = make("Pour"), []
    for seed in (3, 3, 4):
        env.reset(seed=seed)
        starts.append(env.backend.get_state())
    assert np.allclose(starts[0], starts[1], atol=1e-6)
    assert not np.allclose(starts[0], starts[2], atol=1e-3)
    mujoco = DexVectorEnv("Pour", 2, threads=1)
    mujoco.reset(seed=4)
    assert env.scenarios == mujoco.scenarios, "the same seed draws the same scenes"


def test_time_limits_and_autoreset_are_ours(stub):
    """A world whose time is up begins its next episode in the same step; the other goes on."""
    simulator = stub()
    env = DexVectorEnv("Grasp", 2, backend="omnigibson", max_episode_steps=3)
    env.reset(options={"scenarios": [scene("egg"), scene("egg")]})
    action = np.zeros((2, 12))
    env.step(action)
    env.reset(options={"reset_mask": np.array([False, True]), "scenarios": [scene("egg", cell=2)]})
    env.step(action)
    _, _, terminated, truncated, info = env.step(action)
    assert truncated.tolist() == [True, False] and not terminated.any()
    assert info["_final_obs"].tolist() == [True, False]
    assert np.allclose(env.world.time, [0.0, 0.1])
    assert env.scenarios[0] != scene("egg") and env.scenarios[1] == scene("egg", cell=2)
    assert [call for call in simulator.calls if call[0] == "open"] == [("open", 2)]


@pytest.mark.parametrize("task", NAMES)
def test_the_start_is_that_of_mujoco(stub, task):
    stub(task)
    given = scenarios(task, 2)
    worlds = []
    for env in (make(task), DexVectorEnv(task, 2, threads=1)):
        env.reset(options={"scenarios": given})
        worlds.append(env.world)
    ours, theirs = worlds
    for name in ("object_position", "object_quaternion", "object_opening", "contents_position"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6), name
    for name in ("end_effector_position", "fingertip_position"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), atol=0.02), name
    # The home of a measured hand is found again by search; that of our own robot is the same.
    close = 1e-6 if task in ("Lift", "Handover") else 0.02
    assert np.allclose(ours.arm_position, theirs.arm_position, atol=close)
    assert np.allclose(ours.hand_position, theirs.hand_position, atol=1e-6)


def test_commands_reach_the_joints_and_passive_joints_follow(stub):
    simulator = stub("Lift")
    env = make("Lift", 2, control_mode="joint")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(12):
        env.step(np.tile(rng.uniform(-0.3, 0.3, env.single_action_space.shape), (2, 1)))
    targets = env.controller.joints
    assert np.allclose(env.world.arm_position, targets[..., :7], atol=1e-6)
    hand = env.backend.robot.hand
    expected = hand.full_positions(targets[..., 7:])
    assert np.allclose(env.world.hand_position, expected, atol=1e-6)
    assert np.abs(expected[..., list(hand.driven)]).max() > 0.1
    order = simulator.worlds[0]["order"]["robot"]
    left = simulator.worlds[0]["joints"]["robot"][order.index("left_index_distal")]
    assert left == pytest.approx(0.9 * (expected[0, 1, 5] + 0.18), abs=1e-6), "its own range"


def test_a_hand_holds_until_the_first_step(stub):
    simulator = stub()
    env = make()
    env.reset(seed=0)
    for world in simulator.worlds:
        assert np.allclose(world["targets"]["right"], world["joints"]["right"], atol=1e-6)
    assert simulator.worlds[0]["joints"]["right"].max() > 0.5, "not all zero"


def test_a_partial_reset_leaves_the_others_alone(stub):
    simulator = stub()
    env = make(num_envs=3)
    env.reset(seed=0)
    for _ in range(4):
        env.step(env.action_space.sample())
    before = env.backend.get_state()
    names = [scene("egg"), scene("egg"), scene("egg")]
    env.reset(options={"scenarios": names})  # everything is brought now
    for _ in range(4):
        env.step(env.action_space.sample())
    before, simulator.calls[:] = env.backend.get_state(), []
    mask = np.array([False, True, False])
    env.reset(options={"reset_mask": mask, "scenarios": [scene("egg", cell=3)]})
    assert loads(simulator) == [1] and ("step",) not in simulator.calls
    after = env.backend.get_state()
    assert np.array_equal(after[~mask], before[~mask]) and not np.array_equal(after[1], before[1])
    assert env.world.time.tolist() == pytest.approx([0.2, 0.0, 0.2])


def test_bringing_a_new_object_puts_the_others_back(stub):
    """An object needs a step to take part; worlds in play must not notice."""
    simulator = stub()
    env = make()
    env.reset(options={"scenarios": [scene("egg"), scene("egg")]})
    simulator.worlds[0]["bodies"]["egg_0"][7] = 0.4  # it moves
    env.step(np.zeros((2, 12)))
    before = env.backend.get_state()
    mask = np.array([False, True])
    env.reset(options={"reset_mask": mask, "scenarios": [scene("cube", "oak_table")]})
    assert ("add", 1, "cube_0") in simulator.calls and ("step",) in simulator.calls
    assert np.allclose(env.backend.get_state()[0], before[0], atol=1e-6)


def test_only_what_a_scenario_needs_is_on_the_table(stub):
    simulator = stub()
    env = make(num_envs=1)
    for name in ("egg", "cube", "egg"):
        env.reset(options={"scenarios": [scene(name, surroundings="oak_table")]})
    added = [call[2] for call in simulator.calls if call[0] == "add"]
    assert added == ["table_oak_table", "egg_0", "cube_0"]
    bodies = simulator.worlds[0]["bodies"]
    assert bodies["cube_0"][0] < -2.0 and abs(bodies["egg_0"][0]) < 0.5
    assert bodies["cube_0"][2] == pytest.approx(get_object("cube").resting_height, abs=1e-6)
    assert np.allclose(bodies["table_oak_table"][:3], [0.05, 0.0, 0.73], atol=1e-6)


def test_full_states_go_there_and_back(stub):
    stub("Pour")
    env = make("Pour")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    state, vectors = env.get_state(), env.state_vectors()
    for _ in range(3):
        env.step(env.action_space.sample())
    env.set_state(state)
    assert np.allclose(env.state_vectors(), vectors, atol=1e-5)
    assert not env.backend.capabilities.exact_restore
    with pytest.raises(ValueError, match="state has shape"):
        env.backend.set_state(np.ones(2, bool), np.zeros((2, 3)), scenarios("Pour", 2))


def test_contacts_by_who_touches_whom(stub):
    simulator = stub("Handover")
    env = make("Handover")
    env.reset(seed=0)
    thing = env.backend._scenes.in_play(0)[0]
    path, table = f"/World/scene_0/{thing}/base_link", env.backend._scenes.table(0)
    hand = "/World/scene_0/robot/left_index_distal"

    def world(*pairs):
        simulator.touches = set(pairs)
        env.step(np.zeros((2, 24)))
        return env.world

    free = world()
    assert not free.hand_object_contact.any() and not free.object_support_contact.any()
    held = world((path, hand))
    assert held.hand_object_contact[0].tolist() == [[False], [True]]
    assert not held.hand_object_contact[1].any()
    assert held.fingertip_force[0, 1, 1] == pytest.approx(0.01 * 120)
    assert held.fingertip_force.sum() == pytest.approx(0.01 * 120)
    assert world((path, f"/World/scene_0/{table}/base_link")).object_support_contact[0].all()
    assert world((path, "/World/ground_plane/geom")).object_support_contact[0].all()
    crossed = world((hand, "/World/scene_0/robot/right_link5"))
    assert crossed.arm_arm_contact.tolist() == [True, False]


def test_two_objects_that_touch(stub):
    simulator = stub("Pour")
    env = make("Pour")
    env.reset(seed=0)
    cup, bowl = env.backend._scenes.in_play(1)[:2]
    simulator.touches = {(f"/World/scene_1/{cup}/base_link", f"/World/scene_1/{bowl}/base_link")}
    env.step(np.zeros((2, 12)))
    assert env.world.object_object_contact.tolist() == [False, True]


def test_a_world_that_breaks_ends_alone(stub):
    simulator = stub()
    env = make()
    env.reset(seed=0)
    name = env.backend._scenes.in_play(1)[0]
    simulator.worlds[1]["bodies"][name][7] = 1e4
    *_, info = env.step(np.zeros((2, 12)))
    assert info["failure"].tolist() == ["", "fault"]
    env.reset(options={"reset_mask": np.array([False, True])})
    assert not env.world.fault.any()


def test_light_and_friction_follow_the_scenario(stub):
    simulator = stub()
    env = make(friction_scale=0.5)
    env.reset(options={"scenarios": [scene("egg", "green_light"), scene("egg", "rubber_mat")]})
    green = simulator.worlds[0]["lamps"]["key"]
    assert green[0][1] == 1.0 and max(green[0][0], green[0][2]) < 0.3
    scaled = {call[2]: call[4:] for call in simulator.calls if call[0] == "friction"}
    assert scaled["table_rubber_mat"] == (0.55, "min")
    assert scaled["egg_0"] == (0.44, "average")
    assert scaled["right"] == (0.5, "max")


def test_gains_are_the_suites_unless_told(stub):
    simulator = stub("Lift")
    make("Lift", 1)
    gains = next(call[3] for call in simulator.calls if call[0] == "gains")
    assert gains["right_joint1"] == (3000.0, 300.0, 60.0)
    assert gains["right_thumb_yaw"] == (8.0, 0.2, 1.2)
    simulator = stub("Lift")
    make("Lift", 1, gains="simulator")
    assert not [call for call in simulator.calls if call[0] == "gains"]


def test_two_frankas_take_the_place_of_the_two_armed_robot(stub):
    """Their palms start where those of the two-armed robot do, whatever the arms."""
    simulator = stub("Lift", "two_frankas")
    env = make("Lift", robot="two_frankas")
    env.reset(seed=0)
    asked = env.task.needs.robot
    for arm, mount in enumerate(asked.mounts):
        place, _ = ArmKinematics(asked, mount).forward(np.array([mount.home]))
        assert np.allclose(env.world.end_effector_position[:, arm], place, atol=0.03)
    assert env.backend.robot.arm.name == "panda"
    observation, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert set(simulator.worlds[0]["targets"]) == {"right", "left"}
    assert "register" not in [call[0] for call in simulator.calls]


def test_pictures_only_of_cameras_that_are_there(stub):
    simulator = stub()
    env = make(obs_mode="image", image_size=32)
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (2, 32, 32, 3)
    pictures = [call[1:] for call in simulator.calls if call[0] == "picture"]
    assert pictures == [(0, "front", 42.0), (1, "front", 42.0)]
    assert simulator.calls.count(("render",)) == 1, "once after a reset, not once per world"
    with pytest.raises(ValueError, match=r"no camera 'side' but \('front',\)"):
        env.backend.render(0, "side", 32, 32)
    with pytest.raises(ValueError, match="unknown camera 'roof'"):
        env.backend.render(0, "roof", 32, 32)
    with pytest.raises(RuntimeError, match="headless=False"):
        env.backend.show("front")


# --- several environments in one process


def test_environments_take_turns(stub):
    """One simulator per process: stepping one environment must not move the worlds of another."""
    simulator = stub()
    first = make()
    first.reset(seed=0)
    actions = first.action_space.sample()
    first.step(actions)
    before = first.backend.get_state()
    second = make(num_envs=1)
    assert [call for call in simulator.calls if call[0] == "open"] == [("open", 2), ("open", 1)]
    second.reset(seed=5)
    for _ in range(3):
        second.step(second.action_space.sample())
    second.close()
    assert np.allclose(first.backend.get_state(), before, atol=1e-6)
    first.step(actions)
    gains = [call for call in simulator.calls if call[0] == "gains"]
    assert {call[1] for call in gains[-2:]} == {0, 1}, "a restart of the simulator forgets them"
    with pytest.raises(gym.error.ClosedEnvironmentError, match="is closed; make a new one"):
        second.step(second.action_space.sample())
    with pytest.raises(RuntimeError, match="was closed"):
        second.backend.apply(np.zeros((1, 1, 13)))


def test_scenes_of_closed_environments_are_used_again(stub):
    simulator = stub()
    for count in (2, 1, 3):
        env = make(num_envs=count)
        env.reset(seed=count)
        env.step(env.action_space.sample())
        env.close()
    assert [call[1] for call in simulator.calls if call[0] == "open"] == [2, 1]
    added = [call[1:] for call in simulator.calls if call[0] == "add"]
    assert len(added) == len(set(added)), "nothing is brought twice to one scene"


def test_a_measured_hand_is_not_measured_again(stub):
    """Fingers of a scene in use are bent: a palm measured then would be wrong."""
    stub()
    first = make(num_envs=1)
    first.reset(seed=0)
    first.step(np.ones((1, 12)))
    robot = first.backend.robot
    first.close()
    assert make(num_envs=1).backend.robot == robot


def test_settings_of_the_process_cannot_change(stub):
    stub()
    make(num_envs=1)
    with pytest.raises(ValueError, match=r"already runs .* timestep 0\.00833.*need a new process"):
        make(num_envs=1, timestep=0.005)
    with pytest.raises(ValueError, match="headless"):
        make(num_envs=1, headless=False)


def test_the_backend_can_be_made_directly(stub):
    stub()
    worlds = make_backend("omnigibson", GraspTask().needs, 2, threads=3)
    state = worlds.world()
    assert state.worlds == 2 and not state.hand_object_contact.any()
    assert worlds._session.simulator.threads == 3
    with pytest.raises(ValueError, match="2 worlds to reset but 1 scenarios"):
        worlds.reset(np.ones(2, bool), [scene()])
    arrays = dataclasses.asdict(state)
    assert all(value.shape[0] == 2 for value in arrays.values())


def the_script(monkeypatch):
    for module in ("av", "diffusers", "safetensors", "tensorboard"):
        pytest.importorskip(module, reason=f"the extra [train] is not installed: no {module}")
    monkeypatch.syspath_prepend(str(ROOT / "baselines"))
    import dexflywheel

    return dexflywheel


def test_the_flywheel_script_says_what_is_missing_first(monkeypatch, tmp_path):
    script = the_script(monkeypatch)
    monkeypatch.setattr(requirements, "look", lambda: dataclasses.replace(WHOLE, isaac_path=None))
    with pytest.raises(MissingRequirementError, match="Isaac Sim is not installed"):
        call(script, ["--backend", "omnigibson", "--task", "Grasp", "--runs", str(tmp_path)])
    assert not list(tmp_path.iterdir()), "not even a run's folder"


def test_the_flywheel_script_makes_its_worlds(stub, monkeypatch):
    """The script's own options, two environments of it at a time, and a film's frame."""
    dexflywheel = the_script(monkeypatch)
    simulator = stub()
    args = dexflywheel.Args(backend="omnigibson", task="Grasp", rl_envs=2, seed=1)
    env = dexflywheel.make_rl_env(args, 1)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    before = env.backend.get_state()
    test = dexflywheel.make_env(args)
    test.reset(seed=0)
    test.step(test.action_space.sample())
    assert test.draw([0]).shape == (1, 320, 320, 3)
    test.close()
    assert np.allclose(env.backend.get_state(), before, atol=1e-6)
    assert simulator.threads == args.threads
