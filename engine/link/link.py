"""One link: an HTTP/2 connection to APNs with its socket.

Theory of operation. A link is a protocol on a TLS transport, and does four things with whatever arrives: feed the
codec, write what the codec wants written, turn events into outcomes, hand the batch to its owner. It decides
nothing about jobs; it only says how many it would take (``room``), and takes them.

    DIALLED ──SETTINGS──▶ PROBING ──first accepted push──▶ OPEN ──GOAWAY, retire──▶ DRAINING ──last answer──▶ CLOSED

While PROBING one stream is used, whatever SETTINGS allow: APNs takes one until it has authenticated a push. DRAINING
takes no more and waits for what is under way. Each edge is a row of ``_NEXT``; loss of the socket leads to CLOSED
from everywhere.

Calls to the owner may come back in (``room``, ``send``, ``retire``) before they return, so each is the last thing done
with what it hands over.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Final, Protocol, cast

from h2.errors import ErrorCodes

from engine.apns.headers import Held, ProfileBook, requests
from engine.apns.outcomes import (
    DISCONNECTED,
    OVERDUE,
    STREAM_FAULT,
    UNPROCESSED,
    Outcome,
    answered,
    stream_reset,
)
from engine.http2.connection import Connection
from engine.http2.events import (
    Answered,
    ConnectionFault,
    Event,
    GoingAway,
    Ponged,
    SettingsReceived,
    StreamFault,
    StreamReset,
)
from engine.http2.request_writer import WAITING_BODY_MOST, Request
from engine.policy.health import Health, LinkFacts

LOG: Final = logging.getLogger("clarion.link")

Outcomes = list[tuple[Held, Outcome]]

# While writing is paused no push is written, so what the transport keeps grows only by bodies that waited for a window,
# once each, and by what the peer's frames ask for, which has no end. APNs has no use for so many in that time; nghttp2
# ends a connection at as many. With the pushes of one batch and the replies to one read this bounds what is kept.
REPLIES_MOST: Final = 1_000

_PING: Final = b"Clarion?"


class Phase(Enum):
    DIALLED = auto()
    PROBING = auto()
    OPEN = auto()
    DRAINING = auto()
    CLOSED = auto()


_NEXT: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.DIALLED: frozenset({Phase.PROBING, Phase.DRAINING, Phase.CLOSED}),
    Phase.PROBING: frozenset({Phase.OPEN, Phase.DRAINING, Phase.CLOSED}),
    Phase.OPEN: frozenset({Phase.DRAINING, Phase.CLOSED}),
    Phase.DRAINING: frozenset({Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
}


_USABLE: Final = (Phase.OPEN, Phase.PROBING)


class Owner(Protocol):
    """Whom a link reports to."""

    def outcomes(self, link: "Link", accepted: list[Held], others: Outcomes) -> None:
        """A batch of fates; the link has room again."""

    def writable(self, link: "Link") -> None:
        """The link takes jobs again, or for the first time."""

    def closed(self, link: "Link") -> None:
        """The link is gone; its last outcomes have been handed over."""


class Link(asyncio.Protocol):
    """``book`` holds the headers that the link's pushes share; ``proved`` says whether APNs has accepted a push on it,
    ``farewell`` what it said with its GOAWAY, of that ``reason`` is Apple's word, "" if none; ``address`` where the
    link leads, and ``trip`` how long the way there and back takes."""

    def __init__(self, owner: Owner, book: ProfileBook, clock: Callable[[], float]) -> None:
        self.book = book
        self.phase = Phase.DIALLED
        self.proved = False
        self.farewell = ""
        self.reason = ""
        self.address = ""
        self.opened_s = clock()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connection = Connection()
        self._health = Health(self.opened_s)
        self.trip = self._health.trip
        self._owner = owner
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._paused = False
        # how many there had been when writing was paused
        self._replies = 0

    def __repr__(self) -> str:
        return f"<Link {self.phase.name.lower()} {self.connection!r}{' paused' if self._paused else ''}>"

    def _advance(self, phase: Phase) -> None:
        if phase not in _NEXT[self.phase]:
            raise RuntimeError(f"a link can't go from {self.phase.name} to {phase.name}")
        self.phase = phase

    # -- what the owner asks -----------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether jobs may be given to it, now or when answers have made room."""
        return self.phase in _USABLE

    def room(self) -> int:
        """How many jobs it takes now, windows permitting."""
        if self._paused or not self.usable:
            return 0
        room = self.connection.room()
        return min(room, 1 - len(self.connection.open)) if self.phase is Phase.PROBING else room

    def in_flight(self) -> int:
        return len(self.connection.open)

    def idle_s(self) -> float:
        """How long it has taken nothing, and has nothing under way; seconds."""
        return 0.0 if self.connection.open else self._health.idle_s(self._clock())

    def lately_s(self) -> float:
        """The usual round trip now; longer if the push that is timed has been under way for longer."""
        return self._health.lately_s(self._clock())

    def send(self, held: Iterable[Held], most: int) -> int:
        """Write up to ``most`` jobs in one go, never more than ``room()``; returns how many were taken."""
        batch = cast(Iterable[Request], requests(held, self.book))
        taken = self.connection.send(batch, most)
        if taken:
            self._health.wrote(self.connection.last_id, self._clock())
            self._write()
        return taken

    def wear(self, book: ProfileBook) -> None:
        """Show another badge."""
        self.book = book
        self.connection.renew_headers()

    def overdue(self, deadline_s: float) -> None:
        """Cancel the streams that were written more than ``deadline_s`` ago; jobs without a status are in doubt."""
        late, since_s = self._health.late(self.connection.open, self._clock() - deadline_s)
        if late:
            unanswered, accepted, events = self.connection.cancel(late)
            self._health.cancelled(since_s, any_answered=len(unanswered) < len(late))
            LOG.warning(
                "%d pushes had no answer within %.0f s and were cancelled, %d more had a status without an end",
                len(unanswered),
                deadline_s,
                len(late) - len(unanswered),
            )
            self._write()
            others = self._take_in(accepted, events) + [(held, OVERDUE) for held in unanswered]
            self._owner.outcomes(self, accepted, others)
            self._close_when_drained()

    def facts(self, waiting: bool) -> LinkFacts:
        """How it gets on, just after ``overdue``; ``waiting``: there are jobs that no link has taken."""
        return self._health.facts(
            self._clock(),
            busy=bool(self.connection.open),
            starved=waiting and self._takes_none(),
            usable=self.usable,
        )

    def _takes_none(self) -> bool:
        """Whether the peer has to move before a job can be taken; with a smaller window one may have to wait."""
        connection = self.connection
        return not connection.open and (not self.room() or connection.window < WAITING_BODY_MOST)

    def give_up_after(self, blocked_s: float) -> None:
        """Let the kernel end the connection when the network takes no more bytes for so long.

        A peer that speaks but does not read looks alive otherwise, and a PING that is not on its way can't be missed.
        What waits in the kernel is known to the kernel only, and so is whether it gets on.
        """
        if self._transport is not None and sys.platform == "linux":
            wire = self._transport.get_extra_info("socket")
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(blocked_s * 1000))

    def ping(self) -> None:
        """Make APNs say something. What counts is that bytes come, whichever they are."""
        self._health.pinged(self._clock())
        self.connection.ping(_PING)
        self._write()

    def retire(self) -> None:
        """Take no more jobs; close when the last answer has come."""
        if self.phase in (Phase.DIALLED, Phase.PROBING, Phase.OPEN):
            self._advance(Phase.DRAINING)
            self._close_when_drained()

    def abort(self) -> None:
        """Close at once; what was under way is in doubt."""
        self._take_no_more()
        if self._transport is not None:
            self._transport.abort()

    def _take_no_more(self) -> None:
        """The transport reports its loss a moment later, and until then nothing must be sent on it."""
        if self.phase in (Phase.DIALLED, Phase.PROBING, Phase.OPEN):
            self._advance(Phase.DRAINING)

    # -- what the transport calls ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._write()

    def data_received(self, data: bytes) -> None:
        heard_s = self._clock()
        accepted, events = self.connection.receive(data)
        self._write()
        self._health.heard(self.connection.open, heard_s)
        others = self._take_in(accepted, events)
        if accepted or others:
            self._health.answered()
            self._owner.outcomes(self, accepted, others)
        else:
            # not only after events: a window that opens again is none
            self._owner.writable(self)
        if self._paused and self.connection.replies - self._replies > REPLIES_MOST:
            LOG.warning(
                "a link is given up: APNs asks for more than %d replies and reads nothing: %r",
                REPLIES_MOST,
                self,
            )
            self.abort()
        else:
            self._close_when_drained()

    def eof_received(self) -> None:
        # No answer can come any more. Closing in order would wait for the peer's part in it, while the transport drops
        # without a word whatever is written. Not in this step: uvloop's TLS calls this in the middle of its own
        # closing, and fails when it finds itself closed after the call.
        self._take_no_more()
        if self._transport is not None:
            asyncio.get_running_loop().call_soon(self._transport.abort)

    def pause_writing(self) -> None:
        self._paused = True
        self._replies = self.connection.replies

    def resume_writing(self) -> None:
        self._paused = False
        self._owner.writable(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._advance(Phase.CLOSED)
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionResetError("closed before SETTINGS"))
        unanswered, accepted, events = self.connection.abandon()
        if unanswered:
            LOG.warning(
                "a link closed with %d pushes unanswered: %s", len(unanswered), error or "end of stream"
            )
        others = self._take_in(accepted, events) + [(held, DISCONNECTED) for held in unanswered]
        if accepted or others:
            self._owner.outcomes(self, accepted, others)
        self._owner.closed(self)

    # -- inside ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        output = self.connection.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    def _take_in(self, accepted: list[Held], events: Iterable[Event]) -> Outcomes:
        """What the events say of pushes, for those that ``accepted`` does not name; adds to ``accepted``."""
        others: Outcomes = []
        for event in events:
            self._on_event(event, accepted, others)
        if accepted:
            self._health.accepted()
            if not self.proved:
                self.proved = True
                if self.phase is Phase.PROBING:
                    self._advance(Phase.OPEN)
        return others

    def _on_event(self, event: Event, accepted: list[Held], others: Outcomes) -> None:
        match event:
            case Answered(tag, 200, _, _):
                accepted.append(tag)
            case Answered(tag, status, _, body):
                if status >= 500:
                    self._health.failed()
                others.append((tag, answered(status, body)))
            case StreamReset(tag, code):
                if code == ErrorCodes.REFUSED_STREAM:
                    self._health.refused()
                others.append((tag, stream_reset(code)))
            case StreamFault(tag, _, reason):
                LOG.warning("APNs broke the protocol on a stream: %s", reason)
                others.append((tag, STREAM_FAULT))
            case GoingAway(last_id, code, debug, unprocessed):
                self.farewell = f"(GOAWAY, code {code}, {debug!r})"
                self.reason = answered(0, debug).reason or self.reason
                LOG.info("GOAWAY: last stream %d, code %d, %r", last_id, code, debug)
                others.extend((held, UNPROCESSED) for held in unprocessed)
                self.retire()
            case SettingsReceived():
                if self.phase is Phase.DIALLED:
                    self._advance(Phase.PROBING)
                    if not self.ready.done():
                        self.ready.set_result(None)
            case Ponged():
                pass
            case ConnectionFault(code, reason):
                LOG.warning("APNs broke the protocol (%s): %s", code.name, reason)
                # after the GOAWAY that says why; what is open comes back from connection_lost
                self.retire()
                if self._transport is not None:
                    self._transport.close()

    def _close_when_drained(self) -> None:
        if self.connection.exhausted:
            self.retire()
        if self.phase is Phase.DRAINING and not self.connection.open and self._transport is not None:
            self.connection.close()
            self._write()
            self._transport.close()
