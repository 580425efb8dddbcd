"""The outgoing half of a connection: answers, resets, limits, windows, GOAWAY, put into bytes.

Also the book of open streams, since every one of those acts opens or closes a place in it. Whoever calls
decides what shall be said; this file knows how it is said on the wire, and nothing of judgement.

The stream limit. A stream counts as open until its last frame is sent. A new limit is enforced at once,
although RFC 9113 section 6.5.3 gives the client until its acknowledgement, because Apple was seen to do so:
streams in excess get RST_STREAM(REFUSED_STREAM), and when it was the limit that fell, a second
RST_STREAM(STREAM_CLOSED) for the same stream (jchambers/pushy issue 476). The newest are refused; those
whose fate is already in the ledger keep their answer.

The windows. The connection's window is returned late: when more than half of it has been used up, which
gives the increments of about 32,800 that were seen. A stream's own window is never returned: 65,535 bytes
hold any payload, and a longer body is answered before it ends. An error body waits, in order, for the
client's window.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import RstStreamFrame

from loadtest.simulator.wire import INITIAL_WINDOW_BYTES, AppleConnection

WINDOW_RETURN_BYTES = INITIAL_WINDOW_BYTES // 2
STREAM_ID_MAX = 2**31 - 1


class Stream:
    """A request on its way in, and until its answer has left.

    `is_due`: it can be judged, being complete or, if `is_cut_short`, too long to wait for its end.
    `decided`: its fate is in the ledger, so it may no longer be refused.
    """

    __slots__ = ("apns_id", "body_bytes", "decided", "headers", "is_cut_short", "is_due", "repeats_header")

    def __init__(self, headers: dict[bytes, bytes], *, repeats_header: bool) -> None:
        self.headers = headers
        self.repeats_header = repeats_header
        self.body_bytes = 0
        self.apns_id = ""
        self.is_due = False
        self.is_cut_short = False
        self.decided = False


class Line:
    """Says things on one connection. Output gathers until `take`."""

    def __init__(self, streams: int) -> None:
        self.engine = AppleConnection(streams)
        self.limit = streams
        # In order of their ids, since h2 refuses a client that opens them in another order.
        self.open: dict[int, Stream] = {}
        # Streams above this were disowned by a GOAWAY.
        self.last_stream_id = STREAM_ID_MAX
        self._out: list[bytes] = []
        self._used_bytes = 0
        self._withholding = False
        self._blocked: deque[tuple[int, bytes, bool]] = deque()

    def __repr__(self) -> str:
        return f"<Line open={len(self.open)}/{self.limit} window_used={self._used_bytes}>"

    def take(self) -> bytes:
        """What is to be sent now, once."""
        self._out.append(self.engine.data_to_send())
        out = b"".join(self._out)
        self._out.clear()
        return out

    def answer(
        self,
        stream_id: int,
        status: int,
        apns_id: str,
        body: Sequence[bytes],
        further: Iterable[tuple[str, str]] = (),
    ) -> None:
        """A complete answer; `body` is sent as one DATA frame each. No-op if the client has left the stream."""
        stream = self.open.pop(stream_id, None)
        if stream is None:
            return
        headers = [(b":status", b"%d" % status)]
        if apns_id:
            headers.append((b"apns-id", apns_id.encode()))
        headers += ((name.encode(), value.encode()) for name, value in further)
        self.engine.send_headers(stream_id, headers, end_stream=not body)
        for place, part in enumerate(body, 1):
            self._send(stream_id, part, place == len(body))

    def reset(self, stream_id: int, code: int) -> None:
        """RST_STREAM. No-op if the client has left the stream."""
        if self.open.pop(stream_id, None) is not None:
            self.engine.reset_stream(stream_id, code)

    def change_limit(self, streams: int) -> None:
        """SETTINGS_MAX_CONCURRENT_STREAMS, if it is news."""
        if streams != self.limit:
            self.limit = streams
            self.engine.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: streams})

    def refuse_excess(self) -> list[tuple[int, Stream]]:
        """Refuse the open streams above the limit, and return them: they were not processed."""
        refused = []
        for stream_id, stream in list(self.open.items())[self.limit :]:
            if not stream.decided:
                self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
                self._out.append(self.engine.data_to_send())
                self._out.append(RstStreamFrame(stream_id, error_code=ErrorCodes.STREAM_CLOSED).serialize())
                refused.append((stream_id, stream))
        return refused

    def goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """GOAWAY. Streams above the last id are forgotten without a word, as RFC 9113 section 6.8 has it."""
        self.last_stream_id = min(self.last_stream_id, max(last_stream_id, 0))
        self.engine.close_connection(code, debug or None, self.last_stream_id)
        for stream_id in [stream_id for stream_id in self.open if stream_id > self.last_stream_id]:
            del self.open[stream_id]

    def use_window(self, used_bytes: int) -> None:
        """The client has spent this much of the connection's window; return it when it is time."""
        self._used_bytes += used_bytes
        if self._used_bytes > WINDOW_RETURN_BYTES and not self._withholding:
            self._return_window()

    def withhold_window(self) -> None:
        """Return nothing until `release_window`."""
        self._withholding = True

    def release_window(self) -> None:
        """Go on as before; what was withheld is returned at once."""
        self._withholding = False
        self._return_window()

    def unblock(self) -> None:
        """The client's windows have grown: send what waited for them."""
        blocked, self._blocked = self._blocked, deque()
        for stream_id, part, is_last in blocked:
            if stream_id in self.engine.streams and not self.engine.streams[stream_id].closed:
                self._send(stream_id, part, is_last)

    def _return_window(self) -> None:
        if self._used_bytes:
            self.engine.increment_flow_control_window(self._used_bytes)
            self._used_bytes = 0

    def _send(self, stream_id: int, part: bytes, is_last: bool) -> None:
        # Everything waits behind what waits already, or the frames of one body would change places.
        if self._blocked or self.engine.local_flow_control_window(stream_id) < len(part):
            self._blocked.append((stream_id, part, is_last))
        else:
            self.engine.send_data(stream_id, part, end_stream=is_last)
