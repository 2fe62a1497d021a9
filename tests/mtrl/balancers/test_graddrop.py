import pytest
import torch
from torchjd import aggregation

from mtrl.balancers import LS, GradDrop


def losses(tasks: int) -> torch.Tensor:
    return torch.ones(1, tasks, dtype=torch.float64)


def test_parity_with_torchjd_on_the_same_draws(monkeypatch) -> None:
    for trial in range(200):
        tasks, leak = (2, 3, 10, 50)[trial % 4], (0.0, 0.3)[trial % 2]
        jacobian = torch.randn(tasks, 40, dtype=torch.float64)
        uniform = torch.rand(40, dtype=torch.float64)
        balancer = GradDrop(leak=leak).setup(tasks, dtype=torch.float64)
        monkeypatch.setattr(balancer.generators, "rand", lambda *_, u=uniform, **__: u.unsqueeze(0))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", lambda *_, u=uniform, **__: u)
            theirs = aggregation.GradDrop(leak=torch.full((tasks,), leak, dtype=torch.float64))(jacobian)
        direction = balancer(jacobian.unsqueeze(0), losses(tasks)).direction[0]
        torch.testing.assert_close(direction, theirs / tasks)  # theirs is a sum


def test_one_sign_survives_with_the_probability_of_its_purity() -> None:
    jacobian = torch.tensor([[[3.0], [-1.0]]], dtype=torch.float64).expand(1, 2, 20_000)
    direction = GradDrop().setup(2, dtype=torch.float64)(jacobian, losses(2)).direction
    assert set(direction.unique().tolist()) == {1.5, -0.5}
    assert (direction > 0).double().mean().item() == pytest.approx(0.75, abs=0.01)


def test_the_preference_weighs_gradients_and_purity() -> None:
    jacobian = torch.tensor([[[3.0], [-1.0]]], dtype=torch.float64).expand(1, 2, 20_000)
    direction = GradDrop(preference=[0.25, 0.75]).setup(2, dtype=torch.float64)(jacobian, losses(2)).direction
    assert set(direction.unique().tolist()) == {0.75, -0.75}
    assert (direction > 0).double().mean().item() == pytest.approx(0.5, abs=0.015)


def test_without_conflict_or_with_full_leak_it_is_the_mean() -> None:
    jacobian = torch.randn(2, 3, 50, dtype=torch.float64)
    for balancer, system in ((GradDrop(), jacobian.abs()), (GradDrop(leak=1.0), jacobian)):
        direction = balancer.setup(3, seeds=(0, 1), dtype=torch.float64)(
            system, torch.ones(2, 3).double()
        ).direction
        expected = (
            LS().setup(3, seeds=(0, 1), dtype=torch.float64)(system, torch.ones(2, 3).double()).direction
        )
        torch.testing.assert_close(direction, expected)
