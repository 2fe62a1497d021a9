"""`mtrl` in a process that ends with the one that started it: `python -m mtrl.cli.child PARENT_ID ARGUMENTS`.

A sweep, or a Ray worker, may be killed without a chance to stop its runs. One that trained on would be in the way of
the process that goes on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from mtrl.sweep import CORES


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if cores := os.environ.pop(CORES, ""):  # before anything starts threads
        os.sched_setaffinity(0, map(int, cores.split(",")))
    threading.Thread(target=_follow, args=[int(sys.argv[1])], daemon=True).start()
    from mtrl.cli import main

    sys.exit(main(sys.argv[2:]))
