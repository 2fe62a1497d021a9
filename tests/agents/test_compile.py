"""Compiled, an update does the same: what is traced is run by PyTorch's operators here, so that it shows exactly."""

from functools import partial

import numpy as np
import pytest
import torch

from agents import affine
from agents.config import SACConfig
from agents.networks import MultiHead, Residual
from agents.sac import SAC, Batch
from agents.values import CategoricalValue
from mtrl.adam import Adam
from mtrl.balancers import available
from mtrl.gradients import FactoredWeight
from tests.agents.conftest import MODERN

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
)
#: Only benchmarks compile updates for it.
CPU = pytest.param("cpu", marks=pytest.mark.slow)
SIZES = {"observation_size": 9, "action_size": 2, "num_tasks": 3, "seeds": (0, 1)}


def agent(balancer: str | None, device: str) -> SAC:
    critic = None if balancer is None else available()[balancer]()
    actor = None if critic is not None and critic.requires_positive_losses else critic
    return SAC(
        MultiHead(width=16, depth=2, head_width=8),
        SACConfig(),
        critic_balancer=critic,
        actor_balancer=actor,
        device=device,
        **SIZES,
    )


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(0)

    def batch() -> Batch:
        observation, next_observation = torch.randn(2, 2, 3, 8, 9, generator=generator)
        action = torch.randn(2, 3, 8, 2, generator=generator).tanh()
        reward = torch.randn(2, 3, 8, generator=generator)
        return Batch(observation, action, reward, next_observation, torch.zeros_like(reward))

    return [batch() for _ in range(3)]


@pytest.mark.slow
def test_an_update_compiled_for_a_cpu_is_the_same(
    batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_modern_agent_is_the_same("cpu", "categorical", "AlignedMTL", batches, monkeypatch)


#: One of each kind: weights, representation, per coordinate, its own step, observing, from losses alone.
@pytest.mark.parametrize(
    "balancer", [None, "AlignedMTL", "AlignedMTLUB", "MGDAUB", "GradDrop", "AdaTask", "FAMO", "Uncertainty"]
)
@pytest.mark.parametrize("path", [CPU, "a GPU's on the CPU", CUDA])
def test_a_compiled_update_is_the_same(
    path: str, balancer: str | None, batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = "cuda" if path == "cuda" else "cpu"
    if path == "a GPU's on the CPU":
        monkeypatch.setattr(affine, "_on_cpu", lambda tensor: False)
        monkeypatch.setattr(Adam, "_step_by_seed", Adam._step_on_device)
        monkeypatch.setattr(CategoricalValue, "_by_neighbours", CategoricalValue._by_kernel)
    compiled = agent(balancer, device)
    with monkeypatch.context() as patch:
        if path != "cuda":
            patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        compiled.compile()
    assert_same_updates(agent(balancer, device), compiled, batches)


@pytest.mark.parametrize("balancer", [None, "AlignedMTL"])
@pytest.mark.parametrize(
    "critic",
    [
        pytest.param("squared", marks=pytest.mark.slow),
        "categorical",
        pytest.param("hl_gauss", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("path", [CPU, "a GPU's on the CPU", CUDA])
def test_a_compiled_update_of_the_modern_agent_is_the_same(
    path: str, critic: str, balancer: str | None, batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_modern_agent_is_the_same(path, critic, balancer, batches, monkeypatch)


@pytest.mark.usefixtures("factors_pay")
@pytest.mark.parametrize("path", ["a GPU's on the CPU", CUDA])
def test_a_compiled_update_with_factors_is_the_same(
    path: str, batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = assert_modern_agent_is_the_same(path, "categorical", "AlignedMTL", batches, monkeypatch, 8)
    for optimizer in (compiled.critic_optimizer, compiled.actor_optimizer):
        assert any(isinstance(leaf, FactoredWeight) for leaf in optimizer.shared_leaves.values())


def assert_modern_agent_is_the_same(
    path: str,
    critic: str,
    balancer: str | None,
    batches: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int | None = None,
) -> SAC:
    if path == "a GPU's on the CPU":
        monkeypatch.setattr(affine, "_on_cpu", lambda tensor: False)
        monkeypatch.setattr(Adam, "_step_by_seed", Adam._step_on_device)
        monkeypatch.setattr(CategoricalValue, "_by_neighbours", CategoricalValue._by_kernel)

    options = dict(MODERN)
    critics = options.pop("critic_architecture")
    method = None if balancer is None else available()[balancer]()

    def make() -> SAC:
        made = SAC(
            Residual(width=12, depth=1, embedding_width=5),
            SACConfig(**{**options, "critic": critic}),
            critic_architecture=critics,
            critic_balancer=method,
            actor_balancer=method,
            device="cuda" if path == "cuda" else "cpu",
            **SIZES,
        )
        if batch_size is not None:
            made.factor_gradients(batch_size)
        made.return_scale.set(np.full((2, 3), 50.0), np.full((2, 3), 9.0))
        return made

    compiled = make()
    with monkeypatch.context() as patch:
        if path != "cuda":
            patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        compiled.compile()
    assert_same_updates(make(), compiled, batches)
    return compiled


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), CUDA])
def test_an_autotuned_update_is_the_same(device: str, batches: list[Batch]) -> None:
    compiled = agent("AlignedMTL", device)
    compiled.compile(autotune=True)
    assert_same_updates(agent("AlignedMTL", device), compiled, batches)


def assert_same_updates(plain: SAC, compiled: SAC, batches: list[Batch]) -> None:
    for batch, progress in zip(batches, (0.0, 0.6, 0.9), strict=True):
        batch = Batch(*(tensor.to(plain.device) for tensor in batch))
        for agent in (plain, compiled):
            agent.set_progress(progress)
        plain.update(batch)
        compiled.update(batch)
    for ours, theirs in ((plain.critic, compiled.critic), (plain.actor, compiled.actor)):
        for name, parameter in ours.named_parameters():
            found = theirs.get_parameter(name)
            if plain.device.type == "cpu":
                torch.testing.assert_close(
                    found, parameter, rtol=1e-6, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
                )
            else:  # fused kernels round differently, and Adam divides by small numbers
                assert (found - parameter).norm() <= 1e-3 * parameter.norm(), name
