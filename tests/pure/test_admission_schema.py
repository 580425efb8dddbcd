"""From bytes to notifications: every fault is told by itself, and a bad item never spoils its batch."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.faults import GUESSES_MOST
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


AT_ONCE = 3
HALF = b"\\ud800"
LONG = 100_000


def whole(coming: Iterator[Sequence[Decoded]] | Refusal) -> list[Decoded] | Refusal:
    return coming if isinstance(coming, Refusal) else [each for some in coming for each in some]


def array(body: bytes, most: int = MOST) -> list[Decoded] | Refusal:
    return whole(decode_array(body, most, AT_ONCE))


def lines(body: bytes, most: int = MOST) -> list[Decoded] | Refusal:
    return whole(decode_lines(body, most, AT_ONCE))


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
        array(b"[" + b",".join([GOOD_TEXT, bad, GOOD_TEXT]) + b"]"),
        lines(b"\n".join([GOOD_TEXT, bad, GOOD_TEXT])),
    ):
        assert not isinstance(decoded, Refusal)
        assert [isinstance(one, Notification) for one in decoded] == [True, False, True]


def test_both_halves_of_a_pair_and_an_escaped_backslash_are_fine_beside_a_half() -> None:
    fine = GOOD_TEXT.replace(b'"x"', b'"\\ud83d\\ude00 \\\\ud83d"')
    half = GOOD_TEXT.replace(b'"x"', b'"\\uDE00"')
    decoded = array(b"[" + fine + b"," + half + b"]")
    assert not isinstance(decoded, Refusal)
    first, second = decoded
    assert isinstance(first, Notification) and b"\\ud83d\\ude00 \\\\ud83d" in bytes(first.payload)
    assert isinstance(second, Refusal)


def test_a_line_that_is_not_json_spoils_only_itself() -> None:
    decoded = lines(GOOD_TEXT + b"\r\n\r\n{bad\n" + GOOD_TEXT + b"\n")
    assert not isinstance(decoded, Refusal)
    assert [isinstance(one, Notification) for one in decoded] == [True, False, True]


def test_an_array_that_is_not_json_has_no_items() -> None:
    assert code_of(array(b"[" + GOOD_TEXT + b",{bad]")) is Code.MALFORMED_JSON
    assert code_of(array(GOOD_TEXT)) is Code.WRONG_TYPE


def test_a_batch_has_at_least_one_and_at_most_so_many() -> None:
    assert code_of(array(b"[]")) is Code.BATCH_EMPTY
    assert code_of(lines(b"\n \n")) is Code.BATCH_EMPTY
    for items in (
        [GOOD_TEXT] * (MOST + 1),
        [b"1"] * (MOST + 1),
        [b"1"] * 1_000_000,
        [b'"\xff"'] * (MOST + 1),
    ):
        assert code_of(array(b"[" + b",".join(items) + b"]")) is Code.BATCH_TOO_LARGE
        assert code_of(lines(b"\n".join(items))) is Code.BATCH_TOO_LARGE
    for items in ([GOOD_TEXT] * MOST, [b"{}"] * MOST):
        assert not isinstance(array(b"[" + b",".join(items) + b"]"), Refusal)


def code_of(decoded: object) -> Code | None:
    return decoded.code if isinstance(decoded, Refusal) else None


@pytest.mark.parametrize("backslashes", range(5))
def test_whether_an_escape_is_half_of_a_pair_depends_on_how_many_backslashes_stand_before_it(
    backslashes: int,
) -> None:
    for many in (0, 100, LONG):
        text = b"\\" * (many + backslashes) + b"ud83d"
        decoded = array(
            b"[%b,%b]" % (GOOD_TEXT.replace(b'"x"', b'"%b"' % text), GOOD_TEXT.replace(b"{", HALF, 1))
        )
        assert code_of(decoded) is Code.MALFORMED_JSON
        decoded = array(b"[%b,%b]" % (GOOD_TEXT.replace(b'"x"', b'"%b"' % text), BAD_ITEMS[4]))
        assert not isinstance(decoded, Refusal)
        assert isinstance(decoded[0], Notification) == (backslashes % 2 == 0)
        assert code_of(decoded[1]) is Code.MALFORMED_JSON


@pytest.mark.parametrize(
    ("text", "is_half"),
    [
        (rb"\ud83d", True),
        (rb"\uDE00", True),
        (rb"\ud83d\ud83d", True),
        (rb"\ud83d\u0041", True),
        (rb"\ud83d and more", True),
        (rb"\ud83d\ude00\ude00", True),
        (rb"\\\ud83d", True),
        (rb"\ud83d\ude00\x", False),
        (rb"\\ud83d\x", False),
        (rb"\ud7ff\x", False),
    ],
)
def test_a_text_that_is_cut_in_an_emoji_is_told_from_one_that_is_malformed(
    text: bytes, is_half: bool
) -> None:
    for before in (b"", b"\\\\" * 8, b"\\ud83d\\ude00" * 3, b"plain text " * 3):
        for after in (b'"', b' and more"'):
            for field in (b"topic", b"payload"):
                refusal = refused(b'{"%b":"%b%b%b}' % (field, before, text, after))
                assert refusal.code is Code.MALFORMED_JSON
                assert ("emoji" in refusal.detail) is is_half, refusal.detail


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"{topic", "object keys must be strings (byte 1)"),
        (GOOD_TEXT + b" x", f"trailing characters (byte {len(GOOD_TEXT) + 2})"),
        (b'{"topic":', "input data was truncated"),
    ],
)
def test_malformed_json_is_told_what_is_wrong_and_where(text: bytes, detail: str) -> None:
    assert refused(text) == Refusal(Code.MALFORMED_JSON, detail)


def test_items_stand_where_they_stood_whatever_white_space_and_escapes_are_between() -> None:
    items = [
        GOOD_TEXT.replace(b'"x"', b'"%b"' % text)
        for text in (rb"\\ud83d", rb"\ud83d\ude00", b"\\\\" * 9, rb"\uD7FF", b"[1,2]", "é".encode())
    ]
    for between in (b",", b" , ", b"\n,\r\n\t"):
        decoded = array(b" [ %b ] " % between.join([*items, BAD_ITEMS[4], *items]), 20)
        assert not isinstance(decoded, Refusal)
        assert decoded[: len(items)] == decoded[len(items) + 1 :] == [decode_one(item) for item in items]


def test_it_comes_in_portions_that_are_decoded_when_they_are_asked_for() -> None:
    bad = json.dumps({**GOOD, "tokn": 1}).encode()
    for coming in (
        decode_array(b"[" + b",".join([GOOD_TEXT] * 8) + b"]", MOST, AT_ONCE),
        decode_array(b"[" + b",".join([bad] * 8) + b"]", MOST, AT_ONCE),
        decode_lines(b"\n".join([bad] * 8), MOST, AT_ONCE),
    ):
        assert not isinstance(coming, Refusal)
        assert [len(some) for some in coming] == [3, 3, 2]


def test_only_the_first_unknown_names_of_a_request_are_guessed_and_one_that_comes_again_is_told_the_same() -> (
    None
):
    names = [f"payloa{letter}{number}" for letter in "bcefg" for number in range(10)]
    for decode, between, ends in ((array, b",", (b"[", b"]")), (lines, b"\n", (b"", b""))):
        body = between.join(json.dumps({name: 1}).encode() for name in (*names, "token", *names))
        decoded = decode(ends[0] + body + ends[1], 200)
        assert not isinstance(decoded, Refusal)
        guessed = [isinstance(each, Refusal) and "did you mean" in each.detail for each in decoded]
        first = [True] * GUESSES_MOST + [False] * (len(names) - GUESSES_MOST)
        # what others call a field is known without guessing
        assert guessed == [*first, True, *first]


def steps_of(work: Callable[[], object]) -> int:
    """How many lines of Python, and calls out of them, it takes."""
    steps = 0

    def count(_: object, event: str, __: object) -> Any:
        nonlocal steps
        steps += 1
        return count

    def called(_: object, event: str, __: object) -> None:
        nonlocal steps
        steps += event.startswith("c_")

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(count)
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps


@pytest.mark.parametrize(
    "body",
    [
        b'["' + b"\\" * LONG,
        b'["' + b"\\" * LONG + HALF,
        b'["' + HALF * LONG,
        b'["' + HALF * LONG + b'"]',
        b'["' + b"\\ud83d\\ude00" * LONG + HALF + b'"]',
        b'["' + HALF + b'"' + b",1" * LONG + b"]",
        b'["' + b"\xff" * LONG + b'"' + b",1" * LONG + b"]",
        b'[1,{"a":[' + b"[]," * LONG + b"1]}]",
        b"[" + b" " * LONG,
        b"\n" * LONG,
        b" \n" * LONG,
        b"1" + b"\n" * LONG + b"1",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_takes_no_more_steps_however_long_it_is(body: bytes) -> None:
    decode_array(b"[1]", MOST, AT_ONCE)
    for decode in (decode_one, array, lines):
        assert steps_of(lambda decode=decode: decode(body)) < 1_000  # type: ignore[misc]


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
    for batch in (array(body), lines(body)):
        results.extend([batch] if isinstance(batch, Refusal) else batch)
    assert all(isinstance(result, (Notification, Refusal)) for result in results)
    for result in results:
        if isinstance(result, Notification):
            bytes(result.payload).decode()
