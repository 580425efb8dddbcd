"""What an administrator does to tenants and to their applications."""

from collections.abc import Callable, Iterable

import msgspec
from msgspec import UNSET

from shards.administration.checks import APPLICATIONS_MOST, ActionRefused, listed
from shards.administration.credentials import forget_conditions, joined, sealed
from shards.administration.reading import Reading
from shards.administration.requests import NewApplication, NewTenant, TenantChanges, WhichLane
from shards.administration.sealing import Sealing
from shards.administration.views import (
    ApplicationList,
    Done,
    NewTenantView,
    TenantDetail,
    TenantList,
    TenantView,
    detail_of_tenant,
    view_of_application,
    view_of_key,
    view_of_tenant,
)
from shards.api_key import ApiKey, new_api_key
from shards.conditions import Condition
from shards.errors import AlreadyExists, NotFound
from shards.lanes import Lane
from shards.quoting import quoted
from shards.tallies import Remains, Tallies
from shards.tenant import Tenant
from shards.tenants import Tenants


class TenantActions:
    """Raises ActionRefused, AlreadyExists, NotFound and the store's errors."""

    def __init__(
        self,
        tenants: Tenants,
        tallies: Tallies,
        sealing: Sealing,
        reading: Reading,
        now_ms: Callable[[], int],
    ) -> None:
        self._tenants = tenants
        self._tallies = tallies
        self._sealing = sealing
        self._reading = reading
        self._now_ms = now_ms

    async def create(self, new: NewTenant) -> NewTenantView:
        """Create a tenant with a first API key; this answer is the only one that holds that.

        Not while pushes of an earlier tenant of that name wait or are in hand.
        """
        now_ms = self._now_ms()
        read = await self._reading.in_turn(new.name, lambda: new.read(now_ms))
        await self._refuse_beyond_shards(new)
        await self._refuse_to_inherit(new.name)
        tenant = Tenant(id=new.name, topics=tuple(dict.fromkeys(new.applications)), created_ms=now_ms)
        tenant = _changed(tenant, new)
        if read is not None:
            vault = await self._sealing.vault()
            try:
                tenant = joined(tenant, sealed(vault, new.name, read, now_ms), vault)
            except ActionRefused as refused:
                raise refused.within("credential") from None
        secret, prefix = new_api_key()
        await self._tenants.create(tenant, secret, prefix)
        return NewTenantView(
            api_key=secret,
            key=view_of_key(ApiKey(tenant.id, prefix, now_ms), now_ms),
            tenant=view_of_tenant(tenant, (), now_ms),
        )

    async def show_all(self) -> TenantList:
        now_ms = self._now_ms()
        found = _by_whom(await self._tenants.conditions.all())
        return TenantList(
            tenants=[
                view_of_tenant(tenant, _concerning(tenant, found), now_ms)
                for tenant in await self._tenants.all()
            ]
        )

    async def show(self, tenant_id: str) -> TenantDetail:
        """Everything but secrets."""
        tenant = await self._tenants.get(tenant_id)
        return detail_of_tenant(
            tenant,
            await self._tenants.conditions.all(),
            await self._tenants.api_keys(tenant_id),
            await self._tallies.count(tenant_id, tenant.spread, await self._tenants.shards()),
            self._now_ms(),
        )

    async def change(self, tenant_id: str, changes: TenantChanges) -> TenantView:
        changes.check(self._now_ms())
        await self._refuse_beyond_shards(changes)
        return await self._change(tenant_id, lambda tenant: _changed(tenant, changes))

    async def disable(self, tenant_id: str) -> TenantView:
        """Nothing more is taken in of it, and nothing more sent; what waits stays."""
        return await self._change(tenant_id, lambda tenant: msgspec.structs.replace(tenant, disabled=True))

    async def enable(self, tenant_id: str) -> TenantView:
        return await self._change(tenant_id, lambda tenant: msgspec.structs.replace(tenant, disabled=False))

    async def pause(self, tenant_id: str, which: WhichLane) -> TenantView:
        """Send nothing more from a lane; what is taken in for it waits."""
        return await self._pause(tenant_id, lambda paused: paused | which.lanes())

    async def resume(self, tenant_id: str, which: WhichLane) -> TenantView:
        return await self._pause(tenant_id, lambda paused: paused - which.lanes())

    async def delete(self, tenant_id: str, *, force: bool = False) -> Done:
        """Remove it with its keys and credentials. Unless by force, only when every push of it has ended."""
        tenant = await self._tenants.get(tenant_id)
        remains = await self._tallies.remains(tenant_id, await self._tenants.shards())
        if not force:
            _refuse_over(remains, tenant_id)
        await self._tenants.delete(tenant_id)
        await forget_conditions(self._tenants, tenant.credentials, tenant_id)
        notes = []
        if remains.waiting:
            notes.append(f"{remains.waiting} pushes that waited end among the dead letters as TenantUnknown")
        if remains.in_hand:
            notes.append(f"{remains.in_hand} pushes that workers had in hand are sent, or end there too")
        return Done(notes=notes)

    # -- inside ------------------------------------------------------------------------------------------------

    async def _refuse_beyond_shards(self, changes: TenantChanges) -> None:
        if changes.spread is not UNSET and changes.spread > (shards := await self._tenants.shards()):
            raise ActionRefused(
                "spread", f"is {changes.spread}, and there are {shards} shards: write no more"
            )

    async def _refuse_to_inherit(self, tenant_id: str) -> None:
        """What is left of an earlier tenant of that name would be sent as the new one's, with its credentials."""
        if await self._tenants.some([tenant_id]):
            # the name is taken, and what there is belongs to who has it
            return
        shards = await self._tenants.shards()
        remains = await self._tallies.remains(tenant_id, shards)
        if remains.more_waiting and not (remains.waiting or remains.in_hand):
            # while APNs is away very many wait, and that must not keep anybody out
            if await self._tallies.waits(tenant_id, shards):
                raise _still_there(f"pushes of an earlier tenant {tenant_id!r} still wait")
            remains = await self._tallies.remains(tenant_id, shards)
        if remains.waiting or remains.in_hand:
            raise _still_there(_told(remains, f"pushes of an earlier tenant {tenant_id!r}"))
        if remains.more_in_hand:
            raise ActionRefused(
                "",
                f"too many pushes are in workers' hands to tell whether some are of an earlier tenant {tenant_id!r}: "
                "try again in a moment, or choose another name",
            )

    async def _pause(self, tenant_id: str, change: Callable[[set[str]], set[str]]) -> TenantView:
        def paused(tenant: Tenant) -> Tenant:
            lanes = change(set(tenant.paused))
            return msgspec.structs.replace(tenant, paused=tuple(each.value for each in Lane if each in lanes))

        return await self._change(tenant_id, paused)

    async def _change(self, tenant_id: str, change: Callable[[Tenant], Tenant]) -> TenantView:
        tenant = await self._tenants.change(tenant_id, change)
        return view_of_tenant(tenant, await self._tenants.conditions.all(), self._now_ms())


