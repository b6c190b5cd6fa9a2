"""What was made in other worlds is refused by name, and can still be looked at."""

import numpy as np
import pytest
from sample_episodes import make_episode

from dexfw_envs.episodes import file as episode_file
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore, load_episode, save_episode
from dexfw_envs.evaluation.records import COLUMNS, OLDER
from dexfw_envs.revision import FIRST, REVISION
from dexfw_envs.runs.checkpoints import check_header

ENV = "DexFW/Grasp-v0"
ORIGIN = {"env_id": ENV, "control_mode": "ee_pose", "source": "policy", "seed": 0}


@pytest.fixture
def older(tmp_path, monkeypatch):
    """An episode as the first revision wrote it: its header names none."""
    fields = {name: kind for name, kind in episode_file.HEADER_FIELDS.items() if name != "revision"}
    with monkeypatch.context() as then:
        then.setattr(episode_file, "HEADER_FIELDS", fields)
        save_episode(tmp_path / "a.h5", make_episode(0), **ORIGIN)
    return tmp_path / "a.h5"


def test_an_episode_names_its_revision(tmp_path):
    save_episode(tmp_path / "a.h5", make_episode(0), **ORIGIN)
    assert load_episode(tmp_path / "a.h5", env_id=ENV).revision == REVISION


def test_an_older_episode_is_looked_at_but_not_used(older):
    assert load_episode(older).revision == FIRST
    words = rf"revision {FIRST} of the worlds, but {REVISION} is needed"
    with pytest.raises(EpisodeMismatch, match=words):
        load_episode(older, env_id=ENV)
    with pytest.raises(EpisodeMismatch, match=words):
        EpisodeStore(older.parent, env_id=ENV)
    assert len(EpisodeStore(older.parent)) == 1


def test_an_older_episode_keeps_its_revision_when_it_is_stored_again(older, tmp_path):
    again = tmp_path / "again.h5"
    save_episode(again, load_episode(older), **ORIGIN)
    assert load_episode(again).revision == FIRST
    assert np.array_equal(load_episode(again).actions, load_episode(older).actions)


@pytest.mark.parametrize("state", [{}, {"revision": FIRST}])
def test_an_older_checkpoint_is_refused(state):
    with pytest.raises(ValueError, match=f"has revision {FIRST}, needed is {REVISION}"):
        check_header(state, {"revision": REVISION})
    check_header({"revision": REVISION}, {"revision": REVISION})


def test_records_without_a_revision_are_of_the_first():
    assert "revision" in COLUMNS
    assert OLDER["revision"] == FIRST
