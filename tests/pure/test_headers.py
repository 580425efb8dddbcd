"""Jobs as requests: what a tenant gave is there, what it did not give is not, and what is shared is shared."""

import math
from typing import Any

import pytest

from engine.apns.headers import PROFILES_MOST, ProfileBook, requests
from engine.apns.identity import Badge, ClientCertificate
from engine.http2.request_writer import Request
from shards.job import Job

BADGE = Badge(((b"authorization", b"bearer a.b.c"),), 0.0)
ID = b"01890a5d-ac96-774b-bcce-b302099a8057"


def job(**fields: Any) -> Job:
    return Job(
        **{"id": ID, "device_token": b"ab" * 32, "topic": "com.example.app", "payload": b"{}", **fields}
    )


def request_of(job_of_it: Job, book: ProfileBook | None = None) -> Request:
    [made] = requests([(job_of_it, "run")], book or ProfileBook(b"localhost:2197", BADGE))
    return Request(*made)


def headers_of(made: Request) -> dict[bytes, bytes]:
    fields = [(b":path", made.path), *made.profile.fields, (made.profile.varying, made.varying), *made.extra]
    assert len(dict(fields)) == len(fields), "a header is repeated"
    return dict(fields)


def test_a_plain_push_has_these_headers_and_no_others() -> None:
    made = request_of(job())
    assert headers_of(made) == {
        b":method": b"POST",
        b":scheme": b"https",
        b":authority": b"localhost:2197",
        b":path": b"/3/device/" + b"ab" * 32,
        b"authorization": b"bearer a.b.c",
        b"apns-topic": b"com.example.app",
        b"apns-push-type": b"alert",
        b"apns-id": ID,
    }
    assert made.body == b"{}"


@pytest.mark.parametrize(
    "other",
    [
        {"topic": "com.example.other"},
        {"push_type": "background"},
        {"priority": 5},
        {"topic": "", "push_type": ""},
    ],
)
def test_each_of_a_batch_has_its_own_profile_and_those_alike_share_one(other: dict[str, Any]) -> None:
    book = ProfileBook(b"localhost:2197", BADGE)
    batch = [job(**fields) for fields in (other, {}, other, other, {})]
    made = [Request(*each) for each in requests([(each, "run") for each in batch], book)]
    first, second = made[0].profile, made[1].profile
    assert [each.profile for each in made] == [first, second, first, first, second]
    assert [headers_of(each) for each in made] == [headers_of(request_of(each)) for each in batch]


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({}, b"apns-priority", None),
        ({"priority": 0}, b"apns-priority", None),
        ({"priority": 1}, b"apns-priority", b"1"),
        ({"priority": 10}, b"apns-priority", b"10"),
        ({}, b"apns-expiration", None),
        ({"expiration": -1}, b"apns-expiration", None),
        ({"expiration": 0}, b"apns-expiration", b"0"),
        ({"expiration": 1_700_000_000}, b"apns-expiration", b"1700000000"),
        ({}, b"apns-collapse-id", None),
        ({"collapse_id": b""}, b"apns-collapse-id", None),
        ({"collapse_id": "spæt".encode()}, b"apns-collapse-id", "spæt".encode()),
        ({"push_type": "voip"}, b"apns-push-type", b"voip"),
    ],
)
def test_what_is_absent_stays_absent_and_zero_stays_zero(
    fields: dict[str, Any], header: bytes, value: bytes | None
) -> None:
    assert headers_of(request_of(job(**fields))).get(header) == value


def test_a_push_under_a_certificate_says_nothing_of_who_sends_it_and_its_book_wears_out_never() -> None:
    certificate = ClientCertificate(b"-----BEGIN PRIVATE KEY-----", "TEAM000001", "push", "0123456789abcdef")
    book = ProfileBook(b"localhost", certificate.badge(1_700_000_000.0))
    made = headers_of(request_of(job(), book))
    assert b"authorization" not in made and made[b"apns-topic"] == b"com.example.app"
    assert book.until_s == math.inf
    assert repr(certificate) == "<ClientCertificate team TEAM000001 push 0123456789abcdef>"


def test_expiration_and_collapse_id_go_together() -> None:
    assert request_of(job(expiration=0, collapse_id=b"x")).extra == (
        (b"apns-expiration", b"0"),
        (b"apns-collapse-id", b"x"),
    )


def test_pseudo_header_fields_come_first() -> None:
    names = [name for name, _ in request_of(job(priority=5)).profile.fields]
    first_regular = next(at for at, name in enumerate(names) if not name.startswith(b":"))
    assert names[:first_regular] == [b":method", b":scheme", b":authority"]
    assert not any(name.startswith(b":") for name in names[first_regular:])


def test_pushes_that_share_their_headers_share_one_profile() -> None:
    book = ProfileBook(b"localhost", BADGE)
    one = request_of(job(), book).profile
    other = request_of(job(device_token=b"cd", id=b"other", expiration=0, collapse_id=b"x"), book).profile
    # the same object: it is looked up by identity
    assert one is other
    assert repr(book) == "<ProfileBook 1 profiles>"


@pytest.mark.parametrize("fields", [{"topic": "com.example.b"}, {"push_type": "voip"}, {"priority": 5}])
def test_each_topic_push_type_and_priority_has_a_profile_of_its_own(fields: dict[str, Any]) -> None:
    book = ProfileBook(b"localhost", BADGE)
    assert request_of(job(), book).profile is not request_of(job(**fields), book).profile
    assert len(book.profiles) == 2


def test_a_book_holds_so_many_profiles_at_most_however_many_push_types_are_made_up() -> None:
    book = ProfileBook(b"localhost:2197", BADGE)
    for number in range(2 * PROFILES_MOST):
        made = request_of(job(push_type=f"made{number}"), book)
        assert (b"apns-push-type", b"made%d" % number) in made.profile.fields
        assert len(book.profiles) <= PROFILES_MOST


def test_requests_are_made_only_as_they_are_asked_for_and_carry_their_job_along() -> None:
    drawn = []

    def held() -> Any:
        for number in range(3):
            drawn.append(number)
            yield job(id=b"%d" % number), "run"

    made = requests(held(), ProfileBook(b"localhost", BADGE))
    tag, *_ = next(made)
    assert drawn == [0]
    assert (tag[0].id, tag[1]) == (b"0", "run")
