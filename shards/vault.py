"""Secrets at rest: AES-256-GCM under a master key that never enters Redis.

A sealed secret is ``version (1 byte) ‖ key id (4 bytes) ‖ nonce (12 bytes) ‖ ciphertext and tag``; the first version
had no key id. The context (which tenant and credential the secret belongs to) is authenticated with it, so that a
record copied to another tenant does not open.

The master key is several keys while one replaces another: the first seals, all open. An id is the beginning of the
SHA-256 of its key, and gives nothing away of 256 random bits. Whoever meets a secret that does not open reads the file
again before saying so, and whoever seals reads it every time; that is how a new key reaches processes that run.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shards.errors import VaultError

KEY_BYTES: Final = 32
# many secrets may not open at once, and one look at the file is enough for all of them
READ_AGAIN_S: Final = 5.0
_FIRST_VERSION: Final = b"\x01"
_VERSION: Final = b"\x02"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12


@dataclass(frozen=True)
class MasterKey:
    """The key that seals, and after it those that it replaces, which only open.

    ``source`` names the place it is from, for people; ``path`` is the file to read it from again, if there is one.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    source: str = "the master key"
    path: Path | None = None

    def __post_init__(self) -> None:
        for key in self.keys:
            if len(key) != KEY_BYTES:
                raise VaultError(f"the master key has {len(key)} bytes, and needs {KEY_BYTES}")

    @property
    def ids(self) -> list[str]:
        """The ids of its keys, the one that seals first."""
        return [key_id(key).hex() for key in self.keys]


class Vault:
    """Seals and opens secrets."""

    def __init__(
        self,
        master_key: MasterKey | bytes,
        *,
        randomness: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.master_key = master_key if isinstance(master_key, MasterKey) else MasterKey((master_key,))
        self._randomness = randomness
        self._clock = clock
        self._read_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Vault {' '.join(self.master_key.ids)}>"

    def seal(self, secret: bytes, context: str) -> bytes:
        """Raises VaultError when the master key can't be read any more: others would not open what an old one seals."""
        if self.master_key.path is not None:
            self.master_key = read_master_key(self.master_key.path, create=False)
        key = self.master_key.keys[0]
        head, nonce = _VERSION + key_id(key), self._randomness(_NONCE_BYTES)
        return head + nonce + AESGCM(key).encrypt(nonce, secret, head + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The secret. Raises VaultError when the master key or the context is not the one it was sealed with."""
        return self._opened(sealed, context)[1]

    def opener(self, sealed: bytes, context: str) -> str:
        """The id of the key that opens it. Raises VaultError as ``open`` does."""
        return key_id(self._opened(sealed, context)[0]).hex()

    def is_fresh(self, sealed: bytes) -> bool:
        """Whether it is sealed as it would be now: in this format, with the key that seals."""
        return sealed.startswith(_VERSION + key_id(self.master_key.keys[0]))

    # -- inside ------------------------------------------------------------------------------------------------

    def _opened(self, sealed: bytes, context: str) -> tuple[bytes, bytes]:
        """The key that opens it, and the secret."""
        head = _head(sealed)
        if len(sealed) < len(head) + _NONCE_BYTES:
            raise VaultError("the sealed secret is cut short: its record in Redis is damaged")
        found = self._try(sealed, head, context)
        if found is None:
            unread = self._read_again()
            found = self._try(sealed, head, context)
            if found is None:
                raise VaultError(_why_closed(self.master_key, head) + unread)
        return found

    def _try(self, sealed: bytes, head: bytes, context: str) -> tuple[bytes, bytes] | None:
        nonce, ciphertext = sealed[len(head) :][:_NONCE_BYTES], sealed[len(head) + _NONCE_BYTES :]
        # the first version says nothing of its key, and authenticates its context only
        bound_to = context.encode() if head == _FIRST_VERSION else head + context.encode()
        for key in self.master_key.keys:
            if head in (_FIRST_VERSION, _VERSION + key_id(key)):
                with contextlib.suppress(InvalidTag):
                    return key, AESGCM(key).decrypt(nonce, ciphertext, bound_to)
        return None

    def _read_again(self) -> str:
        """Look at the file anew, unless that was a moment ago; returns what went wrong, to follow a sentence."""
        path, now_s = self.master_key.path, self._clock()
        if path is not None and now_s - self._read_s >= READ_AGAIN_S:
            self._read_s = now_s
            try:
                self.master_key = read_master_key(path, create=False)
            except VaultError as error:
                return f" (read again just now: {error})"
        return ""


def key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_ID_BYTES]


def _head(sealed: bytes) -> bytes:
    """The version of a sealed secret and, since the second, the id of its key."""
    if sealed[:1] == _FIRST_VERSION:
        return _FIRST_VERSION
    if sealed[:1] == _VERSION:
        return sealed[: 1 + _ID_BYTES]
    raise VaultError("the sealed secret has a format that this version of Clarion does not know")


def _why_closed(master_key: MasterKey, head: bytes) -> str:
    named, ids = head[1:].hex(), master_key.ids
    if named in ids:
        return (
            f"a stored key does not open, though it is sealed with master key {named}, which is here: "
            "its record is damaged, or another tenant's. Add the credential anew"
        )
    sealed = f"it is sealed with master key {named}" if named else "the master key is not its own"
    return (
        f"a stored key does not open: {sealed}, and {master_key.source} holds {', '.join(ids)}. "
        "Give the file that has the right one with --master-key-file, or add that to this file as a line. "
        "If it is lost, so are the .p8 keys and certificates that it sealed, and nothing else: "
        "revoke those credentials, and add them anew from the tenants' files or with new keys from Apple"
    )


def read_master_key(path: Path, *, create: bool) -> MasterKey:
    """The master key in a file: base64 text, one key a line, the one that seals first; "#" begins a comment.

    With ``create``, a missing file is made with a new random key and mode 0600. Raises VaultError with one line
    that says what to do.
    """
    path = path.absolute()
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        if not create:
            raise VaultError(f"can't read the master key {path}: {error.strerror}") from error
        _write_new(path, new_line())
        return read_master_key(path, create=False)
    except OSError as error:
        raise VaultError(f"can't read the master key {path}: {error.strerror}") from error
    return decode_master_key(text, str(path), path)


def decode_master_key(text: bytes, source: str, path: Path | None = None) -> MasterKey:
    """The keys in such text; ``source`` names it in errors. One that stands there twice counts once."""
    keys: dict[bytes, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition(b"#")[0].strip()
        if written:
            keys[_decode_key(written, source, number)] = None
    if not keys:
        raise _no_key(source)
    return MasterKey(tuple(keys), source, path)


def _decode_key(written: bytes, source: str, line: int) -> bytes:
    try:
        key = base64.b64decode(written, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise _no_key(f"{source}, line {line}," if line > 1 else source)
    return key


def _no_key(source: str) -> VaultError:
    return VaultError(
        f"{source} is not a master key: it must be the base64 of {KEY_BYTES} random bytes "
        f"(make one with: openssl rand -base64 {KEY_BYTES})"
    )


def new_line() -> bytes:
    """A new random key as a line of the file."""
    key = os.urandom(KEY_BYTES)
    made = f"{key_id(key).hex()}, made {time.strftime('%Y-%m-%d')}"
    return base64.b64encode(key) + f"  # {made}\n".encode()


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
