"""Processes for the tests of the board."""

import random
import sys
import time

from envs.board import Board


def claim(descriptor: int, num_workers: int, sizes: list[int], worker: int, steps: int) -> None:
    """Says it is there, claims slots of so many steps with random delays, from its own queue first, and prints them."""
    board = Board(descriptor, num_workers, sizes)
    queues = [(worker + i) % len(sizes) for i in range(len(sizes))]
    claimer = board.claimer(worker, queues)
    generator = random.Random(worker)
    print("ready", flush=True)
    deadline = time.monotonic() + 60
    while (bell := board.bell()) <= steps and time.monotonic() < deadline:
        while (slot := claimer.claim()) >= 0:
            if generator.random() < 0.05:
                time.sleep(generator.random() * 2e-3)
            sys.stdout.write(f"{slot}\n")
            claimer.finish(slot)
        if generator.random() < 0.2:
            time.sleep(generator.random() * 2e-3)  # late for the next step
        board.rings(bell, 0.01)


def toggle(descriptor: int) -> None:
    """Goes to sleep and wakes up in the name of 16 workers, all the time."""
    board = Board(descriptor, 16, (3, 1, 4))
    while True:
        for worker in range(16):
            board.doze(worker, 0)
        for worker in range(16):
            board.wake(worker)


if __name__ == "__main__":
    descriptor, num_workers, worker = map(int, sys.argv[1:4])
    claim(descriptor, num_workers, [int(size) for size in sys.argv[5].split(",")], worker, int(sys.argv[4]))
