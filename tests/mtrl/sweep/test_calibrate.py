"""Estimates from measurements that are given, and what fits into memory."""

from typing import Any

import pytest

from mtrl.sweep.calibrate import Calibration, Measurement, memory_of_a_slot
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import Method, methods
from tests.mtrl.sweep.conftest import BASE

MIB = 2**20
REPLAY = 300 * 84 * 4  # bytes of a seed: transitions of two observations, an action, a reward, terminated


class Measured:
    """In the place of a short run: 100 MiB and 10 ms a step for the first seed, 40 MiB and 5 ms for another."""

    def __init__(self) -> None:
        self.seeds: list[list[int]] = []

    def __call__(self, options: dict[str, Any], worlds: int) -> Measurement:
        self.seeds.append(options["seeds"])
        more = len(options["seeds"]) - 1
        return Measurement(
            startup=20.0, collect=0.002, step=0.010 + 0.005 * more, memory=(100 + 40 * more) * MIB
        )


def found(**axes: list[Any]) -> list[Method]:
    return methods(SweepConfig(base=BASE, axes=axes))


def test_time_of_steps_and_evaluations() -> None:
    (method,) = found()
    calibration = Calibration(Measured())
    # 400 steps, and an evaluation of one episode of 500 steps at 200 and at 400.
    assert calibration.estimate(method, 1).seconds == pytest.approx(20 + 400 * 0.010 + 1_000 * 0.002)
    assert calibration.estimate(method, 3).seconds == pytest.approx(20 + 2 * (400 * 0.010 + 1_000 * 0.002))


def test_memory_and_how_many_seeds_fit() -> None:
    (method,) = found()
    calibration = Calibration(Measured())
    assert calibration.estimate(method, 1).memory == pytest.approx(100 * MIB + REPLAY)
    assert calibration.estimate(method, 4).memory == pytest.approx((100 + 3 * 40) * MIB + 4 * REPLAY)
    for seeds in (1, 2, 7):
        enough = calibration.estimate(method, seeds).memory
        assert calibration.most_seeds(method, enough + MIB) == seeds
        assert calibration.most_seeds(method, enough - MIB) == max(1, seeds - 1)


def test_every_method_is_measured_once_and_the_first_with_two_seeds() -> None:
    measured = Measured()
    calibration = Calibration(measured)
    for method in found(**{"balancer": ["LS", "PCGrad"], "agent.gamma": [0.9, 0.99]}):
        calibration.estimate(method, 2)
        calibration.most_seeds(method, 10**9)
    assert measured.seeds == [[0], [0, 1], [0]]


def test_memory_of_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    one = memory_of_a_slot(1, 0.0)
    assert one > 0
    assert memory_of_a_slot(4, 0.5) == pytest.approx(one / 4, rel=0.2)  # there is no GPU to share
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (10, 100))
    assert memory_of_a_slot(4, 0.5) == pytest.approx(45)
