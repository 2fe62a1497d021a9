"""Runs the batched engine and Meta-World side by side, from the same goals and with the same actions.

For one task: `python -m tests.envs.compiled.parity drawer-close` (see `--help`).
"""

from __future__ import annotations

import argparse
import ctypes
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import mujoco
import numpy as np
from metaworld.policies import ENV_POLICY_MAP
from numpy.typing import NDArray

from envs.benchmarks import get_benchmark, get_protocol, task_name
from envs.compiled import simulation
from envs.compiled.compiled_task import RECORD, compiled_task
from envs.compiled.engine import CompiledEngine
from envs.compiled.task import load_task
from envs.goals import benchmark_goals
from envs.reference import ReferenceEnv
from envs.worlds import GOAL_SIZE, World

Driver = Literal["scripted", "random"]


@dataclass
class Differences:
    """The largest differences over all worlds and steps, and in how many worlds each side ever succeeded."""

    physics: float = 0.0  # of the whole state after a step: positions, velocities, warm start, ...
    first_observation: float = 0.0
    observation: float = 0.0
    reward: float = 0.0  # relative to |reward| + 1e-3
    successes: int = 0  # steps at which one side succeeds and the other does not
    reference_solved: int = 0
    batched_solved: int = 0


def compare(
    task: str,
    reward_version: Literal["v1", "v2"],
    driver: Driver,
    goals: NDArray[np.float64],
    num_steps: int,
    num_worlds: int = 3,
    synchronise: bool = False,
) -> Differences:
    """Steps a few worlds through an episode of `num_steps` from each goal, several goals one after the other.

    Args:
        driver: Meta-World's scripted policy, which sees the reference's observation, or uniformly random
            actions.
        goals: [n, D], with n a multiple of `num_worlds`.
        synchronise: whether the batched worlds take over the reference's simulation state before every step.
            Otherwise both run freely.
    """
    differences = Differences()
    references, batched = _worlds(task, reward_version, num_worlds)
    worlds = batched.tasks[0].states(batched.records)
    states, frames = worlds["simulation"], worlds["frame"]
    policies = [ENV_POLICY_MAP[task]() for _ in range(num_worlds)]
    generator = np.random.default_rng(0)
    for episode in goals.reshape(-1, num_worlds, goals.shape[1]):
        padded = np.stack([np.resize(goal, GOAL_SIZE) for goal in episode])
        expected = np.stack([world.reset(options={"goals": padded})[0] for world in references])
        first = batched.reset(np.arange(num_worlds), padded)
        differences.first_observation = max(differences.first_observation, _largest(first - expected))
        solved = np.zeros((2, num_worlds), dtype=np.bool_)
        for _ in range(num_steps):
            actions = generator.uniform(-1, 1, (num_worlds, 4))
            if driver == "scripted":  # some policies write into what they are given
                actions = np.stack([p.get_action(o.copy()) for p, o in zip(policies, expected, strict=True)])
                actions = np.clip(actions, -1, 1).astype(np.float64)
            if synchronise:
                for i, world in enumerate(references):
                    states[i] = _state(world)
                    frames[i] = world.environment._prev_obs
            steps = [world.step(action) for world, action in zip(references, actions, strict=True)]
            expected, rewards = np.stack([s[0] for s in steps]), np.array([s[1] for s in steps])
            successes = np.array([s[4]["success"] for s in steps])
            assert not any("fault" in s[4] for s in steps)
            observations, our_rewards, our_successes, faults = batched.step(actions)[:4]
            assert not faults
            drift = max(_largest(states[i] - _state(world)) for i, world in enumerate(references))
            differences.physics = max(differences.physics, drift)
            error = np.abs(our_rewards - rewards) / (np.abs(rewards) + 1e-3)
            differences.observation = max(differences.observation, _largest(observations - expected))
            differences.reward = max(differences.reward, _largest(error))
            differences.successes += int((successes != our_successes).sum())
            solved |= np.stack([successes, our_successes])
        differences.reference_solved += int(solved[0].sum())
        differences.batched_solved += int(solved[1].sum())
    return differences


