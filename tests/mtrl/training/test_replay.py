"""Ring buffers whose transitions carry their identity: observation = (seed, task, number), reward = number."""

import numpy as np
import pytest
import torch

from agents.sac import Batch
from mtrl.training.replay import Replay

S, T, CAPACITY = 2, 3, 10


def make_replay(seeds=(0, 1), capacity: int = CAPACITY) -> Replay:
    return Replay(capacity, seeds=seeds, num_tasks=T, observation_size=3, action_size=2)


def transitions(numbers: range, num_seeds: int = S) -> Batch:
    """W transitions of every ring, numbered."""
    seed, task, number = torch.meshgrid(
        torch.arange(num_seeds).float(),
        torch.arange(T).float(),
        torch.tensor(list(numbers)).float(),
        indexing="ij",
    )
    observation = torch.stack([seed, task, number], -1)
    action = torch.stack([number + 0.25, number + 0.5], -1)
    return Batch(observation, action, number, observation + 1, (number % 2 == 0).float())


def everything(numbers: range) -> np.ndarray:
    return np.ones((S, T, len(numbers)), dtype=bool)


def fill(replay: Replay, count: int, num_worlds: int = 1) -> None:
    for start in range(0, count, num_worlds):
        numbers = range(start, start + num_worlds)
        replay.add(transitions(numbers), everything(numbers))


@pytest.mark.parametrize("num_worlds", [1, 2, 4])
def test_every_batch_has_b_whole_transitions_of_every_task(num_worlds: int) -> None:
    replay = make_replay()
    fill(replay, 8, num_worlds)
    for _ in range(20):
        batch = replay.sample(5)
        assert batch.observation.shape == (S, T, 5, 3)
        assert batch.action.shape == (S, T, 5, 2)
        number = batch.observation[..., 2]
        assert torch.equal(batch.observation[..., 0], torch.arange(S)[:, None, None].expand(S, T, 5).float())
        assert torch.equal(batch.observation[..., 1], torch.arange(T)[None, :, None].expand(S, T, 5).float())
        assert torch.equal(batch.reward, number)
        assert torch.equal(batch.action, torch.stack([number + 0.25, number + 0.5], -1))
        assert torch.equal(batch.next_observation, batch.observation + 1)
        assert torch.equal(batch.terminated, (number % 2 == 0).float())


@pytest.mark.parametrize(("count", "num_worlds"), [(4, 1), (10, 1), (25, 1), (24, 4), (30, 10)])
def test_samples_exactly_what_the_ring_holds(count: int, num_worlds: int) -> None:
    replay = make_replay()
    fill(replay, count, num_worlds)
    drawn = replay.sample(1_000).reward
    newest = set(range(max(0, count - CAPACITY), count))
    for ring in drawn.flatten(0, 1):
        assert set(ring.int().tolist()) == newest
    assert torch.equal(replay.size, torch.full((S, T), min(count, CAPACITY)))


def test_samples_uniformly() -> None:
    replay = make_replay()
    fill(replay, 15)
    counts = torch.bincount(replay.sample(20_000).reward[0, 0].long(), minlength=15)[5:]
    # 2000 expected of each with a standard deviation of 42
    assert (counts - 2_000).abs().max() < 5 * 42


def test_leaves_out_what_is_not_valid() -> None:
    replay = make_replay()
    random = np.random.default_rng(0)
    expected: dict[tuple[int, int], list[int]] = {(s, t): [] for s in range(S) for t in range(T)}
    for start in range(0, 40, 4):
        numbers = range(start, start + 4)
        valid = random.random((S, T, 4)) < 0.6
        replay.add(transitions(numbers), valid)
        for (s, t), kept in expected.items():
            kept += [n for n, v in zip(numbers, valid[s, t], strict=True) if v]
    drawn = replay.sample(1_000)
    for (s, t), kept in expected.items():
        assert set(drawn.reward[s, t].int().tolist()) == set(kept[-CAPACITY:])
        assert (drawn.observation[s, t, :, 1] == t).all()


def test_valid_and_invalid_paths_store_alike() -> None:
    direct, masked = make_replay(), make_replay()
    for start in range(0, 12, 3):
        numbers = range(start, start + 3)
        direct.add(transitions(numbers), everything(numbers))
        one_more = range(start, start + 4)
        valid = everything(one_more)
        valid[..., -1] = False
        masked.add(transitions(one_more), valid)
    assert torch.equal(direct.storage, masked.storage)
    assert torch.equal(direct.added, masked.added)


def test_a_seed_samples_the_same_whoever_is_beside_it() -> None:
    alone, together = make_replay(seeds=[4]), make_replay(seeds=[9, 4])
    numbers = range(7)
    alone.add(transitions(numbers, num_seeds=1), np.ones((1, T, 7), dtype=bool))
    together.add(transitions(numbers), everything(numbers))
    assert torch.equal(alone.sample(6).reward[0], together.sample(6).reward[1])


@pytest.mark.parametrize("count", [3, 10, 17])
def test_state_round_trip(count: int) -> None:
    replay = make_replay()
    fill(replay, count)
    replay.sample(3)
    state = replay.state_dict()
    assert state["storage"].shape[2] == min(count, CAPACITY)  # the empty rest is not stored
    other = make_replay(seeds=(5, 6))
    other.load_state_dict(state)
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(other.sample(4), replay.sample(4), strict=True))
        for r in (replay, other):
            r.add(transitions(range(50, 53)), everything(range(3)))
    assert torch.equal(other.storage, replay.storage)
