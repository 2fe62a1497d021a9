"""Runs at a URL, for nodes without a file system in common: each works on a copy, and keeps the URL up to date."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import fsspec

from mtrl.sweep.plan import Run

_CHECKPOINTS = "checkpoints"


class Storage:
    """Runs and logs of a sweep below a URL that fsspec opens.

    A checkpoint at the URL is whole if it has its manifest, which is copied last.

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

    def push(self, run: Run, root: Path) -> None:
        """Copies a run and its log from a sweep's directory to the URL."""
        remote = self._sizes(f"runs/{run.name}")
        local = {
            path.relative_to(root).as_posix(): path
            for path in run.directory(root).rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
        }
        log = run.log_path(root)
        for name, path in sorted(
            (local | {log.relative_to(root).as_posix(): log}).items(), key=_manifest_last
        ):
            if not (_CHECKPOINTS in PurePosixPath(name).parts and name in remote):
                try:
                    self._files.makedirs(f"{self._path}/{PurePosixPath(name).parent}", exist_ok=True)
                    self._files.put_file(str(path), f"{self._path}/{name}")
                except FileNotFoundError:  # an old checkpoint, deleted meanwhile
                    continue
        for name in sorted(remote.keys() - local.keys(), key=lambda name: not name.endswith("manifest.json")):
            self._files.rm_file(f"{self._path}/{name}")

    def pull(self, run: Run, root: Path) -> None:
        """Copies a run and its log from the URL to a sweep's directory."""
        self._pull([*self._sizes(f"runs/{run.name}"), *self._sizes(f"logs/{run.name}.log")], root)

    def mirror(self, root: Path) -> None:
        """Brings a sweep's directory up to date with all that is at the URL, but for the replays."""
        names = [
            n for part in ("runs", "logs") for n in self._sizes(part) if not n.endswith("replay.safetensors")
        ]
        self._pull(names, root)

    def _pull(self, names: list[str], root: Path) -> None:
        whole = {str(PurePosixPath(name).parent) for name in names if name.endswith("/manifest.json")}
        fresh = {folder for folder in whole if not (root / folder).exists()}
        for name in names:
            folder = str(PurePosixPath(name).parent)
            if _CHECKPOINTS not in PurePosixPath(name).parts:
                target = root / name
            elif folder in fresh:
                target = _being_written(root / folder) / PurePosixPath(name).name
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(f"{self._path}/{name}", str(target))
        for folder in fresh:
            _being_written(root / folder).rename(root / folder)

    def _sizes(self, part: str) -> dict[str, int]:
        """Sizes of all files below a part of the URL, by their path in the sweep's directory."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(f"{self._path}/{part}", detail=True)
        except FileNotFoundError:
            return {}
        start = self._files._strip_protocol(self._path)
        return {name.removeprefix(start).lstrip("/"): info["size"] for name, info in found.items()}


def _being_written(folder: Path) -> Path:
    return folder.with_name(f".writing_{folder.name}")


def _manifest_last(item: tuple[str, Path]) -> tuple[bool, str]:
    return item[0].endswith("/manifest.json"), item[0]
