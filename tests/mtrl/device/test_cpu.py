"""The threads of PyTorch."""

import pytest
import torch

from mtrl.device.cpu import one_thread


def test_one_thread_within_and_the_former_number_after() -> None:
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2
