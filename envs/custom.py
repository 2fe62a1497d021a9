"""Benchmarks of Gymnasium environments that the user names, and the rules they are trained and evaluated by."""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.suggestion import suggestion

_NAME = re.compile(r"[\w.-]+")
_LONGEST_NAME = 100  # bytes; file systems take names of 255, and more than a task's name is in one
_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:.+")


@dataclass(frozen=True)
class CustomTask:
    """A Gymnasium environment as a task.

    Attributes:
        env: the id of a registered environment ("Hopper-v5"), "module:Class", or "module:id" where importing the module
            registers it.
        kwargs: what it is made with; `max_episode_steps` where it is registered, too.
    """

    name: str
    env: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> str | None:
        """The module that has to be imported to make it."""
        return self.env.partition(":")[0] if ":" in self.env else None

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """The environment.

        Raises:
            ValueError: it cannot be made; the sentence has the reason.
        """
        kwargs = self.kwargs if render_mode is None else {**self.kwargs, "render_mode": render_mode}
        try:
            found = self._find()
            if isinstance(found, type):
                made: gymnasium.Env[Any, Any] = found(**kwargs)
                return made
            return gymnasium.make(found, **kwargs)
        except Exception as error:  # it runs code of the user's
            raise ValueError(
                f"The environment {self.env!r} of the task {self.name} cannot be made with {kwargs}: "
                f"{type(error).__name__}: {str(error).rstrip('.')}."
            ) from error

    def time_limit(self) -> int | None:
        """The steps after which it truncates an episode by its registration, if it does."""
        try:
            found = self._find()
        except Exception:  # `make` says what is wrong with it
            return None
        if isinstance(found, type):
            return None
        limit: int | None = self.kwargs.get("max_episode_steps", gymnasium.spec(found).max_episode_steps)
        return limit

    def _find(self) -> type[gymnasium.Env[Any, Any]] | str:
        """Its class, or its id."""
        module, _, name = self.env.rpartition(":")
        if not module:
            return self.env
        found = getattr(importlib.import_module(module), name, None)
        if found is None:
            gymnasium.spec(name)
            return name
        if not (isinstance(found, type) and issubclass(found, gymnasium.Env)):
            raise TypeError(f"{self.env} is no subclass of gymnasium.Env")
        return found


@dataclass(frozen=True)
class CustomProtocol:
    """The rules for environments of the user's.

    Attributes:
        horizon: environment steps until an episode is cut off (a truncation), if the environment does not do so before.
        success: an episode succeeds if the environment says so at any of its steps ("any"), or if it does the last time
            that it says anything of it ("final").
        normalize_rewards, evaluation_interval, evaluation_episodes: as of `envs.benchmarks.Protocol`.
    """

    horizon: int
    success: Literal["any", "final"] = "any"
    name: str = "custom"
    normalize_rewards: bool = False
    evaluation_interval: int = 10_000
    evaluation_episodes: int = 20


@dataclass(frozen=True)
class CustomBenchmark:
    """An ordered set of the user's environments.

    Attributes:
        tasks: their names, in the order of the T axis.
        horizon: see `CustomProtocol`; None takes the longest time limit that the environments have by themselves.
    """

    name: str
    tasks: tuple[str, ...]
    environments: tuple[CustomTask, ...]
    horizon: int | None = None
    success: Literal["any", "final"] = "any"

    @classmethod
    def from_mapping(cls, described: Mapping[str, Any]) -> CustomBenchmark:
        """The benchmark of `{name, horizon, success, tasks: [{name, env, kwargs}, ...]}`, as a YAML file has it.

        Raises:
            ValueError: something of it is missing, unknown or of another kind.
        """
        _check_keys("a benchmark", described, ("name", "horizon", "success", "tasks"))
        tasks = described.get("tasks")
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, Mapping) for task in tasks):
            raise ValueError(
                "A benchmark of your own needs `tasks`, a list such as [{name: hopper, env: Hopper-v5}], and it has "
                f"{tasks!r}."
            )
        environments = tuple(_task(task) for task in tasks)
        names = tuple(task.name for task in environments)
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(
                f"Each task of a benchmark has a name of its own, and {twice[0]!r} is there twice."
            )
        horizon, success = described.get("horizon"), described.get("success", "any")
        if horizon is not None and (type(horizon) is not int or not 0 < horizon < 2**31):
            raise ValueError(
                f"The horizon of a benchmark is a positive number of steps, or null, but it is {horizon!r}."
            )
        if success not in ("any", "final"):
            raise ValueError(f"`success` of a benchmark is any or final, but it is {success!r}.")
        name = _name("benchmark", described.get("name", "-".join(names)))
        return cls(name, names, environments, horizon, success)

    def to_mapping(self) -> dict[str, Any]:
        """What `from_mapping` takes."""
        return {
            "name": self.name,
            "horizon": self.horizon,
            "success": self.success,
            "tasks": [asdict(task) for task in self.environments],
        }

    def with_horizon(self) -> CustomBenchmark:
        """The same with a horizon. It imports the modules that the tasks name.

        Raises:
            ValueError: it has none, and an environment has no time limit.
        """
        if self.horizon is not None:
            return self
        limits = [task.time_limit() for task in self.environments]
        endless = [name for name, limit in zip(self.tasks, limits, strict=True) if limit is None]
        if endless:
            raise ValueError(
                f"The environment of the task {endless[0]} has no time limit: give the benchmark a horizon, the steps "
                "after which an episode is cut off."
            )
        return replace(self, horizon=max(limit for limit in limits if limit is not None))

    @property
    def protocol(self) -> CustomProtocol:
        """
        Raises:
            ValueError: see `with_horizon`.
        """
        horizon = self.with_horizon().horizon
        assert horizon is not None
        return CustomProtocol(horizon, self.success)


