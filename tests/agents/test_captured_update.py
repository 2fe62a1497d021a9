"""A captured update is the eager update: the same numbers after 200 of them, with fresh noise and batches in each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agents.networks import Architecture, MultiHead, Residual
from agents.sac import SAC, Batch
from mtrl.balancers import Balancer, available
from mtrl.device.cuda_graph import WARM_UP_CALLS, Captured
from mtrl.training.replay import Replay
from tests.agents.conftest import MODERN

if not torch.cuda.is_available():  # before hundreds of tests are collected
    pytest.skip("needs a CUDA device", allow_module_level=True)
UPDATES = 200
SEEDS = (0, 1)
FIXED = (MultiHead(width=12, head_width=8), available()["AlignedMTL"]())


def filled_replay(batch: Callable[..., Batch]) -> Replay:
    sample = batch(SEEDS)
    _, num_tasks, _, observation_size = sample.observation.shape
    replay = Replay(
        1_000,
        seeds=SEEDS,
        num_tasks=num_tasks,
        observation_size=observation_size,
        action_size=sample.action.shape[-1],
        device="cuda",
    )
    for number in range(20):
        added = batch(SEEDS, number=number)
        replay.add(added, torch.ones(added.reward.shape, dtype=torch.bool).numpy())
    return replay


def train(
    agent: SAC, replay: Replay, captured: bool, updates: int = UPDATES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters after some updates, and each update's critic losses."""
    losses = torch.zeros(updates, len(SEEDS), 3, device="cuda")
    count = torch.zeros(1, dtype=torch.long, device="cuda")

    def update() -> None:
        metrics = agent.update(replay.sample(8))
        losses.index_copy_(0, count, metrics["critic/loss"].unsqueeze(0))
        count.add_(1)

    step = Captured(update) if captured else update
    for number in range(updates):
        agent.set_progress(number / updates)  # between the replays
        step()
    parameters = [
        p
        for optimizer in (agent.critic_optimizer, agent.actor_optimizer)
        for p in (optimizer.parameters.shared, optimizer.parameters.owned)
    ]
    return torch.cat([p.detach().flatten() for p in [*parameters, agent.temperature.log_alpha]]), losses


def assert_parity(
    make: Callable[..., SAC],
    batch: Callable[..., Batch],
    architecture: Architecture,
    balancer: Balancer | None,
    **options: Any,
) -> None:
    balance_actor = balancer is None or not balancer.requires_positive_losses
    results = []
    for captured in (False, True):
        agent = make(
            architecture,
            balancer,
            SEEDS,
            device="cuda",
            balance_actor=balance_actor,
            max_grad_norm=1.0,
            **options,
        )
        agent.return_scale.set(np.full((2, 3), 50.0), np.full((2, 3), 9.0))
        results.append(train(agent, filled_replay(batch), captured))
    (expected, expected_losses), (found, losses) = results
    assert found.isfinite().all()
    assert (losses - expected_losses).norm() <= 1e-4 * expected_losses.norm()
    assert (found - expected).norm() <= 1e-4 * expected.norm()


def test_every_network(
    architecture: Architecture, agent: Callable[..., SAC], batch: Callable[..., Batch]
) -> None:
    assert_parity(agent, batch, architecture, None)


def test_every_sharing_network_balanced(
    sharing_architecture: Architecture, agent: Callable[..., SAC], batch: Callable[..., Batch]
) -> None:
    assert_parity(agent, batch, sharing_architecture, FIXED[1])


@pytest.mark.usefixtures("factors_pay")
@pytest.mark.parametrize("method", ["AlignedMTL", "LS", "PCGrad"])
def test_with_factors(agent: Callable[..., SAC], batch: Callable[..., Batch], method: str) -> None:
    architecture = Residual(width=12, depth=1, embedding_width=5)
    assert_parity(agent, batch, architecture, available()[method](), batch_size=8, **MODERN)


@pytest.mark.parametrize("critic", ["squared", "categorical", "hl_gauss"])
@pytest.mark.parametrize("balancer", [None, FIXED[1]], ids=["none", "AlignedMTL"])
def test_the_modern_agent(
    agent: Callable[..., SAC], batch: Callable[..., Batch], balancer: Balancer | None, critic: str
) -> None:
    architecture = Residual(width=12, depth=1, embedding_width=5)
    assert_parity(agent, batch, architecture, balancer, **{**MODERN, "critic": critic})


@pytest.mark.parametrize("method", available().values(), ids=lambda m: m.__name__)
def test_every_balancer(
    method: type[Balancer], agent: Callable[..., SAC], batch: Callable[..., Batch]
) -> None:
    assert_parity(agent, batch, FIXED[0], method())


def test_each_replay_draws_fresh_noise_and_another_batch(
    agent: Callable[..., SAC], batch: Callable[..., Batch]
) -> None:
    made, replay = agent(*FIXED, SEEDS, device="cuda"), filled_replay(batch)
    drawn = torch.zeros(8, 2, device="cuda")
    count = torch.zeros(1, dtype=torch.long, device="cuda")

    def draw() -> None:
        values = torch.stack([made.noise.randn(1)[0, 0], replay.sample(4).observation.sum()])
        drawn.index_copy_(0, count, values.unsqueeze(0))
        count.add_(1)

    step = Captured(draw)
    for _ in range(8):
        step()
    assert WARM_UP_CALLS < 6  # at least two replays
    assert all(column.unique().numel() == 8 for column in drawn.T)
