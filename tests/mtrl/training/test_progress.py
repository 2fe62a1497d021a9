"""What is shown while a run trains."""

import pytest

from mtrl.training.progress import ProgressBar


def test_an_evaluation_is_a_line_with_its_lowest_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {f"task-{t}-v3": (49 - t) / 49 for t in range(50)}
    with ProgressBar(100) as progress:
        progress.show_score(100, "success", scores)
        progress.show_score(100, "return", {"alone": 12.0})
    lowest = "task-49 0.00, task-48 0.02, task-47 0.04, task-46 0.06, task-45 0.08"
    assert capsys.readouterr().err.splitlines() == [
        f"step 100: mean success 0.500; lowest: {lowest}",
        "step 100: mean return 12.000",
    ]
