"""Tenants and API keys in Redis: create, change, list, look up, and tell every process of a change.

A tenant is one record, so whoever reads it sees a state that somebody meant. What the queue scripts must know of it
(its weight, its rate, its paused lanes) stands in each shard as well, and *follows* the record: it is written after the
record, from what the record says then, and again for as long as the record has changed meanwhile. So whoever wrote last
to a shard wrote what the record says, however many change it at the same time. This is done for every change, whatever
it is of, and whether or not it came to pass: so the next one puts right what a process left undone that was killed
between the two, or that Redis refused.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from shards import keys
from shards.api_key import ApiKey, decode_api_key, encode_api_key, hash_api_key
from shards.conditions import ConditionName, Conditions
from shards.errors import AlreadyExists, NotFound, StoreRefused
from shards.flow import flows_of
from shards.lanes import Lane
from shards.quoting import quoted
from shards.redis import connect, script, store_errors
from shards.tenant import Limits, Tenant, decode_tenant, encode_tenant

LOG: Final = logging.getLogger("clarion.tenants")

DEFAULT_SHARDS: Final = 64

_CREATE: Final = script("create")
_AMEND: Final = script("amend")
_ISSUE: Final = script("issue")
_REMOVE: Final = script("remove")
_REGULATE: Final = script("regulate")


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
            found = await self._redis.hget(keys.LAYOUT, "shards")
            if found is None:
                # only now: a Redis that is out of memory refuses to write, even where nothing would be written
                await self._redis.hsetnx(keys.LAYOUT, "shards", DEFAULT_SHARDS)
                found = await self._redis.hget(keys.LAYOUT, "shards")
            return int(found)

    async def warn_of_eviction(self) -> None:
        """Say so if this Redis may throw pushes away when its memory is full; hosted ones may not tell."""
        with suppress(StoreRefused), store_errors(in_doubt=False):
            policy = await self._redis.config_get("maxmemory-policy")
            for found in policy.values():
                if found != "noeviction":
                    LOG.warning(
                        "Redis may throw away pushes that were accepted: its maxmemory-policy is %s, and must be "
                        "noeviction",
                        found,
                    )

    # -- tenants -----------------------------------------------------------------------------------------------

    async def create(self, tenant: Tenant, secret: str, prefix: str) -> None:
        """Store a new tenant with its first API key, and announce it. Raises AlreadyExists.

        Nobody has the key before this returns, so no push comes before the shards know how to serve it.
        """
        key = ApiKey(tenant.id, prefix, tenant.created_ms)
        try:
            with store_errors():
                created = await self._redis.eval(
                    _CREATE.text,
                    5,
                    *(keys.TENANTS, keys.API_KEYS, keys.CHANGES, keys.rate_key(tenant.id), keys.CONDITIONS),
                    *(tenant.id, encode_tenant(tenant), hash_api_key(secret), encode_api_key(key)),
                    *(ConditionName.of_flow(flow).text() for flow in flows_of(tenant.id)),
                )
        finally:
            # of a name that is taken, too: whoever took it may have been killed before it did this
            await self._follow(tenant.id)
        if not created:
            raise _taken(tenant.id)

    async def get(self, tenant_id: str) -> Tenant:
        """Raises NotFound."""
        return decode_tenant(await self._record(tenant_id))

    async def some(self, tenant_ids: Sequence[str]) -> list[Tenant]:
        """Those of these tenants that there are."""
        with store_errors():
            records = await self._redis.hmget(keys.TENANTS, tenant_ids) if tenant_ids else []
        return [decode_tenant(record) for record in records if record is not None]

    async def all(self) -> list[Tenant]:
        """Every tenant, by id."""
        with store_errors():
            records = await self._redis.hvals(keys.TENANTS)
        return sorted(map(decode_tenant, records), key=lambda tenant: tenant.id)

    async def change(self, tenant_id: str, change: Callable[[Tenant], Tenant]) -> Tenant:
        """Replace the tenant by what ``change`` makes of it, and announce it; returns what is stored now.

        ``change`` may be called several times, and must make the same of the same. Raises NotFound, and what
        ``change`` raises. When this fails half-way, the record says what was to be, and not every shard may have heard
        of it: the same change may be made again, or undone, or another made.
        """
        while True:
            record = await self._record(tenant_id)
            new = change(decode_tenant(record))
            try:
                amended = await self._amend(keys.TENANTS, tenant_id, record, encode_tenant(new), tenant_id)
            finally:
                # even if it failed: it may have been done all the same, and whoever looks would take it for done
                await self._follow(tenant_id)
            if amended:
                return new

    async def delete(self, tenant_id: str) -> None:
        """Remove the tenant and its API keys. Pushes that still stand in its queues die as TenantUnknown.

        Raises NotFound.
        """
        try:
            with store_errors():
                removed = await self._redis.eval(
                    _REMOVE.text, 3, keys.TENANTS, keys.API_KEYS, keys.CHANGES, tenant_id
                )
        finally:
            await self._follow(tenant_id)
        if not removed:
            raise _missing(tenant_id)

    # -- API keys ----------------------------------------------------------------------------------------------

    async def api_key(self, key_hash: str) -> ApiKey | None:
        with store_errors():
            record = await self._redis.hget(keys.API_KEYS, key_hash)
        return None if record is None else decode_api_key(record)

    async def api_keys(self, tenant_id: str | None = None) -> list[ApiKey]:
        """A tenant's API keys (None: everybody's), the oldest first."""
        found = [key for _, _, key in await self._api_keys() if tenant_id in (None, key.tenant)]
        return sorted(found, key=lambda key: (key.tenant, key.created_ms, key.prefix))

    async def put_key(self, key_hash: str, key: ApiKey) -> None:
        """Store a new API key under its hash, and announce it. Raises NotFound if there is no such tenant."""
        with store_errors():
            stored = await self._redis.eval(
                _ISSUE.text,
                3,
                *(keys.TENANTS, keys.API_KEYS, keys.CHANGES),
                *(key.tenant, key_hash, encode_api_key(key)),
            )
        if not stored:
            raise _missing(key.tenant)

    async def change_key(
        self, tenant_id: str, prefix: str, change: Callable[[ApiKey], ApiKey | None]
    ) -> ApiKey:
        """Replace the key with this prefix by what ``change`` makes of it, or remove it for None.

        Returns what it was. ``change`` may be called several times, as that of a tenant. Raises NotFound.
        """
        while True:
            found = [
                (key_hash, record, key)
                for key_hash, record, key in await self._api_keys()
                if (key.tenant, key.prefix) == (tenant_id, prefix)
            ]
            if not found:
                raise NotFound(f"tenant {tenant_id!r} has no API key {prefix!r}", f"key list {tenant_id}")
            key_hash, record, key = found[0]
            new = change(key)
            replacement = b"" if new is None else encode_api_key(new)
            if await self._amend(keys.API_KEYS, key_hash, record, replacement, tenant_id):
                return key

    # -- inside ------------------------------------------------------------------------------------------------

    async def _record(self, tenant_id: str) -> bytes:
        record = await self._look_up(tenant_id)
        if record is None:
            raise _missing(tenant_id)
        return record

    async def _look_up(self, tenant_id: str) -> bytes | None:
        # what a person writes need not be text
        name = tenant_id.encode("utf-8", "surrogatepass")
        with store_errors():
            record = await self._redis.hget(keys.TENANTS, name)
        return None if record is None else bytes(record)

    async def _amend(self, records: str, name: str, old: bytes, new: bytes, tenant_id: str) -> bool:
        with store_errors():
            return bool(
                await self._redis.eval(_AMEND.text, 2, records, keys.CHANGES, name, old, new, tenant_id)
            )

    async def _follow(self, tenant_id: str) -> None:
        """Have the shards say of the tenant what its record says; without a record, what they say of most."""
        record = await self._look_up(tenant_id)
        while True:
            await self._regulate(Tenant(tenant_id) if record is None else decode_tenant(record))
            # somebody may have written a newer one while this wrote the rules of an older one over theirs
            earlier, record = record, await self._look_up(tenant_id)
            if record == earlier:
                return

    async def _regulate(self, tenant: Tenant) -> None:
        once = int(tenant.once_at_most)
        rules = [word for flow, rule in rules_of(tenant)[1] for word in (flow, rule)]
        shards = await self.shards()
        with store_errors():
            async with self._redis.pipeline(transaction=False) as calls:
                for shard in range(shards):
                    names = keys.shard_keys(shard)
                    own = (names.rules, names.budgets, names.once, names.unrung, names.bell)
                    calls.eval(_REGULATE.text, len(own), *own, once, *rules)
                await calls.execute()

    async def _api_keys(self) -> list[tuple[str, bytes, ApiKey]]:
        with store_errors():
            records = await self._redis.hgetall(keys.API_KEYS)
        return [(key_hash.decode(), record, decode_api_key(record)) for key_hash, record in records.items()]


def rules_of(tenant: Tenant) -> tuple[str, list[tuple[str, str]]]:
    """What each shard is told of a tenant: its word on doubt, and a rule for each flow, '' for one like most.

    A rate is divided over the shards that the tenant's devices are hashed over.
    """
    limits = tenant.limits
    lanes = tuple(lane.value for lane in Lane) if tenant.disabled else tenant.paused
    paused = "both" if len(set(lanes)) == len(Lane) else lanes[0] if lanes else "none"
    per_s = limits.send_per_s / tenant.spread
    like_most = (limits.weight, per_s, paused) == (Limits().weight, 0.0, "none")
    rule = "" if like_most else f"{limits.weight} {per_s:.9g} {paused}"
    return tenant.in_doubt, [(flow, rule) for flow in flows_of(tenant.id)]


def _taken(tenant_id: str) -> AlreadyExists:
    return AlreadyExists(f"there is a tenant {tenant_id!r} already; choose another name")


def _missing(tenant_id: str) -> NotFound:
    return NotFound(f"there is no tenant {quoted(tenant_id)}", "tenant list")
