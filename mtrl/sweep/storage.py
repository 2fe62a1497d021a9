"""Runs at a URL, for nodes without a file system in common: each works on a copy, and keeps the URL up to date."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import fsspec

from mtrl.sweep.plan import PlannedRun

_MANIFEST = "manifest.json"


class Storage:
    """Runs and logs of a sweep below a URL that fsspec opens.

    A checkpoint at the URL is whole if it has its manifest, which is copied last and removed first.

    Args:
        url: such as s3://bucket/path or file:///shared/path.

    Raises:
        ValueError: fsspec knows no such URL, or lacks a package for it.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ValueError(f"The storage {url} cannot be opened: {error}") from error

    def push(self, run: PlannedRun, root: Path) -> None:
        """Copies a run and its log from a sweep's directory to the URL."""
        remote = self._names(f"runs/{run.name}")
        local = {
            path.relative_to(root).as_posix()
            for path in run.directory(root).rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
        }
        files, checkpoints = _split(local)
        for name in (*files, run.log_path(root).relative_to(root).as_posix()):
            self._put(name, root)
        for folder, names in checkpoints.items():
            manifest = f"{folder}/{_MANIFEST}"
            try:
                if manifest in remote:
                    if self._read(manifest) == (root / manifest).read_bytes():
                        continue
                    self._files.rm_file(f"{self._path}/{manifest}")
                for name in names:
                    self._put(name, root)
            except FileNotFoundError:  # an old one, deleted meanwhile
                continue
        for name in sorted(remote - local, key=lambda name: not name.endswith(_MANIFEST)):
            self._files.rm_file(f"{self._path}/{name}")

    def pull(self, run: PlannedRun, root: Path) -> None:
        """Copies a run and its log from the URL to a sweep's directory."""
        self._pull(self._names(f"runs/{run.name}") | self._names(f"logs/{run.name}.log"), root)

    def mirror(self, root: Path) -> None:
        """Brings a sweep's directory up to date with all that is at the URL, but for the replays."""
        names = self._names("runs") | self._names("logs")
        self._pull({name for name in names if not name.endswith("replay.safetensors")}, root)

    def _pull(self, names: set[str], root: Path) -> None:
        files, checkpoints = _split(names)
        for name in files:
            content, target = self._read(name), root / name
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        for folder, names_in_it in checkpoints.items():
            final = root / folder
            writing = final.with_name(f".writing_{final.name}")
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir(parents=True)
            try:
                known = final / _MANIFEST
                if not known.exists() or known.read_bytes() != self._read(f"{folder}/{_MANIFEST}"):
                    for name in names_in_it:
                        self._files.get_file(f"{self._path}/{name}", str(writing / Path(name).name))
                    shutil.rmtree(final, ignore_errors=True)
                    writing.rename(final)
            except FileNotFoundError:  # an old one, deleted meanwhile by the node that trains the run
                pass
            shutil.rmtree(writing, ignore_errors=True)
        for directory in {(root / folder).parent for folder in checkpoints}:
            for path in directory.glob("step_*"):
                if path.relative_to(root).as_posix() not in checkpoints:
                    shutil.rmtree(path)

    def _put(self, name: str, root: Path) -> None:
        self._files.makedirs(f"{self._path}/{PurePosixPath(name).parent}", exist_ok=True)
        self._files.put_file(str(root / name), f"{self._path}/{name}")

    def _read(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(f"{self._path}/{name}")
        return content

    def _names(self, part: str) -> set[str]:
        """Paths in the sweep's directory of all files below a part of the URL."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(f"{self._path}/{part}")
        except FileNotFoundError:
            return set()
        start = self._files._strip_protocol(self._path)
        return {name.removeprefix(start).lstrip("/") for name in found}


def _split(names: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Files outside checkpoints, and those of each whole checkpoint with its manifest last."""
    files: list[str] = []
    folders: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (name.endswith(_MANIFEST), name)):
        if "checkpoints" in PurePosixPath(name).parts:
            folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
        else:
            files.append(name)
    return files, {folder: names for folder, names in folders.items() if names[-1].endswith(_MANIFEST)}
