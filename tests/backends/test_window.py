"""The window of human mode, on a virtual screen of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import HUNG, run_fresh

ROOT = Path(__file__).parents[2]

# One process: two scenes in the window, offscreen images between them, closing by hand.
PROGRAM = """
import mujoco, numpy as np
from dexfw_envs.backends.mujoco.window import SIZE
from dexfw_envs.catalog import make_scenario
from dexfw_envs.vector_env import DexVectorEnv

def shown(env):
    env.render()
    painter, view = env.backend._window._painter, mujoco.MjrRect(0, 0, *SIZE)
    image = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    painter.paint(env.backend.batch, 0, "front", view)
    mujoco.mjr_readPixels(image, None, view, painter.context)
    return image.astype(int)

def play(object_id, surroundings):
    env.reset(options={"scenarios": [make_scenario("Grasp", object_id, surroundings, 0, 1)]})
    env.step(np.zeros((1, 12)))
    return shown(env)

env = DexVectorEnv("Grasp", render_mode="human", image_size=64)
first = play("baseball", "neutral")
assert first.std() > 10, "blank"
offscreen = env.draw([0])
assert offscreen.shape == (1, 64, 64, 3) and offscreen.std() > 10, "no offscreen image beside it"
second = play("bottle", "green_light")
assert np.abs(second - first).mean() > 5, "the window does not follow the scene"
again = play("baseball", "neutral")
assert np.abs(again - first).mean() < 1, "the window keeps something of the scene before"
env.backend._window.close()
env.step(np.zeros((1, 12)))
env.close()
print("shown")
"""


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="xvfb-run is not installed")
def test_the_window_shows_each_scene_and_suffers_images_beside_it():
    screen = ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24", sys.executable, "-c", PROGRAM]
    done = subprocess.run(screen, cwd=ROOT, capture_output=True, text=True, timeout=HUNG)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "shown"


# A window of another library: its context is GLX's, which suffers none of EGL in the same thread.
OTHER = """
import glfw, gymnasium as gym, numpy as np, dexfw_envs
def make():
    env = gym.make("DexFW/Grasp-v0", render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    return env
before, first = make(), make()
expected = before.render()
assert glfw.init()
window = glfw.create_window(100, 100, "other", None, None)
glfw.make_context_current(window)
during = make()
for env in (before, first, during):
    assert np.array_equal(env.render(), expected)
assert glfw.get_current_context(), "the window keeps its context"
first.close()
glfw.terminate()
for env in (before, during):
    assert np.array_equal(env.render(), expected)
    env.close()
print("drawn")
"""


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="xvfb-run is not installed")
def test_pictures_beside_the_window_of_another_library():
    assert run_fresh(OTHER, before=("xvfb-run", "-a")).strip() == "drawn"
