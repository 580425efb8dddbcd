"""Made-up developer teams with real keys, for tests, benchmarks and the demo."""

from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


class MadeUpTeam(NamedTuple):
    """A team as Apple would know it, with the private half of its key."""

    tenant: str
    team_id: str
    key_id: str
    topic: str
    private_key_pem: bytes
    public_key_pem: str


def make_team(number: int) -> MadeUpTeam:
    """Team ``number`` (0 to 9999) with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return MadeUpTeam(
        tenant=f"tenant-{number}",
        team_id=f"TEAM{number:06d}",
        key_id=f"KEYS{number:06d}",
        topic=f"com.example.app{number}",
        private_key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        public_key_pem=key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )
