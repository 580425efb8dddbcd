"""Reads the files of credentials while others are served: a certificate's may take a processor for seconds."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

# each takes a processor, and memory
FILES_AT_A_TIME: Final = 2

_Read = TypeVar("_Read")


class Reading:
    """A few files at a time, and one of each tenant, so that files of its that take long keep nobody else's waiting."""

    def __init__(self) -> None:
        self._readers = asyncio.Semaphore(FILES_AT_A_TIME)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def in_turn(self, tenant_id: str, read: Callable[[], _Read]) -> _Read:
        """What ``read`` returns, called in a thread."""
        turn = self._turns.setdefault(tenant_id, asyncio.Lock())
        async with turn, self._readers:
            return await asyncio.to_thread(read)
