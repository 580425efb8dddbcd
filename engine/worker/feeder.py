"""Claims jobs from the shards that this worker holds, and hands them to pools.

A shard is *awake* when it may have jobs for us. A claim that finds nothing left puts it to sleep, in Redis and here
in the same step; the next enqueue rings the shard's bell, once, and it is awake again. So an idle worker asks
nothing, a busy one hears no bells, and a wake-up can't be lost: a shard stops being awake *before* its claim is
sent, so a bell that rings meanwhile wakes it for the next round.

When claims bring little, the next one waits a moment: at a thousand single pushes a second, one claim every 2 ms
costs a fifth of one claim per push.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from engine.apns.headers import Held
from engine.options import EngineOptions
from engine.worker.fates import Fates
from engine.worker.hand import Claim, Hand, HeldRun
from engine.worker.router import Router, UnusableCredential
from shards.errors import NotFound, StoreError, StoreRefused
from shards.job import decode_job
from shards.queue import Claimed, Fenced, Holding, Queue, Run

LOG: Final = logging.getLogger("clarion.feeder")

LITTLE: Final = 64
BREATH_S: Final = 0.002
AGAIN_AFTER_S: Final = 0.5


class Feeder:
    """Tasks: 1 know which shards are awake; 2 claim from them while there is room; 3 route what was claimed."""

    def __init__(
        self,
        queue: Queue,
        holdings: Sequence[Holding],
        hand: Hand,
        router: Router,
        fates: Fates,
        options: EngineOptions,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._holdings = {holding.shard: holding for holding in holdings}
        # in the order in which they are to be served; a dict, since sets have none
        self._awake = dict.fromkeys(self._holdings)
        self._passed_over: set[str] = set()
        self._hand = hand
        self._router = router
        self._fates = fates
        self._options = options
        self._wall = wall
        self._stir = asyncio.Event()
        self._stir.set()
        self._claims = 0
        self._quiet = False

    def __repr__(self) -> str:
        return f"<Feeder {len(self._awake)} of {len(self._holdings)} shards awake, {self._claims} claims>"

    def wake(self, shards: Iterable[int] | None = None) -> None:
        """These shards (None: all) may have jobs."""
        self._awake.update(dict.fromkeys(self._holdings if shards is None else shards))
        self.stir()

    def stir(self) -> None:
        """There may be room."""
        if (self._awake or self._passed_over) and self._hand.room() >= self._options.claim_most:
            self._stir.set()

    def quiet(self) -> None:
        """Claim no more."""
        self._quiet = True
        self._stir.set()

    async def run(self) -> None:
        """Returns after ``quiet``, when the claim under way has been handed over."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            if self._quiet:
                return
            passed_over = self._router.saturated(self._options.backlog_most)
            if self._passed_over.difference(passed_over):
                # a shard that slept because its only tenants were passed over may have work for us again
                self._awake.update(dict.fromkeys(self._holdings))
            self._passed_over = set(passed_over)
            if not self._awake or self._hand.room() < self._options.claim_most:
                continue
            try:
                jobs = await self._claim(passed_over)
            except StoreError as error:
                LOG.warning("no claims for now: %s", error)
                await asyncio.sleep(AGAIN_AFTER_S)
                self.wake()
                continue
            if jobs < LITTLE and not self._quiet:
                await asyncio.sleep(BREATH_S)
            self.stir()

    async def _claim(self, passed_over: list[str]) -> int:
        """One round: claim from awake shards, hand over; returns the number of jobs."""
        most = self._options.claim_most
        shards = list(self._awake)[: self._hand.room() // most]
        for shard in shards:
            del self._awake[shard]
        wanted = []
        for shard in shards:
            self._claims += 1
            holding = self._holdings[shard]
            wanted.append((holding, f"{holding.fence}:{self._claims}", most))
        answers = await self._queue.claim(
            wanted, quantum=self._options.quantum, low_share=self._options.low_share, pass_over=passed_over
        )
        jobs = 0
        for answer in answers:
            match answer:
                case Claimed(holding, claim_id, runs, asleep):
                    if not asleep:
                        self._awake[holding.shard] = None
                    if runs:
                        jobs += await self._hand_over(holding, claim_id, runs)
                case Fenced(holding):
                    LOG.warning("shard %d has another holder", holding.shard)
                    self._holdings.pop(holding.shard, None)
                case StoreRefused():
                    raise answer
        return jobs

    async def _hand_over(self, holding: Holding, claim_id: str, runs: list[Run]) -> int:
        claim = Claim(holding, claim_id, sum(len(run.jobs) for run in runs))
        jobs = claim.left
        self._hand.take(claim)
        now_s = self._wall()
        for lane, tenant, encoded in runs:
            run = HeldRun(claim, lane, tenant)
            by_environment, expired = decode_run(run, encoded, now_s)
            for entry in expired:
                self._fates.bury(entry, "Expired")
            for environment, held in by_environment.items():
                await self._route(tenant, environment, held)
        return jobs

    async def _route(self, tenant: str, environment: str, held: list[Held]) -> None:
        pool = self._router.known(tenant, environment)
        try:
            pool = pool or await self._router.route(tenant, environment)
        except NotFound:
            for entry in held:
                self._fates.bury(entry, "TenantUnknown")
        except (StoreError, UnusableCredential) as error:
            LOG.warning("%d pushes of %s are put off: %s", len(held), tenant, error)
            for entry in held:
                self._fates.wait(entry, type(error).__name__)
        else:
            pool.add(held)
            pool.pump()


def decode_run(
    run: HeldRun, encoded: Sequence[bytes], now_s: float
) -> tuple[dict[str, list[Held]], list[Held]]:
    """Jobs by environment, and those whose time has passed (apns-expiration, Unix seconds)."""
    by_environment: dict[str, list[Held]] = {}
    expired: list[Held] = []
    for job in map(decode_job, encoded):
        if 0 < job.expiration <= now_s:
            expired.append((job, run))
        else:
            by_environment.setdefault(job.environment, []).append((job, run))
    return by_environment, expired
