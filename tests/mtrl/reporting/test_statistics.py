"""Statistics by hand-computed cases and against references: scipy, plain loops, and values of rliable 1.2."""

import math

import numpy as np
import pytest
from scipy import stats

from mtrl.reporting.statistics import (
    bootstrap_interval,
    first_reach,
    improvement,
    improvement_interval,
    interquartile_mean,
    mean_and_sem,
    median_reached,
    resample,
    select,
)


def test_mean_and_sem_by_hand() -> None:
    # Deviations -0.2, 0, 0.2: variance 0.08 / 2, standard error sqrt(0.04 / 3).
    result = mean_and_sem(np.array([0.4, 0.6, 0.8]))
    assert result.value == pytest.approx(0.6)
    assert result.sem == pytest.approx(math.sqrt(0.04 / 3))
    assert str(result) == "0.600 ± 0.115"


def test_one_seed_has_no_standard_error_and_no_interval() -> None:
    scores = np.array([[0.2, 0.4]])
    assert mean_and_sem(scores.mean(1)).sem is None
    assert bootstrap_interval(scores, interquartile_mean).low is None
    assert improvement_interval(scores, np.array([[0.1, 0.1], [0.3, 0.3]])).low is None
    assert str(mean_and_sem(np.array([0.5]))) == "0.500"


def test_interquartile_mean_by_hand() -> None:
    # Eight scores, two dropped at either end: the mean of 0.3, 0.4, 0.5 and 0.6.
    scores = np.array([[0.9, 0.3, 0.1, 0.5], [0.6, 1.0, 0.4, 0.2]])
    assert interquartile_mean(scores) == pytest.approx(0.45)
    # Six scores: 6 / 4 is rounded down, so one is dropped at either end.
    assert interquartile_mean(np.array([[0.0, 0.1, 0.2], [0.3, 0.4, 1.0]])) == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3), (3, 3), (5, 10), (10, 50)])
def test_interquartile_mean_is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).random((4, *shape))
    expected = [stats.trim_mean(s, 0.25, axis=None) for s in scores]
    np.testing.assert_allclose(interquartile_mean(scores), expected)


def test_improvement_by_hand() -> None:
    # Task 0: of four pairs X wins three and ties one; task 1: X wins none.
    x, y = np.array([[0.5, 0.0], [0.9, 0.0]]), np.array([[0.5, 1.0], [0.1, 1.0]])
    assert improvement(x, y) == pytest.approx((3.5 / 4 + 0) / 2)
    assert improvement(x, x) == pytest.approx(0.5)


def test_improvement_is_the_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 6, (5, 3)) / 5, generator.integers(0, 6, (4, 3)) / 5  # with ties
    expected = np.mean([stats.mannwhitneyu(x[:, t], y[:, t]).statistic / 20 for t in range(3)])
    assert improvement(x, y) == pytest.approx(expected)
    assert improvement(x, y) + improvement(y, x) == pytest.approx(1.0)


def test_bootstrap_resamples_each_task_apart() -> None:
    scores = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]])
    samples = resample(scores, np.random.default_rng(0), 500)
    assert samples.shape == (500, 3, 2)
    for task in range(2):
        assert set(np.unique(samples[..., task])) == set(scores[:, task])
    assert (samples[..., 1] - samples[..., 0] != 10).any()  # not whole rows


def test_bootstrap_interval_equals_plain_loops_with_the_same_generator() -> None:
    scores = np.random.default_rng(2).random((4, 3))
    chosen = np.random.default_rng(0).integers(4, size=(10_000, 4, 3))
    values = []
    for sample in chosen:
        flat = sorted(scores[sample[s, t], t] for s in range(4) for t in range(3))
        values.append(sum(flat[3:9]) / 6)
    values.sort()
    result = bootstrap_interval(scores, interquartile_mean)
    for bound, share in ((result.low, 0.025), (result.high, 0.975)):
        below = share * (len(values) - 1)
        i = int(below)
        assert bound == pytest.approx(values[i] + (below - i) * (values[i + 1] - values[i]))
    assert result == bootstrap_interval(scores, interquartile_mean)


# Scores of five and four seeds on three tasks, and what rliable 1.2.0 makes of them (arch 7.2, pandas 2): estimates
# exactly, interval bounds (20,000 resamples; 5,000 for the improvement) up to the noise of the resampling.
X = np.array(
    [[0.56, 0.4, 0.32], [0.53, 0.66, 0.21], [0.81, 0.69, 0.21], [0.47, 0.83, 0.24], [0.18, 0.5, 0.45]]
)
Y = np.array([[0.53, 0.7, 0.07], [0.56, 0.67, 0.55], [0.23, 0.36, 0.44], [0.11, 0.79, 0.5]])


def test_values_of_rliable() -> None:
    for scores, estimate, low, high in ((X, 0.45888889, 0.36222222, 0.56), (Y, 0.49, 0.33, 0.56833333)):
        result = bootstrap_interval(scores, interquartile_mean)
        assert result.value == pytest.approx(estimate)
        assert (result.low, result.high) == pytest.approx((low, high), abs=0.01)
    result = improvement_interval(X, Y)
    assert result.value == pytest.approx(0.46666667)
    assert (result.low, result.high) == pytest.approx((0.23333333, 0.7), abs=0.02)


def test_select_by_hand() -> None:
    success = np.array([[0.0, 0.2], [1.0, 0.8], [0.5, 0.7], [0.9, 0.3]])
    np.testing.assert_allclose(select(success, "final", 2), [0.9, 0.3])
    np.testing.assert_allclose(select(success, "last_k", 2), [0.7, 0.5])
    np.testing.assert_allclose(select(success, "last_k", 9), success.mean(0))
    np.testing.assert_allclose(select(success, "paper_max", 2), [1.0, 0.8])


def test_paper_max_reports_a_success_of_070_as_0985() -> None:
    """Ten tasks solved seven times in ten, always; a seed's best of 67 one-episode evaluations says 0.985."""
    generator = np.random.default_rng(0)
    episodes = (generator.random((200, 67, 10)) < 0.7).astype(
        float
    )  # seeds, evaluations of one episode, tasks
    reported = {
        name: np.mean([select(seed, name, 20).mean() for seed in episodes])
        for name in ("final", "last_k", "paper_max")
    }
    assert reported["final"] == pytest.approx(0.70, abs=0.03)
    assert reported["last_k"] == pytest.approx(0.70, abs=0.01)
    assert reported["paper_max"] == pytest.approx(0.985, abs=0.01)
    # The same in closed form: the expected maximum of 67 binomials of ten.
    below = stats.binom.cdf(np.arange(10), 10, 0.7) ** 67
    assert reported["paper_max"] == pytest.approx((10 - below.sum()) / 10, abs=0.01)


def test_first_reach() -> None:
    steps = np.array([100, 200, 300])
    success = np.array([[0.1, 0.2], [0.8, 0.8], [1.0, 0.2]])
    assert first_reach(steps, success, 0.5) == 200
    assert first_reach(steps, success, 0.8) == 200  # 0.8 is reached, whatever rounding makes of it
    assert first_reach(steps, success, 0.9) is None


def test_median_counts_seeds_that_never_reached_as_infinite() -> None:
    assert median_reached([300, 100, 200]) == 200
    assert median_reached([300, None, 200]) == 300
    assert median_reached([300, None, None]) is None
    assert median_reached([300, None]) is None
