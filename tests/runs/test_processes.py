"""Copies, forked processes, threads and graphics: what happens around an environment."""

import copy
import multiprocessing
import os
import pickle
import sys

import gymnasium as gym
import numpy as np
import pytest
from scenes import actions, equal, make, need_drawing, run_fresh

from dexfw_envs.envs.single import DexEnv
from dexfw_envs.envs.vector import DexVectorEnv

ID = "DexFW/Grasp-v0"
DUPLICATES = (copy.copy, copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env)))
PATIENCE = 60  # of a test with a child process that may hang [s]


# --- copies


class ScaledVectorEnv(DexVectorEnv):
    """A subclass with an argument of its own, in another place than those of its parent."""

    def __init__(self, scale, task="Grasp", *, shift=0.0, **options):
        super().__init__(task, obs_mode="state/flat", **options)
        self.scale = scale
        self.shift = shift
        self.seen = []

    def step(self, actions):
        observation, *rest = super().step(actions)
        self.seen.append(observation.sum())
        return self.scale * observation + self.shift, *rest


class ScaledEnv(DexEnv):
    """The same of the single environment."""

    def __init__(self, scale, *args, **options):
        super().__init__(*args, control_mode="joint", **options)
        self.scale = scale

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, self.scale * reward, *rest


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize("begun", [False, True])
def test_subclasses_copy_with_their_own_arguments(duplicate, begun):
    env = ScaledVectorEnv(3.0, num_envs=2, threads=1, shift=1.0)
    single = ScaledEnv(2.0, "Grasp", threads=1)
    if begun:
        env.reset(seed=1)
        single.reset(seed=1)
        env.step(actions(1, 2)[0])
    twin, other = duplicate(env), duplicate(single)
    assert type(twin) is ScaledVectorEnv and type(other) is ScaledEnv
    assert (twin.scale, twin.shift, other.scale) == (3.0, 1.0, 2.0)
    assert twin.seen == env.seen and twin.seen is not env.seen
    if not begun:
        for one in (env, twin, single, other):
            one.reset(seed=1)
    for action in actions(5, 2, seed=4, size=12):
        assert equal(env.step(action), twin.step(action))
    for action in actions(5, 1, seed=4, size=13)[:, 0]:
        assert equal(single.step(action), other.step(action))


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_copies_keep_every_option_and_the_spec(duplicate):
    options = {
        "control_mode": "joint",
        "obs_mode": "state+touch",
        "reward_mode": "sparse",
        "scenarios": "train(1)",
        "max_episode_steps": 7,
        "autoreset_mode": "next_step",
        "info_mode": "full",
        "camera": "side",
        "image_size": 48,
        "timestep": 0.005,
    }
    env = gym.make_vec(ID, num_envs=2, threads=1, **options)
    twin = duplicate(env)
    assert twin.spec == env.spec and twin.spec.kwargs["control_mode"] == "joint"
    again = gym.make_vec(twin.spec)
    assert again.single_action_space.shape == (13,) and again.num_envs == 2
    for name in ("metadata", "single_observation_space", "autoreset_mode", "info_mode", "camera"):
        assert getattr(twin, name) == getattr(env, name), name
    env.reset(seed=2), twin.reset(seed=2)
    for action in actions(10, 2, size=13):
        assert equal(env.step(action), twin.step(action))


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_a_copied_single_environment_keeps_its_spec_and_wrappers(duplicate):
    env = gym.make(ID, max_episode_steps=5)
    env.reset(seed=3)
    twin = duplicate(env)
    assert twin.spec == env.spec and twin.spec.id == ID
    assert twin.unwrapped.spec == env.unwrapped.spec
    ends = [twin.step(np.zeros(12))[3] for _ in range(5)]
    assert ends == [False] * 4 + [True]


def test_a_copy_has_its_own_worlds_and_generators():
    env = DexEnv("Grasp", threads=1)
    env.reset(seed=0)
    twin = copy.deepcopy(env)
    assert twin.np_random is twin.batch.generators[0] is not env.np_random
    assert twin.np_random_seed == 0
    twin.reset()
    twin.step(np.ones(12))
    assert env.batch.memory.elapsed[0] == 0 and env.scenario != twin.scenario


def test_a_copy_of_what_has_partly_begun_and_of_what_is_closed():
    env = make(3)
    env.reset(seed=0, options={"reset_mask": np.array([True, False, True])})
    twin = copy.deepcopy(env)
    for one in (env, twin):
        one.reset(seed=5, options={"reset_mask": np.array([False, True, False])})
    assert equal(env.state_vectors(), twin.state_vectors())
    env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        copy.deepcopy(env).reset()


# --- forked processes

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
NO_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_a_fork(work):
    """Run a function in a forked child; return what it returned, fail if it hangs."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(work()))
    child.start()
    try:
        assert receiver.poll(PATIENCE), "the child hangs"
        return receiver.recv()
    finally:
        child.kill()
        child.join()


@NO_FORK
@pytest.mark.parametrize("threads", [1, 2])
def test_worlds_go_on_in_a_forked_child(threads):
    env = make(3, threads=threads, info_mode="arrays")
    env.reset(seed=0)
    commands = actions(12, 3)
    for action in commands[:6]:
        env.step(action)
    env.backend.rest(np.array([False, True, False]))

    def go_on():
        return [env.step(action) for action in commands[6:]] + [env.reset()]

    found = in_a_fork(go_on)
    assert equal(found, go_on()), "as in the parent, which is undisturbed"


@NO_FORK
@pytest.mark.parametrize("use", ["reset", "set_state", "copy", "grandchild"])
def test_every_use_of_worlds_in_a_forked_child(use):
    env = make(2, threads=2, info_mode="arrays")
    env.reset(seed=0)
    state = env.get_state()

    def work():
        if use == "reset":
            return env.reset(seed=4)[0]
        if use == "set_state":
            return env.set_state(state)
        if use == "copy":
            return copy.deepcopy(env).step(np.zeros((2, 12)))[0]
        env.step(np.zeros((2, 12)))
        return in_a_fork(lambda: env.step(np.zeros((2, 12)))[0])

    assert equal(in_a_fork(work), work() if use != "grandchild" else in_a_fork(work))


@NO_FORK
def test_a_child_that_leaves_the_environment_alone_ends():
    code = """
