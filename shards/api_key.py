"""API keys: what a caller shows, and what is kept of it.

A key is ``clarion_<8 hex digits>_<256 random bits>``. What stands before the second underscore is its prefix, which
names it in lists and logs; the whole is shown once, and only its hash is stored.
"""

import base64
import hashlib
import os
from enum import StrEnum
from typing import Final

import msgspec


class Scope(StrEnum):
    """What a key may be used for: to push; to look at its tenant's state; to change its tenant's settings."""

    SEND = "send"
    READ = "read"
    ADMIN = "admin"


class ApiKey(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of an API key. ``label`` is the tenant's own word for it; Unix ms, 0 for no end."""

    tenant: str
    prefix: str
    created_ms: int = 0
    scopes: tuple[str, ...] = (Scope.SEND.value, Scope.READ.value)
    label: str = ""
    not_after_ms: int = 0

    def allows(self, scope: Scope, now_ms: int) -> bool:
        return scope.value in self.scopes and not self.over(now_ms)

    def over(self, now_ms: int) -> bool:
        return 0 < self.not_after_ms <= now_ms


encode_api_key: Final = msgspec.msgpack.Encoder().encode
decode_api_key: Final = msgspec.msgpack.Decoder(ApiKey).decode


def new_api_key() -> tuple[str, str]:
    """A new API key, and its prefix, which may be shown at any time."""
    prefix = f"clarion_{os.urandom(4).hex()}"
    return f"{prefix}_{base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip('=')}", prefix


def hash_api_key(secret: str) -> str:
    """How an API key is stored. A plain SHA-256 does: the key is 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
