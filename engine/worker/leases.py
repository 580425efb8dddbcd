"""The shards that this worker holds, each by a lease in Redis.

Theory of operation. Workers of all hosts are *members*: each announces itself a few times within the term of a lease,
and learns who else lives. From that list every member computes the same division of the shards (`policy.assignment`).
A shard that is now somebody else's is released as soon as no claim on it is in hand or on its way here; one that is
now ours is acquired when it is free or its lease has lapsed, and what earlier holders had claimed on it is given back.
A worker that its supervisor started again has the name of the one that died, and takes its shards back at once.

    ASSIGNED ──acquired──▶ HELD ──assigned to another, or in doubt──▶ YIELDING ──no claim in hand──▶ released
       ▲                    │                                            │
       └────────────────────┴───────────── another holder ───────────────┘

*May this worker send?* Only as long as the last renewal that Redis has answered still holds, by this machine's
monotonic clock, which also counts the time for which the process was stopped. After that the shards may be another's,
and so nothing is sent until a renewal tells. What turns out to be lost is dropped: it is the new holder's, and neither
claims nor settlements of the old fence pass.

A claim whose answer was lost may have moved jobs into a claim that nobody knows. Only a new holder gets those back,
so a shard *in doubt* is yielded, to ourselves: when its other claims are settled it is acquired anew. (Not before: to
reclaim gives back all that the old fence holds, and what is under way would be sent twice.) For the same reason a
shard is not released while a claim is on its way: Redis may have made it before it hears of the release, and then both
we and the next holder would have its jobs. One that comes when its shard is lost is dropped: that holder gives it back.

A doubt says that what is reclaimed was never sent. That is so only if we acquire the shard next: another that had it
meanwhile may have died with pushes that it had sent. The fence tells, which counts the holders of a shard.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

from engine.policy.assignment import assign
from engine.worker.hand import Hand
from shards.claim import Fenced, Holding, Reclaimed
from shards.errors import StoreError
from shards.queue import Queue

LOG: Final = logging.getLogger("clarion.leases")

# of a term: how often it is renewed within it, and what of it is not relied upon
RENEWALS_PER_TERM: Final = 3
MARGIN: Final = 0.1
# while shards are to come or to go
HASTE_S: Final = 0.1


class Leases:
    """Tasks: 1 announce and renew; 2 acquire, and reclaim; 3 yield; 4 say whether this worker may send.

    ``gained`` and ``yielded`` are called with a shard that may be claimed from, and no more; ``lost`` when it is
    another's, and so is what is in hand of it. ``reclaimed`` learns what became of what earlier holders had in hand.
    """

    def __init__(
        self,
        queue: Queue,
        shards: int,
        member: str,
        siblings: Sequence[str],
        lease_s: float,
        hand: Hand,
        *,
        gained: Callable[[Holding], None],
        yielded: Callable[[Holding], None],
        lost: Callable[[Holding], None],
        reclaimed: Callable[[Reclaimed], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held: dict[int, Holding] = {}
        self._queue = queue
        self._shards = shards
        self._member = member
        self._lease_s = lease_s
        self._hand = hand
        self._gained = gained
        self._yielded = yielded
        self._lost = lost
        self._reclaimed = reclaimed
        self._clock = clock
        self._yielding: set[int] = set()
        # shard → the number of the holding whose claims nobody learned of
        self._doubted: dict[int, int] = {}
        # that were heard, as of the last announcement; at the start, those that start with us
        self._known: Sequence[str] = siblings
        self._valid_until_s = float("-inf")
        self._leaving = False
        self._wake = asyncio.Event()
        # a round that is under way when we leave would take all of it back
        self._round = asyncio.Lock()

    def __repr__(self) -> str:
        left_s = self._valid_until_s - self._clock()
        return (
            f"<Leases of {self._member}: {len(self.held)} of {self._shards} shards, "
            f"{len(self._yielding)} yielding, good for {left_s:.1f} s>"
        )

    @property
    def yielding(self) -> Collection[int]:
        """Shards that are claimed from no more, and are to be released when no claim on them is in hand."""
        return self._yielding

    def may_send(self) -> bool:
        """Whether what is in hand is certainly still ours to send."""
        return self._clock() < self._valid_until_s

    def doubt(self, holdings: Iterable[Holding]) -> None:
        """Redis may have moved jobs into claims of these holdings that were never heard of."""
        for holding in holdings:
            # one that was lost is not ours to doubt
            if self.holds(holding):
                self._yield(holding.shard)
                self._doubted[holding.shard] = _number(holding)
        self._wake.set()

    def holds(self, holding: Holding) -> bool:
        """Whether this is still the holding of its shard: neither lost nor given up since."""
        return self.held.get(holding.shard) == holding

    async def run(self) -> None:
        """Returns after ``leave``."""
        while not self._leaving:
            self._wake.clear()
            began_s = self._clock()
            try:
                async with self._round:
                    pending = await self._beat()
            except StoreError as error:
                LOG.warning("leases can't be renewed now: %s", error)
                pending = False
            rest_s = HASTE_S if pending else self._lease_s / RENEWALS_PER_TERM
            with suppress(TimeoutError):
                async with asyncio.timeout(max(HASTE_S, rest_s - (self._clock() - began_s))):
                    await self._wake.wait()

    async def leave(self) -> None:
        """Give everything up, so that others need not wait for the leases to lapse. Settle all claims before."""
        self._leaving = True
        self._wake.set()
        try:
            async with self._round:
                await self._queue.announce(self._member, 0)
                if self.held:
                    await self._queue.release(list(self.held.values()))
        except StoreError as error:
            LOG.warning("leases are left to lapse: %s", error)
        self.held.clear()

    async def _beat(self) -> bool:
        """One round; returns whether shards are still to come or to go."""
        began_s = self._clock()
        members = await self._queue.announce(self._member, self._lease_s, self._known)
        self._known = members.heard
        for answer in await self._queue.renew(list(self.held.values()), self._member, self._lease_s):
            if isinstance(answer, Fenced):
                self._lose(answer.holding)
        self._valid_until_s = began_s + self._lease_s * (1 - MARGIN)
        mine = set(assign(self._shards, members.live)[self._member])
        for shard in set(self.held) - mine:
            self._yield(shard)
        await self._release()
        # not while claims of an earlier holding of ours are under way: to reclaim them would send them twice
        coming = sorted(mine - set(self.held) - self._hand.shards())
        if coming:
            await self._acquire(coming)
        return bool(self._yielding or mine - set(self.held))

    def _yield(self, shard: int) -> None:
        holding = self.held.get(shard)
        if holding is not None and shard not in self._yielding:
            self._yielding.add(shard)
            self._yielded(holding)

    def _lose(self, holding: Holding) -> None:
        LOG.warning("shard %d has another holder", holding.shard)
        self._yield(holding.shard)
        self._yielding.discard(holding.shard)
        self._doubted.pop(holding.shard, None)
        del self.held[holding.shard]
        self._lost(holding)

    async def _release(self) -> None:
        free = [self.held[shard] for shard in self._yielding & self.held.keys() - self._hand.shards()]
        for holding, answer in zip(free, await self._queue.release(free), strict=True):
            if isinstance(answer, Fenced):
                self._lose(holding)
            else:
                self._yielding.discard(holding.shard)
                self.held.pop(holding.shard, None)

    async def _acquire(self, shards: Sequence[int]) -> None:
        jobs = buried = 0
        answers = await self._queue.acquire(shards, self._member, self._lease_s)
        acquired = [answer for answer in answers if isinstance(answer, Holding)]
        # first for all of them: if Redis goes away below, they are acquired once more, and were nobody else's meanwhile
        for holding in acquired:
            self._hand_down(holding)
        for holding in acquired:
            # what was in doubt is all that is left there, since the claims in hand were settled before
            answer = await self._queue.reclaim(holding, sent=holding.shard not in self._doubted)
            self._doubted.pop(holding.shard, None)
            if isinstance(answer, Fenced):
                continue
            self._reclaimed(answer)
            jobs += answer.jobs
            buried += answer.in_doubt + answer.poison
            self.held[holding.shard] = holding
            self._gained(holding)
        if acquired:
            LOG.info(
                "%d jobs of earlier claims are given back, %d are buried; %s holds %d shards",
                jobs,
                buried,
                self._member,
                len(self.held),
            )

    def _hand_down(self, holding: Holding) -> None:
        """The doubt about a shard passes to the very next holding of it, and ends with any other."""
        number = _number(holding)
        if self._doubted.pop(holding.shard, None) == number - 1:
            self._doubted[holding.shard] = number


def _number(holding: Holding) -> int:
    """Which of the shard's holdings it is; each is numbered one higher than the one before (``acquire.lua``)."""
    return int(holding.fence.partition(".")[0])
