import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from agents.config import SACConfig
from agents.layers import Axes
from agents.networks import Architecture, MultiHead, Shared, SingleTask
from agents.optimizer import TaskOptimizer
from agents.parameters import ParameterVector
from mtrl.balancers import LS, RLW, AdaTask, Balanced, Balancer, available

S, T, IN, OUT = 2, 3, 5, 2
SEEDS = (0, 1)
MakeAxes, Normal = Callable[..., Axes], Callable[..., Tensor]


class Problem:
    """Regression of random targets by a small network: float64, S seeds and T tasks."""

    def __init__(
        self,
        axes: MakeAxes,
        balancer: Balancer | None = None,
        architecture: Architecture | None = None,
        seeds: tuple[int, ...] = SEEDS,
        learning_rate: float = 1e-2,
        max_grad_norm: float | None = None,
    ) -> None:
        self.network = (architecture or MultiHead(width=6, depth=1, head_width=4)).build(axes(seeds), IN, OUT)
        self.parameters = ParameterVector(self.network)
        if balancer is not None:
            balancer = copy.deepcopy(balancer)
            balancer.setup(T, seeds=seeds, dtype=torch.float64)
        config = SACConfig(learning_rate=learning_rate, max_grad_norm=max_grad_norm)
        self.optimizer = TaskOptimizer(self.network, self.parameters, balancer, T, config)

    def losses(self, parameters: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            features = self.network.features(x)
            return self.network.head(features), features

        self.network.forward = forward  # functional_call goes through forward
        y, features = functional_call(self.network, parameters, (x,))
        return (y - x[..., :OUT].sin()).square().mean((1, -1, -2)), features

    def step(self, x: Tensor, scale: Tensor | float = 1.0) -> dict[str, Tensor]:
        losses, features = self.losses(self.optimizer.leaves, x)
        representation = features if self.optimizer.reads_representation else None
        return self.optimizer.step(losses * scale, representation, lambda: self.losses({}, x)[0] * scale)

    def vectors(self) -> list[Tensor]:
        return [self.parameters.shared.detach(), self.parameters.owned.detach()]


@pytest.fixture
def batches(normal: Normal) -> list[Tensor]:
    return [normal(S, 1, T, 8, IN) for _ in range(4)]


def test_without_a_balancer_it_is_adam_on_the_mean_loss(axes: MakeAxes, batches: list[Tensor]) -> None:
    problem, reference = Problem(axes), Problem(axes)
    for parameter in reference.network.parameters():
        parameter.requires_grad_()
    adam = torch.optim.Adam(reference.network.parameters(), lr=1e-2)
    for x in batches:
        problem.step(x)
        adam.zero_grad()
        reference.losses({}, x)[0].mean(-1).sum().backward()
        adam.step()
    for ours, theirs in zip(problem.vectors(), reference.vectors(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_ls_is_the_mean_loss(axes: MakeAxes, batches: list[Tensor]) -> None:
    for architecture in (MultiHead(width=6, head_width=4), Shared(width=6)):
        problems = [Problem(axes, b, architecture, max_grad_norm=0.3) for b in (None, LS())]
        for x in batches:
            plain, balanced = (problem.step(x) for problem in problems)
            torch.testing.assert_close(plain["grad_norm"], balanced["grad_norm"])
        for plain, balanced in zip(*(p.vectors() for p in problems), strict=True):
            torch.testing.assert_close(plain, balanced, rtol=1e-8, atol=1e-10)


def test_what_is_owned_does_not_feel_the_balancer(axes: MakeAxes, batches: list[Tensor]) -> None:
    problems = [Problem(axes, LS(preference=p)) for p in ([1, 1, 1], [1, 2, 7])]
    for problem in problems:
        problem.step(batches[0])
    (shared, owned), (other_shared, other_owned) = (problem.vectors() for problem in problems)
    assert torch.equal(owned, other_owned)
    assert not torch.allclose(shared, other_shared)


def test_the_balancer_sees_gradients_losses_and_representation(axes: MakeAxes, batches: list[Tensor]) -> None:
    class Spy(LS):
        system: ClassVar[Any] = "representation"

        def forward(self, jacobian: Tensor, losses: Tensor, representation: Tensor | None = None) -> Balanced:
            self.seen = jacobian, losses, representation
            return super().forward(jacobian, losses, representation)

    problem = Problem(axes, Spy())
    x = batches[0]
    shared, owned = problem.parameters.leaves(None)
    losses, features = problem.losses(shared | owned, x)
    by_task = [
        torch.autograd.grad(losses[:, t].sum(), [*shared.values(), features], retain_graph=True)
        for t in range(T)
    ]
    metrics = problem.step(x)
    jacobian, seen_losses, representation = problem.optimizer.balancer.seen
    for t, (*gradients, of_features) in enumerate(by_task):
        expected = torch.cat([g.reshape(S, -1) for g in gradients], dim=-1)
        torch.testing.assert_close(jacobian[:, t], expected, rtol=1e-10, atol=1e-12)
        norm = representation[:, t].norm(dim=-1)
        torch.testing.assert_close(norm, of_features[:, :, t].flatten(1).norm(dim=-1))
    torch.testing.assert_close(seen_losses, losses.detach())
    assert not seen_losses.requires_grad
    assert metrics["weights"].shape == (S, T)
    assert metrics["gramian"].shape == (S, T, T)


def test_each_seed_is_clipped_by_its_own_norm(axes: MakeAxes, batches: list[Tensor]) -> None:
    """Adam hides a factor, so the first moment is looked at: 0.1 times the clipped gradient."""
    for balancer in (None, LS()):
        problem = Problem(axes, balancer, max_grad_norm=1.0)
        metrics = problem.step(batches[0], torch.tensor([[1000.0], [1e-3]], dtype=torch.float64))
        assert metrics["grad_norm"][0] > 1
        assert metrics["grad_norm"][1] < 1
        moments = [problem.optimizer.adam_shared.first_moment, problem.optimizer.adam_owned.first_moment]
        norms = torch.cat(moments, dim=-1).norm(dim=-1) / 0.1
        expected = torch.stack([torch.tensor(1.0).double(), metrics["grad_norm"][1]])
        torch.testing.assert_close(norms, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("balancer", [None, LS(), AdaTask()], ids=["none", "LS", "AdaTask"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_seed_with_a_bad_loss_stays_as_it_is_and_the_other_does_not_notice(
    axes: MakeAxes, batches: list[Tensor], balancer: Balancer | None, bad: float
) -> None:
    problem, untroubled = Problem(axes, balancer), Problem(axes, balancer)
    for p in (problem, untroubled):
        p.step(batches[0])
    before = [v.clone() for v in problem.vectors()]
    adam = [a for a in (problem.optimizer.adam_shared, problem.optimizer.adam_owned) if a is not None]
    moments = [{n: v.clone() for n, v in a.state_dict().items()} for a in adam]
    x = batches[1].clone()
    x[1, 0, 2, 3, 0] = bad
    metrics = problem.step(x)
    untroubled.step(batches[1])
    assert metrics["nonfinite"].tolist() == [0.0, 1.0]
    for now, was, expected in zip(problem.vectors(), before, untroubled.vectors(), strict=True):
        assert torch.equal(now[1], was[1])
        assert not torch.equal(now[0], was[0])
        torch.testing.assert_close(now[0], expected[0], rtol=1e-10, atol=1e-12)
    for a, state in zip(adam, moments, strict=True):
        for name, value in a.state_dict().items():
            assert torch.equal(value[1], state[name][1])


@pytest.mark.parametrize("name", sorted(available()))
def test_training_goes_on_after_a_bad_batch(axes: MakeAxes, batches: list[Tensor], name: str) -> None:
    """Whatever a balancer remembers, one batch that is not finite must not spoil it."""
    problem = Problem(axes, available()[name]())
    bad = batches[1].clone()
    bad[1, 0, 2, 3, 0] = torch.nan
    flags = []
    for x in (batches[0], bad, *batches[2:]):
        before = [v.clone() for v in problem.vectors()]
        flags.append(problem.step(x)["nonfinite"].tolist())
    assert flags == [[0, 0], [0, 1], [0, 0], [0, 0]]
    for now, was in zip(problem.vectors(), before, strict=True):
        assert now.isfinite().all()
        assert (now != was).any(-1).all()


def test_a_direction_that_is_an_optimisers_own_is_not_given_to_adam(
    axes: MakeAxes, batches: list[Tensor]
) -> None:
    class Signs(LS):
        replaces_optimizer: ClassVar[bool] = True

        def balance(self, jacobian: Tensor, losses: Tensor, gramian: Tensor) -> Balanced:
            balanced = super().balance(jacobian, losses, gramian)
            return balanced._replace(direction=torch.full_like(balanced.direction, 0.5))

    problem = Problem(axes, Signs(), max_grad_norm=1e-6)
    before = [v.clone() for v in problem.vectors()]
    for x in batches[:2]:
        problem.step(x)
    shared, owned = problem.vectors()
    torch.testing.assert_close(before[0] - shared, torch.full_like(shared, 2 * 0.5 * 1e-2))
    assert not torch.equal(owned, before[1])
    assert problem.optimizer.state_dict()["adam_shared"] is None


def test_a_balancer_observes_the_losses_after_the_step(axes: MakeAxes, batches: list[Tensor]) -> None:
    class Observer(LS):
        observes_update: ClassVar[bool] = True

        def observe(self, losses: Tensor) -> None:
            self.observed = losses

    problem = Problem(axes, Observer())
    observer = problem.optimizer.balancer
    x = batches[0]
    before = problem.losses({}, x)[0]
    problem.step(x)
    torch.testing.assert_close(observer.observed, problem.losses({}, x)[0])
    assert (observer.observed < before).all()


def test_nothing_shared_means_nothing_to_balance(axes: MakeAxes, batches: list[Tensor]) -> None:
    single_task = SingleTask(width=6)
    with pytest.raises(ValueError, match="shares no parameters between the tasks, so LS has nothing to bal"):
        Problem(axes, LS(), single_task)
    problem = Problem(axes, None, single_task)
    first = problem.losses({}, batches[0])[0]
    for _ in range(20):
        problem.step(batches[0])
    assert (problem.losses({}, batches[0])[0] < first).all()


@pytest.mark.parametrize("balancer", [None, AdaTask(), RLW()], ids=["none", "AdaTask", "RLW"])
def test_state_round_trip_is_bit_equal(
    axes: MakeAxes, batches: list[Tensor], balancer: Balancer | None
) -> None:
    problem, restored = Problem(axes, balancer), Problem(axes, balancer and type(balancer)())
    for x in batches[:2]:
        problem.step(x)
    for ours, theirs in zip(problem.vectors(), restored.vectors(), strict=True):
        theirs.copy_(ours)
    restored.optimizer.load_state_dict(problem.optimizer.state_dict())
    for x in batches[2:]:
        problem.step(x)
        restored.step(x)
    for ours, theirs in zip(problem.vectors(), restored.vectors(), strict=True):
        assert torch.equal(ours, theirs)
