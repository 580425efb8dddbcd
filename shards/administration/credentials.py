"""What an administrator does to credentials: add, rotate, revoke, disable, let expire.

A newer credential takes the place of an older one that is as fit, and the older comes back when the newer is gone
(``shards.credential.choose``); so a rotation is to add one, to see it work, and to revoke the other.

Keys are compared only with the tenant's own: whether another tenant has one is nobody's business, and a key id that a
stranger had taken could not be had by its owner.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import UNSET

from shards.administration.checks import CREDENTIALS_MOST, ActionRefused, check_known, listed
from shards.administration.credential_request import NewCredential, Rotation
from shards.administration.reading import Reading
from shards.administration.requests import Expiry
from shards.administration.sealing import Sealing
from shards.administration.views import CredentialChange, CredentialList, Done, views_of_credentials
from shards.credential import Credential, choose, context
from shards.environment import Environment
from shards.errors import AlreadyExists, NotFound, VaultError
from shards.key_files import (
    KeyFileError,
    certificate_end_ms,
    certificate_fingerprint,
    key_fingerprint,
    load_p8,
)
from shards.quoting import quoted
from shards.tenant import Tenant
from shards.tenants import Tenants
from shards.vault import Vault


class CredentialActions:
    """Raises ActionRefused, AlreadyExists, NotFound and the store's errors."""

    def __init__(
        self, tenants: Tenants, sealing: Sealing, reading: Reading, now_ms: Callable[[], int]
    ) -> None:
        self._tenants = tenants
        self._sealing = sealing
        self._reading = reading
        self._now_ms = now_ms

    async def show(self, tenant_id: str) -> CredentialList:
        tenant = await self._tenants.get(tenant_id)
        return CredentialList(credentials=views_of_credentials(tenant, self._now_ms()))

    async def add(self, tenant_id: str, new: NewCredential) -> CredentialChange:
        read = await self._reading.in_turn(tenant_id, lambda: new.read(self._now_ms()))
        await self._tenants.get(tenant_id)
        vault = await self._sealing.vault()
        joining = sealed(vault, tenant_id, read, self._now_ms())
        before, after = await self._change(tenant_id, lambda tenant: joined(tenant, joining, vault))
        return self._changed(before, after, joining.credential.name)

    async def rotate(self, tenant_id: str, name: str, new: Rotation) -> CredentialChange:
        """Add one beside that credential, for what that is for."""
        now_ms = self._now_ms()
        old = credential_of(await self._tenants.get(tenant_id), name)
        read = await self._reading.in_turn(tenant_id, lambda: new.after(old).read(now_ms))
        vault = await self._sealing.vault()
        joining = sealed(vault, tenant_id, read, now_ms)

        def change(tenant: Tenant) -> Tenant:
            if new.overlap_s is not UNSET:
                tenant = _with(
                    tenant, _ending(credential_of(tenant, name), now_ms + int(new.overlap_s * 1000))
                )
            return joined(tenant, joining, vault)

        before, after = await self._change(tenant_id, change)
        return self._changed(before, after, joining.credential.name)

    async def revoke(self, tenant_id: str, name: str) -> Done:
        """Remove it with its sealed secret; workers close its links within a second."""

        def change(tenant: Tenant) -> Tenant:
            gone = credential_of(tenant, name)
            left = tuple(each for each in tenant.credentials if each is not gone)
            return msgspec.structs.replace(tenant, credentials=left)

        before, after = await self._change(tenant_id, change)
        await forget_conditions(self._tenants, [credential_of(before, name)])
        return Done(notes=losses(before, after, self._now_ms()))

    async def disable(self, tenant_id: str, name: str) -> CredentialChange:
        return await self._replace(
            tenant_id, name, lambda found: msgspec.structs.replace(found, disabled=True)
        )

    async def enable(self, tenant_id: str, name: str) -> CredentialChange:
        return await self._replace(
            tenant_id, name, lambda found: msgspec.structs.replace(found, disabled=False)
        )

    async def expire(self, tenant_id: str, name: str, expiry: Expiry) -> CredentialChange:
        """Let it end at that time; 0 takes the end away. A certificate ends by itself at the latest."""
        expiry.check(self._now_ms())
        found = credential_of(await self._tenants.get(tenant_id), name)
        ends = expiry.not_after_ms, await self._own_end_ms(tenant_id, found)
        end_ms = min(filter(None, ends), default=0)
        return await self._replace(
            tenant_id, name, lambda found: msgspec.structs.replace(found, not_after_ms=end_ms)
        )

    # -- inside ------------------------------------------------------------------------------------------------

    async def _own_end_ms(self, tenant_id: str, credential: Credential) -> int:
        """When it ends by itself, 0 for never. What is stored beside it may be a wish, so the certificate is asked."""
        if credential.kind == "key":
            return 0
        vault = await self._sealing.vault()
        return certificate_end_ms(vault.open(credential.sealed, context(tenant_id, credential.name)))

    async def _replace(
        self, tenant_id: str, name: str, change: Callable[[Credential], Credential]
    ) -> CredentialChange:
        before, after = await self._change(
            tenant_id, lambda tenant: _with(tenant, change(credential_of(tenant, name)))
        )
        return self._changed(before, after, name)

    async def _change(self, tenant_id: str, change: Callable[[Tenant], Tenant]) -> tuple[Tenant, Tenant]:
        """The tenant as it was, and as it is now."""
        seen: list[Tenant] = []

        def noted(tenant: Tenant) -> Tenant:
            seen.append(tenant)
            return change(tenant)

        after = await self._tenants.change(tenant_id, noted)
        return seen[-1], after

    def _changed(self, before: Tenant, after: Tenant, name: str) -> CredentialChange:
        now_ms = self._now_ms()
        [view] = [each for each in views_of_credentials(after, now_ms) if each.name == name]
        return CredentialChange(credential=view, notes=losses(before, after, now_ms))


