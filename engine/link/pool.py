"""The links of one credential in one environment, and the jobs that wait for one of them.

APNs binds a connection to the first team that uses it, so nothing here is ever shared between credentials.

Tasks: 1 keep the backlog; 2 hand it to links with room, in batches; 3 open and close links as ``policy.growth`` says,
and back off when they end too soon; 4 give links a new badge when theirs is worn out; 5 part with links that don't get
on.

A pool that can't be reached keeps a few jobs to try with, and gives the others away until its next dial: a worker's
hand is only so big, and a few tenants whose links are down must not fill it.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from engine.apns.headers import Held, ProfileBook
from engine.apns.identity import Identity
from engine.apns.outcomes import Refused
from engine.link.errors import DialError
from engine.link.host import Host
from engine.link.link import Link, Outcomes, Phase
from engine.policy.backoff import backoff_s
from engine.policy.growth import Failures, PoolFacts, spare, wants_link
from engine.policy.health import Care, care
from engine.policy.links import End, LinkOptions, end_of
from engine.policy.pause import WHOLE, Pauses
from engine.policy.verdict import bars

LOG: Final = logging.getLogger("clarion.pool")


class PoolKey(NamedTuple):
    """What makes a connection's identity at APNs.

    The fingerprint is that of the key or certificate: who only claims another's team and key id shares no link with
    them.
    """

    environment: str
    team_id: str
    key_id: str
    fingerprint: str


class Receiver(Protocol):
    """Who learns the fates of a pool's jobs."""

    def outcomes(self, pool: "Pool", link: Link, accepted: list[Held], others: Outcomes) -> None: ...

    def put_off(self, held: Iterable[Held], delay_s: float) -> None:
        """Jobs that were not tried, for want of a link, and should come again after this delay."""

    def expired(self, held: Iterable[Held]) -> None:
        """Jobs whose time passed before they were tried."""

    def barred(self, pool: "Pool", reason: str) -> None:
        """APNs refuses the credential, and said so without a push."""


