"""The receiving half of a connection: HEADERS, CONTINUATION and DATA to answers.

An answer is ``whole`` when its last frame has come. What is held meanwhile is bounded: one header block for the
connection, and for each stream that the client opened one record with at most 16 KiB of header fields and 8 KiB of
body. A longer body is cut and its stream reset, because the status has said what became of the request. For the same
reason an answer that is cut short, by whatever ends its stream, counts as far as it came.

A content-length is not compared with the body (RFC 9113, 8.1.1): nothing here depends on either.
"""

from typing import Final, NamedTuple

from h2.errors import ErrorCodes

from engine.http2 import frames
from engine.http2.faults import StreamViolation, Violation
from engine.http2.header_decoder import HEADER_LIST_MOST, HeaderDecoder, Headers, is_regular, status_of
from engine.http2.windows import INITIAL_WINDOW, ReceiveWindow

BODY_MOST: Final = 8_192
CONTINUATIONS_MOST: Final = 16


class Whole(NamedTuple):
    """An answer to the end, or as far as it is kept (``cut``)."""

    stream_id: int
    status: int
    headers: Headers
    body: bytes
    cut: bool = False


class _Partial:
    """An answer whose final header block has come, and whose end has not."""

    __slots__ = ("body", "headers", "received", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self.body = b""
        self.received = 0


class _Block(NamedTuple):
    """A header block that goes on in CONTINUATION frames."""

    stream_id: int
    ends_stream: bool
    parts: list[bytes]


class AnswerReader:
    """Assembles answers. ``partial`` is keyed by stream id."""

    def __init__(self) -> None:
        self.decoder = HeaderDecoder()
        self.window = ReceiveWindow()
        self.partial: dict[int, _Partial] = {}
        self.block: _Block | None = None

    def headers(self, flags: int, stream_id: int, payload: bytes, known: bool) -> Whole | None:
        """A HEADERS frame; ``known`` says whether its stream is open. Raises Violation and StreamViolation."""
        payload = _without_padding(flags, payload)
        if flags & frames.PRIORITY_FLAG:
            if len(payload) < 5:
                raise Violation(ErrorCodes.FRAME_SIZE_ERROR, "HEADERS without its priority fields")
            payload = payload[5:]
        block = _Block(stream_id, bool(flags & frames.END_STREAM), [payload])
        return self._continue(block, flags, known)

    def continuation(self, flags: int, payload: bytes, known: bool) -> Whole | None:
        block = self.block
        if block is None:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block.parts.append(payload)
        # the number of frames is bounded too: empty ones could be sent for ever (CVE-2024-27316 and its kin)
        if len(block.parts) > CONTINUATIONS_MOST or sum(map(len, block.parts)) > HEADER_LIST_MOST:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, f"a header block above {HEADER_LIST_MOST} bytes")
        return self._continue(block, flags, known)

    def _continue(self, block: _Block, flags: int, known: bool) -> Whole | None:
        if not flags & frames.END_HEADERS:
            self.block = block
            return None
        self.block = None
        if not known and self.decoder.self_contained:
            # late words on a stream that is over; before the table was off they had to be decoded
            return None
        try:
            headers = self.decoder.decode(b"".join(block.parts))
        except ValueError as error:
            raise Violation(ErrorCodes.COMPRESSION_ERROR, str(error)) from None
        return self._header_block(block.stream_id, block.ends_stream, headers) if known else None

    def _header_block(self, stream_id: int, ends: bool, headers: Headers) -> Whole | None:
        partial = self.partial.get(stream_id)
        if partial is not None:
            # trailers: the end of the stream, without pseudo-header fields (RFC 9113, 8.1)
            if not ends or not all(is_regular(name) for name, _ in headers):
                raise StreamViolation(stream_id, ErrorCodes.PROTOCOL_ERROR, "a second header block")
            return self._whole(stream_id, partial)
        status = status_of(headers)
        if status is None or status == 101 or (status < 200 and ends):
            raise StreamViolation(stream_id, ErrorCodes.PROTOCOL_ERROR, "a response without a proper :status")
        if status < 200:
            return None
        if ends:
            return Whole(stream_id, status, headers, b"")
        self.partial[stream_id] = _Partial(status, headers)
        return None

    def data(self, flags: int, stream_id: int, payload: bytes) -> Whole | None:
        """A DATA frame of an open stream, padding included."""
        partial = self.partial.get(stream_id)
        if partial is None:
            raise StreamViolation(stream_id, ErrorCodes.PROTOCOL_ERROR, "DATA before the response's headers")
        partial.received += len(payload)
        if partial.received > INITIAL_WINDOW:
            raise StreamViolation(
                stream_id, ErrorCodes.FLOW_CONTROL_ERROR, "more DATA than the window allows"
            )
        partial.body += _without_padding(flags, payload)
        if flags & frames.END_STREAM:
            return self._whole(stream_id, partial)
        if len(partial.body) > BODY_MOST:
            return self._whole(stream_id, partial, cut=True)
        return None

    def cut_short(self, stream_id: int) -> Whole | None:
        """The stream ends here: its answer as far as it came, or None when there was no final status."""
        partial = self.partial.get(stream_id)
        return None if partial is None else self._whole(stream_id, partial)

    def _whole(self, stream_id: int, partial: _Partial, *, cut: bool = False) -> Whole:
        del self.partial[stream_id]
        return Whole(stream_id, partial.status, partial.headers, partial.body[:BODY_MOST], cut)


def _without_padding(flags: int, payload: bytes) -> bytes:
    if not flags & frames.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Violation(ErrorCodes.PROTOCOL_ERROR, "padding as long as its frame")
    return payload[1 : len(payload) - payload[0]]
