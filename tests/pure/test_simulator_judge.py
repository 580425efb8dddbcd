"""The simulator's judge says what Apple says: every reason, the order of reasons, bearers and bindings."""

from base64 import urlsafe_b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from loadtest.simulator.bearer import Bearer, Bearers
from loadtest.simulator.binding import Binding
from loadtest.simulator.judge import Request, Verdict, apns_id, judge
from loadtest.simulator.push_authority import PushCertificate
from loadtest.simulator.registry import Device, Registry, Team
from loadtest.simulator.vocabulary import STATUS, TOPIC_SUFFIX

NOW_S = 1_800_000_000.0
TOPIC = "com.example.app"
TOKEN = "0a" * 32
ID = "6d1c3b52-8a54-4f0c-9a0f-0d3b0c7b8a11"


class Court:
    """A registry with two teams, a connection's binding and a way to put a request to the judge."""

    def __init__(self) -> None:
        self.registry = Registry("production")
        self.bearers = Bearers(self.registry)
        self.binding = Binding()
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        for team_id, key_id in (("TEAM000001", "KEY0000001"), ("TEAM000002", "KEY0000002")):
            self.add(team_id, key_id)
        # ECDSA draws a number for each signature, so a token that is made again is another token.
        self.usual_token = self.token()

    def add(self, team_id: str, key_id: str, **fields: object) -> None:
        key = self.keys.setdefault(key_id, ec.generate_private_key(ec.SECP256R1()))
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        given = {"topics": (TOPIC,), **fields}
        self.registry.register(
            Team(team_id=team_id, key_id=key_id, public_key_pem=pem.decode(), **given)  # type: ignore[arg-type]
        )

    def token(
        self,
        *,
        team_id: str = "TEAM000001",
        key_id: str = "KEY0000001",
        issued_at_s: float = NOW_S - 60,
        signed_with: str | None = None,
        is_der: bool = False,
        alg: str = "ES256",
    ) -> bytes:
        def part(raw: bytes) -> bytes:
            return urlsafe_b64encode(raw).rstrip(b"=")

        header = b'{"alg":"%s","kid":"%s"}' % (alg.encode(), key_id.encode())
        claims = b'{"iss":"%s","iat":%d}' % (team_id.encode(), issued_at_s)
        message = part(header) + b"." + part(claims)
        signature = self.keys[signed_with or key_id].sign(message, ec.ECDSA(hashes.SHA256()))
        if not is_der:
            r, s = decode_dss_signature(signature)
            signature = r.to_bytes(32) + s.to_bytes(32)
        return b"bearer " + message + b"." + part(signature)

    def judge(
        self, *, body_bytes: int = 20, now_s: float = NOW_S, is_doubled: bool = False, **headers: bytes | None
    ) -> Verdict:
        fields: dict[bytes, bytes | None] = {
            b":method": b"POST",
            b":path": f"/3/device/{TOKEN}".encode(),
            b"authorization": headers.pop("authorization", None) or self.usual_token,
            b"apns-topic": TOPIC.encode(),
        }
        for name, value in headers.items():
            known = name in ("method", "path")
            fields[f":{name}".encode() if known else name.replace("_", "-").encode()] = value
        sent = {name: value for name, value in fields.items() if value is not None and value != b"-"}
        authorization = sent.get(b"authorization")
        bearer = None if authorization is None else self.bearers.read(authorization)
        return judge(Request(sent, is_doubled, body_bytes, bearer), self.registry, self.binding, now_s)


@pytest.fixture
def court() -> Court:
    return Court()


def test_a_good_push_is_accepted_without_a_body(court: Court) -> None:
    verdict = court.judge(apns_id=ID.encode(), apns_push_type=b"alert", apns_priority=b"10")
    assert verdict == Verdict(200)
    assert verdict.body() == b""


