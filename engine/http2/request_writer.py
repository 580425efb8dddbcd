"""The sending half of a connection: requests to frames, within the peer's limits.

Nearly every request goes out as one HEADERS and one DATA frame, and its loop is the hottest in the gateway. The
rest (a profile that the peer does not know yet, more fields, no body, a body in several frames or larger than a
window) takes the long way, ``_send_in_full``, with the same result on the wire.

``:path`` comes first: it is a literal, and pseudo-header fields must stand before all others, among themselves in
any order (RFC 9113, 8.3).
"""

from collections.abc import Callable, Iterable
from itertools import islice
from struct import Struct
from typing import Any, Final, NamedTuple

from engine.http2 import frames
from engine.http2.header_encoder import Field, HeaderEncoder, Profile, length, text
from engine.http2.peer_settings import PeerSettings
from engine.http2.windows import INITIAL_WINDOW, SendWindows

# literal without indexing, name of static entry 4
_PATH: Final = b"\x04"
# bytes of a path or a varying value, so that a block that is cached still fits into the smallest frame with both
_SHORT: Final = 511
# kept for one connection: a tenant has few topics, and its tokens and ids are of few lengths
_HEADS_MOST: Final = 256
# A larger body goes out in pieces rather than wait until the whole of it fits: the peer may not return the connection's
# window before three quarters of it are used, and then a body that waits for more than a quarter waits for ever.
WAITING_BODY_MOST: Final = INITIAL_WINDOW // 4


class Request(NamedTuple):
    """One POST. ``tag`` comes back with its answer; ``varying`` is the value of the profile's varying field.

    ``extra`` are further header fields, never indexed.
    """

    tag: Any
    profile: Profile
    path: bytes
    varying: bytes
    extra: tuple[Field, ...]
    body: bytes


class _Heads(NamedTuple):
    """How the frames of requests begin that differ in stream, path, varying value and size of the body only.

    ``pack(start, stream id, before, path, between, varying, size << 8, END_STREAM, stream id)`` is the HEADERS frame
    with the header of the DATA frame behind it, made in one call.
    """

    pack: Callable[..., bytes]
    start: bytes
    before: bytes
    between: bytes


def _heads_of(block: bytes, path_bytes: int, varying_bytes: int) -> _Heads | None:
    """For a block as the encoder caches it and lengths of path and varying value; None for long ones."""
    if path_bytes > _SHORT or varying_bytes > _SHORT:
        return None
    before, between = _PATH + length(path_bytes), block + length(varying_bytes)
    fields = len(before) + path_bytes + len(between) + varying_bytes
    # the header of a frame without its stream, then the stream
    start = frames.pack_header(fields << 8 | frames.HEADERS, frames.END_HEADERS, 0)[:-4]
    form = Struct(f">{len(start)}sI{len(before)}s{path_bytes}s{len(between)}s{varying_bytes}sIBI")
    return _Heads(form.pack, start, before, between)


