"""``clarion tenant``: the companies on this gateway."""

from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter

from engine.cli import tables
from engine.cli.admin_options import CredentialParams, LimitParams, ShowParams
from engine.cli.errors import CommandError
from engine.cli.options import StoreParams
from engine.cli.store import administer
from shards.administration.actions import wall_ms
from shards.administration.credential_request import NewCredential
from shards.administration.requests import NewTenant, TenantChanges, WhichLane
from shards.administration.views import TenantView

app: Final = App(name="tenant", help="Tenants: the companies that push through this gateway.")
# it dials APNs, which needs more than the others do
app.command("engine.cli.check:check", name="check")

LaneName = Literal["high", "low", "both"]

_NO_STORE: Final = StoreParams()
_NO_CREDENTIAL: Final = CredentialParams()
_NO_LIMITS: Final = LimitParams()
_PLAIN: Final = ShowParams()


@app.command
def create(
    name: str,
    *,
    topic: Annotated[list[str] | None, Parameter(negative="")] = None,
    spread: int | None = None,
    in_doubt: Literal["resend", "bury"] = "resend",
    credential: CredentialParams = _NO_CREDENTIAL,
    limits: LimitParams = _NO_LIMITS,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Create a tenant, and show its API key: once, since only a hash of it is kept.

    For example:

        clarion tenant create acme --team-id A1B2C3D4E5 --key-id F6G7H8I9J0 \\
            --key-file AuthKey_F6G7H8I9J0.p8 --topic com.acme.app
        clarion tenant create codes --team-id A1B2C3D4E5 --key-id F6G7H8I9J0 \\
            --key-file AuthKey_F6G7H8I9J0.p8 --topic com.acme.login --in-doubt bury

    Parameters
    ----------
    name
        What the tenant is called here: lower-case letters, digits and hyphens.
    topic
        A bundle id that the tenant may push to; may be given several times.
    spread
        Over how many shards its devices are spread; without it, 4; more for a tenant that alone must use many CPUs.
    in_doubt
        What to do when nobody can know whether APNs had a push: resend it, and it may arrive twice; or bury it among
        the dead letters, and it may not arrive, which suits one-time codes.
    """
    new = NewTenant(
        name=name,
        applications=tuple(topic or ()),
        credential=NewCredential(**credential.fields()) if credential.given() else None,
        spread=msgspec.UNSET if spread is None else spread,
        in_doubt=in_doubt,
        limits=limits.request(),
    )
    # before a store is opened, or even made
    new.check(wall_ms())
    created = administer(store, lambda administration: administration.tenants.create(new))
    if show.json:
        tables.as_json(created)
        return
    print(f"Tenant {name} is created. Its API key, {created.key.prefix}, is shown only now:")
    tables.secret(created.api_key)
    if not new.applications:
        tables.notes([f"it has no application yet: 'clarion application add {name} BUNDLE_ID'"])
    if new.credential is None:
        tables.notes([f"it has no credential yet: 'clarion credential add {name} …'"])


@app.command(name="list")
def show_all(*, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """List the tenants, and below them what keeps their credentials from being used.

    For example:

        clarion tenant list
    """
    found = administer(store, lambda administration: administration.tenants.show_all())
    if show.json:
        tables.as_json(found)
    elif not found.tenants:
        print("There is no tenant yet; 'clarion tenant create --help' shows how to make one.")
    else:
        tables.tenants(found.tenants)


@app.command(name="show")
def show_one(name: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Show one tenant: its limits, its queues, its credentials and keys, and what holds it up; no secrets.

    For example:

        clarion tenant show acme

    Parameters
    ----------
    name
        The tenant.
    """
    found = administer(store, lambda administration: administration.tenants.show(name))
    if show.json:
        tables.as_json(found)
    else:
        tables.tenant(found)


@app.command(name="set")
def change(
    name: str,
    /,
    *,
    spread: int | None = None,
    in_doubt: Literal["resend", "bury"] | None = None,
    limits: LimitParams = _NO_LIMITS,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Change a tenant's limits and settings. What is not given stays as it is.

    For example:

        clarion tenant set acme --weight 4
        clarion tenant set acme --send-per-s 500 --admit-per-s 1000 --admit-burst 5000

    Parameters
    ----------
    name
        The tenant.
    spread
        Over how many shards its devices are spread.
    in_doubt
        What to do when nobody can know whether APNs had a push: resend it, or bury it.
    """
    if spread is None and in_doubt is None and not limits.given():
        raise CommandError("say what to set: --weight, --send-per-s, … ('clarion tenant set --help' has all)")
    changes = TenantChanges(
        spread=msgspec.UNSET if spread is None else spread,
        in_doubt=msgspec.UNSET if in_doubt is None else in_doubt,
        limits=limits.request(),
    )
    changes.check(wall_ms())
    _told(administer(store, lambda administration: administration.tenants.change(name, changes)), show)


@app.command
def disable(name: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Take nothing more in of a tenant, and send nothing more. What waits stays; 'enable' lets all go on.

    For example:

        clarion tenant disable acme

    Parameters
    ----------
    name
        The tenant.
    """
    _told(administer(store, lambda administration: administration.tenants.disable(name)), show)


@app.command
def enable(name: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Let a disabled tenant go on.

    For example:

        clarion tenant enable acme

    Parameters
    ----------
    name
        The tenant.
    """
    _told(administer(store, lambda administration: administration.tenants.enable(name)), show)


@app.command
def pause(
    name: str, /, *, lane: LaneName = "both", show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE
) -> None:
    """Send nothing more from a tenant's lane. Pushes are still taken in, and wait.

    For example:

        clarion tenant pause acme --lane low

    Parameters
    ----------
    name
        The tenant.
    lane
        Which: high, low or both.
    """
    which = WhichLane(lane=lane)
    _told(administer(store, lambda administration: administration.tenants.pause(name, which)), show)


@app.command
def resume(
    name: str, /, *, lane: LaneName = "both", show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE
) -> None:
    """Let a paused lane go on.

    For example:

        clarion tenant resume acme --lane low

    Parameters
    ----------
    name
        The tenant.
    lane
        Which: high, low or both.
    """
    which = WhichLane(lane=lane)
    _told(administer(store, lambda administration: administration.tenants.resume(name, which)), show)


@app.command
def delete(
    name: str,
    /,
    *,
    force: Annotated[bool, Parameter(negative="")] = False,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Remove a tenant with its API keys and credentials, for ever.

    For example:

        clarion tenant delete acme

    Parameters
    ----------
    name
        The tenant.
    force
        Even if pushes of it wait or are being sent: they end among the dead letters as TenantUnknown.
    """
    done = administer(store, lambda administration: administration.tenants.delete(name, force=force))
    if show.json:
        tables.as_json(done)
        return
    print(f"Tenant {name} is gone, with its API keys and credentials.")
    tables.notes(done.notes)


def _told(view: TenantView, show: ShowParams) -> None:
    """The tenant as it is now."""
    if show.json:
        tables.as_json(view)
    else:
        print(f"Tenant {view.name} is {tables.state(view)}; limits: {tables.limits(view.limits)}; ", end="")
        print(f"spread {view.spread}; in doubt: {view.in_doubt}.")