class ApplicationActions:
    """Raises ActionRefused, AlreadyExists, NotFound and the store's errors."""

    def __init__(self, tenants: Tenants, now_ms: Callable[[], int]) -> None:
        self._tenants = tenants
        self._now_ms = now_ms

    async def show(self, tenant_id: str) -> ApplicationList:
        return self._view(await self._tenants.get(tenant_id))

    async def add(self, tenant_id: str, new: NewApplication) -> ApplicationList:
        """Let the tenant push to it."""
        new.check(self._now_ms())

        def change(tenant: Tenant) -> Tenant:
            if new.bundle_id in tenant.topics:
                raise AlreadyExists(f"tenant {tenant_id!r} has the application {new.bundle_id} already")
            if len(tenant.topics) >= APPLICATIONS_MOST:
                raise ActionRefused("", f"a tenant has {APPLICATIONS_MOST} applications at most")
            return msgspec.structs.replace(tenant, topics=(*tenant.topics, new.bundle_id))

        return self._view(await self._tenants.change(tenant_id, change))

    async def remove(self, tenant_id: str, bundle_id: str, *, force: bool = False) -> Done:
        """Take no more pushes to it. Unless by force, only if that leaves something to push to and for every key."""
        idle: list[str] = []

        def change(tenant: Tenant) -> Tenant:
            if bundle_id not in tenant.topics:
                raise NotFound(
                    f"tenant {tenant_id!r} has no application {quoted(bundle_id)}",
                    f"application list {tenant_id}",
                )
            idle[:] = [each.name for each in tenant.credentials if each.topics == (bundle_id,)]
            if not force:
                _refuse_to_strand(tenant, bundle_id, idle)
            return _without(tenant, bundle_id)

        tenant = await self._tenants.change(tenant_id, change)
        notes = [
            f"credential {name!r} is for {bundle_id} alone, and has nothing to sign now" for name in idle
        ]
        if not tenant.topics:
            notes.append("the tenant has no application any more, and can push to none")
        return Done(notes=notes)

    def _view(self, tenant: Tenant) -> ApplicationList:
        return ApplicationList(
            applications=[view_of_application(tenant, each, self._now_ms()) for each in tenant.topics]
        )


