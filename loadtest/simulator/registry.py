"""What the simulated Apple knows: teams with their keys and topics, and the fate of single devices.

A team is registered with one key at a time. Registering the same team and key id again replaces that key
(a revoked key is one registered with another public key); another key id of the same team adds a key.

Device tokens need no registration: any hexadecimal token is taken for a device that has every app. Only
tokens that must be refused are told to the registry, so a million devices cost nothing here.
"""

from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from loadtest.simulator.vocabulary import topics_of

Environment = Literal["production", "sandbox"]


class Team(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A developer team and one of its keys, as `POST /teams` takes it.

    `topics` are bundle ids; the topics with Apple's suffixes (`.voip` and so on) follow from them. A key
    without an environment works in both, as keys made before 2025 do. `related_key_id` names the one
    other key that may share a connection with this one.
    """

    team_id: str
    key_id: str
    public_key_pem: str
    topics: tuple[str, ...]
    environment: Environment | None = None
    related_key_id: str | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to say about one device token, as `POST /devices` takes it.

    `bad`: BadDeviceToken. `unregistered` and `expired`: 410, with `timestamp_ms` in the body. `other_app`:
    DeviceTokenNotForTopic unless the topic is one of `topics`, which may be empty.
    """

    token: str
    fate: Literal["bad", "unregistered", "expired", "other_app"]
    timestamp_ms: int | None = None
    topics: tuple[str, ...] = ()


class Key(msgspec.Struct, frozen=True):
    """A team as the judge uses it: the key parsed, the topics with their suffixes."""

    team: Team
    public_key: ec.EllipticCurvePublicKey
    topics: frozenset[bytes]


class Registry:
    """Looks up keys and devices. `version` moves with every change of keys; who caches, compares it."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.version = 0
        self._keys: dict[tuple[str, str], Key] = {}
        self._devices: dict[bytes, Device] = {}

    def __repr__(self) -> str:
        return f"<Registry {self.environment} keys={len(self._keys)} devices={len(self._devices)}>"

    def register(self, team: Team) -> None:
        """Add or replace the team's key. ValueError if the PEM is not a public key on P-256."""
        try:
            public_key = load_pem_public_key(team.public_key_pem.encode())
        except ValueError as error:
            raise ValueError(f"public_key_pem: not a PEM public key: {error}") from error
        if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != "secp256r1":
            raise ValueError("public_key_pem: must be an EC public key on P-256 (provider tokens are ES256)")
        self._keys[team.team_id, team.key_id] = Key(team, public_key, topics_of(team.topics))
        self.version += 1

    def key(self, team_id: str, key_id: str) -> Key | None:
        """The key of this team with this id."""
        return self._keys.get((team_id, key_id))

    def tell(self, device: Device) -> None:
        """Set the fate of a device token, whatever it was before."""
        self._devices[device.token.lower().encode()] = device

    def device(self, token: bytes) -> Device | None:
        """The fate of this token (lower case), or None for the usual healthy device."""
        return self._devices.get(token)

    @property
    def has_devices(self) -> bool:
        """Whether any device has a fate at all; the judge asks before it folds the case of a token."""
        return bool(self._devices)
