from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import LS, MGDA, SDMGrad, SDMGradOS


@pytest.mark.parametrize("pull", [0.3, 0.6, 10.0])
def test_the_weights_minimise_the_length_of_the_pulled_combination(
    system: Tensor, kind: str, pull: float, run: Callable
) -> None:
    direction, weights, gramian = run(SDMGrad(pull=pull), system)
    tasks = system.shape[1]
    shortest = (1.0 + pull) * weights - pull / tasks
    assert (shortest >= -1e-12).all()
    torch.testing.assert_close(
        shortest.sum(-1), torch.ones(len(system), dtype=torch.float64), rtol=0, atol=1e-9
    )
    gradient = (system @ ((1.0 + pull) * direction).unsqueeze(-1)).squeeze(-1)  # g_i·(g_w + λ g_0)
    gap = (gradient * shortest).sum(-1) - gradient.amin(-1)
    assert (gap <= 1e-9 * (1.0 + pull) * gramian.diagonal(dim1=-2, dim2=-1).amax(-1)).all()


def test_the_extremes_are_mgda_and_the_mean(make: Callable, run: Callable) -> None:
    system = make("random", 2, 5)
    torch.testing.assert_close(run(SDMGrad(pull=0.0), system).weights, run(MGDA(), system).weights)
    torch.testing.assert_close(
        run(SDMGrad(pull=1e9), system).weights, run(LS(), system).weights, rtol=1e-7, atol=1e-7
    )


def test_a_sample_of_all_tasks_is_sdmgrad(make: Callable, run: Callable) -> None:
    system = make("random", 2, 5)
    expected = run(SDMGrad(), system).weights
    torch.testing.assert_close(run(SDMGradOS(num_sampled=5.0), system).weights, expected)


def test_sampling_is_fair_and_the_target_unbiased(make: Callable) -> None:
    tasks, calls = 5, 300
    preference = [1.0, 2.0, 3.0, 4.0, 5.0]
    # So strong a pull that the weights are those of the target: p_i T / n on the sampled tasks.
    balancer = SDMGradOS(preference, pull=1e9, num_sampled=2.0).setup(
        tasks, seeds=range(40), dtype=torch.float64
    )
    gramian = torch.eye(tasks, dtype=torch.float64).repeat(40, 1, 1)
    losses = torch.zeros(40, tasks, dtype=torch.float64)
    targets = torch.stack([balancer.weights(gramian, losses) for _ in range(calls)])
    drawn = targets > 1e-6
    assert drawn.any(-1).all()
    frequency = drawn.double().mean((0, 1))
    empty = 0.6**tasks  # replaced by one task
    torch.testing.assert_close(
        frequency, torch.full((tasks,), 0.4 + empty / tasks, dtype=torch.float64), rtol=0, atol=0.03
    )
    expected = balancer.preference * (0.4 + empty / tasks) / 0.4
    torch.testing.assert_close(targets.mean((0, 1)), expected, rtol=0.06, atol=0)
