"""Which pool a tenant's jobs go to: tenant → credential → pool, with the pools of this worker."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from engine.apns.bearer import Bearer, KeyFileError, load_p8
from engine.link.host import Host
from engine.link.pool import Pool, PoolKey
from engine.policy.links import LinkOptions
from engine.policy.verdict import BURY_IN_DOUBT
from engine.worker.conditions import ConditionLog
from engine.worker.fates import Fates
from shards.directory import Directory
from shards.errors import VaultError
from shards.tenant import Tenant, credential_context
from shards.vault import Vault

LOG: Final = logging.getLogger("clarion.router")


class UnusableCredential(Exception):
    """The tenant's key can't sign; the text says why."""


class Router:
    """Finds and makes pools. Two tenants of one team and key share a pool, since APNs sees them as one."""

    def __init__(
        self,
        directory: Directory,
        vault: Vault,
        hosts: dict[str, Host],
        receiver: Fates,
        options: LinkOptions,
        may_send: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._vault = vault
        self._hosts = hosts
        self._receiver = receiver
        self._options = options
        self._may_send = may_send
        receiver.conditions = ConditionLog(directory.conditions)
        self._pools: dict[PoolKey, Pool] = {}
        self._routes: dict[tuple[str, str], Pool] = {}

    def __repr__(self) -> str:
        return f"<Router {len(self._routes)} routes to {len(self._pools)} pools>"

    def pools(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    def known(self, tenant_id: str, environment: str) -> Pool | None:
        """The pool, if this tenant has been routed before."""
        return self._routes.get((tenant_id, environment))

    async def route(self, tenant_id: str, environment: str) -> Pool:
        """The pool for a tenant's jobs. Raises NotFound, UnusableCredential and the store's errors."""
        tenant = await self._directory.tenant(tenant_id)
        # also for a pool that exists: to name a team and a key id is not to have the key
        bearer = self._bearer(tenant)
        key = PoolKey(environment, tenant.team_id, tenant.key_id, bearer.fingerprint)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(
                key,
                self._hosts[environment],
                bearer,
                self._receiver,
                self._options,
                may_send=self._may_send,
            )
        if tenant.in_doubt == BURY_IN_DOUBT:
            self._receiver.bury_in_doubt.add(tenant_id)
        else:
            self._receiver.bury_in_doubt.discard(tenant_id)
        self._routes[tenant_id, environment] = pool
        return pool

    def _bearer(self, tenant: Tenant) -> Bearer:
        try:
            pem = self._vault.open(tenant.sealed_key, credential_context(tenant.id, tenant.key_id))
            return Bearer(load_p8(pem), tenant.team_id, tenant.key_id)
        except (VaultError, KeyFileError) as error:
            raise UnusableCredential(f"the key {tenant.key_id} of tenant {tenant.id}: {error}") from error

    def forget(self, tenant_id: str | None) -> None:
        """A tenant has changed (None: any may have): its route is found anew."""
        for route in [r for r in self._routes if tenant_id in (None, r[0])]:
            del self._routes[route]

    def saturated(self, backlog_most: int) -> list[str]:
        """Tenants whose pool has all the work that it may hold, or whose credential is paused."""
        return [
            tenant_id
            for (tenant_id, _), pool in self._routes.items()
            if len(pool.backlog) >= backlog_most or (pool.pauses and pool.rests())
        ]
