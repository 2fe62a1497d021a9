"""Atomic, verified checkpoints: safetensors for arrays, JSON for the rest, never code.

A checkpoint is a directory `step_<N>` with one safetensors file per part of the state and a `manifest.json` with the
checksums of all files and its own. It is written under a temporary name, synced and renamed, so that it is whole or
absent.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtrl.system.files import sync, write_text

FORMAT = 2  # of 1, parameters were in another order
NAME = re.compile(r"step_(\d{10})")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or of another kind than expected."""


class DamagedError(CheckpointError):
    """A checkpoint is not as it was written: a file of it is missing or was changed since."""


class Snapshot(NamedTuple):
    """A state apart from what it was taken of: each part's tensors by name, where they were, and its JSON values."""

    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any]

    def move(self, copy: Callable[[Iterable[Tensor]], list[Tensor]]) -> None:
        """Puts copies in place of all tensors."""
        for tensors in self.tensors.values():
            tensors.update(zip(tensors, copy(tensors.values()), strict=True))


def path_of(directory: Path, step: int) -> Path:
    """Where a step's checkpoint is among a run's."""
    return directory / f"step_{step:010d}"


def save(directory: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Writes `directory/step_<step>` from a nested mapping of tensors, arrays and JSON values.

    Each entry of `state` becomes a file of its own.
    """
    return write(directory, step, snapshot(state, "cpu"))


def snapshot(state: Mapping[str, Any], device: str | None = None) -> Snapshot:
    """Copies a state, with its tensors to a device, or each where it is, which takes a GPU milliseconds."""
    parts = {part: _separate(content, device) for part, content in state.items()}
    return Snapshot({k: tensors for k, (tensors, _) in parts.items()}, {k: v for k, (_, v) in parts.items()})


def write(directory: Path, step: int, snapshot: Snapshot) -> Path:
    """Writes what `save` does; the tensors are in the host's memory."""
    directory.mkdir(parents=True, exist_ok=True)
    final = path_of(directory, step)
    temporary = directory / f".writing_{step:010d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    manifest: dict[str, Any] = {"format": FORMAT, "step": step, "files": {}}
    manifest["values"] = snapshot.values
    for part, tensors in snapshot.tensors.items():
        path = temporary / f"{part}.safetensors"
        try:
            save_file(tensors, path)
        except SafetensorError as error:
            raise OSError(f"The checkpoint file {path} cannot be written ({error}).") from error
        manifest["files"][path.name] = _checksum(path)
        sync(path)
    write_text(temporary / "manifest.json", seal(manifest))
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync(directory)
    return final


def load_part(checkpoint: Path, part: str, expected: Mapping[str, Any]) -> dict[str, Any]:
    """One part of the state that `save` wrote, which has to fit what is to take it, see `check_fits`.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or of something else.
    """
    found: dict[str, Any] = load(checkpoint, [part])[part]
    check_fits(checkpoint, found, expected, part)
    return found


def load(checkpoint: Path, parts: list[str] | None = None) -> dict[str, Any]:
    """The state that `save` wrote, all parts or the named ones; every file read is checked against its checksum.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or not what `save` writes.
    """
    manifest = read_manifest(checkpoint)
    state = {}
    for part in manifest["values"] if parts is None else parts:
        path = checkpoint / f"{part}.safetensors"
        if part not in manifest["values"]:
            raise CheckpointError(f"The checkpoint {checkpoint} has no part {part!r}: it is of no training.")
        check_file(path, manifest)
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"The checkpoint file {path} is no safetensors file: {error}.") from error
        try:
            state[part] = _join(manifest["values"][part], tensors)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"The checkpoint file {path} has no tensor {error}, which the manifest names."
            ) from error
    return state


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        DamagedError: it is missing, or was changed since it was written.
        CheckpointError: it is of another format, or not what `write` writes.
    """
    path = checkpoint / "manifest.json"
    if not path.is_file():
        raise DamagedError(f"There is no checkpoint at {checkpoint}: it has no manifest.json.")
    try:
        text = path.read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        del manifest["checksum"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"The manifest {path} is damaged ({error}); use another checkpoint.") from error
    if text != seal(manifest):
        raise DamagedError(f"The manifest {path} is damaged: its checksum differs; use another checkpoint.")
    found, step = manifest.get("format"), manifest.get("step")
    if type(found) is int and found != FORMAT:
        raise CheckpointError(
            f"The checkpoint {checkpoint} has format {found}, and this version of the toolkit reads format {FORMAT}: "
            "use the version that wrote it (the run's stamp.json names the one that began the run), or move it "
            "elsewhere and take another checkpoint."
        )
    parts, files = manifest.get("values"), manifest.get("files")
    fits = {
        "format": type(found) is int,
        "step": type(step) is int and checkpoint == path_of(checkpoint.parent, step),
        "files": isinstance(files, dict) and all(isinstance(checksum, str) for checksum in files.values()),
        "values": isinstance(parts, dict) and all(isinstance(part, dict) for part in parts.values()),
    }
    for name, fit in fits.items():
        if not fit:
            raise CheckpointError(
                f"The manifest of {checkpoint} was not written for it by this toolkit: its {name!r} does not fit; move "
                "it elsewhere and take another checkpoint."
            )
    return manifest


def check_file(path: Path, manifest: Mapping[str, Any]) -> None:
    """
    Raises:
        DamagedError: a file of the checkpoint is missing or has not the checksum of the manifest.
    """
    if not path.is_file():
        raise DamagedError(f"The checkpoint {path.parent} has no {path.name}; use another one.")
    if _checksum(path) != manifest["files"].get(path.name):
        raise DamagedError(
            f"The checkpoint file {path} is damaged: its checksum differs from the manifest's; use another one."
        )


def check_fits(checkpoint: Path, found: Any, expected: Any, name: str, *, finite: bool = True) -> None:
    """Compares a state that was read with one of what is to take it: names, and the types and shapes of tensors.

    Args:
        finite: whether all numbers must be.

    Raises:
        CheckpointError: they differ, or a number is not finite; the sentence names where first.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            raise CheckpointError(f"The checkpoint {checkpoint} does not fit the run: it has no {name}.")
        for key, value in expected.items():
            if key in found:
                check_fits(checkpoint, found[key], value, f"{name}.{key}", finite=finite)
            elif isinstance(value, (Mapping, Tensor, np.ndarray)):
                raise CheckpointError(
                    f"The checkpoint {checkpoint} has no {key!r} in {name}: it was written by another version of the "
                    "toolkit, or is of another agent."
                )
    elif isinstance(expected, (Tensor, np.ndarray)):
        if _kind(found) != _kind(expected):
            raise CheckpointError(
                f"The checkpoint {checkpoint} does not fit the run: {name} is {_kind(found)} there, and "
                f"{_kind(expected)} by config.yaml."
            )
        if finite and not torch.isfinite(torch.as_tensor(found)).all():
            raise CheckpointError(
                f"The checkpoint {checkpoint} has numbers in {name} that are not finite, which training never writes: "
                "use another checkpoint."
            )


