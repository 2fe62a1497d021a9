import json
from typing import Any

import pytest

from mtrl.benchmarks import env
from mtrl.benchmarks.bare import phases
from mtrl.benchmarks.env import EnvBenchmark


def test_all_contenders_are_timed(tmp_path, capsys) -> None:
    output = tmp_path / "new" / "env.json"
    env.main(
        EnvBenchmark(
            benchmark="MT1:drawer-close",
            worlds=[1, 2],
            horizons=[3],
            workers=1,
            async_processes=1,
            seconds=0.05,
            repetitions=2,
            output=output,
        )
    )
    report = json.loads(output.read_text())
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["versions"]["mujoco"]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    results = report["results"]
    assert [(r["worlds"], r["horizon"], r["async_processes"]) for r in results] == [(1, 3, 1), (2, 3, 1)]
    for result in results:
        for contender in ("batched", "async", "bare"):
            assert result["steps_per_second"][contender] > 0
            assert len(result["all_steps_per_second"][contender]) == 2
        assert result["megabytes_per_world"]["batched"] > 1


def test_worlds_have_to_be_a_multiple_of_the_tasks() -> None:
    with pytest.raises(ValueError, match=r"multiples of 3.* but 4"):
        env.main(EnvBenchmark(benchmark="MT3", worlds=[4]))


def test_phases_are_spread_over_the_whole_episode() -> None:
    steps = phases(range(10), 10, 150)
    assert sorted(steps.tolist()) == list(range(0, 150, 15))
    assert phases([7, 2], 10, 150).tolist() == [steps[7], steps[2]]


@pytest.mark.parametrize(
    "options",
    [
        {"worlds": [3 * 10**30]},
        {"horizons": [0]},
        {"horizons": [501]},
        {"workers": 0},
        {"async_processes": 10**9},
    ],
)
def test_numbers_have_ends(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected to be"):
        env.main(EnvBenchmark(**{"benchmark": "MT3", "worlds": [3], **options}))
