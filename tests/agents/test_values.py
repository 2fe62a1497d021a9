"""What the critics' outputs say of values, against plain loops in float64."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from agents.config import SACConfig
from agents.networks import Shared
from agents.sac import SAC, Batch
from agents.values import CategoricalValue, Ensemble, ScalarValue

Draw = Callable[..., Tensor]
LOW, HIGH, K = -3.0, 5.0, 17
BEYOND = st.floats(2 * LOW, 2 * HIGH)


def categorical(method: str = "categorical", ensemble: Ensemble = "mean") -> CategoricalValue:
    return CategoricalValue(LOW, HIGH, K, method, ensemble, dtype=torch.float64)


def two_neighbours(probability: list[float], returns: list[float]) -> list[float]:
    """Bellemare et al. 2017, Algorithm 1."""
    delta = (HIGH - LOW) / (K - 1)
    m = [0.0] * K
    for p, y in zip(probability, returns, strict=True):
        b = (min(max(y, LOW), HIGH) - LOW) / delta
        below, above = math.floor(b), math.ceil(b)
        if below == above:
            m[below] += p
        else:
            m[below] += p * (above - b)
            m[above] += p * (b - below)
    return m


@given(st.lists(st.tuples(st.floats(0.0, 1.0), BEYOND), min_size=K, max_size=K))
@pytest.mark.parametrize("path", ["cpu", "a GPU's"])
def test_the_projection_is_that_on_two_neighbours(path: str, pairs: list[tuple[float, float]]) -> None:
    total = sum(p for p, _ in pairs) or 1.0
    probability = [p / total for p, _ in pairs]
    returns = [y for _, y in pairs]
    value = categorical()
    if path == "a GPU's":
        value._by_neighbours = value._by_kernel
    m = value.projected(
        torch.tensor(probability, dtype=torch.float64), torch.tensor(returns, dtype=torch.float64)
    )
    expected = torch.tensor(two_neighbours(probability, returns), dtype=torch.float64)
    torch.testing.assert_close(m, expected, atol=1e-12, rtol=0)
    mean = sum(p * min(max(y, LOW), HIGH) for p, y in zip(probability, returns, strict=True))
    assert float((m * value.atoms).sum()) == pytest.approx(mean, abs=1e-9)
    assert float(m.sum()) == pytest.approx(sum(probability), abs=1e-9)


@given(BEYOND)
def test_a_smoothed_return_is_a_distribution_around_it(y: float) -> None:
    value = categorical("hl_gauss")
    m = value.smoothed(torch.tensor(y, dtype=torch.float64))
    assert float(m.sum()) == pytest.approx(1.0, abs=1e-12)
    assert (m >= 0).all()
    if LOW + 2 <= y <= HIGH - 2:  # cut off nowhere
        assert float((m * value.atoms).sum()) == pytest.approx(y, abs=1e-3)
    delta = (HIGH - LOW) / (K - 1)
    edges = [LOW + (j - 0.5) * delta for j in range(K + 1)]
    sigma, inside = 0.75 * delta, min(max(y, LOW), HIGH)
    cdf = [0.5 * (1 + math.erf((e - inside) / (sigma * math.sqrt(2)))) for e in edges]
    expected = [(b - a) / (cdf[-1] - cdf[0]) for a, b in itertools.pairwise(cdf)]
    torch.testing.assert_close(m, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("ensemble", ["min", "mean"])
def test_targets(normal: Draw, ensemble: Ensemble) -> None:
    """r + γ (z - α log π) of the mixture, or of the critic that expects less, for each sample by itself."""
    outputs, reward, cost = normal(2, 2, 3, 4, K), normal(2, 3, 4), normal(2, 3, 4)
    discount = 0.9 * (normal(2, 3, 4) > -1)
    value, smoothed = categorical(ensemble=ensemble), categorical("hl_gauss", ensemble)
    target, gauss = (v.target(reward, discount, outputs, cost) for v in (value, smoothed))
    q = value.mean(outputs)
    for s, t, b in itertools.product(range(2), range(3), range(4)):
        p = torch.softmax(outputs[s, :, t, b], dim=-1)
        expected = [float((x * value.atoms).sum()) for x in p]
        assert q[s, :, t, b].tolist() == pytest.approx(expected)
        chosen = p.mean(0) if ensemble == "mean" else p[expected.index(min(expected))]
        r, g, c = (float(x[s, t, b]) for x in (reward, discount, cost))
        returns = [r + g * (z - c) for z in value.atoms.tolist()]
        assert target[s, t, b].tolist() == pytest.approx(two_neighbours(chosen.tolist(), returns))
        combined = sum(expected) / 2 if ensemble == "mean" else min(expected)
        y = torch.tensor(r + g * (combined - c), dtype=torch.float64)
        torch.testing.assert_close(gauss[s, t, b], smoothed.smoothed(y))
        assert float(value.combined(q)[s, t, b]) == pytest.approx(combined)


def test_the_loss_is_a_divergence_with_the_gradient_of_the_cross_entropy(normal: Draw) -> None:
    value = categorical()
    outputs = normal(2, 2, 3, 4, K).requires_grad_()
    target = torch.softmax(normal(2, 3, 4, K), dim=-1)
    target = torch.where(target < 0.03, 0.0, target)
    target /= target.sum(-1, keepdim=True)
    loss = value.loss(outputs, target)
    assert loss.shape == (2, 3)
    assert (loss > 0).all()
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for e in range(2):
        log_prob = torch.log_softmax(outputs[:, e], dim=-1)
        expected += torch.nn.functional.kl_div(log_prob, target, reduction="none").sum(-1).mean(-1)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss.sum(), [outputs])
    torch.testing.assert_close(gradient, (torch.softmax(outputs, -1) - target.unsqueeze(1)).detach() / 4)
    right = target.clamp(min=1e-300).log().unsqueeze(1).expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(value.loss(right, target), torch.zeros(2, 3, dtype=torch.float64))


def test_a_scalar_value_is_the_output(normal: Draw) -> None:
    outputs, target = normal(2, 2, 3, 4, 1), normal(2, 3, 4)
    value = ScalarValue("mean")
    assert torch.equal(value.combined(value.mean(outputs)), outputs.squeeze(-1).mean(1))
    torch.testing.assert_close(
        value.loss(outputs, target), (outputs.squeeze(-1) - target.unsqueeze(1)).square().mean(-1).sum(1)
    )


@pytest.mark.parametrize(("critic", "tolerance"), [("categorical", 0.05), ("hl_gauss", 0.1)])
def test_a_known_distribution_of_returns_is_learnt(critic: str, tolerance: float) -> None:
    """From state 0 to state 1 without a reward, then -1 (a quarter of the time) or 2, and the end.

    In state 1 the return is -1 or 2, in state 0 γ times that. A smoothed target keeps the mean only.
    """
    gamma = 0.5
    sac = SAC(
        Shared(width=16, depth=1),
        SACConfig(
            critic=critic,
            num_atoms=13,
            value_min=-3.0,
            value_max=3.0,
            ensemble="mean",
            gamma=gamma,
            tau=0.1,
            learning_rate=1e-2,
            initial_temperature=1e-6,
            temperature_learning_rate=1e-9,
        ),
        observation_size=2,
        action_size=1,
        num_tasks=1,
        seeds=[0],
    )
    generator = torch.Generator().manual_seed(0)
    first = torch.arange(64) % 2 == 0
    reward = torch.where(torch.arange(64) % 8 == 1, -1.0, 2.0)
    for _ in range(400):
        sac.update(
            Batch(
                observation=torch.stack([first, ~first], -1).float().expand(1, 1, -1, -1),
                action=torch.rand(1, 1, 64, 1, generator=generator) * 2 - 1,
                reward=torch.where(first, 0.0, reward).expand(1, 1, -1),
                next_observation=torch.tensor([0.0, 1.0]).expand(1, 1, 64, -1),
                terminated=(~first).float().expand(1, 1, -1),
            )
        )
    states = torch.eye(2).expand(1, 1, 2, 2)
    outputs, _ = sac.critic(states, torch.zeros(1, 1, 2, 1))
    means = sac.value.mean(outputs).mean(1)[0, 0]
    assert means.tolist() == pytest.approx([gamma * 1.25, 1.25], abs=tolerance)
    if critic == "categorical":
        probability = torch.softmax(outputs, -1).mean(1)[0, 0]
        expected = torch.zeros(2, 13)
        expected[0, 5], expected[0, 8] = 0.25, 0.75  # -0.5 and 1
        expected[1, 4], expected[1, 10] = 0.25, 0.75  # -1 and 2
        assert (probability - expected).abs().max() < 0.1
