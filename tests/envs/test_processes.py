"""Processes of environments leave signals to the one that started them, from their first moment."""

import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from threading import Thread

import numpy as np
import pytest

from envs.processes import Processes
from tests.envs.own_environments import Line


def test_ctrl_c_does_not_reach_a_process_that_begins(capfd: pytest.CaptureFixture[str]) -> None:
    """It imports what it needs meanwhile."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # another test's would hand on its own mask
    others = {*multiprocessing.active_children()}  # of tests before this one
    begun: list[int] = []

    def interrupt() -> None:
        while len(begun) < 2:
            for process in multiprocessing.active_children():
                if process.pid is not None and process.pid not in begun:
                    begun.append(process.pid)
                    os.kill(process.pid, signal.SIGINT)
            time.sleep(0.001)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGINT)  # type: ignore[attr-defined]

    thread = Thread(target=interrupt, daemon=True)
    thread.start()
    processes = Processes([Line, Line], num_workers=1)
    thread.join()
    observations, _ = processes.call("reset", seed=[0, 1])
    assert np.isfinite(observations).all()
    assert {process.pid for process in {*multiprocessing.active_children()} - others} == {*begun}
    processes.close()
    assert capfd.readouterr().err == ""
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
