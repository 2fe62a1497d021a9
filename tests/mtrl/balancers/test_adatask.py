import torch

from mtrl.balancers import AdaTask


def test_the_direction_is_the_weighted_step_of_one_adam_per_task() -> None:
    preference = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    balancer = AdaTask(preference=preference.tolist()).setup(3, seeds=(0, 1), dtype=torch.float64)
    parameters = [torch.zeros(2, 7, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    optimizers = [torch.optim.Adam([p], lr=1.0) for p in parameters]
    total = torch.zeros(2, 7, dtype=torch.float64)
    for _ in range(20):
        jacobian = torch.randn(2, 3, 7, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 1e3])[:, None]
        total -= balancer(jacobian, torch.ones(2, 3, dtype=torch.float64)).direction
        for task, (parameter, optimizer) in enumerate(zip(parameters, optimizers, strict=True)):
            parameter.grad = jacobian[:, task].clone()
            optimizer.step()
        expected = sum(p * x.detach() for p, x in zip(preference, parameters, strict=True))
        torch.testing.assert_close(total, expected)


def test_the_scale_of_a_task_does_not_matter() -> None:
    jacobian = torch.randn(1, 2, 7, dtype=torch.float64)
    jacobian += 0.1 * jacobian.sign()  # beside these Adam's eps is nothing
    scale = torch.tensor([1.0, 1e4])[None, :, None]
    losses = torch.ones(1, 2, dtype=torch.float64)
    plain, scaled = (AdaTask().setup(2, dtype=torch.float64) for _ in range(2))
    for _ in range(3):
        first, second = plain(jacobian, losses).direction, scaled(scale * jacobian, losses).direction
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_it_says_that_it_replaces_the_optimizer() -> None:
    assert AdaTask.replaces_optimizer
