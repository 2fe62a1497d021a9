import numpy as np
import torch

from mtrl.logging.metrics import EpisodeMetrics, UpdateMetrics

CPU = torch.device("cpu")


def update(i: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(i)
    return {
        "loss": torch.randn(2, 3, generator=g),
        "critic/gramian": torch.randn(2, 3, 3, generator=g, dtype=torch.float64),
        "norm": torch.randn(2, generator=g),
    }


def test_reads_means_and_the_newest_gramian() -> None:
    metrics = UpdateMetrics()
    for i in range(5):
        metrics.add(update(i))
    read = metrics.read()
    assert read.keys() == {"loss", "norm", "critic/gramian"}
    for name in ("loss", "norm"):
        expected = torch.stack([update(i)[name] for i in range(5)]).mean(0)
        np.testing.assert_allclose(read[name], expected, rtol=1e-6)
    np.testing.assert_array_equal(read["critic/gramian"], update(4)["critic/gramian"])


def test_states_of_equal_runs_are_equal_byte_by_byte() -> None:
    """The order of a set of names differs between processes."""
    metrics = UpdateMetrics()
    names = [f"{network}/gramian" for network in "abcdefgh"]
    metrics.add({"loss": torch.zeros(2, 3)} | {name: torch.zeros(2, 3, 3) for name in names})
    assert list(metrics.state_dict()["gramians"]) == names


def test_reading_starts_afresh() -> None:
    metrics = UpdateMetrics()
    assert metrics.read() == {}
    metrics.add(update(0))
    metrics.read()
    assert metrics.read() == {}
    metrics.add(update(1))
    np.testing.assert_allclose(metrics.read()["loss"], update(1)["loss"], rtol=1e-6)


def test_what_is_kept_counts_in_the_next_mean_as_well() -> None:
    metrics, whole = UpdateMetrics(), UpdateMetrics()
    episodes = EpisodeMetrics((1, 2))
    for i in range(3):
        metrics.add(update(i))
        whole.add(update(i))
        episodes.add({"returns": np.full((1, 2, 3), float(i))})
        if i == 1:
            assert metrics.read(keep=True).keys() == {"loss", "norm", "critic/gramian"}
            assert episodes.read(keep=True)["returns"].tolist() == [[0.5, 0.5]]
    for name, values in whole.read().items():
        np.testing.assert_array_equal(metrics.read(keep=True)[name], values)
    assert episodes.read()["returns"].tolist() == [[1.0, 1.0]]
    assert episodes.read() == {}


def test_changes_its_tensors_in_place_as_a_graph_needs() -> None:
    metrics = UpdateMetrics()
    metrics.add(update(0))
    state = metrics.state_dict()
    places = [state["total"].data_ptr(), *(g.data_ptr() for g in state["gramians"].values())]
    metrics.read()
    metrics.add(update(1))
    state = metrics.state_dict()
    assert places == [state["total"].data_ptr(), *(g.data_ptr() for g in state["gramians"].values())]


def test_state_in_the_middle_of_an_interval() -> None:
    metrics, other = UpdateMetrics(), UpdateMetrics()
    metrics.add(update(0))
    state = metrics.state_dict()
    state = {
        **state,
        "total": state["total"].clone(),
        "gramians": {n: g.clone() for n, g in state["gramians"].items()},
    }
    other.load_state_dict(state, CPU)
    for m in (metrics, other):
        m.add(update(1))
    first, second = metrics.read(), other.read()
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_state_before_the_first_update() -> None:
    other = UpdateMetrics()
    other.load_state_dict(UpdateMetrics().state_dict(), CPU)
    assert other.read() == {}


def test_nan_is_not_hidden() -> None:
    metrics = UpdateMetrics()
    metrics.add({"loss": torch.tensor([[1.0, float("nan")]])})
    metrics.add({"loss": torch.tensor([[3.0, 0.0]])})
    loss = metrics.read()["loss"]
    assert loss[0, 0] == 2.0
    assert np.isnan(loss[0, 1])


def test_means_begin_anew_after_a_state_with_other_metrics() -> None:
    before, after = UpdateMetrics(), UpdateMetrics()
    before.add({"loss": torch.ones(1, 2), "gone": torch.ones(1), "gramian": torch.ones(1, 2, 2)})
    after.load_state_dict(before.state_dict(), torch.device("cpu"))
    after.add({"loss": torch.full((1, 2), 3.0), "new": torch.ones(1), "gramian": torch.ones(1, 2, 2)})
    assert {name: value.tolist() for name, value in after.read().items()} == {
        "loss": [[3.0, 3.0]],
        "new": [1.0],
        "gramian": [[[1.0, 1.0], [1.0, 1.0]]],
    }


def test_episode_means_leave_out_nan() -> None:
    metrics = EpisodeMetrics((1, 3))
    nan = np.nan
    metrics.add({"success": np.array([[[1.0, nan], [nan, nan], [0.0, 1.0]]])})
    metrics.add({"success": np.array([[[0.0, 0.0], [nan, nan], [1.0, nan]]])})
    np.testing.assert_allclose(metrics.read()["success"], [[1 / 3, nan, 2 / 3]])
    assert metrics.read() == {}


def test_episode_state_round_trip() -> None:
    metrics, other = EpisodeMetrics((1, 1)), EpisodeMetrics((1, 1))
    metrics.add({"success": np.array([[[1.0]]])})
    other.load_state_dict(metrics.state_dict())
    other.add({"success": np.array([[[0.0]]])})
    assert other.read()["success"] == 0.5
    assert metrics.read()["success"] == 1.0  # loading shares nothing
