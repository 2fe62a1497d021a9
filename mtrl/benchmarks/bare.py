"""Physics and nothing else: what `mtrl benchmark env` compares environments with."""

from __future__ import annotations

import time
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.batched.simulation import ACTION_SCALE, FRAME_SKIP, Simulation
from envs.batched.task import load_task
from envs.benchmarks import Protocol, get_benchmark
from envs.goals import benchmark_goals
from envs.worlds import Buffers, World

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class BarePhysics:
    """The engine's models, one `MjData` per task, under random actions: five steps of MuJoCo and a forward pass.

    No observation, reward or waiting for other processes; an episode's start is copied. The engine's models lack
    what is only looked at, which makes them about a tenth quicker than Meta-World's.
    """

    def __init__(self, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> None:
        self.worlds = [_World(world.task, world.seed, protocol.horizon) for world in worlds]
        self.actions = np.random.default_rng(0).uniform(-1, 1, (1000, 4))

    def run(self, seconds: float) -> float:
        """Environment steps per second, all tasks in turn."""
        started = time.perf_counter()
        count = 0
        while (elapsed := time.perf_counter() - started) < seconds:
            action = self.actions[count % len(self.actions)]
            for world in self.worlds:
                world.step(action)
            count += 1
        return count * len(self.worlds) / elapsed


class _World:
    def __init__(self, task: str, seed: int, horizon: int) -> None:
        simulation = Simulation(load_task(task), 0)
        simulation.reset(benchmark_goals(get_benchmark(f"MT1:{task}"), seed)[0][0])
        self.model, self.data = simulation.model, simulation.data
        self.model.opt.disableflags |= int(
            mujoco.mjtDisableBit.mjDSBL_SENSOR
        )  # Meta-World's models have none
        self.low, self.high = simulation.task.hand_low, simulation.task.hand_high
        self.start = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, self.start, _STATE)
        self.horizon, self.elapsed = horizon, 0

    def step(self, action: NDArray[np.float64]) -> None:
        model, data = self.model, self.data
        if self.elapsed == self.horizon:
            mujoco.mj_setState(model, data, self.start, _STATE)
            self.elapsed = 0
        hand = data.mocap_pos[0] + action[:3] * ACTION_SCALE
        data.mocap_pos[0] = np.minimum(np.maximum(hand, self.low), self.high)
        data.ctrl[:] = action[3], -action[3]
        mujoco.mj_step(model, data, FRAME_SKIP)
        mujoco.mj_forward(model, data)
        self.elapsed += 1
