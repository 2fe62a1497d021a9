import numpy as np
import pytest

from mtrl.logging.heat_map import HeatMap


def test_heat_map_tells_conflict_from_agreement_by_colour_and_number() -> None:
    draw = HeatMap(["reach", "push"])
    picture = np.asarray(draw(np.array([[1.0, -1.0], [np.nan, 0.0]])).convert("RGB")).astype(int)
    corner = [
        [picture[draw.TOP + i * draw.size + 2, draw.MARGIN + j * draw.size + 2] for j in (0, 1)]
        for i in (0, 1)
    ]
    assert corner[0][0][2] > corner[0][0][0] + 50  # blue
    assert corner[0][1][0] > corner[0][1][2] + 50  # red
    np.testing.assert_array_equal(corner[1][0], [160, 160, 160])
    np.testing.assert_array_equal(corner[1][1], [247, 247, 247])


@pytest.mark.parametrize("num_tasks", [1, 12, 50])
def test_heat_map_of_any_number_of_tasks(num_tasks: int) -> None:
    draw = HeatMap([f"task {i}" for i in range(num_tasks)])
    picture = draw(np.eye(num_tasks))
    assert picture.size == (draw.MARGIN + num_tasks * draw.size, draw.TOP + num_tasks * draw.size)
