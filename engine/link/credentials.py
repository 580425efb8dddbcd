"""From a stored credential to what its links show."""

import hashlib
from weakref import WeakValueDictionary

from engine.apns.bearer import Bearer
from engine.apns.identity import ClientCertificate, Identity
from shards.credential import Credential, context
from shards.key_files import certificate_fingerprint, load_p8
from shards.vault import Vault


def identity_of(credential: Credential, secret: bytes) -> Identity:
    """Raises KeyFileError when the secret is not what it should be."""
    if credential.kind == "certificate":
        fingerprint = certificate_fingerprint(secret)
        return ClientCertificate(secret, credential.team_id, credential.known_as, fingerprint)
    return Bearer(load_p8(secret), credential.team_id, credential.known_as)


class Identities:
    """The identities that are in use.

    An agency's customers may each be a tenant with a sealed copy of the same key. To open a copy takes 1.4 µs, but
    to read the key 43, and so that is done once.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: WeakValueDictionary[tuple[str, str, str, bytes], Identity] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Identities {len(self._known)}>"

    def of(self, tenant_id: str, credential: Credential) -> Identity:
        """Raises VaultError when the secret does not open, and KeyFileError when it is not what it should be."""
        secret = self._vault.open(credential.sealed, context(tenant_id, credential.name))
        name = credential.kind, credential.team_id, credential.known_as, hashlib.sha256(secret).digest()
        identity = self._known.get(name)
        if identity is None:
            identity = self._known[name] = identity_of(credential, secret)
        return identity
