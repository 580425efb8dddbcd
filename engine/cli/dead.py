"""``clarion dead``: pushes that ended unsent, and why; sent again, or thrown away."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from rich.table import Table

from engine.cli.errors import CommandError
from engine.cli.options import StoreParams
from engine.cli.store import redis_url, with_tenants
from engine.cli.tables import whole
from shards.dead import DeadLetter, DeadLetters, Wanted, sendable
from shards.job import Job
from shards.tenants import Tenants

app: Final = App(
    name="dead", help="Dead letters: pushes that APNs refused for good, that expired, or that were given up."
)

LIMIT_MOST: Final = 100_000
_NO_STORE: Final = StoreParams()


@app.command(name="list")
def show_all(
    *, tenant: str | None = None, reason: str | None = None, limit: int = 50, store: StoreParams = _NO_STORE
) -> None:
    """List dead letters, the newest first. Device tokens are shortened; 'clarion dead show' has them whole.

    For example:

        clarion dead list
        clarion dead list --tenant acme --reason Unregistered --limit 200

    Parameters
    ----------
    tenant
        Only this tenant's.
    reason
        Only those whose reason begins like this: BadDeviceToken, InDoubt, Expired, Exhausted, Poison …
    limit
        How many, at most.
    """
    _check_limit(limit)
    letters = _work(store, lambda dead, _: dead.newest(Wanted(tenant, reason), limit))
    if not letters:
        print("There is no such dead letter." if tenant or reason else "There are no dead letters.")
        return
    table = Table(
        "died", "tenant", "reason", "status", "attempts", "lane", "device", "topic", "id",
        box=None, header_style="bold",
    )  # fmt: skip
    for letter in letters:
        job = letter.job
        table.add_row(
            _clock(letter.at_ms),
            letter.tenant,
            letter.reason,
            str(letter.status or ""),
            str(letter.attempts),
            letter.lane,
            masked(job.device_token) if job else "",
            job.topic if job else "",
            letter.id or "(can't be read)",
        )
    whole(table)


@app.command
def show(apns_id: str, /, *, store: StoreParams = _NO_STORE) -> None:
    """Show one dead letter whole: with its device token, headers and payload.

    For example:

        clarion dead show 018f3c1e-5b7a-7000-8000-0123456789ab

    Parameters
    ----------
    apns_id
        The push's id, as the API answered it and 'clarion dead list' shows it.
    """
    letter: DeadLetter = _work(store, lambda dead, _: dead.one(apns_id.lower()))
    rows = {
        "id": letter.id,
        "tenant": letter.tenant,
        "reason": letter.reason,
        "status": str(letter.status or "none: APNs did not say it"),
        "APNs' timestamp": _clock(letter.timestamp_ms),
        "attempts": str(letter.attempts),
        "admitted": _clock(letter.admitted_ms),
        "died": _clock(letter.at_ms),
        "lane": letter.lane,
    }
    rows |= (
        _told(letter.job) if letter.job else {"the rest": "can't be read: its campaign is not known any more"}
    )
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _told(job: Job) -> dict[str, str]:
    """What was to be sent."""
    return {
        "environment": job.environment,
        "device token": job.device_token.decode("ascii", "replace"),
        "topic": job.topic,
        "push type": job.push_type,
        "priority": str(job.priority or "none given"),
        "expiration": "none given" if job.expiration < 0 else str(job.expiration),
        "collapse id": job.collapse_id.decode("utf-8", "replace") or "none given",
        "payload": job.payload.decode("utf-8", "replace"),
    }


@app.command
def replay(
    apns_ids: Annotated[list[str] | None, Parameter(negative="")] = None,
    /,
    *,
    tenant: str | None = None,
    reason: str | None = None,
    limit: int = 1_000,
    force: Annotated[bool, Parameter(negative="")] = False,
    store: StoreParams = _NO_STORE,
) -> None:
    """Send dead letters again, under their old ids, as if they had never been tried.

    One whose expiration has passed dies again at once. One that is in doubt may have arrived already. Those of a
    tenant that was deleted stay.

    For example:

        clarion dead replay 018f3c1e-5b7a-7000-8000-0123456789ab
        clarion dead replay --tenant acme --reason InvalidProviderToken

    Parameters
    ----------
    apns_ids
        Which; or give --tenant, --reason or both.
    tenant
        All of this tenant's.
    reason
        All whose reason begins like this.
    limit
        How many, at most, the newest first; with --tenant or --reason.
    force
        Send also what an earlier tenant of the same name left, with the credentials of the one that there is now.
    """
    _check_limit(limit)
    if bool(apns_ids) == bool(tenant or reason):
        raise CommandError("say which: either the ids, or --tenant, --reason or both")

    async def again(dead: DeadLetters, tenants: Tenants) -> tuple[int, int, int]:
        if apns_ids:
            letters = [await dead.one(each.lower()) for each in apns_ids]
        else:
            letters = await dead.newest(Wanted(tenant, reason), limit)
        theirs = await tenants.some(list({letter.tenant for letter in letters}))
        chosen = sendable(letters, theirs, inherited=force)
        return await dead.replay(chosen), len(chosen), len(letters)

    replayed, chosen, found = _work(store, again)
    told = f"{replayed} of {found} dead letters are queued again"
    if chosen > replayed:
        told += f"; {chosen - replayed} can't be read, or were gone already"
    if found > chosen:
        told += f"; {found - chosen} left there, since their tenant was deleted"
        told += "" if force else " (--force sends what a new tenant has inherited with its name)"
    print(f"{told}.")


@app.command
def purge(
    *,
    tenant: str | None = None,
    reason: str | None = None,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    store: StoreParams = _NO_STORE,
) -> None:
    """Throw dead letters away, for ever.

    For example:

        clarion dead purge --tenant acme --reason Unregistered
        clarion dead purge --all

    Parameters
    ----------
    tenant
        This tenant's.
    reason
        Those whose reason begins like this.
    every
        All there are.
    """
    if every == bool(tenant or reason):
        raise CommandError("say which: --tenant, --reason or both; or --all for all there are")
    print(f"{_work(store, lambda dead, _: dead.purge(Wanted(tenant, reason)))} dead letters are thrown away.")


def masked(device_token: bytes) -> str:
    """A device token as lists show it: enough to compare, not enough to push to."""
    text = device_token.decode("ascii", "replace")
    return f"{text[:4]}…{text[-4:]}" if len(text) > 16 else "…"


def _clock(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000)) if ms else "none"


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIMIT_MOST:
        raise CommandError(f"--limit is {limit}; write a number from 1 to {LIMIT_MOST}")


def _work(store: StoreParams, work: Callable[[DeadLetters, Tenants], Awaitable[Any]]) -> Any:
    with redis_url(store) as url:

        async def connected(tenants: Tenants) -> Any:
            dead = DeadLetters(url, await tenants.shards())
            try:
                return await work(dead, tenants)
            finally:
                await dead.close()

        return with_tenants(url, connected)
