"""Redis behind an ingest process: it lets go of it whenever it is told to."""

import asyncio

from ingest.measures import INGEST
from ingest.options import IngestOptions
from ingest.store import Store
from runtime.measures import Sheet

WAIT_S = 10.0


async def test_it_closes_at_any_moment_of_its_beginning(redis_url: str) -> None:
    for moments in range(60):
        store = Store(IngestOptions(redis_url=redis_url), Sheet(INGEST))
        store.open()
        # where in its subscription the cancellation meets it is what matters: each turn of the loop is another place
        for _ in range(moments):
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            await store.close()


async def test_it_closes_though_a_cancellation_is_lost(redis_url: str) -> None:
    store = Store(IngestOptions(redis_url=redis_url), Sheet(INGEST))
    lost = []

    async def follow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            # as redis-py does now and then while it subscribes
            lost.append(True)
        await asyncio.sleep(60)

    store.directory.follow = follow  # type: ignore[method-assign]
    store.open()
    async with asyncio.timeout(WAIT_S):
        await store.learned.wait()
        await store.close()
    assert lost == [True]
