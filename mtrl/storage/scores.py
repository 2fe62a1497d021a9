"""What the evaluations during training said. Their lines in `metrics.jsonl` are all that is kept of it.

So a checkpoint holds what training goes on from and nothing else, whether it was evaluated or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mtrl.config.clock import Clock
from mtrl.storage.json_lines import RETURNS, SUCCESS, by_seed, read_lines

Measure = Literal["success", "return"]


class Scores:
    """Means over seeds and tasks by step, of success, or of the return where a task never says anything of success."""

    def __init__(self) -> None:
        self._means: dict[int, dict[Measure, float]] = {}
        self._says_success: NDArray[np.bool_] = np.array(True)  # [T]

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Those of a log, which may not be there yet.

        Raises:
            ValueError: a line cannot be read.
        """
        scores = cls()
        for line in read_lines(path, SUCCESS):
            try:
                success, returns = (np.array(by_seed(line[n]), np.float64) for n in (SUCCESS, RETURNS))
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(
                    f"{path} holds no evaluation of step {line['step']} that can be read ({error}): restore the file, "
                    "or delete the line."
                ) from error
            scores.add(line["step"], success, returns)
        return scores

    def add(self, step: int, success: NDArray[np.float64], returns: NDArray[np.float64]) -> None:
        """The evaluation of a step: success rates and returns [S, T], NaN where there is none."""
        said: NDArray[np.bool_] = np.asarray(np.isfinite(success).any(0))
        self._says_success = np.logical_or(said, self._says_success) if self._means else said
        self._means[step] = {"success": float(success.mean()), "return": float(returns.mean())}

    @property
    def measure(self) -> Measure:
        """What scores are of."""
        return "success" if self._says_success.all() else "return"

    def __getitem__(self, step: int | None) -> float:
        """The score of a step; NaN where there is none."""
        return self._means[step][self.measure] if step in self._means else math.nan

    def best(self, among: Callable[[int], bool] = lambda step: True) -> int | None:
        """The step of the highest score, the first of several, among those for which that holds."""
        steps = [step for step in self._means if among(step) and not math.isnan(self[step])]
        return max(steps, key=self.__getitem__, default=None)

    def pending(self, due: Clock, step: int, total_steps: int) -> list[int]:
        """The steps of which a run at `step` lacks the evaluation: due since the last one that was made."""
        last = max((made for made in self._means if made <= step), default=0)
        steps = [*due.steps(step), *([step] if step >= total_steps else [])]
        return sorted({step for step in steps if step > last})
