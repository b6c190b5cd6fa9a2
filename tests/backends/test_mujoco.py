"""The MuJoCo worlds: each its own object and surroundings, sound physics, faults, pictures."""

import json
import sys

import mujoco
import numpy as np
import pytest
from scenes import (
    actions,
    equal,
    expert_grasp,
    make,
    need_drawing,
    play,
    rows,
    run_fresh,
    scene,
    started,
)

from dexfw_envs.backends.mjcf.objects import KINDS
from dexfw_envs.backends.mujoco import graphics
from dexfw_envs.catalog.objects import GRASP_OBJECTS, get_object
from dexfw_envs.catalog.surroundings import SURROUNDINGS
from dexfw_envs.scenario import Scenario

AWAY = np.array([-0.6, 0.0, 0.8, *[0.0] * 9])  # a palm pose far from every object


def idle(env, steps):
    return play(env, [np.tile(AWAY, (env.num_envs, 1))] * steps)


def models(env):
    return [env.backend.batch.get_model(k, None) for k in range(env.num_envs)]


# --- what a world is made of


def test_each_world_holds_its_object_as_in_the_catalogue():
    env = started([scene(item.id) for item in GRASP_OBJECTS])
    for item, model in zip(GRASP_OBJECTS, models(env), strict=True):
        body = model.body("object0")
        assert body.mass[0] == item.mass
        assert np.allclose(body.inertia, item.inertia, rtol=1e-12)
        assert np.array_equal(body.ipos, np.zeros(3)), "the origin is the centre of mass"
        assert np.array_equal(body.iquat, (1, 0, 0, 0))
        assert model.body_subtreemass[body.id] == pytest.approx(item.mass)
        geoms = [model.geom(f"object0_{slot}") for slot in range(3)]
        used = [geom for geom in geoms if geom.contype[0] or geom.conaffinity[0]]
        assert len(used) == len(item.parts)
        for part, geom in zip(item.parts, used, strict=True):
            assert geom.type[0] == int(KINDS[part.kind])
            sizes = [value for value in part.size if value]
            assert np.allclose(geom.size[: len(sizes)], sizes)
            assert np.allclose(geom.pos, part.position)
            assert geom.friction[0] == item.friction


def test_the_centre_of_mass_is_where_the_body_turns():
    """A pear spun in free fall keeps its origin on the parabola: regression for a stray ipos."""
    env = started([scene("pear"), scene("bottle")])
    backend = env.backend
    backend._qpos[:, backend._object_q[0, 2]] += 0.6
    backend._qvel[:, backend._object_v[0, 3:]] = (3.0, 1.0, -2.0)
    start = backend._qpos[:, backend._object_q[0, :3]].copy()
    idle(env, 4)
    moved = env.world.object_position[:, 0] - start
    assert np.abs(moved[:, :2]).max() < 1e-9


def test_worlds_change_their_objects_without_a_trace_of_the_last():
    env = started([scene("bottle"), scene("egg")])
    idle(env, 3)
    env.reset(options={"scenarios": [scene("egg"), scene("cube")]})
    fresh = started([scene("egg"), scene("cube")])
    assert equal(idle(env, 10), idle(fresh, 10))


def test_friction_follows_surroundings_and_scale():
    scenarios = [scene(surroundings=item.id) for item in SURROUNDINGS]
    for scale in (1.0, 0.8):
        env = started(scenarios, friction_scale=scale)
        for item, model in zip(SURROUNDINGS, models(env), strict=True):
            table, ball = model.geom("table"), model.geom("object0_0")
            assert table.friction[0] == pytest.approx(item.table_friction * scale)
            assert table.friction[2] == get_object("baseball").rolling
            assert ball.friction[0] == pytest.approx(get_object("baseball").friction * scale)
    assert len({item.table_friction for item in SURROUNDINGS}) > 3


