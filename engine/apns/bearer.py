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

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.apns.identity import Badge

GRID_S: Final = 25 * 60
PIN_S: Final = 50 * 60
_COORDINATE_BYTES: Final = 32


class Bearer:
    """An identity that provider tokens show. The last token made is kept: a signature costs 50 µs."""

    certificate: Final = b""

    def __init__(self, key: ec.EllipticCurvePrivateKey, team_id: str, key_id: str) -> None:
        self.team_id: Final = team_id
        self.key_id: Final = key_id
        self._key = key
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint: Final = hashlib.sha256(public).hexdigest()[:16]
        self._issued_s = -1
        self._token = b""

    def __repr__(self) -> str:
        return f"<Bearer team {self.team_id} key {self.key_id} iat {self._issued_s}>"

    def token(self, now_s: float) -> tuple[bytes, int]:
        """The present token, and when it was issued (Unix seconds)."""
        issued_s = int(now_s) // GRID_S * GRID_S
        if issued_s != self._issued_s:
            self._token = self._sign(issued_s)
            self._issued_s = issued_s
        return self._token, issued_s

    def badge(self, now_s: float) -> Badge:
        """The present token as a header. It is good for so long that no link changes its token within 20 minutes."""
        token, issued_s = self.token(now_s)
        return Badge(((b"authorization", b"bearer " + token),), issued_s + PIN_S)

    def _sign(self, issued_s: int) -> bytes:
        header = _base64url(_json({"alg": "ES256", "kid": self.key_id}))
        claims = _base64url(_json({"iss": self.team_id, "iat": issued_s}))
        message = header + b"." + claims
        signature = self._key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(signature)
        # JWS wants the two numbers side by side, not DER (RFC 7518, 3.4)
        raw = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return message + b"." + _base64url(raw)


def _json(value: dict[str, str | int]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
