"""How a link gets on: what its times say of that, and what is done about one that does not. Pure.

A link can fail without ending. Its TCP connection may stay up though nothing comes back (a NAT that forgot it, a
server that hangs), APNs may go on answering PINGs but no pushes, it may answer every push of one connection with
500, or never again allow a stream or return a window. Each leads to another link; only a wire that carries nothing
at all, in the one direction or the other, is given up together with what is under way.
"""

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from itertools import takewhile
from typing import Any, NamedTuple

from engine.policy.links import LinkOptions
from engine.policy.trip import Trip


class LinkFacts(NamedTuple):
    """``silent_s`` and ``stuck_s`` as in the options, 0 while they don't apply.

    ``pinged_s``: how long ago it was pinged, 0 if not since it became silent. ``rested_s``: how long it
    had carried nothing before what is under way.
    ``unanswered``: pushes passed their deadline, and no answer at all has come since they were written.
    """

    silent_s: float
    pinged_s: float
    unanswered: bool
    stuck_s: float
    faults: int
    rested_s: float = 0.0


class Care(StrEnum):
    """What to do about a link."""

    NOTHING = "nothing"
    PING = "ping"
    RETIRE = "retire"
    ABORT = "abort"


def care(link: LinkFacts, options: LinkOptions) -> Care:
    """Looked at twice a second; the gravest first.

    A link is given up for silence only when a PING was not answered either: after a worker has stood still itself,
    all its links look silent, and their answers wait to be read.
    """
    patience_s = options.woken_s if link.rested_s >= options.rest_s else options.silent_s
    if link.silent_s >= patience_s and link.pinged_s >= patience_s / 2:
        return Care.ABORT
    if link.unanswered or link.stuck_s >= options.stuck_s or link.faults >= options.faults_most:
        return Care.RETIRE
    if link.silent_s >= patience_s / 2 and not link.pinged_s:
        return Care.PING
    return Care.NOTHING


class Health:
    """The times of one link, in seconds of a clock that only goes forward. ``trip`` is its round trip.

    Streams are given as the link's table of those that are open, oldest first. They open in order, so the last of each
    batch is all that is kept of it.
    """

    __slots__ = (
        "_answered_s",
        "_faults",
        "_heard_s",
        "_pinged_s",
        "_refused_s",
        "_stuck_since_s",
        "_timed_id",
        "_timed_s",
        "_unanswered",
        "_written",
        "_wrote_s",
        "trip",
    )

    def __init__(self, now_s: float) -> None:
        self.trip = Trip()
        self._heard_s = self._answered_s = self._wrote_s = self._pinged_s = now_s
        # (last stream of a batch, when it was written)
        self._written: deque[tuple[int, float]] = deque()
        # the stream that is timed: the last of a batch, since it is answered last
        self._timed_id = 0
        self._timed_s = 0.0
        self._stuck_since_s: float | None = None
        self._unanswered = False
        self._faults = 0
        self._refused_s = 0.0

    def __repr__(self) -> str:
        return f"<Health {self.trip!r}, {len(self._written)} batches, {self._faults} faults>"

    def wrote(self, last_id: int, now_s: float) -> None:
        """A batch was written; ``last_id`` is its last stream."""
        self._wrote_s = now_s
        self._written.append((last_id, now_s))
        if not self._timed_id:
            self._timed_id, self._timed_s = last_id, now_s

    def heard(self, streams: Mapping[int, Any], now_s: float) -> None:
        """Bytes have come, and were read."""
        self._heard_s = now_s
        if self._timed_id and self._timed_id not in streams:
            self.trip.took(now_s - self._timed_s, now_s)
            self._timed_id = 0

    def answered(self) -> None:
        """Pushes were answered by what was heard."""
        self._answered_s, self._unanswered = self._heard_s, False

    def accepted(self) -> None:
        """Some of the answers were good."""
        self._faults = 0

    def failed(self) -> None:
        """A push was answered with 5xx."""
        self._faults += 1

    def refused(self) -> None:
        """A stream was refused. Counts once a batch: a limit that falls refuses hundreds, and the link is well."""
        if self._refused_s != self._heard_s:
            self._refused_s = self._heard_s
            self._faults += 1

    def pinged(self, now_s: float) -> None:
        """A PING was written."""
        self._pinged_s = now_s

    def idle_s(self, now_s: float) -> float:
        """How long nothing was written."""
        return now_s - self._wrote_s

    def lately_s(self, now_s: float) -> float:
        """The usual round trip now; longer if the push that is timed has been under way for longer."""
        return max(self.trip.lately_s, now_s - self._timed_s if self._timed_id else 0.0)

    def late(self, streams: Mapping[int, Any], latest_s: float) -> tuple[list[int], float]:
        """The streams that were written then or earlier, and when the first of them was."""
        written = self._written
        oldest = next(iter(streams), None)
        while written and (oldest is None or written[0][0] < oldest):
            written.popleft()
        last_late, since_s = -1, written[0][1] if written else 0.0
        while written and written[0][1] <= latest_s:
            last_late = written.popleft()[0]
        return list(takewhile(lambda stream_id: stream_id <= last_late, streams)), since_s

    def cancelled(self, since_s: float, *, any_answered: bool) -> None:
        """Late streams, written since then, were cancelled; ``any_answered``: one of them had a status."""
        self._unanswered = not any_answered and self._answered_s < since_s

    def facts(self, now_s: float, *, busy: bool, starved: bool, usable: bool) -> LinkFacts:
        """How the link gets on, just after ``late``.

        ``busy``: streams are open; ``starved``: none is and jobs wait, but the peer has to move before one can be
        taken; ``usable``: it takes jobs. One that drains has only its silence against it.
        """
        silent_s, rested_s, stuck_s = 0.0, 0.0, 0.0
        if busy:
            since_s = self._written[0][1]
            silent_s = now_s - max(self._heard_s, since_s)
            rested_s = max(0.0, since_s - self._heard_s)
        if starved:
            # what the peer says meanwhile doesn't count: it may say PING for ever
            stuck = self._stuck_since_s
            self._stuck_since_s = now_s if stuck is None else max(stuck, self._wrote_s)
            stuck_s = now_s - self._stuck_since_s
        else:
            self._stuck_since_s = None
        pinged_s = max(0.0, now_s - self._pinged_s) if self._pinged_s > self._heard_s else 0.0
        if not usable:
            return LinkFacts(silent_s, pinged_s, False, 0.0, 0, rested_s)
        return LinkFacts(silent_s, pinged_s, self._unanswered, stuck_s, self._faults, rested_s)