def test_friction_decides_how_far_a_box_slides():
    ids = sorted(SURROUNDINGS, key=lambda item: item.table_friction)
    ends = [ids[0], ids[len(ids) // 2]]  # the roughest would tip it over
    env = started([scene("cube", item.id) for item in ends])
    env.backend._qvel[:, env.backend._object_v[0, 0]] = 0.8
    start = env.world.object_position[:, 0, 0].copy()
    idle(env, 20)
    slid = env.world.object_position[:, 0, 0] - start
    expected = 0.8**2 / (2 * 9.81 * np.array([item.table_friction for item in ends]))
    assert np.allclose(slid, expected, rtol=0.1)
    assert slid[0] > 1.2 * slid[1]


# --- sound physics


def test_a_dropped_ball_falls_as_it_should():
    env = started([scene("petanque_boule"), scene("tennis_ball")])
    env.backend._qpos[:, env.backend._object_q[0, 2]] += 0.8
    heights = env.backend._qpos[:, env.backend._object_q[0, 2]].copy()
    for step in range(1, 7):
        idle(env, 1)
        time = 0.05 * step
        assert np.allclose(env.world.object_linear_velocity[:, 0, 2], -9.81 * time, rtol=1e-9)
        fallen = heights - env.world.object_position[:, 0, 2]
        assert np.allclose(fallen, 0.5 * 9.81 * time**2, rtol=0.0, atol=9.81 * time * 0.0025)
    assert np.allclose(env.world.time, 0.3)


def test_every_object_stays_where_it_is_put():
    env = started([scene(item.id, cell=k % 15) for k, item in enumerate(GRASP_OBJECTS)])
    before = env.world
    idle(env, 40)
    moved = np.abs(env.world.object_position - before.object_position)[:, 0]
    names = [item.id for item in GRASP_OBJECTS]
    assert moved.max() < 0.002, dict(zip(names, moved.max(axis=1).round(4), strict=True))
    turned = 1 - np.abs((env.world.object_quaternion * before.object_quaternion).sum(axis=-1))
    assert turned.max() < 0.002
    assert env.world.object_support_contact.all()
    assert not env.world.hand_object_contact.any()


def test_the_contact_flags_agree_with_the_contacts():
    grasp = expert_grasp()
    env = make(2, autoreset_mode="disabled")
    env.set_state(grasp.states[0])
    agree = []
    for action in grasp.actions[:120]:
        env.step(action)
        for k in range(2):
            hand, support = listed_contacts(env, k)
            agree.append(hand == env.world.hand_object_contact[k, 0, 0])
            agree.append(support == env.world.object_support_contact[k, 0])
    assert np.mean(agree) > 0.97  # a sensor is one substep behind


def listed_contacts(env, world):
    model = env.backend.batch.get_model(world, None)
    data = env.backend.batch.get_data(world, None)
    thing, hand, support = model.body("object0").id, False, False
    for contact in data.contact:
        bodies = [int(model.geom_bodyid[geom]) for geom in contact.geom]
        if thing in bodies and bodies[0] != bodies[1]:
            other = bodies[0] if bodies[1] == thing else bodies[1]
            support |= other == 0
            hand |= other != 0
    return hand, support


def test_fingertips_feel_what_they_hold():
    grasp = expert_grasp()
    moments = [r[0]["touch"] for r in grasp.results[grasp.lifting : grasp.held.min()]]
    assert (np.max(moments, axis=0).max(axis=1) > 0.3).all()
    assert (grasp.observations[0]["touch"] == 0).all()


@pytest.mark.parametrize("timestep", [0.00125, 0.005])
def test_the_timestep_is_a_choice(timestep):
    env = started([scene()], timestep=timestep)
    idle(env, 4)
    assert env.backend.model.opt.timestep == timestep
    assert env.world.time[0] == pytest.approx(0.2)


def test_settings_that_keep_the_model_portable():
    option = make(1).backend.model.opt
    assert option.integrator == int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
    assert option.solver == int(mujoco.mjtSolver.mjSOL_NEWTON)
    assert option.cone == int(mujoco.mjtCone.mjCONE_ELLIPTIC)
    assert option.jacobian == int(mujoco.mjtJacobian.mjJAC_SPARSE)
    assert option.impratio == 10 and option.timestep == 0.0025
    assert make(1).backend.model.nplugin == 0


def test_memory_of_64_worlds():
    code = """
import gymnasium as gym, dexfw_envs
env = gym.make_vec("DexFW/Grasp-v0", num_envs=64)
env.reset(seed=0)
env.action_space.seed(0)
for _ in range(25):
    env.step(env.action_space.sample())
print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM:")])
"""
    peak, unit = run_fresh(code).split()[1:]  # getrusage would count the parent's, before exec
    assert unit == "kB" and int(peak) < 1024 * 1024


# --- faults


def break_world(env, world):
    env.backend._qvel[world, 3] = np.nan


def test_a_broken_world_ends_alone_and_leaves_a_dump():
    commands = actions(30, 3)
    env, healthy = (make(3, autoreset_mode="disabled", obs_mode="state+touch") for _ in range(2))
    for each in (env, healthy):
        each.reset(seed=0)
    before = play(env, commands[:10])
    assert equal(before, play(healthy, commands[:10]))
    break_world(env, 1)
    results, expected = play(env, commands[10:20]), play(healthy, commands[10:20])
    beside = [0, 2]
    without = [rows(r[:4], beside) for r in results]
    assert equal(without, [rows(r[:4], beside) for r in expected])
    assert equal([r[5][beside] for r in results], [r[5][beside] for r in expected])
    observation, reward, terminated, truncated, info, _ = results[0]
    assert terminated.tolist() == [False, True, False] and not truncated.any()
    assert info["failure"].tolist() == ["", "fault", ""]
    assert not info["success"].any()
    assert reward[1] == 0 and np.isfinite(reward).all()
    assert env.observation_space.contains(observation)
    dump = env.backend.fault_dumps[1]
    states = np.stack([r[5][1, : dump.shape[1]] for r in before])
    assert dump.shape[0] == 11, "the state before each step since the reset"
    assert np.array_equal(dump[1:10], states[:9]) and np.isnan(dump[10]).sum() == 1
    # The world is as good as new after a reset.
    mask, again = np.array([False, True, False]), scene("cube", cell=2)
    env.reset(options={"reset_mask": mask, "scenarios": [again]})
    fresh = started([again], obs_mode="state+touch")
    one = slice(1, 2)
    results = play(env, commands[20:])
    assert equal([rows(r, one) for r in results], play(fresh, commands[20:, one]))


def test_faults_are_written_where_asked(tmp_path):
    folder = tmp_path / "faults"
    env = started([scene(), scene("cube")], fault_folder=folder)
    play(env, actions(3, 2))
    break_world(env, 1)
    env.step(np.zeros((2, 12)))
    [path] = folder.iterdir()
    with np.load(path) as kept:
        assert np.array_equal(kept["states"], env.backend.fault_dumps[1], equal_nan=True)
        assert kept["world"] == 1
        assert Scenario.from_json(str(kept["scenario"])) == scene("cube")


def test_a_disk_that_refuses_a_fault_costs_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    env = started([scene(), scene("cube")], fault_folder=tmp_path / "file")
    break_world(env, 0)
    with pytest.warns(UserWarning, match=r"not kept: .*is a file, not a folder"):
        *_, info = env.step(np.zeros((2, 12)))
    assert info["failure"].tolist() == ["fault", ""]
    assert 0 in env.backend.fault_dumps


def test_autoreset_replaces_a_broken_world():
    env, healthy = make(2), make(2)
    for each in (env, healthy):
        each.reset(seed=0)
    break_world(env, 0)
    results, expected = (play(each, actions(20, 2)) for each in (env, healthy))
    assert results[0][4]["final_info"]["failure"].tolist() == ["fault", ""]
    assert results[0][4]["failure"].tolist() == ["", ""]
    one = slice(1, 2)
    assert equal([r[0]["proprio"][one] for r in results], [r[0]["proprio"][one] for r in expected])
    assert all(np.isfinite(r[5]).all() for r in results)


def test_a_blown_up_world_is_a_fault_too():
    env = started([scene(), scene()])
    env.backend._qvel[1, env.backend._object_v[0, 0]] = 400.0
    *_, info = env.step(np.zeros((2, 12)))
    assert info["failure"].tolist() == ["", "fault"]


def test_a_spin_that_no_physics_step_resolves_is_a_fault():
    env = started([scene("tennis_ball"), scene("tennis_ball")])
    env.backend._qpos[:, env.backend._object_q[0, 2]] += 0.6
    env.backend._qvel[:, env.backend._object_v[0, 5]] = np.array([0.9, 1.1]) * np.pi / 0.0025
    *_, info = env.step(np.zeros((2, 12)))
    assert info["failure"].tolist() == ["", "fault"]


def test_a_fast_ball_that_rolls_off_the_table_is_no_fault():
    env = started([scene(name) for name in ("billiard_ball", "tennis_ball", "softball")])
    backend, speed = env.backend, 5.0  # [m/s], on the table and on the floor
    backend._qvel[:, backend._object_v[0, 1]] = speed
    backend._qvel[:, backend._object_v[0, 3]] = -speed / env.world.object_position[:, 0, 2]
    failures = {reason for row in idle(env, 20) for reason in row[4]["failure"]}
    assert failures == {"", "dropped"}
    assert (env.world.object_position[:, 0, 2] < -0.6).all(), "they have come to the floor"
    spin = np.linalg.norm(env.world.object_angular_velocity[:, 0], axis=1)
    assert (spin > 100.0).all()


# --- pictures


def test_image_observations():
    need_drawing()
    env = make(2, obs_mode="image+touch", image_size=48)
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (2, 48, 48, 3)
    assert observation["image"].dtype == np.uint8
    assert env.observation_space.contains(observation)
    assert not np.array_equal(observation["image"][0], observation["image"][1])
    kept = observation["image"].copy()
    later, *_ = play(env, actions(10, 2))[-1]
    assert np.array_equal(observation["image"], kept), "a picture is the caller's own"
    assert not np.array_equal(later["image"], kept)
    env.close()


def test_light_changes_the_picture_and_not_the_state():
    need_drawing()
    scenes = [scene(surroundings=name) for name in ("neutral", "green_light")]
    env = started(scenes, obs_mode="image", image_size=64)
    observation = env._observe()
    image = observation["image"].astype(float)
    assert np.abs(image[0] - image[1]).mean() > 5
    green = image.mean(axis=(1, 2))
    share = green[:, 1] / green.sum(axis=1)
    assert share[1] > share[0] + 0.05
    for name in ("proprio", "object"):
        assert np.array_equal(observation[name][0], observation[name][1])
    env.close()


def test_every_surroundings_looks_different():
    need_drawing()
    env = started([scene(surroundings=item.id) for item in SURROUNDINGS], image_size=64)
    frames = env.draw(range(12)).astype(float)
    env.close()
    gaps = [np.abs(a - b).mean() for i, a in enumerate(frames) for b in frames[:i]]
    assert min(gaps) > 2


def test_state_observations_load_no_graphics():
    code = """
import sys, json
import dexfw_envs, gymnasium as gym
env = gym.make_vec("DexFW/Grasp-v0", num_envs=2, render_mode="rgb_array")
env.reset(seed=0)
env.step(env.action_space.sample())
names = ("mujoco.egl", "mujoco.osmesa", "OpenGL", "dexfw_envs.backends.mujoco.render")
print(json.dumps([name for name in names if name in sys.modules]))
"""
    assert json.loads(run_fresh(code)) == []


def test_one_clear_message_where_nothing_can_draw(monkeypatch):
    for name in ("mujoco.egl", "mujoco.osmesa"):
        monkeypatch.setitem(sys.modules, name, None)  # its import fails
    monkeypatch.setattr(graphics.platform, "system", lambda: "Linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    env = make(1, render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"needs EGL or OSMesa.*libosmesa6.*egl: .*osmesa: "):
        env.render()
    env.step(np.zeros((1, 12)))  # states go on without
    assert graphics.HELP.count("State observations need no renderer") == 1


def test_a_window_needs_a_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    env = make(1, render_mode="human")
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"needs a display.*rgb_array.*xvfb-run"):
        env.step(np.zeros((1, 12)))
    env.close()


# --- worlds at rest


def test_resting_worlds_stand_still_and_change_nothing_for_the_others():
    env, same = (started([scene("egg"), scene("bottle"), scene("pear")]) for _ in range(2))
    before = env.backend._qpos.copy()
    env.backend.rest(np.array([False, True, False]))
    idle(env, 4), idle(same, 4)
    assert np.array_equal(env.backend._qpos[1], before[1])
    assert not np.array_equal(same.backend._qpos[1], before[1])
    assert np.array_equal(env.backend.get_state()[::2], same.backend.get_state()[::2])


def test_a_reset_or_a_restored_state_ends_the_rest():
    env = started([scene("egg"), scene("bottle")])
    states = env.state_vectors()
    env.backend.rest(np.ones(2, dtype=bool))
    frozen = env.backend._qpos.copy()
    idle(env, 1)
    assert np.array_equal(env.backend._qpos, frozen)
    env.set_state_vectors(states[:1], env.scenarios[:1], np.array([True, False]))
    env.reset(options={"scenarios": [scene("bottle")], "reset_mask": np.array([False, True])})
    idle(env, 1)
    assert (env.backend._qpos != frozen).any(axis=1).all()