@pytest.mark.parametrize(
    ("reason", "headers"),
    [
        ("MethodNotAllowed", {"method": b"GET"}),
        ("BadPath", {"path": b"/4/device/" + TOKEN.encode()}),
        ("BadPath", {"path": b"/"}),
        ("MissingDeviceToken", {"path": b"/3/device/"}),
        ("MissingDeviceToken", {"path": b"/3/device"}),
        ("BadDeviceToken", {"path": b"/3/device/not-hexadecimal"}),
        ("BadDeviceToken", {"path": b"/3/device/abc"}),
        ("BadMessageId", {"apns_id": b"42"}),
        ("BadExpirationDate", {"apns_expiration": b"tomorrow"}),
        ("BadExpirationDate", {"apns_expiration": b"-1"}),
        ("BadPriority", {"apns_priority": b"7"}),
        ("BadPriority", {"apns_priority": b"10", "apns_push_type": b"background"}),
        ("BadCollapseId", {"apns_collapse_id": b"x" * 65}),
        ("InvalidPushType", {"apns_push_type": b"telegram"}),
        ("MissingTopic", {"apns_topic": None}),
        ("BadTopic", {"apns_topic": b"com.example app"}),
        ("BadTopic", {"apns_topic": b""}),
        ("BadTopic", {"apns_push_type": b"voip"}),
        ("TopicDisallowed", {"apns_topic": b"com.example.other"}),
        ("MissingProviderToken", {"authorization": b"-"}),
        ("InvalidProviderToken", {"authorization": b"bearer nonsense"}),
        ("InvalidProviderToken", {"authorization": b"basic a.b.c"}),
    ],
)
def test_a_bad_request_is_refused_with_apples_reason(
    court: Court, reason: str, headers: dict[str, bytes | None]
) -> None:
    verdict = court.judge(**headers)  # type: ignore[arg-type]
    assert (verdict.reason, verdict.status) == (reason, STATUS[reason])
    assert verdict.body() == b'{"reason":"%s"}' % reason.encode()


def test_a_repeated_header_is_refused(court: Court) -> None:
    assert court.judge(is_doubled=True).reason == "DuplicateHeaders"


@pytest.mark.parametrize("push_type", [push_type for push_type in TOPIC_SUFFIX if push_type != b"mdm"])
def test_each_push_type_is_accepted_on_the_topic_with_its_suffix(court: Court, push_type: bytes) -> None:
    topic = TOPIC + (TOPIC_SUFFIX[push_type] or "")
    assert court.judge(apns_push_type=push_type, apns_topic=topic.encode()).status == 200


@pytest.mark.parametrize(
    ("body_bytes", "headers", "reason"),
    [
        (0, {}, "PayloadEmpty"),
        (4096, {}, ""),
        (4097, {}, "PayloadTooLarge"),
        (5120, {"apns_topic": b"com.example.app.voip", "apns_push_type": b"voip"}, ""),
        (5120, {"apns_topic": b"com.example.app.voip"}, ""),
        (5121, {"apns_topic": b"com.example.app.voip", "apns_push_type": b"voip"}, "PayloadTooLarge"),
    ],
)
def test_the_payload_may_be_4096_bytes_and_5120_for_voip(
    court: Court, body_bytes: int, headers: dict[str, bytes], reason: str
) -> None:
    assert court.judge(body_bytes=body_bytes, **headers).reason == reason  # type: ignore[arg-type]


def test_a_device_meets_the_fate_that_was_told(court: Court) -> None:
    for digit, fate in enumerate(("bad", "unregistered", "expired", "other_app")):
        device = Device(token=f"0{digit}" * 32, fate=fate, timestamp_ms=1_700_000_000_123)  # type: ignore[arg-type]
        court.registry.tell(device)
    verdicts = [court.judge(path=b"/3/device/" + b"0%d" % digit * 32) for digit in range(4)]
    reasons = [verdict.reason for verdict in verdicts]
    assert reasons == ["BadDeviceToken", "Unregistered", "ExpiredToken", "DeviceTokenNotForTopic"]
    assert [verdict.status for verdict in verdicts] == [400, 410, 410, 400]
    assert verdicts[1].body() == b'{"reason":"Unregistered","timestamp":1700000000123}'
    assert court.judge().status == 200


