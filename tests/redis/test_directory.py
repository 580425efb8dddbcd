"""The directory of tenants on a real Redis: answers from memory, and never for long an answer that is untrue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import redis as redis_py
from redis_server import RedisServer

from shards import directory as directory_module
from shards import keys
from shards.directory import Directory
from shards.errors import NotFound, StoreUnavailable
from shards.tenant import Tenant, encode_tenant
from shards.tenants import Tenants

ACME = Tenant("acme", ("com.acme.app",))
MOVED = Tenant("acme", ("com.acme.app",), spread=7)


class Office:
    """A directory, the tenants behind it, and what it announced."""

    def __init__(self, url: str) -> None:
        self.announced: list[str | None] = []
        self.tenants = Tenants(url)
        self.directory = Directory(url, self.tenants, on_change=self.announced.append)


@asynccontextmanager
async def opened(url: str, *, following: bool = False) -> AsyncIterator[Office]:
    office = Office(url)
    following_task = asyncio.create_task(office.directory.follow()) if following else None
    try:
        if following:
            # the first thing a follower does is to forget everything, once its subscription stands
            await soon(lambda: office.announced == [None])
        yield office
    finally:
        if following_task is not None:
            following_task.cancel()
            with suppress(asyncio.CancelledError):
                await following_task
        await office.tenants.close()


async def tenant_of_key(office: Office, secret: str) -> Tenant:
    found = await office.directory.by_api_key(secret)
    assert found is not None
    return found[0]


async def soon(is_true: Callable[[], bool], within_s: float = 1.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_true():
            await asyncio.sleep(0.005)


def change(raw: redis_py.Redis, tenant: Tenant) -> None:
    """Overwrite a record and announce it, as another process would."""
    raw.hset(keys.TENANTS, tenant.id, encode_tenant(tenant))
    raw.publish(keys.CHANGES, tenant.id)


async def test_redis_is_asked_once_for_a_tenant_and_its_key(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as office:
        await office.tenants.create(ACME, "secret", "clarion_1")
        assert office.directory.known("acme") is None
        assert await tenant_of_key(office, "secret") == ACME
        assert office.directory.known("acme") == ACME
        raw.flushall()
        assert await tenant_of_key(office, "secret") == ACME
        assert await office.directory.tenant("acme") == ACME


async def test_a_tenant_that_does_not_exist_is_asked_for_again(redis_url: str) -> None:
    async with opened(redis_url) as office:
        with pytest.raises(NotFound):
            await office.directory.tenant("acme")
        await office.tenants.create(ACME, "secret", "clarion_1")
        assert await office.directory.tenant("acme") == ACME


async def test_a_change_is_seen_within_a_second(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url, following=True) as office:
        await office.tenants.create(ACME, "secret", "clarion_1")
        await soon(lambda: office.announced == [None, "acme"])
        assert await tenant_of_key(office, "secret") == ACME
        change(raw, MOVED)
        await soon(lambda: office.announced == [None, "acme", "acme"])
        assert await tenant_of_key(office, "secret") == MOVED


async def test_a_change_of_one_tenant_leaves_the_others_in_memory(
    redis_url: str, raw: redis_py.Redis
) -> None:
    zeta = Tenant("zeta")
    async with opened(redis_url, following=True) as office:
        for tenant in (ACME, zeta):
            change(raw, tenant)
        await soon(lambda: office.announced[1:] == ["acme", "zeta"])
        for tenant in (ACME, zeta):
            await office.directory.tenant(tenant.id)
        change(raw, MOVED)
        await soon(lambda: office.directory.known("acme") is None)
        assert office.directory.known("zeta") == zeta


async def test_many_tenants_are_learnt_at_once_as_far_as_they_exist(
    redis_url: str, raw: redis_py.Redis
) -> None:
    zeta = Tenant("zeta")
    async with opened(redis_url) as office:
        for tenant in (ACME, zeta):
            change(raw, tenant)
        await office.directory.learn(["acme", "nobody", "zeta"])
        raw.flushall()
        assert [office.directory.known(name) for name in ("acme", "nobody", "zeta")] == [ACME, None, zeta]
        await office.directory.learn([])


async def test_a_key_that_was_unknown_works_as_soon_as_it_exists(redis_url: str) -> None:
    async with opened(redis_url, following=True) as office:
        assert await office.directory.by_api_key("secret") is None
        await office.tenants.create(ACME, "secret", "clarion_1")
        await soon(lambda: "acme" in office.announced)
        assert await tenant_of_key(office, "secret") == ACME


async def test_an_unknown_key_costs_one_question(own_server: RedisServer) -> None:
    async with opened(own_server.url) as office:
        assert await office.directory.by_api_key("wrong") is None
        own_server.kill9()
        assert await office.directory.by_api_key("wrong") is None
        with pytest.raises(StoreUnavailable):
            await office.directory.by_api_key("another")


async def test_unknown_keys_are_remembered_in_bounded_number_and_push_nobody_out(
    redis_url: str, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "UNKNOWN_MOST", 10)
    async with opened(redis_url) as office:
        await office.tenants.create(ACME, "secret", "clarion_1")
        await office.directory.by_api_key("secret")
        for number in range(25):
            assert await office.directory.by_api_key(f"wrong{number}") is None
        assert repr(office.directory) == "<Directory 1 tenants, 1 keys, 5 unknown>"
        raw.flushall()
        assert await tenant_of_key(office, "secret") == ACME


@pytest.mark.parametrize("lookup", ["tenant", "by_api_key"])
async def test_an_answer_that_was_under_way_during_a_change_is_not_kept(
    redis_url: str, raw: redis_py.Redis, lookup: str
) -> None:
    async with opened(redis_url) as office:
        await office.tenants.create(ACME, "secret", "clarion_1")
        ask = getattr(office.directory, lookup)
        word = "acme" if lookup == "tenant" else "secret"
        # Redis holds its answer back, and meanwhile the change is announced
        raw.client_pause(100)
        asked = asyncio.create_task(ask(word))
        await asyncio.sleep(0.03)
        office.directory.forget("acme")
        found = await asked
        assert (found if lookup == "tenant" else found[0]) == ACME
        assert "0 keys" in repr(office.directory)
        if lookup == "tenant":
            assert office.directory.known("acme") is None


async def test_an_unknown_key_that_was_under_way_during_a_change_is_not_kept(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as office:
        raw.client_pause(100)
        asked = asyncio.create_task(office.directory.by_api_key("secret"))
        await asyncio.sleep(0.03)
        office.directory.forget("acme")
        assert await asked is None
        assert "0 unknown" in repr(office.directory)


async def test_a_lost_connection_is_made_anew_and_everything_is_forgotten(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "RELISTEN_AFTER_S", 0.05)
    async with opened(own_server.url, following=True) as office:
        await office.tenants.create(ACME, "secret", "clarion_1")
        await soon(lambda: "acme" in office.announced)
        assert await tenant_of_key(office, "secret") == ACME
        own_server.kill9()
        # while Redis is away, what is known is served; what is not known can't be
        assert await tenant_of_key(office, "secret") == ACME
        with pytest.raises(StoreUnavailable):
            await office.directory.tenant("zeta")
        office.announced.clear()
        own_server.start()
        with redis_py.Redis.from_url(own_server.url) as client:
            # a change that nobody announced: it happened while the connection was lost
            client.hset(keys.TENANTS, "acme", encode_tenant(MOVED))
            await soon(lambda: None in office.announced)
            assert await office.directory.tenant("acme") == MOVED
            change(client, ACME)
            await soon(lambda: "acme" in office.announced)
            assert await office.directory.tenant("acme") == ACME
