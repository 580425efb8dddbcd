"""Provider tokens: the signed bearer that APNs knows a team by (RFC 7519, ES256; Apple, *Establishing a token-based
connection to APNs*).

Apple wants a token younger than 60 minutes, and punishes a connection that changes its token more than once in 20.
Clarion needs no coordination for that: ``iat`` is rounded down to a fixed grid and the signature is deterministic
(RFC 6979), so every process on every host makes the same bytes for the same quarter. A link pins the token that it
started with, and moves to the present one only when its own is 50 minutes old:

    grid          0        25        50        75 min
    link opened     ×------- token 0 -------▶× token 50 ...       changes are at least 25 minutes apart,
    link opened               × token 25 -------------▶× ...      no token is older than 50

Nothing here reads a clock: ``now_s`` is wall-clock time in seconds.
"""

import base64
import hashlib
import json
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

GRID_S: Final = 25 * 60
PIN_S: Final = 50 * 60
_COORDINATE_BYTES: Final = 32


class KeyFileError(ValueError):
    """A .p8 file that can't sign for APNs; the text says in one line what is wrong with it."""


def load_p8(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key in an Apple .p8 file (PKCS #8 PEM, P-256). Raises KeyFileError."""
    if b"-----BEGIN" not in pem:
        raise KeyFileError("it is not a PEM file: an APNs key begins with '-----BEGIN PRIVATE KEY-----'")
    if b"CERTIFICATE-----" in pem:
        raise KeyFileError(
            "it holds a certificate: give the .p8 key that the Apple developer site let you download"
        )
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise KeyFileError(
            "it holds no readable private key: download it again, or check for lost lines"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError("its key is not on the curve P-256, which is what Apple issues for APNs")
    return key


class Bearer:
    """The provider tokens of one credential. The last token made is kept: a signature costs 50 µs."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, team_id: str, key_id: str) -> None:
        self._key = key
        self._team_id = team_id
        self._key_id = key_id
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint: Final = hashlib.sha256(public).hexdigest()[:16]
        self._issued_s = -1
        self._token = b""

    def __repr__(self) -> str:
        return f"<Bearer team {self._team_id} key {self._key_id} iat {self._issued_s}>"

    def token(self, now_s: float) -> tuple[bytes, int]:
        """The present token, and when it was issued (Unix seconds)."""
        issued_s = int(now_s) // GRID_S * GRID_S
        if issued_s != self._issued_s:
            self._token = self._sign(issued_s)
            self._issued_s = issued_s
        return self._token, issued_s

    def _sign(self, issued_s: int) -> bytes:
        header = _base64url(_json({"alg": "ES256", "kid": self._key_id}))
        claims = _base64url(_json({"iss": self._team_id, "iat": issued_s}))
        message = header + b"." + claims
        signature = self._key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(signature)
        # JWS wants the two numbers side by side, not DER (RFC 7518, 3.4)
        raw = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return message + b"." + _base64url(raw)


def must_move(issued_s: int, now_s: float) -> bool:
    """Whether a link whose token was issued then has to move to the present one."""
    return now_s - issued_s >= PIN_S


def _json(value: dict[str, str | int]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
