"""An administration on a real Redis for tests: with a clock that they set, and files of made-up teams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from loadtest.teams import MadeUpTeam, make_team
from shards.administration.actions import Administration
from shards.administration.credential_request import NewCredential
from shards.administration.requests import NewTenant
from shards.vault import Vault

NOW_MS = 1_800_000_000_000
APP = "com.acme.app"
MAIL = "com.acme.mail"
VAULT = Vault(bytes(range(32)))


class Clock:
    """Unix ms, as the test says."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Office(Administration):
    """An administration whose clock is at hand, and which remembers how its vault was asked for."""

    def __init__(self, url: str, vault: Vault) -> None:
        self.clock = Clock()
        self.may_create: list[bool] = []

        def open_vault(create: bool) -> Vault:
            self.may_create.append(create)
            return vault

        super().__init__(url, open_vault, now_ms=self.clock)


@asynccontextmanager
async def office(url: str, vault: Vault = VAULT) -> AsyncIterator[Office]:
    opened = Office(url, vault)
    try:
        yield opened
    finally:
        await opened.close()


@cache
def team(number: int) -> MadeUpTeam:
    """The same key each time it is asked for."""
    return make_team(number)


def key_of(number: int, **fields: object) -> NewCredential:
    """The request for a team's key; ``fields`` are others of its."""
    made = team(number)
    plain = {"team_id": made.team_id, "key_id": made.key_id, "key": made.private_key_pem.decode()}
    return NewCredential(**{**plain, **fields})


def acme(**fields: object) -> NewTenant:
    return NewTenant(**{"name": "acme", "applications": (APP, MAIL), **fields})
