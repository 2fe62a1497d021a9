"""Every architecture at a size that takes milliseconds, and agents, batches and float64 networks made of them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import agents.actor_critic
import agents.optimizer
from agents.config import SACConfig
from agents.layers import Axes
from agents.networks import (
    Architecture,
    Care,
    DeepSoftModularization,
    Film,
    Moore,
    MultiHead,
    Paco,
    Residual,
    Shared,
    SingleTask,
    SoftModularization,
    TaskEncoder,
)
from agents.sac import SAC, Batch
from mtrl.balancers import Balancer
from mtrl.device.generators import Generators

SMALL: dict[str, Architecture] = {
    "care": Care(width=12, num_experts=3, expert_width=6, context_width=16),
    "care with a learned context": Care(
        12, 2, num_experts=3, expert_width=6, context="learned", context_width=16
    ),
    "deep_soft_modularization": DeepSoftModularization(
        num_modules=3, module_width=6, embedding_width=8, routing_width=7
    ),
    "film": Film(width=12, context_width=16),
    "moore": Moore(width=12),
    "multi_head": MultiHead(width=12, head_width=8),
    "paco": Paco(width=12),
    "residual": Residual(width=12),
    "residual told the task": Residual(width=12, embedding_width=5, heads="shared"),
    "shared": Shared(width=12),
    "shared with task id": Shared(width=12, task_id=True),
    "single_task": SingleTask(width=12),
    "soft_modularization": SoftModularization(module_width=6, embedding_width=8, routing_width=7),
    "task_encoder": TaskEncoder(width=12, context_width=16),
}
TASKS = ("drawer-close-v3", "window-open-v3", "window-close-v3")
MODERN: dict[str, Any] = {
    "critic_architecture": Residual(width=10, depth=1, embedding_width=5),
    "critic": "categorical",
    "num_atoms": 21,
    "ensemble": "mean",
    "normalize_returns": True,
    "weight_decay": 1e-2,
    "log_std": "tanh",
    "log_std_min": -10.0,
    "target_entropy": -2.0,
    "initial_temperature": 0.1,
    "learning_rate_decay": "linear",
}
"""Every ingredient of the modern agent at once, beside a `Residual` actor that is told the task."""
OBSERVATION_SIZE, ACTION_SIZE, BATCH_SIZE = 9, 4, 6


def make_agent(
    architecture: Architecture,
    balancer: Balancer | None = None,
    seeds: Sequence[int] = (0, 1),
    tasks: Sequence[str] = TASKS,
    device: str = "cpu",
    balance_actor: bool = True,
    critic_architecture: Architecture | None = None,
    batch_size: int | None = None,
    **config: Any,
) -> SAC:
    made = SAC(
        architecture,
        SACConfig(**config),
        observation_size=OBSERVATION_SIZE,
        action_size=ACTION_SIZE,
        num_tasks=len(tasks),
        seeds=seeds,
        critic_architecture=critic_architecture,
        critic_balancer=balancer,
        actor_balancer=balancer if balance_actor else None,
        device=device,
        task_names=tasks,
    )
    if batch_size is not None:
        made.factor_gradients(batch_size)
    return made


def make_batch(
    seeds: Sequence[int] = (0, 1), num_tasks: int = 3, dtype: torch.dtype = torch.float32, number: int = 0
) -> Batch:
    """Random transitions; those of a seed depend on `number` and the seed alone."""
    draw = partial(Generators([1000 * number + s for s in seeds], "batch").randn, dtype=dtype)
    shape = (num_tasks, BATCH_SIZE)
    return Batch(
        observation=draw(*shape, OBSERVATION_SIZE),
        action=draw(*shape, ACTION_SIZE).tanh(),
        reward=draw(*shape),
        next_observation=draw(*shape, OBSERVATION_SIZE),
        terminated=(draw(*shape) > 1).to(dtype),
    )


@pytest.fixture(params=SMALL)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return SMALL[request.param]


@pytest.fixture(params=[name for name in SMALL if name != "single_task"])
def sharing_architecture(request: pytest.FixtureRequest) -> Architecture:
    return SMALL[request.param]


@pytest.fixture
def agent() -> Callable[..., SAC]:
    return make_agent


@pytest.fixture
def batch() -> Callable[..., Batch]:
    return make_batch


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents made in this test have float64 networks."""
    monkeypatch.setattr(agents.actor_critic, "Axes", partial(Axes, dtype=torch.float64))


@pytest.fixture
def factors_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents made in this test for a batch size have factors of task gradients wherever they can."""
    monkeypatch.setattr(agents.optimizer, "factors_pay", lambda shape, num_samples, device: True)


@pytest.fixture
def axes() -> Callable[..., Axes]:
    """Axes of float64 networks for three tasks."""

    def make(seeds: Sequence[int] = (0, 1), num_critics: int = 1) -> Axes:
        generators = Generators(seeds, "parameters")
        return Axes(len(seeds), len(TASKS), num_critics, generators, torch.float64, TASKS)

    return make


@pytest.fixture
def normal() -> Callable[..., Tensor]:
    """Standard normal float64 numbers, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return partial(torch.randn, generator=generator, dtype=torch.float64)
