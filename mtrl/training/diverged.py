"""Seeds of a run that are trained no more, because something of theirs was not finite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.system.files import write_text

FILE = "frozen.json"


class TrainingError(RuntimeError):
    """Training stopped because going on would learn from garbage."""


class DivergedSeeds:
    """Which of the S seeds diverged, since when and why; `frozen.json` tells it to whoever evaluates the run."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds
        self.reasons: dict[int, dict[str, Any]] = {}  # by seed

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[S], true for a seed that diverged."""
        return np.array([seed in self.reasons for seed in self.seeds])

    def add(self, new: NDArray[np.bool_], step: int, reason: str) -> None:
        """Leaves seeds [S] out from a step on."""
        for seed, n in zip(self.seeds, new.tolist(), strict=True):
            if n:
                self.reasons[seed] = {"step": step, "reason": reason}

    def write(self, run_dir: Path) -> None:
        """Makes `frozen.json` say which diverged; there is none while no seed did."""
        if self.reasons:
            write_text(run_dir / FILE, json.dumps(self.state_dict(), indent=1) + "\n")
        else:
            (run_dir / FILE).unlink(missing_ok=True)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {str(seed): dict(reason) for seed, reason in self.reasons.items()}

    def load_state_dict(self, state: Mapping[str, dict[str, Any]]) -> None:
        self.reasons = {int(seed): dict(reason) for seed, reason in state.items()}
