import json

import pytest
import torch

from mtrl.balancers import available
from mtrl.benchmarks import balancers as benchmark
from mtrl.benchmarks.balancers import BalancerBenchmarkConfig


def test_every_method_is_timed_against_torchjd(tmp_path, capsys) -> None:
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
    with pytest.raises(ValueError, match="and below"):
        benchmark.run(BalancerBenchmarkConfig(repeats=10**30))
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
