"""Seals what is new under the master key that what is there is sealed with: with two of them, no worker opens all.

A host that has no master key yet makes one. But when tenants have sealed credentials already, those were sealed
elsewhere, and a key that is made now, or another host's, would seal what no worker can open.
"""

from collections.abc import Callable

from shards.credential import context
from shards.errors import VaultError
from shards.tenants import Tenants
from shards.vault import Vault


class Sealing:
    """The vault, proven before its first use. ``open_vault`` is told whether a new master key may be made."""

    def __init__(self, tenants: Tenants, open_vault: Callable[[bool], Vault]) -> None:
        self._tenants = tenants
        self._open_vault = open_vault
        self._proven: Vault | None = None

    async def vault(self) -> Vault:
        """Raises VaultError when none of the stored secrets opens with this master key."""
        if self._proven is None:
            sealed = [
                (credential.sealed, context(tenant.id, credential.name))
                for tenant in await self._tenants.all()
                for credential in tenant.credentials
            ]
            vault = self._open_vault(not sealed)
            if sealed and not any(_opens(vault, *each) for each in sealed):
                raise VaultError(
                    "the keys that are stored do not open with this master key: give the one that they were sealed "
                    "with (--master-key-file); if it is lost, revoke all credentials first, and add them anew"
                )
            self._proven = vault
        return self._proven


def _opens(vault: Vault, sealed: bytes, bound_to: str) -> bool:
    try:
        vault.open(sealed, bound_to)
    except VaultError:
        return False
    return True
