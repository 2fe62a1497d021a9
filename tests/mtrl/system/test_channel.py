import socket
import threading
import time

import pytest

from mtrl.system.channel import Channel


@pytest.fixture
def ends():
    one, other = (Channel(end.detach()) for end in socket.socketpair())
    yield one, other
    for end in (one, other):
        if end.descriptor >= 0:
            end.close()


def test_messages_arrive_in_order_whatever_their_size(ends) -> None:
    one, other = ends
    messages = [None, ("step",), {"large": b"x" * 5_000_000}, None, (True, [])]
    sender = threading.Thread(target=lambda: [one.send(message) for message in messages])
    sender.start()
    assert [other.receive() for _ in messages] == messages
    sender.join()


def test_ready_waits_for_a_message_or_the_end(ends) -> None:
    one, other = ends
    began = time.monotonic()
    assert not other.ready(0.05)
    assert time.monotonic() - began >= 0.05
    one.send()
    assert other.ready(10)
    other.receive()
    one.close()
    one.descriptor = -1
    assert other.ready(10)
    with pytest.raises(EOFError):
        other.receive()
    with pytest.raises(BrokenPipeError):
        other.send()
