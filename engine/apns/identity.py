"""What a link shows APNs, so that APNs knows whose its pushes are. Pure.

There are two ways. A bearer token stands in the headers of every request, and another takes its place now and then
(``bearer.py``). A client certificate is shown once, in the TLS handshake: its requests bear nothing, and APNs would not
look at it (Apple, *Establishing a certificate-based connection to APNs*).
"""

import math
from typing import Final, NamedTuple, Protocol

from engine.http2.header_encoder import Field


class Badge(NamedTuple):
    """``headers`` go with every request. From ``until_s`` (Unix seconds) on a link has to show a new badge."""

    headers: tuple[Field, ...]
    until_s: float


class Identity(Protocol):
    """One credential, as APNs sees it.

    ``key_id`` names it among the team's others; ``fingerprint`` is of its key or certificate, and tells apart who only
    claims another's name. ``certificate`` is what TLS shows, PEM text with its private key; b"" to show none.
    """

    @property
    def team_id(self) -> str: ...

    @property
    def key_id(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def certificate(self) -> bytes: ...

    def badge(self, now_s: float) -> Badge:
        """What a link shows that begins at this time, or whose badge is worn out by then."""


class ClientCertificate:
    """An identity that TLS shows."""

    def __init__(self, certificate: bytes, team_id: str, key_id: str, fingerprint: str) -> None:
        self.team_id: Final = team_id
        self.key_id: Final = key_id
        self.fingerprint: Final = fingerprint
        self.certificate: Final = certificate

    def __repr__(self) -> str:
        return f"<ClientCertificate team {self.team_id} {self.key_id} {self.fingerprint}>"

    def badge(self, now_s: float) -> Badge:
        return Badge((), math.inf)
