"""Make many demonstrations of a few: edit, run again in the simulator, keep what succeeds.

This is the A_EP step of DexFlyWheel (environments and poses change, the object does not) and the
generation loop of MimicGen and DexMimicGen; which scenarios are asked for makes the difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import Targets
from dexfw_envs.editing.bridging import EditOptions
from dexfw_envs.editing.editor import Editor, edit
from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.reading import read_motion
from dexfw_envs.editing.tally import Tally, failure_reason
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.episodes.rollout import Episode, run_episodes
from dexfw_envs.transforms import Array

if TYPE_CHECKING:
    from dexfw_envs.scenario import Scenario

Choose = Callable[[Sequence[Motion], "Scenario", Array, np.random.Generator], int]


def choose_nearest(count: int = 3) -> Choose:
    """Return MimicGen's choice: any of the `count` sources nearest in object pose.

    Distance is that of positions [m] plus that of yaw [rad], over all objects. Sources with the
    scenario's own objects go first; others are taken only where there are none.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")

    def choose(
        sources: Sequence[Motion], scenario: Scenario, objects: Array, rng: np.random.Generator
    ) -> int:
        own = [i for i, s in enumerate(sources) if s.object_ids == tuple(scenario.objects)]
        candidates = own or list(range(len(sources)))
        starts = np.stack([sources[i].objects[0] for i in candidates])
        turn = tf.quat_multiply(objects[:, 3:], tf.quat_conjugate(starts[..., 3:]))
        far = np.linalg.norm(objects[:, :3] - starts[..., :3], axis=-1)
        far = (far + np.abs(tf.yaw_from_quat(turn))).sum(axis=-1)
        nearest = np.argsort(far, kind="stable")[:count]
        return candidates[int(rng.choice(nearest))]

    return choose


def choose_random(
    sources: Sequence[Motion], scenario: Scenario, objects: Array, rng: np.random.Generator
) -> int:
    """Choose any of the sources, whatever they hold: MimicGen's other choice."""
    return int(rng.integers(len(sources)))


class EditingPolicy:
    """Plays edited motions in all worlds of an env; one motion per episode, open loop.

    The n-th world that is reset plays episode n, the numbering of `run_episodes`, and draws from
    a generator of its own: the result does not depend on the number of worlds.

    Args:
        env: The `DexVectorEnv` it acts in: read at reset for the scenario, the object poses and
            where the arms really are, and while subtasks wait for objects.
        sources: The motions to edit.
        rng: Seeds the generators of the episodes.
        options: How to edit.
        choose: Picks a source for a scenario; default `choose_nearest(3)`.

    Raises:
        ValueError: There are no sources, or one of other arms or objects than the env's.
    """

    def __init__(
        self,
        env: RobotEnv,
        sources: Sequence[Motion],
        rng: np.random.Generator,
        options: EditOptions | None = None,
        choose: Choose | None = None,
    ):
        if not sources:
            raise ValueError("no sources to edit")
        for source in sources:
            _check_fits(source, env)
        self.env = env
        self.sources = tuple(sources)
        self.options = options or EditOptions()
        self.choose = choose or choose_nearest()
        self.entropy = int(rng.integers(2**63))
        self.chosen: list[int] = []  # source of each episode so far
        self.plans: list[Array | Editor | None] = [None for _ in range(env.num_envs)]
        self.cursor = np.zeros(env.num_envs, dtype=int)

    def reset(self, mask: np.ndarray) -> None:
        """Edit a motion for each world in `mask`, (N,) bool, which was reset just now."""
        worlds = np.flatnonzero(mask)
        if not len(worlds):
            return
        objects, arms = _poses(self.env.world)
        for world in worlds:
            rng = np.random.default_rng([self.entropy, len(self.chosen)])
            scenario = self.env.scenarios[world]
            assert scenario is not None, "worlds are reset before their policy"
            index = self.choose(self.sources, scenario, objects[world], rng)
            self.chosen.append(index)
            self.plans[world] = self._plan(self.sources[index], objects[world], arms[world], rng)
        self.cursor[worlds] = 0

    def act(self, observation: Mapping[str, np.ndarray]) -> Array:
        """Return the next action of every world, (N, 12 A); a finished motion stands still."""
        objects, _ = _poses(self.env.world)
        actions = []
        for world, plan in enumerate(self.plans):
            if plan is None:
                raise RuntimeError(f"world {world} was never reset")
            if isinstance(plan, Editor):
                action = self.env.codec.encode(plan.step(objects[world]))
            else:
                action = plan[min(self.cursor[world], len(plan) - 1)]
            actions.append(action)

        self.cursor += 1
        return np.clip(np.stack(actions), -1.0, 1.0)

    def _plan(
        self, source: Motion, objects: Array, arms: Array, rng: np.random.Generator
    ) -> Array | Editor:
        """Edit all of a motion now, or, if later subtasks have to look at objects, bit by bit."""
        if any(len(subtasks) > 1 for subtasks in source.segments):
            return Editor(source, arms, self.options, rng)
        targets: Targets = edit(source, objects, arms, rng, self.options)
        return self.env.codec.encode(targets)


