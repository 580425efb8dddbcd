"""A relay in front of a sink that adds a round trip's time, cuts connections and falls silent when it is told to.

A cut is a reset in both directions (SO_LINGER 0), as a crashed router or a firewall that forgets makes it: bytes that
are under way in the relay are lost, requests and answers alike, and neither side hears anything but the reset.

While it is *held* it is a black hole: nothing is read from either side, so that the kernels' buffers fill and the
windows close; nothing is reset or ended; a new connection is established by the kernel and hears nothing. What was
held is delivered at the *release*, late, as a proxy or a load balancer that had stopped would deliver it. A network
that drops packets would rather lose it; late delivery is as real, and harder on whoever has given those pushes up
and sends them again: each of them then comes twice.

`python -m loadtest.sink.relay` prints the port that it listens on, and reads orders, one a line: `cut` with a number
from 0 to 1 that picks the connection, `hold`, `release`, and `look`, which changes nothing. It answers each with how
many connections there are, how many it has accepted since it began, and how many it has cut for this order.
"""

import asyncio
import json
import socket
import struct
import subprocess
import sys
from collections import deque
from typing import Final, cast

import uvloop

from loadtest.programs import environment, program

_RESET: Final = struct.pack("ii", 1, 0)
BACKLOG: Final = 1024


class Relay:
    """A running relay to a port of this machine. Use it as a context manager."""

    def __init__(self, target_port: int, rtt_ms: float) -> None:
        self._process = subprocess.Popen(
            program("loadtest.sink.relay", json.dumps([target_port, rtt_ms])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        self.port: int = self._said()["port"]

    def __repr__(self) -> str:
        return f"<Relay port={self.port} pid={self._process.pid}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    def cut(self, chance: float) -> int:
        """Reset the connection that `chance` (0 to 1) picks; returns how many were cut: 1, or 0 when there is none."""
        return self._order(f"cut {chance:f}")["cut"]

    def hold(self) -> int:
        """Carry nothing more, until `release`; returns how many connections it has accepted so far."""
        return self._order("hold")["accepted"]

    def release(self) -> int:
        """Carry again, what was held first; returns how many connections it has accepted so far."""
        return self._order("release")["accepted"]

    def connections(self) -> int:
        """How many there are now."""
        return self._order("look")["open"]

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        # the end of its standard input is its end
        self._process.communicate(timeout=10.0)

    def _order(self, words: str) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(words.encode() + b"\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> dict[str, int]:
        assert self._process.stdout is not None
        said: dict[str, int] = json.loads(self._process.stdout.readline())
        return said


class _Road:
    """What all pairs share: where they lead, how long it takes, and whether anything moves."""

    def __init__(self, target_port: int, delay_s: float) -> None:
        self.target_port = target_port
        self.delay_s = delay_s
        self.held = False
        self.accepted = 0
        # in the order in which they were opened; a dict, since sets have none
        self.pairs: dict[_Pair, None] = {}

    def cut(self, chance: float) -> int:
        pairs = list(self.pairs)
        if not pairs:
            return 0
        pairs[int(chance * len(pairs)) % len(pairs)].cut()
        return 1

    def hold(self) -> None:
        self.held = True
        for pair in self.pairs:
            pair.rest()

    def release(self) -> None:
        self.held = False
        for pair in list(self.pairs):
            pair.go_on()


class _End(asyncio.Protocol):
    """One of the two connections of a pair; what it reads is written to the other, half a round trip later."""

    def __init__(self, road: _Road, pair: "_Pair") -> None:
        self._road = road
        self._pair = pair
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._late: deque[bytes] = deque()
        # of those: pieces whose time came while nothing moved, or before there was a way on
        self._kept = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._pair.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        asyncio.get_running_loop().call_later(self._road.delay_s, self._pair.close)

    def data_received(self, data: bytes) -> None:
        # one timer for each piece, and the oldest piece for each timer: the order holds whatever the clock does
        self._late.append(data)
        asyncio.get_running_loop().call_later(self._road.delay_s, self._pass_on)

    def _pass_on(self) -> None:
        if self._road.held or self.other is None:
            self._kept += 1
            return
        data = self._late.popleft()
        if self.other.transport is not None:
            self.other.transport.write(data)

    def rest_if_held(self) -> None:
        if self._road.held:
            self.rest()

    def rest(self) -> None:
        """Read nothing more."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Pass on what was kept, and read again."""
        kept, self._kept = self._kept, 0
        for _ in range(kept):
            self._pass_on()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class _Pair:
    """A connection from the engine with its own to the sink."""

    def __init__(self, road: _Road) -> None:
        self._road = road
        self._near, self._far = _End(road, self), _End(road, self)
        self._opening: asyncio.Task[None] | None = None

    def accept(self) -> _End:
        """The end that faces the engine."""
        return self._near

    def made(self, end: _End) -> None:
        """One end is connected; the other follows."""
        if end is self._near:
            self._road.pairs[self] = None
            self._road.accepted += 1
            if not self._road.held:
                self._open()
        if self._road.held:
            # uvloop begins to read after this call, whatever is said in it
            asyncio.get_running_loop().call_soon(end.rest_if_held)

    def _open(self) -> None:
        self._opening = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self._far, "127.0.0.1", self._road.target_port
            )
        except OSError:
            self.cut()
            return
        self._near.other, self._far.other = self._far, self._near
        if not self._road.held:
            self.go_on()

    def rest(self) -> None:
        """Move nothing, whoever writes or ends."""
        self._near.rest()
        self._far.rest()

    def go_on(self) -> None:
        """Move again; of one that was accepted meanwhile the other side is opened now."""
        if self._opening is None:
            self._open()
        elif self._far.other is not None:
            self._near.go_on()
            self._far.go_on()
            if self._near.transport is None or self._far.transport is None:
                # one side has ended before, and the other was not told
                self.close()

    def close(self) -> None:
        """One side has ended in peace: so does the other."""
        if self._road.held:
            return
        self._road.pairs.pop(self, None)
        for end in (self._near, self._far):
            if end.transport is not None:
                end.transport.close()

    def cut(self) -> None:
        """Reset both sides."""
        self._road.pairs.pop(self, None)
        for end in (self._near, self._far):
            if end.transport is not None:
                end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.transport.abort()


async def _serve(target_port: int, rtt_ms: float) -> None:
    loop = asyncio.get_running_loop()
    road = _Road(target_port, rtt_ms / 2000)
    server = await loop.create_server(lambda: _Pair(road).accept(), "127.0.0.1", 0, backlog=BACKLOG)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        open_now, cut = len(road.pairs), 0
        match line.split():
            case [b"cut", chance]:
                cut = road.cut(float(chance))
            case [b"hold"]:
                road.hold()
            case [b"release"]:
                road.release()
        print(json.dumps({"open": open_now, "accepted": road.accepted, "cut": cut}), flush=True)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve(*json.loads(sys.argv[1])))
