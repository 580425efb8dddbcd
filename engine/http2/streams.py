"""The streams of one connection that are open, and how each comes to its end.

A stream ends with its answer, with a reset by either side, or with the connection. Once its final status has come it
is answered, though it has not ended: whatever ends it then takes no more from the answer than the rest of its body.
RFC 9113 (8.1.1) would not have a malformed answer accepted, but here that means to send again what the peer has dealt
with.

Frames for a stream that is over are dropped, whoever ended it and how. RFC 9113 (5.1) makes some of them an error of
the connection, STREAM_CLOSED, but to tell them apart every stream would have to be remembered.
"""

from collections.abc import Iterable
from typing import Any

from h2.errors import ErrorCodes

from engine.http2 import frames
from engine.http2.answer_reader import AnswerReader, Whole
from engine.http2.events import Abandoned, Answered, Received, StreamFault, StreamReset
from engine.http2.faults import StreamViolation, Violation
from engine.http2.request_writer import RequestWriter


class Streams:
    """``open_streams``: stream id → tag, oldest first. What must be said of a stream's end is appended to ``out``."""

    def __init__(
        self, open_streams: dict[int, Any], writer: RequestWriter, answers: AnswerReader, out: list[bytes]
    ) -> None:
        self._open = open_streams
        self._writer = writer
        self._answers = answers
        self._out = out

    def known(self, stream_id: int, kind: str) -> bool:
        """Whether a frame's stream is open. False for one that is over; a stream never opened is a violation."""
        if stream_id % 2 == 0 or stream_id >= self._writer.next_id:
            text = f"{kind} on stream {stream_id}, which was never opened"
            raise Violation(ErrorCodes.PROTOCOL_ERROR, text)
        return stream_id in self._open

    def finish(self, whole: Whole | None, received: Received) -> None:
        """The answer of a stream is there, unless it is None."""
        if whole is None:
            return
        stream_id, status, headers, body, cut = whole
        # an answer before the whole request was sent makes the rest of it pointless (RFC 9113, 8.1)
        early = cut or stream_id in self._writer.unsent
        tag = self._end(stream_id, ErrorCodes.CANCEL if early else None)
        if status == 200 and not body:
            received.accepted.append(tag)
        else:
            received.events.append(Answered(tag, status, headers, body))

    def reset(self, stream_id: int, code: int, received: Received) -> None:
        """The peer has reset a stream; it is not reset back (RFC 9113, 5.4.2)."""
        if not self._cut(stream_id, None, received):
            received.events.append(StreamReset(self._end(stream_id), code))

    def fault(self, violation: StreamViolation, received: Received) -> None:
        """The peer broke the protocol on a stream."""
        stream_id, code = violation.stream_id, violation.code
        if not self._cut(stream_id, code, received):
            received.events.append(StreamFault(self._end(stream_id, code), code, violation.reason))

    def abandon(self, stream_ids: Iterable[int], code: ErrorCodes | None = None) -> Abandoned:
        """Forget streams, and reset them when a code is given."""
        unanswered: list[Any] = []
        received = Received([], [])
        for stream_id in stream_ids:
            if not self._cut(stream_id, code, received):
                unanswered.append(self._end(stream_id, code))
        return Abandoned(unanswered, *received)

    def _cut(self, stream_id: int, code: ErrorCodes | None, received: Received) -> bool:
        """End a stream whose status has come, with that as its answer; False, and nothing done, if none has.

        It is reset when a code is given, and not because its body is unsent: whoever calls this knows the peer's mind.
        """
        whole = self._answers.cut_short(stream_id)
        if whole is None:
            return False
        if code is not None:
            self._out.append(frames.reset(stream_id, code))
        self._writer.forget(stream_id)
        self.finish(whole, received)
        return True

    def _end(self, stream_id: int, code: ErrorCodes | None = None) -> Any:
        """Forget a stream, and reset it when a code is given; returns its tag."""
        if code is not None:
            self._out.append(frames.reset(stream_id, code))
        self._answers.partial.pop(stream_id, None)
        self._writer.forget(stream_id)
        return self._open.pop(stream_id)