@dataclass(frozen=True)
class Joining:
    """A credential that is about to be a tenant's; ``mark`` is the same for the same key or certificate."""

    credential: Credential
    mark: bytes


def sealed(vault: Vault, tenant_id: str, read: tuple[Credential, bytes], now_ms: int) -> Joining:
    """What was read of a request, sealed for that tenant."""
    draft, secret = read
    credential = msgspec.structs.replace(
        draft,
        sealed=vault.seal(secret, context(tenant_id, draft.name)),
        created_ms=now_ms,
        fingerprint=_fingerprint(draft.kind, secret),
    )
    return Joining(credential, _mark(draft.kind, secret))


def joined(tenant: Tenant, joining: Joining, vault: Vault) -> Tenant:
    """The tenant with one credential more, the newest. Raises ActionRefused and AlreadyExists."""
    new = joining.credential
    if new.kind == "key":
        check_known("topics", new.topics, tenant.topics)
    elif not set(new.topics) & set(tenant.topics):
        raise ActionRefused(
            "certificate",
            f"is for {listed(new.topics)}, and this tenant has {listed(tenant.topics)}: add the application first",
        )
    for old in tenant.credentials:
        _tell_apart(old, joining, _stored_mark(tenant, old, vault))
    if tenant.credential(new.name) is not None:
        raise AlreadyExists(
            f"tenant {tenant.id!r} has a credential {new.name!r} already; give this one another name"
        )
    if len(tenant.credentials) >= CREDENTIALS_MOST:
        raise ActionRefused("", f"a tenant has {CREDENTIALS_MOST} credentials at most; revoke some first")
    # clocks of two hosts differ, and the one that was added last must be the newest
    latest_ms = max((each.created_ms for each in tenant.credentials), default=0)
    new = msgspec.structs.replace(new, created_ms=max(new.created_ms, latest_ms + 1))
    return msgspec.structs.replace(tenant, credentials=(*tenant.credentials, new))