def _refuse_over(remains: Remains, tenant_id: str) -> None:
    if remains.waiting or remains.in_hand:
        raise ActionRefused(
            "",
            f"{_told(remains, f'pushes of tenant {tenant_id!r}')}: revoke its API keys so that no more come, and let "
            "them be sent; or delete it by force, and they end among the dead letters as TenantUnknown",
        )
    if remains.more_waiting or remains.more_in_hand:
        raise ActionRefused(
            "",
            f"too many pushes wait for another try, or are in hand, to tell whether some are of tenant {tenant_id!r}: "
            "wait, or delete it by force, and its own end among the dead letters as TenantUnknown",
        )


def _still_there(told: str) -> ActionRefused:
    return ActionRefused(
        "",
        f"{told}: workers bury them as TenantUnknown when they come to them, those that wait for another try when that "
        "is due. Create it when all have ended, or choose another name",
    )


def _told(remains: Remains, pushes: str) -> str:
    if not remains.in_hand:
        return f"{remains.waiting} {pushes} still wait"
    in_hand = f"{remains.in_hand} {'more' if remains.waiting else pushes} are in workers' hands"
    return f"{remains.waiting} {pushes} still wait, and {in_hand}" if remains.waiting else in_hand


def _changed(tenant: Tenant, changes: TenantChanges) -> Tenant:
    try:
        limits = changes.limits.applied(tenant.limits)
    except ActionRefused as refused:
        raise refused.within("limits") from None
    return msgspec.structs.replace(
        tenant,
        limits=limits,
        spread=tenant.spread if changes.spread is UNSET else changes.spread,
        in_doubt=tenant.in_doubt if changes.in_doubt is UNSET else changes.in_doubt,
    )


def _refuse_to_strand(tenant: Tenant, bundle_id: str, idle: list[str]) -> None:
    if idle:
        raise ActionRefused(
            "",
            f"credential {listed(idle)} is for {bundle_id} alone, and would be left with nothing to sign: revoke it "
            "first, or remove the application by force",
        )
    if tenant.topics == (bundle_id,):
        raise ActionRefused(
            "",
            f"{bundle_id} is the last application of tenant {tenant.id!r}, which could push to none after that: add "
            "another first, or remove it by force",
        )


def _without(tenant: Tenant, bundle_id: str) -> Tenant:
    # a credential that was left without topics would be one for all of them
    credentials = tuple(
        msgspec.structs.replace(each, topics=left)
        if each.kind == "key" and (left := tuple(topic for topic in each.topics if topic != bundle_id))
        else each
        for each in tenant.credentials
    )
    topics = tuple(each for each in tenant.topics if each != bundle_id)
    return msgspec.structs.replace(tenant, topics=topics, credentials=credentials)


_Index = dict[tuple[str, str], list[Condition]]


def _by_whom(conditions: Iterable[Condition]) -> _Index:
    """Conditions by team and key, or by "" and tenant: there may be a thousand, and ten times as many tenants."""
    index: _Index = {}
    for each in conditions:
        index.setdefault((each.name.team_id, each.name.tenant or each.name.key_id), []).append(each)
    return index


def _concerning(tenant: Tenant, index: _Index) -> list[Condition]:
    names = dict.fromkeys([("", tenant.id), *((each.team_id, each.known_as) for each in tenant.credentials)])
    return [condition for name in names for condition in index.get(name, ())]