import os, signal, gymnasium as gym, numpy as np, sys, dexfw_envs
env = gym.make_vec("DexFW/Grasp-v0", num_envs=4, threads=2)
env.reset(seed=0)
child = os.fork()
if not child:
    signal.alarm(30)
    del env
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_fresh(code).strip() == "3"


@NO_FORK
def test_pictures_of_a_forked_child():
    need_drawing()
    code = """
import multiprocessing, sys, gymnasium as gym, numpy as np, dexfw_envs
env = gym.make_vec("DexFW/Grasp-v0", num_envs=2, threads=2, render_mode="rgb_array", image_size=32)
env.reset(seed=0)
context = multiprocessing.get_context("fork")

def look(queue):
    try:
        queue.put(np.stack(env.render()))
    except RuntimeError as error:
        queue.put(str(error))

def ask():
    queue = context.Queue()
    child = context.Process(target=look, args=(queue,))
    child.start()
    try:
        return queue.get(timeout=60)
    finally:
        child.kill()
        child.join()

first = ask()
assert np.array_equal(first, np.stack(env.render()))
print(ask())
env.close()
"""
    assert "drawn before this process was forked" in run_fresh(code)


# --- threads and graphics


def test_any_thread_draws_and_closes():
    need_drawing()
    code = """
from concurrent.futures import ThreadPoolExecutor
import gymnasium as gym, numpy as np, dexfw_envs
def make():
    env = gym.make("DexFW/Grasp-v0", render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    return env
first, second = make(), make()
here = first.render()
with ThreadPoolExecutor(1) as other:
    there = other.submit(first.render).result()
    assert np.array_equal(other.submit(second.render).result(), here)
    other.submit(first.close).result()
assert np.array_equal(here, there) and np.array_equal(second.render(), here)
second.close()
print("drawn")
"""
    assert run_fresh(code).strip() == "drawn"


def test_pictures_come_back_after_a_library_has_shut_the_display():
    """As SDL does when it closes a window that was opened without a display."""
    need_drawing()
    code = """
import gymnasium as gym, numpy as np, dexfw_envs, sys
def make():
    env = gym.make("DexFW/Grasp-v0", render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    return env
first, second, third = make(), make(), make()
before = [env.render() for env in (first, second, third)]
egl = sys.modules.get("mujoco.egl")
if egl:
    egl.EGL.eglTerminate(egl.EGL_DISPLAY)
assert np.array_equal(first.render(), before[0])
second.close()
assert np.array_equal(third.render(), before[2]) and np.array_equal(first.render(), before[0])
first.close(), third.close()
print("drawn")
"""
    assert run_fresh(code).strip() == "drawn"


def test_gymnasiums_human_rendering_leaves_later_pictures_alone():
    need_drawing()
    pytest.importorskip("pygame", reason="Gymnasium's HumanRendering needs it")
    code = """
import gymnasium as gym, numpy as np, dexfw_envs
def make():
    env = gym.make("DexFW/Grasp-v0", render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    return env
before = make().render()
shown = gym.wrappers.HumanRendering(make())
try:
    shown.reset(seed=0)
    shown.close()
except Exception as error:
    print(type(error).__name__)
assert np.array_equal(make().render(), before)
"""
    for driver in ("offscreen", "dummy", "x11"):
        run_fresh(code, SDL_VIDEODRIVER=driver, PYTHONWARNINGS="ignore")


@pytest.mark.skipif(sys.platform != "linux", reason="the platforms of Linux are asked for")
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("off", "drawing is switched off by MUJOCO_GL='off'; unset it"),
        ("glfw", "MUJOCO_GL='glfw' does not work here.*'egl' or 'osmesa'.*there is no display"),
        ("nonsense", "MUJOCO_GL='nonsense' does not work here.*'egl' or 'osmesa'.*invalid value"),
        ("cgl", "MUJOCO_GL='cgl' does not work here.*'egl' or 'osmesa'.*invalid value"),
    ],
)
def test_a_platform_that_does_not_work_is_named_in_one_line(choice, message):
    code = f"""
import gymnasium as gym, dexfw_envs, re
try:
    env = gym.make("DexFW/Grasp-v0", render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    env.render()
except RuntimeError as error:
    text = str(error)
    assert re.search({message!r}, text) and "\\n" not in text, text
    print("told")
"""
    assert run_fresh(code, MUJOCO_GL=choice, DISPLAY="").strip() == "told"


@pytest.mark.parametrize("choice", ["egl", "osmesa", " EGL "])
def test_a_chosen_platform_draws_or_says_in_one_line_that_it_cannot(choice):
    code = """
import gymnasium as gym, dexfw_envs
try:
    env = gym.make("DexFW/Grasp-v0", render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    print(env.render().std() > 5)
    env.close()
except RuntimeError as error:
    print("MUJOCO_GL=" in str(error) and "\\n" not in str(error))
"""
    assert run_fresh(code, MUJOCO_GL=choice).strip() == "True"
