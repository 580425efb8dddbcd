"""Certificate files as keychains export them: what is read in them, and what a person is told of each wrong one."""

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.push_authority import (
    VOIP_TOPICS,
    Issued,
    PushAuthority,
    ensure_push_authority,
    topic_list,
)
from shards.key_files import CertificateFile, KeyFileError, certificate_fingerprint, load_certificate

TEAM, APP = "TEAM000042", "com.example.app"
NOW = datetime.datetime(2031, 5, 1, 12, tzinfo=datetime.UTC)
PASSWORD = "correct horse"
# made with openssl alone, and encrypted as macOS does: RC2 for the certificate, 3DES for the key, SHA-1 over both
LEGACY = (Path(__file__).parent / "fixtures" / "push-legacy.p12").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PushAuthority:
    return ensure_push_authority(tmp_path_factory.mktemp("push"))


@pytest.fixture(scope="module")
def issued(authority: PushAuthority) -> Issued:
    return authority.issue(TEAM, APP, begins=NOW - datetime.timedelta(days=30))


def load(data: bytes, password: str = "") -> CertificateFile:
    return load_certificate(data, password, wall=NOW.timestamp)


def refusal(data: bytes, password: str = "") -> str:
    with pytest.raises(KeyFileError) as refused:
        load(data, password)
    assert "\n" not in str(refused.value) and PASSWORD not in str(refused.value)
    return str(refused.value)


def keys_match(pem: bytes) -> bool:
    certificate = x509.load_pem_x509_certificate(pem)
    key = serialization.load_pem_private_key(pem[pem.index(b"-----BEGIN PRIVATE KEY-----") :], None)
    return key.public_key() == certificate.public_key()


# -- what is read ------------------------------------------------------------------------------------------------


def test_a_file_of_the_kind_that_macos_exports_is_read_with_all_that_apple_wrote_in_it() -> None:
    found = load(LEGACY, "made-up")
    name = "com.example.made-up"
    assert (found.common_name, found.team_id, found.bundle_id) == (
        f"Apple Push Services: {name}",
        TEAM,
        name,
    )
    assert found.topics == (name, f"{name}.voip", f"{name}.complication")
    assert found.environments == ("production", "sandbox")
    assert found.not_after_ms == 4_949_145_718_000
    assert keys_match(found.pem)


@pytest.mark.parametrize(
    "write",
    [
        lambda issued: issued.p12(PASSWORD),
        lambda issued: issued.certificate_pem + issued.key_pem(),
        lambda issued: issued.key_pem() + issued.certificate_pem,
        lambda issued: issued.certificate_pem + issued.key_pem(PASSWORD),
        lambda issued: issued.certificate_pem + traditional(issued, PASSWORD),
        lambda issued: issued.certificate_pem + traditional(issued),
        lambda issued: (
            b"Bag Attributes\r\n  friendlyName: push\r\n"
            + (issued.certificate_pem + issued.key_pem()).replace(b"\n", b"\r\n")
        ),
    ],
    ids=[
        "p12",
        "pem",
        "key first",
        "key encrypted",
        "key encrypted the old way",
        "old key",
        "openssl's text",
    ],
)
def test_each_kind_of_file_says_the_same(issued: Issued, write: Callable[[Issued], bytes]) -> None:
    # also when the password is not needed
    found = load(write(issued), PASSWORD)
    assert found.topics == (APP,) and found.team_id == TEAM
    assert found.not_after_ms == issued.certificate.not_valid_after_utc.timestamp() * 1000
    assert keys_match(found.pem) and b"ENCRYPTED" not in found.pem


def traditional(issued: Issued, password: str = "") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    return issued.key.private_bytes(Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, encryption)


def test_an_export_without_a_password_is_read(issued: Issued) -> None:
    assert load(issued.p12("")).bundle_id == APP


@pytest.mark.parametrize("environments", [("production",), ("sandbox",), ("production", "sandbox")])
def test_the_environments_are_those_that_the_certificate_names(
    authority: PushAuthority, environments: tuple[str, ...]
) -> None:
    made = authority.issue(TEAM, APP, environments, begins=NOW)  # type: ignore[arg-type]
    assert load(made.p12(PASSWORD), PASSWORD).environments == environments


