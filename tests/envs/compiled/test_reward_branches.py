"""The reward functions against Meta-World's on made-up scenes, which reach the branches that no policy reaches.

A scene puts whatever a task reads anywhere (near the fingers, the target, the start, or off the table), without
regard to physics. Meta-World's environment is made to see it, and says what a step came to.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from envs.benchmarks import TASK_NAMES
from envs.compiled.task import ROBOT, Reading
from envs.reference import ReferenceEnv
from envs.worlds import GOAL_SIZE
from tests.envs.compiled.parity import SomeWorlds, goals_of, step

QUICK = ("assembly-v3", "bin-picking-v3", "pick-out-of-hole-v3", "stick-pull-v3", "sweep-v3")
LOW, HIGH = (-0.5, 0.4, -0.15), (0.5, 1.0, 0.5)

Scene = dict[str, NDArray[np.float64]]
Alter = Callable[[np.random.Generator, Scene], None]


def near(generator: np.random.Generator, places: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """A place near one of these, or anywhere; at times at another height."""
    anywhere = generator.uniform(LOW, HIGH)
    place = [*places, anywhere][generator.integers(len(places) + 1)].copy()
    place += generator.normal(0, 1, 3) * generator.choice([0.001, 0.01, 0.05])
    if generator.random() < 0.3:
        place[2] = anywhere[2]
    return place


def make_scene(
    generator: np.random.Generator, readings: dict[str, Reading], current: Scene, state: Scene
) -> Scene:
    """Values for all readings; `current` are those at the reset."""
    start = state.get("object_start", state["target"])
    tcp = near(generator, [state["target"], start])
    scene = {"hand": tcp + generator.normal(0, 1, 3) * generator.choice([0.002, 0.02, 0.1])}
    along_y = np.array([0.0, 1.0, 0.0])
    for pair, widest in (("finger", 0.02), ("pad", 0.07), ("claw", 0.06)):
        for side, sign in (("left", 1), ("right", -1)):
            scene[f"{side}_{pair}"] = tcp + sign * generator.uniform(0, widest) * along_y
    places = [(scene["left_finger"] + scene["right_finger"]) / 2, state["target"], start]
    for name in readings.keys() - ROBOT.keys():
        kind, before = readings[name].kind, current[name]
        if kind == "position":
            scene[name] = near(generator, [*places, before])
            places.append(scene[name])
        elif kind == "joint":
            scene[name] = before + generator.normal(0, 1) * generator.choice([0.01, 0.1])
        elif kind == "grip":
            scene[name] = np.zeros(1)
        else:
            turn = Rotation.from_rotvec(generator.normal(0, 1, 3) * generator.choice([0.0, 0.1, 2.0]))
            if kind == "axes":
                scene[name] = (turn.as_matrix() @ before.reshape(3, 3).T).T.ravel()
            else:
                scene[name] = (turn * Rotation.from_quat(before[[1, 2, 3, 0]])).as_quat()[[3, 0, 1, 2]]
    return scene


def show(environment, readings: dict[str, Reading], scene: Scene) -> None:
    """Writes a scene where Meta-World reads it."""
    for name, reading in readings.items():
        value = scene[name]
        if reading.kind == "grip":
            continue
        seen = getattr(environment.data, reading.object)(reading.name)
        if reading.kind == "joint":
            seen.qpos[:] = value
        elif reading.kind == "position":
            seen.xpos[:] = value
        elif reading.kind == "quaternion":
            seen.xquat[:] = value
        else:
            seen.xmat[:] = value.reshape(3, 3).T.ravel()


def outcome(environment, action: NDArray[np.float64]) -> tuple[float, bool]:
    """What Meta-World makes of what it sees, as at the end of its `step`."""
    space = environment.sawyer_observation_space
    observation = np.clip(environment._get_obs(), space.low, space.high)
    reward, info = environment.evaluate_state(observation, action)
    return float(reward), bool(info["success"])


def check_branches(
    task: str, version: str, num_goals: int, num_scenes: int, alter: Alter | None = None
) -> None:
    generator = np.random.default_rng(0)
    reference, ours = ReferenceEnv(task, version), SomeWorlds(task, version, 1)
    readings = ours.task.all_readings
    refused = 0
    for goal in goals_of(task, num_goals):
        reference.reset(options={"goals": [np.resize(goal, GOAL_SIZE)]})
        ours.reset(0, goal)
        environment = reference.environment
        mujoco.mj_forward(environment.model, environment.data)
        simulated = step(ours, np.zeros((1, 4)))
        current = {name: np.array(value[0]) for name, value in simulated.items()}
        for _ in range(num_scenes):
            state = {name: value[0] for name, value in ours.fields.items()}
            scene, action = make_scene(generator, readings, current, state), generator.uniform(-1, 1, 4)
            if alter is not None:
                alter(generator, scene)
            show(environment, readings, scene)
            try:
                expected = outcome(environment, action)
            except (AssertionError, ValueError):  # it refuses some scenes, by a negative margin for example
                refused += 1
                continue
            for name, value in ours.simulation.read(ours.sensors).items():
                value[0] = scene[name]
            ours.records["action"][0] = action
            ours.states[
                0, ours.simulation.time
            ] = -1.0  # else the clock, which stands still, means that it diverged
            ours.conclude(0)
            np.testing.assert_allclose(ours.records["reward"][0], expected[0], rtol=1e-6, atol=1e-9)
            assert ours.records["success"][0] == expected[1]
    assert refused < 0.2 * num_goals * num_scenes


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("task", QUICK)
def test_made_up_scenes(task: str, version: str) -> None:
    check_branches(task, version, num_goals=2, num_scenes=150)


def stick_for_thermos(generator: np.random.Generator, scene: Scene) -> None:
    """Puts the stick, held, near where the first reward takes the thermos to be: at its height and its turn."""
    x, y = generator.uniform((0.05, 0.4), (0.5, 0.8))
    turn = Rotation.from_quat([y, x, 0.0, np.sqrt(1 - x**2 - y**2)])
    scene["stick"] = np.array([x, y, x]) + generator.normal(0, 0.02, 3)
    scene["stick_axes"] = turn.as_matrix().T.ravel()
    scene["left_finger"] = scene["right_finger"] = scene["stick"] + generator.normal(0, 0.02, 3)


@pytest.mark.parametrize("task", ["stick-push-v3", "stick-pull-v3"])
def test_a_stick_that_is_taken_for_the_thermos(task: str) -> None:
    check_branches(task, "v1", num_goals=2, num_scenes=300, alter=stick_for_thermos)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_made_up_scenes_for_every_task(task: str, version: str) -> None:
    check_branches(task, version, num_goals=5, num_scenes=1000)
