"""One HTTP/2 connection of a client that sends many small POSTs (RFC 9113). Sans-IO: bytes in, events out, bytes out.

Theory of operation. The owner calls ``send`` with a batch of requests and ``receive`` with whatever bytes arrived,
and writes what ``take_output`` returns after either. Nothing here knows a socket, a clock or a task.

Streams are the client's alone (the peer may not push), open in the order of their ids, and nearly all live the
same short life: HEADERS and DATA out in one go, one HEADERS frame back that ends the stream and begins with
``:status 200``. That life costs one dict entry. Only a stream that leaves it gets a record of its own: an unsent
body in the writer, or an answer of several frames in the reader. How streams end is for ``streams``.

What is held is bounded whatever the peer sends: one frame of 16 KiB, one header block of 16 KiB, and for each stream
that the client itself opened 16 KiB of header fields and 8 KiB of body.

A fault of the peer is an event, not an exception, so that what came before it in the same bytes is not lost.
"""

from collections.abc import Iterable
from typing import Any, Final

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from engine.http2 import frame_shapes, frames
from engine.http2.answer_reader import AnswerReader
from engine.http2.events import (
    Abandoned,
    ConnectionFault,
    GoingAway,
    Ponged,
    Received,
    SettingsReceived,
)
from engine.http2.faults import StreamViolation, Violation
from engine.http2.header_decoder import HEADER_LIST_MOST, STATUS_200
from engine.http2.peer_settings import PeerSettings
from engine.http2.request_writer import Request, RequestWriter
from engine.http2.streams import Streams
from engine.http2.windows import INITIAL_WINDOW

DEBUG_DATA_MOST: Final = 1_024

_LOCAL_SETTINGS: Final[dict[int, int]] = {
    SettingCodes.HEADER_TABLE_SIZE: 0,
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: INITIAL_WINDOW,
    SettingCodes.MAX_FRAME_SIZE: frames.MAX_FRAME_SIZE_LEAST,
    SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_MOST,
}
_WHOLE_ANSWER: Final = frames.END_STREAM | frames.END_HEADERS
# length and type of a frame, as they stand in one word
_WORD_MOST: Final = frames.MAX_FRAME_SIZE_LEAST << 8 | 0xFF
_RESET: Final = 4 << 8 | frames.RST_STREAM


