"""Tenants and API keys in Redis: create, list, look up, and tell every process of a change."""

import base64
import os
from typing import Any, Final

from shards import keys
from shards.conditions import Conditions
from shards.errors import AlreadyExists, NotFound
from shards.redis import connect, store_errors
from shards.tenant import ApiKey, Tenant, decode_api_key, decode_tenant, encode_record, hash_api_key

DEFAULT_SHARDS: Final = 64


def new_api_key() -> tuple[str, str]:
    """A new API key and its prefix: ``clarion_<8 hex>_<256 random bits>``.

    The prefix may be shown at any time; the key only once.
    """
    prefix = f"clarion_{os.urandom(4).hex()}"
    return f"{prefix}_{base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip('=')}", prefix


class Tenants:
    """The store's rare calls. Raises StoreError as ``shards.errors`` lists."""

    def __init__(self, url: str) -> None:
        self._redis: Any = connect(url)

    @property
    def conditions(self) -> Conditions:
        """What keeps tenants' credentials from being used."""
        return Conditions(self._redis)

    async def close(self) -> None:
        await self._redis.aclose()

    async def ping(self) -> None:
        with store_errors(in_doubt=False):
            await self._redis.ping()

    async def shards(self) -> int:
        """The number of shards: fixed at the first start, the same for every process ever after."""
        with store_errors():
            await self._redis.hsetnx(keys.LAYOUT, "shards", DEFAULT_SHARDS)
            return int(await self._redis.hget(keys.LAYOUT, "shards"))

    async def create(self, tenant: Tenant, secret: str, prefix: str) -> None:
        """Store a new tenant with its first API key, and announce it. Raises AlreadyExists."""
        key = ApiKey(tenant.id, prefix, tenant.created_ms)
        with store_errors():
            if not await self._redis.hsetnx(keys.TENANTS, tenant.id, encode_record(tenant)):
                raise AlreadyExists(f"there is a tenant {tenant.id!r} already; choose another name")
            if tenant.in_doubt == "bury":
                # on every shard, so that each can tell what to do with the claims of a lost worker; and before there
                # is a key, so that no push comes before it
                for shard in range(await self.shards()):
                    await self._redis.sadd(keys.shard_keys(shard).once, tenant.id)
            await self._redis.hset(keys.API_KEYS, hash_api_key(secret), encode_record(key))
            await self._redis.publish(keys.CHANGES, tenant.id)

    async def get(self, tenant_id: str) -> Tenant:
        """Raises NotFound."""
        with store_errors():
            record = await self._redis.hget(keys.TENANTS, tenant_id)
        if record is None:
            raise NotFound(f"there is no tenant {tenant_id!r}; 'clarion tenant list' shows those that exist")
        return decode_tenant(record)

    async def all(self) -> list[Tenant]:
        """Every tenant, by id."""
        with store_errors():
            records = await self._redis.hvals(keys.TENANTS)
        return sorted(map(decode_tenant, records), key=lambda tenant: tenant.id)

    async def api_key(self, key_hash: str) -> ApiKey | None:
        with store_errors():
            record = await self._redis.hget(keys.API_KEYS, key_hash)
        return None if record is None else decode_api_key(record)
