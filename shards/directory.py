"""Tenants as the hot path sees them: in memory, and forgotten within moments of a change.

``Directory`` answers from memory and asks Redis once for what it does not know. A listener clears what a change
names; when the listener has lost its connection and has a new one, everything is forgotten, because a change may
have been missed. Unknown API keys are remembered too, in bounded number and apart from the known ones, so that a
caller with wrong keys costs no round trip each and pushes nobody out of memory.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from shards import keys
from shards.api_key import ApiKey, hash_api_key
from shards.conditions import Conditions
from shards.errors import StoreError
from shards.redis import listening
from shards.tenant import Tenant
from shards.tenants import Tenants

LOG: Final = logging.getLogger("clarion.directory")
UNKNOWN_MOST: Final = 10_000
RELISTEN_AFTER_S: Final = 0.5


class Directory:
    """Tenants by id and by API key. ``on_change(tenant_id)`` is called for each change, None for "anything"."""

    def __init__(
        self, url: str, tenants: Tenants, *, on_change: Callable[[str | None], None] | None = None
    ) -> None:
        self._url = url
        self._tenants = tenants
        self._on_change = on_change
        self._by_id: dict[str, Tenant] = {}
        self._by_secret: dict[str, ApiKey] = {}
        self._unknown: set[str] = set()
        self._changes = 0

    def __repr__(self) -> str:
        return f"<Directory {len(self._by_id)} tenants, {len(self._by_secret)} keys, {len(self._unknown)} unknown>"

    @property
    def conditions(self) -> Conditions:
        """What keeps tenants' credentials from being used."""
        return self._tenants.conditions

    def known(self, tenant_id: str) -> Tenant | None:
        """The tenant if it is in memory."""
        return self._by_id.get(tenant_id)

    async def tenant(self, tenant_id: str) -> Tenant:
        """Raises NotFound and the store's errors."""
        found = self._by_id.get(tenant_id)
        if found is None:
            changes = self._changes
            found = await self._tenants.get(tenant_id)
            if changes == self._changes:
                # otherwise the answer may be older than the change that has just been announced
                self._by_id[tenant_id] = found
        return found

    async def learn(self, tenant_ids: Iterable[str]) -> None:
        """Have these tenants in memory, unless they change meanwhile. Raises the store's errors."""
        missing = [tenant_id for tenant_id in tenant_ids if tenant_id not in self._by_id]
        changes = self._changes
        found = await self._tenants.some(missing)
        if changes == self._changes:
            self._by_id.update((tenant.id, tenant) for tenant in found)

    async def by_api_key(self, secret: str) -> tuple[Tenant, ApiKey] | None:
        """The tenant whose API key this is, and what is kept of the key; None for a key that is nobody's.

        Whether the key is good for what it is shown for is the caller's to ask. Raises the store's errors, and
        NotFound for a key that has outlived its tenant.
        """
        if secret in self._unknown:
            return None
        key = self._by_secret.get(secret)
        if key is None:
            changes = self._changes
            key = await self._tenants.api_key(hash_api_key(secret))
            still_true = changes == self._changes
            if key is None:
                if still_true:
                    self._remember_unknown(secret)
                return None
            if still_true:
                self._by_secret[secret] = key
        return await self.tenant(key.tenant), key

    def _remember_unknown(self, secret: str) -> None:
        if len(self._unknown) >= UNKNOWN_MOST:
            self._unknown.clear()
        self._unknown.add(secret)

    def forget(self, tenant_id: str | None) -> None:
        """Drop what a change may have made untrue; None drops everything."""
        self._changes += 1
        if tenant_id is None:
            self._by_id.clear()
        else:
            self._by_id.pop(tenant_id, None)
        self._by_secret.clear()
        self._unknown.clear()
        if self._on_change is not None:
            self._on_change(tenant_id)

    async def follow(self) -> None:
        """Listen for changes, for ever."""
        while True:
            try:
                async with listening(self._url, [keys.CHANGES]) as changes:
                    self.forget(None)
                    async for _, tenant_id in changes:
                        self.forget(tenant_id)
            except StoreError as error:
                LOG.warning("changes to tenants are not seen for now: %s", error)
            await asyncio.sleep(RELISTEN_AFTER_S)
