"""TLS contexts: one for all links that show no certificate, and one for each certificate that some link shows.

Python reads certificates and keys from files only, and a key must not lie on a disk. On Linux the file is one that has
no name and exists in memory only. Elsewhere it is a temporary one, gone a moment later, in which the key is encrypted
with a password that this process never writes down.
"""

import asyncio
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from engine.apns.identity import Identity
from engine.link.errors import DialError

CERTIFICATE: Final = (
    "certificate"  # the phase of a DialError that comes before there is anything to dial with
)

_KEY_BEGINS: Final = b"-----BEGIN PRIVATE KEY-----"
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
_DESCRIPTORS: Final = Path("/proc/self/fd")


class Contexts:
    """What is made for a certificate lives as long as the identity that holds it: as its pool."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._plain = tls_context(ca_file)
        self._showing: WeakKeyDictionary[Identity, ssl.SSLContext] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<Contexts for {len(self._showing)} certificates>"

    async def of(self, identity: Identity) -> ssl.SSLContext:
        """Raises DialError when the certificate can't be shown."""
        if not identity.certificate:
            return self._plain
        context = self._showing.get(identity)
        if context is None:
            # to read a bundle of authorities takes a tenth of a second
            made = await asyncio.to_thread(certificate_context, self._ca_file, identity.certificate)
            context = self._showing.setdefault(identity, made)
        return context


def tls_context(ca_file: Path | None, ca_directory: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later, ALPN h2, certificate and host name checked against ``ca_file`` or the system's trust."""
    context = ssl.create_default_context(
        cafile=None if ca_file is None else str(ca_file), capath=ca_directory
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def certificate_context(ca_file: Path | None, certificate: bytes) -> ssl.SSLContext:
    """The same, showing a certificate (PEM text with its private key). Raises DialError."""
    context = tls_context(ca_file, None if ca_file is not None else hashed_authorities())
    try:
        with as_file(certificate) as (path, password):
            context.load_cert_chain(path, password=password)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or "it can't be read"
        raise DialError(CERTIFICATE, f"TLS can't show the certificate: {why}") from None
    except OSError as error:
        raise DialError(CERTIFICATE, f"TLS can't be given the certificate: {error.strerror}") from error
    return context


def hashed_authorities() -> str | None:
    """The directory with the system's authorities, if their files are named so that OpenSSL finds the one it needs.

    A context then reads that one. Of a bundle it reads all, which is nearly a megabyte for each certificate. None where
    there is a bundle only, or when SSL_CERT_FILE names one.
    """
    paths = ssl.get_default_verify_paths()
    if paths.capath is None or paths.cafile not in (None, paths.openssl_cafile):
        return None
    return (
        paths.capath if any(_HASHED.fullmatch(each.name) for each in Path(paths.capath).iterdir()) else None
    )


@contextmanager
def as_file(pem: bytes, *, in_memory: bool = sys.platform == "linux") -> Iterator[tuple[str, str]]:
    """A file with this certificate and key, for this moment: its path, and the password of the key in it."""
    if in_memory and _DESCRIPTORS.is_dir():
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            yield str(_DESCRIPTORS / str(descriptor)), ""
    else:
        password = os.urandom(32).hex()
        chain, begins, key = pem.partition(_KEY_BEGINS)
        locked = load_pem_private_key(begins + key, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
        )
        # named at random, with mode 0600
        with tempfile.NamedTemporaryFile(prefix="clarion-") as file:
            file.write(chain + locked)
            file.flush()
            yield file.name, password
