"""Flow control, both ways and both levels (RFC 9113, 5.2 and 6.9)."""

from heapq import heapify, heappop, heappush
from typing import Final

from h2.errors import ErrorCodes

from engine.http2.faults import StreamViolation, Violation
from engine.http2.frames import WINDOW_MOST

INITIAL_WINDOW: Final = 65_535


# entries of the heap that are out of date are swept out when there are more of them than of others, and than this
_STALE_MOST: Final = 64


class SendWindows:
    """How much the peer takes: on the connection, and on each stream whose body did not go out at once.

    A stream whose body went out whole has no use for its window, so it has no entry.

    A stream's window is kept as its distance from the initial one, so that SETTINGS_INITIAL_WINDOW_SIZE moves all of
    them without a look at any; and a heap knows the widest, which is the first to pass the largest size that there is,
    and the last to have no room. So no frame of the peer's costs a step for streams that it does not help.
    """

    __slots__ = ("_streams", "_widest", "connection", "initial")

    def __init__(self) -> None:
        self.connection = INITIAL_WINDOW
        self.initial = INITIAL_WINDOW
        # granted less spent, which may be below 0
        self._streams: dict[int, int] = {}
        # (that with its sign turned, stream); an entry that does not say what ``_streams`` says is out of date
        self._widest: list[tuple[int, int]] = []

    def open(self, stream_id: int) -> None:
        self._move(stream_id, 0)

    def close(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        if not self._streams:
            self._widest.clear()

    def room(self, stream_id: int) -> int:
        return min(self.connection, self.initial + self._streams[stream_id])

    def widest(self) -> int | None:
        """The stream with the largest window, the oldest of equals; None when there is none."""
        heap, streams = self._widest, self._streams
        while heap and streams.get(heap[0][1]) != -heap[0][0]:
            heappop(heap)
        return heap[0][1] if heap else None

    def spend(self, stream_id: int, size: int) -> None:
        self.connection -= size
        self._move(stream_id, self._streams[stream_id] - size)

    def grow(self, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE; stream 0 is the connection."""
        if stream_id == 0:
            self.connection += increment
            if self.connection > WINDOW_MOST:
                raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "the connection's window is above 2^31-1")
        elif stream_id in self._streams:
            self._move(stream_id, self._streams[stream_id] + increment)
            if self.initial + self._streams[stream_id] > WINDOW_MOST:
                raise StreamViolation(stream_id, ErrorCodes.FLOW_CONTROL_ERROR, "the window is above 2^31-1")

    def resize(self, initial: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE moves every open stream's window by the difference, below 0 too."""
        self.initial = initial
        widest = self.widest()
        if widest is not None and initial + self._streams[widest] > WINDOW_MOST:
            raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "a stream's window is above 2^31-1")

    def _move(self, stream_id: int, granted: int) -> None:
        self._streams[stream_id] = granted
        heappush(self._widest, (-granted, stream_id))
        if len(self._widest) > 2 * len(self._streams) + _STALE_MOST:
            self._widest[:] = [(-granted, stream_id) for stream_id, granted in self._streams.items()]
            heapify(self._widest)


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
