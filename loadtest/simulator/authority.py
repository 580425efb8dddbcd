"""A certificate authority for loopback: one CA, one server certificate, written as PEM files.

Clients are given the CA file and verify the server as they would verify Apple, so no test and no
benchmark needs a switch that turns verification off. The files are made once per directory and used
again while they are valid. Several processes may ask for the same directory at the same time: a file
lock makes one of them write and the others read.

Keys are P-256: an ECDSA handshake costs a fraction of an RSA one, and benchmarks open many connections.
"""

import datetime
import fcntl
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST_NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")
VALID_DAYS = 365
# Files nearer to their end than this are made anew, so that a long benchmark does not outlive them.
RENEW_BEFORE = datetime.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Authority:
    """The three files of a server: what clients trust, what the server shows, what it signs with."""

    ca_file: Path
    certificate_file: Path
    key_file: Path

    def server_context(self, client_ca_file: Path | None = None) -> ssl.SSLContext:
        """TLS 1.2 or later and ALPN `h2` only, as Apple's page on sending requests demands.

        With `client_ca_file`, clients are asked for a certificate of that authority, and need not have one.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(self.certificate_file, self.key_file)
        if client_ca_file is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(client_ca_file)
        return context


def ensure_authority(directory: Path) -> Authority:
    """The authority of this directory, made if absent, broken or about to expire."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _usable(authority):
            _create(authority)
    return authority


def _usable(authority: Authority) -> bool:
    try:
        ca = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
        server = x509.load_pem_x509_certificate(authority.certificate_file.read_bytes())
        key = serialization.load_pem_private_key(authority.key_file.read_bytes(), password=None)
        server.verify_directly_issued_by(ca)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    ends = min(ca.not_valid_after_utc, server.not_valid_after_utc)
    return key.public_key() == server.public_key() and ends - _now() > RENEW_BEFORE


def _create(authority: Authority) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clarion loopback authority")])
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key(), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST_NAMES[0])])
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in HOST_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    server = (
        _certificate(server_name, ca_name, server_key.public_key(), ca_key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    secret = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_file(authority.ca_file, ca.public_bytes(serialization.Encoding.PEM), 0o644)
    write_file(authority.key_file, secret, 0o600)
    write_file(authority.certificate_file, server.public_bytes(serialization.Encoding.PEM), 0o644)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    subject_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    # Both key identifiers are there because OpenSSL's strict mode, the default of Python 3.13's
    # ssl.create_default_context, refuses chains without them.
    begin = _now() - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def write_file(path: Path, content: bytes, mode: int) -> None:
    # Removed first: an existing file would keep its old mode, and a server may be reading it.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
