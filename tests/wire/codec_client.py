"""The codec on a real socket, with as little around it as can be: one TLS connection, and books of what became of
each push. The gateway's own links are not used, so that a fault found with it is the codec's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.http2.connection import Connection
from engine.http2.events import (
    Answered,
    ConnectionFault,
    Event,
    GoingAway,
    Ponged,
    SettingsReceived,
    StreamFault,
    StreamReset,
)
from engine.http2.header_encoder import Field, Profile
from engine.http2.request_writer import Request

WAIT_S = 30.0

PROFILES = tuple(
    Profile(
        (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b"authorization", b"bearer " + b"t" * 200),
            (b"apns-topic", b"com.example.app%d" % number),
            (b"apns-push-type", b"alert"),
        ),
        b"apns-id",
    )
    for number in range(4)
)


def push(number: int, size: int = 0, extra: tuple[Field, ...] = ()) -> Request:
    """A push with its number in path, apns-id and body, so that a server can see whether they belong together."""
    body = json.dumps({"n": number, "fill": "x" * size}).encode()
    token = b"/3/device/%064x" % number
    return Request(number, PROFILES[number % len(PROFILES)], token, b"id-%d" % number, extra, body)


class CodecClient(asyncio.Protocol):
    """One connection. What came of each push is in ``fates``, by its tag; each tag has one."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.pending: deque[Request] = deque()
        self.fates: dict[Any, Event | int] = {}
        self.unprocessed: list[Any] = []
        self.settings: list[dict[int, int]] = []
        self.pongs: list[bytes] = []
        self.most_in_flight = 0
        self.renew_every = 0
        self.is_lost = False
        self._sent = 0
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()

    @classmethod
    async def connect(cls, port: int, ca_file: Path) -> CodecClient:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            cls, "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        return client

    async def __aenter__(self) -> CodecClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.abort()
        await self.until(lambda: self.is_lost)

    async def push(self, requests: Iterable[Request]) -> None:
        """Send them as the server allows, and wait until each has its fate or the connection is of no more use."""
        self.pending += requests
        self._send()
        await self.until(self._is_done)

    async def ask(self, path: bytes) -> Any:
        """The JSON that the server answers a push on this path with."""
        tag = object()
        await self.push([push(0)._replace(tag=tag, path=path)])
        answer = self.fates.pop(tag)
        assert isinstance(answer, Answered)
        return json.loads(answer.body)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def count(self, kind: type | int) -> int:
        """How many pushes met this fate: a status, or a kind of event."""
        return sum(
            fate == kind or isinstance(fate, kind if isinstance(kind, type) else ())
            for fate in self.fates.values()
        )

    def _is_done(self) -> bool:
        connection = self.connection
        over = self.is_lost or connection.fault is not None
        return over or (not connection.open and (not self.pending or connection.going_away))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        accepted, events = self.connection.receive(data)
        for tag in accepted:
            self._settle(tag, 200)
        for event in events:
            match event:
                case Answered(tag=tag) | StreamReset(tag=tag) | StreamFault(tag=tag):
                    self._settle(tag, event)
                case GoingAway(unprocessed=tags):
                    self.unprocessed += tags
                case SettingsReceived(values=values):
                    self.settings.append(dict(values))
                case Ponged(payload=payload):
                    self.pongs.append(payload)
                case ConnectionFault():
                    raise AssertionError(event)
        self._send()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._transport = None
        self._changed.set()

    def _send(self) -> None:
        if self._transport is None:
            return
        batch = list(self.pending)[: self.connection.room()]
        taken = self.connection.send(batch)
        for _ in range(taken):
            self.pending.popleft()
        if self.renew_every and self._sent // self.renew_every != (self._sent + taken) // self.renew_every:
            self.connection.renew_headers()
        self._sent += taken
        self.most_in_flight = max(self.most_in_flight, len(self.connection.open))
        self._transport.write(self.connection.take_output())

    def _settle(self, tag: Any, fate: Event | int) -> None:
        assert tag not in self.fates
        self.fates[tag] = fate
