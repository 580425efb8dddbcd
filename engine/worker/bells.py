"""Hears the bells of the shards that this worker holds, and wakes them."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from engine.worker.feeder import Feeder
from runtime.stopping import end
from shards.claim import Holding
from shards.errors import StoreError
from shards.keys import shard_keys
from shards.redis import listening

LOG: Final = logging.getLogger("clarion.bells")

AGAIN_AFTER_S: Final = 0.5
CHANGES_TOGETHER_S: Final = 0.02


class Bells:
    """Subscribes to the bells of ``held``, anew whenever that has changed."""

    def __init__(self, url: str, held: Mapping[int, Holding], feeder: Feeder) -> None:
        self._url = url
        self._held = held
        self._feeder = feeder
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Other shards are held than before."""
        self._changed.set()

    async def run(self) -> None:
        while True:
            self._changed.clear()
            hearing = asyncio.create_task(self._hear({shard_keys(shard).bell: shard for shard in self._held}))
            changing = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait((hearing, changing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end((hearing, changing))
            if self._changed.is_set():
                # shards come and go in groups: one subscription for the group
                await asyncio.sleep(CHANGES_TOGETHER_S)
            else:
                await asyncio.sleep(AGAIN_AFTER_S)

    async def _hear(self, bells: Mapping[str, int]) -> None:
        if not bells:
            # Redis knows no subscription to nothing
            await self._changed.wait()
            return
        try:
            async with listening(self._url, list(bells)) as ringing:
                # what was enqueued while nobody listened
                self._feeder.wake()
                async for bell, _ in ringing:
                    self._feeder.ring(bells[bell])
        except StoreError as error:
            LOG.warning("bells are not heard for now: %s", error)
