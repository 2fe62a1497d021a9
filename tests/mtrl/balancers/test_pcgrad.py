from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import GradVac, PCGrad


class Draws:
    """Generators that return given numbers."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def rand(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        assert tuple(self.values.shape[1:]) == shape
        return self.values.to(dtype)


def surgery(jacobian: Tensor, draws: Tensor) -> Tensor:
    """The paper's algorithm on the gradients themselves, one system."""
    changed = []
    for i, gradient in enumerate(jacobian):
        current = gradient.clone()
        for j in draws[i].argsort().tolist():
            product = current @ jacobian[j]
            if j != i and product < 0.0:
                current -= product / jacobian[j].square().sum() * jacobian[j]
        changed.append(current)
    return torch.stack(changed)


def vaccine(jacobian: Tensor, draws: Tensor, targets: Tensor, beta: float) -> Tensor:
    """GradVac on the gradients themselves, one system; changes the targets [T, T]."""
    changed = []
    for i, gradient in enumerate(jacobian):
        current = gradient.clone()
        for j in draws[i].argsort().tolist():
            if j == i:
                continue
            other = jacobian[j]
            cosine = current @ other / current.norm() / other.norm()
            target = targets[i, j].clone()
            if cosine < target:
                sine, target_sine = (1 - cosine**2).sqrt(), (1 - target**2).sqrt()
                factor = (
                    current.norm() * (target * sine - cosine * target_sine) / (other.norm() * target_sine)
                )
                current = current + factor * other
            targets[i, j] = (1 - beta) * target + beta * cosine
        changed.append(current)
    return torch.stack(changed)


def draws_for(system: Tensor, seed: int = 0) -> Tensor:
    num_seeds, num_tasks, _ = system.shape
    return torch.rand(num_seeds, num_tasks, num_tasks, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("preference", [None, "uneven"])
def test_pcgrad_is_the_papers_algorithm(system: Tensor, preference: str | None) -> None:
    num_seeds, num_tasks, _ = system.shape
    given = None if preference is None else [1.0 + i for i in range(num_tasks)]
    balancer = PCGrad(given).setup(num_tasks, seeds=range(num_seeds), dtype=torch.float64)
    draws = draws_for(system)
    balancer.generators = Draws(draws)  # type: ignore[assignment]
    direction, _, _ = balancer(system, torch.ones(num_seeds, num_tasks, dtype=torch.float64))
    expected = torch.stack([balancer.preference @ surgery(j, d) for j, d in zip(system, draws, strict=True)])
    torch.testing.assert_close(direction, expected, rtol=0, atol=1e-9 * system.norm(dim=-1).amax().item())


@pytest.mark.parametrize("kind_", ["random", "conflicting", "uneven", "zero_row"])
@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_gradvac_is_the_papers_algorithm_and_remembers(kind_: str, tasks: int, make: Callable) -> None:
    balancer = GradVac(beta=0.3).setup(tasks, seeds=range(2), dtype=torch.float64)
    targets = torch.zeros(2, tasks, tasks, dtype=torch.float64)
    for call in range(5):
        system = make(kind_, 2, tasks, seed=call)
        first = 1 if kind_ == "zero_row" else 0  # a zero gradient meets nobody
        draws = draws_for(system, call)
        balancer.generators = Draws(draws)  # type: ignore[assignment]
        direction, _, _ = balancer(system, torch.ones(2, tasks, dtype=torch.float64))
        for s in range(2):
            changed = vaccine(system[s, first:], draws[s, first:, first:], targets[s, first:, first:], 0.3)
            torch.testing.assert_close(direction[s], changed.sum(0) / tasks)
        torch.testing.assert_close(balancer.targets, targets)


def test_gradvac_turns_to_the_target_cosine() -> None:
    system = torch.tensor([[[1.0, 0.0], [-0.6, 0.8]]], dtype=torch.float64)
    balancer = GradVac().setup(2, dtype=torch.float64)
    balancer.targets.fill_(0.5)
    coefficients = balancer.weights(system @ system.mT, torch.ones(1, 2)) * 2.0  # their sum over the two rows
    direction = (coefficients.unsqueeze(1) @ system)[0, 0]
    # Each row is turned to 60 degrees from the other one's original.
    first = system[0, 0] + (coefficients[0, 1] - 1.0) * system[0, 1]
    second = system[0, 1] + (coefficients[0, 0] - 1.0) * system[0, 0]
    assert (first @ system[0, 1] / first.norm()).item() == pytest.approx(0.5)
    assert (second @ system[0, 0] / second.norm()).item() == pytest.approx(0.5)
    torch.testing.assert_close(direction, first + second)


def test_gradients_that_agree_are_left_alone() -> None:
    system = torch.rand(2, 4, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for method in (PCGrad, GradVac):
        balancer = method().setup(4, seeds=(0, 1), dtype=torch.float64)
        direction, _, _ = balancer(system, torch.ones(2, 4, dtype=torch.float64))
        torch.testing.assert_close(direction, system.mean(1))


def test_each_task_has_an_order_of_its_own_and_all_orders_occur() -> None:
    balancer = PCGrad().setup(3, seeds=range(2))
    seen = set()
    for _ in range(200):
        for order in balancer.generators.rand(3, 3).argsort(-1).flatten(0, 1).tolist():
            seen.add(tuple(order))
    assert len(seen) == 6
    order = balancer.generators.rand(3, 3).argsort(-1)
    different = [
        not torch.equal(o[0], o[1]) for _ in range(20) for o in balancer.generators.rand(3, 3).argsort(-1)
    ]
    assert any(different), order


def test_a_broken_system_does_not_enter_the_averages(make: Callable) -> None:
    system = make("random", 2, 3)
    system[0, 1, 0] = torch.inf
    balancer = GradVac().setup(3, seeds=(0, 1), dtype=torch.float64)
    balancer(system, torch.ones(2, 3, dtype=torch.float64))
    assert not balancer.targets[0].any()
    assert balancer.targets[1].any()
    assert balancer.failures.tolist() == [1, 0]
