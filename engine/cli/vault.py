"""``clarion vault``: the master key that stored credentials are sealed with, and how another takes its place."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

from cyclopts import App
from rich.table import Table

from engine.cli.errors import CommandError
from engine.cli.options import MASTER_KEY_VARIABLE, StoreParams
from engine.cli.store import redis_url, with_tenants
from engine.cli.tables import whole
from shards import master_key_file, resealing
from shards.resealing import Census
from shards.vault import MasterKey, Vault

app: Final = App(
    name="vault",
    help="""The master key: what stored .p8 keys and certificates are encrypted with.

    Another takes its place without a pause, in three steps, each of which may be repeated:

        clarion vault rotate
        clarion vault reseal
        clarion vault retire

    On several hosts, copy the file to each of them after the first step and after the last.
    """,
)

NAMED_MOST: Final = 5
_NO_STORE: Final = StoreParams()


@app.command
def status(*, store: StoreParams = _NO_STORE) -> None:
    """Show the keys of the master key by their ids, and how many credentials each has sealed. Every one is tried.

    For example:

        clarion vault status
    """
    vault = Vault(store.master_key(create=False))
    with redis_url(store) as url:
        found = with_tenants(url, lambda tenants: resealing.census(tenants, vault))
    # read again on the way, perhaps
    master_key = vault.master_key
    print(f"{master_key.source} holds {_count(len(master_key.keys), 'key')}.")
    table = Table("key", "", "credentials", box=None, header_style="bold")
    for number, key_id in enumerate(master_key.ids):
        table.add_row(key_id, "opens" if number else "seals and opens", str(found.sealed[key_id]))
    whole(table)
    if found.closed:
        _refuse_closed(found.closed)


@app.command
def rotate(*, store: StoreParams = _NO_STORE) -> None:
    """Put a new key in front of the master key file: it seals from now on, and the others still open.

    Processes that run need not be told; they read the file when they meet what they can't open.

    For example:

        clarion vault rotate
    """
    master_key = master_key_file.rotate(_file(store))
    print(
        f"{master_key.source} has a new key, {master_key.ids[0]}, which seals from now on. Keep a copy of the file."
    )
    print(
        "Hosts with a copy of their own need the new one now. "
        "Then 'clarion vault reseal' seals with it what is stored."
    )


@app.command
def reseal(*, store: StoreParams = _NO_STORE) -> None:
    """Seal every stored credential anew, with the first key. Sending goes on, on the same links.

    Each host that sends must have the new key in its file by now, or it can't use what is sealed with it.

    For example:

        clarion vault reseal
    """
    vault = Vault(store.master_key(create=False))
    with redis_url(store) as url:
        done = with_tenants(url, lambda tenants: resealing.reseal(tenants, vault))
    already = f"; {done.before} were already" if done.before else ""
    print(f"{_count(done.anew, 'credential')} sealed anew with {vault.master_key.ids[0]}{already}.")
    if done.closed:
        _refuse_closed(done.closed)


@app.command
def retire(*, store: StoreParams = _NO_STORE) -> None:
    """Take all keys but the first out of the master key file, if no stored credential needs them.

    Copies of Redis from before 'clarion vault reseal' still do: keep the old file as long as those.

    For example:

        clarion vault retire
    """
    path = _file(store)
    vault = Vault(store.master_key(create=False))
    old = vault.master_key.ids[1:]
    if not old:
        print(
            f"{vault.master_key.source} holds one key only, {vault.master_key.ids[0]}; there is none to retire."
        )
        return
    with redis_url(store) as url:
        _require_unused(with_tenants(url, lambda tenants: resealing.census(tenants, vault)), old)
        lines = master_key_file.retire(path, old)
        found = with_tenants(url, lambda tenants: resealing.census(tenants, vault))
    try:
        # one that was being stored while we looked
        _require_unused(found, old)
    except CommandError:
        master_key_file.put_back(path, lines)
        raise
    print(
        f"{', '.join(old)} {'are' if len(old) > 1 else 'is'} taken out of {path}; {vault.master_key.ids[0]} stays."
    )


def _file(store: StoreParams) -> Path:
    master_key: MasterKey = store.master_key(create=False)
    if master_key.path is None:
        raise CommandError(
            f"the master key is in the variable {MASTER_KEY_VARIABLE}, which only you can change: write a new key "
            "(openssl rand -base64 32) in front of it, with a comma between, and start the gateway anew; "
            "after 'clarion vault reseal' leave the old one out"
        )
    return master_key.path


def _require_unused(found: Census, old: Iterable[str]) -> None:
    needed = {key_id: found.sealed[key_id] for key_id in old if found.sealed[key_id]}
    if needed:
        many = ", ".join(f"{_count(number, 'credential')} with {key_id}" for key_id, number in needed.items())
        raise CommandError(
            f"still sealed: {many}; 'clarion vault reseal' seals them anew, and then no one needs it"
        )


def _refuse_closed(closed: dict[str, str]) -> NoReturn:
    names = sorted(closed)
    named = ", ".join(names[:NAMED_MOST])
    if len(names) > NAMED_MOST:
        named += f" and {len(names) - NAMED_MOST} more"
    raise CommandError(f"{_count(len(names), 'credential')} can't be opened ({named}): {closed[names[0]]}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