def _check_fits(source: Motion, env: RobotEnv) -> None:
    has = (source.arms, source.objects.shape[1])
    needed = (env.codec.arms, env.world.object_position.shape[1])
    if has != needed:
        motion = "motion {!r} is of {} arm(s) among {} object(s), here are {} and {}"
        raise ValueError(motion.format(source.label, *has, *needed))


def _poses(world: Any) -> tuple[Array, Array]:
    """Return the poses of objects (N, O, 7) and end effectors (N, A, 7)."""
    palms = (world.end_effector_position, world.end_effector_quaternion)
    return (
        np.concatenate([world.object_position, world.object_quaternion], axis=-1),
        np.concatenate(palms, axis=-1),
    )


class Augmentation:
    """The running generation: iterate for the episodes, read `tally` at any time."""

    def __init__(self, policy: EditingPolicy, scenarios: Iterable[Any], failures: bool, **run: Any):
        self.policy = policy
        self.scenarios = scenarios
        self.failures = failures
        self.run = run
        self.tally = Tally()

    def __iter__(self) -> Iterator[Episode]:
        env = self.policy.env
        sources = self.policy.sources
        for episode in run_episodes(env, self.policy, self.scenarios, **self.run):
            reason = failure_reason(episode, env.codec)
            self.tally = self.tally + Tally.of(reason)
            if episode.success or self.failures:
                label = sources[self.policy.chosen[episode.index]].label
                info = {**episode.info, "edited_from": label}
                yield dataclasses.replace(episode, failure=reason, info=info)


def augment(
    env: RobotEnv,
    sources: Sequence[Motion | Any],
    scenarios: Iterable[Scenario],
    rng: np.random.Generator,
    options: EditOptions | None = None,
    *,
    choose: Choose | None = None,
    failures: bool = False,
    progress: Any = None,
    observation_keys: Sequence[str] | None = None,
) -> Augmentation:
    """Edit motions for new scenarios, run them and keep the successes.

    Args:
        env: A `DexVectorEnv` built with `autoreset_mode="disabled"` and `control_mode="ee_pose"`.
        sources: Motions, or episodes (stored or fresh), which are cut at their pre-grasp.
        scenarios: One attempt each; may be a generator that looks at the outcomes so far.
        rng: For the choice of sources and the noise.
        options: How to edit.
        choose: Picks a source for a scenario; default `choose_nearest(3)`.
        failures: Also yield failed attempts.
        progress: Title of a progress bar, or a callback, as in `run_episodes`.
        observation_keys: Observation groups to keep, default all.

    Returns:
        An iterable of episodes, once only, with the tally of attempts as `.tally`. The episodes'
        `failure` is the precise reason, `info["edited_from"]` the label of the source.

    Raises:
        ValueError: No sources, a source in which no object was touched or that is of another task
            or robot, or `observation_keys` without those that reasons of failure are read from.
    """
    if observation_keys is not None and not {"proprio", "object"} <= set(observation_keys):
        raise ValueError(f"observation_keys need 'proprio' and 'object', got {observation_keys}")
    motions = [source if isinstance(source, Motion) else _motion(source, env) for source in sources]
    policy = EditingPolicy(env, motions, rng, options, choose)
    run = {"progress": progress, "observation_keys": observation_keys}
    return Augmentation(policy, scenarios, failures, **run)


def _motion(episode: Any, env: RobotEnv) -> Motion:
    """Cut an episode, which must be of the env's own task."""
    label = getattr(episode, "identifier", "")
    task = episode.scenario.task
    if task != env.task.name:
        raise ValueError(f"demonstration {label!r} of {task} cannot be edited for {env.task.name}")
    return read_motion(episode, env.codec, label=label)