class Connection:
    """A client's half of one connection.

    Tasks: 1 put requests on the wire within the peer's limits; 2 turn the peer's frames into events;
    3 acknowledge, and return windows; 4 name every violation.
    """

    def __init__(self) -> None:
        self.open: dict[int, Any] = {}
        self.peer = PeerSettings()
        self.going_away = False
        self.fault: ConnectionFault | None = None
        # frames written because the peer's ask for them: acknowledgements, and windows returned
        self.replies = 0
        self._out: list[bytes] = [frames.PREFACE, frames.settings(_LOCAL_SETTINGS)]
        self._writer = RequestWriter(self.open, self.peer, self._out)
        self._answers = AnswerReader()
        self._streams = Streams(self.open, self._writer, self._answers, self._out)
        self._buffer = bytearray()
        self._needed = frames.HEADER_BYTES
        self._last_processed = frames.STREAM_ID_MOST

    def __repr__(self) -> str:
        phase = "open" if self.peer.received else "new"
        if self.fault or self.going_away:
            phase = "fault" if self.fault else "going away"
        return (
            f"<http2.Connection {phase}, {len(self.open)} of {self.peer.max_concurrent_streams} streams, "
            f"window {self.window}, next id {self._writer.next_id}>"
        )

    @property
    def window(self) -> int:
        """Bytes that the peer takes on the whole connection at this moment."""
        return self._writer.windows.connection

    @property
    def last_id(self) -> int:
        """The id of the stream that was opened last; -1 before the first."""
        return self._writer.next_id - 2

    @property
    def exhausted(self) -> bool:
        """No stream ids are left; the connection can only be drained."""
        return self._writer.next_id > frames.STREAM_ID_MOST

    def room(self) -> int:
        """How many streams may be opened now; the connection's window may allow fewer."""
        if self.going_away or self.fault or not self.peer.received:
            return 0
        ids_left = (frames.STREAM_ID_MOST - self._writer.next_id) // 2 + 1
        return max(0, min(self.peer.max_concurrent_streams - len(self.open), ids_left))

    def take_output(self) -> bytes:
        """The bytes to write now, in order; empty when there are none."""
        if not self._out:
            return b""
        output = b"".join(self._out)
        self._out.clear()
        return output

    def send(self, requests: Iterable[Request], most: int = frames.STREAM_ID_MOST) -> int:
        """Put up to ``most`` requests on the wire, in order, as far as the peer's limits allow; returns how many.

        One request more than that may be drawn from ``requests``, when a window ends before the streams do.
        """
        return self._writer.send(requests, min(most, self.room()))

    def renew_headers(self) -> None:
        """Empty the peer's header table before the next request: what the profiles say is about to change."""
        self._writer.encoder.renew()

    def cancel(self, stream_ids: Iterable[int]) -> Abandoned:
        """End streams with RST_STREAM(CANCEL), so that their places are free."""
        return self._streams.abandon((each for each in stream_ids if each in self.open), ErrorCodes.CANCEL)

    def abandon(self) -> Abandoned:
        """Forget all streams: no more bytes will come, and none can be sent."""
        return self._streams.abandon(tuple(self.open))

    def ping(self, payload: bytes) -> None:
        """Ask the peer to answer; ``payload`` is 8 bytes and comes back in ``Ponged``."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))

    def close(self) -> None:
        """Say GOAWAY: no stream is opened after this; those that are open may still be answered."""
        if not self.going_away and self.fault is None:
            self.going_away = True
            self._out.append(frames.goaway(0, ErrorCodes.NO_ERROR))

    def receive(self, data: bytes) -> Received:
        """The meaning of the peer's next bytes. After a fault there is none."""
        received = Received([], [])
        if self.fault is not None:
            return received
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return received
            data = bytes(self._buffer)
            self._buffer.clear()
        try:
            at = self._read_frames(data, received)
        except Violation as violation:
            self.fault = ConnectionFault(violation.code, violation.reason)
            self._out.append(frames.goaway(0, violation.code, violation.reason.encode()))
            received.events.append(self.fault)
            return received
        rest = len(data) - at
        if rest:
            self._buffer += memoryview(data)[at:]
            self._needed = frames.HEADER_BYTES
            if rest >= frames.HEADER_BYTES:
                self._needed += frames.unpack_header(data, at)[0] >> 8
        return received

    def _read_frames(self, data: bytes, received: Received) -> int:
        """Read the whole frames in ``data``; returns where the first incomplete one begins."""
        at, end = 0, len(data)
        accepted = received.accepted
        opened, answers, unsent = self.open, self._answers, self._writer.unsent
        partial, decoder, next_id = answers.partial, answers.decoder, self._writer.next_id
        unpack = frames.unpack_header
        # only a frame that is read in full changes this
        plain = decoder.self_contained and answers.block is None
        while end - at >= frames.HEADER_BYTES:
            word, flags, stream_id = unpack(data, at)
            start = at + frames.HEADER_BYTES
            at_next = start + (word >> 8)
            if at_next > end or word > _WORD_MOST:
                if word > _WORD_MOST:
                    # a server that speaks no HTTP/2 gets here with its first words
                    self._require_preface(word & 0xFF, flags)
                    raise Violation(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {word >> 8} bytes")
                break
            if (
                flags == _WHOLE_ANSWER
                and word & 0xFF == frames.HEADERS
                and stream_id in opened
                and plain
                and at_next > start
                and data[start] == STATUS_200
                and not (partial and stream_id in partial)
                and not (unsent and stream_id in unsent)
            ):
                accepted.append(opened.pop(stream_id))
            elif (
                word == _RESET and stream_id & 1 and stream_id < next_id and stream_id not in opened and plain
            ):
                # a stream that is over: nginx resets each that it has answered before it read the body
                pass
            else:
                try:
                    self._read_frame(
                        word & 0xFF, flags, stream_id & frames.STREAM_ID_MOST, data[start:at_next], received
                    )
                except StreamViolation as violation:
                    self._streams.fault(violation, received)
                plain = decoder.self_contained and answers.block is None
            at = at_next
        return at

    def _read_frame(self, kind: int, flags: int, stream_id: int, payload: bytes, received: Received) -> None:
        self._require_preface(kind, flags)
        block = self._answers.block
        if block is not None and (kind != frames.CONTINUATION or stream_id != block.stream_id):
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a header block is interrupted")
        frame_shapes.check(kind, flags, stream_id, len(payload))
        match kind:
            case frames.HEADERS:
                known = self._streams.known(stream_id, "HEADERS")
                self._streams.finish(self._answers.headers(flags, stream_id, payload, known), received)
            case frames.CONTINUATION:
                known = stream_id in self.open
                self._streams.finish(self._answers.continuation(flags, payload, known), received)
            case frames.DATA:
                self._read_data(flags, stream_id, payload, received)
            case frames.RST_STREAM:
                # a reset of a stream that is over says nothing
                if self._streams.known(stream_id, "RST_STREAM"):
                    self._streams.reset(stream_id, frames.read_u32(payload), received)
            case frames.WINDOW_UPDATE:
                self._read_window_update(stream_id, payload)
            case frames.SETTINGS:
                self._read_settings(flags, payload, received)
            case frames.PING:
                self._read_ping(flags, payload, received)
            case frames.GOAWAY:
                self._read_goaway(payload, received)
            case frames.PUSH_PROMISE:
                raise Violation(ErrorCodes.PROTOCOL_ERROR, "PUSH_PROMISE, though push is off")
            case _:
                # frames of other types are ignored (RFC 9113, 4.1), and so is PRIORITY
                return

    def _require_preface(self, kind: int, flags: int) -> None:
        if not self.peer.received and (kind != frames.SETTINGS or flags & frames.ACK):
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    def _read_data(self, flags: int, stream_id: int, payload: bytes, received: Received) -> None:
        known = self._streams.known(stream_id, "DATA")
        # also DATA of a stream that is over uses the connection's window
        increment = self._answers.window.take(len(payload))
        if increment:
            self._reply(frames.window_update(0, increment))
        if known:
            self._streams.finish(self._answers.data(flags, stream_id, payload), received)

    def _read_window_update(self, stream_id: int, payload: bytes) -> None:
        increment = frames.read_u32(payload) & frames.WINDOW_MOST
        if stream_id == 0:
            _require(increment > 0, ErrorCodes.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        elif not self._streams.known(stream_id, "WINDOW_UPDATE"):
            return
        elif increment == 0:
            raise StreamViolation(stream_id, ErrorCodes.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        self._writer.grow(stream_id, increment)

    def _read_settings(self, flags: int, payload: bytes, received: Received) -> None:
        if flags & frames.ACK:
            if not self._answers.decoder.self_contained:
                self._answers.decoder.table_size_acknowledged()
            return
        values = frames.read_settings(payload)
        self.peer.apply(values)
        for code, value in values:
            if code == SettingCodes.HEADER_TABLE_SIZE:
                # each in turn, because the smallest counts (RFC 7541, 4.2)
                self._writer.encoder.resize(value)
        # the peer holds us to its new limits from the acknowledgement on, so it goes before what they allow
        self._reply(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._writer.resize(self.peer.initial_window_size)
        received.events.append(SettingsReceived(tuple(values)))

    def _read_ping(self, flags: int, payload: bytes, received: Received) -> None:
        if flags & frames.ACK:
            received.events.append(Ponged(payload))
        else:
            self._reply(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _reply(self, frame: bytes) -> None:
        self.replies += 1
        self._out.append(frame)

    def _read_goaway(self, payload: bytes, received: Received) -> None:
        self.going_away = True
        # a later GOAWAY may only lower the id (RFC 9113, 6.8); one that raises it takes nothing back
        last = min(frames.read_u32(payload) & frames.STREAM_ID_MOST, self._last_processed)
        self._last_processed = last
        # a stream whose status has come was processed, whatever is said of it now
        gone = self._streams.abandon(tuple(above for above in self.open if above > last))
        received.accepted.extend(gone.accepted)
        received.events.extend(gone.events)
        code, debug = frames.read_u32(payload, 4), payload[8 : 8 + DEBUG_DATA_MOST]
        received.events.append(GoingAway(last, code, debug, tuple(gone.unanswered)))


def _require(condition: bool, code: ErrorCodes, reason: str) -> None:
    if not condition:
        raise Violation(code, reason)
