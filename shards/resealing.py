"""Stored secrets and the keys of the master key: which seals how many, and all sealed anew with the first."""

from collections import Counter
from typing import NamedTuple

import msgspec

from shards.credential import Credential, context
from shards.errors import VaultError
from shards.tenant import Tenant
from shards.tenants import Tenants
from shards.vault import Vault


class Census(NamedTuple):
    """``sealed``: id of a key → how many credentials open with it; ``closed``: "tenant/credential" → why it doesn't."""

    sealed: Counter[str]
    closed: dict[str, str]


async def census(tenants: Tenants, vault: Vault) -> Census:
    """Try every stored secret. Raises the store's errors."""
    found = Census(Counter(), {})
    for tenant in await tenants.all():
        for credential in tenant.credentials:
            try:
                found.sealed[vault.opener(credential.sealed, context(tenant.id, credential.name))] += 1
            except VaultError as error:
                found.closed[f"{tenant.id}/{credential.name}"] = str(error)
    return found


class Resealed(NamedTuple):
    """``anew``: credentials sealed anew; ``before``: those that were already; ``closed`` as in ``Census``."""

    anew: int
    before: int
    closed: dict[str, str]


async def reseal(tenants: Tenants, vault: Vault) -> Resealed:
    """Seal every credential with the first key. What does not open stays as it is. Raises the store's errors."""
    anew = before = 0
    closed: dict[str, str] = {}
    for listed in await tenants.all():
        if all(vault.is_fresh(each.sealed) for each in listed.credentials):
            before += len(listed.credentials)
            continue
        resealing = _Resealing(vault)
        await tenants.change(listed.id, resealing.tenant)
        anew += resealing.anew
        before += resealing.before
        closed.update(resealing.closed)
    return Resealed(anew, before, closed)


class _Resealing:
    """A change to one tenant. It may be made several times, and makes the same of the same secret each time."""

    def __init__(self, vault: Vault) -> None:
        self.anew = self.before = 0
        self.closed: dict[str, str] = {}
        self._made: dict[bytes, bytes] = {}
        self._vault = vault

    def tenant(self, tenant: Tenant) -> Tenant:
        self.anew = self.before = 0
        self.closed = {}
        credentials = tuple(self._credential(tenant.id, each) for each in tenant.credentials)
        return msgspec.structs.replace(tenant, credentials=credentials)

    def _credential(self, tenant_id: str, credential: Credential) -> Credential:
        sealed = credential.sealed
        if self._vault.is_fresh(sealed):
            self.before += 1
            return credential
        bound_to = context(tenant_id, credential.name)
        try:
            if sealed not in self._made:
                self._made[sealed] = self._vault.seal(self._vault.open(sealed, bound_to), bound_to)
        except VaultError as error:
            self.closed[f"{tenant_id}/{credential.name}"] = str(error)
            return credential
        self.anew += 1
        return msgspec.structs.replace(credential, sealed=self._made[sealed])
