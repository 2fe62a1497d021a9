"""Evaluating the policy beside training: in a process of its own, while training goes on."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs import VectorEnv
from envs.cores import yield_to_others
from envs.processes import SIGNALS, begin_beside, deaf_processes
from mtrl.config.build import evaluation_env_arguments, make_actor_critic
from mtrl.config.train import TrainConfig
from mtrl.device.host_copy import HostCopier
from mtrl.evaluation.foreground import Evaluated, PolicyState, evaluate_policy
from mtrl.policy.acting import VectorPolicy

_Arrays = Mapping[str, Mapping[str, NDArray[np.float32]]]


class BackgroundEvaluator:
    """Evaluates in a process with worlds of its own, which leaves the processor to training where both want it.

    If the process dies, another one evaluates the same policy, once. It ends with this object, closed or not, whatever
    it is at.
    """

    background = True

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._arguments = evaluation_env_arguments(config, config.seeds, config.evaluation, config.engine)
        self._thread = ThreadPoolExecutor(1, "evaluation")  # waits for the policy's copy, and for the process
        self._start_process()

    def _start_process(self) -> None:
        # A fork would take CUDA and the locks of other threads with it.
        context = get_context("spawn")
        theirs, self._alive = context.Pipe(duplex=False)
        self._process = ProcessPoolExecutor(1, context, initializer=begin_beside, initargs=(theirs,))
        with deaf_processes(*SIGNALS):
            self._prepared = self._process.submit(_prepare, self._config, self._arguments)
        theirs.close()
        # As those of concurrent.futures that wait at exit for what is running, and before them.
        threading._register_atexit(weakref.finalize(self, self._alive.close))  # type: ignore[attr-defined]

    def start(self, policy: PolicyState) -> Future[Evaluated]:
        """
        Raises, by what it returns:
            RuntimeError: the process died, and so did another one, or what it ran raised.
        """
        return self._thread.submit(self._evaluate, policy, HostCopier())

    def _evaluate(self, policy: PolicyState, copier: HostCopier) -> Evaluated:
        arrays: _Arrays = {  # they are pickled ten times as fast as tensors
            network: dict(zip(parameters, (x.numpy() for x in copier(parameters.values())), strict=True))
            for network, parameters in policy.items()
        }
        try:
            try:
                return self._in_process(arrays)
            except BrokenProcessPool:
                if self._alive.closed:
                    raise
                print("evaluation: its process died; another one begins again.", file=sys.stderr)
                self._start_process()
                return self._in_process(arrays)
        except BrokenProcessPool:
            raise RuntimeError(
                "The evaluation failed twice (its process died). With --sync training makes it in its own process."
            ) from None
        except Exception as error:
            raise RuntimeError(f"The evaluation failed ({type(error).__name__}: {error}).") from None

    def _in_process(self, arrays: _Arrays) -> Evaluated:
        self._prepared.result()
        return self._process.submit(_evaluate_arrays, arrays).result()

    def close(self) -> None:
        self._alive.close()
        self._process.shutdown()
        self._thread.shutdown()


# ---------------------------------------------------------------- in the process


class _Evaluation:
    """Worlds and an agent that takes one policy after the other."""

    def __init__(self, config: TrainConfig, env_arguments: dict[str, Any]) -> None:
        if config.device == "cuda":
            torch.set_float32_matmul_precision("high")
        self._config, self._env = config, VectorEnv(**env_arguments)
        self._agent = make_actor_critic(config, self._env)
        shape = (*self._env.layout, self._agent.observation_size)
        self._policy = VectorPolicy(self._agent, shape, deterministic=True, spin=False)

    def evaluate(self, arrays: _Arrays) -> Evaluated:
        self._agent.load_policy(
            {
                network: {name: torch.from_numpy(value) for name, value in parameters.items()}
                for network, parameters in arrays.items()
            }
        )
        return evaluate_policy(self._config, self._env, self._act, torch.device("cpu"))

    def _act(self, observation: Tensor) -> Tensor:
        self._policy.start(observation)
        return self._policy.finish()


_evaluation: _Evaluation | None = None


def _prepare(config: TrainConfig, env_arguments: dict[str, Any]) -> None:
    global _evaluation
    yield_to_others()
    torch.set_num_threads(1)
    _evaluation = _Evaluation(config, env_arguments)


def _evaluate_arrays(arrays: _Arrays) -> Evaluated:
    assert _evaluation is not None
    return _evaluation.evaluate(arrays)
