"""``clarion key``: what callers of the API show."""

from typing import Annotated, Final

from cyclopts import App, Parameter

from engine.cli import tables
from engine.cli.admin_options import ShowParams
from engine.cli.moments import clock, moment_ms, span_s
from engine.cli.options import StoreParams
from engine.cli.store import administer
from shards.administration.actions import wall_ms
from shards.administration.requests import NewKey, ScopeName

app: Final = App(
    name="key",
    help="""API keys: what callers of the API show.

    A key is shown once, when it is made. A lost one is replaced: create another, and revoke the lost one by its
    prefix.""",
)

_NO_STORE: Final = StoreParams()
_PLAIN: Final = ShowParams()


@app.command
def create(
    tenant: str,
    /,
    *,
    scope: Annotated[list[ScopeName] | None, Parameter(negative="")] = None,
    label: str = "",
    not_after: str | None = None,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Make an API key, and show it: once, since only a hash of it is kept.

    For example:

        clarion key create acme --label billing
        clarion key create acme --scope admin --not-after 90d

    Parameters
    ----------
    tenant
        Whose key it is.
    scope
        What it is for: send (to push), read (to look at the tenant), admin (to change the tenant's keys, credentials
        and applications over HTTP); may be given several times. Without it, send and read.
    label
        A word to know it by.
    not_after
        When it ends: 2027-01-31, 2027-01-31T18:00+01:00, or 90d from now.
    """
    new = NewKey(
        scopes=("send", "read") if scope is None else tuple(scope),
        label=label,
        not_after_ms=moment_ms("--not-after", not_after),
    )
    new.check(wall_ms())
    made = administer(store, lambda administration: administration.keys.create(tenant, new))
    if show.json:
        tables.as_json(made)
        return
    print(
        f"API key {made.key.prefix} of tenant {tenant}, for {', '.join(made.key.scopes)}, is shown only now:"
    )
    tables.secret(made.api_key)


@app.command(name="list")
def show_all(
    tenant: str | None = None, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE
) -> None:
    """List API keys by their prefixes: a tenant's, or everybody's.

    For example:

        clarion key list acme
        clarion key list

    Parameters
    ----------
    tenant
        Only this tenant's.
    """
    found = administer(store, lambda administration: administration.keys.show(tenant))
    if show.json:
        tables.as_json(found)
    elif not found.keys:
        print(f"There is none; 'clarion key create {tenant or 'TENANT'}' makes one.")
    else:
        tables.keys(found.keys)


@app.command(name="show")
def find(prefix: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Show whose an API key is and what it is for, by its prefix. The key itself is not kept, and can't be shown.

    For example:

        clarion key show clarion_0a1b2c3d

    Parameters
    ----------
    prefix
        What the key begins with, up to the second underscore.
    """
    found = administer(store, lambda administration: administration.keys.find(prefix))
    if show.json:
        tables.as_json(found)
        return
    tables.keys([found])
    print(f"\n{found.if_lost}\n")
    print(f"    clarion key create {found.tenant}")
    print(f"    clarion key revoke {found.tenant} {found.prefix}")


@app.command
def revoke(
    tenant: str,
    prefix: str,
    /,
    *,
    after: str | None = None,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Let an API key be good for nothing any more: at once, or after a time in which another takes its place.

    For example:

        clarion key revoke acme clarion_0a1b2c3d
        clarion key revoke acme clarion_0a1b2c3d --after 7d

    Parameters
    ----------
    tenant
        Whose key it is.
    prefix
        What the key begins with, up to the second underscore.
    after
        How long it is still good: 15m, 12h, 7d.
    """
    after_s = 0.0 if after is None else span_s("--after", after)
    ends_ms = wall_ms() + int(after_s * 1000)
    done = administer(store, lambda administration: administration.keys.revoke(tenant, prefix, after_s))
    if show.json:
        tables.as_json(done)
        return
    print(f"The API key ends {'now' if not after_s else clock(ends_ms)}.")
    tables.notes(done.notes)
