"""The parts of the reward functions against Meta-World's own, one world at a time."""

from types import SimpleNamespace

import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

from envs.compiled.arrays import quaternion
from envs.compiled.rewards import caging, caging_by_effort, caging_by_pads, hamacher, prism, tolerance

N = 300


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("sigmoid", ["long_tail", "gaussian"])
def test_tolerance(generator, sigmoid) -> None:
    x = generator.uniform(-0.5, 1, N)
    margin = np.where(generator.random(N) < 0.1, 0.0, generator.uniform(0, 0.5, N))
    expected = [
        reward_utils.tolerance(float(a), (0.1, 0.4), float(m), sigmoid)
        for a, m in zip(x, margin, strict=True)
    ]
    np.testing.assert_allclose(tolerance(x, (0.1, 0.4), margin, sigmoid), expected, rtol=1e-12, atol=1e-99)
    for constant in (0.0, 0.3):
        expected = [reward_utils.tolerance(float(a), (0.1, 0.4), constant, sigmoid) for a in x]
        np.testing.assert_allclose(
            tolerance(x, (0.1, 0.4), constant, sigmoid), expected, rtol=1e-12, atol=1e-99
        )


def test_hamacher(generator) -> None:
    a, b = generator.random((2, N))
    a[:5], b[3:8] = 0.0, 0.0
    expected = [reward_utils.hamacher_product(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(hamacher(a, b), expected, rtol=1e-12)


def test_prism(generator) -> None:
    point, zero, one = generator.random((3, N, 3))
    expected = [reward_utils.rect_prism_tolerance(*row) for row in zip(point, zero, one, strict=True)]
    assert min(expected) < 1
    np.testing.assert_allclose(prism(point, zero, one), expected, rtol=1e-12)


def test_quaternion_has_scipys_value_and_sign() -> None:
    quarter_turns = Rotation.create_group("O").as_matrix()  # where the four ways to write a quaternion tie
    matrices = np.concatenate([Rotation.random(N, rng=np.random.default_rng(0)).as_matrix(), quarter_turns])
    axes = matrices.transpose(0, 2, 1).reshape(-1, 9)
    expected = Rotation.from_matrix(matrices).as_quat()
    np.testing.assert_allclose(quaternion(axes), expected, atol=1e-15)


def scenes(generator: np.random.Generator) -> tuple[dict, dict, np.ndarray, np.ndarray, np.ndarray]:
    """Grippers near an object, closed around it in many of them."""
    position = generator.uniform(-0.1, 0.1, (N, 3))
    start = position + generator.normal(0, 0.05, (N, 3))
    tcp = position + generator.normal(0, 1, (N, 3)) * generator.choice([0.001, 0.01, 0.1], (N, 1))
    gap = generator.uniform(0.01, 0.06, (N, 2, 1)) * np.array([0.0, 1.0, 0.0])
    readings = {"left_pad": position + gap[:, 0], "right_pad": position - gap[:, 1], "tcp": tcp}
    tcp_start = start + np.array([0.0, 0.0, 0.2])
    state = {"tcp_start": tcp_start, "object_start": start}
    return readings, state, generator.uniform(-1, 1, (N, 4)), position, start


def stub(readings: dict, state: dict, start: np.ndarray, i: int) -> SimpleNamespace:
    """What Meta-World's caging functions ask an environment for."""
    pads = {"leftpad": readings["left_pad"][i], "rightpad": readings["right_pad"][i]}
    return SimpleNamespace(
        get_body_com=pads.__getitem__,
        tcp_center=readings["tcp"][i],
        init_tcp=state["tcp_start"][i],
        obj_init_pos=start[i],
        init_left_pad=pads["leftpad"],  # views of the current ones, in Meta-World
        init_right_pad=pads["rightpad"],
    )


@pytest.mark.parametrize("density", ["low", "medium", "high"])
@pytest.mark.parametrize("effort", [1.0, 0.5])
def test_caging(generator, density, effort) -> None:
    readings, state, action, position, start = scenes(generator)
    sizes = {"obj_radius": 0.015, "pad_success_thresh": 0.05, "object_reach_radius": 0.01, "xz_thresh": 0.005}
    densities = {"high_density": density == "high", "medium_density": density == "medium"}
    expected = [
        SawyerXYZEnv._gripper_caging_reward(
            stub(readings, state, start, i),
            action[i],
            position[i],
            desired_gripper_effort=effort,
            **sizes,
            **densities,
        )
        for i in range(N)
    ]
    result = caging(
        readings,
        state,
        action,
        position,
        object_radius=0.015,
        xz_threshold=0.005,
        density=density,
        reach_radius=0.01,
        desired_effort=effort,
    )
    assert np.max(expected) > 0.5
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_caging_by_effort_is_pick_places(generator) -> None:
    readings, state, action, position, start = scenes(generator)
    cls = ALL_V3_ENVIRONMENTS["pick-place-v3"]
    expected = [
        cls._gripper_caging_reward(stub(readings, state, start, i), action[i], position[i]) for i in range(N)
    ]
    result = caging_by_effort(readings, state, action, position, object_radius=0.015)
    assert np.max(expected) > 0.5
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("task", "grip_margin", "xz_threshold"),
    [
        ("push-back-v3", 0.003, 0.01),
        ("soccer-v3", 0.01, 0.005),
        ("sweep-v3", 0.01, 0.005),
        ("sweep-into-v3", 0.005, 0.01),
    ],
)
def test_caging_by_pads(generator, task, grip_margin, xz_threshold) -> None:
    readings, state, action, position, start = scenes(generator)
    cls = ALL_V3_ENVIRONMENTS[task]
    expected = [
        cls._gripper_caging_reward(stub(readings, state, start, i), action[i], position[i], 0.02)
        for i in range(N)
    ]
    result = caging_by_pads(
        readings,
        state,
        position,
        object_radius=0.02,
        grip_margin=grip_margin,
        xz_threshold=xz_threshold,
    )
    assert np.max(expected) > 0.5
    np.testing.assert_allclose(result, expected, rtol=1e-10)
