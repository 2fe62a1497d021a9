"""Engines for tests: a world fails, or takes its time, when the last number of its action says so."""

import os
import signal
import time

from envs.batched.engine import BatchedEngine
from envs.reference import ReferenceEngine

DIE, HANG, RAISE, WAIT = 0.125, 0.25, 0.375, 0.5


class _Troubled:
    compiled = None  # so that `step` is called

    def step(self, positions):
        for position in positions:
            trouble = self.buffers.actions[position, 3]
            if trouble == DIE:
                os.kill(os.getpid(), signal.SIGKILL)
            elif trouble == HANG:
                os.kill(os.getpid(), signal.SIGSTOP)
            elif trouble == RAISE:
                raise ArithmeticError("something went wrong")
            elif trouble == WAIT:
                time.sleep(0.03)
        return super().step(positions)


class TroubledBatched(_Troubled, BatchedEngine):
    pass


class TroubledReference(_Troubled, ReferenceEngine):
    pass