@lru_cache(maxsize=4)  # to make them takes as long as hundreds of steps
def _worlds(task: str, reward_version: str, count: int) -> tuple[list[ReferenceEnv], CompiledEngine]:
    references = [ReferenceEnv(task, reward_version, i) for i in range(count)]
    worlds = [World(i, task, 0, i) for i in range(count)]
    rules = replace(get_protocol("metaworld_plus"), reward_version=reward_version)
    return references, CompiledEngine(worlds, rules, num_workers=2)


class SomeWorlds:
    """Worlds of one task, stepped by machine code one by one.

    Attributes:
        simulation: that the steps are made in; `sensors` [1, ...] is what it shows.
        states, fields: of the simulations, and what the rewards know of the episode, by name [n, ...].
    """

    def __init__(self, task: str, reward_version: str, count: int) -> None:
        self.compiled = compiled_task(task, reward_version)
        self.task = self.compiled.task
        self.records = np.zeros(count, RECORD)
        self.simulation = self.compiled.simulation.copy()
        self.sensors = self.simulation.data.sensordata[None]
        self._addresses = np.array(self.simulation.addresses(), np.int64)
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        self._step, self._outcome = function(self.compiled.step), function(self.compiled.outcome)
        states = self.compiled.states(self.records)
        self.fields = {name: states[name] for name in self.compiled.state.names}
        self.states, self.frames = self.fields.pop("simulation"), self.fields.pop("frame")

    def reset(self, i: int, goal: NDArray[np.float64]) -> None:
        state, observation = self.compiled.initial_state(np.resize(goal, GOAL_SIZE), self.simulation.model)
        self.records["state"][i, : len(state)], self.records["observation"][i] = state, observation

    def step(self, i: int) -> None:
        self._step(self._addresses.ctypes.data, self.records[i : i + 1].ctypes.data)

    def conclude(self, i: int) -> None:
        """What a step does at the end, with the sensors as they are."""
        self._outcome(self.records[i : i + 1].ctypes.data, self.sensors.ctypes.data)


def _largest(values: NDArray[np.float64]) -> float:
    """The largest absolute value; NaN counts as infinite."""
    return float(np.nan_to_num(np.abs(values), nan=np.inf).max())


def _state(reference: ReferenceEnv) -> NDArray[np.float64]:
    """The reference's simulation state and the places of things, as the vector of a batched world."""
    model, data = reference.environment.model, reference.environment.data
    task = load_task(reference.task)
    physics = np.empty(mujoco.mj_stateSize(model, simulation.SPECIFICATION))
    mujoco.mj_getState(model, data, physics, simulation.SPECIFICATION)
    places = [model.body(name).pos for name in task.moved_bodies]
    places += [model.site(name).pos for name in task.moved_sites]
    return np.concatenate([physics, *places])


def step(worlds: SomeWorlds, actions: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The readings after a step of all worlds of a task, with actions [n, 4]; nothing is remembered of it."""
    worlds.records["action"] = actions
    before = {name: field.copy() for name, field in worlds.fields.items()}
    sensors = []
    for i in range(len(actions)):
        worlds.step(i)
        sensors.append(worlds.sensors.copy())
    for name, field in before.items():
        worlds.fields[name][:] = field
    return worlds.simulation.read(np.concatenate(sensors))


def goals_of(task: str, count: int, seed: int = 0) -> NDArray[np.float64]:
    return benchmark_goals(get_benchmark(f"MT1:{task}"), seed)[0][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description="Differences between the batched engine and Meta-World.")
    parser.add_argument("tasks", nargs="+", help="names of tasks, with or without -v3")
    parser.add_argument("--steps", type=int, default=500, help="steps per episode")
    parser.add_argument("--goals", type=int, default=6, help="goals, a multiple of 2")
    parser.add_argument("--synchronise", action="store_true", help="copy the state before every step")
    options = parser.parse_args()
    for task in map(task_name, options.tasks):
        for version in ("v2", "v1"):
            for driver in ("scripted", "random"):
                goals = goals_of(task, options.goals)
                result = compare(task, version, driver, goals, options.steps, 2, options.synchronise)
                print(f"{task:30} {version} {driver:9} {result}", flush=True)


if __name__ == "__main__":
    main()
