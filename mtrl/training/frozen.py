"""Seeds of a run that are frozen, trained no more, because something of theirs was not finite."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.storage.run_directory import FROZEN
from mtrl.system.files import write_text


class TrainingError(RuntimeError):
    """Training stopped because going on would learn from garbage."""


class FrozenSeeds:
    """Which of the S seeds are frozen, since when and why; `frozen.json` tells it to whoever evaluates the run.

    Args:
        step: tells the current one.
    """

    def __init__(self, seeds: Sequence[int], run_dir: Path, step: Callable[[], int]) -> None:
        self._seeds, self._run_dir, self._step = seeds, run_dir, step
        self.reasons: dict[int, dict[str, Any]] = {}  # by seed

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[S], true for a frozen seed."""
        return np.array([seed in self.reasons for seed in self._seeds])

    def freeze(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Seeds [S] that are bad are trained no more.

        Raises:
            TrainingError: no other is left.
        """
        new = bad & ~self.mask
        if not new.any():
            return
        seeds = [seed for seed, n in zip(self._seeds, new.tolist(), strict=True) if n]
        if (self.mask | new).all():
            raise TrainingError(f"{reason} (seeds {seeds})")
        self.reasons |= {seed: {"step": self._step(), "reason": reason} for seed in seeds}
        self.write()
        print(
            f"Step {self._step()}: {reason}; the seeds {seeds} stay as they were before, the others go on.",
            file=sys.stderr,
        )

    def write(self) -> None:
        """Makes `frozen.json` say which are frozen; there is none while no seed is."""
        if self.reasons:
            write_text(self._run_dir / FROZEN, json.dumps(self.state_dict(), indent=1) + "\n")
        else:
            (self._run_dir / FROZEN).unlink(missing_ok=True)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {str(seed): dict(reason) for seed, reason in self.reasons.items()}

    def load_state_dict(self, state: Mapping[str, dict[str, Any]]) -> None:
        self.reasons = {int(seed): dict(reason) for seed, reason in state.items()}