def episode_seed(seed: int, task: str, *numbers: int) -> int:
    """The seed that an episode's `reset` is given: a function of its world and number, so that nothing is kept."""
    entropy = [seed, zlib.crc32(task.encode()), *numbers]
    return (
        int(np.random.SeedSequence(entropy).generate_state(1)[0]) >> 1
    )  # below 2**31, which any library takes


def get_spaces(task: CustomTask, environment: gymnasium.Env[Any, Any]) -> tuple[Box, Box]:
    """The observation and action spaces of an environment.

    Raises:
        ValueError: they are no boxes that a policy of continuous actions can be trained on.
    """
    observations, actions = environment.observation_space, environment.action_space
    if not isinstance(observations, Box) or len(observations.shape) != 1 or observations.shape[0] < 1:
        raise ValueError(
            f"Observations are expected to be a Box of one dimension, and those of the task {task.name} are "
            f"{observations}: put a wrapper such as gymnasium.wrappers.FlattenObservation around it in a class of your "
            "own."
        )
    if (
        not isinstance(actions, Box)
        or len(actions.shape) != 1
        or actions.shape[0] < 1
        or not np.issubdtype(actions.dtype, np.floating)
        or not actions.is_bounded()
    ):
        raise ValueError(
            "Actions are expected to be a Box of one dimension with finite bounds, and those of the task "
            f"{task.name} are {actions}: soft actor-critic has continuous actions, which are scaled to the bounds."
        )
    return observations, actions


def shared_sizes(benchmark: CustomBenchmark) -> tuple[int, int]:
    """How many numbers an observation and an action of every task has; each environment is made once to find out.

    Bounds may differ: actions are scaled to those of each task.

    Raises:
        ValueError: one cannot be made, or two have spaces of different shapes.
    """
    found: list[tuple[Box, Box]] = []
    for task in benchmark.environments:
        environment = task.make()
        try:
            found.append(get_spaces(task, environment))
        finally:
            environment.close()
        for kind, first, other in zip(("observation", "action"), found[0], found[-1], strict=True):
            if first.shape != other.shape:
                raise ValueError(
                    f"All tasks of a benchmark have equal {kind} spaces, but that of {benchmark.tasks[0]} is {first} "
                    f"and that of {task.name} is {other}."
                )
    observations, actions = found[0]
    return observations.shape[0], actions.shape[0]


def _task(described: Mapping[str, Any]) -> CustomTask:
    _check_keys("a task", described, ("name", "env", "kwargs"))
    name, env, kwargs = (described.get(key) for key in ("name", "env", "kwargs"))
    if not isinstance(env, str) or not env or (":" in env and not _IMPORT_PATH.fullmatch(env)):
        raise ValueError(
            f"`env` of a task is the id of a registered environment or module:Class, but that of {name!r} is {env!r}."
        )
    if not isinstance(kwargs, (Mapping, type(None))) or not all(isinstance(key, str) for key in kwargs or ()):
        raise ValueError(
            f"`kwargs` of the task {name!r} is a mapping of names to values, but it is {kwargs!r}."
        )
    if kwargs and "render_mode" in kwargs:
        raise ValueError(
            f"`kwargs` of the task {name!r} has no render_mode: `mtrl evaluate --video` chooses it."
        )
    return CustomTask(_name("task", name), env, dict(kwargs or {}))


def _name(kind: str, name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(
            f"The name of a {kind} has letters, digits, `_`, `-` and `.` only, as files are named after it, but it is "
            f"{name!r}."
        )
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(
            f"The name of a {kind} has at most {_LONGEST_NAME} bytes, as files are named after it, but it has "
            f"{len(name.encode())}: {name[:20]}..."
        )
    return name


def _check_keys(kind: str, described: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in described:
        if key not in known:
            hint = suggestion(str(key), known, f"it has {', '.join(known)}.")
            raise ValueError(f"There is no {key!r} in {kind}: {hint}")
