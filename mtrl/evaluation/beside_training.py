"""Evaluating the policy beside training: in a process of its own, while training goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs import VectorEnv
from envs.cores import yield_to_others
from envs.processes import without_main_module
from mtrl.config.train import TrainConfig
from mtrl.device.host_copy import HostCopier
from mtrl.evaluation.during_training import Evaluated, PolicyState, evaluate_policy
from mtrl.evaluation.episodes import evaluation_env_arguments, make_agent
from mtrl.policy.acting import VectorPolicy

_Arrays = Mapping[str, Mapping[str, NDArray[np.float32]]]


class BackgroundEvaluator:
    """Evaluates in a process with worlds of its own, which leaves the processor to training where both want it.

    If the process dies, another one evaluates the same policy, once.
    """

    background = True

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._arguments = evaluation_env_arguments(config, config.seeds, config.evaluation, config.engine)
        self._thread = ThreadPoolExecutor(1, "evaluation")  # waits for the policy's copy, and for the process
        self._evaluated: Future[Evaluated] | None = None
        self._closing = False
        self._start_process()

    def _start_process(self) -> None:
        # A fork would take CUDA and the locks of other threads with it.
        self._process = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin)
        with without_main_module():
            self._prepared = self._process.submit(_prepare, self._config, self._arguments)

    def start(self, policy: PolicyState) -> Future[Evaluated]:
        """
        Raises, by what it returns:
            RuntimeError: the process died, and so did another one, or what it ran raised.
        """
        self._evaluated = self._thread.submit(self._evaluate, policy, HostCopier())
        return self._evaluated

    def _evaluate(self, policy: PolicyState, copier: HostCopier) -> Evaluated:
        arrays: _Arrays = {  # they are pickled ten times as fast as tensors
            network: dict(zip(parameters, (x.numpy() for x in copier(parameters.values())), strict=True))
            for network, parameters in policy.items()
        }
        try:
            try:
                return self._in_process(arrays)
            except BrokenProcessPool:
                if self._closing:
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
        if self._prepared.done() and (self._evaluated is None or self._evaluated.done()):
            # A kill would leave the processes of its environments behind.
            with contextlib.suppress(BrokenProcessPool):
                self._process.submit(_close).result()
        else:
            self._closing = True
            for process in list((self._process._processes or {}).values()):  # in Python 3.14 `kill_workers`
                process.kill()
        self._process.shutdown()
        self._thread.shutdown()


# ---------------------------------------------------------------- in the process


def _begin() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all of a job; the parent decides
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    yield_to_others()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Evaluation:
    """Worlds and an agent that takes one policy after the other."""

    def __init__(self, config: TrainConfig, env_arguments: dict[str, Any]) -> None:
        if config.device == "cuda":
            torch.set_float32_matmul_precision("high")
        self._config, self._env = config, VectorEnv(**env_arguments)
        self._agent = make_agent(config, self._env)
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

    def close(self) -> None:
        self._env.close()


_evaluation: _Evaluation | None = None


def _prepare(config: TrainConfig, env_arguments: dict[str, Any]) -> None:
    global _evaluation
    _evaluation = _Evaluation(config, env_arguments)


def _close() -> None:
    if _evaluation is not None:
        _evaluation.close()


def _evaluate_arrays(arrays: _Arrays) -> Evaluated:
    assert _evaluation is not None
    return _evaluation.evaluate(arrays)
