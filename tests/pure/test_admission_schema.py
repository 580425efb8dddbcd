"""From bytes to notifications: every fault is told by itself, and a bad item never spoils its batch."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.problems import Code
from ingest.schema import FIELDS, Decoded, decode_array, decode_lines, decode_one
from shards.notification import Notification
from shards.problem import Refusal

GOOD: dict[str, Any] = {
    "device_token": "ab" * 32,
    "topic": "com.acme.app",
    "payload": {"aps": {"alert": "x"}},
}
GOOD_TEXT = json.dumps(GOOD).encode()
MOST = 10


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


def refused(body: bytes) -> Refusal:
    decoded = decode_one(body)
    assert isinstance(decoded, Refusal), decoded
    return decoded


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", Code.EMPTY_BODY, ""),
        (b" \n", Code.EMPTY_BODY, ""),
        (b"{", Code.MALFORMED_JSON, ""),
        (b"nonsense", Code.MALFORMED_JSON, ""),
        (GOOD_TEXT + b"x", Code.MALFORMED_JSON, ""),
        (b"\xef\xbb\xbf" + GOOD_TEXT, Code.MALFORMED_JSON, ""),
        (GOOD_TEXT.replace(b'"x"', b'"\xff"'), Code.MALFORMED_JSON, ""),
        (GOOD_TEXT.replace(b'"x"', b'"\xed\xa0\x80"'), Code.MALFORMED_JSON, ""),
        (GOOD_TEXT.replace(b'"x"', b'"\\ud83d"'), Code.MALFORMED_JSON, ""),
        (GOOD_TEXT.replace(b'"x"', b'"\x01"'), Code.MALFORMED_JSON, ""),
        (GOOD_TEXT.replace(b'"x"', b"NaN"), Code.MALFORMED_JSON, ""),
        (GOOD_TEXT.replace(b'"x"', b"[" * 100_000), Code.MALFORMED_JSON, ""),
        (b"3", Code.WRONG_TYPE, ""),
        (b"[]", Code.WRONG_TYPE, ""),
        (json.dumps(without("topic")).encode(), Code.FIELD_MISSING, "/topic"),
        (json.dumps(without("payload")).encode(), Code.FIELD_MISSING, "/payload"),
        (json.dumps({**GOOD, "device_token": 5}).encode(), Code.WRONG_TYPE, "/device_token"),
        (json.dumps({**GOOD, "priority": "10"}).encode(), Code.WRONG_TYPE, "/priority"),
        (json.dumps({**GOOD, "priority": 5.5}).encode(), Code.WRONG_TYPE, "/priority"),
        (json.dumps({**GOOD, "expiration": -1}).encode(), Code.WRONG_VALUE, "/expiration"),
        (json.dumps({**GOOD, "lane": "fast"}).encode(), Code.WRONG_VALUE, "/lane"),
        (json.dumps({**GOOD, "environment": "prod"}).encode(), Code.WRONG_VALUE, "/environment"),
        (json.dumps({**GOOD, "tokn": 1}).encode(), Code.FIELD_UNKNOWN, "/tokn"),
    ],
)
def test_each_fault_has_its_code_and_its_place(body: bytes, code: Code, pointer: str) -> None:
    refusal = refused(body)
    assert (refusal.code, refusal.pointer) == (code, pointer)
    assert refusal.detail


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("token", "device_token"),
        ("deviceToken", "device_token"),
        ("device_tokn", "device_token"),
        ("apns-topic", "topic"),
        ("bundleId", "topic"),
        ("paylod", "payload"),
        ("collapseID", "collapse_id"),
        ("ttl", "expiration"),
        ("pushType", "push_type"),
    ],
)
def test_a_field_that_is_spelled_otherwise_is_guessed(written: str, meant: str) -> None:
    assert f"did you mean {meant}?" in refused(json.dumps({**GOOD, written: 1}).encode()).detail


def test_a_field_like_nothing_gets_the_list() -> None:
    detail = refused(json.dumps({**GOOD, "zzzzzz": 1}).encode()).detail
    assert all(field in detail for field in FIELDS)


@pytest.mark.parametrize(
    "secret", ["ab" * 32, "clarion_01234567_" + "k" * 43, "a/b~c", "\u0000", "DEADBEEF00"]
)
def test_a_field_name_that_may_be_a_secret_is_not_repeated(secret: str) -> None:
    refusal = refused(json.dumps({**GOOD, secret: 1}).encode())
    assert refusal.code is Code.FIELD_UNKNOWN
    assert secret not in refusal.detail + refusal.pointer


def test_no_value_is_repeated() -> None:
    for field in FIELDS:
        for value in ("c0ffee" * 11, ["c0ffee" * 11], {"c0ffee" * 11: 1}):
            decoded = decode_one(json.dumps({**GOOD, field: value}).encode())
            assert "c0ffee" not in (decoded.detail if isinstance(decoded, Refusal) else "")


BAD_ITEMS = [
    b"3",
    b"{}",
    b'{"device_token":1}',
    GOOD_TEXT.replace(b'"x"', b'"\xff"'),
    GOOD_TEXT.replace(b'"x"', b'"\\ud83d"'),
    GOOD_TEXT.replace(b'"com', b'"\xc3com'),
]


@pytest.mark.parametrize("bad", BAD_ITEMS)
def test_a_bad_item_does_not_spoil_its_batch(bad: bytes) -> None:
    for decoded in (
        decode_array(b"[" + b",".join([GOOD_TEXT, bad, GOOD_TEXT]) + b"]", MOST),
        decode_lines(b"\n".join([GOOD_TEXT, bad, GOOD_TEXT]), MOST),
    ):
        assert not isinstance(decoded, Refusal)
        assert [isinstance(one, Notification) for one in decoded] == [True, False, True]


def test_both_halves_of_a_pair_and_an_escaped_backslash_are_fine_beside_a_half() -> None:
    fine = GOOD_TEXT.replace(b'"x"', b'"\\ud83d\\ude00 \\\\ud83d"')
    half = GOOD_TEXT.replace(b'"x"', b'"\\uDE00"')
    decoded = decode_array(b"[" + fine + b"," + half + b"]", MOST)
    assert not isinstance(decoded, Refusal)
    first, second = decoded
    assert isinstance(first, Notification) and b"\\ud83d\\ude00 \\\\ud83d" in bytes(first.payload)
    assert isinstance(second, Refusal)


def test_a_line_that_is_not_json_spoils_only_itself() -> None:
    decoded = decode_lines(GOOD_TEXT + b"\r\n\r\n{bad\n" + GOOD_TEXT + b"\n", MOST)
    assert not isinstance(decoded, Refusal)
    assert [isinstance(one, Notification) for one in decoded] == [True, False, True]


def test_an_array_that_is_not_json_has_no_items() -> None:
    assert code_of(decode_array(b"[" + GOOD_TEXT + b",{bad]", MOST)) is Code.MALFORMED_JSON
    assert code_of(decode_array(GOOD_TEXT, MOST)) is Code.WRONG_TYPE


def test_a_batch_has_at_least_one_and_at_most_so_many() -> None:
    assert code_of(decode_array(b"[]", MOST)) is Code.BATCH_EMPTY
    assert code_of(decode_lines(b"\n \n", MOST)) is Code.BATCH_EMPTY
    for items in (
        [GOOD_TEXT] * (MOST + 1),
        [b"1"] * (MOST + 1),
        [b"1"] * 1_000_000,
        [b'"\xff"'] * (MOST + 1),
    ):
        assert code_of(decode_array(b"[" + b",".join(items) + b"]", MOST)) is Code.BATCH_TOO_LARGE
        assert code_of(decode_lines(b"\n".join(items), MOST)) is Code.BATCH_TOO_LARGE
    for items in ([GOOD_TEXT] * MOST, [b"{}"] * MOST):
        assert not isinstance(decode_array(b"[" + b",".join(items) + b"]", MOST), Refusal)


def code_of(decoded: object) -> Code | None:
    return decoded.code if isinstance(decoded, Refusal) else None


def fragments() -> st.SearchStrategy[bytes]:
    pieces = [
        GOOD_TEXT,
        *BAD_ITEMS,
        b"[",
        b"]",
        b",",
        b"\n",
        b'"',
        b"{",
        b"}",
        b"\\",
        b"\xff",
        b"null",
        b'{"topic":',
    ]
    return st.lists(st.sampled_from(pieces) | st.binary(max_size=6), max_size=12).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(fragments())
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    results: list[Decoded] = [decode_one(body)]
    for batch in (decode_array(body, MOST), decode_lines(body, MOST)):
        results.extend([batch] if isinstance(batch, Refusal) else batch)
    assert all(isinstance(result, (Notification, Refusal)) for result in results)
    for result in results:
        if isinstance(result, Notification):
            bytes(result.payload).decode()