def _tell_apart(old: Credential, joining: Joining, old_mark: bytes | None) -> None:
    """Raises for a key or an id that the tenant has already."""
    new = joining.credential
    same_file = old_mark == joining.mark
    if new.kind != old.kind or not (same_file or new.key_id == old.key_id != ""):
        return
    if new.kind == "certificate":
        raise AlreadyExists(f"this certificate is there already, as credential {old.name!r}")
    if new.key_id != old.key_id:
        raise ActionRefused(
            "key_id",
            f"is {new.key_id}, but this very key is stored as {old.key_id} in credential {old.name!r}: a key has one "
            "id, which stands in the name of its file",
        )
    if new.team_id != old.team_id:
        raise ActionRefused(
            "team_id",
            f"is {new.team_id}, but credential {old.name!r} has the key id {old.key_id} in team {old.team_id}: a key "
            "belongs to one team; if that one is wrong, revoke it first",
        )
    if same_file:
        raise AlreadyExists(f"this key is there already, as credential {old.name!r}")
    if old_mark is not None:
        raise ActionRefused(
            "key",
            f"is another than the one that is stored with the key id {old.key_id} in credential {old.name!r}: one of "
            f"the two is not AuthKey_{old.key_id}.p8; if that one is wrong, revoke it first",
        )
    raise AlreadyExists(
        f"credential {old.name!r} has the key id {old.key_id} already, but can't be opened to compare it; revoke it "
        "first"
    )


def _mark(kind: str, secret: bytes) -> bytes:
    if kind == "certificate":
        return certificate_fingerprint(secret).encode()
    return load_p8(secret).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _fingerprint(kind: str, secret: bytes) -> str:
    return certificate_fingerprint(secret) if kind == "certificate" else key_fingerprint(load_p8(secret))


def _stored_mark(tenant: Tenant, credential: Credential, vault: Vault) -> bytes | None:
    """None for one that can't be opened: it can't be compared, and must not be in the way of what replaces it."""
    try:
        return _mark(credential.kind, vault.open(credential.sealed, context(tenant.id, credential.name)))
    except (VaultError, KeyFileError):
        return None


async def forget_conditions(tenants: Tenants, gone: Iterable[Credential], tenant_id: str = "") -> None:
    """Remove conditions of credentials that no tenant has any more, and those of a tenant that is gone."""
    gone = tuple(gone)
    others = [each for tenant in await tenants.all() for each in tenant.credentials]
    for condition in await tenants.conditions.all():
        name = condition.name
        nobodys = any(map(name.is_of, gone)) and not any(map(name.is_of, others))
        if nobodys or (name.tenant and name.tenant == tenant_id):
            await tenants.conditions.clear(name)


def credential_of(tenant: Tenant, name: str) -> Credential:
    """Raises NotFound."""
    found = tenant.credential(name)
    if found is None:
        raise NotFound(
            f"tenant {tenant.id!r} has no credential {quoted(name)}", f"credential list {tenant.id}"
        )
    return found


def losses(before: Tenant, after: Tenant, now_ms: int) -> list[str]:
    """A sentence for what had a credential to sign with, and has none any more."""
    lost: dict[tuple[str, ...], list[str]] = {}
    for environment in Environment:
        topics = tuple(
            topic
            for topic in after.topics
            if choose(before.credentials, environment, topic, now_ms) is not None
            and choose(after.credentials, environment, topic, now_ms) is None
        )
        if topics:
            lost.setdefault(topics, []).append(environment.value)
    return [
        f"nothing signs pushes to {listed(topics)} in {' and '.join(where)} any more: the API refuses them, and those "
        "that wait stay where they are until there is a credential for them"
        for topics, where in lost.items()
    ]


def _with(tenant: Tenant, changed: Credential) -> Tenant:
    return msgspec.structs.replace(
        tenant,
        credentials=tuple(changed if each.name == changed.name else each for each in tenant.credentials),
    )


def _ending(credential: Credential, at_ms: int) -> Credential:
    ends_ms = min(at_ms, credential.not_after_ms or at_ms)
    return msgspec.structs.replace(credential, not_after_ms=ends_ms)
