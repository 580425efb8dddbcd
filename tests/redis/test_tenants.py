"""Tenants and API keys on a real Redis."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec
import pytest
import redis as redis_py
from redis_server import RedisServer

from shards import keys
from shards.api_key import ApiKey, hash_api_key, new_api_key
from shards.credential import Credential
from shards.errors import AlreadyExists, NotFound, StoreRefused, StoreUnavailable
from shards.keys import shard_keys
from shards.redis import listening
from shards.tenant import Tenant
from shards.tenants import DEFAULT_SHARDS, Tenants

KEY = Credential("KEY0000001", "TEAM000001", "KEY0000001", b"sealed")
ACME = Tenant("acme", ("com.acme.app", "com.acme.mail"), (KEY,), created_ms=1_700)
ZETA = Tenant("zeta", ("com.zeta.app",))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Tenants]:
    tenants = Tenants(url)
    try:
        yield tenants
    finally:
        await tenants.close()


@contextmanager
def out_of_memory(raw: redis_py.Redis) -> Iterator[None]:
    raw.config_set("maxmemory", 1)
    try:
        yield
    finally:
        raw.config_set("maxmemory", 0)


async def test_a_tenant_comes_back_as_it_was_created(redis_url: str) -> None:
    async with opened(redis_url) as tenants:
        await tenants.create(ACME, "secret", "clarion_1")
        assert await tenants.get("acme") == ACME


async def test_tenants_are_listed_by_id(redis_url: str) -> None:
    async with opened(redis_url) as tenants:
        assert await tenants.all() == []
        await tenants.create(ZETA, "z", "clarion_z")
        await tenants.create(ACME, "a", "clarion_a")
        assert await tenants.all() == [ACME, ZETA]


async def test_a_name_that_is_taken_is_not_overwritten(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as tenants:
        await tenants.create(ACME, "secret", "clarion_1")
        usurper = Tenant("acme", ("com.usurper.app",))
        with pytest.raises(AlreadyExists, match="'acme'"):
            await tenants.create(usurper, "stolen", "clarion_2")
        assert await tenants.get("acme") == ACME
        # otherwise the usurper's key would push in the name of the tenant that is there
        assert await tenants.api_key(hash_api_key("stolen")) is None


async def test_a_tenant_that_does_not_exist_is_not_found(redis_url: str) -> None:
    async with opened(redis_url) as tenants:
        with pytest.raises(NotFound, match=r"'nobody'.*clarion tenant list"):
            await tenants.get("nobody")


async def test_an_api_key_is_found_by_its_hash_only(redis_url: str, raw: redis_py.Redis) -> None:
    secret, prefix = new_api_key()
    async with opened(redis_url) as tenants:
        await tenants.create(ACME, secret, prefix)
        assert await tenants.api_key(hash_api_key(secret)) == ApiKey("acme", prefix, 1_700)
        assert await tenants.api_key(hash_api_key(secret + "x")) is None
        stored = raw.hgetall(keys.API_KEYS)
        assert secret.encode() not in b"".join(field + record for field, record in stored.items())


def test_api_keys_differ_and_begin_with_their_prefix() -> None:
    made = [new_api_key() for _ in range(50)]
    assert len({secret for secret, _ in made}) == 50
    for secret, prefix in made:
        # 256 bits are 43 characters of base64
        assert secret.startswith(f"{prefix}_") and len(secret.removeprefix(f"{prefix}_")) == 43
        assert prefix.startswith("clarion_") and len(prefix) == len("clarion_") + 8


async def test_a_new_tenant_is_announced(redis_url: str) -> None:
    async with opened(redis_url) as tenants, listening(redis_url, [keys.CHANGES]) as changes:
        await tenants.create(ACME, "secret", "clarion_1")
        assert await anext(changes) == (keys.CHANGES, "acme")


async def test_the_number_of_shards_is_fixed_at_the_first_start(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as tenants:
        assert await tenants.shards() == DEFAULT_SHARDS
        raw.hset(keys.LAYOUT, "shards", 16)
        assert await tenants.shards() == 16


async def test_without_memory_the_number_of_shards_is_known_all_the_same(
    redis_url: str, raw: redis_py.Redis
) -> None:
    """Every process asks for it first: else no worker could start, and the queues would never drain."""
    async with opened(redis_url) as tenants:
        raw.hset(keys.LAYOUT, "shards", 16)
        with out_of_memory(raw):
            assert await tenants.shards() == 16
        raw.delete(keys.LAYOUT)
        with out_of_memory(raw), pytest.raises(StoreRefused):
            await tenants.shards()


async def test_without_memory_tenants_are_changed_and_removed_but_not_made(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as tenants:
        await tenants.create(ACME, "secret", "clarion_1")
        await tenants.shards()
        with out_of_memory(raw):
            paused = msgspec.structs.replace(ACME, paused=("high", "low"))
            await tenants.change("acme", lambda tenant: paused)
            assert await tenants.get("acme") == paused
            assert raw.hget(shard_keys(0).rules, "acme") == b"1 0 both"
            with pytest.raises(StoreRefused):
                await tenants.create(ZETA, "z", "clarion_z")
            await tenants.delete("acme")
            assert await tenants.all() == [] and await tenants.api_keys() == []


async def test_a_tenant_goes_with_all_its_keys_and_with_nobody_elses(redis_url: str) -> None:
    async with opened(redis_url) as tenants:
        await tenants.create(ACME, "secret", "clarion_1")
        await tenants.create(ZETA, "z", "clarion_z")
        other = ApiKey("acme", "clarion_2", 1_800, ("admin",), "acme's", 4_000_000_000_000)
        await tenants.put_key(hash_api_key("other"), other)
        # one name begins like another, and a long one is packed otherwise
        alike = Tenant("acme-2"), Tenant("a" * 63)
        for number, each in enumerate(alike):
            await tenants.create(each, each.id, f"clarion_{number}")
        await tenants.delete("a" * 63)
        async with listening(redis_url, [keys.CHANGES]) as changes:
            await tenants.delete("acme")
            assert await anext(changes) == (keys.CHANGES, "acme")
        assert await tenants.api_keys() == [ApiKey("acme-2", "clarion_0"), ApiKey("zeta", "clarion_z")]
        with pytest.raises(NotFound, match="'acme'"):
            await tenants.delete("acme")


async def test_who_takes_a_name_in_the_moment_in_which_it_is_free_has_a_key(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_url) as one, opened(redis_url) as another:
        await one.create(ACME, "secret", "clarion_1")
        run = one._redis.eval

        async def run_and_see(*words: Any) -> Any:
            answer = await run(*words)
            with suppress(AlreadyExists):
                await another.create(ACME, "next", "clarion_2")
            return answer

        monkeypatch.setattr(one._redis, "eval", run_and_see)
        await one.delete("acme")
        assert await another.api_keys() == [ApiKey("acme", "clarion_2", 1_700)]


async def test_a_redis_that_is_down_is_reported_as_unavailable(own_server: RedisServer) -> None:
    async with opened(own_server.url) as tenants:
        await tenants.ping()
        own_server.kill9()
        for call in (tenants.ping(), tenants.get("acme"), tenants.all(), tenants.shards()):
            with pytest.raises(StoreUnavailable):
                await call
        own_server.start()
        await tenants.ping()


async def test_a_redis_that_may_evict_is_warned_of(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = Tenants(own_server.url)
    await store.warn_of_eviction()
    assert caplog.messages == []
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        await store.warn_of_eviction()
        assert "its maxmemory-policy is allkeys-lru, and must be noeviction" in caplog.text
        # hosted ones refuse CONFIG
        client.execute_command("ACL", "SETUSER", "default", "-config")
    await store.warn_of_eviction()
    assert len(caplog.messages) == 1
    await store.close()
