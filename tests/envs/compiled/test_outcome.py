"""Every task's step, compiled, is the function that it was compiled from, on readings of all kinds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.benchmarks import TASK_NAMES
from envs.compiled.outcome import outcome_of
from envs.compiled.task import load_task
from tests.envs.compiled.parity import SomeWorlds, goals_of
from tests.envs.compiled.test_native import code_of, run
from tests.envs.compiled.test_reward_branches import make_scene

RESULTS = {"frame", "observation", "reward", "success", "diverged", "invalid"}
NUM_SCENES = 300
FROM_C = {"exp", "log", "sin", "cos"}  # the last bit of these differs


def make_inputs(name: str) -> dict[str, NDArray[np.float64]]:
    """Scenes of a task: made up, some of them rounded, so that they are at the edges of what the reward tells apart,
    and some broken by NaN, infinities or zeros; the first is what the simulation shows after a step."""
    generator = np.random.default_rng(0)
    task = load_task(name)
    worlds = SomeWorlds(name, "v2", 1)
    simulation = worlds.simulation
    worlds.reset(0, goals_of(name, 1)[0])
    fields = {key: value[0].copy() for key, value in worlds.fields.items()}
    worlds.step(0)
    current = {key: value[0].copy() for key, value in simulation.read(worlds.sensors).items()}
    sensors = np.repeat(worlds.sensors, NUM_SCENES, axis=0)
    places = simulation.read(sensors)
    for i in range(1, NUM_SCENES):
        for key, value in make_scene(generator, task.all_readings, current, fields).items():
            places[key][i] = value
    sensors[100:200] = sensors[100:200].round(2)
    for i in range(250, NUM_SCENES):
        broken = generator.choice(sensors.shape[1], generator.integers(1, 10), replace=False)
        sensors[i, broken] = generator.choice([np.nan, np.inf, -np.inf, 0.0])
    return {
        "sensors": sensors,
        "action": generator.uniform(-1, 1, (NUM_SCENES, 4)).round(1),
        "frame": generator.normal(size=(NUM_SCENES, 18)),
        "observation": generator.normal(size=(NUM_SCENES, 39)),
        "time": generator.choice([0.0, sensors[0, 0], 1.0], NUM_SCENES),
        **{key: np.repeat(np.asarray(value)[None], NUM_SCENES, axis=0) for key, value in fields.items()},
    }


@pytest.mark.parametrize("name", TASK_NAMES)
def test_compiled_steps_are_numpys(name: str) -> None:
    task, inputs = load_task(name), make_inputs(name)
    before = {key: value.copy() for key, value in inputs.items()}
    for version in ("v1", "v2"):
        function = outcome_of(task, version)
        with np.errstate(all="ignore"):
            expected = {key: np.array(value) for key, value in function(inputs).items()}
        assert RESULTS <= expected.keys() <= RESULTS | inputs.keys()
        results = run(function, inputs, expected)
        exact = FROM_C.isdisjoint(code_of(function, results).module.globals)
        for key, value in expected.items():
            if exact or value.dtype == np.bool_:
                np.testing.assert_array_equal(results[key], value, err_msg=key)
            else:
                np.testing.assert_allclose(results[key], value, rtol=1e-14, atol=1e-12, err_msg=key)
        assert expected["success"].dtype == np.bool_
        assert 0 < expected["diverged"].sum() < expected["invalid"].sum() < NUM_SCENES
        invalid = expected["invalid"]
        assert np.isfinite(expected["observation"]).all()
        np.testing.assert_array_equal(expected["observation"][invalid], inputs["observation"][invalid])
        assert not expected["reward"][invalid].any()
        assert not expected["success"][invalid].any()
    for key, value in before.items():
        np.testing.assert_array_equal(inputs[key], value)
