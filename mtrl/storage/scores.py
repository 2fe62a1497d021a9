"""What the evaluations during training said. Their lines in `metrics.jsonl` are all that is kept of it.

So a checkpoint holds what training goes on from and nothing else, whether it was evaluated or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtrl.config.clock import Clock
from mtrl.storage.json_lines import RETURNS, SUCCESS, by_seed, is_step, read_lines

Measure = Literal["success", "return"]
Floats = NDArray[np.float64]


class Scores:
    """Means over seeds and tasks by step, of success, or of the return where a task never says anything of success."""

    def __init__(self) -> None:
        self._means: dict[int, dict[Measure, float]] = {}
        self._says_success: NDArray[np.bool_] = np.array(True)  # [T]

    @classmethod
    def read(
        cls,
        path: Path,
        num_seeds: int | None = None,
        tasks: Sequence[str] = (),
        is_due: Callable[[int], bool] = lambda step: True,
    ) -> Scores:
        """Those of a log, which may not be there yet.

        Args:
            num_seeds, tasks: the run's; by default what each line has.
            is_due: whether the run is evaluated at a step.

        Raises:
            ValueError: a line cannot be read, or is of a step at which the run is not evaluated.
        """
        scores = cls()
        shape = None if num_seeds is None else (num_seeds, len(tasks))
        for line in read_lines(path, SUCCESS):
            check_due(path, line["step"], is_due)
            try:
                success, returns = (scores_of_line(line, name, shape, tasks) for name in (SUCCESS, RETURNS))
            except ValueError as error:
                raise ValueError(
                    f"{path} holds no evaluation of step {line['step']} that can be read "
                    f"({str(error).rstrip('.')}): restore the file, or delete the line."
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


def evaluation_clock(options: Mapping[str, Any]) -> tuple[Clock, int] | None:
    """When a run of this configuration is evaluated, and its number of steps; None where it does not say that."""
    evaluation = options.get("evaluation")
    interval = evaluation.get("interval") if isinstance(evaluation, Mapping) else None
    stride, total = options.get("worlds_per_task"), options.get("total_steps")
    if not (is_step(interval) and is_step(stride) and is_step(total) and interval and stride and total):
        return None
    return Clock(interval, stride), total


def evaluated_at(options: Mapping[str, Any]) -> Callable[[int], bool]:
    """Whether a run of this configuration is evaluated at a step."""
    found = evaluation_clock(options)
    if found is None:
        return lambda step: True
    clock, total = found
    return lambda step: clock.within(step, total)


def check_due(path: Path, step: int, is_due: Callable[[int], bool]) -> None:
    """
    Raises:
        ValueError: a log holds an evaluation of a step at which the run has none.
    """
    if not is_due(step):
        raise ValueError(
            f"{path} holds an evaluation of step {step}, and by its config.yaml the run is not evaluated then: restore "
            "what was changed, or delete the line."
        )


def scores_of_line(
    line: Mapping[str, Any], name: str, shape: tuple[int, int] | None = None, tasks: Sequence[str] = ()
) -> Floats:
    """The scores [S, T] that a line of an evaluation has under a name.

    Args:
        shape, tasks: the run's, if they are known.

    Raises:
        ValueError: it has no such scores.
    """
    return check_scores(to_array(by_seed(line.get(name), tasks)), shape, name)


def to_array(values: list[Any]) -> NDArray[np.float64]:
    """Nested lists of finite numbers as an array, NaN for null.

    Raises:
        ValueError: they are something else, or their lengths differ.
    """
    try:
        if _are_numbers(values):
            return np.array(values, dtype=np.float64)
    except (ValueError, OverflowError):
        pass
    raise ValueError("its numbers do not form an array of one shape.")


def _are_numbers(values: Any) -> bool:
    """Whether nested lists hold finite numbers, NaN or null, and not what NumPy would make a number of."""
    if isinstance(values, list):
        return all(map(_are_numbers, values))
    return values is None or (type(values) in (int, float) and not math.isinf(values))


def check_scores(scores: Floats, shape: tuple[int, int] | None, name: str) -> Floats:
    """The scores [S, T] of one evaluation.

    Args:
        shape: what S and T must be, if that is known.

    Raises:
        ValueError: they are no such scores.
    """
    of_success = name == SUCCESS
    if scores.shape != shape if shape else scores.ndim != 2:
        expected = f"{shape[0]} seeds and {shape[1]} tasks" if shape else "each seed and task"
        raise ValueError(
            f"it must have a {'success rate' if of_success else 'return'} for {expected}, and they are of shape "
            f"{scores.shape}."
        )
    if of_success and ((scores < 0) | (scores > 1)).any():
        raise ValueError("a success rate is not between 0 and 1.")
    return scores
