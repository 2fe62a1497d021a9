"""Where MuJoCo's library is not found, a sentence says so, and Meta-World itself still runs."""

from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest

from envs.compiled.compiled_task import compiled_task


def test_a_library_that_is_not_there(make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_task.cache_clear()
    monkeypatch.setattr(mujoco, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(
        RuntimeError, match=rf"expected in {tmp_path}, but is not there: use the reference engine"
    ):
        make("MT1:reach", engine="batched")
    env = make("MT1:reach", engine="reference")
    env.reset()
    assert np.isfinite(env.step(np.zeros((1, 4)))[0]).all()
