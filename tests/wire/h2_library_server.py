"""A server of the codec's tests on the `h2` library, which refuses whatever a client may not do.

It counts what it was asked, and answers in an order and at a pace of its own: a batch of requests is answered last
first, and one in three only with the next batch.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.events
from foreign_servers import TLSFiles
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings


class Ledger:
    """What all connections of one server counted."""

    def __init__(self) -> None:
        self.pushes = 0
        self.wrong = 0
        self.complaints: list[str] = []
        self.ids: set[bytes] = set()
        self.settings: dict[int, int] = {}
        # settings for after so many pushes
        self.changes: dict[int, dict[int, int]] = {}
        self.sizes: list[int] = []


class H2Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._transport: asyncio.Transport | None = None
        self._headers: dict[int, dict[bytes, bytes]] = {}
        self._bodies: dict[int, bytes] = {}
        self._due: list[tuple[int, int]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        first = {SettingCodes(code): value for code, value in self._ledger.settings.items()}
        self._h2.local_settings = Settings(client=False, initial_values=first)
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for event in self._h2.receive_data(data):
                self._on_event(event)
            self._answer(every=3)
            asyncio.get_running_loop().call_soon(self._answer_rest)
        except ProtocolError as error:
            self._ledger.complaints.append(repr(error))
        self._transport.write(self._h2.data_to_send())
        if self._ledger.complaints:
            self._transport.close()

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=stream_id, headers=headers):
                self._headers[stream_id] = {bytes(name): bytes(value) for name, value in headers}
                self._bodies[stream_id] = b""
            case h2.events.DataReceived(stream_id=stream_id, data=some):
                self._bodies[stream_id] += some
                self._ledger.sizes.append(len(some))
                self._h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
            case h2.events.StreamEnded(stream_id=stream_id):
                self._due.append((stream_id, self._count(stream_id)))

    def _count(self, stream_id: int) -> int:
        ledger = self._ledger
        headers, push = self._headers.pop(stream_id), json.loads(self._bodies.pop(stream_id))
        number: int = push["n"]
        agree = headers[b"apns-id"] == b"id-%d" % number and headers[b":path"] == b"/3/device/%064x" % number
        agree &= headers[b"apns-topic"] == b"com.example.app%d" % (number % 4)
        agree &= headers[b"apns-id"] not in ledger.ids and set(push["fill"]) <= {"x"}
        ledger.ids.add(headers[b"apns-id"])
        ledger.wrong += not agree
        ledger.pushes += 1
        if ledger.pushes in ledger.changes:
            self._h2.update_settings(ledger.changes[ledger.pushes])
        return number

    def _answer(self, every: int) -> None:
        later = self._due[::every] if every > 1 else []
        for stream_id, number in reversed(self._due):
            if (stream_id, number) in later:
                continue
            fields: list[Any] = [
                (":status", "410" if number % 50 == 0 else "200"),
                ("apns-id", f"id-{number}"),
            ]
            self._h2.send_headers(stream_id, fields, end_stream=number % 50 != 0)
            if number % 50 == 0:
                self._h2.send_data(stream_id, b'{"reason":', pad_length=number % 256)
                self._h2.send_data(stream_id, b'"Unregistered"}', end_stream=True)
        self._due = later

    def _answer_rest(self) -> None:
        if self._transport is not None and not self._ledger.complaints:
            self._answer(every=1)
            self._transport.write(self._h2.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


@asynccontextmanager
async def h2_library_server(tls: TLSFiles, ledger: Ledger) -> AsyncIterator[int]:
    """Yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: H2Session(ledger), "127.0.0.1", 0, ssl=context)
    port: int = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()
        await server.wait_closed()