def test_a_device_token_of_any_length_and_case_is_a_device_token(court: Court) -> None:
    court.registry.tell(Device(token="AbCd", fate="unregistered"))
    assert court.judge(path=b"/3/device/aBcD").reason == "Unregistered"
    assert court.judge(path=b"/3/device/" + b"AB" * 100).status == 200


def test_identity_is_judged_before_payload_topic_and_device(court: Court) -> None:
    nonsense = {"path": b"/3/device/zz", "apns_topic": None, "authorization": b"-"}
    assert court.judge(body_bytes=0, **nonsense).reason == "MissingProviderToken"  # type: ignore[arg-type]


@pytest.mark.parametrize("is_der", [False, True])
def test_raw_and_der_signatures_are_both_accepted(court: Court, is_der: bool) -> None:
    assert court.judge(authorization=court.token(is_der=is_der)).status == 200


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({"signed_with": "KEY0000002"}, "InvalidProviderToken"),
        ({"team_id": "TEAM000009"}, "InvalidProviderToken"),
        ({"alg": "HS256"}, "InvalidProviderToken"),
        ({"issued_at_s": NOW_S - 3600}, ""),
        ({"issued_at_s": NOW_S - 3601}, "ExpiredProviderToken"),
        ({"issued_at_s": NOW_S + 3600}, ""),
        ({"issued_at_s": NOW_S + 3601}, "InvalidProviderToken"),
    ],
)
def test_a_provider_token_is_good_for_its_key_and_for_an_hour(
    court: Court, token: dict[str, object], reason: str
) -> None:
    assert court.judge(authorization=court.token(**token)).reason == reason  # type: ignore[arg-type]


def test_a_connection_refuses_a_second_team(court: Court) -> None:
    other = court.token(team_id="TEAM000002", key_id="KEY0000002")
    assert court.judge().status == 200
    assert court.judge(authorization=other).reason == "InvalidProviderToken"
    assert court.judge().status == 200


def test_a_connection_refuses_an_unrelated_key_and_takes_the_related_one(court: Court) -> None:
    court.add("TEAM000001", "KEY0000003")
    court.add("TEAM000001", "KEY0000004", related_key_id="KEY0000001")
    assert court.judge().status == 200
    assert court.judge(authorization=court.token(key_id="KEY0000003")).reason == "UnrelatedKeyIdInToken"
    assert court.judge(authorization=court.token(key_id="KEY0000004")).status == 200


def test_a_key_of_the_other_environment_is_refused(court: Court) -> None:
    court.add("TEAM000001", "KEY0000001", environment="sandbox")
    assert court.judge().reason == "BadEnvironmentKeyIdInToken"


def test_a_topic_added_to_the_team_needs_a_new_connection(court: Court) -> None:
    assert court.judge().status == 200
    court.add("TEAM000001", "KEY0000001", topics=(TOPIC, "com.example.new"))
    assert court.judge(apns_topic=b"com.example.new").reason == "TopicDisallowed"
    court.binding = Binding()
    assert court.judge(apns_topic=b"com.example.new").status == 200


def test_a_revoked_key_is_refused_on_connections_that_used_it(court: Court) -> None:
    token = court.token()
    assert court.judge(authorization=token).status == 200
    court.keys["KEY0000001"] = ec.generate_private_key(ec.SECP256R1())
    court.add("TEAM000001", "KEY0000001")
    assert court.judge(authorization=token).reason == "InvalidProviderToken"


def test_a_provider_token_may_change_once_in_twenty_minutes(court: Court) -> None:
    tokens = [court.token(issued_at_s=NOW_S + offset_s) for offset_s in (0, 60, 120)]
    changes = [
        (0, 0.0),
        (1, 60.0),
        (0, 61.0),
        (1, 1199.0),
        (1, 1200.0),
        (0, 1260.0),
        (2, 2399.0),
        (2, 2400.0),
    ]
    reasons = [court.judge(authorization=tokens[n], now_s=NOW_S + at_s).reason for n, at_s in changes]
    many = "TooManyProviderTokenUpdates"
    assert reasons == ["", many, "", many, "", many, many, ""]


