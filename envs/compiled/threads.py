"""Threads that step all worlds together, without Python between two worlds (`envs.compiled.loop`)."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.compiled import loop

_code = loop.write().compile()
_ADDRESS = ctypes.c_void_p
_run = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS)(_code("run"))
_serve = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, ctypes.c_int64)(_code("serve"))
_stop = ctypes.CFUNCTYPE(None, _ADDRESS)(_code("stop"))


class Threads:
    """Threads, the caller's the first of them. The others end when this is closed, or when nobody has it any more.

    Args:
        records: of the worlds [N] (`envs.compiled.compiled_task.RECORD`).
        steps: the addresses of the tasks' steps.
        simulations: what `Simulation.addresses` gives, of each thread and task [threads, tasks, NUM_ADDRESSES].
    """

    def __init__(
        self,
        records: NDArray[np.void],
        steps: Sequence[int],
        simulations: NDArray[np.int64],
    ) -> None:
        self._records, self._simulations = records, simulations
        self._steps = np.array(steps, np.int64)
        self._order = np.arange(len(records))
        # Each thread owns as many worlds, of as few tasks as possible.
        bounds = np.arange(len(simulations) + 1) * len(records) // len(simulations)
        by_task = np.argsort(records["task"], kind="stable")
        self._owners = np.empty_like(self._order)
        self._owners[by_task] = np.repeat(np.arange(len(simulations)), np.diff(bounds))
        self._start()

    def _start(self) -> None:
        memory = np.zeros(loop.num_words(len(self._simulations)) + loop.LINE, np.int64)
        shared = memory[-(memory.ctypes.data // 8) % loop.LINE :]
        self._shared = shared.ctypes.data
        shared[loop.COUNT], shared[loop.THREADS] = len(self._records), len(self._simulations)
        for index, array in (
            (loop.ORDER, self._order),
            (loop.RECORDS, self._records),
            (loop.STEPS, self._steps),
        ):
            shared[index] = array.ctypes.data
        library = ctypes.PyDLL(None)
        library.pthread_mutex_init(_ADDRESS(shared[loop.MUTEX :].ctypes.data), None)
        library.pthread_cond_init(_ADDRESS(shared[loop.CHANGED :].ctypes.data), None)
        threads = [
            threading.Thread(target=_serve, args=(self._shared, simulations.ctypes.data, number), daemon=True)
            for number, simulations in enumerate(self._simulations[1:], 1)
        ]
        for thread in threads:
            thread.start()
        self._process = os.getpid()
        used = (memory, self._order, self._records, self._steps, self._simulations)
        self._finalizer = weakref.finalize(self, _end, self._process, self._shared, threads, used)

    def step(self) -> None:
        """One step of every world; what took long the last time comes first, so that the threads end together."""
        if os.getpid() != self._process:  # a fork has none of the threads
            self._finalizer.detach()
            self._start()
        self._order[:] = np.lexsort((self._records["cost"], self._owners))  # a share is taken from its end
        _run(self._shared, self._simulations[0].ctypes.data)

    def close(self) -> None:
        self._finalizer()


def _end(process: int, shared: int, threads: Sequence[threading.Thread], used: Any) -> None:
    """Ends the threads; until then, what they use must not be freed."""
    if os.getpid() == process:
        _stop(shared)
        for thread in threads:
            thread.join()
