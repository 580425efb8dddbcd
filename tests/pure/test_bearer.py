"""Provider tokens: what every process mints alike, when a link may change its own, and keys that can't sign."""

import base64
import json
from collections.abc import Iterable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from engine.apns.bearer import GRID_S, PIN_S, Bearer
from engine.apns.identity import Badge
from shards.key_files import KeyFileError, load_p8

KEY = ec.generate_private_key(ec.SECP256R1())
NOW_S = 1_700_000_000.0
MINUTE_S = 60

wall_times = st.floats(min_value=1_500_000_000, max_value=4_000_000_000)


def bearer(key: ec.EllipticCurvePrivateKey = KEY) -> Bearer:
    return Bearer(key, "TEAM000001", "KEY0000001")


def pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def unpadded(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


@given(
    cell=st.integers(min_value=1_000_000, max_value=2_000_000), offsets=st.tuples(*[st.floats(0, 1499)] * 2)
)
def test_two_processes_mint_the_same_bytes_in_one_cell_of_the_grid(
    cell: int, offsets: tuple[float, float]
) -> None:
    one, other = (bearer().token(cell * GRID_S + offset) for offset in offsets)
    assert one == other
    assert one[1] == cell * GRID_S


def test_the_next_cell_of_the_grid_has_another_token() -> None:
    tokens = bearer()
    token, issued_s = tokens.token(NOW_S)
    following, following_s = tokens.token(NOW_S + GRID_S)
    assert following != token
    assert following_s == issued_s + GRID_S


def test_a_token_says_what_apple_reads() -> None:
    token, issued_s = bearer().token(NOW_S)
    header, claims, _ = token.split(b".")
    assert json.loads(unpadded(header)) == {"alg": "ES256", "kid": "KEY0000001"}
    assert json.loads(unpadded(claims)) == {"iss": "TEAM000001", "iat": issued_s}
    assert b"=" not in token


@given(now_s=wall_times)
def test_the_signature_is_r_and_s_side_by_side_and_verifies(now_s: float) -> None:
    token, _ = bearer().token(now_s)
    message, _, signature = token.rpartition(b".")
    raw = unpadded(signature)
    assert len(raw) == 64
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    KEY.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


@given(now_s=wall_times)
def test_a_new_token_is_neither_from_the_future_nor_older_than_its_cell(now_s: float) -> None:
    _, issued_s = bearer().token(now_s)
    assert 0 <= now_s - issued_s < GRID_S


def tokens_of_a_link(opened_s: float, gaps_s: Iterable[float]) -> None:
    """A link that looks at its token before each batch, as a pool does; batches come after these gaps."""
    tokens = bearer()
    now_s, changed_s = opened_s, opened_s
    badge, (_, issued_s) = tokens.badge(now_s), tokens.token(now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        if now_s >= badge.until_s:
            badge, (_, issued_s) = tokens.badge(now_s), tokens.token(now_s)
            # Apple: no more than one new token in 20 minutes on a connection
            assert now_s - changed_s >= 20 * MINUTE_S
            changed_s = now_s
        # Apple: no token older than an hour; ours keeps ten minutes of distance from it
        assert now_s - issued_s < 50 * MINUTE_S


@given(opened_s=wall_times, gaps_s=st.lists(st.floats(0, 3 * 3600), min_size=1, max_size=30))
def test_a_link_changes_its_token_late_enough_and_soon_enough_whenever_it_sends(
    opened_s: float, gaps_s: list[float]
) -> None:
    tokens_of_a_link(opened_s, gaps_s)


@pytest.mark.parametrize("offset_s", [0, 1, 299, 300, 301, 600, 900, 1200, GRID_S - 1])
def test_a_busy_link_changes_its_token_late_enough_wherever_in_the_grid_it_was_opened(offset_s: int) -> None:
    tokens_of_a_link(1_200_000 * GRID_S + offset_s, [10.0] * 2000)


@given(now_s=wall_times)
def test_a_badge_is_the_present_token_and_worn_out_when_that_is_fifty_minutes_old(now_s: float) -> None:
    token, issued_s = bearer().token(now_s)
    assert bearer().badge(now_s) == Badge(((b"authorization", b"bearer " + token),), issued_s + PIN_S)
    assert PIN_S == 50 * MINUTE_S and bearer().certificate == b""


def test_a_key_is_read_from_the_file_that_apple_gives() -> None:
    loaded = load_p8(b"\n" + pem(KEY) + b"\n")
    assert loaded.private_numbers() == KEY.private_numbers()


def test_a_fingerprint_tells_keys_apart_and_is_the_same_for_one() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    assert bearer().fingerprint == Bearer(load_p8(pem(KEY)), "OTHERTEAM1", "OTHERKEY01").fingerprint
    assert bearer().fingerprint != bearer(other).fingerprint


PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not a PEM file"),
        (b"AuthKey_ABC.p8", "not a PEM file"),
        (KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "not a PEM file"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "holds a certificate"),
        (pem(rsa.generate_private_key(65537, 2048)), "not on the curve P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "not on the curve P-256"),
        (pem(KEY)[:120], "no readable private key"),
        (pem(KEY).replace(pem(KEY).splitlines()[1] + b"\n", b""), "no readable private key"),
        (pem(KEY, BestAvailableEncryption(b"secret")), "no readable private key"),
        (PUBLIC, "no readable private key"),
    ],
    ids=["empty", "name", "der", "certificate", "rsa", "p-384", "cut", "line lost", "encrypted", "public"],
)
def test_a_file_that_cannot_sign_is_refused_in_words(text: bytes, says: str) -> None:
    with pytest.raises(KeyFileError, match=says) as refused:
        load_p8(text)
    assert "\n" not in str(refused.value)


def test_the_text_of_a_bearer_names_the_team_and_no_secret() -> None:
    tokens = bearer()
    token, issued_s = tokens.token(NOW_S)
    assert repr(tokens) == f"<Bearer team TEAM000001 key KEY0000001 iat {issued_s}>"
    assert token.decode() not in repr(tokens)
