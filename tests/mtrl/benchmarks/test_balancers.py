import json
from functools import partial

import numpy as np
import pytest
import torch

from mtrl.balancers import available
from mtrl.benchmarks import balancers as benchmark
from mtrl.benchmarks.balancers import BalancerBenchmarkConfig
from mtrl.benchmarks.loops import LOOPS, mgda

#: These draw random numbers, of which the loop has its own.
RANDOM = {"RLW", "GradDrop", "PCGrad", "GradVac"}


@pytest.mark.parametrize("name", sorted(LOOPS.keys() - RANDOM))
@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_the_loop_computes_what_the_balancer_computes(name: str, tasks: int) -> None:
    for seed in range(5):
        gradients = np.random.default_rng(seed).normal(size=(tasks, 50))
        balancer = available()[name]().setup(tasks, dtype=torch.float64)
        losses = torch.ones(1, tasks, dtype=torch.float64)
        direction = balancer(torch.from_numpy(gradients).unsqueeze(0), losses).direction[0].numpy()
        loop = LOOPS[name]
        if name == "MGDA":  # Frank-Wolfe is far from converged after the customary number of steps
            loop = partial(mgda, iterations=5_000, smallest_step=0.0)
        assert np.linalg.norm(loop(gradients) - direction) < 0.01 * np.linalg.norm(direction)


@pytest.mark.parametrize("name", ["PCGrad", "GradVac"])
def test_of_two_tasks_the_order_does_not_matter(name: str) -> None:
    gradients = np.random.default_rng(0).normal(size=(2, 50))
    gradients[1] -= 0.8 * gradients[0]
    balancer = available()[name]().setup(2, dtype=torch.float64)
    direction = balancer(torch.from_numpy(gradients).unsqueeze(0), torch.ones(1, 2)).direction[0].numpy()
    np.testing.assert_allclose(LOOPS[name](gradients), direction, rtol=1e-9)


def test_every_method_is_timed_against_its_contenders(tmp_path, capsys) -> None:
    output = tmp_path / "new" / "timings.json"
    config = BalancerBenchmarkConfig(
        tasks=[2, 3], seeds=2, parameters=100, repeats=2, device="cpu", output=output
    )
    benchmark.main(config)
    report = json.loads(output.read_text())
    timings = report["timings"]
    assert [(t["method"], t["tasks"]) for t in timings] == [(n, t) for t in (2, 3) for n in available()]
    for timing in timings:
        assert timing["eager"] > 0.0
        assert (timing["loop"] is not None) == (timing["method"] in LOOPS)
        assert timing["captured"] is None
        assert timing["capturable"] is None
    assert all(t["torchjd"] > 0.0 for t in timings if t["method"] in ("PCGrad", "AlignedMTL", "IMTLG"))
    assert report["settings"]["seeds"] == 2
    assert "AlignedMTL" in capsys.readouterr().out


def test_contenders_take_turns() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in ("a", "b")}
    medians = benchmark.interleave(calls, repeats=3, cuda=False)
    warm_up = ["a"] * 3 + ["b"] * 3
    assert order == warm_up + ["a", "b"] * 3
    assert medians.keys() == {"a", "b"}


def test_a_contender_whose_dependencies_are_missing_is_left_out() -> None:
    def missing() -> None:
        raise ImportError

    assert benchmark.interleave({"a": lambda: None, "b": missing}, 2, cuda=False).keys() == {"a"}


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        benchmark.run(BalancerBenchmarkConfig(tasks=[0]))
    with pytest.raises(ValueError, match="There is no balancer 'Foo'"):
        benchmark.run(BalancerBenchmarkConfig(balancer=["Foo"], device="cpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            benchmark.run(BalancerBenchmarkConfig(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", available())
def test_every_method_can_be_captured(name: str) -> None:
    config = BalancerBenchmarkConfig(parameters=1000, repeats=2, device="cuda")
    for tasks in (2, 10, 50):
        assert benchmark.measure(available()[name], tasks, "cuda", config).capturable == "yes"
