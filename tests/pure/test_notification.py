"""What a tenant may write, what an absent field means, and what is refused."""

import msgspec
import pytest

from shards.environment import Environment
from shards.lanes import Lane
from shards.notification import Notification

SMALLEST = {"device_token": "5f" * 32, "topic": "com.acme.app", "payload": {"aps": {}}}


def decoded(**changes: object) -> Notification:
    return msgspec.json.decode(msgspec.json.encode({**SMALLEST, **changes}), type=Notification)


def test_three_fields_are_enough() -> None:
    notification = decoded()
    assert (notification.device_token, notification.topic) == ("5f" * 32, "com.acme.app")
    assert notification.lane is Lane.HIGH
    assert notification.environment is Environment.PRODUCTION
    assert notification.push_type == "alert"


def test_absent_fields_stay_absent() -> None:
    notification = decoded()
    assert (notification.priority, notification.expiration, notification.collapse_id) == (None, None, None)


@pytest.mark.parametrize("name", ["device_token", "topic", "payload"])
def test_none_of_the_three_may_be_missing(name: str) -> None:
    body = msgspec.json.encode({key: value for key, value in SMALLEST.items() if key != name})
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.json.decode(body, type=Notification)


def test_an_expiration_of_zero_is_not_an_absent_one() -> None:
    assert decoded(expiration=0).expiration == 0


def test_the_payload_is_kept_byte_for_byte() -> None:
    payload = b'{ "aps" : {"alert":"Gr\\u00fc\xc3\x9fe"},\n "n": 1.0, "n": 1e2 }'
    body = b'{"device_token":"5f","topic":"com.acme.app","payload":' + payload + b"}"
    assert bytes(msgspec.json.decode(body, type=Notification).payload) == payload


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expiration", 2**53),
        ("lane", "low"),
        ("environment", "sandbox"),
        ("priority", 1),
        ("collapse_id", "score"),
        ("push_type", "voip"),
    ],
)
def test_a_field_that_is_given_is_taken(field: str, value: object) -> None:
    assert getattr(decoded(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expiration", -1),
        ("expiration", 2**53 + 1),
        ("expiration", "0"),
        ("expiration", 1.5),
        ("lane", "middle"),
        ("environment", "development"),
        ("priority", "10"),
        ("device_token", 5),
        ("topic", None),
        ("collapse_id", 7),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}"):
        decoded(**{field: value})


@pytest.mark.parametrize("name", ["colapse_id", "apns-topic", "id"])
def test_a_field_that_nobody_knows_is_refused(name: str) -> None:
    # a typing error in "expiration" would otherwise let a notification live longer than its tenant wanted
    with pytest.raises(msgspec.ValidationError, match=name):
        decoded(**{name: 1})
