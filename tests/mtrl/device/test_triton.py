import pytest
import torch

from mtrl.cli import main
from mtrl.device import triton


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_without_triton_is_refused_in_one_sentence(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(triton, "INSTALLED", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert main(["benchmark", "learner", "--device", device]) == 2
    error = capsys.readouterr().err
    assert "A GPU needs Triton" in error
    assert "--device cpu" in error
    assert "Traceback" not in error


def test_a_cpu_needs_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "INSTALLED", False)
    assert not triton.runs_on(torch.device("cpu"))
