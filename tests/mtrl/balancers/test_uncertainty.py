import torch
from torchjd.scalarization import UW

from mtrl.balancers import IMTLL, Uncertainty


def test_parity_with_torchjd_and_adam() -> None:
    for trial in range(200):
        tasks = (2, 3, 10, 50)[trial % 4]
        ours = Uncertainty(learning_rate=0.1).setup(tasks, dtype=torch.float64)
        theirs = UW(tasks).double()
        adam = torch.optim.Adam(theirs.parameters(), lr=0.1)
        for _ in range(5):
            losses = torch.rand(tasks, dtype=torch.float64) * 10 + 0.1
            values = losses.clone().requires_grad_()
            adam.zero_grad()
            theirs(values).backward()
            adam.step()
            weights = ours.weights(torch.empty(0), losses.unsqueeze(0))[0]
            # Theirs has the factor one half, and sums over the tasks.
            torch.testing.assert_close(weights, 2.0 * values.grad / tasks, rtol=1e-5, atol=0.0)


def test_the_variance_settles_at_the_loss() -> None:
    balancer = Uncertainty(preference=[0.25, 0.75]).setup(2, dtype=torch.float64)
    losses = torch.tensor([[0.2, 5.0]], dtype=torch.float64)
    for _ in range(3000):
        weights = balancer.weights(torch.empty(0), losses)
    torch.testing.assert_close(balancer.log_variance.exp(), losses, rtol=1e-3, atol=0.0)
    torch.testing.assert_close(weights * losses, torch.tensor([[0.25, 0.75]]).double(), rtol=1e-3, atol=0.0)


def test_a_loss_that_vanishes_stays_bounded() -> None:
    balancer = Uncertainty(learning_rate=1.0).setup(2)
    for _ in range(200):
        weights = balancer.weights(torch.empty(0), torch.zeros(1, 2))
    assert weights.isfinite().all()
    assert balancer.log_variance.min() == -balancer.bound


def test_it_is_imtl_l() -> None:
    """To the last bit: s changes its sign and nothing else."""
    generator = torch.Generator().manual_seed(0)
    options = {"learning_rate": 0.3, "preference": [0.1, 0.2, 0.7]}
    variance, scale = Uncertainty(**options).setup(3, seeds=(0, 1)), IMTLL(**options).setup(3, seeds=(0, 1))
    for _ in range(50):
        losses = torch.rand(2, 3, generator=generator) * torch.tensor([0.01, 1.0, 1e3])
        expected = scale.weights(torch.empty(0), losses)
        assert torch.equal(variance.weights(torch.empty(0), losses), expected)
    assert torch.equal(variance.log_variance, -scale.log_scale)
