"""When something is due: once in an interval of environment steps."""

from __future__ import annotations

from dataclasses import dataclass


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
