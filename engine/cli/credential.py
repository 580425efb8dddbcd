"""``clarion credential``: what APNs knows a tenant by."""

from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from engine.cli import tables
from engine.cli.admin_options import CredentialParams, ShowParams
from engine.cli.moments import clock, moment_ms, span_s
from engine.cli.options import StoreParams
from engine.cli.store import administer
from shards.administration.actions import wall_ms
from shards.administration.credential_request import NewCredential, Rotation
from shards.administration.requests import Expiry
from shards.administration.views import CredentialChange

app: Final = App(
    name="credential",
    help="Credentials: the .p8 keys and certificates that APNs knows a tenant by. They are stored encrypted.",
)

_NO_STORE: Final = StoreParams()
_NO_CREDENTIAL: Final = CredentialParams()
_PLAIN: Final = ShowParams()


@app.command
def add(
    tenant: str,
    /,
    *,
    name: str = "",
    topic: Annotated[list[str] | None, Parameter(negative="")] = None,
    credential: CredentialParams = _NO_CREDENTIAL,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Add a key or a certificate to a tenant. Of several that fit a push, the newest signs it.

    For example:

        clarion credential add acme --team-id A1B2C3D4E5 --key-id F6G7H8I9J0 \\
            --key-file AuthKey_F6G7H8I9J0.p8
        clarion credential add acme --certificate-file acme.p12 --certificate-password-file acme.txt

    Parameters
    ----------
    tenant
        Whose it is.
    name
        What to call it here; without it, the key id, or the certificate's bundle id.
    topic
        For a topic-specific key: a bundle id that it is for; may be given several times.
    """
    new = NewCredential(
        name=name, topics=msgspec.UNSET if topic is None else tuple(topic), **credential.fields()
    )
    new.check(wall_ms())
    _told(administer(store, lambda administration: administration.credentials.add(tenant, new)), show)


@app.command(name="list")
def show_all(tenant: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """List a tenant's credentials, and what each signs now; never the keys themselves.

    For example:

        clarion credential list acme

    Parameters
    ----------
    tenant
        The tenant.
    """
    found = administer(store, lambda administration: administration.credentials.show(tenant))
    if show.json:
        tables.as_json(found)
    elif not found.credentials:
        print(f"It has none; 'clarion credential add {tenant} …' adds one.")
    else:
        tables.credentials(found.credentials)


@app.command
def rotate(
    tenant: str,
    old: str,
    /,
    *,
    name: str = "",
    topic: Annotated[list[str] | None, Parameter(negative="")] = None,
    overlap: str | None = None,
    credential: CredentialParams = _NO_CREDENTIAL,
    show: ShowParams = _PLAIN,
    store: StoreParams = _NO_STORE,
) -> None:
    """Add a newer key beside a credential, for the same team, environments and topics. It signs from then on.

    The old one is there to fall back to: revoke the new one, and it signs again. Revoke it when all is well.

    For example:

        clarion credential rotate acme F6G7H8I9J0 --key-id K1L2M3N4O5 --key-file AuthKey_K1L2M3N4O5.p8
        clarion credential revoke acme F6G7H8I9J0

    Parameters
    ----------
    tenant
        Whose it is.
    old
        The credential that the new one takes the place of.
    name
        What to call the new one here; without it, its key id.
    topic
        For a topic-specific key: a bundle id that it is for; without it, those of the old one.
    overlap
        When the old one ends by itself: 12h, 7d. Without it, it stays.
    """
    new = Rotation(
        name=name,
        topics=msgspec.UNSET if topic is None else tuple(topic),
        overlap_s=msgspec.UNSET if overlap is None else span_s("--overlap", overlap),
        **credential.fields(),
    )
    new.check(wall_ms())
    _told(administer(store, lambda administration: administration.credentials.rotate(tenant, old, new)), show)


@app.command
def revoke(tenant: str, name: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Remove a credential with its stored key. Workers close its links within a second.

    For example:

        clarion credential revoke acme F6G7H8I9J0

    Parameters
    ----------
    tenant
        Whose it is.
    name
        The credential.
    """
    done = administer(store, lambda administration: administration.credentials.revoke(tenant, name))
    if show.json:
        tables.as_json(done)
        return
    print(f"Credential {name} of tenant {tenant} is gone, and its key with it.")
    tables.notes(done.notes)


@app.command
def disable(tenant: str, name: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Use a credential no more, and keep it.

    For example:

        clarion credential disable acme F6G7H8I9J0

    Parameters
    ----------
    tenant
        Whose it is.
    name
        The credential.
    """
    _told(administer(store, lambda administration: administration.credentials.disable(tenant, name)), show)


@app.command
def enable(tenant: str, name: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE) -> None:
    """Use a disabled credential again.

    For example:

        clarion credential enable acme F6G7H8I9J0

    Parameters
    ----------
    tenant
        Whose it is.
    name
        The credential.
    """
    _told(administer(store, lambda administration: administration.credentials.enable(tenant, name)), show)


@app.command
def expire(
    tenant: str, name: str, at: str, /, *, show: ShowParams = _PLAIN, store: StoreParams = _NO_STORE
) -> None:
    """Use a credential no more from a certain time on.

    For example:

        clarion credential expire acme F6G7H8I9J0 2027-01-31
        clarion credential expire acme F6G7H8I9J0 7d
        clarion credential expire acme F6G7H8I9J0 never

    Parameters
    ----------
    tenant
        Whose it is.
    name
        The credential.
    at
        2027-01-31, 2027-01-31T18:00+01:00, 7d from now, or never.
    """
    expiry = Expiry(not_after_ms=moment_ms("AT", at))
    expiry.check(wall_ms())
    _told(
        administer(store, lambda administration: administration.credentials.expire(tenant, name, expiry)),
        show,
    )


def _told(change: CredentialChange, show: ShowParams) -> None:
    """The credential as it is now, and what follows."""
    if show.json:
        tables.as_json(change)
        return
    view = change.credential
    signs = [f"{', '.join(topics)} in {where}" for where, topics in view.applications.items() if topics]
    until = f" until {clock(view.not_after_ms)}" if view.not_after_ms else ""
    print(f"Credential {view.name} (team {view.team_id}) signs {'; '.join(signs) or 'nothing now'}{until}.")
    tables.notes(change.notes)
