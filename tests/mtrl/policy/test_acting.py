"""Acting in training: the agent's own actions, and on a GPU nothing that is queued is waited for."""

import numpy as np
import pytest
import torch

from agents.config import SACConfig
from agents.networks import Shared
from agents.sac import SAC, Batch
from mtrl.device.cuda_graph import WARM_UP_CALLS
from mtrl.policy.acting import VectorPolicy
from mtrl.training.replay import Replay

SHAPE = (2, 3, 4, 5)  # [S, T, W, O]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    ),
]


def make_agent(device: str) -> SAC:
    return SAC(
        Shared(width=8, depth=1),
        SACConfig(),
        observation_size=SHAPE[-1],
        action_size=2,
        num_tasks=SHAPE[1],
        seeds=range(SHAPE[0]),
        critic_balancer=None,
        actor_balancer=None,
        device=torch.device(device),
        task_names=("a", "b", "c"),
    )


@pytest.mark.parametrize("device", DEVICES)
def test_actions_are_the_agents_with_fresh_noise(device: str) -> None:
    agent, twin = make_agent(device), make_agent(device)
    policy = VectorPolicy(agent, SHAPE)
    seen = []
    for number in range(WARM_UP_CALLS + 3):
        observation = torch.full(SHAPE, float(number))
        policy.start(observation)
        actions = policy.finish()
        torch.testing.assert_close(actions, twin.act(observation.to(device), deterministic=False).cpu())
        assert actions.device.type == "cpu"
        seen.append(actions)
    assert len({tuple(actions.flatten().tolist()) for actions in seen}) == len(seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_neither_acting_nor_adding_waits_for_what_is_queued() -> None:
    policy = VectorPolicy(make_agent("cuda"), SHAPE)
    replay = Replay(100, seeds=range(2), num_tasks=3, observation_size=5, action_size=2, device="cuda")
    numbers = torch.zeros(SHAPE[:3])
    batch = Batch(torch.zeros(SHAPE), torch.zeros(2, 3, 4, 2), numbers, torch.zeros(SHAPE), numbers)
    for number in range(WARM_UP_CALLS + 3):
        queued = torch.cuda.Event()
        torch.cuda._sleep(10**9 if number > WARM_UP_CALLS else 1)  # cycles: half a second
        queued.record()
        replay.add(batch._replace(reward=numbers + number), np.ones(SHAPE[:3], dtype=bool))
        policy.start(torch.full(SHAPE, float(number)))
        if number > WARM_UP_CALLS:
            assert not queued.query()
        policy.finish()
        assert queued.query()
    rewards = replay.storage[:, :, : 4 * (WARM_UP_CALLS + 3), 7]
    expected = torch.arange(WARM_UP_CALLS + 3.0).repeat_interleave(4).expand(2, 3, -1)
    torch.testing.assert_close(rewards.cpu(), expected)
