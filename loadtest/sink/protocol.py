"""The server's half of HTTP/2, as little of it as saying yes takes.

Reads frame headers and nothing else: no HPACK, no stream states, no checks. Every END_STREAM on a stream is
answered with `:status 200` (one byte, 0x88: an entry of the static table) and END_STREAM, so the answer is
the same ten bytes but for the stream id. One read is one write, whatever it held.

Windows are as large as RFC 9113 allows, or as small as Apple's (`Windows`). A client that breaks the protocol is
not told so; the simulator is there for that.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_MAX = 2**31 - 1
WINDOW_INITIAL = 65_535

DATA, HEADERS, SETTINGS, PING, GOAWAY = 0x0, 0x1, 0x4, 0x6, 0x7
END_STREAM = ACK = 0x1
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 0x3, 0x4

# length 1, HEADERS, END_STREAM | END_HEADERS; the stream id follows, then the header block
ANSWER_HEAD = b"\x00\x00\x01\x01\x05"
STATUS_200 = b"\x88"
_SETTINGS_ACK = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


class Windows(StrEnum):
    """WIDE: a stream's window is 2^31-1 from the start and is never returned, the connection's is raised to that at
    once and returned with every batch. APPLE: both are RFC 9113's 65,535 bytes, and the connection's is returned with
    the frame that uses up more than half of it, as the increments seen from Apple's servers tell."""

    WIDE = "wide"
    APPLE = "apple"


def greeting(streams: int, windows: Windows) -> bytes:
    """The server's preface: its SETTINGS, and the raise of the connection's window if there is one."""
    wide = windows is Windows.WIDE
    chosen = {MAX_CONCURRENT_STREAMS: streams, INITIAL_WINDOW_SIZE: WINDOW_MAX if wide else WINDOW_INITIAL}
    settings = b"".join(code.to_bytes(2) + value.to_bytes(4) for code, value in chosen.items())
    head = len(settings).to_bytes(3) + bytes((SETTINGS, 0)) + bytes(4)
    return head + settings + (window_update(WINDOW_MAX - WINDOW_INITIAL) if wide else b"")


def window_update(increment: int) -> bytes:
    """WINDOW_UPDATE of the connection."""
    return b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + increment.to_bytes(4)


class FrameProtocol(asyncio.Protocol):
    """One connection: greets, reads frames, acknowledges, returns the window, and writes once for each read.

    What a push is answered, and what is kept of it, is for `_headers`, `_end_stream` and `_batch_read` to say.
    """

    def __init__(self, streams: int, windows: Windows = Windows.WIDE) -> None:
        self._greeting = greeting(streams, windows)
        # used and not returned; it is when it is more than this, and WIDE ones with each batch
        self._used_bytes = 0
        self._keep_bytes = WINDOW_MAX if windows is Windows.WIDE else WINDOW_INITIAL // 2
        self._windows = windows
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._is_greeted = False

    def __repr__(self) -> str:
        state = "open" if self._transport is not None else "closed"
        return f"<{type(self).__name__} {state} rest={len(self._rest)}>"

    def _headers(self, data: bytes, position: int, following: int) -> None:
        """A HEADERS frame stands at `data[position:following]`."""

    def _end_stream(self, stream: bytes, out: list[bytes]) -> None:
        """A push is whole; `stream` is its id as four bytes, and its answer goes to `out`."""

    def _batch_read(self) -> None:
        """All frames of one read have been looked at, and nothing is written yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport but do not descend from it.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._rest:
            data = self._rest + data
        position = 0
        if not self._is_greeted:
            if len(data) < len(PREFACE):
                self._rest = data
                return
            if not data.startswith(PREFACE):
                transport.abort()
                return
            self._is_greeted = True
            position = len(PREFACE)
        out: list[bytes] = []
        end = len(data)
        is_over = False
        while end - position >= 9:
            length = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
            following = position + 9 + length
            if following > end:
                break
            kind = data[position + 3]
            if kind == DATA:
                self._used_bytes += length
                if self._used_bytes > self._keep_bytes:
                    self._return_window(out)
            elif kind == HEADERS:
                self._headers(data, position, following)
            if kind in (DATA, HEADERS):
                if data[position + 4] & END_STREAM:
                    self._end_stream(data[position + 5 : position + 9], out)
            elif kind == SETTINGS and not data[position + 4] & ACK:
                out.append(_SETTINGS_ACK)
            elif kind == PING and not data[position + 4] & ACK:
                out.append(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + data[position + 9 : following])
            elif kind == GOAWAY:
                is_over = True
            position = following
        self._rest = data[position:]
        self._batch_read()
        if self._used_bytes and self._windows is Windows.WIDE:
            self._return_window(out)
        if out:
            transport.write(b"".join(out))
        if is_over:
            # Everything that came before the client's GOAWAY is answered; it will send no more.
            transport.close()

    def _return_window(self, out: list[bytes]) -> None:
        out.append(window_update(self._used_bytes))
        self._used_bytes = 0


class SinkProtocol(FrameProtocol):
    """Says yes. Tells `counted` the number of pushes answered, once per batch that had any, and `opened` of itself."""

    def __init__(
        self,
        streams: int,
        counted: Callable[[int], None],
        opened: Callable[[int], None] = lambda connections: None,
        windows: Windows = Windows.WIDE,
    ) -> None:
        super().__init__(streams, windows)
        self._counted = counted
        self._pushes = 0
        opened(1)

    def _end_stream(self, stream: bytes, out: list[bytes]) -> None:
        self._pushes += 1
        out.append(ANSWER_HEAD + stream + STATUS_200)

    def _batch_read(self) -> None:
        if self._pushes:
            self._counted(self._pushes)
            self._pushes = 0
