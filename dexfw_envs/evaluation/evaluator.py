"""The one evaluator, for scripts and users: a policy and scenarios in, per-episode records out.

    records = evaluate(policy, "DexFW/Grasp-v0", split="T_VAL", episodes=200, seed=0)
    print(json.dumps(summary(records)))
    write_records(records, method="dexflywheel", task="Grasp", iteration=3)

The same split, number of episodes and seed give the same scenarios for every method, so that
methods can be compared episode by episode.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from dexfw_envs.envs.observe import FLAT
from dexfw_envs.envs.protocol import EpisodeEnv
from dexfw_envs.envs.single import DexEnv
from dexfw_envs.episodes.rollout import Episode, Policy, ProgressCallback, run_episodes
from dexfw_envs.evaluation.film import Film
from dexfw_envs.evaluation.records import Record, reference
from dexfw_envs.registry import NAMESPACE
from dexfw_envs.revision import REVISION
from dexfw_envs.scenario import displaced, varied
from dexfw_envs.variation import ranges_of
from dexfw_envs.world import SUNK

MILLIMETRES = 1000.0  # of a metre

if TYPE_CHECKING:
    from dexfw_envs.scenario import Scenario


def evaluate(
    policy: Policy,
    env: str | EpisodeEnv | gymnasium.Env,
    *,
    split: str | None = None,
    episodes: int = 200,
    seed: int = 0,
    scenarios: Iterable[Scenario] | None = None,
    displacement: float = 0.0,
    variation: str | Mapping[str, float | tuple[float, float]] | None = None,
    num_envs: int = 32,
    env_options: Mapping[str, Any] | None = None,
    videos: int = 0,
    video_folder: str | Path = "videos",
    progress: str | ProgressCallback | None = None,
) -> list[Record]:
    """Run a policy once in every scenario of a split, or of a list.

    Args:
        policy: See `rollout.Policy`. It draws its own random numbers: seed it yourself.
        env: An id such as "DexFW/Grasp-v0", made and closed here; or an environment, left open: a
            `DexVectorEnv` built with `autoreset_mode="disabled"`, or a single one from
            `gymnasium.make`, of which the batch of one acts: observations have a leading axis.
        split: Name of a split, such as "T_OEP"; this or `scenarios`.
        episodes: Number of episodes drawn from the split.
        seed: Seed of the split's scenarios, also written to the records.
        scenarios: The scenarios themselves, instead of a split.
        displacement: How far the first object starts from its place [m]; see `displaced`.
        variation: How the worlds differ from the catalogue, drawn by each scenario's seed; see
            `dexfw_envs.variation`. An environment that is handed in has to be made with one, too.
        num_envs: Worlds stepped together, when the env is made here.
        env_options: Further options of the env, when it is made here.
        videos: Number of first episodes that are filmed.
        video_folder: Where the videos go: `episode-<number>-<object>-<outcome>.mp4`.
        progress: Title of a progress bar, or a callback (done, total, episode).

    Returns:
        One record per scenario in the order of the scenarios, with the columns of
        `records.COLUMNS` except those that `write_records` adds.

    Raises:
        ValueError: Both or neither of `split` and `scenarios`, options for a finished env, an env
            that is none of this suite's, is wrapped or has no spec, something that is no policy,
            or a displacement that is no distance.
    """
    if (split is None) == (scenarios is None):
        raise ValueError("give either split or scenarios")
    if not isinstance(env, str) and env_options:
        raise ValueError(f"env_options {sorted(env_options)} need an env id, got a finished env")
    _check_policy(policy)

    with ExitStack() as stack:
        if isinstance(env, str):
            options = dict(env_options or {})
            if variation is not None:
                options.setdefault("variation", {})
            env = _make(env, num_envs, videos, options)
            stack.callback(env.close)
        labels = {**_identity(env), "split": split or "custom", "seed": seed}
        batch = _batch_of(env)
        labels["sees"] = getattr(batch, "obs_mode", "").removesuffix(FLAT)

        if split is not None:
            chosen = _draw(labels["task"], split, episodes, seed)
        else:
            chosen = list(scenarios or ())
        chosen = _changed(chosen, displacement, variation)

        start = time.perf_counter()
        finished = _run(batch, policy, chosen, progress, videos, Path(video_folder))
        labels["wall_time_s"] = (time.perf_counter() - start) / max(len(finished), 1)

    is_drawn = split is not None and not displacement and variation is None
    return [_record(episode, labels, is_drawn) for episode in finished]


def _changed(
    scenarios: Sequence[Scenario],
    displacement: float,
    variation: str | Mapping[str, float | tuple[float, float]] | None,
) -> list[Scenario]:
    """Return scenarios displaced and varied as `evaluate` is asked to."""
    changed = list(scenarios)
    if displacement:
        changed = [displaced(scenario, displacement) for scenario in changed]
    if variation is not None:
        ranges = ranges_of(variation)
        changed = [varied(scenario, ranges) for scenario in changed]
    return changed


def evaluate_filmed(
    policy: Policy,
    env: str | EpisodeEnv | gymnasium.Env,
    folder: str | Path | None,
    films: int = 4,
    **what: Any,
) -> tuple[list[Record], str]:
    """Evaluate and film the first episodes; where they cannot be filmed, evaluate without.

    A display or PyAV that is missing fails at the first frame, so little is done twice.

    Args:
        policy: As in `evaluate`.
        env: As in `evaluate`.
        folder: Where the films go; None for no films.
        films: How many first episodes are filmed.
        what: The other arguments of `evaluate`.

    Returns:
        The records, and in a line what kept the films from being made, "" if nothing did.
    """
    if folder is None:
        return evaluate(policy, env, **what), ""
    try:
        return evaluate(policy, env, **what, videos=films, video_folder=folder), ""
    except Exception as error:  # each library has its own; the policy's come again below
        trouble = " ".join(f"{type(error).__name__}: {error}".split())
    return evaluate(policy, env, **what), trouble


def _run(
    env: EpisodeEnv,
    policy: Policy,
    scenarios: Sequence[Scenario],
    progress: str | ProgressCallback | None,
    videos: int,
    folder: Path,
) -> list[Episode]:
    """Run and film; the episodes come back in the order of the scenarios."""
    film = Film(env, scenarios, videos, folder) if videos else None
    finished = []
    with closing(film) if film else nullcontext():
        for episode in run_episodes(
            env, policy, scenarios, progress, trajectories=False, on_step=film
        ):
            finished.append(episode)
            if film:
                film.finish(episode)
    return sorted(finished, key=lambda episode: episode.index)


# Wrappers that `gymnasium.make` adds: they check, or end episodes, which is looked at below.
HARMLESS = (PassiveEnvChecker, OrderEnforcing, TimeLimit)
NEEDED = ("task", "backend", "scenarios", "max_episode_steps")  # of an env, beside Gymnasium's


def _batch_of(env: EpisodeEnv | gymnasium.Env) -> EpisodeEnv:
    """Return the vector env that acts: the env itself, or the batch of one behind a single env.

    Raises:
        ValueError: It is none of this suite's, or a wrapper of it would be passed over.
    """
    inner = getattr(env, "unwrapped", env)
    if isinstance(inner, DexEnv):
        _refuse_wrappers(env)
        limit = env.spec.max_episode_steps if env.spec else None
        if limit not in (None, inner.batch.max_episode_steps):
            raise ValueError(
                f"the env ends episodes after {limit} steps by a wrapper; for an evaluation make "
                f"it by gymnasium.make_vec(..., max_episode_steps={limit})"
            )
        return inner.batch

    if isinstance(env, gymnasium.Env) or any(not hasattr(env, name) for name in NEEDED):
        raise ValueError(_foreign(str(env)))
    return env


def _refuse_wrappers(env: EpisodeEnv | gymnasium.Env) -> None:
    """Refuse the wrappers of a single env, which the batch of one behind it would pass over."""
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, HARMLESS):
            raise ValueError(
                f"{type(env).__name__} would be passed over: an evaluation acts in the env itself; "
                "give that, and let the policy do what the wrapper does"
            )
        env = env.env


def _check_policy(policy: Any) -> None:
    missing = [name for name in ("reset", "act") if not callable(getattr(policy, name, None))]
    if missing or isinstance(policy, type):
        raise ValueError(
            f"a policy is an object with reset(mask) and act(observation), got {policy!r}"
        )


def _foreign(name: str) -> str:
    return (
        f"{name} is no environment of this suite: give an id such as 'DexFW/Grasp-v0', or what "
        "gymnasium.make or gymnasium.make_vec made of one"
    )


def _make(env_id: str, num_envs: int, videos: int, options: Mapping[str, Any]) -> EpisodeEnv:
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    known = gymnasium.registry.get(name)
    if known is None or (known.namespace != NAMESPACE and "task" not in known.kwargs):
        raise ValueError(_foreign(repr(env_id)))

    options = {"render_mode": "rgb_array", **options} if videos else dict(options)
    made: Any = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode="disabled", **options)
    return made.unwrapped


def _draw(task: str, split: str, episodes: int, seed: int) -> list[Scenario]:
    from dexfw_envs.catalog import splits

    return splits.split(task, split, episodes, seed)


def _identity(env: EpisodeEnv | gymnasium.Env) -> dict[str, Any]:
    """Task, id and version of an env, from its spec "DexFW/<task>-v<version>"."""
    spec = getattr(env, "spec", None)
    if spec is None:
        raise ValueError("the env has no spec that names it: make it by gymnasium.make_vec")
    env_id = spec.id
    task, _, version = env_id.rpartition("/")[2].rpartition("-v")
    if not version.isdigit():
        raise ValueError(_foreign(repr(env_id)))
    return {
        "task": task,
        "env_id": env_id,
        "env_version": int(version),
        "revision": REVISION,
    }


def _record(episode: Episode, labels: Mapping[str, Any], drawn: bool) -> Record:
    scenario = episode.scenario
    text = episode.scenario.to_json()
    if drawn:
        text = reference(text, labels["split"], labels["seed"], episode.index)

    return {
        **labels,
        "episode": episode.index,
        "scenario": text,
        "object": scenario.objects[0],
        "surroundings": scenario.surroundings,
        "pose": scenario.pose,
        "success": episode.success,
        "raised": episode.raised,
        "hold": episode.hold,
        "length": episode.length,
        "jerk": episode.jerk,
        "failure": episode.failure,
        "progress": episode.info["progress"],
        "measures": json.dumps(episode.info["measures"]),
        **_penetration(episode),
    }


def _penetration(episode: Episode) -> dict[str, float]:
    """Return the columns on how deep the object lay in something, in millimetres."""
    depths = episode.info["penetration"]
    return {f"penetration_{part}": MILLIMETRES * depths.get(part, np.nan) for part in SUNK}