class RequestWriter:
    """Opens streams. ``open`` is the connection's table of open streams, stream id → tag, oldest first."""

    def __init__(self, open_streams: dict[int, Any], peer: PeerSettings, out: list[bytes]) -> None:
        self.encoder = HeaderEncoder()
        self.windows = SendWindows()
        self.next_id = 1
        self.unsent: dict[int, memoryview] = {}
        # the stream whose body went on last when the connection's window had grown
        self._under_way = 0
        # of one connection, since a block may hold the provider token
        self._heads: dict[tuple[bytes, int, int], _Heads | None] = {}
        self._open = open_streams
        self._peer = peer
        self._out = out

    def send(self, requests: Iterable[Request], room: int) -> int:
        """Open up to ``room`` streams, in order; returns for how many requests the limits sufficed."""
        windows, encoder, append, opened = self.windows, self.encoder, self._out.append, self._open
        easy = min(windows.initial, self._peer.max_frame_size)
        blocks, ends = encoder.blocks, frames.END_STREAM
        window = windows.connection
        stream_id = self.next_id
        taken = 0
        # those of the request before are right for nearly every one
        heads: _Heads | None = None
        shared: bytes | None = None
        path_bytes = varying_bytes = -1
        for tag, profile, path, varying, extra, body in islice(requests, room):
            size = len(body)
            if size > window and (size <= WAITING_BODY_MOST or window <= 0):
                # it will fit when the peer returns its window
                break
            # a size update that is due needs no look: while it is, no block is cached
            block = blocks.get(profile)
            if block is not shared or len(path) != path_bytes or len(varying) != varying_bytes:
                shared, path_bytes, varying_bytes = block, len(path), len(varying)
                heads = None if block is None else self._heads_for(block, path_bytes, varying_bytes)
                if heads is not None:
                    pack, start, before, between = heads
            if heads is None or extra or size > easy or size > window or not size:
                windows.connection = window
                self._send_in_full(stream_id, profile, path, varying, extra, body)
                window = windows.connection
            else:
                append(pack(start, stream_id, before, path, between, varying, size << 8, ends, stream_id))
                append(body)
                window -= size
            opened[stream_id] = tag
            stream_id += 2
            taken += 1
        windows.connection = window
        self.next_id = stream_id
        return taken

    def _heads_for(self, block: bytes, path_bytes: int, varying_bytes: int) -> _Heads | None:
        key = (block, path_bytes, varying_bytes)
        if key not in self._heads:
            if len(self._heads) >= _HEADS_MOST:
                self._heads.clear()
            self._heads[key] = _heads_of(*key)
        return self._heads[key]

    def _send_in_full(
        self,
        stream_id: int,
        profile: Profile,
        path: bytes,
        varying: bytes,
        extra: Iterable[Field],
        body: bytes,
    ) -> None:
        encoder = self.encoder
        block = encoder.take_size_updates() + _PATH + text(path)
        known = encoder.blocks.get(profile)
        block += encoder.first(profile, varying) if known is None else known + text(varying)
        block += b"".join(encoder.literal(name, value) for name, value in extra)
        most = self._peer.max_frame_size
        starts = range(0, len(block), most)
        for at in starts:
            kind, flags = (
                (frames.CONTINUATION, 0) if at else (frames.HEADERS, 0 if body else frames.END_STREAM)
            )
            if at == starts[-1]:
                flags |= frames.END_HEADERS
            self._out.append(frames.frame(kind, flags, stream_id, block[at : at + most]))
        if 0 < len(body) <= min(most, self.windows.connection, self.windows.initial):
            # nothing will wait, so the stream's window need not be known
            self._out.append(frames.frame(frames.DATA, frames.END_STREAM, stream_id, body))
            self.windows.connection -= len(body)
        elif body:
            self.windows.open(stream_id)
            self.unsent[stream_id] = memoryview(body)
            self._send_body(stream_id)

    def _send_body(self, stream_id: int) -> None:
        """DATA frames as far as both windows allow."""
        body, most = self.unsent[stream_id], self._peer.max_frame_size
        size = min(len(body), self.windows.room(stream_id))
        if size <= 0:
            return
        for at in range(0, size, most):
            end = min(at + most, size)
            ends = frames.END_STREAM if end == len(body) else 0
            self._out.append(frames.frame(frames.DATA, ends, stream_id, bytes(body[at:end])))
        self.windows.spend(stream_id, size)
        if size < len(body):
            self.unsent[stream_id] = body[size:]
        else:
            self.forget(stream_id)

    def grow(self, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE; stream 0 is the connection. Goes on with the bodies that waited for it, and no others.

        Looking at all of them would let 13 bytes from the peer cost a step for every open stream, and so with SETTINGS.
        """
        waited = self.windows.connection <= 0
        self.windows.grow(stream_id, increment)
        if stream_id in self.unsent:
            self._send_body(stream_id)
        elif stream_id == 0 and waited:
            self._pump()

    def resize(self, initial: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE moved the windows of all streams."""
        grew = initial > self.windows.initial
        self.windows.resize(initial)
        if grew:
            self._pump()

    def _pump(self) -> None:
        """Go on with the bodies that wait, until the connection's window is spent or none has room in its own.

        After the one that was under way comes that with the widest window, of equals the oldest. So each that is sent
        goes on, if only by a byte, and of those that can't go on no more than two are looked at.
        """
        windows, stream_id = self.windows, self._under_way
        while windows.connection > 0:
            if stream_id not in self.unsent or windows.room(stream_id) <= 0:
                widest = windows.widest()
                if widest is None or windows.room(widest) <= 0:
                    return
                self._under_way = stream_id = widest
            self._send_body(stream_id)

    def forget(self, stream_id: int) -> None:
        """Nothing more is sent on the stream."""
        if self.unsent.pop(stream_id, None) is not None:
            self.windows.close(stream_id)
