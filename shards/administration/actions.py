"""The one place where an administrator's action is checked and done. Commands and the admin API only translate.

What is asked for is a request (``requests``), what is shown a view (``views``). What can't be done is an ActionRefused,
an AlreadyExists or a NotFound, whose text is for a person; what the store or the master key stands in the way of is
another StoreError. A change is announced, and every process follows it within a second.
"""

import time
from collections.abc import Callable
from typing import Final

from shards.administration.credentials import CredentialActions
from shards.administration.keys import KeyActions
from shards.administration.reading import Reading
from shards.administration.sealing import Sealing
from shards.administration.tenants import ApplicationActions, TenantActions
from shards.redis import ScriptConnection
from shards.tallies import Tallies
from shards.tenants import Tenants
from shards.vault import Vault


def wall_ms() -> int:
    """Unix time."""
    return int(time.time() * 1000)


class Administration:
    """Actions on tenants, applications, credentials and keys, over connections of their own.

    ``open_vault`` is called at the first need of it, with whether a new master key may be made.
    """

    def __init__(
        self, url: str, open_vault: Callable[[bool], Vault], *, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self.store: Final = Tenants(url)
        self._scripts = ScriptConnection(url)
        sealing, reading = Sealing(self.store, open_vault), Reading()
        self.tenants: Final = TenantActions(self.store, Tallies(self._scripts), sealing, reading, now_ms)
        self.applications: Final = ApplicationActions(self.store, now_ms)
        self.credentials: Final = CredentialActions(self.store, sealing, reading, now_ms)
        self.keys: Final = KeyActions(self.store, now_ms)

    def __repr__(self) -> str:
        return f"<Administration over {self._scripts!r}>"

    async def close(self) -> None:
        await self.store.close()
        await self._scripts.close()
