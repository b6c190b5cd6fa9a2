"""What others may use of an environment, and who has all of it."""

import pytest
from scenes import make
from stub_env import StubVectorEnv

from dexfw_envs.envs.protocol import EpisodeEnv, RobotEnv
from dexfw_envs.envs.wrapper import EnvWrapper


@pytest.fixture
def env():
    made = make(2, autoreset_mode="disabled")
    yield made
    made.close()


def members(protocol):
    names = {name for kind in protocol.__mro__ for name in vars(kind)}
    return {name for name in names if not name.startswith("_")}


def test_the_environment_and_a_wrapper_of_it_have_both(env):
    for one in (env, EnvWrapper(env)):
        assert isinstance(one, RobotEnv) and isinstance(one, EpisodeEnv)


def test_the_stub_of_the_tests_runs_episodes():
    assert isinstance(StubVectorEnv(), EpisodeEnv)
    assert not isinstance(StubVectorEnv(), RobotEnv), "it has no robot"


def test_a_wrapper_hands_on_all_that_the_protocol_has(env):
    env.reset(seed=1)
    outside = EnvWrapper(env)
    assert {"num_envs", "world", "codec", "step", "close"} < members(RobotEnv)
    for name in members(RobotEnv) - {"reset", "step"}:
        found = getattr(outside, name)
        if not callable(found):
            assert found is getattr(env, name), name
    assert (outside.state_vectors() == env.state_vectors()).all()