class Pool:
    """Links to a host, which it shares with other pools, that speak for one credential."""

    def __init__(
        self,
        key: PoolKey,
        host: Host,
        identity: Identity,
        receiver: Receiver,
        options: LinkOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[int], int] = random.randrange,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self.key = key
        self.pauses = Pauses(options.pause)
        # the flows that are routed here, and when jobs last came
        self.flows: set[str] = set()
        self.used_s = clock()
        self.links: list[Link] = []
        self.backlog: deque[Held] = deque()
        self._host = host
        self._identity = identity
        self._receiver = receiver
        self._options = options
        self._may_send = may_send
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._dialling: asyncio.Task[None] | None = None
        self._failures = 0
        self._dial_after_s = 0.0
        self._opened_at_s = float("-inf")
        self._full_since_s: float | None = None
        self._failing = Failures()
        # no link, and none to be had for now: a few jobs are kept to try with
        self.unreachable = False
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<Pool {'/'.join(self.key)} {len(self.links)} links{' +1 dialling' if self._dialling else ''}, "
            f"{self.in_flight()} in flight, {len(self.backlog)} waiting>"
        )

    def in_flight(self) -> int:
        return sum(link.in_flight() for link in self.links)

    def in_hand(self) -> int:
        """Jobs that wait here or have no answer yet."""
        return len(self.backlog) + self.in_flight()

    def held(self) -> Iterator[Held]:
        """Those jobs."""
        yield from self.backlog
        for link in self.links:
            yield from link.connection.open.values()

    def add(self, held: list[Held]) -> None:
        """Queue jobs; ``pump`` sends them."""
        self.used_s = self._clock()
        if self.pauses:
            held = self._sift(held)
        self.backlog.extend(held)
        if self.unreachable:
            self._shed()

    def give_back(self, held: list[Held]) -> None:
        """Queue jobs again that were never sent, before all others."""
        self.backlog.extendleft(reversed(held))

    def pause(self, topic: str, reason: str) -> float:
        """APNs refuses the credential (``WHOLE``) or a topic of it until its tenant acts: send nothing for a while.

        Returns how long a pause begins with this, 0 when it belongs to one that runs.
        """
        begun = self.pauses.refused(topic, reason, self._clock())
        if begun is None:
            return 0.0
        if topic == WHOLE:
            for link in tuple(self.links):
                link.retire()
        waiting = list(self.backlog)
        self.backlog.clear()
        self.backlog.extend(self._sift(waiting))
        return begun.until_s - begun.began_s

    def rests(self) -> bool:
        """Whether it would send nothing now, and has what it needs to find out when it would."""
        return (self.unreachable and bool(self.backlog)) or self.pauses.rests(self._clock())

    def _sift(self, held: list[Held]) -> list[Held]:
        send, put_off, tries = self.pauses.sift(held, self._clock())
        for some, delay_s in put_off:
            self._receiver.put_off(some, delay_s)
        if tries:
            for link in tuple(self.links):
                link.retire()
        return send

    def drop(self, is_gone: Callable[[Held], bool]) -> list[Held]:
        """Take jobs out of the backlog that are not ours to send any more, and return them."""
        gone = [held for held in self.backlog if is_gone(held)]
        if gone:
            left = [held for held in self.backlog if not is_gone(held)]
            self.backlog.clear()
            self.backlog.extend(left)
        return gone

    def pump(self) -> None:
        """Send as much of the backlog as the links take, and open a link if there should be one more."""
        backlog = self.backlog
        if not self._may_send():
            # what is in hand may be another's by now; whoever tends the pool asks again
            return
        for link in self.links:
            if not backlog:
                self._full_since_s = None
                return
            room = link.room()
            if room > 0:
                self._refresh(link)
                for _ in range(link.send(backlog, room)):
                    backlog.popleft()
        if backlog:
            self._consider_opening()
        else:
            self._full_since_s = None

    def tend(self) -> None:
        """To be called now and then: deadlines of requests, links that don't get on, postponed dials, and pushes
        whose time has passed while they waited."""
        if self.backlog:
            self._drop_expired()
        for link in tuple(self.links):
            link.overdue(self._options.overdue_s)
            facts = link.facts(bool(self.backlog))
            match care(facts, self._options):
                case Care.PING:
                    link.ping()
                case Care.RETIRE:
                    LOG.warning("a link is replaced: %r, %r", facts, link)
                    link.retire()
                case Care.ABORT:
                    LOG.warning("a link is given up: %r, %r", facts, link)
                    link.abort()
                case Care.NOTHING:
                    pass
        self._part_with_spare()
        self.pump()

    def _drop_expired(self) -> None:
        """Looked at here and not when it is sent, which would cost every push; so one may go half a second late."""
        now_s = self._wall()
        late = self.drop(lambda held: 0 < held[0].expiration <= now_s)
        if late:
            self._receiver.expired(late)

    # -- what links report -------------------------------------------------------------------------------------

    def outcomes(self, link: Link, accepted: list[Held], others: Outcomes) -> None:
        if accepted and self._failures and self._clock() - link.opened_s >= self._options.steady_s:
            self._failures = 0
        failed = sum(isinstance(outcome, Refused) and outcome.status >= 500 for _, outcome in others)
        self._failing.count(len(accepted) + len(others), failed)
        self._receiver.outcomes(self, link, accepted, others)
        self.pump()

    def writable(self, link: Link) -> None:
        self.pump()

    def closed(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)
            self._host.left(link.address)
            end = end_of(link.proved, self._clock() - link.opened_s, self._options)
            self._heed(link.reason)
            if end is not End.STEADY and not self._closed:
                self._postpone(f"a link ended {end} {link.farewell}".rstrip())
        self.pump()

    # -- opening -----------------------------------------------------------------------------------------------

    def _consider_opening(self) -> None:
        now_s = self._clock()
        usable = [link for link in self.links if link.usable]
        if self._full_since_s is None:
            self._full_since_s = now_s
        facts = PoolFacts(
            waiting=len(self.backlog),
            links=len(usable),
            opening=sum(link.phase is Phase.PROBING for link in usable) + (self._dialling is not None),
            full_for_s=now_s - self._full_since_s,
            since_opening_s=now_s - self._opened_at_s,
            trip_s=min((link.trip.least_s for link in usable if link.trip.least_s), default=0.0),
            lately_s=max((link.lately_s() for link in usable), default=0.0),
            failing=self._failing.many,
        )
        if self._closed:
            return
        if now_s >= self._dial_after_s and wants_link(facts, self._options) and self._host.take_turn():
            self._opened_at_s = now_s
            self._full_since_s = None
            self._dialling = asyncio.get_running_loop().create_task(self._open())
            # also of a task that is cancelled before it begins
            self._dialling.add_done_callback(lambda _: self._host.give_turn_back())
        if not usable and self._host.down:
            self.unreachable = True
            self._shed()

    def _part_with_spare(self) -> None:
        """Close the last link when the others have been enough for long."""
        open_links = [link for link in self.links if link.phase is Phase.OPEN]
        if not self.backlog and spare([link.idle_s() for link in open_links], self._options):
            self._host.spared += 1
            open_links[-1].retire()

    async def _open(self) -> None:
        try:
            link = await self._host.dial(self._make_link, self._identity)
        except DialError as error:
            # otherwise the host waits, and is asked again before the next dial of any pool
            if error.own:
                self._heed(error.reason)
                self._postpone(str(error))
        else:
            self.links.append(link)
            self.unreachable = False
        finally:
            self._dialling = None
        self.pump()

    def _postpone(self, why: str) -> None:
        """Wait before the next dial, longer each time; half of the delay is chance."""
        options = self._options
        chance = 0.5 + self._draw(1000) / 2000
        delay_s = backoff_s(self._failures, options.redial_first_s, options.redial_most_s, chance)
        self._failures += 1
        self._dial_after_s = self._clock() + delay_s
        LOG.warning("%s; next try in %.1f s; %d pushes wait", why, delay_s, len(self.backlog))
        if not any(link.usable for link in self.links):
            self.unreachable = True
            self._shed()

    def _shed(self) -> None:
        excess = [self.backlog.pop() for _ in range(len(self.backlog) - self._options.probes)]
        if excess:
            delay_s = max(self._dial_after_s - self._clock(), self._host.wait_s())
            self._receiver.put_off(reversed(excess), delay_s)

    def _make_link(self) -> Link:
        return Link(self, self._book(self._wall()), self._clock)

    def _refresh(self, link: Link) -> None:
        """Give the link a new badge when its own is worn out; the header table starts over with it."""
        now_s = self._wall()
        if now_s >= link.book.until_s:
            link.wear(self._book(now_s))

    def _book(self, now_s: float) -> ProfileBook:
        return ProfileBook(self._host.at.authority, self._identity.badge(now_s))

    def _heed(self, reason: str) -> None:
        """What APNs said as it ended a connection may be about the credential."""
        if bars(reason) and not self._closed:
            self._receiver.barred(self, reason)

    # -- closing -----------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Open nothing more; close each link when its last answer has come."""
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
        for link in tuple(self.links):
            link.retire()

    def abort(self) -> None:
        """Close everything at once; what was under way comes back in doubt."""
        self.retire()
        for link in tuple(self.links):
            link.abort()
