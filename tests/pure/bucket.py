"""The bucket of ``shards/lua/grant.lua`` once more, for tests that let time pass by themselves."""

import asyncio
import math
from collections.abc import Sequence

from shards.errors import StoreError, StoreRefused
from shards.grant import Ask, Grant


class Bucket:
    """The buckets. ``now_s`` is moved by the test; ``calls`` are the round trips that were made.

    They are not answered while ``gate`` is closed.
    """

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.calls: list[Sequence[Ask]] = []
        self.down: StoreError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._levels: dict[str, tuple[float, float]] = {}

    def clock(self) -> float:
        return self.now_s

    async def grant(self, asks: Sequence[Ask]) -> list[Grant | StoreRefused]:
        self.calls.append(asks)
        await self.gate.wait()
        if self.down is not None:
            raise self.down
        return [self.answer(ask) for ask in asks]

    def answer(self, ask: Ask) -> Grant:
        level, at_s = self._levels.get(ask.tenant, (float(ask.burst), self.now_s))
        level = min(ask.burst, level + (self.now_s - at_s) * ask.per_s + ask.back)
        granted = 0
        if level >= 1:
            granted = max(ask.need, min(ask.want, math.floor(level)))
            level -= granted
        self._levels[ask.tenant] = level, self.now_s
        wait_ms = math.ceil((1 - level) * 1000 / ask.per_s) if level < 1 else 0
        return Grant(granted, math.floor(level), wait_ms)
