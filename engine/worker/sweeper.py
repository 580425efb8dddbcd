"""What a worker does by the clock: make due jobs ready, look at deadlines, show that it lives."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from engine.worker.feeder import Feeder
from engine.worker.router import Router
from shards.claim import Holding
from shards.errors import StoreError
from shards.queue import Queue

LOG: Final = logging.getLogger("clarion.sweeper")

SWEEP_S: Final = 0.5
TRIM_S: Final = 60.0
# bells can be lost: a connection that carries nothing but them may be dead for long before anyone notices
WAKE_ALL_S: Final = 10.0


class Sweeper:
    """Tasks, twice a second: 1 promote; 2 tend the pools and the feeder; 3 divide slow claims; 4 pulse; 5 report. Now
    and then: 6 look at all shards; 7 forget old dead letters."""

    def __init__(
        self,
        queue: Queue,
        held: Mapping[int, Holding],
        feeder: Feeder,
        router: Router,
        divide: Callable[[], None],
        report: Callable[[], None],
        dead_kept_s: float,
        pulse: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._held = held
        self._feeder = feeder
        self._router = router
        self._divide = divide
        self._report = report
        self._dead_kept_s = dead_kept_s
        self._pulse = pulse

    async def run(self) -> None:
        woken_s = trimmed_s = time.monotonic()
        while True:
            self._pulse()
            if time.monotonic() - woken_s >= WAKE_ALL_S:
                woken_s = time.monotonic()
                self._feeder.wake()
            self._router.tend()
            self._divide()
            self._report()
            try:
                await self._promote()
                if time.monotonic() - trimmed_s >= TRIM_S:
                    trimmed_s = time.monotonic()
                    await self._queue.trim_dead(
                        list(self._held), int(1000 * (time.time() - self._dead_kept_s))
                    )
            except StoreError as error:
                LOG.warning("due retries and old dead letters wait for Redis: %s", error)
            self._feeder.tend()
            await asyncio.sleep(SWEEP_S)

    async def _promote(self) -> None:
        shards = list(self._held)
        answers = await self._queue.promote(shards, int(time.time() * 1000))
        woken = [shard for shard, (promoted, _) in zip(shards, answers, strict=True) if promoted]
        if woken:
            self._feeder.wake(woken)
