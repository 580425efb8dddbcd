"""From the body of a campaign to the elements of its pushes: what all share is judged once, and each device alone."""

import json
from typing import Any

import msgspec
import pytest

from ingest.admission import admit
from ingest.campaign import Addressed, admit_campaign
from ingest.gather import pack, placer
from ingest.problems import Code
from ingest.schema import CAMPAIGN_FIELDS, decode_request
from shards.campaign import decode_campaign, expand, new_campaign_id
from shards.credential import Credential
from shards.job import Job
from shards.notification import CampaignRequest, Notification
from shards.problem import Refusal
from shards.tenant import Tenant

NOW_MS = 1_722_000_000_000
ID = new_campaign_id(NOW_MS, bytes(10))
TENANT = Tenant("acme", ("com.acme.app",), (Credential("KEY", "TEAM", "KEY", b"sealed"),))
PLACE = placer(TENANT, 64, 1_000)
GOOD: dict[str, Any] = {
    "device_tokens": ["ab", "CD" * 32],
    "topic": "com.acme.app",
    "payload": {"aps": {"alert": "x"}},
}


def decoded(most: int = 10, **fields: Any) -> Any:
    given = {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    coming = decode_request(json.dumps(given).encode(), most, 2)
    return coming if isinstance(coming, Refusal) else (coming[0], list(coming[1]))


def addressed(*tokens: Any, **fields: Any) -> Addressed:
    request, read = decoded(100, device_tokens=list(tokens), **fields)
    admitted = admit_campaign(request, TENANT, ID, NOW_MS, PLACE)
    assert isinstance(admitted, Addressed)
    for some in read:
        admitted.address(some)
    return admitted


def refused(**fields: Any) -> Refusal:
    found = decoded(**fields)
    assert isinstance(found, Refusal)
    return found


def test_a_campaign_is_a_notification_but_for_the_device() -> None:
    assert [name for name in CAMPAIGN_FIELDS if name != "device_tokens"] == [
        name for name in Notification.__struct_fields__ if name != "device_token"
    ]
    request, tokens = decoded(priority=5, expiration=0, collapse_id="c", lane="low", environment="sandbox")
    assert isinstance(request, CampaignRequest)
    assert tokens == [GOOD["device_tokens"]]
    one = request.to("ab")
    assert one.device_token == "ab"
    for name in Notification.__struct_fields__[1:]:
        assert getattr(one, name) == getattr(request, name)


def test_an_element_expands_to_the_job_that_a_single_push_would_have_been() -> None:
    fields = {"priority": 5, "expiration": NOW_MS // 1000 + 60, "collapse_id": "c", "push_type": "alert"}
    [(place, elements)] = addressed("AbCd", **fields).parcel().by_place.items()
    parcel = addressed("AbCd", **fields).parcel()
    assert parcel.campaign is not None
    [job] = expand(elements, decode_campaign(parcel.campaign[1]))
    request, _ = decoded(**fields)
    [single] = admit([request.to("AbCd")], TENANT, [job.id], NOW_MS)
    assert job == single and isinstance(single, Job)
    assert place == PLACE(request.to("AbCd"), job.device_token)
    assert set(pack([(place, single)]).by_place) == {place}


def test_results_are_in_order_and_a_bad_token_spoils_no_other() -> None:
    admitted = addressed("ab", "xy", 3, "", "cd", "ab" * 101, "ab")
    results = admitted.results({})
    pointers = [each.pointer if isinstance(each, Refusal) else "" for each in results]
    assert pointers == ["", "/device_tokens/1", "/device_tokens/2", "/device_tokens/3", "",
                        "/device_tokens/5", ""]  # fmt: skip
    codes = {each.code for each in results if isinstance(each, Refusal)}
    assert codes == {Code.BAD_DEVICE_TOKEN, Code.WRONG_TYPE}
    parcel = admitted.parcel()
    assert parcel.jobs == 3 == sum(map(len, parcel.by_place.values()))
    # the same device twice is two pushes, as it is in a batch
    ids = [each for each in results if isinstance(each, bytes)]
    assert len(set(ids)) == 3


def test_a_payload_that_is_nested_too_deeply_to_be_shortened_is_the_campaigns_fault() -> None:
    deep = msgspec.Raw(b'{"a":' + b"[ " * 100_000 + b"] " * 100_000 + b"}")
    wanted = CampaignRequest(device_tokens=msgspec.Raw(b'["ab"]'), topic="com.acme.app", payload=deep)
    judged = admit_campaign(wanted, TENANT, ID, NOW_MS, PLACE)
    assert isinstance(judged, Refusal) and (judged.code, judged.pointer) == (Code.BAD_PAYLOAD, "/payload")


def test_places_that_took_nothing_refuse_their_devices() -> None:
    admitted = addressed(*(f"{number:04x}" for number in range(40)), "xy")
    places = list(admitted.parcel().by_place)
    assert len(places) == TENANT.spread
    full = Refusal(Code.QUEUE_FULL, "full")
    results = admitted.results({places[0]: full})
    assert results.count(full) == len(admitted.parcel().by_place[places[0]])
    assert sum(isinstance(each, bytes) for each in results) == 40 - results.count(full)


def test_its_size_counts_the_record_once_for_each_place_that_stores_it() -> None:
    parcel = addressed(*(f"{number:04x}" for number in range(40)), "xy").parcel()
    assert parcel.campaign is not None
    elements = sum(len(push) for pushes in parcel.by_place.values() for push in pushes)
    assert parcel.size == elements + TENANT.spread * len(parcel.campaign[1])
    assert len(parcel.by_place) == TENANT.spread > 1


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"topic": "com.other"}, Code.TOPIC_NOT_ALLOWED, "/topic"),
        ({"payload": []}, Code.BAD_PAYLOAD, "/payload"),
        ({"payload": {"a": "x" * 4096}}, Code.PAYLOAD_TOO_LARGE, "/payload"),
        ({"priority": 3}, Code.BAD_PRIORITY, "/priority"),
        ({"expiration": 1}, Code.BAD_EXPIRATION, "/expiration"),
        ({"collapse_id": ""}, Code.BAD_COLLAPSE_ID, "/collapse_id"),
    ],
)
def test_what_all_pushes_share_is_refused_as_a_whole(
    fields: dict[str, Any], code: Code, pointer: str
) -> None:
    request, _ = decoded(**fields)
    refusal = admit_campaign(request, TENANT, ID, NOW_MS, PLACE)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.pointer) == (code, pointer)


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"device_tokens": None}, Code.FIELD_MISSING, "/device_tokens"),
        ({"topic": None}, Code.FIELD_MISSING, "/topic"),
        ({"device_tokens": "ab"}, Code.WRONG_TYPE, "/device_tokens"),
        ({"device_tokens": {"a": "ab"}}, Code.WRONG_TYPE, "/device_tokens"),
        ({"device_tokens": []}, Code.BATCH_EMPTY, "/device_tokens"),
        ({"device_tokens": ["ab"] * 11}, Code.BATCH_TOO_LARGE, "/device_tokens"),
        ({"device_tokens": [[]] * 11}, Code.BATCH_TOO_LARGE, "/device_tokens"),
        ({"device_token": "ab"}, Code.FIELD_UNKNOWN, "/device_token"),
        ({"lane": "middle"}, Code.WRONG_VALUE, "/lane"),
    ],
)
def test_what_can_not_be_read_is_refused_as_a_whole(fields: dict[str, Any], code: Code, pointer: str) -> None:
    refusal = refused(**fields)
    assert (refusal.code, refusal.pointer) == (code, pointer)


