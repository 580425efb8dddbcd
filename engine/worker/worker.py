"""One worker process: it claims from its shards and sends to APNs until it is told to stop.

Boot order is reading order: wait for Redis, take the shards that are ours, listen to their bells, feed. Stopping is
the reverse, under one deadline: *quiet* (claim no more), *drain* (let what is under way be answered), *give back*
(what is left is ready for others), *leave* (so are the shards). A second signal makes the deadline now.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from engine.apns.endpoint import endpoints
from engine.link.contexts import Contexts
from engine.link.host import Host
from engine.options import EngineOptions
from engine.worker.bells import Bells
from engine.worker.carry import carry_over, take_back
from engine.worker.conditions import ConditionLog
from engine.worker.dealer import Dealer
from engine.worker.endings import Endings
from engine.worker.fates import Fates
from engine.worker.feeder import Feeder
from engine.worker.hand import Hand
from engine.worker.leases import Leases
from engine.worker.measures import STARTS, WORKER
from engine.worker.pools import Pools
from engine.worker.report import Report
from engine.worker.router import Router
from engine.worker.settler import Settler
from engine.worker.sweeper import Sweeper
from engine.worker.waits import Waits
from runtime.collector import look_seldom, spare_what_exists
from runtime.measures import Sheet, begun
from runtime.stopping import end
from shards.campaigns import Records
from shards.claim import Holding
from shards.directory import Directory
from shards.errors import StoreError
from shards.queue import Queue
from shards.redis import ScriptConnection
from shards.tenants import Tenants
from shards.vault import MasterKey, Vault

LOG: Final = logging.getLogger("clarion.worker")

AGAIN_AFTER_S: Final = 0.5
SETTLE_S: Final = 5.0
GIVE_BACK_S: Final = 1.0


def run_worker(
    options: EngineOptions,
    master_key: MasterKey | bytes,
    number: int,
    workers: int,
    *,
    node: str = "node",
    pulse: Callable[[], None] = lambda: None,
    lifeline: int | None = None,
    sheet: Sheet | None = None,
) -> int:
    """The body of worker ``number`` of the ``workers`` of a node; returns its exit code.

    ``node`` names the supervisor among those that share a Redis: a worker that is started again has the same name as
    before, and so its shards at once. ``lifeline``: at its end of file, stop. ``sheet``: where to count.
    """
    look_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        names = [f"{node}/{each}" for each in range(workers)]
        own = begun(sheet, WORKER, STARTS)
        worker = _Worker(options, Vault(master_key), names[number], names, pulse, own)
        return runner.run(worker.run(lifeline))


class _Worker:
    """Wires the parts of one worker together."""

    def __init__(
        self,
        options: EngineOptions,
        vault: Vault,
        name: str,
        siblings: list[str],
        pulse: Callable[[], None],
        sheet: Sheet,
    ) -> None:
        self._options = options
        self._vault = vault
        self._name = name
        self._siblings = siblings
        self._pulse = pulse
        self._sheet = sheet
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._fault: Exception | None = None

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, lifeline: int | None) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_unseen_fault)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        if lifeline is not None:
            loop.add_reader(lifeline, self._on_lost_owner, lifeline)
        booting = loop.create_task(self._boot())
        stopping = loop.create_task(self._stop.wait())
        await asyncio.wait((booting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not booting.done():
            booting.cancel()
            return 0
        self._wire(booting.result())
        spare_what_exists()
        await self._serve()
        return 0

    def _on_unseen_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception in a callback or a forgotten task: a fault of ours.

        One that escapes while a link reads may take outcomes along, and their claims would stay in hand for ever. So
        this worker ends, and the next one gets back from Redis what it held.
        """
        loop.default_exception_handler(context)
        error = context.get("exception")
        # what sockets and TLS meet is no fault, and the link that met it has told its pool
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._fault = error
            self._stop.set()

    def _on_lost_owner(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        LOG.warning("the supervisor is gone: stopping")
        self._stop.set()

    async def _boot(self) -> int:
        """The number of shards; waits for Redis as long as it takes."""
        self._tenants = Tenants(self._options.redis_url)
        while True:
            self._pulse()
            try:
                await self._tenants.warn_of_eviction()
                return await self._tenants.shards()
            except StoreError as error:
                LOG.warning("can't start yet: %s", error)
                await asyncio.sleep(AGAIN_AFTER_S)

    def _wire(self, shards: int) -> None:
        """Make the parts, and tell each of those that it calls."""
        options, url = self._options, self._options.redis_url
        # claims and settlements don't wait for one another, and a renewal for neither
        self._connections = [ScriptConnection(url) for _ in range(3)]
        claiming, settling, keeping = (Queue(connection) for connection in self._connections)
        self._settler = Settler(settling, lambda claim: self._hand.forget(claim))
        self._hand = Hand(options.in_hand_most, self._settler.add, options.in_hand_least)
        self._directory = Directory(url, self._tenants, on_change=lambda tenant: self._router.forget(tenant))
        self._endings = Endings(self._hand, options.retry, rests=lambda flow: self._router.rests(flow))
        waits = Waits(self._sheet)
        fates = Fates(
            self._hand,
            self._endings,
            ConditionLog(self._directory.conditions),
            waits,
            lambda: self._feeder.stir(),
        )
        self._leases = Leases(
            keeping,
            shards,
            self._name,
            self._siblings,
            options.lease_s,
            self._hand,
            gained=self._on_gained,
            yielded=self._on_yielded,
            lost=self._on_lost,
            reclaimed=self._endings.reclaimed,
        )
        pools = Pools(
            _hosts(options),
            fates,
            self._endings,
            options.links,
            self._leases.may_send,
            lambda pool: self._router.leave(pool),
        )
        self._router = Router(self._directory, self._vault, pools, fates, shards, self._leases.held)
        self._feeder = Feeder(
            claiming,
            self._hand,
            self._router,
            fates,
            Dealer(self._router, self._endings, waits, Records(self._connections[0])),
            options,
            is_ours=self._leases.holds,
            doubted=self._leases.doubt,
        )
        self._bells = Bells(url, self._leases.held, self._feeder)
        self._sweeper = Sweeper(
            keeping,
            self._leases.held,
            self._feeder,
            self._router,
            self._end_slow_claims,
            Report(self._sheet, self._endings.tally, self._hand, pools, self._leases.held),
            options.dead_kept_s,
            self._pulse,
        )

    def _end_slow_claims(self) -> None:
        pools, now_s = self._router.pools.all(), time.monotonic()
        if self._leases.yielding:
            self._endings.put_back(take_back(pools, self._leases.yielding, now_s))
        for part in carry_over(self._hand, pools, now_s):
            self._settler.add(part)

    def _on_gained(self, holding: Holding) -> None:
        self._feeder.gain(holding)
        self._bells.changed()

    def _on_yielded(self, holding: Holding) -> None:
        self._feeder.let_go(holding)
        self._bells.changed()

    def _on_lost(self, holding: Holding) -> None:
        self._hand.lose(holding)
        for pool in self._router.pools.all():
            for _, run in pool.drop(lambda held: held[1].claim.lost):
                self._endings.leave(run, 1)

    async def _serve(self) -> None:
        """Run the parts until told to stop, or until one of them ends, which none does by itself."""
        feeding = asyncio.create_task(self._feeder.run())
        background = [
            asyncio.create_task(part.run())
            for part in (self._settler, self._sweeper, self._bells, self._leases, self._router)
        ]
        background.append(asyncio.create_task(self._directory.follow()))
        stopping = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait((stopping, feeding, *background), return_when=asyncio.FIRST_COMPLETED)
        # a part that has ended has met a fault of ours, which must not pass unnoticed
        faults = [task for task in done if task is not stopping]
        self._feeder.quiet()
        if feeding not in faults:
            await feeding
        await self._drain()
        await self._give_back()
        await _within(SETTLE_S, self._settler.drained())
        await _within(SETTLE_S, self._leases.leave())
        await end((*background, stopping))
        for connection in self._connections:
            await connection.close()
        await self._tenants.close()
        LOG.info("worker %s stopped: %s", self._name, dict(self._endings.tally))
        for task in faults:
            task.result()
        if self._fault is not None:
            raise self._fault

    async def _drain(self) -> None:
        """Wait until no job is in hand, at most ``drain_s``, less when hurried."""
        hand = self._hand
        hurried = asyncio.create_task(self._hurry.wait())
        deadline_s = asyncio.get_running_loop().time() + self._options.drain_s
        while hand.jobs and not hurried.done() and asyncio.get_running_loop().time() < deadline_s:
            self._pulse()
            await asyncio.wait((hurried,), timeout=0.02)
        hurried.cancel()
        if hand.jobs:
            LOG.warning("%d jobs were not answered in time and are given back", hand.jobs)

    async def _give_back(self) -> None:
        """End all links; what they had not sent is ready again at once, and what had no answer is tried again later."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + GIVE_BACK_S
        pools = self._router.pools.all()
        for pool in pools:
            pool.abort()
        while True:
            for pool in pools:
                # in every round: the last outcomes of a link may hand jobs back to its pool
                self._router.pools.give_back(pool)
            if not self._hand.jobs:
                return
            if loop.time() > deadline_s:
                LOG.error("%r: those claims repeat after the next start", self._hand)
                return
            # links report their last outcomes when their sockets are closed
            await asyncio.sleep(0.001)


def _hosts(options: EngineOptions) -> dict[str, Host]:
    contexts = Contexts(options.apns_ca_file)
    found = endpoints(options.apns_production_url, options.apns_sandbox_url)
    return {name: Host(at, contexts, options.links) for name, at in found.items()}


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        LOG.warning(
            "gave up waiting for Redis after %.0f s: some claims repeat after the next start", seconds
        )
