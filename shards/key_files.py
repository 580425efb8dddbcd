"""Key files as Apple hands them out, read and checked: what is wrong with one is said before it is stored.

A .p8 file is a key that signs provider tokens, for a whole team or some topics of it. A push certificate is for one
app: the developer site issues it for a request that a keychain has made, and the keychain exports it together with its
private key as .p12 (PKCS #12), which many have turned into .pem. Whose it is and what it is good for stands in the
certificate: the team in its OU, the app in its UID, environments and further topics in extensions of Apple's (its
*WWDR certification practice statement*; *Sending notification requests to APNs* names those that list topics).
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509.oid import NameOID

from shards.environment import Environment

_APPLE_PUSH: Final = "1.2.840.113635.100.6.3"
# marks of a certificate's environments, without content
_ENVIRONMENTS: Final = {
    Environment.PRODUCTION.value: x509.ObjectIdentifier(f"{_APPLE_PUSH}.2"),
    Environment.SANDBOX.value: x509.ObjectIdentifier(f"{_APPLE_PUSH}.1"),
}
# lists of topics: of VoIP certificates, and of those for several services of an app
_TOPIC_LISTS: Final = (
    x509.ObjectIdentifier(f"{_APPLE_PUSH}.4"),
    x509.ObjectIdentifier(f"{_APPLE_PUSH}.6"),
)
_APPLE_ID: Final = re.compile(r"[A-Z0-9]{10}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
# what the library raises for files that it can't make sense of
_UNREADABLE: Final = (
    TypeError,
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# such a key has 250, and some write beside it what it is for; of longer ones a library may prove for minutes that its
# primes are primes
_P8_BYTES_MOST: Final = 2_000
# below this OpenSSL refuses an RSA key in a handshake
_RSA_BITS_LEAST: Final = 2048
# pbeWithSHAAnd40BitRC2-CBC (RFC 7292, appendix C)
_RC2: Final = bytes.fromhex("2a864886f70d010c0106")
_CONVERT: Final = "'openssl pkcs12 -legacy -nodes -in FILE' makes a .pem file of it"

_NO_PRIVATE_KEY: Final = (
    "it holds a certificate without its private key: export both together from the keychain that made the request, "
    "as .p12"
)


class KeyFileError(ValueError):
    """A file that can't speak for a team at APNs; the text says in one line what is wrong with it."""


@dataclass(frozen=True)
class CertificateFile:
    """A push certificate, ready to be stored. All but ``pem`` may be shown to anybody.

    ``pem``: the certificate, those above it, and the private key, which is not encrypted any more. ``team_id`` is ""
    when no team is named, as for device management. ``topics``: the bundle id, and what else is listed.
    """

    common_name: str
    team_id: str
    bundle_id: str
    topics: tuple[str, ...]
    environments: tuple[str, ...]
    not_after_ms: int
    pem: bytes = field(repr=False)


