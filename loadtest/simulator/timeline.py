"""A timeline: items that are due later, delivered in batches by one timer.

It delays the bytes of a connection in each direction by half a round trip, and the steps of a scripted
answer. A delay is not a speed limit: any number of items may be under way, and all that are due at one
wake-up are delivered in one call. Items with the same delay keep their order, because those that are due
at the same time are delivered in the order in which they were put.
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# uvloop's timers tick in milliseconds and may wake a little early; less than this is not worth a second
# timer, and would spin until the clock has caught up.
SLACK_S = 0.0005


class Timeline(Generic[Item]):
    """Delivers items when they are due. Must be stopped; what is not due by then is dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[Item]], None]) -> None:
        self._loop = loop
        self._deliver = deliver
        self._waiting: list[tuple[float, int, Item]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        # kept here: what uvloop gives for a time that has come already is a handle that can't tell its time
        self._armed_s = 0.0

    def __repr__(self) -> str:
        return f"<Timeline waiting={len(self._waiting)}>"

    def put(self, item: Item, delay_s: float) -> None:
        """Deliver this item in `delay_s` seconds."""
        due_s = self._loop.time() + delay_s
        self._count += 1
        heapq.heappush(self._waiting, (due_s, self._count, item))
        if self._timer is None or due_s < self._armed_s:
            self._arm(due_s)

    def stop(self) -> None:
        """Drop what is waiting. Nothing is delivered after this, and nothing is left in the loop."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_s = due_s
        self._timer = self._loop.call_at(due_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        until_s = self._loop.time() + SLACK_S
        due = []
        while self._waiting and self._waiting[0][0] <= until_s:
            due.append(heapq.heappop(self._waiting)[2])
        if self._waiting:
            self._arm(self._waiting[0][0])
        if due:
            self._deliver(due)
