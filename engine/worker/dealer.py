"""Deals what was claimed to the pools: decode, expand, route.

What a round needs to know from Redis is asked for at once, for all of its runs: the routes of flows that are new here,
and then the records of campaigns that are. Those of known campaigns and all ordinary jobs are dealt before the second
question, and do not wait for its answer.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from engine.apns.headers import Held
from engine.link.pool import Pool
from engine.worker.campaigns import Campaigns
from engine.worker.decoding import KnownCampaign, decode_run
from engine.worker.endings import Endings
from engine.worker.hand import HeldRun
from engine.worker.router import Router
from engine.worker.waits import Waits
from shards.campaign import Campaign, campaign_of
from shards.claim import Run
from shards.errors import NotFound, StoreError

LOG: Final = logging.getLogger("clarion.dealer")

NO_CREDENTIAL_S: Final = 30.0

# pools that have more to send than before, each once
Filled = dict[Pool, None]


class Recalls(Protocol):
    """The one call of ``shards.campaigns.Records``."""

    async def recall(self, wanted: Mapping[int, set[bytes]]) -> dict[bytes, Campaign]: ...


class Dealer:
    """Finds for each job that was claimed the pool that sends it, or its end."""

    def __init__(
        self,
        router: Router,
        endings: Endings,
        waits: Waits,
        records: Recalls,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._router = router
        self._endings = endings
        self._waits = waits
        self._records = records
        self._campaigns = Campaigns()
        self._wall = wall

    def __repr__(self) -> str:
        return f"<Dealer {self._campaigns!r}>"

    async def deal(self, taken: Sequence[tuple[HeldRun, Run]]) -> None:
        """Give what a round brought to the pools, and have each write once."""
        away = not await self._learn({run.flow for run, _ in taken})
        filled: Filled = {}
        now_s = self._wall()
        unlearned: list[tuple[HeldRun, list[bytes]]] = []
        for run, (_, _, encoded) in taken:
            rest = await self._deal_run(run, encoded, now_s, self._campaigns.known, filled, away=away)
            if rest:
                unlearned.append((run, rest))
        if unlearned:
            await self._deal_unlearned(unlearned, now_s, filled, away=away)
        for pool in filled:
            pool.pump()

    async def _learn(self, flows: set[str]) -> bool:
        """Have their routes ready; False if Redis does not tell those that are missing."""
        try:
            await self._router.learn(flows)
        except StoreError as error:
            # no attempt of theirs: they are ready again when Redis is
            LOG.warning("pushes of flows that are new here are put back: %s", error)
            return False
        return True

    async def _deal_run(
        self,
        run: HeldRun,
        encoded: Sequence[bytes],
        now_s: float,
        known: KnownCampaign,
        filled: Filled,
        *,
        away: bool,
    ) -> list[bytes]:
        """Deal a run, or a part of one; returns the elements of it whose campaigns are not known."""
        if run.claim.lost:
            self._endings.leave(run, len(encoded))
            return []
        decoded = decode_run(run, encoded, now_s, known)
        held = decoded.held
        if decoded.elements:
            run.claim.elements.update(decoded.elements)
        if held:
            self._waits.claimed(held[0][0].admitted_ms, len(held), now_s)
        for entry in decoded.expired:
            self._endings.bury(entry, "Expired")
        for entry in decoded.strays:
            self._endings.bury(entry, "EnvironmentUnknown")
        for job in decoded.unreadable:
            self._endings.bury_encoded(run, job, "Unreadable")
        held = self._endings.put_off_cooling(held)
        if not held:
            return decoded.unlearned
        if away and self._router.known(run.flow) is None:
            self._endings.put_back(held)
        else:
            filled.update(dict.fromkeys(await self._route(run, held)))
        return decoded.unlearned

    async def _deal_unlearned(
        self, unlearned: list[tuple[HeldRun, list[bytes]]], now_s: float, filled: Filled, *, away: bool
    ) -> None:
        """Ask for the campaigns of these elements, and deal them."""
        wanted: dict[int, set[bytes]] = {}
        for run, elements in unlearned:
            wanted.setdefault(run.claim.holding.shard, set()).update(map(campaign_of, elements))
        try:
            found = await self._records.recall(wanted)
        except StoreError as error:
            LOG.warning("pushes of campaigns that are new here are put back: %s", error)
            for run, elements in unlearned:
                # as they are, and they count for their campaigns still
                self._endings.put_back_encoded(run, elements)
            return
        self._campaigns.learn(found)
        for run, elements in unlearned:
            # not from what is remembered: a round may bring more campaigns than are
            for lost in await self._deal_run(run, elements, now_s, found.get, filled, away=away):
                run.claim.elements[campaign_of(lost)] += 1
                self._endings.bury_encoded(run, lost, "CampaignUnknown")

    async def _route(self, run: HeldRun, held: list[Held]) -> list[Pool]:
        """Queue the jobs of a flow; returns the pools that have more to send by that."""
        found: list[Pool] = []
        try:
            route = self._router.known(run.flow) or await self._router.route(run.flow)
        except NotFound:
            for entry in held:
                self._endings.bury(entry, "TenantUnknown")
        except StoreError as error:
            LOG.warning("%d pushes of %s are put back: %s", len(held), run.flow, error)
            self._endings.put_back(held)
        else:
            if run.claim.lost:
                # while the route was asked for
                self._endings.leave(run, len(held))
                return found
            for pool, some in route.sort(held):
                if pool is not None:
                    pool.add(some)
                    found.append(pool)
                elif route.usable:
                    # for other topics there is a credential, so the flow goes on
                    self._endings.put_off(some, NO_CREDENTIAL_S)
                else:
                    self._endings.put_back(some)
        return found
