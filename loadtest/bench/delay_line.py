"""A way of some length between two addresses of one network namespace, as a TUN device and this one process.

    socket ──▶ THERE ──▶ device ──▶ held for half a round trip ──▶ device ──▶ socket that listens on HERE

What is sent to THERE leaves by the device, is held, and comes back with its two addresses exchanged: as if a host by
that address had sent it to HERE. The same happens to what is answered, so that both ends of a connection live in one
namespace, and each believes the other half a round trip away. A checksum is a sum, so it holds after the exchange.

A share of the packets may be lost, picked by a seed. The device belongs to its namespace and ends with this process.

``python -m loadtest.bench.delay_line '[RTT_MS, LOSS, SEED]'`` says "ready" and runs until its standard input ends. It
needs CAP_NET_ADMIN in its namespace; ``loadtest.bench.namespace`` makes such a one.
"""

import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import Final

from loadtest.programs import environment, program

HERE: Final = "10.9.0.1"
THERE: Final = "10.9.0.2"
_DEVICE: Final = "clarion-delay"
_TUN: Final = Path("/dev/net/tun")
# linux/if_tun.h: packets as they are, without a header of the device's
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
# Ethernet's, so that as many segments go as on a real way
MTU: Final = 1500
# what may wait in the device for this process; a device drops what does not fit
_QUEUE: Final = 10_000
# read at once, before looking at the clock again
_TOGETHER: Final = 64


class DelayLine:
    """A running line in the caller's network namespace. Use it as a context manager. OSError if it can't be had."""

    def __init__(self, rtt_ms: float, loss: float = 0.0, seed: int = 1) -> None:
        self._process = subprocess.Popen(
            program("loadtest.bench.delay_line", json.dumps([rtt_ms, loss, seed])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self._process.communicate()
            raise OSError(f"the delay line did not start; its exit code is {self._process.returncode}")

    def __repr__(self) -> str:
        return f"<DelayLine pid={self._process.pid} running={self._process.poll() is None}>"

    def __enter__(self) -> "DelayLine":
        return self

    def __exit__(self, *_: object) -> None:
        # the end of its standard input is its end
        self._process.communicate(timeout=10.0)


def exchanged(packet: bytes) -> bytes:
    """An IPv4 packet with source and destination in each other's place."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


def _open_device() -> int:
    """A descriptor that reads and writes packets. Raises OSError."""
    device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    for words in (
        f"address add {HERE}/24 dev {_DEVICE}",
        f"link set {_DEVICE} mtu {MTU} txqueuelen {_QUEUE} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return device


def _carry(device: int, delay_s: float, loss: float, chance: Random) -> None:
    """Until the end of standard input."""
    # (when it is due, packet), in order, since all are held for as long
    held: deque[tuple[float, bytes]] = deque()
    while True:
        wait_s = max(0.0, held[0][0] - time.monotonic()) if held else None
        readable, _, _ = select.select([device, sys.stdin], [], [], wait_s)
        if sys.stdin in readable:
            return
        now_s = time.monotonic()
        while held and held[0][0] <= now_s:
            os.write(device, held.popleft()[1])
        if device in readable:
            for packet in _arrived(device):
                if chance.random() >= loss:
                    held.append((time.monotonic() + delay_s, exchanged(packet)))


def _arrived(device: int) -> list[bytes]:
    """What has come, of IPv4: a new device also has things to say in IPv6, to nobody."""
    packets: list[bytes] = []
    for _ in range(_TOGETHER):
        try:
            packets.append(os.read(device, 2 * MTU))
        except BlockingIOError:
            break
    return [packet for packet in packets if packet[0] >> 4 == 4]


def _main() -> None:
    rtt_ms, loss, seed = json.loads(sys.argv[1])
    try:
        device = _open_device()
    except OSError as error:
        sys.exit(f"a TUN device can't be had: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"a TUN device can't be set up: {error}")
    print("ready", flush=True)
    _carry(device, rtt_ms / 2000, loss, Random(seed))


if __name__ == "__main__":
    _main()
