"""What a test of the delay line does inside a network namespace: ``python -m tests.wire.delayed``."""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from loadtest.bench.delay_line import HERE, THERE, DelayLine
from loadtest.bench.namespace import serve

# for what is lost; what comes is there at once
LOST_S = 1.0


def echoed(rtt_ms: float, size: int) -> Sequence[float]:
    """Milliseconds of connecting and of an echo of so many bytes, and whether each end saw the other far away."""
    with DelayLine(rtt_ms), socket.create_server((HERE, 0)) as listener:
        began_s = time.monotonic()
        with socket.create_connection((THERE, listener.getsockname()[1]), 30.0) as near:
            connected_s = time.monotonic()
            far, (address, _) = listener.accept()
            with far:
                sent = bytes(range(256)) * (size // 256)
                near.sendall(sent)
                got = _read(far, len(sent))
                far.sendall(got)
                same = _read(near, len(sent)) == sent
            ended_s = time.monotonic()
            apart = (address, near.getpeername()[0]) == (THERE, THERE)
    return [1000 * (connected_s - began_s), 1000 * (ended_s - connected_s), same, apart]


def _read(end: socket.socket, size: int) -> bytes:
    end.settimeout(30.0)
    parts = []
    while size and (part := end.recv(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def arrived(loss: float, seed: int, datagrams: int) -> Sequence[float]:
    """The numbers of those datagrams that arrive."""
    with DelayLine(1.0, loss, seed), socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind((HERE, 0))
        far.settimeout(LOST_S)
        with socket.socket(type=socket.SOCK_DGRAM) as near:
            for number in range(datagrams):
                near.sendto(number.to_bytes(2), (THERE, far.getsockname()[1]))
        found = []
        with suppress(TimeoutError):
            while True:
                found.append(int.from_bytes(far.recv(2)))
        return found


def somaxconn() -> Sequence[float]:
    """As it is in here."""
    return [int(Path("/proc/sys/net/core/somaxconn").read_text())]


if __name__ == "__main__":
    serve({"echoed": echoed, "arrived": arrived, "somaxconn": somaxconn})
