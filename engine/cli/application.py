"""``clarion application``: the apps that a tenant may push to."""

from typing import Annotated, Final

from cyclopts import App, Parameter

from engine.cli import tables
from engine.cli.admin_options import ShowParams
from engine.cli.options import StoreParams
from engine.cli.store import administer
from shards.administration.actions import wall_ms
from shards.administration.requests import NewApplication

app: Final = App(name="application", help="Applications: the bundle ids that a tenant may push to.")

_NO_STORE: Final = StoreParams()
_PLAIN: Final = ShowParams()


@app.command(name="list")
def show_all(tenant: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """List a tenant's applications, and which credential signs their pushes.

    For example:

        clarion application list acme

    Parameters
    ----------
    tenant
        The tenant.
    """
    found = administer(store, lambda administration: administration.applications.show(tenant))
    if show.json:
        tables.as_json(found)
    elif not found.applications:
        print(f"It has none; 'clarion application add {tenant} BUNDLE_ID' adds one.")
    else:
        tables.applications(found.applications)


@app.command
def add(tenant: str, bundle_id: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Let a tenant push to another application.

    For example:

        clarion application add acme com.acme.mail

    Parameters
    ----------
    tenant
        The tenant.
    bundle_id
        Apple's id of the app, without suffixes such as .voip: those come with it.
    """
    new = NewApplication(bundle_id=bundle_id)
    new.check(wall_ms())
    found = administer(store, lambda administration: administration.applications.add(tenant, new))
    if show.json:
        tables.as_json(found)
        return
    print(f"Tenant {tenant} may push to {bundle_id}.")
    unsigned = [
        view
        for view in found.applications
        if view.bundle_id == bundle_id and not any(view.credentials.values())
    ]
    if unsigned:
        tables.notes(["no credential of the tenant is for it: see 'clarion credential add --help'"])


@app.command
def remove(
    tenant: str,
    bundle_id: str,
    /,
    *,
    force: Annotated[bool, Parameter(negative="")] = False,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Take no more pushes to an application. Those that wait are still sent.

    For example:

        clarion application remove acme com.acme.mail

    Parameters
    ----------
    tenant
        The tenant.
    bundle_id
        The application.
    force
        Even if it is the last one, or if a credential is for it alone.
    """
    done = administer(
        store, lambda administration: administration.applications.remove(tenant, bundle_id, force=force)
    )
    if show.json:
        tables.as_json(done)
        return
    print(f"Tenant {tenant} may push to {bundle_id} no more.")
    tables.notes(done.notes)
