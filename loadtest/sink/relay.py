"""A relay in front of a sink that adds a round trip's time and cuts connections when it is told to.

A cut is a reset in both directions (SO_LINGER 0), as a crashed router or a firewall that forgets makes it: bytes that
are under way in the relay are lost, requests and answers alike, and neither side hears anything but the reset.

`python -m loadtest.sink.relay` prints the port that it listens on. Each line that it reads is a number from 0 to 1 that
picks the connection to cut; it answers with how many there were and how many it has cut.
"""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final, cast

import uvloop

_RESET: Final = struct.pack("ii", 1, 0)
BACKLOG: Final = 1024


class Relay:
    """A running relay to a port of this machine. Use it as a context manager."""

    def __init__(self, target_port: int, rtt_ms: float) -> None:
        place = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        settings = json.dumps([target_port, rtt_ms])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.sink.relay", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=place,
        )
        self.port: int = self._said()["port"]

    def __repr__(self) -> str:
        return f"<Relay port={self.port} pid={self._process.pid}>"

    def cut(self, chance: float) -> int:
        """Reset the connection that `chance` (0 to 1) picks; returns how many were cut: 1, or 0 when there is none."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%f\n" % chance)
        self._process.stdin.flush()
        return int(self._said()["cut"])

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        # the end of its standard input is its end
        self._process.communicate(timeout=10.0)

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said


class _End(asyncio.Protocol):
    """One of the two connections of a pair; what it reads is written to the other, half a round trip later."""

    def __init__(self, delay_s: float, pair: "_Pair") -> None:
        self._delay_s = delay_s
        self._pair = pair
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._late: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._pair.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        asyncio.get_running_loop().call_later(self._delay_s, self._pair.close)

    def data_received(self, data: bytes) -> None:
        # one timer for each piece, and the oldest piece for each timer: the order holds whatever the clock does
        self._late.append(data)
        asyncio.get_running_loop().call_later(self._delay_s, self._pass_on)

    def _pass_on(self) -> None:
        data = self._late.popleft()
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)


class _Pair:
    """A connection from the engine with its own to the sink."""

    def __init__(self, target_port: int, delay_s: float, pairs: "dict[_Pair, None]") -> None:
        self._target_port = target_port
        self._pairs = pairs
        self._near, self._far = _End(delay_s, self), _End(delay_s, self)
        self._opening: asyncio.Task[None] | None = None

    def accept(self) -> _End:
        """The end that faces the engine."""
        return self._near

    def made(self, end: _End) -> None:
        """One end is connected; the other follows."""
        if end is self._near:
            self._pairs[self] = None
            assert end.transport is not None
            # nothing is read for which there is no way on
            end.transport.pause_reading()
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self._far, "127.0.0.1", self._target_port
            )
        except OSError:
            self.cut()
            return
        self._near.other, self._far.other = self._far, self._near
        if self._near.transport is not None:
            self._near.transport.resume_reading()

    def close(self) -> None:
        """One side has ended in peace: so does the other."""
        self._pairs.pop(self, None)
        for end in (self._near, self._far):
            if end.transport is not None:
                end.transport.close()

    def cut(self) -> None:
        """Reset both sides."""
        self._pairs.pop(self, None)
        for end in (self._near, self._far):
            if end.transport is not None:
                end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.transport.abort()


async def _serve(target_port: int, rtt_ms: float) -> None:
    loop = asyncio.get_running_loop()
    pairs: dict[_Pair, None] = {}
    delay_s = rtt_ms / 2000
    server = await loop.create_server(
        lambda: _Pair(target_port, delay_s, pairs).accept(), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        open_now = list(pairs)
        if open_now:
            open_now[int(float(line) * len(open_now)) % len(open_now)].cut()
        print(json.dumps({"open": len(open_now), "cut": min(1, len(open_now))}), flush=True)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve(*json.loads(sys.argv[1])))
