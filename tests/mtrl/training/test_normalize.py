import numpy as np

from mtrl.training.normalize import ReturnStatistics, RewardNormalizer

S, T, W = 2, 3, 4


def one_ring(rewards: list[float], decay: float) -> list[float]:
    """The running standard deviation of one world after the other, as a loop over numbers."""
    mean, variance, deviations = 0.0, 1.0, []
    for reward in rewards:
        mean = (1 - decay) * mean + decay * reward
        variance = (1 - decay) * variance + decay * (reward - mean) ** 2
        deviations.append((variance + 1e-8) ** 0.5)
    return deviations


def test_equals_a_loop_over_single_rewards() -> None:
    random = np.random.default_rng(0)
    rewards = random.normal(3.0, [[[1.0], [10.0], [100.0]]], (50, S, T, W))
    valid = random.random((50, S, T, W)) < 0.8
    normalizer = RewardNormalizer((S, T), decay=0.05)
    scaled = np.stack([normalizer(r, v) for r, v in zip(rewards, valid, strict=True)])
    for s in range(S):
        for t in range(T):
            seen: list[float] = []
            for step in range(50):
                seen += rewards[step, s, t, valid[step, s, t]].tolist()
                deviation = one_ring(seen, 0.05)[-1]
                np.testing.assert_allclose(scaled[step, s, t], rewards[step, s, t] / deviation, rtol=1e-12)


def test_constant_scale_ends_at_unit_deviation() -> None:
    random = np.random.default_rng(0)
    normalizer = RewardNormalizer((1, 1), decay=1e-2)
    for _ in range(2_000):
        normalizer(random.normal(0.0, 50.0, (1, 1, 1)), np.ones((1, 1, 1), dtype=bool))
    assert abs(np.sqrt(normalizer.variance[0, 0]) - 50.0) < 10.0


def test_what_is_not_valid_leaves_no_trace_even_if_it_is_nan() -> None:
    normalizer, other = RewardNormalizer((1, 2)), RewardNormalizer((1, 2))
    normalizer(np.array([[[np.nan, 2.0], [1.0, 1.0]]]), np.array([[[False, True], [True, True]]]))
    other(np.array([[[2.0], [1.0]]]), np.ones((1, 2, 1), dtype=bool))
    other(np.array([[[7.0], [1.0]]]), np.array([[[False], [True]]]))
    np.testing.assert_array_equal(normalizer.variance, other.variance)


def test_state_round_trip() -> None:
    normalizer, other = RewardNormalizer((S, T)), RewardNormalizer((S, T))
    rewards, valid = np.random.default_rng(0).normal(size=(S, T, W)), np.ones((S, T, W), dtype=bool)
    normalizer(rewards, valid)
    other.load_state_dict(normalizer.state_dict())
    np.testing.assert_array_equal(normalizer(rewards, valid), other(rewards, valid))


class TestReturnStatistics:
    def test_equals_a_loop_over_single_worlds(self) -> None:
        """With episodes that end at different times, by a time limit or a fault, and steps that are not valid."""
        random = np.random.default_rng(0)
        rewards = random.normal(1.0, [[[1.0], [10.0], [100.0]]], (60, S, T, W))
        valid = random.random((60, S, T, W)) < 0.9
        done = (random.random((60, S, T, W)) < 0.1) | ~valid  # a world that broke is reset
        rewards[~valid] = np.nan
        statistics = ReturnStatistics((S, T, W), gamma=0.9)
        returns: dict[tuple[int, int], list[float]] = {(s, t): [] for s in range(S) for t in range(T)}
        running = dict.fromkeys(np.ndindex(S, T, W), 0.0)
        for step in range(60):
            for s, t, w in np.ndindex(S, T, W):
                if valid[step, s, t, w]:
                    running[s, t, w] = 0.9 * running[s, t, w] + rewards[step, s, t, w]
                    returns[s, t].append(running[s, t, w])
                if done[step, s, t, w]:
                    running[s, t, w] = 0.0
            statistics.add(rewards[step], valid[step], done[step])
            for (s, t), values in returns.items():
                np.testing.assert_allclose(statistics.largest[s, t], np.abs(values).max())
                np.testing.assert_allclose(statistics.variance[s, t], np.var(values), atol=1e-12)

    def test_nothing_before_the_first_step_and_nothing_of_invalid_ones(self) -> None:
        statistics = ReturnStatistics((1, 1, 2), gamma=0.9)
        assert statistics.variance.tolist() == [[0.0]]
        statistics.add(np.full((1, 1, 2), np.nan), np.zeros((1, 1, 2), bool), np.ones((1, 1, 2), bool))
        assert statistics.variance.tolist() == statistics.largest.tolist() == [[0.0]]

    def test_state_round_trip(self) -> None:
        statistics, other = (ReturnStatistics((S, T, W), gamma=0.9) for _ in range(2))
        random = np.random.default_rng(0)
        valid, done = np.ones((S, T, W), dtype=bool), np.zeros((S, T, W), dtype=bool)
        statistics.add(random.normal(size=(S, T, W)), valid, done)
        other.load_state_dict(statistics.state_dict())
        rewards = random.normal(size=(S, T, W))
        for s in (statistics, other):
            s.add(rewards, valid, done)
        np.testing.assert_array_equal(statistics.variance, other.variance)
        np.testing.assert_array_equal(statistics.returns, other.returns)
