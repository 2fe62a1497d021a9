import numpy as np
import torch
from torchjd import scalarization

from mtrl.balancers import DWA


def weights(balancer: DWA, losses: torch.Tensor) -> torch.Tensor:
    gramian = torch.eye(losses.shape[-1], dtype=losses.dtype).expand(losses.shape[0], -1, -1)
    return balancer.weights(gramian, losses)


def test_weights_follow_the_ratio_of_window_means() -> None:
    window, tasks, seeds, preference = 4, 3, 2, np.array([0.2, 0.3, 0.5])
    balancer = DWA(temperature=0.7, window=window, preference=preference.tolist())
    balancer.setup(tasks, seeds=range(seeds), dtype=torch.float64)
    history = np.random.default_rng(0).uniform(0.5, 2.0, size=(5 * window, seeds, tasks))
    for step, losses in enumerate(history):
        k = step // window  # the open window
        ratio = np.ones((seeds, tasks))
        if k >= 2:
            last = history[(k - 1) * window : k * window].mean(0)
            ratio = last / history[(k - 2) * window : (k - 1) * window].mean(0)
        softmax = np.exp(ratio / 0.7) / np.exp(ratio / 0.7).sum(-1, keepdims=True)
        expected = tasks * preference * softmax
        np.testing.assert_allclose(weights(balancer, torch.tensor(losses)), expected, rtol=1e-12)


def test_parity_with_torchjd() -> None:
    for trial in range(200):
        tasks = (2, 3, 10, 50)[trial % 4]
        ours = DWA(window=2).setup(tasks, dtype=torch.float64)
        theirs = scalarization.DWA()
        for step in range(8):
            losses = torch.rand(tasks, dtype=torch.float64) + 0.1
            values = losses.clone().requires_grad_()
            theirs(values).backward()
            if step % 2 == 1:
                theirs.step()
            # Theirs sums to T.
            torch.testing.assert_close(weights(ours, losses.unsqueeze(0))[0], values.grad / tasks)


def test_a_loss_of_zero_does_no_harm() -> None:
    balancer = DWA(window=1).setup(2)
    for losses in ([0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        assert weights(balancer, torch.tensor([losses])).isfinite().all()