def test_an_expired_token_wedges_the_connection_for_good(court: Court) -> None:
    token = court.token(issued_at_s=NOW_S)
    assert court.judge(authorization=token).status == 200
    assert court.judge(authorization=token, now_s=NOW_S + 3601).reason == "ExpiredProviderToken"
    fresh = court.token(issued_at_s=NOW_S + 3600)
    assert court.judge(authorization=fresh, now_s=NOW_S + 3601).reason == "ExpiredProviderToken"
    assert repr(court.binding) == "<Binding team=TEAM000001 key=KEY0000001 wedged>"


def test_a_bearer_is_verified_once(court: Court) -> None:
    token = court.token()
    assert court.bearers.read(token) is court.bearers.read(token)
    assert court.bearers.read(b"bearer a.b.c") == Bearer(None)


def test_a_team_needs_a_public_key_on_p256(court: Court) -> None:
    fields = {"team_id": "T", "key_id": "K", "topics": ()}
    with pytest.raises(ValueError, match="public_key_pem: not a PEM"):
        court.registry.register(Team(public_key_pem="no", **fields))  # type: ignore[arg-type]
    pem = ec.generate_private_key(ec.SECP384R1()).public_key()
    text = pem.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ValueError, match="P-256"):
        court.registry.register(Team(public_key_pem=text.decode(), **fields))  # type: ignore[arg-type]


def test_the_answers_id_is_the_callers_or_a_new_one() -> None:
    def new_id() -> str:
        return "NEW"

    made: Callable[[], str] = new_id
    assert apns_id({b"apns-id": ID.upper().encode()}, made) == ID.upper()
    assert apns_id({b"apns-id": b"42"}, made) == "NEW"
    assert apns_id({}, made) == "NEW"


def holding(*topics: bytes, environments: frozenset[str] = frozenset({"production"})) -> Binding:
    """The binding of a connection that has shown a certificate for these topics."""
    return Binding(PushCertificate("TEAM000009", frozenset(topics), environments))


@pytest.mark.parametrize("authorization", [b"-", b"bearer nonsense", None])
def test_a_certificate_speaks_for_its_team_and_no_token_is_looked_at(
    court: Court, authorization: bytes | None
) -> None:
    court.binding = holding(TOPIC.encode())
    assert court.judge(authorization=authorization).status == 200
    assert court.binding.team_id == "TEAM000009"


def test_a_certificate_of_the_other_environment_is_refused(court: Court) -> None:
    court.binding = holding(TOPIC.encode(), environments=frozenset({"sandbox"}))
    verdict = court.judge(authorization=b"-")
    assert (verdict.status, verdict.reason) == (403, "BadCertificateEnvironment")


@pytest.mark.parametrize(
    ("topics", "named", "reason"),
    [
        ([b"com.example.app"], None, ""),
        ([b"com.example.app"], b"com.example.app", ""),
        ([b"com.example.app"], b"com.example.app.voip", "TopicDisallowed"),
        ([b"com.example.app"], b"com.example.other", "TopicDisallowed"),
        ([b"com.example.app", b"com.example.app.voip"], None, "MissingTopic"),
        ([b"com.example.app", b"com.example.app.voip"], b"com.example.app.voip", ""),
    ],
)
def test_a_certificate_is_good_for_its_own_topics_and_stands_in_for_the_only_one(
    court: Court, topics: list[bytes], named: bytes | None, reason: str
) -> None:
    court.binding = holding(*topics)
    assert court.judge(authorization=b"-", apns_topic=named).reason == reason


def test_with_a_certificate_the_fate_of_a_device_is_that_of_the_topic_that_is_meant(court: Court) -> None:
    court.binding = holding(TOPIC.encode())
    court.registry.tell(Device(token=TOKEN, fate="other_app", topics=(TOPIC,)))
    assert court.judge(authorization=b"-", apns_topic=None).status == 200
