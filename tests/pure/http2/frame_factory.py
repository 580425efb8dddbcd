"""Frames and connections for the codec's tests: legal ones by name, illegal ones by spelling them out.

Nothing here is taken from `engine.http2.frames`, so that a wrong number there can't make itself right here: the
bytes are RFC 9113's, spelled once more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import hypothesis
from hpack import Decoder, Encoder

from engine.http2.connection import Connection
from engine.http2.header_encoder import Field, Profile
from engine.http2.request_writer import Request

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

# examples are counted, not timed: others may be using the machine
unhurried = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OK = b"\x88"
WINDOW = 65_535
ID_MOST = WINDOW_MOST = 2**31 - 1

PROFILE = Profile(
    (
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b"authorization", b"bearer " + b"t" * 180),
        (b"apns-topic", b"com.example.app"),
    ),
    b"apns-id",
)


class Frame(NamedTuple):
    """One frame as it stood in a byte stream."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or a GOAWAY."""
        return int.from_bytes(self.payload[0:4] if self.kind == RST_STREAM else self.payload[4:8])


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """Any frame; ``length`` is what its header says, when that is to be a lie."""
    said = len(payload) if length is None else length
    return said.to_bytes(3) + struct.pack(">BBI", kind, flags, stream_id) + payload


def settings(values: Mapping[int, int] | Iterable[tuple[int, int]] = ()) -> bytes:
    pairs = values.items() if isinstance(values, Mapping) else values
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", code, value) for code, value in pairs))


def settings_ack() -> bytes:
    return frame(SETTINGS, ACK, 0)


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", increment))


def reset(stream_id: int, code: int = 0) -> bytes:
    return frame(RST_STREAM, 0, stream_id, struct.pack(">I", code))


def goaway(last_stream_id: int, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream_id, code) + debug)


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frame(PING, ACK if ack else 0, 0, payload)


def padded(payload: bytes, padding: int) -> bytes:
    return bytes((padding,)) + payload + bytes(padding)


def literal(name: bytes, value: bytes) -> bytes:
    """A field as a literal without indexing, both strings below 127 bytes."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def block_of(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block that needs no table."""
    return Encoder().encode([(name, value, True) for name, value in fields], huffman=False)


def answer(stream_id: int, status: int = 200, body: bytes | None = None) -> bytes:
    """A whole answer; one DATA frame when there is a body, though it be empty."""
    block = OK if status == 200 else block_of((b":status", b"%d" % status))
    if body is None:
        return frame(HEADERS, END_STREAM | END_HEADERS, stream_id, block)
    return frame(HEADERS, END_HEADERS, stream_id, block) + frame(DATA, END_STREAM, stream_id, body)


def request(
    tag: Any, body: bytes = b"{}", profile: Profile = PROFILE, extra: tuple[Field, ...] = (), **fields: bytes
) -> Request:
    path = fields.get("path", b"/3/device/abc")
    return Request(tag, profile, path, fields.get("varying", b"id-%d" % hash(tag)), extra, body)


def frames_of(output: bytes) -> list[Frame]:
    """The frames of what our side wrote; fails when the last one is cut short."""
    output = output.removeprefix(PREFACE)
    found = []
    while output:
        kind, flags, stream_id = struct.unpack_from(">BBI", output, 3)
        end = 9 + int.from_bytes(output[:3])
        assert len(output) >= end
        found.append(Frame(kind, flags, stream_id, output[9:end]))
        output = output[end:]
    return found


def started(values: Mapping[int, int] | None = None, *, acknowledged: bool = True) -> Connection:
    """A connection after both prefaces, with nothing left to write."""
    connection = Connection()
    connection.receive(settings(values or {}) + (settings_ack() if acknowledged else b""))
    connection.take_output()
    return connection


def busy(streams: int, values: Mapping[int, int] | None = None, body: bytes = b"{}") -> Connection:
    """A connection with streams 1, 3, … open, whose tags are their ids."""
    connection = started(values)
    assert connection.send([request(2 * n + 1, body) for n in range(streams)]) == streams
    connection.take_output()
    return connection


class Server:
    """What a server has understood of our bytes: each stream's header fields and body. Checks frame order."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.fields: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.largest_data = 0
        self._block: tuple[int, bytes] | None = None

    def take(self, output: bytes) -> list[Frame]:
        found = frames_of(output)
        for kind, flags, stream_id, payload in found:
            assert (self._block is None) == (kind != CONTINUATION)
            if kind in (HEADERS, CONTINUATION):
                assert kind == CONTINUATION or stream_id not in self.fields
                so_far = self._block[1] if self._block else b""
                self._block = (stream_id, so_far + payload)
                if flags & END_HEADERS:
                    fields = self.decoder.decode(self._block[1], raw=True)
                    self.fields[stream_id] = [(bytes(name), bytes(value)) for name, value in fields]
                    self.bodies[stream_id] = b""
                    self._block = None
            elif kind == DATA:
                assert stream_id in self.bodies and stream_id not in self.ended
                self.bodies[stream_id] += payload
                self.largest_data = max(self.largest_data, len(payload))
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                self.ended.add(stream_id)
        return found
