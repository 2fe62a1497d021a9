import pytest
import torch

from mtrl.adam import Adam


@pytest.fixture(params=["by seed", "on device"], autouse=True)
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU runs is tested on a CPU, too."""
    if request.param == "on device":
        monkeypatch.setattr(Adam, "_step_by_seed", Adam._step_on_device)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 4)])
def test_it_is_adamw(shape: tuple[int, ...], weight_decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(shape, generator=generator, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    adam = Adam(ours, 1e-2, weight_decay=weight_decay)
    reference = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=weight_decay)
    for i in range(20):
        gradient = torch.randn(shape, generator=generator, dtype=torch.float64) * 10.0 ** (i % 5 - 2)
        adam.step(ours, gradient, torch.ones(3, dtype=torch.float64))
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_factor_of_the_learning_rate_may_change_between_the_steps(weight_decay: float) -> None:
    """It scales what AdamW takes off, too."""
    ours, factor = torch.ones(2, 5, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    adam = Adam(ours, 1e-2, weight_decay=weight_decay, learning_rate_factor=factor)
    reference = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=weight_decay)
    for i, gradient in enumerate(torch.randn(10, 2, 5, generator=torch.Generator().manual_seed(0)).double()):
        factor.fill_(1.0 - i / 9)
        reference.param_groups[0]["lr"] = 1e-2 * float(factor)
        before = ours.clone()
        adam.step(ours, gradient, torch.ones(2, dtype=torch.float64))
        theirs.grad = gradient.clone()
        reference.step()
        assert torch.equal(ours, before) == (i == 9)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)


def test_a_seed_that_is_left_out_stays_as_it_is_and_goes_on_as_if_nothing_had_been() -> None:
    gradients = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together, alone = torch.zeros(2, 5, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    adam, reference = Adam(together, 1e-2), Adam(alone, 1e-2)
    for i, gradient in enumerate(gradients):
        active = torch.tensor([1.0, float(i not in (0, 3))], dtype=torch.float64)
        before = together.clone(), {n: v.clone() for n, v in adam.state_dict().items()}
        adam.step(together, torch.where(active[:, None] > 0, gradient, torch.nan), active)
        if active[1] == 0:
            assert torch.equal(together[1], before[0][1])
            for name, value in adam.state_dict().items():
                assert torch.equal(value[1], before[1][name][1])
        else:
            reference.step(alone, gradient[1:], active[1:])
        assert not torch.equal(together[0], before[0][0])
    assert torch.equal(together[1:], alone)


def test_state_round_trip() -> None:
    gradients = torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0))
    parameters = torch.zeros(2, 5)
    adam = Adam(parameters, 1e-2)
    for gradient in gradients[:4]:
        adam.step(parameters, gradient, torch.ones(2))
    copy = parameters.clone()
    restored = Adam(copy, 1e-2)
    restored.load_state_dict({name: value.clone() for name, value in adam.state_dict().items()})
    for gradient in gradients[4:]:
        adam.step(parameters, gradient, torch.ones(2))
        restored.step(copy, gradient, torch.ones(2))
    assert torch.equal(copy, parameters)


def test_a_direction_is_a_step_at_a_rate_of_one() -> None:
    parameter = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    reference = torch.optim.Adam([parameter], lr=1.0, betas=(0.8, 0.95), eps=1e-3)
    adam = Adam(parameter.detach(), betas=(0.8, 0.95), epsilon=1e-3)
    position = torch.zeros(3, 4, dtype=torch.float64)
    for step in range(50):
        parameter.grad = torch.randn(3, 4, dtype=torch.float64) * 10.0 ** (step % 5)
        reference.step()
        position -= adam.direction(parameter.grad)
        torch.testing.assert_close(position, parameter.detach(), rtol=1e-12, atol=1e-12)


def test_of_a_direction_a_gradient_that_is_not_finite_is_forgotten() -> None:
    adam, clean = Adam(torch.zeros(3)), Adam(torch.zeros(3))
    adam.direction(torch.tensor([torch.nan, torch.inf, 1.0]))
    clean.direction(torch.tensor([0.0, 0.0, 1.0]))
    gradient = torch.randn(3)
    assert torch.equal(adam.direction(gradient), clean.direction(gradient))