def test_the_field_for_one_device_is_guessed_to_mean_many() -> None:
    for written in ("device_token", "tokens", "deviceTokens"):
        assert "did you mean device_tokens?" in refused(**{written: ["ab"]}).detail


@pytest.mark.parametrize("body", [b"", b"[]", b"[1]", b"{", b'{"device_tokens":["\xff"]', b"[" * 100_000])
def test_no_body_makes_it_fail(body: bytes) -> None:
    assert isinstance(decode_request(body, 10, 2), Refusal)


def test_what_is_in_tokens_that_are_none_is_not_made_only_to_count_them() -> None:
    for token in ([[]] * 2_000, [{}] * 2_000):
        assert refused(device_tokens=[token]).code is Code.WRONG_TYPE
        # so few that it makes no odds, and then the rest is taken
        _, tokens = decoded(device_tokens=[token[:200], "ab"])
        assert [isinstance(each, Refusal) for some in tokens for each in some] == [True, False]


def test_exactly_as_many_devices_as_may_be_are_taken() -> None:
    request, tokens = decoded(most=10, device_tokens=["ab"] * 10)
    assert (request.topic, sum(map(len, tokens))) == ("com.acme.app", 10)


def test_no_token_is_repeated_in_a_refusal() -> None:
    for token in ("c0ffee" * 40, ["c0ffee" * 11], {"c0ffee" * 11: 1}, "c0ffee z"):
        for result in addressed("ab", token).results({}):
            assert "c0ffee" not in (result.detail if isinstance(result, Refusal) else "")
