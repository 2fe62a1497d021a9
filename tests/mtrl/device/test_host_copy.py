"""What a thread copies from the GPU is what was queued before, piece by piece."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from mtrl.device import host_copy
from mtrl.device.cuda_graph import EXCLUSIVE
from mtrl.device.host_copy import HostCopier

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def copy(*tensors: Tensor) -> list[Tensor]:
    copier = HostCopier()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copier, tensors).result()


def test_what_is_on_the_host_is_not_copied() -> None:
    tensor = torch.arange(3)
    assert copy(tensor)[0] is tensor


def test_nothing_is_touched_during_a_capture() -> None:
    """A capture fails if another thread copies from the GPU."""
    touched = threading.Event()

    def tensors() -> Iterator[Tensor]:
        touched.set()
        yield torch.ones(3)

    with ThreadPoolExecutor(1) as thread:
        with EXCLUSIVE:
            copied = thread.submit(HostCopier(), tensors())
            assert not touched.wait(0.2)
        assert len(copied.result()) == 1
    assert touched.is_set()


@needs_gpu
@pytest.mark.parametrize("piece_bytes", [1 << 24, 64])
def test_copies_are_equal(monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    monkeypatch.setattr(host_copy, "_PIECE_BYTES", piece_bytes)
    tensors = [
        torch.randn(7, 33, device="cuda"),
        torch.randn(8, 6, device="cuda").mT,
        torch.randn((), dtype=torch.float64, device="cuda"),
        torch.arange(40, device="cuda"),
        torch.rand(70, device="cuda") < 0.5,
        torch.empty(5, 0, device="cuda"),
    ]
    for tensor, copied in zip(tensors, copy(*tensors), strict=True):
        assert copied.device.type == "cpu"
        assert copied.dtype == tensor.dtype
        assert torch.equal(copied, tensor.cpu())


@needs_gpu
def test_what_was_queued_before_is_waited_for() -> None:
    tensor = torch.zeros(1000, device="cuda")
    torch.cuda._sleep(100_000_000)  # cycles
    tensor += 1
    assert copy(tensor)[0].eq(1).all()
