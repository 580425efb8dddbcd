"""One worker process: it claims from its shards and sends to APNs until it is told to stop.

Boot order is reading order: wait for Redis, take the shards that are ours, listen to their bells, feed. Stopping is
the reverse, under one deadline: *quiet* (claim no more), *drain* (let what is under way be answered), *give back*
(what is left is ready for others), *leave* (so are the shards). A second signal makes the deadline now.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from engine.link.dial import endpoint, tls_context
from engine.link.host import Host
from engine.options import EngineOptions
from engine.worker.bells import Bells
from engine.worker.fates import Fates
from engine.worker.feeder import Feeder
from engine.worker.hand import Hand
from engine.worker.leases import Leases
from engine.worker.router import Router
from engine.worker.settler import Settler
from engine.worker.sweeper import Sweeper
from shards.directory import Directory
from shards.environment import Environment
from shards.errors import StoreError
from shards.queue import Holding, Queue
from shards.redis import ScriptConnection
from shards.tenants import Tenants
from shards.vault import Vault

LOG: Final = logging.getLogger("clarion.worker")

AGAIN_AFTER_S: Final = 0.5
SETTLE_S: Final = 5.0
GIVE_BACK_S: Final = 1.0


def run_worker(
    options: EngineOptions,
    master_key: bytes,
    number: int,
    workers: int,
    *,
    node: str = "node",
    pulse: Callable[[], None] = lambda: None,
    lifeline: int | None = None,
) -> int:
    """The body of worker ``number`` of the ``workers`` of a node; returns its exit code.

    ``node`` names the supervisor among those that share a Redis: a worker that is started again has the same name as
    before, and so its shards at once. ``lifeline``: at its end of file, stop.
    """
    # connections and pushes make no cycles worth an early look
    gc.set_threshold(20_000, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        names = [f"{node}/{each}" for each in range(workers)]
        return runner.run(_Worker(options, Vault(master_key), names[number], names, pulse).run(lifeline))


class _Worker:
    """Wires the parts of one worker together."""

    def __init__(
        self, options: EngineOptions, vault: Vault, name: str, siblings: list[str], pulse: Callable[[], None]
    ) -> None:
        self._options = options
        self._vault = vault
        self._name = name
        self._siblings = siblings
        self._pulse = pulse
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
        await self._serve(booting.result())
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
                return await self._tenants.shards()
            except StoreError as error:
                LOG.warning("can't start yet: %s", error)
                await asyncio.sleep(AGAIN_AFTER_S)

    async def _serve(self, shards: int) -> None:
        options = self._options
        # claims and settlements don't wait for one another, and a renewal for neither
        claiming, settling, keeping = (ScriptConnection(options.redis_url) for _ in range(3))
        settler = Settler(Queue(settling), lambda claim: hand.forget(claim))
        hand = Hand(options.in_hand_most, settler.add)
        fates = Fates(hand, options.retry, lambda: feeder.stir())
        directory = Directory(
            options.redis_url, self._tenants, on_change=lambda tenant: router.forget(tenant)
        )

        def gained(holding: Holding) -> None:
            feeder.gain(holding)
            bells.changed()

        def yielded(holding: Holding) -> None:
            feeder.let_go(holding)
            bells.changed()

        def lost(holding: Holding) -> None:
            hand.lose(holding)
            for pool in router.pools():
                for _, run in pool.drop(lambda held: held[1].claim.lost):
                    hand.finish(run.claim, 1)

        leases = Leases(
            Queue(keeping),
            shards,
            self._name,
            self._siblings,
            options.lease_s,
            hand,
            gained=gained,
            yielded=yielded,
            lost=lost,
        )
        router = Router(directory, self._vault, _hosts(options), fates, options.links, leases.may_send)
        feeder = Feeder(
            Queue(claiming), hand, router, fates, options, is_ours=leases.holds, doubted=leases.doubt
        )
        bells = Bells(options.redis_url, leases.held, feeder)
        sweeper = Sweeper(
            Queue(keeping),
            leases.held,
            feeder,
            router,
            options.answer_deadline_s,
            options.dead_kept_s,
            self._pulse,
        )
        gc.freeze()
        feeding = asyncio.create_task(feeder.run())
        background = [
            asyncio.create_task(coroutine)
            for coroutine in (settler.run(), sweeper.run(), directory.follow(), bells.run(), leases.run())
        ]
        stopping = asyncio.create_task(self._stop.wait())
        # none of these ends by itself: one that does has met a fault of ours, which must not pass unnoticed
        done, _ = await asyncio.wait((stopping, feeding, *background), return_when=asyncio.FIRST_COMPLETED)
        faults = [task for task in done if task is not stopping]
        feeder.quiet()
        if feeding not in faults:
            await feeding
        await self._drain(hand)
        await _give_back(router, fates, hand)
        await _within(SETTLE_S, settler.drained())
        await _within(SETTLE_S, leases.leave())
        for task in (*background, stopping):
            task.cancel()
        for connection in (claiming, settling, keeping):
            await connection.close()
        await self._tenants.close()
        LOG.info("worker %s stopped: %s", self._name, dict(fates.tally))
        for task in faults:
            task.result()
        if self._fault is not None:
            raise self._fault

    async def _drain(self, hand: Hand) -> None:
        """Wait until no job is in hand, at most ``drain_s``, less when hurried."""
        hurried = asyncio.create_task(self._hurry.wait())
        deadline_s = asyncio.get_running_loop().time() + self._options.drain_s
        while hand.jobs and not hurried.done() and asyncio.get_running_loop().time() < deadline_s:
            self._pulse()
            await asyncio.wait((hurried,), timeout=0.02)
        hurried.cancel()
        if hand.jobs:
            LOG.warning("%d jobs were not answered in time and are given back", hand.jobs)


def _hosts(options: EngineOptions) -> dict[str, Host]:
    context = tls_context(options.apns_ca_file)
    urls = {
        Environment.PRODUCTION: options.apns_production_url,
        Environment.SANDBOX: options.apns_sandbox_url,
    }
    return {name.value: Host(endpoint(url), context, options.links) for name, url in urls.items()}


async def _give_back(router: Router, fates: Fates, hand: Hand) -> None:
    """End all links; what they had not sent is ready again at once, and what had no answer is tried again later."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + GIVE_BACK_S
    for pool in router.pools():
        pool.abort()
    while True:
        for pool in router.pools():
            # in every round: the last outcomes of a link may hand jobs back to its pool
            fates.put_back(pool.backlog)
            pool.backlog.clear()
        if not hand.jobs:
            return
        if loop.time() > deadline_s:
            LOG.error("%r: those claims repeat after the next start", hand)
            return
        # links report their last outcomes when their sockets are closed
        await asyncio.sleep(0.001)


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        LOG.warning(
            "gave up waiting for Redis after %.0f s: some claims repeat after the next start", seconds
        )
