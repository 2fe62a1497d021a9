"""On a GPU every balancer gives what it gives on the CPU in float64, and can be captured in a CUDA graph."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mtrl.balancers import Balanced, Balancer, available, kernels, solvers

if not torch.cuda.is_available():  # before hundreds of tests are collected
    pytest.skip("needs a CUDA device", allow_module_level=True)
METHODS = list(available().values())
every = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
sizes = [(2, 1), (10, 1), (10, 3), (50, 1), (50, 3)]


class SameDraws:
    """Stands in for a balancer's generators: the same numbers on every device."""

    def __init__(self, num_seeds: int, device: str) -> None:
        self.num_seeds, self.device = num_seeds, device
        self.generator = torch.Generator().manual_seed(5)

    def rand(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(self.num_seeds, *shape, generator=self.generator).to(self.device, dtype)

    def randn(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(self.num_seeds, *shape, generator=self.generator).to(self.device, dtype)


@pytest.fixture(autouse=True)
def tf32() -> Iterator[None]:
    """Training may allow TF32; the balancers must not notice."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def prepare(method: type[Balancer], jacobian: Tensor, device: str, dtype: torch.dtype) -> Balancer:
    num_seeds, num_tasks, _ = jacobian.shape
    balancer = method().setup(num_tasks, seeds=range(num_seeds), device=device, dtype=dtype)
    if hasattr(balancer, "generators"):
        balancer.generators = SameDraws(num_seeds, device)
    return balancer


def call(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> Balanced:
    balanced: Balanced = balancer(jacobian, losses, jacobian)
    if balancer.observes_update:
        # Not all by the same factor: what FAMO would learn from then is the rounding error.
        factors = torch.linspace(0.8, 0.95, losses.shape[-1], device=losses.device, dtype=losses.dtype)
        balancer.observe(losses * factors)
    return balanced


@every
@pytest.mark.parametrize("kind", ["random", "conflicting", "uneven"])
@pytest.mark.parametrize(("num_tasks", "num_seeds"), sizes)
def test_a_gpu_agrees_with_the_cpu_in_float64(
    method: type[Balancer], kind: str, num_tasks: int, num_seeds: int, make: Callable[..., Tensor]
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-5)):
        systems = [make(kind, num_seeds, num_tasks, seed, size=1000).to(dtype) for seed in range(3)]
        losses = torch.rand(num_seeds, num_tasks, generator=torch.Generator().manual_seed(0)).to(dtype) + 0.5
        expected = prepare(method, systems[0], "cpu", torch.float64)
        found = prepare(method, systems[0], "cuda", dtype)
        for jacobian in systems:  # several calls: state must follow too
            wanted = call(expected, jacobian.double(), losses.double()).direction
            got = call(found, jacobian.cuda(), losses.cuda()).direction.cpu().double()
            assert got.isfinite().all()
            assert (got - wanted).norm() <= tolerance * wanted.norm()
        assert torch.equal(found.failures.cpu(), expected.failures)


@every
@pytest.mark.parametrize(("num_tasks", "num_seeds"), [(2, 3), (10, 1), (50, 1)])
def test_a_captured_call_is_an_eager_call(
    method: type[Balancer], num_tasks: int, num_seeds: int, make: Callable[..., Tensor]
) -> None:
    inputs = [make("conflicting", num_seeds, num_tasks, seed, size=500).float().cuda() for seed in range(4)]
    losses = torch.rand(num_seeds, num_tasks, device="cuda") + 0.5
    eager = method().setup(num_tasks, seeds=range(num_seeds), device="cuda")
    captured = method().setup(num_tasks, seeds=range(num_seeds), device="cuda")
    jacobian = inputs[0].clone()

    call(eager, jacobian, losses)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiles the kernels, and allocates what waits for the first gradient
        call(captured, jacobian, losses)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    if hasattr(captured, "generators"):
        for generator in captured.generators.generators:
            graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=stream):
        result = call(captured, jacobian, losses)
    for values in inputs:
        jacobian.copy_(values)
        graph.replay()
        wanted = call(eager, values, losses)
        torch.testing.assert_close(result.direction, wanted.direction, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(result.gramian, wanted.gramian, rtol=0, atol=0)
    states = captured.state_dict(), eager.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-6, atol=1e-7, equal_nan=True)


def test_each_replay_draws_anew(make: Callable[..., Tensor]) -> None:
    jacobian = make("conflicting", 2, 10, size=500).float().cuda()
    losses = torch.ones(2, 10, device="cuda")
    for name in ("PCGrad", "GradVac", "SDMGradOS", "RLW", "GradDrop"):
        balancer = available()[name]().setup(10, seeds=(0, 1), device="cuda")
        call(available()[name]().setup(10, seeds=(0, 1), device="cuda"), jacobian, losses)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        for generator in balancer.generators.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            direction = call(balancer, jacobian, losses).direction
        graph.replay()
        first = direction.clone()
        graph.replay()
        assert not torch.equal(first, direction), name
        assert not torch.equal(direction[0], direction[1]), name


@pytest.mark.parametrize("name", ["MGDA", "CAGrad", "NashMTL", "AlignedMTL", "PCGrad", "UPGrad", "IMTLG"])
def test_a_broken_system_is_counted_inside_a_graph(name: str, make: Callable[..., Tensor]) -> None:
    jacobian = make("random", 3, 10, size=500).float().cuda()
    losses = torch.ones(3, 10, device="cuda")
    balancer = available()[name]().setup(10, seeds=range(3), device="cuda")
    call(available()[name]().setup(10, seeds=range(3), device="cuda"), jacobian, losses)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    if hasattr(balancer, "generators"):
        for generator in balancer.generators.generators:
            graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        weights = call(balancer, jacobian, losses).weights
    jacobian[1, 2, 3] = torch.nan
    graph.replay()
    graph.replay()
    assert balancer.failures.tolist() == [0, 2, 0]
    torch.testing.assert_close(weights[1], torch.full((10,), 0.1, device="cuda"))


@pytest.mark.parametrize(("num_tasks", "num_seeds"), [*sizes, (11, 2), (12, 2), (1, 1), (16, 1), (33, 1)])
@pytest.mark.parametrize("size", [1, 31, 1000, 300_001])
def test_gramian_and_combination(
    num_tasks: int, num_seeds: int, size: int, make: Callable[..., Tensor]
) -> None:
    exact = make("uneven", num_seeds, num_tasks, size=size).float()
    jacobian = exact.cuda()
    gramian = kernels.gramian(jacobian)
    wanted = exact.double() @ exact.double().mT
    lengths = wanted.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (gramian.cpu() - wanted).abs() / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    assert error.max() < 1e-12
    assert torch.equal(gramian, gramian.mT)
    assert torch.equal(gramian, kernels.gramian(jacobian))

    weights = torch.rand(num_seeds, num_tasks, generator=torch.Generator().manual_seed(0))
    direction = solvers.combine(weights.cuda(), jacobian).cpu().double()
    wanted = (weights.double().unsqueeze(1) @ exact.double()).squeeze(1)
    size_of_terms = (weights.double().abs().unsqueeze(1) @ exact.double().abs()).squeeze(1)
    assert ((direction - wanted).abs() <= 1e-6 * size_of_terms).all()
