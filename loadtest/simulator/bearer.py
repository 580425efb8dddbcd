"""Provider tokens: parsed and their ES256 signatures verified, each token once.

Apple's page on token-based connections asks for a JWT with the header members `alg` (ES256) and `kid`,
and the claims `iss` (team id) and `iat`. Signatures are accepted as raw r||s, as RFC 7518 section 3.4
writes them, and as DER: several clients that work against Apple sign with a DER signature, and Apple's own
sample token begins like one. Padded base64 and the standard alphabet are accepted for the same reason.

A verification costs about 100 microseconds, so the result is kept by the header's bytes and shared by all
connections. What depends on the clock (the age of `iat`) is judged per push, not here.
"""

import base64
import binascii
import hashlib
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from loadtest.simulator.registry import Key, Registry

RAW_SIGNATURE_BYTES = 64
# The cache is emptied when it holds this many: a fleet that mints more has a fault that the ledger shows.
CACHED_BEARERS_MAX = 4096


class Bearer(msgspec.Struct, frozen=True, gc=False):
    """One provider token. `key` is None when the signature is wrong or team and key are unknown."""

    key: Key | None
    team_id: str = ""
    key_id: str = ""
    issued_at_s: int = 0
    fingerprint: bytes = b""


class Bearers:
    """Turns the value of an `authorization` header into a Bearer; remembers what it has verified."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._version = registry.version
        self._known: dict[bytes, Bearer] = {}

    def __repr__(self) -> str:
        return f"<Bearers known={len(self._known)}>"

    def read(self, authorization: bytes) -> Bearer:
        """The bearer of this header value; one that cannot be read or verified has no key."""
        if self._version != self._registry.version:
            self._known.clear()
            self._version = self._registry.version
        bearer = self._known.get(authorization)
        if bearer is None:
            if len(self._known) >= CACHED_BEARERS_MAX:
                self._known.clear()
            bearer = self._known[authorization] = _verify(authorization, self._registry)
        return bearer


def _verify(authorization: bytes, registry: Registry) -> Bearer:
    # "bearer" and "Bearer" are both seen from working clients; RFC 9110 section 11.1 agrees.
    scheme, _, token = authorization.partition(b" ")
    parts = token.strip().split(b".")
    if scheme.lower() != b"bearer" or len(parts) != 3:
        return Bearer(None)
    try:
        header = msgspec.json.decode(_base64(parts[0]), type=dict[str, Any])
        claims = msgspec.json.decode(_base64(parts[1]), type=dict[str, Any])
        signature = _base64(parts[2])
    except (binascii.Error, ValueError):
        return Bearer(None)
    key_id, team_id, issued_at_s = header.get("kid"), claims.get("iss"), claims.get("iat")
    if not (isinstance(key_id, str) and isinstance(team_id, str) and isinstance(issued_at_s, int)):
        return Bearer(None)
    key = registry.key(team_id, key_id) if header.get("alg") == "ES256" else None
    if key is not None and not _signed(key.public_key, signature, parts[0] + b"." + parts[1]):
        key = None
    return Bearer(key, team_id, key_id, issued_at_s, hashlib.blake2b(token, digest_size=8).digest())


def _signed(public_key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    # A DER signature may by chance have 64 bytes as well, so both readings are tried.
    readings = [signature]
    if len(signature) == RAW_SIGNATURE_BYTES:
        r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
        readings.insert(0, encode_dss_signature(r, s))
    for reading in readings:
        try:
            public_key.verify(reading, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return True
    return False


def _base64(text: bytes) -> bytes:
    text = text.rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
