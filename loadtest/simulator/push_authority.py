"""The authority that issues made-up Apple push certificates, and what the simulator reads in one that is shown.

Apple's are issued to a team for one app: the subject says OU = team and UID = bundle id; extensions of Apple's say
in which environments it works, and list the topics when it is for more than the app itself. The names and numbers
below are written down here a second time, apart from the gateway's, so that a wrong one shows as a failing test.
"""

import datetime
import fcntl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loadtest.simulator.authority import VALID_DAYS, key_usage, write_file
from loadtest.simulator.registry import Environment

SANDBOX = x509.ObjectIdentifier("1.2.840.113635.100.6.3.1")
PRODUCTION = x509.ObjectIdentifier("1.2.840.113635.100.6.3.2")
TOPICS = x509.ObjectIdentifier("1.2.840.113635.100.6.3.6")
VOIP_TOPICS = x509.ObjectIdentifier("1.2.840.113635.100.6.3.4")
NULL = b"\x05\x00"
COMMON_NAME = "Apple Push Services: {}"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class PushCertificate(msgspec.Struct, frozen=True):
    """What Apple reads in a certificate that a connection shows."""

    team_id: str
    topics: frozenset[bytes]
    environments: frozenset[str]

    @property
    def only_topic(self) -> bytes | None:
        """What a push without a topic is for; with several it has to say."""
        return next(iter(self.topics)) if len(self.topics) == 1 else None


class Issued(NamedTuple):
    """A certificate and its key, as they come out of a keychain."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, password: str = "") -> bytes:
        """The private key, encrypted if there is a password."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, _encryption(password)
        )

    def p12(self, password: str, *others: x509.Certificate) -> bytes:
        """PKCS #12, with other certificates beside it."""
        return pkcs12.serialize_key_and_certificates(
            b"push", self.key, self.certificate, others or None, _encryption(password)
        )


class PushAuthority:
    """A certificate and a key that signs others."""

    def __init__(self, ca_file: Path, key_file: Path) -> None:
        self.ca_file = ca_file
        self.certificate = x509.load_pem_x509_certificate(ca_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(
        self,
        team_id: str,
        bundle_id: str,
        environments: Sequence[Environment] = ("production", "sandbox"),
        topics: Mapping[str, str] | None = None,
        *,
        listed_as: x509.ObjectIdentifier = TOPICS,
        key: Key | None = None,
        begins: datetime.datetime | None = None,
        days: int = VALID_DAYS,
    ) -> Issued:
        """A certificate for that app. ``topics`` (topic to kind, as "voip") are listed in it, if there are any."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        begins = begins or datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        attributes = [
            x509.NameAttribute(NameOID.USER_ID, bundle_id),
            x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME.format(bundle_id)),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, team_id),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Made-up company"),
        ]
        extensions = {PRODUCTION: NULL} if "production" in environments else {}
        if "sandbox" in environments:
            extensions[SANDBOX] = NULL
        if topics:
            extensions[listed_as] = topic_list(topics)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([each for each in attributes if each.value]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        for oid, value in extensions.items():
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()), key)


def ensure_push_authority(directory: Path) -> PushAuthority:
    """The authority of this directory, made if there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_file, key_file = directory / "push-ca.pem", directory / "push-ca.key"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # written last, so that it is never there alone
        if not ca_file.exists():
            _create(ca_file, key_file)
    return PushAuthority(ca_file, key_file)


@lru_cache(maxsize=4096)
def read_push_certificate(der: bytes) -> PushCertificate:
    """What the certificate of a connection says; its issuer was checked in the handshake."""
    certificate = x509.load_der_x509_certificate(der)
    extensions = {each.oid: each.value for each in certificate.extensions}
    bundle_id = _named(certificate, NameOID.USER_ID).encode()
    lists = [extensions.get(oid) for oid in (TOPICS, VOIP_TOPICS)]
    topics = [
        topic
        for each in lists
        if isinstance(each, x509.UnrecognizedExtension)
        for topic in _listed(each.value)
    ]
    named = {"production": PRODUCTION, "sandbox": SANDBOX}
    return PushCertificate(
        _named(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME),
        frozenset((bundle_id, *topics)),
        frozenset(name for name, oid in named.items() if oid in extensions),
    )


def topic_list(topics: Mapping[str, str]) -> bytes:
    """SEQUENCE { topic UTF8String, SEQUENCE { kind UTF8String }, topic … } in DER."""
    pairs = (
        _der(0x0C, topic.encode()) + _der(0x30, _der(0x0C, kind.encode())) for topic, kind in topics.items()
    )
    return _der(0x30, b"".join(pairs))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size) + content


def _listed(der: bytes) -> list[bytes]:
    """The topics in a list that `topic_list` has made; each is followed by its kind."""
    found = []
    rest = _content(der)[0]
    while rest:
        topic, rest = _content(rest)
        found.append(topic)
        _, rest = _content(rest)
    return found


def _content(der: bytes) -> tuple[bytes, bytes]:
    """The content of the first element, and what follows it."""
    begin, length = 2, der[1]
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin])
    return der[begin : begin + length], der[begin + length :]


def _named(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _encryption(password: str) -> serialization.KeySerializationEncryption:
    if not password:
        return serialization.NoEncryption()
    return serialization.BestAvailableEncryption(password.encode())


def _create(ca_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Made-up developer relations authority")])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # long before and after any certificate of its own, those for tests of time included
        .not_valid_before(begins - datetime.timedelta(days=10 * VALID_DAYS))
        .not_valid_after(begins + datetime.timedelta(days=10 * VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_file(key_file, secret, 0o600)
    write_file(ca_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
