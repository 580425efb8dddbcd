"""What a connection tells its owner. Every event is a value; none is an exception.

A *tag* is whatever the caller attached to a request: the connection gives it back, and never looks inside.
"""

from typing import Any, NamedTuple

from h2.errors import ErrorCodes


class Answered(NamedTuple):
    """A stream was answered, other than by a bare 200. ``headers`` are lower-case names, in order.

    ``body`` is cut at ``answer_reader.BODY_MOST`` bytes, and where the stream was ended after the status.
    """

    tag: Any
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class StreamReset(NamedTuple):
    """The peer ended a stream with RST_STREAM, before a final status.

    REFUSED_STREAM promises that it processed nothing (RFC 9113, 8.7).
    """

    tag: Any
    code: int


class StreamFault(NamedTuple):
    """The peer broke the protocol on one stream before a final status, and it was reset; the connection goes on."""

    tag: Any
    code: ErrorCodes
    reason: str


class GoingAway(NamedTuple):
    """GOAWAY. Streams up to ``last_stream_id`` may still be answered; ``unprocessed`` are the tags above it.

    The peer promises that it did not and will not process the unprocessed ones (RFC 9113, 6.8). One whose status has
    come is not among them. A second GOAWAY names only those that it newly uncovers.
    """

    last_stream_id: int
    code: int
    debug: bytes
    unprocessed: tuple[Any, ...]


class SettingsReceived(NamedTuple):
    """The peer announced settings. The stream limit that holds now is ``Connection.peer.max_concurrent_streams``."""

    values: tuple[tuple[int, int], ...]


class Ponged(NamedTuple):
    """The answer to a PING of ours."""

    payload: bytes


class ConnectionFault(NamedTuple):
    """The peer broke the protocol so that the connection can't go on: always the last event.

    A GOAWAY with this code is in the output. Streams that are still open are for ``Connection.abandon``.
    """

    code: ErrorCodes
    reason: str


Event = Answered | StreamReset | StreamFault | GoingAway | SettingsReceived | Ponged | ConnectionFault


class Received(NamedTuple):
    """What one chunk of bytes meant: the tags of bare 200s, and every other event, each in order of arrival."""

    accepted: list[Any]
    events: list[Event]


class Abandoned(NamedTuple):
    """Streams that our side gave up: the tags of those without a final status, and what the others were answered,
    as far as it came, in the shape of ``Received``."""

    unanswered: list[Any]
    accepted: list[Any]
    events: list[Event]