def test_a_long_list_of_topics_is_read_to_its_end(authority: PushAuthority) -> None:
    topics = {APP: "app"} | {f"{APP}.{'x' * 100}.kind{number}": f"kind{number}" for number in range(9)}
    made = authority.issue(TEAM, APP, topics=topics, begins=NOW)
    # its length takes two bytes
    assert topic_list(topics)[:2] == b"\x30\x82"
    assert load(made.p12(PASSWORD), PASSWORD).topics == tuple(topics)


def test_a_certificate_for_calls_lists_its_topics_in_a_place_of_its_own(authority: PushAuthority) -> None:
    topics = {f"{APP}.voip": "voip"}
    made = authority.issue(TEAM, APP, topics=topics, listed_as=VOIP_TOPICS, begins=NOW)
    assert load(made.p12(PASSWORD), PASSWORD).topics == (APP, f"{APP}.voip")


@pytest.mark.parametrize("team", ["", "Marketing", "team000042"])
def test_a_certificate_for_device_management_names_no_team(authority: PushAuthority, team: str) -> None:
    made = authority.issue(team, "com.apple.mgmt.External.0a1b2c3d", ("production",), begins=NOW)
    found = load(made.p12(PASSWORD), PASSWORD)
    assert (found.team_id, found.bundle_id) == ("", "com.apple.mgmt.External.0a1b2c3d")


def test_what_stands_above_the_certificate_is_kept_and_what_else_was_exported_is_not(
    authority: PushAuthority, issued: Issued
) -> None:
    stranger = authority.issue(TEAM, "com.example.stranger", begins=NOW)
    found = load(issued.p12(PASSWORD, stranger.certificate, authority.certificate), PASSWORD)
    chain = x509.load_pem_x509_certificates(found.pem)
    assert chain == [issued.certificate, authority.certificate]


def test_its_text_shows_no_key(issued: Issued) -> None:
    found = load(issued.p12(PASSWORD), PASSWORD)
    assert "BEGIN" not in repr(found) and APP in repr(found)


def test_a_fingerprint_tells_certificates_apart_whatever_their_key(
    authority: PushAuthority, issued: Issued
) -> None:
    renewed = authority.issue(TEAM, APP, key=issued.key, begins=NOW)
    one, other = (load(each.p12(PASSWORD), PASSWORD).pem for each in (issued, renewed))
    assert certificate_fingerprint(one) == issued.certificate.fingerprint(hashes.SHA256()).hex()[:16]
    assert certificate_fingerprint(one) != certificate_fingerprint(other)
    with pytest.raises(KeyFileError, match="no certificate"):
        certificate_fingerprint(b"nonsense")


