"""A tenant, its APNs credential and its API keys, as they are stored.

Drawer rule as for jobs: array-like, growing only at the end, with defaults.
"""

import hashlib
from typing import Final

import msgspec


class Tenant(msgspec.Struct, array_like=True, frozen=True):
    """A company on this gateway, with the credential that signs its pushes.

    ``team_id`` and ``key_id`` are Apple's 10-character ids; ``sealed_key`` is the .p8 file's text, sealed by the
    vault with ``credential_context(id, key_id)``. ``topics`` are the bundle ids that it may push to. ``spread`` is
    the number of shards that its devices are hashed over. ``in_doubt`` is what becomes of a push when nobody can know
    whether APNs had it: "resend" (it may arrive twice) or "bury" (it may not arrive, as suits one-time codes).
    """

    id: str
    team_id: str
    key_id: str
    sealed_key: bytes
    topics: tuple[str, ...]
    spread: int = 4
    created_ms: int = 0
    in_doubt: str = "resend"


class ApiKey(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of an API key: whose it is, and the prefix that names it in lists and logs."""

    tenant: str
    prefix: str
    created_ms: int = 0


encode_record: Final = msgspec.msgpack.Encoder().encode
decode_tenant: Final = msgspec.msgpack.Decoder(Tenant).decode
decode_api_key: Final = msgspec.msgpack.Decoder(ApiKey).decode


def credential_context(tenant: str, key_id: str) -> str:
    """What a sealed .p8 key is bound to."""
    return f"p8:{tenant}:{key_id}"


def hash_api_key(secret: str) -> str:
    """How an API key is stored. A plain SHA-256 does: the key is 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
