"""What a tenant may send, rule by rule, and what then stands on the wire."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ingest.admission import admit, judge_topic
from ingest.problems import Code
from ingest.schema import decode_one
from shards.credential import Credential
from shards.job import Job
from shards.notification import Notification
from shards.problem import Refusal
from shards.push_types import SUFFIXES
from shards.tenant import Tenant

KEY = Credential("KEY0000001", "TEAM000001", "KEY0000001", b"sealed")
TENANT = Tenant("acme", ("com.acme.app", "com.acme.other"), (KEY,))
NOW_MS = 1_800_000_000_000
TOKEN = "0a" * 32
decode = msgspec.json.Decoder(Notification).decode


def notification(**fields: Any) -> Notification:
    whole = {"device_token": TOKEN, "topic": "com.acme.app", "payload": {"aps": {"alert": "x"}}, **fields}
    return decode(json.dumps({name: value for name, value in whole.items() if value is not ...}))


def verdict(one: Notification, tenant: Tenant = TENANT) -> Job | Refusal:
    [only] = admit([one], tenant, [b"id-1"], NOW_MS)
    return only


def job(**fields: Any) -> Job:
    admitted = verdict(notification(**fields))
    assert isinstance(admitted, Job), admitted
    return admitted


def refusal(**fields: Any) -> Refusal:
    refused = verdict(notification(**fields))
    assert isinstance(refused, Refusal), refused
    return refused


def test_what_is_absent_stays_absent() -> None:
    assert job() == Job(
        b"id-1", TOKEN.encode(), "com.acme.app", b'{"aps": {"alert": "x"}}', admitted_ms=NOW_MS
    )  # fmt: skip


def test_what_is_given_is_kept() -> None:
    admitted = job(priority=1, expiration=0, collapse_id="inbox", environment="sandbox", push_type="alert")
    assert (admitted.priority, admitted.expiration, admitted.collapse_id) == (1, 0, b"inbox")
    assert admitted.environment == "sandbox"


@pytest.mark.parametrize("token", ["ab", "AB" * 32, "aB" * 100])
def test_a_token_of_any_length_and_case_is_stored_in_lower_case(token: str) -> None:
    assert job(device_token=token).device_token == token.lower().encode()


@pytest.mark.parametrize("token", ["", "a", "abc", "xy", "ab cd", " ab", "<abcd>", "ab" * 101, "áb", "０a"])
def test_a_token_that_is_not_plain_hexadecimal_is_refused(token: str) -> None:
    refused = refusal(device_token=token)
    assert (refused.code, refused.pointer) == (Code.BAD_DEVICE_TOKEN, "/device_token")


@pytest.mark.parametrize(("push_type", "suffix"), SUFFIXES.items())
def test_each_push_type_takes_its_own_suffix_and_no_other(push_type: str, suffix: str) -> None:
    topics = ("com.acme.app",)
    for other in set(SUFFIXES.values()):
        refused = judge_topic(f"com.acme.app{other}", push_type, topics)
        if other == suffix:
            assert refused is None
        else:
            assert refused is not None
            assert refused.code is Code.TOPIC_FOR_PUSH_TYPE
            assert f'"com.acme.app{suffix}"' in refused.detail


def test_a_topic_that_is_registered_with_its_suffix_is_allowed() -> None:
    assert judge_topic("com.acme.app.voip", "voip", ("com.acme.app.voip",)) is None


@pytest.mark.parametrize(
    ("topic", "push_type"),
    [
        ("com.evil.app", "alert"),
        ("com.evil.app.voip", "voip"),
        ("com.acme", "alert"),
        ("com.acme.app.extension", "alert"),
        ("", "alert"),
        (".voip", "voip"),
        ("com.acme.app ", "alert"),
        ("com.acme.app\r\nx: y", "alert"),
        ("com.acme.app.voip", "brandnew"),
    ],
)
def test_a_topic_that_is_not_the_tenants_is_refused_and_not_repeated(topic: str, push_type: str) -> None:
    refused = judge_topic(topic, push_type, ("com.acme.app",))
    assert refused is not None
    assert "com.acme.app" in refused.detail
    assert "evil" not in refused.detail


def test_a_tenant_without_topics_is_told_to_register_one() -> None:
    refused = judge_topic("com.acme.app", "alert", ())
    assert refused is not None and "register" in refused.detail


def test_of_many_topics_only_some_are_listed() -> None:
    refused = judge_topic("x", "alert", tuple(f"com.acme.app{n}" for n in range(9)))
    assert refused is not None and "and 4 more" in refused.detail


@pytest.mark.parametrize("topic", ["com.acme.app", "com.acme.app.push-type.brandnew"])
def test_a_push_type_that_is_not_known_yet_passes_through(topic: str) -> None:
    assert job(push_type="brandnew", topic=topic).push_type == "brandnew"


@pytest.mark.parametrize("push_type", ["", "Alert", "a b", "a" * 33, "alert\n", "pushé", "a1"])
def test_a_push_type_that_is_no_token_is_refused(push_type: str) -> None:
    assert refusal(push_type=push_type).code is Code.BAD_PUSH_TYPE


@pytest.mark.parametrize("payload", [3, "text", [1], None, True])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    assert refusal(payload=payload).code is Code.BAD_PAYLOAD


@pytest.mark.parametrize("raw", [b"{}", b"{ }", b" {\n\t} "])
def test_an_empty_payload_is_refused(raw: bytes) -> None:
    one = decode(b'{"device_token":"ab","topic":"com.acme.app","payload":' + raw + b"}")
    refused = verdict(one)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.pointer) == (Code.BAD_PAYLOAD, "/payload")
    assert "empty" in refused.detail


def payload_of(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


def with_payload(raw: bytes, push_type: str = "alert", topic: str = "com.acme.app") -> Notification:
    return Notification(device_token=TOKEN, topic=topic, payload=msgspec.Raw(raw), push_type=push_type)


@pytest.mark.parametrize(
    ("size", "push_type", "topic", "fits"),
    [
        (4096, "alert", "com.acme.app", True),
        (4097, "alert", "com.acme.app", False),
        (5120, "voip", "com.acme.app.voip", True),
        (5121, "voip", "com.acme.app.voip", False),
        (4097, "pushtotalk", "com.acme.app.voip-ptt", False),
    ],
)
def test_the_payload_limit_is_apples(size: int, push_type: str, topic: str, fits: bool) -> None:
    judged = verdict(with_payload(payload_of(size), push_type, topic))
    if fits:
        assert isinstance(judged, Job)
    else:
        assert isinstance(judged, Refusal)
        assert (judged.code, judged.pointer) == (Code.PAYLOAD_TOO_LARGE, "/payload")
        assert str(size) in judged.detail


def test_the_size_is_counted_in_bytes_and_not_in_characters() -> None:
    raw = ('{"a":"' + "é" * 2045 + '"}').encode()
    assert len(raw) == 4098
    assert isinstance(verdict(with_payload(raw)), Refusal)


def test_formatting_is_kept_as_long_as_it_fits() -> None:
    raw = b'{ "a" : 1 }'
    judged = verdict(with_payload(raw))
    assert isinstance(judged, Job) and judged.payload == raw


def test_formatting_that_makes_it_too_large_is_removed_and_nothing_else_changed() -> None:
    raw = (
        b'{ "big" : 123456789012345678901234567890,'
        + b" " * 5000
        + b'"e": 1e400, "e": 1.0, "t": "a  b\\u00e9"}'
    )
    judged = verdict(with_payload(raw))
    assert isinstance(judged, Job)
    assert judged.payload == b'{"big":123456789012345678901234567890,"e":1e400,"e":1.0,"t":"a  b\\u00e9"}'


def nested(depth: int) -> bytes:
    """A payload that is too large by white space, with arrays so deep in one another."""
    return b'{"a":' + b"[ " * depth + b"] " * depth + b'," ":"' + b" " * 4_200 + b'"}'


def test_a_payload_that_is_nested_too_deeply_to_be_shortened_is_refused_and_spoils_nothing_else() -> None:
    batch = [with_payload(raw) for raw in (b'{"aps":{}}', nested(100_000), b'{"aps":{}}')]
    first, deep, last = admit(batch, TENANT, [b"1", b"2", b"3"], NOW_MS)
    assert isinstance(first, Job) and isinstance(last, Job)
    assert deep == Refusal(Code.BAD_PAYLOAD, "arrays or objects are nested too deeply", "/payload")


def test_however_deeply_a_payload_is_nested_it_is_judged() -> None:
    # some of them are not too deep to be skipped over, and are to be formatted
    decoded = [
        decode_one(b'{"device_token":"ab","topic":"com.acme.app","payload":%b}' % nested(depth))
        for depth in range(800, 1_100)
    ]
    verdicts = admit(decoded, TENANT, [b"id"] * len(decoded), NOW_MS)
    assert {each.code for each in verdicts if isinstance(each, Refusal)} == {
        Code.PAYLOAD_TOO_LARGE,
        Code.BAD_PAYLOAD,
        Code.MALFORMED_JSON,
    }


@pytest.mark.parametrize("priority", [0, -1, 2, 11, 10**30])
def test_a_priority_that_apple_does_not_know_is_refused(priority: int) -> None:
    assert refusal(priority=priority).code is Code.BAD_PRIORITY


def test_background_is_never_sent_with_priority_10() -> None:
    assert refusal(push_type="background", priority=10).code is Code.BAD_PRIORITY
    assert job(push_type="background").priority == 5
    assert job(push_type="background", priority=1).priority == 1


def test_a_time_that_is_over_is_refused_and_zero_is_not_a_time() -> None:
    now_s = NOW_MS // 1000
    assert job(expiration=0).expiration == 0
    assert job(expiration=now_s + 1).expiration == now_s + 1
    assert refusal(expiration=now_s).code is Code.BAD_EXPIRATION
    assert refusal(expiration=1).code is Code.BAD_EXPIRATION


@pytest.mark.parametrize("collapse_id", ["a", "a b", "é" * 32, "x" * 64])
def test_a_collapse_id_of_up_to_64_bytes_is_kept(collapse_id: str) -> None:
    assert job(collapse_id=collapse_id).collapse_id == collapse_id.encode()


@pytest.mark.parametrize(
    "collapse_id", ["", " a", "a ", "x" * 65, "é" * 33, "a\nb", "a\x00", "a\x7f", "\u2003a"]
)
def test_a_collapse_id_that_can_not_be_a_header_is_refused(collapse_id: str) -> None:
    assert refusal(collapse_id=collapse_id).code is Code.BAD_COLLAPSE_ID


SANDBOX_ONLY = Credential("k1", "TEAM000001", "k1", b"", environments=("sandbox",))
FOR_OTHER = Credential("k2", "TEAM000001", "k2", b"", topics=("com.acme.other",))


@pytest.mark.parametrize(
    ("credentials", "fields", "pointer", "words"),
    [
        ((), {}, "", "no credential yet"),
        ((SANDBOX_ONLY,), {}, "/environment", "no credential for production"),
        ((FOR_OTHER,), {}, "/topic", "credentials for production is good for this topic"),
        ((FOR_OTHER, SANDBOX_ONLY), {}, "/topic", "credentials for production is good for this topic"),
        ((msgspec.structs.replace(KEY, disabled=True),), {}, "/environment", "in use"),
        ((msgspec.structs.replace(KEY, not_after_ms=NOW_MS),), {}, "/environment", "not over"),
        ((SANDBOX_ONLY,), {"environment": "sandbox"}, None, ""),
        ((FOR_OTHER,), {"topic": "com.acme.other"}, None, ""),
        ((FOR_OTHER,), {"topic": "com.acme.other.voip", "push_type": "voip"}, None, ""),
        ((FOR_OTHER, SANDBOX_ONLY), {"environment": "sandbox"}, None, ""),
        ((msgspec.structs.replace(KEY, not_after_ms=NOW_MS + 1),), {}, None, ""),
    ],
)
def test_what_no_credential_can_send_is_refused_in_words(
    credentials: tuple[Credential, ...], fields: dict[str, str], pointer: str | None, words: str
) -> None:
    judged = verdict(notification(**fields), Tenant("acme", TENANT.topics, credentials))
    if pointer is None:
        assert isinstance(judged, Job)
    else:
        assert isinstance(judged, Refusal)
        assert (judged.code, judged.pointer) == (Code.NO_CREDENTIAL, pointer)
        assert words in judged.detail


def test_a_topic_that_is_not_the_tenants_is_said_to_be_so_and_not_to_want_a_credential() -> None:
    judged = verdict(notification(topic="com.evil.app"), Tenant("acme", TENANT.topics))
    assert isinstance(judged, Refusal) and judged.code is Code.TOPIC_NOT_ALLOWED


class CountedCredentials(tuple[Credential, ...]):
    """Credentials that count how often somebody looks through them."""

    looks = 0

    def __iter__(self) -> Iterator[Credential]:
        self.looks += 1
        return super().__iter__()


def test_whether_it_can_be_sent_is_asked_once_a_batch_for_each_topic_and_environment() -> None:
    credentials = CountedCredentials((KEY,))
    batch = [
        notification(topic=topic, environment=environment, push_type=push_type)
        for topic in TENANT.topics
        for environment in ("production", "sandbox")
        for push_type in ("alert", "background", "mdm")
        for _ in range(20)
    ]
    verdicts = admit(batch, Tenant("acme", TENANT.topics, credentials), [b"id"] * len(batch), NOW_MS)
    assert all(isinstance(one, Job) for one in verdicts)
    assert credentials.looks == 4


def test_a_batch_is_judged_item_by_item_and_in_order() -> None:
    undecoded = Refusal(Code.WRONG_TYPE, "x")
    batch: list[Notification | Refusal] = [
        notification(),
        notification(device_token="zz"),
        undecoded,
        notification(topic="com.acme.other"),
    ]
    first, second, third, fourth = admit(batch, TENANT, [b"1", b"2", b"3", b"4"], NOW_MS)
    assert isinstance(first, Job) and first.id == b"1"
    assert isinstance(second, Refusal)
    assert third is undecoded
    assert isinstance(fourth, Job) and fourth.id == b"4"


def test_no_refusal_repeats_what_was_sent() -> None:
    secret = "c0ffee" * 11 + "c"
    for field in ("device_token", "topic", "push_type", "collapse_id"):
        assert secret not in refusal(**{field: secret}).detail