# -- what a person is told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_password_that_is_missing_and_one_that_is_wrong_are_told_apart(
    issued: Issued, password: str
) -> None:
    says = "password is wrong" if password else "protected by a password: give that too"
    assert says in refusal(issued.p12(PASSWORD), password)
    says = "password of its private key is wrong" if password else "private key is protected by a password"
    assert says in refusal(issued.certificate_pem + issued.key_pem(PASSWORD), password)
    # a keychain's file may be at fault in another way, and there is one
    assert ("openssl pkcs12 -legacy" in refusal(LEGACY, password)) is bool(password)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda issued: b"", "neither a .p12 nor a .pem file"),
        (lambda issued: b"AuthKey_ABC.p8", "neither a .p12 nor a .pem file"),
        (lambda issued: issued.certificate_pem, "a certificate without its private key: export both"),
        (
            lambda issued: issued.certificate.public_bytes(Encoding.DER),
            "a certificate without its private key: export both",
        ),
        (
            lambda issued: pkcs12.serialize_key_and_certificates(
                None, None, None, [issued.certificate], serialization.NoEncryption()
            ),
            "a certificate without its private key: export both",
        ),
        (
            lambda issued: pkcs12.serialize_key_and_certificates(
                b"push", issued.key, None, None, serialization.NoEncryption()
            ),
            "a private key, but no certificate: export both",
        ),
        (lambda issued: issued.key_pem(), "it is a .p8 key, which needs no certificate: give it as a key"),
        (lambda issued: issued.key_pem(PASSWORD), "a private key, but no certificate: put both into it"),
        (lambda issued: request(issued), "only the request for a certificate"),
        (
            lambda issued: issued.certificate_pem + other_key(),
            "private key does not belong to its certificate",
        ),
        (lambda issued: issued.certificate_pem[:200], "neither a certificate nor a private key"),
        (lambda issued: without_a_line(issued.certificate_pem) + issued.key_pem(), "can't be read"),
        (lambda issued: issued.certificate_pem + without_a_line(issued.key_pem()), "can't be read"),
        (lambda issued: with_a_broken_name(issued) + issued.key_pem(), "its certificate is damaged"),
    ],
    ids=[
        "empty", "a name", "pem without a key", "a .cer", "p12 without a key", "p12 without a certificate", ".p8",
        "encrypted key alone", "request", "another's key", "cut", "certificate's line lost", "key's line lost",
        "name broken",
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_should_be_is_refused_in_words(
    issued: Issued, make: Callable[[Issued], bytes], says: str
) -> None:
    assert says in refusal(make(issued))


def request(issued: Issued) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "push")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(issued.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def other_key() -> bytes:
    return Issued(None, ec.generate_private_key(ec.SECP256R1())).key_pem()  # type: ignore[arg-type]


def with_a_broken_name(issued: Issued) -> bytes:
    """Its subject is read only when somebody asks for it, and is no UTF-8."""
    der = issued.certificate.public_bytes(Encoding.DER).replace(b"Apple Push", b"\xffpple Push")
    return ssl.DER_cert_to_PEM_cert(der).encode()


def without_a_line(pem: bytes) -> bytes:
    lines = pem.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[3:])


def test_a_certificate_whose_time_is_not_now_is_refused_with_its_time(authority: PushAuthority) -> None:
    over = authority.issue(TEAM, APP, begins=NOW - datetime.timedelta(days=30), days=30)
    assert "it expired on 2031-05-01 12:00 UTC" in refusal(over.p12(PASSWORD), PASSWORD)
    ahead = authority.issue(TEAM, APP, begins=NOW + datetime.timedelta(hours=2))
    said = refusal(ahead.p12(PASSWORD), PASSWORD)
    assert "valid from 2031-05-01 14:00 UTC on, and this machine's clock says 2031-05-01 12:00 UTC" in said


@pytest.mark.parametrize(("app", "environments"), [(APP, ()), ("", ("production",)), ("a b", ("sandbox",))])
def test_a_certificate_of_another_kind_is_named_and_refused(
    authority: PushAuthority, app: str, environments: tuple[str, ...]
) -> None:
    made = authority.issue(TEAM, app, environments, begins=NOW)  # type: ignore[arg-type]
    said = refusal(made.p12(PASSWORD), PASSWORD)
    assert f"no certificate for APNs, but for 'Apple Push Services: {app}'" in said


def test_a_key_that_tls_would_not_take_is_refused(authority: PushAuthority) -> None:
    made = authority.issue(TEAM, APP, key=rsa.generate_private_key(65537, 1024), begins=NOW)
    assert "its key has 1024 bits, and TLS wants 2048" in refusal(made.p12(PASSWORD), PASSWORD)


# of a negative serial number the library only warns
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(data=st.data())
def test_a_damaged_file_is_refused_in_words_or_read(issued: Issued, data: st.DataObject) -> None:
    plain = issued.certificate_pem + issued.key_pem()
    good = data.draw(st.sampled_from([plain, issued.p12("")]))
    place = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:place] + data.draw(st.binary(max_size=4)) + good[place + data.draw(st.integers(0, 4)) :]
    try:
        load(damaged)
    except KeyFileError as error:
        assert "\n" not in str(error)
