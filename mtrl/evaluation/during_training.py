"""Judging the policy during training: in this process, or in one of its own while training goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.sac import SAC
from envs import VectorEnv
from envs.cores import yield_to_others
from mtrl.config.train import TrainConfig
from mtrl.device.host_copy import HostCopier
from mtrl.evaluation.episodes import Episodes, evaluation_env_arguments, make_agent, run_episodes
from mtrl.policy.acting import VectorPolicy, finite_actions
from mtrl.system.channel import Channel
from mtrl.system.process import Worker, WorkerError, live

Policy = Mapping[str, Mapping[str, Tensor]]
"""What `SAC.policy_state` gives."""
_Arrays = Mapping[str, Mapping[str, NDArray[np.float32]]]

_CHANCES = 2


class Judged(NamedTuple):
    """The outcomes, and for which seeds all actions were finite [S]; others were replaced by zero."""

    episodes: Episodes
    finite: NDArray[np.bool_]


class Evaluator(Protocol):
    """Judges one policy at a time.

    Attributes:
        background: whether `start` returns at once.
    """

    background: bool

    def start(self, policy: Policy) -> None:
        """Begins to judge; what was begun before has been fetched."""

    def ready(self, seconds: float = 0.0) -> bool:
        """Whether `result` need not wait, within so many seconds."""

    def result(self) -> Judged:
        """What `start` began."""

    def close(self) -> None: ...


class ForegroundEvaluator:
    """Judges in this process, by the agent that is trained.

    Args:
        before_step: called before each step of the worlds; if it raises, the evaluation is off.
    """

    background = False

    def __init__(self, config: TrainConfig, agent: SAC, before_step: Callable[[], None]) -> None:
        self._env = VectorEnv(**_env_arguments(config))
        self._config, self._agent, self._before_step = config, agent, before_step
        self._judged: Judged | None = None

    def start(self, policy: Policy) -> None:
        trained = self._agent.policy_state()
        self._agent.load_policy(policy)
        try:
            self._judged = _judge(self._config, self._env, self._act, self._agent.device)
        finally:
            self._agent.load_policy(trained)

    def _act(self, observation: Tensor) -> Tensor:
        self._before_step()
        return self._agent.act(observation, deterministic=True)

    def ready(self, seconds: float = 0.0) -> bool:
        return True

    def result(self) -> Judged:
        assert self._judged is not None
        return self._judged

    def close(self) -> None:
        self._env.close()


class BackgroundEvaluator:
    """Judges in processes of its own, with their own worlds, which leave the processor to training where both want it.

    With several seeds these are two, each for some of them: one simulates while the other waits for its actions.
    A process that fails is replaced once by another, which judges the same policy.
    """

    background = True

    def __init__(self, config: TrainConfig) -> None:
        middle = (len(config.seeds) + 1) // 2
        self._parts = [part for part in (slice(middle), slice(middle, None)) if config.seeds[part]]
        self._judges = [_Judge(dataclasses.replace(config, seeds=config.seeds[part])) for part in self._parts]
        self._sender = ThreadPoolExecutor(1, "policy")

    def start(self, policy: Policy) -> None:
        # By a thread: the processes may be slow to take it.
        self._sending = self._sender.submit(self._send, policy, HostCopier())

    def _send(self, policy: Policy, copier: HostCopier) -> None:
        arrays = {  # which are pickled ten times as fast as tensors
            network: dict(zip(parameters, (x.numpy() for x in copier(parameters.values())), strict=True))
            for network, parameters in policy.items()
        }
        for judge, part in zip(self._judges, self._parts, strict=True):
            judge.send({n: {name: x[part] for name, x in values.items()} for n, values in arrays.items()})

    def ready(self, seconds: float = 0.0) -> bool:
        return all(judge.ready(seconds) for judge in self._judges)

    def result(self) -> Judged:
        """
        Raises:
            RuntimeError: a process failed, and so did another one.
        """
        self._sending.result()
        judged = [judge.receive() for judge in self._judges]
        episodes = {
            name: np.concatenate([vars(part.episodes)[name] for part in judged])
            for name in vars(judged[0].episodes)
        }
        return Judged(Episodes(**episodes), np.concatenate([part.finite for part in judged]))

    def close(self) -> None:
        for judge in self._judges:
            judge.close()
        self._sender.shutdown()


class _Judge:
    """A process that judges the policies of some seeds, and another one if it fails."""

    def __init__(self, config: TrainConfig) -> None:
        self._assignment = _Assignment(config, _env_arguments(config))
        self._policy: _Arrays = {}
        self._worker = self._start_worker()

    def _start_worker(self) -> Worker:
        return Worker(self._assignment, (), __name__)

    def send(self, policy: _Arrays) -> None:
        self._policy = policy
        self._worker.send(policy)

    def ready(self, seconds: float) -> bool:
        return self._worker.channel.ready(seconds)

    def receive(self) -> Judged:
        for chance in range(_CHANCES):
            try:
                judged: Judged = self._worker.receive()[0]
                return judged
            except WorkerError as error:
                self._worker.stop()
                self._worker = self._start_worker()
                reason = str(error).removeprefix("its worker ")
                if chance + 1 < _CHANCES:
                    print(f"evaluation: the {reason}; another one begins again.", file=sys.stderr)
                    self._worker.send(self._policy)
        raise RuntimeError(
            f"Evaluations keep failing: the {reason}. With --sync training makes them in its own process."
        )

    def close(self) -> None:
        self._worker.stop()


@dataclasses.dataclass(frozen=True)
class _Assignment:
    config: TrainConfig
    env_arguments: dict[str, Any]


def serve(descriptor: int) -> None:
    """The life of the process: after its assignment it judges the policies that it is sent."""
    yield_to_others()
    live(descriptor, _judge_all)


def _judge_all(channel: Channel) -> None:
    assignment: _Assignment = channel.receive()
    config = assignment.config
    if config.device == "cuda":
        torch.set_float32_matmul_precision("high")
    with contextlib.closing(VectorEnv(**assignment.env_arguments)) as env:
        agent = make_agent(config, env)
        shape = (*env.layout, agent.observation_size)
        policy = VectorPolicy(agent, shape, deterministic=True, spin=False)

        def act(observation: Tensor) -> Tensor:
            if channel.ready(0.0):  # nothing is sent meanwhile: the parent is gone
                raise EOFError
            policy.start(observation)
            return policy.finish()

        while True:
            arrays: _Arrays = channel.receive()
            agent.load_policy(
                {
                    network: {name: torch.from_numpy(value) for name, value in parameters.items()}
                    for network, parameters in arrays.items()
                }
            )
            channel.send((True, _judge(config, env, act, torch.device("cpu"))))


def _env_arguments(config: TrainConfig) -> dict[str, Any]:
    return evaluation_env_arguments(config, config.seeds, config.evaluation, config.engine)


def _judge(
    config: TrainConfig, env: VectorEnv, act: Callable[[Tensor], Tensor], device: torch.device
) -> Judged:
    """Runs the evaluation's episodes; `act` takes observations [S, T, W, O] on the device."""
    finite = np.ones(len(config.seeds), dtype=np.bool_)

    def policy(observation: Tensor) -> Tensor:
        nonlocal finite
        actions, finite_now = finite_actions(act(observation).cpu())
        finite = finite & finite_now
        return actions

    assert config.evaluation.episodes is not None
    episodes = run_episodes(env, policy, config.evaluation.episodes, device)
    return Judged(episodes, finite)
