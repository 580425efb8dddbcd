"""What each address does: one action of ``shards.administration`` each, and what the log is to say of it."""

from typing import Any, NamedTuple

import msgspec

from engine.admin.checking import Checked
from engine.link.check import Check
from shards.administration.actions import Administration
from shards.administration.keys import prefix_in


class Ask(NamedTuple):
    """A request that may be done. ``tenant`` and ``name`` are out of the path, "" where it has none. ``check`` asks
    APNs."""

    tenant: str
    name: str
    body: Any
    query: Any
    check: Check


class Outcome(NamedTuple):
    """The answer; for a change, ``what`` was changed and in which ``tenant``, for the log."""

    answer: msgspec.Struct
    what: str = ""
    tenant: str = ""


# -- tenants -----------------------------------------------------------------------------------------------------


async def list_tenants(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.tenants.show_all())


async def create_tenant(administration: Administration, ask: Ask) -> Outcome:
    made = await administration.tenants.create(ask.body)
    return Outcome(made, f"with API key {made.key.prefix}", made.tenant.name)


async def show_tenant(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.tenants.show(ask.tenant))


async def change_tenant(administration: Administration, ask: Ask) -> Outcome:
    view = await administration.tenants.change(ask.tenant, ask.body)
    given = [*_given(ask.body.limits), *_given(ask.body)]
    return Outcome(view, ", ".join(given), view.name)


async def delete_tenant(administration: Administration, ask: Ask) -> Outcome:
    done = await administration.tenants.delete(ask.tenant, force=ask.query.force)
    return Outcome(done, "by force" if ask.query.force else "", ask.tenant)


async def disable_tenant(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.tenants.disable(ask.tenant), tenant=ask.tenant)


async def enable_tenant(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.tenants.enable(ask.tenant), tenant=ask.tenant)


async def pause_tenant(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.tenants.pause(ask.tenant, ask.body), ask.body.lane, ask.tenant)


async def resume_tenant(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.tenants.resume(ask.tenant, ask.body), ask.body.lane, ask.tenant)


async def check_tenant(administration: Administration, ask: Ask) -> Outcome:
    tenant = await administration.store.get(ask.tenant)
    checked = Checked.of(await ask.check.tenant(tenant, ask.body.environment, ask.body.topic))
    return Outcome(checked, "all good" if checked.good else "something is wrong", ask.tenant)


# -- applications ------------------------------------------------------------------------------------------------


async def list_applications(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.applications.show(ask.tenant))


async def add_application(administration: Administration, ask: Ask) -> Outcome:
    answer = await administration.applications.add(ask.tenant, ask.body)
    return Outcome(answer, ask.body.bundle_id, ask.tenant)


async def remove_application(administration: Administration, ask: Ask) -> Outcome:
    done = await administration.applications.remove(ask.tenant, ask.name, force=ask.query.force)
    return Outcome(done, ask.name, ask.tenant)


# -- credentials -------------------------------------------------------------------------------------------------


async def list_credentials(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.credentials.show(ask.tenant))


async def add_credential(administration: Administration, ask: Ask) -> Outcome:
    change = await administration.credentials.add(ask.tenant, ask.body)
    return Outcome(change, change.credential.name, ask.tenant)


async def rotate_credential(administration: Administration, ask: Ask) -> Outcome:
    change = await administration.credentials.rotate(ask.tenant, ask.name, ask.body)
    return Outcome(change, f"{ask.name} to {change.credential.name}", ask.tenant)


async def revoke_credential(administration: Administration, ask: Ask) -> Outcome:
    done = await administration.credentials.revoke(ask.tenant, ask.name)
    return Outcome(done, ask.name, ask.tenant)


async def disable_credential(administration: Administration, ask: Ask) -> Outcome:
    change = await administration.credentials.disable(ask.tenant, ask.name)
    return Outcome(change, ask.name, ask.tenant)


async def enable_credential(administration: Administration, ask: Ask) -> Outcome:
    change = await administration.credentials.enable(ask.tenant, ask.name)
    return Outcome(change, ask.name, ask.tenant)


async def expire_credential(administration: Administration, ask: Ask) -> Outcome:
    change = await administration.credentials.expire(ask.tenant, ask.name, ask.body)
    return Outcome(change, f"{ask.name} at {ask.body.not_after_ms}", ask.tenant)


# -- API keys ----------------------------------------------------------------------------------------------------


async def list_keys(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.keys.show(ask.tenant or None))


async def create_key(administration: Administration, ask: Ask) -> Outcome:
    made = await administration.keys.create(ask.tenant, ask.body)
    return Outcome(made, f"{made.key.prefix} for {', '.join(made.key.scopes)}", ask.tenant)


async def find_key(administration: Administration, ask: Ask) -> Outcome:
    return Outcome(await administration.keys.find(ask.name, ask.tenant or None))


async def revoke_key(administration: Administration, ask: Ask) -> Outcome:
    done = await administration.keys.revoke(ask.tenant, ask.name, ask.query.after_s)
    later = f" in {ask.query.after_s:g} s" if ask.query.after_s else ""
    return Outcome(done, f"{prefix_in(ask.name)}{later}", ask.tenant)


def _given(request: msgspec.Struct) -> list[str]:
    """Names of the plain fields that were given."""
    values = {name: getattr(request, name) for name in request.__struct_fields__}
    return [
        name
        for name, value in values.items()
        if value is not msgspec.UNSET and not isinstance(value, msgspec.Struct)
    ]
