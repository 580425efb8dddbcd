"""Credentials: what APNs knows a tenant by, and which of a tenant's credentials signs a push. Pure.

Apple has two kinds of provider key: one for a whole team, and one for some topics of it. A key works in one
environment or, if it was made before 2025, in both. Certificates are older still: one app, and its environment is
written in them. A tenant may have several of any kind: one for each environment, one for each app, and for a time an
old one beside the one that replaces it.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Final, Literal

import msgspec

from shards.environment import Environment
from shards.push_types import bundle_ids_of

Kind = Literal["key", "certificate"]

BOTH: Final = (Environment.PRODUCTION.value, Environment.SANDBOX.value)


class Credential(msgspec.Struct, array_like=True, frozen=True, dict=True):
    """One key, or one certificate with its key.

    ``name`` tells it from the tenant's others: the key id for a key. ``sealed`` is the .p8 text, or the PEM of
    certificate and private key, sealed by the vault with ``context(tenant, name)``. ``topics`` are the bundle ids that
    it is good for, () for all of the tenant's. ``not_after_ms``: from then on it is not used; 0 for no end. Unix ms.
    ``fingerprint`` is of the key or certificate: anybody may claim a team and a key id. An earlier version stored none.
    """

    name: str
    team_id: str
    key_id: str
    sealed: bytes
    kind: Kind = "key"
    environments: tuple[str, ...] = BOTH
    topics: tuple[str, ...] = ()
    created_ms: int = 0
    not_after_ms: int = 0
    disabled: bool = False
    fingerprint: str = ""

    @cached_property
    def bundle_ids(self) -> frozenset[str]:
        """Its ``topics``, to be looked up: there may be a thousand, and each topic of a batch asks all credentials."""
        # "" is no bundle id, though whatever begins with a suffix would belong to it
        return frozenset(self.topics) - {""}

    @property
    def known_as(self) -> str:
        """What conditions and links call it: the key id, or the name of a certificate, which has none."""
        return self.key_id or self.name

    def serves(self, environment: str, now_ms: int) -> bool:
        """Whether it may be used there at that time."""
        return (
            not self.disabled
            and environment in self.environments
            and (not self.not_after_ms or now_ms < self.not_after_ms)
        )


def context(tenant: str, name: str) -> str:
    """What a sealed secret is bound to: it opens for no other tenant and under no other name."""
    return f"credential:{tenant}:{name}"


def choose(credentials: Iterable[Credential], environment: str, topic: str, now_ms: int) -> Credential | None:
    """The credential for a push, or None if there is none.

    One that names the topic comes before one for all topics, since its key can push to nothing else; among equals the
    newest, so that adding a key is how it replaces another, and removing it is how the other comes back.
    """
    best: tuple[int, int] | None = None
    chosen = None
    bundle_ids = bundle_ids_of(topic)
    for credential in credentials:
        fit = 0
        if credential.topics:
            if credential.bundle_ids.isdisjoint(bundle_ids):
                continue
            fit = max(len(each) for each in bundle_ids if each in credential.bundle_ids)
        if not credential.serves(environment, now_ms):
            continue
        rank = (fit, credential.created_ms)
        if best is None or rank >= best:
            best, chosen = rank, credential
    return chosen
