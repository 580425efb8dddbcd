"""Secrets at rest: AES-256-GCM under a master key that never enters Redis.

A sealed secret is ``version (1 byte) ‖ nonce (12 bytes) ‖ ciphertext and tag``. The context (which tenant and key
the secret belongs to) is authenticated with it, so that a record copied to another tenant does not open.
"""

import base64
import binascii
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shards.errors import VaultError

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


class Vault:
    """Seals and opens secrets with one master key."""

    def __init__(self, master_key: bytes, *, randomness: Callable[[int], bytes] = os.urandom) -> None:
        if len(master_key) != KEY_BYTES:
            raise VaultError(f"the master key has {len(master_key)} bytes, and needs {KEY_BYTES}")
        self._cipher = AESGCM(master_key)
        self._randomness = randomness

    def __repr__(self) -> str:
        return "<Vault>"

    def seal(self, secret: bytes, context: str) -> bytes:
        nonce = self._randomness(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The secret. Raises VaultError when the master key or the context is not the one it was sealed with."""
        if sealed[:1] != _VERSION:
            raise VaultError("the sealed secret has a format that this version of Clarion does not know")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if len(nonce) < _NONCE_BYTES:
            raise VaultError("the sealed secret is cut short: its record in Redis is damaged")
        try:
            return self._cipher.decrypt(nonce, ciphertext, context.encode())
        except InvalidTag:
            raise VaultError(
                "a stored key does not open: the master key is not the one that it was sealed with. "
                "Give the right one with --master-key-file"
            ) from None


def read_master_key(path: Path, *, create: bool) -> bytes:
    """The master key in a file of base64 text.

    With ``create``, a missing file is made with a new random key and mode 0600. Raises VaultError with one line
    that says what to do.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        if not create:
            raise VaultError(f"can't read the master key {path}: {error.strerror}") from error
        _write_new(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        return read_master_key(path, create=False)
    except OSError as error:
        raise VaultError(f"can't read the master key {path}: {error.strerror}") from error
    return decode_master_key(text, str(path))


def decode_master_key(text: bytes, source: str) -> bytes:
    """The key in base64 text; ``source`` names it in the error."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultError(
            f"{source} is not a master key: it must be the base64 of {KEY_BYTES} random bytes "
            f"(make one with: openssl rand -base64 {KEY_BYTES})"
        )
    return key


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that did not exist, whole or not at all, readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # named at random, with mode 0600: containers that share the folder have the same process ids
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as draft:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
            # of two first starts at the same moment one wins, and both read the winner's
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, path)
    except OSError as error:
        raise VaultError(f"can't create the master key {path}: {error.strerror}") from error
