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
        adam.step(gradient, torch.ones(3, dtype=torch.float64))
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)


def test_a_seed_that_is_left_out_stays_as_it_is_and_goes_on_as_if_nothing_had_been() -> None:
    gradients = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together, alone = torch.zeros(2, 5, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    adam, reference = Adam(together, 1e-2), Adam(alone, 1e-2)
    for i, gradient in enumerate(gradients):
        keep = torch.tensor([1.0, float(i not in (0, 3))], dtype=torch.float64)
        before = together.clone(), {n: v.clone() for n, v in adam.state_dict().items()}
        adam.step(torch.where(keep[:, None] > 0, gradient, torch.nan), keep)
        if keep[1] == 0:
            assert torch.equal(together[1], before[0][1])
            for name, value in adam.state_dict().items():
                assert torch.equal(value[1], before[1][name][1])
        else:
            reference.step(gradient[1:], keep[1:])
        assert not torch.equal(together[0], before[0][0])
    assert torch.equal(together[1:], alone)


def test_state_round_trip() -> None:
    gradients = torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0))
    parameters = torch.zeros(2, 5)
    adam = Adam(parameters, 1e-2)
    for gradient in gradients[:4]:
        adam.step(gradient, torch.ones(2))
    copy = parameters.clone()
    restored = Adam(copy, 1e-2)
    restored.load_state_dict({name: value.clone() for name, value in adam.state_dict().items()})
    for gradient in gradients[4:]:
        adam.step(gradient, torch.ones(2))
        restored.step(gradient, torch.ones(2))
    assert torch.equal(copy, parameters)
