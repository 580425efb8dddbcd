"""Experiment 0001: what a push costs when the ``h2`` library drives the client's connection, and when our codec does.

    .venv/bin/python -m tuning.experiments.h2_as_client

Same process, sink, payload, headers and number of streams in flight; only the codec differs. CPU is this process's
user and system time, so the sink is not in it.
"""

import asyncio
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import h2.config
import h2.connection
import h2.events
import uvloop

from engine.http2.connection import Connection
from engine.http2.header_encoder import Profile
from engine.http2.request_writer import Request
from loadtest.bench.lab import payload
from loadtest.sink.start import start_sink

IN_FLIGHT: Final = 500
PUSHES: Final = {"h2": 20_000, "engine.http2": 200_000}
BODY: Final = payload(256)
SHARED: Final = (
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"api.push.apple.com"),
    (b"authorization", b"bearer " + b"x" * 230),
    (b"apns-topic", b"com.example.app"),
    (b"apns-push-type", b"alert"),
)


class Codec(Protocol):
    """A connection that counts."""

    def send(self, pushes: int) -> None:
        """Open so many streams."""

    def receive(self, data: bytes) -> int:
        """Take bytes in; returns how many answers came."""

    def output(self) -> bytes:
        """What to write."""


class H2Codec:
    """The ``h2`` library, to its advantage: what we send is neither validated nor normalised."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._connection = h2.connection.H2Connection(config)
        self._connection.initiate_connection()

    def send(self, pushes: int) -> None:
        for _ in range(pushes):
            stream_id = self._connection.get_next_available_stream_id()
            headers = [*SHARED[:3], (b":path", _path()), *SHARED[3:], (b"apns-id", _apns_id())]
            self._connection.send_headers(stream_id, headers)
            self._connection.send_data(stream_id, BODY, end_stream=True)

    def receive(self, data: bytes) -> int:
        events = self._connection.receive_data(data)
        return sum(isinstance(event, h2.events.StreamEnded) for event in events)

    def output(self) -> bytes:
        return self._connection.data_to_send()


class OwnCodec:
    """``engine.http2``."""

    def __init__(self) -> None:
        self._connection = Connection()
        self._profile = Profile(SHARED, b"apns-id")

    def send(self, pushes: int) -> None:
        self._connection.send(
            [Request(True, self._profile, _path(), _apns_id(), (), BODY) for _ in range(pushes)]
        )

    def receive(self, data: bytes) -> int:
        received = self._connection.receive(data)
        return len(received.accepted)

    def output(self) -> bytes:
        return self._connection.take_output()


def _path() -> bytes:
    return b"/3/device/" + os.urandom(32).hex().encode()


def _apns_id() -> bytes:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}".encode()


class Driver(asyncio.Protocol):
    """Keeps ``IN_FLIGHT`` streams open until all pushes are answered."""

    def __init__(self, codec: Codec, pushes: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._codec = codec
        self._to_send = pushes
        self._to_come = pushes

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._codec.output())
        # the peer's limits have to come first
        asyncio.get_running_loop().call_later(0.2, self._send, IN_FLIGHT)

    def data_received(self, data: bytes) -> None:
        answers = self._codec.receive(data)
        self._to_come -= answers
        self._send(answers)
        if self._to_come == 0 and not self.done.done():
            self.done.set_result(None)

    def _send(self, pushes: int) -> None:
        pushes = min(pushes, self._to_send)
        self._to_send -= pushes
        if pushes:
            self._codec.send(pushes)
        self._transport.write(self._codec.output())


async def _drive(make: Callable[[], Codec], pushes: int, port: int, ca_file: Path) -> dict[str, float]:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    _, driver = await loop.create_connection(
        lambda: Driver(make(), pushes), "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    began_s, cpu_s = time.monotonic(), time.process_time()
    await driver.done
    return {
        "pushes_per_s": round(pushes / (time.monotonic() - began_s - 0.2)),
        "us_per_push": round(1e6 * (time.process_time() - cpu_s) / pushes, 1),
    }


def main() -> None:
    codecs: dict[str, Callable[[], Codec]] = {"h2": H2Codec, "engine.http2": OwnCodec}
    with tempfile.TemporaryDirectory() as directory, start_sink(Path(directory)) as sink:
        result: dict[str, Any] = {"sink": sink.kind}
        for name, make in codecs.items():
            result[name] = uvloop.run(_drive(make, PUSHES[name], sink.port, sink.ca_file))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
