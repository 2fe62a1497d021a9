"""Means of training metrics: on the device while they accumulate, one transfer when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class UpdateMetrics:
    """Sums the metrics of updates in one flat tensor, and keeps the newest Gramians.

    `add` has static shapes and no synchronisation, so it can be part of a CUDA graph; the tensors are made by the first
    call and changed in place from then on.
    """

    def __init__(self) -> None:
        self._shapes: dict[str, torch.Size] = {}
        self._total: Tensor | None = (
            None  # sums of all metrics in order, and the number of updates at the end
        )
        self._gramians: dict[str, Tensor] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Takes the metrics of an update into account; those called gramian are kept as they are."""
        summed = {name: value for name, value in metrics.items() if not name.endswith("gramian")}
        values = [value.reshape(-1) for value in summed.values()]
        shapes = {name: value.shape for name, value in summed.items()}
        same = [*shapes.items()] == [*self._shapes.items()]  # not in a state of a version with other metrics
        if self._total is None or not same:
            self._shapes = shapes
            self._total = torch.zeros_like(torch.cat([*values, values[0].new_zeros(1)]))
            self._one = torch.ones_like(self._total[-1:])
            self._gramians = {
                name: torch.zeros_like(value) for name, value in metrics.items() if name not in summed
            }
        self._total += torch.cat([*values, self._one])
        for name, gramian in self._gramians.items():
            gramian.copy_(metrics[name])

    def read(self, *, keep: bool = False) -> dict[str, NDArray[np.float64]]:
        """Means since the last call and the newest Gramians; empty if there was no update.

        Args:
            keep: the next call's means are of the same updates, too.
        """
        if self._total is None:
            return {}
        sums, count = self._total.double().split([len(self._total) - 1, 1])
        gramians = [gramian.double().reshape(-1) for gramian in self._gramians.values()]
        packed = torch.cat([count, sums / count, *gramians]).cpu().numpy()
        if packed[0] == 0:
            return {}
        if not keep:
            self._total.zero_()
        shapes = {**self._shapes, **{name: gramian.shape for name, gramian in self._gramians.items()}}
        parts = np.split(packed[1:], np.cumsum([shape.numel() for shape in shapes.values()])[:-1])
        return {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}

    def state_dict(self) -> dict[str, Any]:
        shapes = {name: list(shape) for name, shape in self._shapes.items()}
        return {"shapes": shapes, "total": self._total, "gramians": self._gramians}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """
        Raises:
            ValueError: the sums have not the shapes that the state says, or are no floating-point numbers.
        """
        if state["total"] is not None:
            self._shapes = {name: torch.Size(shape) for name, shape in state["shapes"].items()}
            self._total = state["total"].to(device)
            expected = 1 + sum(shape.numel() for shape in self._shapes.values())
            if self._total.shape != (expected,) or self._total.dtype != torch.float32:
                raise ValueError(
                    f"the sums of metrics must be [{expected}] of float32, and they are {list(self._total.shape)} of "
                    f"{self._total.dtype}"
                )
            self._one = torch.ones_like(self._total[-1:])
            self._gramians = {name: gramian.to(device) for name, gramian in state["gramians"].items()}


class EpisodeMetrics:
    """Means over the episodes that ended in training, per seed and task [S, T]."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, NDArray[np.float64]] = {}

    def add(self, values: Mapping[str, NDArray[np.float64]]) -> None:
        """Takes values [S, T, W] into account where they are not NaN."""
        for name, value in values.items():
            present = ~np.isnan(value)
            self._sums[name] = self._sums.get(name, np.zeros(self._shape)) + np.where(
                present, value, 0.0
            ).sum(-1)
            self._counts[name] = self._counts.get(name, np.zeros(self._shape)) + present.sum(-1)

    def read(self, *, keep: bool = False) -> dict[str, NDArray[np.float64]]:
        """Means since the last call, NaN for a task without an episode; empty if none ended.

        Args:
            keep: the next call's means are of the same episodes, too.
        """
        with np.errstate(invalid="ignore"):
            means = {name: total / self._counts[name] for name, total in self._sums.items()}
        if not keep:
            self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
