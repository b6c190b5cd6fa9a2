"""Lights: an image policy sees them, a state policy does not."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the scripts need the extra train")
import torch
from scenes import actions, equal, need_drawing, play, rows, scene
from test_dexflywheel import ACTION, TINY, fw
from test_dexflywheel import STATE as SIZE

from dexfw_envs.catalog.surroundings import get_surroundings

IMAGE = replace(TINY, obs="image", image_size=48, rl_envs=2)
STATE = replace(TINY, rl_envs=2)


@pytest.fixture
def lit():
    """Two worlds that differ in nothing but the lamp, made as the script makes its worlds."""
    need_drawing()
    env = fw.make_env(IMAGE, image=True)
    env.reset(seed=0, options={"scenarios": [scene(), scene()]})
    green = get_surroundings("green_light")
    for name in ("light_diffuse", "light_ambient"):
        env.backend._fields[name][1, 0] = getattr(green, name)
    yield env
    env.close()


def inputs(args, env, obs):
    """What the networks of a base policy get in both worlds when the queues ask for plans."""
    torch.manual_seed(0)
    base, seen = fw.BasePolicy(SIZE, ACTION, args).eval(), []
    condition = base.condition
    base.condition = lambda *given: seen.append(condition(*given)) or seen[-1]
    policy = fw.ChunkPolicy(base, None, args, env)
    policy.reset(np.ones(2, dtype=bool))
    policy.base_action(obs)
    return seen[0]


def test_lights_change_the_image_policys_input_and_not_the_state_policys(lit):
    obs = lit._observe()
    state, image = (inputs(args, lit, obs) for args in (STATE, IMAGE))
    assert state.shape == (2, SIZE)
    assert torch.equal(state[0], state[1])
    assert image.shape == (2, SIZE + 384)
    assert torch.equal(image[0, :SIZE], image[1, :SIZE])
    assert (image[0, SIZE:] - image[1, SIZE:]).abs().max() > 0.01


def test_lights_change_the_pictures_of_an_episode_and_nothing_else(lit):
    commands = np.repeat(actions(10, 1), 2, axis=1)
    for result in play(lit, commands):
        white, green = (rows(result[:4], k) for k in (0, 1))
        pictures = [each[0].pop("image").astype(float) for each in (white, green)]
        assert np.abs(pictures[0] - pictures[1]).mean() > 5
        assert equal(white, green)
