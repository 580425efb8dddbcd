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

import msgspec

from engine.apns.headers import Held
from engine.options import EngineOptions
from engine.worker.fates import Fates
from engine.worker.hand import Claim, Hand, HeldRun
from engine.worker.router import Router, UnusableCredential
from shards.environment import Environment
from shards.errors import NotFound, StoreError, StoreRefused, StoreUnavailable
from shards.job import decode_job
from shards.queue import Claimed, Fenced, Holding, Queue, Run

LOG: Final = logging.getLogger("clarion.feeder")

LITTLE: Final = 64
BREATH_S: Final = 0.002
AGAIN_AFTER_S: Final = 0.5
_ENVIRONMENTS: Final = frozenset(Environment)


class Feeder:
    """Tasks: 1 know which shards are awake; 2 claim from them while there is room; 3 route what was claimed."""

    def __init__(
        self,
        queue: Queue,
        hand: Hand,
        router: Router,
        fates: Fates,
        options: EngineOptions,
        *,
        is_ours: Callable[[Holding], bool],
        doubted: Callable[[Iterable[int]], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._holdings: dict[int, Holding] = {}
        # in the order in which they are to be served; a dict, since sets have none
        self._awake: dict[int, None] = {}
        self._passed_over: set[str] = set()
        self._is_ours = is_ours
        self._doubted = doubted
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

    def gain(self, holding: Holding) -> None:
        """The shard may be claimed from, and may have jobs."""
        self._holdings[holding.shard] = holding
        self.wake((holding.shard,))

    def let_go(self, holding: Holding) -> None:
        """Claim no more from the shard."""
        self._holdings.pop(holding.shard, None)
        self._awake.pop(holding.shard, None)

    def wake(self, shards: Iterable[int] | None = None) -> None:
        """These shards (None: all) may have jobs."""
        self._rouse(self._holdings if shards is None else shards)
        self.stir()

    def _rouse(self, shards: Iterable[int]) -> None:
        # a bell may ring for a shard that another worker has taken
        self._awake.update(dict.fromkeys(shard for shard in shards if shard in self._holdings))

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
                self._rouse(self._holdings)
            self._passed_over = set(passed_over)
            if not self._awake or self._hand.room() < self._options.claim_most:
                # whatever changes that stirs us
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
        try:
            answers = await self._queue.claim(
                wanted,
                quantum=self._options.quantum,
                low_share=self._options.low_share,
                pass_over=passed_over,
            )
        except StoreUnavailable as error:
            if error.in_doubt:
                self._doubted(shards)
            raise
        jobs = 0
        refused: StoreRefused | None = None
        for answer in answers:
            match answer:
                case Claimed(holding, claim_id, runs, asleep):
                    if not asleep:
                        self._rouse((holding.shard,))
                    # otherwise the shard was given up meanwhile, and whoever has it next gives the claim back
                    if runs and self._is_ours(holding):
                        jobs += await self._hand_over(holding, claim_id, runs)
                case Fenced(holding):
                    self._doubted((holding.shard,))
                case StoreRefused():
                    # not at once: the answers behind it are jobs that Redis has put in our hands
                    refused = answer
        if refused is not None:
            raise refused
        return jobs

    async def _hand_over(self, holding: Holding, claim_id: str, runs: list[Run]) -> int:
        claim = Claim(holding, claim_id, sum(len(run.jobs) for run in runs))
        jobs = claim.left
        self._hand.take(claim)
        now_s = self._wall()
        for lane, tenant, encoded in runs:
            run = HeldRun(claim, lane, tenant)
            by_environment, expired, unreadable = decode_run(run, encoded, now_s)
            for entry in expired:
                self._fates.bury(entry, "Expired")
            for job in unreadable:
                self._fates.bury_encoded(run, job, "Unreadable")
            for environment, held in by_environment.items():
                await self._route(tenant, environment, held)
        return jobs

    async def _route(self, tenant: str, environment: str, held: list[Held]) -> None:
        pool = self._router.known(tenant, environment)
        if pool is None and environment not in _ENVIRONMENTS:
            for entry in held:
                self._fates.bury(entry, "EnvironmentUnknown")
            return
        try:
            pool = pool or await self._router.route(tenant, environment)
        except NotFound:
            for entry in held:
                self._fates.bury(entry, "TenantUnknown")
        except UnusableCredential as error:
            LOG.warning("%d pushes of %s are put off: %s", len(held), tenant, error)
            for entry in held:
                self._fates.wait(entry, type(error).__name__)
        except StoreError as error:
            # no attempt of theirs: they are ready again when Redis is
            LOG.warning("%d pushes of %s are put back: %s", len(held), tenant, error)
            self._fates.put_back(held)
        else:
            pool.add(held)
            pool.pump()


def decode_run(
    run: HeldRun, encoded: Sequence[bytes], now_s: float
) -> tuple[dict[str, list[Held]], list[Held], list[bytes]]:
    """Jobs by environment, those whose time has passed (apns-expiration, Unix seconds), and those that are no jobs."""
    by_environment: dict[str, list[Held]] = {}
    expired: list[Held] = []
    unreadable: list[bytes] = []
    jobs = map(decode_job, encoded)
    while True:
        try:
            for job in jobs:
                if 0 < job.expiration <= now_s:
                    expired.append((job, run))
                else:
                    by_environment.setdefault(job.environment, []).append((job, run))
            return by_environment, expired, unreadable
        except msgspec.DecodeError:
            # ``jobs`` goes on behind the one that failed, and one bad job does not stop its shard
            read = sum(map(len, by_environment.values())) + len(expired)
            unreadable.append(encoded[read + len(unreadable)])
