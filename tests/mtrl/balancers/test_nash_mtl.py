from collections.abc import Callable

import torch
from torch import Tensor

from mtrl.balancers import NashMTL


def losses_for(system: Tensor) -> Tensor:
    return torch.ones(system.shape[:2], dtype=system.dtype)


def test_every_task_gets_the_same_share(system: Tensor, kind: str, run: Callable) -> None:
    """w_i g_i·d = 1 to 1e-7 (1e-5 for dependent gradients) for every task with a gradient, so ‖d‖² counts them."""
    balancer = NashMTL()
    direction, weights, gramian = run(balancer, system)
    assert kind == "low_rank" or not balancer.failures.any()
    plays = gramian.diagonal(dim1=-2, dim2=-1) > 0
    solved = (balancer.failures == 0).unsqueeze(-1)
    shares = weights * (system @ direction.unsqueeze(-1)).squeeze(-1)
    accuracy = 1e-5 if kind == "low_rank" else 1e-7
    torch.testing.assert_close(
        shares[plays & solved], torch.ones_like(shares[plays & solved]), rtol=0, atol=accuracy
    )
    assert not weights[~plays].any()


def test_float32_gradients_at_a_condition_number_of_1e8(run: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, 1, 200, generator=generator)
    system = common + 1e-4 * torch.randn(1, 4, 200, generator=generator)
    weights = run(NashMTL(), system).weights.double()
    gramian = system.double() @ system.double().mT
    shares = weights * (gramian @ weights.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(shares, torch.ones(1, 4, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_preference_is_bargaining_power(make: Callable, run: Callable) -> None:
    system = make("random", 1, 3)
    direction, weights, _ = run(NashMTL([1, 2, 3]), system)
    shares = weights * (system @ direction.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(shares, torch.tensor([[0.5, 1.0, 1.5]], dtype=torch.float64))


def test_weights_are_held_between_updates(make: Callable) -> None:
    systems = [make("random", 2, 4, seed) for seed in range(7)]
    every = NashMTL().setup(4, seeds=(0, 1), dtype=torch.float64)
    third = NashMTL(update_every=3).setup(4, seeds=(0, 1), dtype=torch.float64)
    for call, system in enumerate(systems):
        fresh = every(system, losses_for(system)).weights.clone()
        held = third(system, losses_for(system)).weights
        if call % 3 == 0:
            last = fresh
        assert torch.equal(held, last)


def test_the_norm_is_capped_only_from_above(make: Callable, run: Callable) -> None:
    system = make("random", 2, 4)
    direction = run(NashMTL(), system).direction
    torch.testing.assert_close(direction.norm(dim=-1), torch.full((2,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(run(NashMTL(max_norm=1.0), system).direction, direction / 2.0)
    torch.testing.assert_close(run(NashMTL(max_norm=3.0), system).direction, direction)


def test_a_failed_solve_keeps_the_last_weights(make: Callable) -> None:
    good = make("random", 2, 3)
    broken, stationary = good.clone(), good.clone()
    broken[0, 0, 0] = torch.nan
    stationary[1, 2] = -stationary[1, 0] - stationary[1, 1]
    balancer = NashMTL().setup(3, seeds=(0, 1), dtype=torch.float64)
    first = balancer(broken, losses_for(good)).weights
    torch.testing.assert_close(first[0], torch.full((3,), 1 / 3, dtype=torch.float64))
    weights = balancer(good, losses_for(good)).weights
    for system in (broken, stationary):
        after = balancer(system, losses_for(good)).weights
        assert torch.equal(after, weights)
    assert balancer.failures.tolist() == [2, 1]
