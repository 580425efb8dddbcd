"""Made-up developer teams with real keys, and tenants that push for them; for tests, benchmarks and the demo."""

from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from loadtest.simulator.push_authority import Issued, PushAuthority
from shards.credential import Credential, context
from shards.key_files import load_certificate
from shards.tenant import Tenant
from shards.vault import Vault


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


def tenant_of(team: MadeUpTeam, vault: Vault, **fields: Any) -> Tenant:
    """A tenant with that team's key; ``fields`` are more of the tenant's."""
    sealed = vault.seal(team.private_key_pem, context(team.tenant, team.key_id))
    credential = Credential(team.key_id, team.team_id, team.key_id, sealed)
    return Tenant(team.tenant, (team.topic,), (credential,), **fields)


def issue(team: MadeUpTeam, authority: PushAuthority, **fields: Any) -> Issued:
    """A push certificate for that team's app; ``fields`` are more of the certificate's."""
    return authority.issue(team.team_id, team.topic, **fields)


def certificate_of(team: MadeUpTeam, issued: Issued, vault: Vault, **fields: Any) -> Credential:
    """A credential with that certificate, as if its file had been given; ``fields`` are more of the credential's."""
    found = load_certificate(issued.p12("secret"), "secret")
    plain = {
        "name": team.topic,
        "team_id": found.team_id,
        "key_id": "",
        "kind": "certificate",
        "environments": found.environments,
        "topics": found.topics,
        "not_after_ms": found.not_after_ms,
        **fields,
    }
    return Credential(sealed=vault.seal(found.pem, context(team.tenant, plain["name"])), **plain)
