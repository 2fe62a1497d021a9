"""Every architecture that shares parameters trains on Meta-World itself with the balancers it is compared by."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import envs
from agents.config import SACConfig
from agents.networks import Architecture
from agents.sac import SAC, Batch
from envs.benchmarks import get_benchmark, get_protocol
from envs.vector import VectorEnv
from mtrl.balancers import available
from mtrl.training.replay import Replay

SEEDS = (0, 1)
MT3 = get_benchmark("MT3")


@pytest.fixture(scope="module")
def env() -> Iterator[VectorEnv]:
    made = envs.make(MT3, get_protocol("metaworld_plus"), SEEDS, num_workers=0)
    made.reset()
    yield made
    made.close()


@pytest.mark.parametrize("name", ["LS", "AlignedMTL", "PCGrad", "CAGrad", "NashMTL"])
def test_trains_on_mt3(sharing_architecture: Architecture, name: str, env: VectorEnv) -> None:
    """Ten vector steps of two seeds with the policy's own actions, and an update after each."""
    balancer = available()[name]()
    agent = SAC(
        sharing_architecture,
        SACConfig(max_grad_norm=1.0),
        observation_size=39,
        action_size=4,
        num_tasks=3,
        seeds=SEEDS,
        critic_balancer=balancer,
        actor_balancer=balancer,
        task_names=MT3.tasks,
    )
    replay = Replay(20, seeds=SEEDS, num_tasks=3, observation_size=39, action_size=4)
    vectors = [
        v
        for o in (agent.critic_optimizer, agent.actor_optimizer)
        for v in (o.parameters.shared, o.parameters.owned)
    ]
    before = [v.detach().clone() for v in vectors]

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).unflatten(0, env.layout)

    observation, _ = env.reset()
    for _ in range(10):
        action = agent.act(tensor(observation), deterministic=False)
        next_observation, reward, terminated, _, infos = env.step(action.flatten(0, 2).numpy())
        assert not infos["invalid"].any()
        batch = Batch(
            tensor(observation), action, tensor(reward), tensor(next_observation), tensor(terminated)
        )
        replay.add(batch, np.ones(env.layout, dtype=bool))
        observation = next_observation
        metrics = agent.update(replay.sample(4))
        for key, value in metrics.items():
            assert value.isfinite().all(), key
        assert not metrics["critic/nonfinite"].any()
        assert not metrics["actor/nonfinite"].any()
    for vector, old in zip(vectors, before, strict=True):
        assert vector.isfinite().all()
        assert vector.numel() == 0 or (vector != old).any(-1).all()  # of every seed
