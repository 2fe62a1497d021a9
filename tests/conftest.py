"""Tests run side by side on few cores: one thread each, so that they do not fight."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# A process that was started in the background, or by nohup, ignores signals that tests send to it and to its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first: at the end, one process would do it while the other waits."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(autouse=True)
def no_flush_to_zero() -> Iterator[None]:
    """Training in this process chooses it, and Hypothesis draws no numbers where it is chosen."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Which tests ran before in this process, and drew numbers, depends on how fast the machine is."""
    torch.manual_seed(0)
