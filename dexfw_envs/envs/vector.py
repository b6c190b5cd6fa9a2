"""The native vector environment: N worlds of one task behind Gymnasium's vector interface."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dexfw_envs import checks
from dexfw_envs.backends import backend_options as options_of_backend
from dexfw_envs.backends import make_backend
from dexfw_envs.backends.base import Backend
from dexfw_envs.backends.layout import CAMERAS
from dexfw_envs.catalog import named_sampler
from dexfw_envs.control.codec import CONTROL_PERIOD, PoseCodec
from dexfw_envs.control.controller import CONTROL_MODES, Controller
from dexfw_envs.envs import snapshot
from dexfw_envs.envs.given_scenarios import check_scenarios
from dexfw_envs.envs.observe import Observer
from dexfw_envs.envs.shared import REWARD_MODES, SharedAttributes
from dexfw_envs.envs.varied import ExactLink, VariedLink
from dexfw_envs.registry import check_id, entry
from dexfw_envs.scenario import Scenario, varied_sampler
from dexfw_envs.tasks.base import FAILURES, EpisodeMemory
from dexfw_envs.variation import ranges_of
from dexfw_envs.world import SUNK, WorldState

Sampler = Callable[[np.random.Generator], Scenario]
RENDER_MODES = ("rgb_array", "human")
INFO_MODES = ("arrays", "full")


class DexVectorEnv(SharedAttributes, gym.vector.VectorEnv):
    """N parallel worlds of one task.

    What happens when a world's episode ends is Gymnasium's `AutoresetMode`:

    - "same_step" (default): the observation returned is the first of the next episode, and
      `info["final_obs"]` and `info["final_info"]` (rows valid where `info["_final_obs"]`) belong
      to the ended one. Bootstrap a truncated episode from `final_obs`. Both are batched, as
      observations and info always are here, and not Gymnasium's object array of single ones:
      `final_obs["proprio"][done]` needs no Python loop over worlds.
    - "next_step": the observation returned is the last of the ended episode. The next step of
      that world ignores its action, returns the first observation of the next episode and a
      reward of 0. Gymnasium's vector observation wrappers need this mode or the next.
    - "disabled": ended worlds go on until they are reset by mask (evaluation, collection).

    Info holds numbers and arrays alone, each (N,): `success` and the same again as `is_success`,
    `failure_code` (index into `dexfw_envs.tasks.base.FAILURES`), `reward_terms`, `success_terms`,
    `measures`, `hold`, `stage`, `elapsed` and `arm_arm_contact`. With `info_mode="full"` also
    `scenario`, a `Scenario` each, and `failure`, the reason as text.

    Args:
        task: Name of the task.
        num_envs: N.
        backend: Which kind of world; one of `dexfw_envs.backends.backend_names()`, or the module
            of your own.
        obs_mode: "state", "state+touch", "image" or "image+touch" for a dictionary of groups;
            "state/flat" or "state+touch/flat" for one row of them, see `observe.flat_order`.
        control_mode: "ee_pose" or "joint".
        reward_mode: "dense" (the sum of the task's terms) or "sparse" (1 on success, else 0).
        scenarios: What episodes are drawn from: "train(1)" to "train(3)", the name of a test
            split, or a function of a generator that returns a `Scenario`.
        image_size: Side of image observations and rendered frames [px].
        autoreset_mode: "same_step", "next_step" or "disabled", or Gymnasium's `AutoresetMode`.
        max_episode_steps: Steps after which an episode is truncated; the task's own by default.
        render_mode: None, "rgb_array" or "human".
        camera: Camera of images and rendering; the task's own by default.
        info_mode: "arrays" or "full", which adds objects and text.
        variation: How worlds differ from the catalogue, drawn anew for each episode: the name of an
            axis or group of `dexfw_envs.variation`, or a value or range per axis. With {} nothing
            differs, and scenarios that are handed in may have a latency or a tracker.
        backend_options: Handed to the backend, such as `threads`, `timestep`, `friction_scale`,
            `fault_folder`.

    Raises:
        TypeError: An option is unknown to the environment and to the backend.
        ValueError: An option has a value that is not valid.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own form)
        "render_modes": list(RENDER_MODES),
        "render_fps": round(1 / CONTROL_PERIOD),
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    single_action_space: gym.spaces.Box

    def __init__(
        self,
        task: str = "Grasp",
        num_envs: int = 1,
        backend: str = "mujoco",
        obs_mode: str = "state",
        control_mode: str = "ee_pose",
        reward_mode: str = "dense",
        scenarios: str | Sampler = "train(3)",
        image_size: int = 224,
        autoreset_mode: str | AutoresetMode = "same_step",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        camera: str | None = None,
        info_mode: str = "arrays",
        variation: str | Mapping[str, float | tuple[float, float]] | None = None,
        **backend_options: Any,
    ) -> None:
        check_keywords(type(self), OPTIONS, backend, backend_options)
        checks.choice("control_mode", control_mode, CONTROL_MODES)
        checks.choice("reward_mode", reward_mode, REWARD_MODES)
        checks.choice("render_mode", render_mode, (None, *RENDER_MODES))
        checks.choice("info_mode", info_mode, INFO_MODES)
        checks.count("num_envs", num_envs)
        item = entry(task)
        self.task = item.make()
        self.spec = gym.spec(item.env_id)
        self.num_envs = num_envs
        self.reward_mode = reward_mode
        self.info_mode = info_mode
        self.autoreset_mode = checks.autoreset_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}

        self.render_mode = render_mode
        self.image_size = image_size
        self.camera = item.camera if camera is None else camera
        checks.choice("camera", self.camera, tuple(CAMERAS[self.task.needs.robot.arms]))

        steps = self.task.max_episode_steps if max_episode_steps is None else max_episode_steps
        self.max_episode_steps = checks.count("max_episode_steps", steps)
        self.sampler = scenarios if callable(scenarios) else named_sampler(item.name, scenarios)
        self.is_varied = variation is not None
        if variation is not None:
            self.sampler = varied_sampler(self.sampler, ranges_of(variation))

        self.obs_mode = obs_mode
        self._observer = Observer(self.task, obs_mode, image_size)
        self._backend_options = {"name": backend, **backend_options}
        self.backend = self.make_worlds()
        self.controller = Controller(self.backend.robot, num_envs, control_mode)
        self.link = self._make_link()
        self._set_spaces()
        self._start_empty()

    def _start_empty(self) -> None:
        """Set what an episode carries, and the generators; no world has an episode yet."""
        needs = self.task.needs
        self.memory = EpisodeMemory.empty(self.num_envs, needs.objects, self.task.marks)
        self.scenarios: list[Scenario | None] = [None for _ in range(self.num_envs)]
        # Worlds of the next-step mode whose next episode begins with the step to come, (N,).
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self.world: WorldState = self.backend.world()

        self.generators: list[np.random.Generator] = []
        self._seeds: list[int] = []
        for _ in range(self.num_envs):
            generator, drawn = seeding.np_random()
            self.generators.append(generator)
            self._seeds.append(drawn)

    def make_worlds(self) -> Backend:
        """Build the N worlds that the arguments ask for."""
        return make_backend(
            needs=self.task.needs, num_worlds=self.num_envs, **self._backend_options
        )

    def _make_link(self) -> ExactLink:
        if not self.is_varied:
            return ExactLink(self.backend.num_worlds, self.backend.capabilities.varies)
        return VariedLink(
            self.backend.num_worlds,
            self.backend.capabilities.varies,
            joint_targets=self.controller.joints.shape[1:],
            objects=self.task.needs.objects,
        )

    def _set_spaces(self) -> None:
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (self.controller.action_size,))
        self.single_observation_space = self._observer.space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium knows of the environment; it may not name another task."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            check_id(spec.id, self.task.name)
        self._spec = spec

    @property
    def codec(self) -> PoseCodec:
        """The map between `ee_pose` actions and end-effector targets."""
        return self.controller.codec

    # --- reset

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: Seeds world i with seed + i, or with its own entry of a sequence; a world whose
                entry is None, or which is not reset, goes on with its own stream.
            options: `reset_mask` bool (N,), which worlds; `scenarios`, one per world of the mask.

        Raises:
            ValueError: An option is unknown or has the wrong length.
        """
        self._check_open()
        options = dict(options or {})
        mask = checks.mask(options.pop("reset_mask", None), self.num_envs)
        given = options.pop("scenarios", None)
        if options:
            valid = ("reset_mask", "scenarios")
            raise ValueError(f"unknown reset options {sorted(options)}; choose from {valid}")
        if seed is not None:
            self._seed_worlds(checks.seeds_of_worlds(seed, self.num_envs), mask)
        self._begin(mask, given)
        return self._observe(), self._info()

    def _seed_worlds(self, seeds: Sequence[int | None], mask: np.ndarray) -> None:
        for world, value in enumerate(seeds):
            if mask[world] and value is not None:
                self.generators[world], self._seeds[world] = seeding.np_random(value)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of every world, as Gymnasium's vector environments give them."""
        return tuple(self.generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What every world was seeded with; -1 where its generator was set or restored."""
        return tuple(self._seeds)

    def forget_seeds(self) -> None:
        """Say that no generator follows from a seed any more."""
        self._seeds = [-1 for _ in range(self.num_envs)]

    def _begin(self, mask: np.ndarray, given: Sequence[Scenario] | None) -> None:
        worlds = np.flatnonzero(mask)
        if given is None:
            given = [self.sampler(self.generators[world]) for world in worlds]

        check_scenarios(given, len(worlds), self.task)
        self.link.check(given)
        for world, scenario in zip(worlds, given, strict=True):
            self.scenarios[world] = scenario

        self.backend.reset(mask, given)
        self.world = self.backend.world()
        self.controller.reset(mask, self.world.arm_position)
        self.link.reset(mask, given, self.controller.joints, self.world)
        self.memory.begin(mask, self.world)
        self._ended[mask] = False

    # --- step

    def step(
        self, actions: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every world by one control period of 50 ms.

        Args:
            actions: (N, action), finite; values outside [-1, 1] are clipped.
        """
        self._check_open()
        actions = checks.actions(actions, (self.num_envs, self.controller.action_size))
        if not all(self.scenarios):
            raise RuntimeError("call reset before step")

        beginning = self._ended.copy()
        self._advance(actions, resting=beginning)
        success_terms = self._count_success()
        success, terminated, truncated, failure = self._verdict()
        reward_terms = self._reward_terms()
        reward = self._reward(reward_terms, success)

        if beginning.any():
            self._begin(beginning, None)
            for array in (reward, terminated, truncated, failure):
                array[beginning] = 0
            info = self._info(failure)
        else:
            info = self._info(failure, reward_terms, success_terms)
        observation = self._observe()

        done = terminated | truncated
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._ended = done.copy()
        elif self.autoreset_mode is AutoresetMode.SAME_STEP and done.any():
            info, observation = self._next_episodes(done, info, observation)

        if self.render_mode == "human":
            self.render()
        return observation, reward, terminated, truncated, info

    def _advance(self, actions: np.ndarray, resting: np.ndarray) -> None:
        """Move the worlds on by one control period; those of the mask `resting` stand still."""
        if resting.any():
            self.backend.rest(resting)
        targets = self.controller.targets(actions)
        self.backend.apply(self.link.commands(targets))
        self.world = self.backend.world()

        self.memory.step(self.world)
        self.task.remember(self.world, self.memory)

    def _count_success(self) -> dict[str, np.ndarray]:
        """Count for how long all ingredients of success have held; return them, (N,) each."""
        terms = self.task.success(self.world, self.memory)
        met = np.logical_and.reduce(list(terms.values())) & ~self.world.fault
        self.memory.hold[:] = np.where(met, self.memory.hold + 1, 0)
        return terms

    def _reward(self, terms: dict[str, np.ndarray], success: np.ndarray) -> np.ndarray:
        """Return the reward of the reward mode, (N,)."""
        if self.reward_mode == "sparse":
            return success.astype(float)
        return np.sum(list(terms.values()), axis=0)

    def _verdict(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Judge every world as it is now: success, terminated, truncated, code of the failure."""
        fault = self.world.fault
        success = self.memory.hold >= self.task.hold_steps
        lost = self.task.lost(self.world, self.memory)
        terminated = np.logical_or.reduce([success, fault, *lost.values()])
        truncated = (self.memory.elapsed >= self.max_episode_steps) & ~terminated

        failure = np.zeros(self.num_envs, dtype=int)
        if terminated.any() or truncated.any():
            cases = {"": success, "fault": fault, **lost, "timeout": truncated}
            codes = [FAILURES.index(reason) for reason in cases]
            failure = np.select(list(cases.values()), codes, 0)
        return success, terminated, truncated, failure

    def _reward_terms(self) -> dict[str, np.ndarray]:
        terms = self.task.reward(self.world, self.memory)
        return {name: np.where(self.world.fault, 0.0, term) for name, term in terms.items()}

    def _next_episodes(
        self, done: np.ndarray, info: dict[str, Any], observation: Any
    ) -> tuple[dict[str, Any], Any]:
        ended = {"final_obs": observation, "final_info": info}
        masks = {"_final_obs": done.copy(), "_final_info": done.copy()}
        self._begin(done, None)
        return {**self._info(), **ended, **masks}, self._observe()

    def _observe(self) -> Any:
        images = self.draw(range(self.num_envs)) if self._observer.wants_image else None
        return self._observer.observe(self.link.seen(self.world, self.memory.elapsed), images)

    def _info(
        self,
        failure: np.ndarray | None = None,
        reward_terms: dict[str, np.ndarray] | None = None,
        success_terms: dict[str, np.ndarray] | None = None,
    ) -> dict[str, Any]:
        """Describe the worlds as they are now.

        Args:
            failure: Codes of the failures, (N,); none failed if None.
            reward_terms: What the task says of this instant, if it was asked already.
            success_terms: The same.
        """
        if failure is None:
            failure = np.zeros(self.num_envs, dtype=int)
        if reward_terms is None:
            reward_terms = self._reward_terms()
        if success_terms is None:
            success_terms = self.task.success(self.world, self.memory)

        success = self.memory.hold >= self.task.hold_steps
        info = {
            "reward_terms": reward_terms,
            "success_terms": success_terms,
            "success": success,
            "is_success": success.copy(),
            "failure_code": failure,
            "hold": self.memory.hold.astype(int),
            "stage": self.task.stage(self.world, self.memory),
            "measures": self.task.measures(self.world, self.memory),
            "elapsed": self.memory.elapsed.astype(int),
            "arm_arm_contact": self.world.arm_arm_contact.copy(),
        }
        if self.backend.capabilities.penetration:
            info["penetration"] = dict(zip(SUNK, self.memory.penetration.T.copy(), strict=True))

        if self.info_mode == "full":
            info["scenario"] = self._scenario_array()
            info["failure"] = np.array(FAILURES, dtype=object)[failure]

        return info

    def _scenario_array(self) -> np.ndarray:
        scenarios = np.empty(self.num_envs, dtype=object)
        scenarios[:] = self.scenarios
        return scenarios

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError(f"{type(self).__name__} is closed; make a new one")

    # --- rendering

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw all worlds, or show the first one in the window of human mode.

        Returns:
            uint8 (size, size, 3) of each world; None in human mode.

        Raises:
            RuntimeError: The environment was made without a render mode, or nothing can draw.
        """
        if self.render_mode is None:
            raise RuntimeError(f"make the environment with render_mode, one of {RENDER_MODES}")
        self._check_open()
        if self.render_mode == "human":
            self.backend.show(self.camera)
            return None
        return tuple(self.draw(range(self.num_envs)))

    def draw(self, worlds: Sequence[int] | range | np.ndarray) -> np.ndarray:
        """Draw some worlds, in any render mode: uint8 (k, size, size, 3).

        Raises:
            RuntimeError: Nothing can draw.
        """
        self._check_open()
        size = self.image_size
        return np.stack([self.backend.render(int(w), self.camera, size, size) for w in worlds])

    # --- full state

    def state_vectors(self) -> np.ndarray:
        """Read simulator, controller and memory of every world as rows, (N, S) float64.

        Raises:
            RuntimeError: The backend is no simulator; see `Capabilities.real_time`.
        """
        return np.concatenate(self._state_parts(), axis=1)

    def _state_parts(self) -> tuple[np.ndarray, ...]:
        if self.backend.capabilities.real_time:
            raise RuntimeError(
                f"backend {self._backend_options['name']!r} has no states to read or restore: "
                "its time passes by itself"
            )
        return (
            self.backend.get_state(),
            self.controller.get_state(),
            self.memory.get_state(),
            self.link.get_state(),
        )

    def set_state_vectors(
        self, states: np.ndarray, scenarios: Sequence[Scenario], mask: np.ndarray | None = None
    ) -> Any:
        """Restore worlds from rows of `state_vectors`, bit for bit; return all observations.

        Args:
            states: (k, S), one row per world of the mask.
            scenarios: The scenario of each row.
            mask: Which worlds, bool (N,); all by default.
        """
        mask = checks.mask(mask, self.num_envs)
        states = np.asarray(states, dtype=float)
        check_scenarios(scenarios, int(mask.sum()), self.task)
        sizes = [part.shape[1] for part in self._state_parts()]
        expected = (int(mask.sum()), sum(sizes))

        if states.shape != expected:
            raise ValueError(f"states have shape {states.shape}, expected {expected}")
        self.link.check(scenarios)
        simulator, command, memory, link = np.split(states, np.cumsum(sizes)[:-1], axis=1)
        self.backend.set_state(mask, simulator, scenarios)
        self.controller.set_state(mask, command)
        self.memory.set_state(mask, memory)
        self.link.set_state(mask, link, scenarios)

        for world, scenario in zip(np.flatnonzero(mask), scenarios, strict=True):
            self.scenarios[world] = scenario
        self.world = self.backend.world()
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            _, terminated, truncated, _ = self._verdict()
            self._ended[mask] = (terminated | truncated)[mask]

        return self._observe()

    def get_state(self) -> dict[str, Any]:
        """Read everything the continuation depends on: arrays and strings only."""
        return snapshot.read(self)

    def set_state(self, state: dict[str, Any]) -> Any:
        """Restore what `get_state` returned; return the observations."""
        return snapshot.restore(self, state)

    def __copy__(self) -> DexVectorEnv:
        """A shallow copy would share arrays with worlds that it does not share: copy all."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold all attributes; the worlds as their full state."""
        return snapshot.packed(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the worlds anew and restore their state."""
        snapshot.unpack(self, state)

    def close_extras(self, **kwargs: Any) -> None:
        """Release the backend and the window."""
        self.backend.close()


OPTIONS = tuple(
    name
    for name in inspect.signature(DexVectorEnv.__init__).parameters
    if name not in ("self", "backend_options")
)


def check_keywords(
    kind: type, options: Sequence[str], backend: str, given: Mapping[str, Any]
) -> None:
    """Refuse what neither an environment nor its backend takes.

    Args:
        kind: Class of the environment.
        options: The names that it takes itself.
        backend: Name of the backend.
        given: The keyword arguments to look at.

    Raises:
        TypeError: A keyword is unknown; names it and all valid ones.
        ValueError: The backend is unknown.
    """
    owners = {"the environment": options, f"backend {backend!r}": options_of_backend(backend)}
    checks.keywords(f"{kind.__name__}.__init__()", given, owners)
