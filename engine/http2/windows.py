"""Flow control, both ways and both levels (RFC 9113, 5.2 and 6.9)."""

from typing import Final

from h2.errors import ErrorCodes

from engine.http2.faults import StreamViolation, Violation
from engine.http2.frames import WINDOW_MOST

INITIAL_WINDOW: Final = 65_535


class SendWindows:
    """How much the peer takes: on the connection, and on each stream whose body did not go out at once.

    A stream whose body went out whole has no use for its window, so it has no entry.
    """

    __slots__ = ("_streams", "connection", "initial")

    def __init__(self) -> None:
        self.connection = INITIAL_WINDOW
        self.initial = INITIAL_WINDOW
        self._streams: dict[int, int] = {}

    def open(self, stream_id: int) -> None:
        self._streams[stream_id] = self.initial

    def close(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)

    def room(self, stream_id: int) -> int:
        return min(self.connection, self._streams[stream_id])

    def spend(self, stream_id: int, size: int) -> None:
        self.connection -= size
        self._streams[stream_id] -= size

    def grow(self, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE; stream 0 is the connection."""
        if stream_id == 0:
            self.connection += increment
            if self.connection > WINDOW_MOST:
                raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "the connection's window is above 2^31-1")
        elif stream_id in self._streams:
            self._streams[stream_id] += increment
            if self._streams[stream_id] > WINDOW_MOST:
                raise StreamViolation(stream_id, ErrorCodes.FLOW_CONTROL_ERROR, "the window is above 2^31-1")

    def resize(self, initial: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE moves every open stream's window by the difference, below 0 too."""
        if initial == self.initial:
            return
        for stream_id in self._streams:
            self._streams[stream_id] += initial - self.initial
            if self._streams[stream_id] > WINDOW_MOST:
                raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "a stream's window is above 2^31-1")
        self.initial = initial


class ReceiveWindow:
    """How much we still take on the connection; returned in steps of half, so one update serves many answers."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = INITIAL_WINDOW

    def take(self, size: int) -> int:
        """Account for a DATA frame; returns the increment to announce now, or 0."""
        self._left -= size
        if self._left < 0:
            raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")
        if self._left > INITIAL_WINDOW // 2:
            return 0
        increment = INITIAL_WINDOW - self._left
        self._left = INITIAL_WINDOW
        return increment
