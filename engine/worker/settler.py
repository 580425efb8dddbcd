"""Settles finished claims, many in one call. Redis may be away: then they wait, and nothing is forgotten."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from engine.worker.hand import Claim
from shards.claim import Fenced, Settlement
from shards.errors import StoreError, StoreRefused
from shards.queue import Queue

LOG: Final = logging.getLogger("clarion.settler")

# settling is not urgent: a claim settled 5 ms later costs nothing, and a hundred in one call cost one round trip
GATHER_S: Final = 0.005
AGAIN_AFTER_S: Final = 0.5


class Settler:
    """Tasks: 1 gather finished claims; 2 settle them, again and again until Redis has answered.

    ``settled`` is called with each claim that is over.
    """

    def __init__(self, queue: Queue, settled: Callable[[Claim], None]) -> None:
        self._queue = queue
        self._settled = settled
        # in the order in which they are to be settled: a claim comes after the parts that were carried out of it
        self._finished: list[Claim | Settlement] = []
        self._stir = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<Settler {len(self._finished)} claims wait>"

    def add(self, claim: Claim | Settlement) -> None:
        """Settle a claim whose last job has met its fate, or a part of one."""
        self._finished.append(claim)
        self._idle.clear()
        self._stir.set()

    async def drained(self) -> None:
        """Returns when every claim that was added is settled."""
        await self._idle.wait()

    async def run(self) -> None:
        while True:
            await self._stir.wait()
            await asyncio.sleep(GATHER_S)
            batch, self._finished = self._finished, []
            self._stir.clear()
            try:
                answers = await self._queue.settle(
                    [part if isinstance(part, Settlement) else part.settlement() for part in batch]
                )
            except StoreError as error:
                # settle is safe to repeat, so an unanswered one simply is
                LOG.warning("%d claims can't be settled now: %s", len(batch), error)
                await self._later(batch)
                continue
            refused: list[Claim | Settlement] = []
            for claim, answer in zip(batch, answers, strict=True):
                if isinstance(answer, StoreRefused):
                    LOG.warning("a claim can't be settled now: %s", answer)
                if refused or isinstance(answer, StoreRefused):
                    # with all that come after it: one of them may go on from what was refused
                    refused.append(claim)
                    continue
                if isinstance(answer, Fenced):
                    LOG.warning(
                        "shard %d has another holder; it gives a claim to others", answer.holding.shard
                    )
                if isinstance(claim, Claim):
                    self._settled(claim)
            if refused:
                await self._later(refused)
            if not self._finished:
                self._idle.set()

    async def _later(self, batch: list[Claim | Settlement]) -> None:
        self._finished[:0] = batch
        self._stir.set()
        await asyncio.sleep(AGAIN_AFTER_S)
