"""Physics and nothing else: what `mtrl benchmark env` compares environments with."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.benchmarks import Protocol, get_benchmark
from envs.compiled.scene import FRAME_SKIP
from envs.compiled.simulation import ACTION_SCALE, Simulation
from envs.compiled.task import load_task
from envs.goals import benchmark_goals
from envs.headless import mujoco
from envs.worlds import ACTION_SIZE, World

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def random_actions(positions: Sequence[int], count: int) -> NDArray[np.float64]:
    """The actions [count, n, 4] of the worlds at these positions, the same for all contenders: how they move the
    arm decides how many contacts the physics has to solve."""
    streams = [np.random.default_rng((0, position)) for position in positions]
    return np.stack([stream.uniform(-1, 1, (count, ACTION_SIZE)) for stream in streams], axis=1)


def phases(positions: Sequence[int], num_worlds: int, horizon: int) -> NDArray[np.int64]:
    """How far each of these worlds is into its episode: evenly spread, so that every timing has its share of
    resets."""
    steps: NDArray[np.int64] = np.random.default_rng(0).permutation(
        np.arange(num_worlds) * horizon // num_worlds
    )
    return steps[list(positions)]


class BarePhysics:
    """The engine's models, goals and actions: five steps of MuJoCo and a forward pass for each world.

    No sensor, observation, reward or waiting for other processes; an episode's start is copied. The engine's models
    lack what is only looked at, which makes them about a tenth quicker than Meta-World's.
    """

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_worlds: int) -> None:
        tasks = dict.fromkeys(world.task for world in worlds)
        self.groups = [
            _Worlds([world for world in worlds if world.task == task], protocol, num_worlds) for task in tasks
        ]
        self.num_worlds, self.count = len(worlds), 0

    def measure(self, seconds: float) -> float:
        """Environment steps per second, all worlds in turn."""
        started = time.perf_counter()
        steps = 0
        while (elapsed := time.perf_counter() - started) < seconds or steps == 0:
            for group in self.groups:
                group.step(self.count)
            self.count += 1
            steps += 1
        return steps * self.num_worlds / elapsed


class _Worlds:
    """All worlds of one task."""

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_worlds: int) -> None:
        task = load_task(worlds[0].task)
        simulation = Simulation(task)
        self.model = simulation.model
        self.moved = [self.model.body(name).pos for name in task.moved_bodies]
        self.moved += [self.model.site(name).pos for name in task.moved_sites]
        self.low, self.high = np.array(task.hand_low), np.array(task.hand_high)
        self.horizon = protocol.horizon
        positions = [world.position for world in worlds]
        self.actions = random_actions(positions, protocol.horizon)
        self.elapsed = phases(positions, num_worlds, protocol.horizon).tolist()
        goals = benchmark_goals(get_benchmark(f"MT1:{worlds[0].task}"), worlds[0].seed)[0]
        self.data = [mujoco.MjData(self.model) for _ in worlds]
        self.starts: list[NDArray[np.float64]] = []
        self.places: list[list[NDArray[np.float64]]] = []
        for i, data in enumerate(self.data):
            if i < len(goals):
                new = simulation.copy()
                new.reset(goals[worlds[i].index % len(goals)])
                start = np.empty(mujoco.mj_stateSize(self.model, _STATE))
                mujoco.mj_getState(new.model, new.data, start, _STATE)
                places = [*new.model.body_pos[new.bodies], *new.model.site_pos[new.sites]]
            else:  # all goals have had their turn
                start, places = self.starts[i - len(goals)], self.places[i - len(goals)]
            mujoco.mj_setState(self.model, data, start, _STATE)
            self.starts.append(start)
            self.places.append(places)
        self.hands = np.stack([data.mocap_pos[0] for data in self.data])
        self.model.opt.disableflags |= int(
            mujoco.mjtDisableBit.mjDSBL_SENSOR
        )  # Meta-World's models have none

    def step(self, number: int) -> None:
        actions = self.actions[number % len(self.actions)]
        hands = self.hands + actions[:, :3] * ACTION_SCALE
        self.hands = np.minimum(np.maximum(hands, self.low), self.high)
        fingers = actions[:, 3:] * (1.0, -1.0)
        model = self.model
        for i, data in enumerate(self.data):
            for moved, place in zip(self.moved, self.places[i], strict=True):
                moved[:] = place
            if self.elapsed[i] == self.horizon:
                mujoco.mj_setState(model, data, self.starts[i], _STATE)
                self.hands[i] = data.mocap_pos[0]
                self.elapsed[i] = 0
            data.mocap_pos[0], data.ctrl[:] = self.hands[i], fingers[i]
            mujoco.mj_step(model, data, FRAME_SKIP)
            mujoco.mj_forward(model, data)
            self.elapsed[i] += 1
