"""What an error answer says, whatever stands in its body; and what a reset stream means."""

import json

import pytest
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st

from engine.apns.outcomes import (
    DISCONNECTED,
    OVERDUE,
    STREAM_FAULT,
    UNPROCESSED,
    Certainty,
    Lost,
    Refused,
    answered,
    stream_reset,
)


@pytest.mark.parametrize(
    ("body", "reason", "timestamp_ms"),
    [
        (b'{"reason":"BadDeviceToken"}', "BadDeviceToken", None),
        (b'{"reason":"Unregistered","timestamp":1454948015990}', "Unregistered", 1454948015990),
        (b'{"timestamp":1454948015990.0,"reason":"Unregistered"}', "Unregistered", 1454948015990),
        (b'{"reason":"Unregistered","timestamp":"1454948015990"}', "Unregistered", None),
        (b'{"reason":"Unregistered","timestamp":null}', "Unregistered", None),
        (b'{"reason":"Unregistered","timestamp":NaN}', "Unregistered", None),
        (b'{"reason":"Unregistered","timestamp":-1}', "Unregistered", None),
        (b'{"reason":"Unregistered","timestamp":1e999}', "Unregistered", None),
        (b'{"reason":"Unregistered","timestamp":' + b"9" * 5000 + b"}", "", None),
        (b'{"reason":"Unregistered","timestamp":' + b"9" * 4000 + b"}", "Unregistered", None),
        (b'{"reason":"NotYetKnown","more":[1,{"a":2}]}', "NotYetKnown", None),
        (b'{"reason":"' + b"x" * 8000 + b'"}', "x" * 64, None),
        (b'{"reason":"Service Unavailable"}', "Service Unavailable", None),
        (b'{"reason":null}', "", None),
        (b'{"reason":403}', "", None),
        (b'{"reason":["Bad"]}', "", None),
        (b'{"reason":"two\\nlines"}', "", None),
        (b'{"reason":"\\ud800"}', "", None),
        (b'{"reason":"\\u00fc"}', "", None),
        (b'{"Reason":"BadTopic"}', "", None),
        (b'"BadTopic"', "", None),
        (b'["BadTopic"]', "", None),
        (b"null", "", None),
        (b"", "", None),
        (b"<html>Bad Gateway</html>", "", None),
        (b'{"reason":"BadTo', "", None),
        (b"\xff\xfe\x00", "", None),
        (b"[" * 8192, "", None),
        (b'{"reason":' * 800, "", None),
    ],
)
def test_the_body_of_an_error_answer(body: bytes, reason: str, timestamp_ms: int | None) -> None:
    assert answered(410, body) == Refused(410, reason, timestamp_ms)


@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["reason", "timestamp", "x"]), inner, max_size=3)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_raises_or_yields_what_redis_or_a_log_cannot_take(body: bytes) -> None:
    refused = answered(400, body)
    assert refused.status == 400
    assert refused.reason.encode("ascii").decode().isprintable()
    assert refused.timestamp_ms is None or refused.timestamp_ms >= 0


@pytest.mark.parametrize("code", list(ErrorCodes))
def test_only_a_refused_stream_was_certainly_not_processed(code: ErrorCodes) -> None:
    refused = code is ErrorCodes.REFUSED_STREAM
    assert stream_reset(code).certainty is (Certainty.NEVER_SENT if refused else Certainty.IN_DOUBT)


def test_an_unknown_reset_code_leaves_doubt() -> None:
    assert stream_reset(0xFFFF) == Lost(Certainty.IN_DOUBT, "stream_reset")


def test_only_what_a_goaway_disowns_was_certainly_not_processed() -> None:
    assert UNPROCESSED.certainty is Certainty.NEVER_SENT
    assert {lost.certainty for lost in (DISCONNECTED, OVERDUE, STREAM_FAULT)} == {Certainty.IN_DOUBT}