def _kind(value: Any) -> str:
    """The shape and type of a tensor or array."""
    if isinstance(value, (Tensor, np.ndarray)):
        kind = "a tensor" if isinstance(value, Tensor) else "an array"
        return f"{kind} {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"


def seal(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest, with the checksum of the rest of it."""
    checksum = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({**manifest, "checksum": checksum})


def _separate(content: Any, device: str | None) -> tuple[dict[str, Tensor], Any]:
    """Splits nested content into copies of its tensors, by name, and JSON values that refer to them."""
    tensors: dict[str, Tensor] = {}

    def visit(value: Any, name: str) -> Any:
        if isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.array(value, order="C"))
            return {"__array__": name}
        if isinstance(value, Tensor):
            tensors[name] = value.detach().to(device, copy=True, memory_format=torch.contiguous_format)
            return {"__tensor__": name}
        if isinstance(value, Mapping):
            return {str(k): visit(v, f"{name}.{k}") for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [visit(v, f"{name}.{i}") for i, v in enumerate(value)]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"A checkpoint cannot hold a {type(value).__name__} (at {name}).")

    return tensors, visit(content, "state")


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"__array__"}:
            return tensors[value["__array__"]].numpy()
        if value.keys() == {"__tensor__"}:
            return tensors[value["__tensor__"]]
        return {k: _join(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_join(v, tensors) for v in value]
    return value


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
