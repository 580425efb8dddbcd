"""The store as ingest needs it: who the tenants are, how many shards there are, the rates, and the way to enqueue.

An ingest process starts and stays up without Redis: it says "not ready" and answers pushes with 503 until Redis
is there. So the number of shards is learned in the background, and asked for until there is an answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from ingest.gather import Gatherer
from ingest.measures import STORED
from ingest.meters import Meters
from ingest.options import IngestOptions
from runtime.measures import Sheet
from runtime.stopping import end
from shards.directory import Directory
from shards.errors import StoreError
from shards.queue import Queue
from shards.rates import Rates
from shards.redis import ScriptConnection
from shards.tallies import Tallies
from shards.tenants import Tenants

LOG: Final = logging.getLogger("clarion.ingest")
PING_TIMEOUT_S: Final = 1.0
ASK_AGAIN_AFTER_S: Final = 0.5
SWEEP_EVERY_S: Final = 1.0


class Store:
    """Redis behind one ingest process, which counts on ``sheet``. ``shards`` is None until Redis has answered once.

    ``learned`` is set from then on.
    """

    def __init__(self, options: IngestOptions, sheet: Sheet) -> None:
        self._tenants = Tenants(options.redis_url)
        # one for each kind of call: a rate is not to wait for a flight of pushes, nor pushes for what people look at
        self._connections = enqueueing, granting, counting = [
            ScriptConnection(options.redis_url) for _ in range(3)
        ]
        self.directory = Directory(options.redis_url, self._tenants)
        self.conditions = self._tenants.conditions
        self.tallies = Tallies(counting)
        self.meters = Meters(Rates(granting))
        self.gatherer = Gatherer(
            Queue(enqueueing),
            jobs_most=options.waiting_jobs_most,
            bytes_most=options.waiting_bytes_most,
            shard_most=options.queue_most_shard,
            stored=partial(sheet.add, STORED),
        )
        self.shards: int | None = None
        self.learned = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Store {self.shards or 'unknown'} shards, {self.gatherer!r}, {self.meters!r}, {self.directory!r}>"

    def open(self) -> None:
        """Begin to learn from Redis; returns at once."""
        self._background = [
            asyncio.create_task(self._learn_shards()),
            asyncio.create_task(lasting("the listener for changes to tenants", self._follow)),
            asyncio.create_task(lasting("the sweep of rates that are not used", self._sweep)),
        ]

    async def answers(self) -> bool:
        """Whether Redis answers now, and has told us the number of shards."""
        if self.shards is None:
            return False
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._tenants.ping()
        except (StoreError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Let what is under way land, then close the connections."""
        await self.gatherer.landed()
        await end(self._background)
        for connection in self._connections:
            await connection.close()
        await self._tenants.close()

    async def _learn_shards(self) -> None:
        told = False
        while self.shards is None:
            try:
                await self._tenants.warn_of_eviction()
                self.shards = await self._tenants.shards()
            except StoreError as error:
                if not told:
                    LOG.warning("no push is accepted until Redis answers: %s", error)
                    told = True
                await asyncio.sleep(ASK_AGAIN_AFTER_S)
        self.learned.set()
        LOG.info("the queues have %d shards", self.shards)

    async def _follow(self) -> None:
        # whatever ended the listener before, changes may have been missed since
        self.directory.forget(None)
        await self.directory.follow()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            await self.meters.sweep()


async def lasting(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Keep a background task alive: its death is logged, and it begins anew."""
    while True:
        try:
            await work()
        except Exception:
            LOG.exception("%s died and begins anew", name)
        else:
            LOG.error("%s ended, which it should not, and begins anew", name)
        await asyncio.sleep(ASK_AGAIN_AFTER_S)
