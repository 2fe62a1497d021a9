"""A checkpoint is whole or absent, and what is damaged says so."""

import itertools
import json
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.checkpoint import CheckpointError

STATE = {
    "agent": {"weights": torch.arange(6.0).reshape(2, 3), "nothing": None, "steps": [1, 2, {"deep": True}]},
    "loop": {
        "observation": np.arange(4.0),
        "flags": np.array([True, False]),
        "counts": np.array([3], dtype=np.int64),
        "generator": torch.Generator().get_state(),
        "success": 0.1 + 0.2,
        "name": "x",
        "empty": {},
        "scalar": torch.tensor(2.0, dtype=torch.float64),
        "none_of_it": torch.zeros(2, 0),
    },
}


def equal(first: object, second: object) -> bool:
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(equal(first[k], second[k]) for k in first)
        )
    if isinstance(first, list):
        return isinstance(second, list) and all(equal(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return (
            isinstance(second, np.ndarray) and first.dtype == second.dtype and np.array_equal(first, second)
        )
    return type(first) is type(second) and first == second


def one_sentence(error: pytest.ExceptionInfo[CheckpointError]) -> bool:
    message = str(error.value)
    return "\n" not in message and message.endswith(".")


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 40, STATE)
    assert equal(checkpoint.load(path), STATE)
    assert equal(checkpoint.load(path, ["loop"]), {"loop": STATE["loop"]})
    assert checkpoint.read_manifest(path)["step"] == 40


def test_views_and_shared_memory_are_stored_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "a": {"transposed": base.mT, "column": base[:, 1], "same": base, "expanded": base[:1].expand(5, 4)}
    }
    assert equal(checkpoint.load(checkpoint.save(tmp_path, 0, state)), state)


def test_refuses_what_it_could_not_load(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a set"):
        checkpoint.save(tmp_path, 0, {"a": {"b": {1, 2}}})
    assert checkpoints.steps(tmp_path) == []


def files() -> list[str]:
    return ["agent.safetensors", "loop.safetensors", "manifest.json"]


@pytest.mark.parametrize("name", files())
def test_missing_file(tmp_path: Path, name: str) -> None:
    path = checkpoint.save(tmp_path, 40, STATE)
    (path / name).unlink()
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert one_sentence(error)


@pytest.mark.parametrize("name", files())
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    path = checkpoint.save(tmp_path, 40, STATE)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert one_sentence(error)


@pytest.mark.parametrize("name", files())
def test_any_flipped_bit(tmp_path: Path, name: str) -> None:
    path = checkpoint.save(tmp_path, 40, STATE)
    content = (path / name).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        flipped = bytearray(content)
        flipped[random.integers(len(content))] ^= 1 << int(random.integers(8))
        (path / name).write_bytes(flipped)
        with pytest.raises(CheckpointError) as error:
            checkpoint.load(path)
        assert one_sentence(error)


@pytest.mark.parametrize("manifest", ["[]", "3", "{}", '{"format": 1}', "null", '"x"'])
def test_manifest_of_another_shape(tmp_path: Path, manifest: str) -> None:
    path = checkpoint.save(tmp_path, 40, STATE)
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert one_sentence(error)


class Hostile:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", files())
def test_a_pickle_is_never_loaded(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "executed"
    path = checkpoint.save(tmp_path, 40, STATE)
    for content in (pickle.dumps(Hostile(trap)), _torch_save(Hostile(trap), tmp_path)):
        (path / name).write_bytes(content)
        if name != "manifest.json":  # also when the attacker fits the checksum
            manifest = json.loads((path / "manifest.json").read_text())
            del manifest["checksum"]
            manifest["files"][name] = checkpoint._checksum(path / name)
            (path / "manifest.json").write_text(checkpoint.seal(manifest))
        with pytest.raises(CheckpointError) as error:
            checkpoint.load(path)
        assert one_sentence(error)
        assert not trap.exists()


def _torch_save(value: object, directory: Path) -> bytes:
    torch.save(value, directory / "hostile.pt")
    return (directory / "hostile.pt").read_bytes()


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_killed_while_writing(tmp_path: Path, stage: int) -> None:
    """SIGKILL before each sync: after each file, the manifest, the directory, the rename."""
    old, new = {"a": {"w": torch.zeros(9)}, "b": {}}, {"a": {"w": torch.ones(9)}, "b": {}}
    checkpoint.save(tmp_path, 10, old)
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == stage else None
        try:
            checkpoint.save(tmp_path, 20, new)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    last = checkpoints.find(tmp_path, "last")
    assert last.name == ("step_0000000010" if stage < 5 else "step_0000000020")
    assert equal(checkpoint.load(last), old if stage < 5 else new)


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 10, STATE)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", no_space)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 20, STATE)
    assert equal(checkpoint.load(checkpoints.find(tmp_path, "last")), STATE)
