"""Certificate files that are made to cost: whoever reads them comes to an end, and serves others meanwhile."""

import base64
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from admin_process import AdminProcess, serving
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ingest_process import Response

from loadtest.simulator.push_authority import Issued, ensure_push_authority
from shards.key_files import KeyFileError, load_certificate, load_p8
from shards.key_reading import read_certificate

TEAM, APP, PASSWORD = "TEAM000042", "com.acme.app", "correct horse"
ROUNDS = 2**31 - 1
AES = "0609608648016503040102"
SHA_256 = "300d06096086480165030402010500"


def der(tag: int, *parts: bytes | str) -> bytes:
    """An element; parts in hexadecimal are taken as they are."""
    content = b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    short = len(content) < 0x80
    return bytes([tag, len(content) if short else 0x80 | len(length)]) + (b"" if short else length) + content


def number(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def pem(label: str, content: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n".encode()


def encrypted(kdf: bytes) -> bytes:
    """A private key under PBES2 (RFC 8018, A.4) whose password is hashed so."""
    how = der(0x30, "06092a864886f70d01050d", der(0x30, kdf, der(0x30, AES, der(4, bytes(16)))))
    return pem("ENCRYPTED PRIVATE KEY", der(0x30, how, der(4, bytes(64))))


def pbkdf2() -> bytes:
    asked = der(0x30, der(4, b"saltsalt"), number(ROUNDS), "300c06082a864886f70d02090500")
    return encrypted(der(0x30, "06092a864886f70d01050c", asked))


def scrypt(cost: int, block: int) -> bytes:
    asked = der(0x30, der(4, b"saltsalt"), number(cost), number(block), number(1))
    return encrypted(der(0x30, "06092b06010401da47040b", asked))


def p12() -> bytes:
    """A .p12 file that is nothing but a seal over itself (RFC 7292, 4)."""
    nothing = der(0x30, "06092a864886f70d010701", der(0xA0, der(4, der(0x30))))
    seal = der(0x30, der(0x30, SHA_256, der(4, bytes(32))), der(4, b"saltsalt"), number(ROUNDS))
    return der(0x30, number(3), nothing, seal)


def large_rsa() -> bytes:
    """Of two Mersenne primes: that they are primes takes long to see."""
    p, q, e = 2**4423 - 1, 2**4253 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    parts = (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return pem("RSA PRIVATE KEY", der(0x30, *map(number, parts)))


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    begins = datetime.now(UTC) - timedelta(days=1)
    return ensure_push_authority(tmp_path_factory.mktemp("push")).issue(TEAM, APP, begins=begins)


@pytest.fixture
def api(redis_url: str) -> Iterator[AdminProcess]:
    with serving(redis_url) as process:
        yield process


@pytest.mark.parametrize(
    "write",
    [
        lambda issued: issued.certificate_pem + pbkdf2(),
        lambda issued: issued.certificate_pem + scrypt(2**30, 2**10),
        lambda issued: issued.certificate_pem + scrypt(2**20, 8),
        lambda issued: issued.certificate_pem + large_rsa(),
        lambda issued: p12(),
        lambda issued: b"-----BEGIN A-----" * 5_000,
    ],
    ids=["rounds", "memory and rounds", "memory", "primes", "a p12's rounds", "beginnings without an end"],
)
def test_a_file_that_costs_too_much_is_refused(write: Callable[[Issued], bytes], issued: Issued) -> None:
    with pytest.raises(KeyFileError) as refused:
        read_certificate(write(issued), PASSWORD, cpu_s=1)
    assert "to read it takes more than 1 s or 512 MiB" in str(refused.value)


def test_a_file_as_it_should_be_is_read_as_in_this_process(issued: Issued) -> None:
    for content in (issued.p12(PASSWORD), issued.certificate_pem + issued.key_pem(PASSWORD)):
        assert read_certificate(content, PASSWORD) == load_certificate(content, PASSWORD)
        with pytest.raises(KeyFileError, match="wrong"):
            read_certificate(content, "another")
        with pytest.raises(KeyFileError, match="is not UTF-8"):
            read_certificate(content, "\udcff")


def test_a_p8_file_that_is_longer_than_any_is_not_even_looked_at() -> None:
    with pytest.raises(KeyFileError, match="is far longer than a key for APNs"):
        load_p8(large_rsa())
    # of all that a person may have written around it there is enough
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    load_p8(b"# of Acme\n" * 50 + ec.generate_private_key(ec.SECP256R1()).private_bytes(*plain))
    with pytest.raises(KeyFileError, match="is not on the curve P-256"):
        load_p8(rsa.generate_private_key(65537, 2048).private_bytes(*plain))


def credential_for(api: AdminProcess, name: str, credential: dict[str, str]) -> Response:
    """Ask with the tenant's own key, which is made for it with the tenant."""
    made = api.ask("POST", "/v1/tenants", {"name": name, "applications": [APP]})
    assert made.status == 201
    own = api.ask("POST", f"/v1/tenants/{name}/keys", {"scopes": ["admin"]}).json["api_key"]
    return api.ask("POST", f"/v1/tenants/{name}/credentials", credential, token=own)


def tenant_with(api: AdminProcess, name: str, credential: dict[str, str]) -> Response:
    asked = {"name": name, "applications": [APP], "credential": credential}
    return api.ask("POST", "/v1/tenants", asked)


@pytest.mark.parametrize(
    ("ask", "pointer"), [(credential_for, "/certificate"), (tenant_with, "/credential/certificate")]
)
def test_the_admin_api_serves_others_while_it_reads_such_a_file(
    api: AdminProcess,
    issued: Issued,
    ask: Callable[[AdminProcess, str, dict[str, str]], Response],
    pointer: str,
) -> None:
    file = (issued.certificate_pem + pbkdf2()).decode()
    said: list[str] = []

    def add() -> None:
        answer = ask(api, "acme", {"certificate": file, "password": PASSWORD})
        said.append(f"{answer.status} {answer.json['errors'][0]['pointer']} {answer.json['detail']}")

    adding = threading.Thread(target=add)
    adding.start()
    served = 0
    while adding.is_alive():
        assert api.ask("GET", "/v1/tenants").status == 200
        served += 1
        adding.join(0.05)
    [told] = said
    assert told.startswith(f"422 {pointer} ") and "to read it takes more than 2 s" in told
    # a loop that reads by itself serves the first of them before, and one after
    assert served > 4
    good = {"certificate": issued.certificate_pem.decode() + issued.key_pem().decode()}
    assert ask(api, "zeta", good).status == 201
