"""What an administrator does to API keys: make one, list them, find whose one is, revoke it.

A key is named by its prefix, which is no secret. Whoever gives the whole key means the same, and it is cut to the
prefix before it can get into an answer.
"""

from collections.abc import Callable

import msgspec

from shards.administration.checks import KEY_PREFIX, KEYS_MOST, ActionRefused, check_overlap
from shards.administration.requests import NewKey
from shards.administration.views import Done, KeyDetail, KeyList, NewKeyView, detail_of_key, view_of_key
from shards.api_key import ApiKey, Scope, hash_api_key, new_api_key
from shards.errors import NotFound
from shards.quoting import quoted
from shards.tenants import Tenants


class KeyActions:
    """Raises ActionRefused, NotFound and the store's errors."""

    def __init__(self, tenants: Tenants, now_ms: Callable[[], int]) -> None:
        self._tenants = tenants
        self._now_ms = now_ms

    async def show(self, tenant_id: str | None) -> KeyList:
        """A tenant's keys (None: everybody's)."""
        if tenant_id is not None:
            await self._tenants.get(tenant_id)
        found = await self._tenants.api_keys(tenant_id)
        return KeyList(keys=[view_of_key(each, self._now_ms()) for each in found])

    async def find(self, prefix: str, tenant_id: str | None = None) -> KeyDetail:
        """Whose key that is, and what it is for."""
        wanted = prefix_in(prefix)
        for key in await self._tenants.api_keys(tenant_id):
            if key.prefix == wanted:
                return detail_of_key(key, self._now_ms())
        whose = "there is" if tenant_id is None else f"tenant {tenant_id!r} has"
        raise NotFound(f"{whose} no API key {wanted!r}", f"key list {tenant_id or ''}".rstrip())

    async def create(self, tenant_id: str, new: NewKey) -> NewKeyView:
        """Make a key; this answer is the only one that holds it."""
        now_ms = self._now_ms()
        new.check(now_ms)
        others = await self._tenants.api_keys()
        if sum(each.tenant == tenant_id for each in others) >= KEYS_MOST:
            raise ActionRefused("", f"a tenant has {KEYS_MOST} API keys at most; revoke some first")
        taken = {each.prefix for each in others}
        secret, prefix = new_api_key()
        while prefix in taken:
            secret, prefix = new_api_key()
        scopes = tuple(each.value for each in Scope if each in new.scopes)
        key = ApiKey(tenant_id, prefix, now_ms, scopes, new.label, new.not_after_ms)
        await self._tenants.put_key(hash_api_key(secret), key)
        return NewKeyView(api_key=secret, key=view_of_key(key, now_ms))

    async def revoke(self, tenant_id: str, prefix: str, after_s: float = 0.0) -> Done:
        """Let a key be good for nothing any more, at once or after so many seconds."""
        check_overlap("after_s", after_s)
        wanted = prefix_in(prefix)
        await self._tenants.get(tenant_id)
        ends_ms = self._now_ms() + int(after_s * 1000)

        def ending(key: ApiKey) -> ApiKey | None:
            if not after_s:
                return None
            return msgspec.structs.replace(key, not_after_ms=min(ends_ms, key.not_after_ms or ends_ms))

        await self._tenants.change_key(tenant_id, wanted, ending)
        left = [key for key in await self._tenants.api_keys(tenant_id) if not key.over(self._now_ms())]
        if any(Scope.SEND in key.scopes and key.prefix != wanted for key in left):
            return Done()
        return Done(
            notes=["no other API key of this tenant may push: make one before this one ends"]
            if after_s
            else ["no API key of this tenant may push any more: make another one"]
        )


def prefix_in(text: str) -> str:
    """The prefix, of that or of a whole key. Raises NotFound for what is neither."""
    found = KEY_PREFIX.match(text)
    if found is None or text[found.end() :][:1] not in ("", "_"):
        raise NotFound(
            f"there is no API key {quoted(text)}: write its beginning, up to the second underscore, such as "
            "clarion_0a1b2c3d",
            "key list",
        )
    return found[0]