def load_p8(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key in an Apple .p8 file (PKCS #8 PEM, P-256). Raises KeyFileError."""
    if b"-----BEGIN" not in pem:
        raise KeyFileError("it is not a PEM file: an APNs key begins with '-----BEGIN PRIVATE KEY-----'")
    if b"CERTIFICATE-----" in pem:
        raise KeyFileError(
            "it holds a certificate: give the .p8 key that the Apple developer site let you download"
        )
    if len(pem) > _P8_BYTES_MOST:
        raise KeyFileError("it is far longer than a key for APNs: give the file as it was downloaded")
    try:
        key = load_pem_private_key(pem, password=None)
    except _UNREADABLE:
        raise KeyFileError(
            "it holds no readable private key: download it again, or check for lost lines"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError("its key is not on the curve P-256, which is what Apple issues for APNs")
    return key


def load_certificate(
    data: bytes, password: str = "", *, wall: Callable[[], float] = time.time
) -> CertificateFile:
    """A push certificate with its private key, from a .p12 or .pem file. Raises KeyFileError.

    A password that is not needed does no harm. ``wall``: Unix seconds. The file says what reading it costs, so one that
    a stranger may have made is read by ``shards.key_reading``.
    """
    read = _read_pem if b"-----BEGIN" in data else _read_pkcs12
    certificates, key = read(data, password)
    try:
        return _facts(certificates, key, wall())
    except KeyFileError:
        raise
    except _UNREADABLE:
        # of a certificate only so much is parsed as is asked for
        raise KeyFileError("its certificate is damaged: export it again") from None


def _facts(certificates: list[x509.Certificate], key: PrivateKeyTypes, now_s: float) -> CertificateFile:
    leaf = _belonging_to(key, certificates)
    extensions = {each.oid: each.value for each in leaf.extensions}
    environments = tuple(name for name, oid in _ENVIRONMENTS.items() if oid in extensions)
    bundle_id = _named(leaf, NameOID.USER_ID)
    common_name = "".join(filter(str.isprintable, _named(leaf, NameOID.COMMON_NAME)))
    if not environments or not _TOPIC.fullmatch(bundle_id):
        raise KeyFileError(
            f"it is no certificate for APNs, but for {common_name or 'something else'!r}: those are called "
            "'Apple Push Services: …'"
        )
    _check_time(leaf, now_s)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS_LEAST:
        raise KeyFileError(
            f"its key has {key.key_size} bits, and TLS wants {_RSA_BITS_LEAST}: request a new certificate"
        )
    listed = [topic for oid in _TOPIC_LISTS for topic in _topics_in(extensions.get(oid))]
    team_id = _named(leaf, NameOID.ORGANIZATIONAL_UNIT_NAME)
    return CertificateFile(
        common_name=common_name,
        team_id=team_id if _APPLE_ID.fullmatch(team_id) else "",
        bundle_id=bundle_id,
        topics=tuple(dict.fromkeys((bundle_id, *listed))),
        environments=environments,
        not_after_ms=_end_ms(leaf),
        pem=b"".join(each.public_bytes(Encoding.PEM) for each in _chain(leaf, certificates))
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def certificate_fingerprint(pem: bytes) -> str:
    """What tells a stored certificate from every other: 16 hex digits of its SHA-256. Raises KeyFileError."""
    return _stored(pem).fingerprint(SHA256()).hex()[:16]


def key_fingerprint(key: ec.EllipticCurvePrivateKey) -> str:
    """What tells a key from every other, whatever it is said to be: 16 hex digits, as of ``engine.apns.bearer``."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()[:16]


def certificate_end_ms(pem: bytes) -> int:
    """When a stored certificate ends. Raises KeyFileError."""
    return _end_ms(_stored(pem))


def _stored(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except _UNREADABLE:
        raise KeyFileError("what is stored for it is no certificate: give the file again") from None


def _end_ms(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp() * 1000)


# -- files -------------------------------------------------------------------------------------------------------

_Read = tuple[list[x509.Certificate], PrivateKeyTypes]


def _read_pem(data: bytes, password: str) -> _Read:
    blocks = [(match[1], match[0]) for match in _PEM.finditer(data)]
    keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    certificates = [block for label, block in blocks if label == b"CERTIFICATE"]
    if not certificates:
        _refuse_without_certificate({label for label, _ in blocks}, keys)
    if not keys:
        raise KeyFileError(_NO_PRIVATE_KEY)
    try:
        read = [x509.load_pem_x509_certificate(block) for block in certificates]
    except _UNREADABLE:
        raise KeyFileError("its certificate can't be read: check for lost lines") from None
    encrypted = b"ENCRYPTED" in keys[0]
    if encrypted and not password:
        raise KeyFileError("its private key is protected by a password: give that too")
    try:
        return read, load_pem_private_key(keys[0], password.encode() if encrypted else None)
    except _UNREADABLE:
        raise KeyFileError(
            "the password of its private key is wrong"
            if encrypted
            else "its private key can't be read: check for lost lines"
        ) from None


def _refuse_without_certificate(labels: Iterable[bytes], keys: list[bytes]) -> NoReturn:
    if keys:
        try:
            load_p8(keys[0])
        except KeyFileError:
            raise KeyFileError("it holds a private key, but no certificate: put both into it") from None
        raise KeyFileError("it is a .p8 key, which needs no certificate: give it as a key, with its key id")
    if any(label.endswith(b"REQUEST") for label in labels):
        raise KeyFileError(
            "it is only the request for a certificate: give what the Apple developer site made of it, with its key"
        )
    raise KeyFileError("it holds neither a certificate nor a private key")


def _read_pkcs12(data: bytes, password: str) -> _Read:
    try:
        x509.load_der_x509_certificate(data)
    except _UNREADABLE:
        pass
    else:
        raise KeyFileError(_NO_PRIVATE_KEY)
    # a sequence of any length, which begins with the version 3 (RFC 7292, 4)
    if data[:1] != b"\x30" or b"\x02\x01\x03" not in data[2:12]:
        raise KeyFileError("it is neither a .p12 nor a .pem file")
    try:
        store = load_pkcs12(data, password.encode() or None)
    except _UNREADABLE:
        if not password:
            raise KeyFileError("it is protected by a password: give that too") from None
        # keychains encrypt with it, and some builds of OpenSSL are without
        rc2 = f", or this machine's OpenSSL is without RC2: {_CONVERT}" if _RC2 in data else ""
        raise KeyFileError(f"its password is wrong, or it is damaged{rc2}") from None
    found = [store.cert, *store.additional_certs]
    certificates = [each.certificate for each in found if each is not None]
    if store.key is None:
        raise KeyFileError(_NO_PRIVATE_KEY if certificates else "there is nothing in it")
    if not certificates:
        raise KeyFileError("it holds a private key, but no certificate: export both together")
    return certificates, store.key


# -- certificates ------------------------------------------------------------------------------------------------


def _belonging_to(key: PrivateKeyTypes, certificates: list[x509.Certificate]) -> x509.Certificate:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for each in certificates:
        if each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public:
            return each
    raise KeyFileError("its private key does not belong to its certificate: they come from two requests")


def _chain(leaf: x509.Certificate, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """The certificate and those above it, as far as they are there; nothing else that was in the file."""
    chain = [leaf]
    while chain[-1].issuer != chain[-1].subject:
        above = [each for each in certificates if each.subject == chain[-1].issuer and each not in chain]
        if not above:
            break
        chain.append(above[0])
    return chain


def _named(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _check_time(leaf: x509.Certificate, now_s: float) -> None:
    if now_s >= leaf.not_valid_after_utc.timestamp():
        raise KeyFileError(
            f"it expired on {_day(leaf.not_valid_after_utc)}: make a new one at the Apple developer site"
        )
    if now_s < leaf.not_valid_before_utc.timestamp():
        today = _day(datetime.fromtimestamp(now_s, UTC))
        raise KeyFileError(
            f"it is valid from {_day(leaf.not_valid_before_utc)} on, and this machine's clock says {today}"
        )


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


# -- Apple's list of topics: SEQUENCE { topic UTF8String, SEQUENCE OF kind UTF8String, topic … } -------------------

_UTF8_STRING: Final = 0x0C
_SEQUENCE: Final = 0x30


def _topics_in(extension: x509.ExtensionType | None) -> list[str]:
    if not isinstance(extension, x509.UnrecognizedExtension):
        return []
    try:
        [(tag, content)] = _elements(extension.value)
        parts = _elements(content) if tag == _SEQUENCE else [(tag, content)]
        topics = [content.decode() for tag, content in parts if tag == _UTF8_STRING]
    except (ValueError, IndexError):
        raise KeyFileError("its list of topics can't be read: make a new one at the developer site") from None
    return [topic for topic in topics if _TOPIC.fullmatch(topic)]


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """The elements that stand side by side: (tag, content). Raises ValueError or IndexError."""
    found, at = [], 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            # the length of the length comes first (X.690, 8.1.3.5)
            end = at + (length & 0x7F)
            length, at = int.from_bytes(der[at:end], "big"), end
        if at + length > len(der):
            raise ValueError("an element is cut short")
        found.append((tag, der[at : at + length]))
        at += length
    return found
