"""The Redis that a command of a moment works on: the one that ``clarion run`` would use with the same options."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from engine.cli.options import StoreParams
from shards.administration.actions import Administration
from shards.private_redis.server import prepare, running_url
from shards.tenants import Tenants
from shards.vault import Vault

Answer = TypeVar("Answer")


@contextmanager
def redis_url(store: StoreParams) -> Iterator[str]:
    """Its URL; it is running."""
    url = store.url() or running_url(store.data_dir)
    if url is not None:
        yield url
        return
    # nobody runs the private one now: start it for this command
    server = prepare(store.data_dir)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()
        server.release()


def with_tenants(url: str, work: Callable[[Tenants], Awaitable[Answer]]) -> Answer:
    async def connected() -> Answer:
        tenants = Tenants(url)
        try:
            return await work(tenants)
        finally:
            await tenants.close()

    return asyncio.run(connected())


def administer(store: StoreParams, work: Callable[[Administration], Awaitable[Answer]]) -> Answer:
    """Do an administrator's action. Raises what ``shards.administration`` does."""

    async def connected(url: str) -> Answer:
        administration = Administration(url, lambda create: Vault(store.master_key(create=create)))
        try:
            return await work(administration)
        finally:
            await administration.close()

    with redis_url(store) as url:
        return asyncio.run(connected(url))
