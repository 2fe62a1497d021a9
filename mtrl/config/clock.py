"""When something is due: once in an interval of environment steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Clock:
    """Due at the first vector step that reaches a multiple of the interval.

    interval: environment steps per task. stride: those of a vector step.
    """

    interval: int
    stride: int

    def __call__(self, step: int) -> bool:
        """Whether it is due at a step."""
        return max(0, step - self.stride) // self.interval < step // self.interval

    def steps(self, last: int) -> list[int]:
        """All steps up to `last` at which it is due."""
        multiples = range(self.interval, last + 1, self.interval)
        steps = {-(-multiple // self.stride) * self.stride for multiple in multiples}
        return sorted(step for step in steps if step <= last)

    def end(self, total: int) -> int:
        """The last vector step of a run of `total` steps."""
        return -(-total // self.stride) * self.stride

    def within(self, step: int, total: int) -> bool:
        """Whether it is due at a step of a run of `total` steps, at whose end it is due in any case."""
        end = self.end(total)
        return step == end or (step < end and step % self.stride == 0 and self(step))


def steps_of_intervals(intervals: Sequence[Sequence[int]], stride: int, last: int) -> list[int]:
    """All steps up to `last` at which something is due whose interval was changed.

    Args:
        intervals: pairs of a step and the interval from then on, ascending.
    """
    return [
        step
        for (since, interval), (end, _) in pairwise([*intervals, (last, 0)])
        for step in Clock(interval, stride).steps(end)
        if step > since
    ]
