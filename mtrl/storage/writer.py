"""Writing a run's checkpoints beside training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mtrl.config.keep import KEPT
from mtrl.device.host_copy import HostCopier
from mtrl.storage import checkpoint, checkpoints


class CheckpointWriter:
    """Writes checkpoints one at a time; after each one it deletes those that are not kept.

    Args:
        directory: of the checkpoints.
        background: whether `save` only copies the state, on its device, and a thread writes the copy.
        rule: which are kept besides the newest two, see `kept_by`.
    """

    def __init__(self, directory: Path, *, background: bool, rule: int | str = KEPT) -> None:
        self._rule = rule
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._writing: Future[None] | None = None
        self._newest: int | None = None

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of this step, or will be."""
        return step == self._newest or step in checkpoints.steps(self._directory)

    def save(self, step: int, state: Mapping[str, Any], keep: Collection[int | None] = ()) -> None:
        """Writes a checkpoint, in place of one of the same step, after the one before.

        Args:
            keep: steps of others to be kept besides those that always are.

        Raises:
            OSError: this one or, in the background, the one before cannot be written; those before it are whole.
        """
        self.wait()
        self._newest = step
        if self._thread is None:
            checkpoint.save(self._directory, step, state)
            checkpoints.prune(self._directory, keep, self._rule)
            return
        snapshot = checkpoint.snapshot(state)
        self._writing = self._thread.submit(self._write, step, snapshot, keep, HostCopier())

    def _write(
        self, step: int, snapshot: checkpoint.Snapshot, keep: Collection[int | None], copier: HostCopier
    ) -> None:
        snapshot.move(copier)
        checkpoint.write(self._directory, step, snapshot)
        checkpoints.prune(self._directory, keep, self._rule)

    def check(self) -> None:
        """Raises what a write that is over raised."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Returns when what was to be written is.

        Raises:
            OSError: it cannot be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Returns when nothing is being written."""
        if self._thread is not None:
            self._thread.shutdown()
