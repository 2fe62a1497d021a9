"""The commands as functions: what their options may be, beside what the command line takes."""

from pathlib import Path
from typing import Any

import pytest

import mtrl
from tests.mtrl.conftest import SMALL_RUN

SMALL = {**SMALL_RUN, "total_steps": 2, "random_steps": 1}


def test_options_replace_a_class_of_the_mapping(fake: object, tmp_path: Path) -> None:
    """With its options, and nobody looks at it."""
    config = {**SMALL, "balancer": {"class_path": "absent.Own"}, "balancer.c": 3}
    run = mtrl.train(config, balancer="LS", run_dir=tmp_path / "run")
    assert "LS" in (run / "config.yaml").read_text()
    assert "absent" not in (run / "config.yaml").read_text()


@pytest.mark.parametrize("value", [mtrl, {1, 2}, object(), 1j, {"class_path": mtrl}])
def test_values_that_no_file_can_hold(fake: object, tmp_path: Path, value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^balancer must be text, a number, a list or a mapping of these, got a "
    ):
        mtrl.train(SMALL, balancer=value, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
