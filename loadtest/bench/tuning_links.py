"""What settings of the network bring to links, over a way of some length: bursts after a rest, rates, ports.

Each measure runs in a network namespace of its own (``namespace``), with Clarion's own links on one side and the sink
of this tree on the other. The link's congestion control is chosen by its socket: a namespace may not make every kind
its default.
"""

import asyncio
import errno
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import uvloop

from engine.apns.bearer import Bearer
from engine.apns.headers import Held, ProfileBook
from engine.link.contexts import tls_context
from engine.link.link import Link, Outcomes
from loadtest.bench.delay_line import HERE, THERE, DelayLine
from loadtest.bench.lab import device_token, payload
from loadtest.bench.namespace import Refused, serve
from loadtest.sink.protocol import Windows
from loadtest.sink.python import PythonSink
from loadtest.teams import make_team
from shards.job import Job, new_ids
from shards.key_files import load_p8

ANSWER_S: Final = 30.0
# all of a burst fits a connection's window of 65,535 bytes, so that nothing but TCP makes it wait; the sink returns
# half of it on the way, and the rest after the few that follow
BURST_PUSHES: Final = 64
BURST_PAYLOAD_BYTES: Final = 1000
FOLLOWING_PUSHES: Final = 2
# so many until a burst goes out as a whole
WARM_BURSTS: Final = 5
RATE_PAYLOAD_BYTES: Final = 1024
GROW_S: Final = 1.5


class _Source:
    """Owns links, gives them jobs without end when it is told to, and counts what is accepted."""

    def __init__(self, payload_bytes: int) -> None:
        self.accepted = 0
        self.flows = False
        self._answered = asyncio.Event()
        team = make_team(0)
        self._topic = team.topic
        self._bearer = Bearer(load_p8(team.private_key_pem), team.team_id, team.key_id)
        self._payload = payload(payload_bytes)

    def __repr__(self) -> str:
        return f"<_Source accepted={self.accepted} flows={self.flows}>"

    def jobs(self) -> Iterator[Held]:
        while True:
            [apns_id] = new_ids(int(time.time() * 1000), os.urandom(10))
            yield Job(apns_id, device_token(), self._topic, self._payload), None

    async def link(self, address: str, sink: PythonSink, congestion: str = "") -> Link:
        """One on which a first push was accepted, so that it takes many. Raises OSError."""
        loop = asyncio.get_running_loop()
        wire = socket.socket()
        wire.setblocking(False)
        if congestion:
            _choose(wire, congestion)
        try:
            await loop.sock_connect(wire, (address, sink.port))
        except OSError:
            wire.close()
            raise
        book = ProfileBook(b"localhost", self._bearer.badge(time.time()))
        _, link = await loop.create_connection(
            lambda: Link(self, book, time.monotonic),
            sock=wire,
            ssl=tls_context(sink.ca_file),
            server_hostname="localhost",
        )
        async with asyncio.timeout(ANSWER_S):
            await link.ready
            link.send(self.jobs(), 1)
            while not link.proved:
                await self._something()
        return link

    async def burst(self, link: Link, pushes: int) -> float:
        """Seconds from the first byte of so many pushes to the last answer."""
        began_s, wanted, left = time.monotonic(), self.accepted + pushes, pushes
        async with asyncio.timeout(ANSWER_S):
            while self.accepted < wanted:
                left -= link.send(self.jobs(), min(left, link.room()))
                await self._something()
        return time.monotonic() - began_s

    async def end(self, links: Sequence[Link]) -> None:
        """Give them no more, and close them when all is answered."""
        self.flows = False
        async with asyncio.timeout(ANSWER_S):
            while any(link.in_flight() for link in links):
                await self._something()
        for link in links:
            link.abort()

    async def _something(self) -> None:
        """Until something has come on some link."""
        self._answered.clear()
        await self._answered.wait()

    def outcomes(self, link: Link, accepted: list[Held], others: Outcomes) -> None:
        if others:
            raise RuntimeError(f"a push was not accepted: {others[0][1]}")
        self.accepted += len(accepted)
        self.writable(link)

    def writable(self, link: Link) -> None:
        self._answered.set()
        if self.flows and (room := link.room()):
            link.send(self.jobs(), room)

    def closed(self, link: Link) -> None:
        self._answered.set()


def _choose(wire: socket.socket, congestion: str) -> None:
    """Raises Refused when this kernel, or container, has no such thing."""
    try:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    except OSError as error:
        wire.close()
        raise Refused(f"no congestion control {congestion} here: {error.strerror}") from error


def burst_after_rest(rtt_ms: float, rest_s: float, congestion: str) -> Sequence[float]:
    """Milliseconds that a burst takes on a link that has rested."""

    async def measure(sink: PythonSink) -> Sequence[float]:
        source = _Source(BURST_PAYLOAD_BYTES)
        link = await source.link(THERE, sink, congestion)
        for _ in range(WARM_BURSTS):
            await source.burst(link, BURST_PUSHES)
            await source.burst(link, FOLLOWING_PUSHES)
        await asyncio.sleep(rest_s)
        rested_s = await source.burst(link, BURST_PUSHES)
        await source.end([link])
        return [1000 * rested_s]

    return _with_sink(measure, Windows.APPLE, DelayLine(rtt_ms))


def rate(
    rtt_ms: float, loss: float, seed: int, links: int, windows: str, congestion: str, seconds: float
) -> Sequence[float]:
    """Pushes a second of each link, all of which have always something to send."""

    async def measure(sink: PythonSink) -> Sequence[float]:
        source = _Source(RATE_PAYLOAD_BYTES)
        opened = await asyncio.gather(*(source.link(THERE, sink, congestion) for _ in range(links)))
        source.flows = True
        for link in opened:
            source.writable(link)
        await asyncio.sleep(GROW_S)
        before, began_s = source.accepted, time.monotonic()
        await asyncio.sleep(seconds)
        found = (source.accepted - before) / (time.monotonic() - began_s) / links
        await source.end(opened)
        return [found]

    return _with_sink(measure, Windows(windows), DelayLine(rtt_ms, loss, seed))


def opened(links: int) -> Sequence[float]:
    """How many of so many links to one address could be opened."""

    async def measure(sink: PythonSink) -> Sequence[float]:
        source, found = _Source(BURST_PAYLOAD_BYTES), []
        for _ in range(links):
            try:
                found.append(await source.link(sink.host, sink))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                break
        await source.end(found)
        return [len(found)]

    return _with_sink(measure, Windows.APPLE)


def _with_sink(measure: Any, windows: Windows, line: DelayLine | None = None) -> Sequence[float]:
    with ExitStack() as stack:
        host = "127.0.0.1"
        if line is not None:
            stack.enter_context(line)
            host = HERE
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-tuning-")))
        sink = stack.enter_context(PythonSink(directory, windows=windows, host=host))
        found: Sequence[float] = uvloop.run(measure(sink))
        return found


if __name__ == "__main__":
    serve({"burst_after_rest": burst_after_rest, "rate": rate, "opened": opened})
