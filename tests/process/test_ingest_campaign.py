"""Campaigns over real HTTP with a real Redis: what is answered for each device, and what then stands in the queues."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py
from ingest_process import TOPIC, IngestProcess, create_tenant, stored
from redis_server import RedisServer

from ingest.options import IngestOptions
from shards.job import Job
from shards.keys import shard_keys
from shards.placement import base_shard, device_shard
from shards.tenant import Limits

CAMPAIGN = "/v1/push/campaign"
MOST = 50
TENANT_MOST = 40
SHARDS, SPREAD = 64, 4
GOOD: dict[str, Any] = {"topic": TOPIC, "payload": {"aps": {"alert": "x"}}}


@pytest.fixture(scope="module")
def ingest(_redis_process: RedisServer) -> Iterator[IngestProcess]:
    process = IngestProcess(
        _redis_process.url, campaign_devices_most=MOST, queue_most_tenant=TENANT_MOST, body_bytes_most=1 << 20
    )
    process.await_ready()
    yield process
    assert "Traceback" not in process.end()


@pytest.fixture
def key(redis_url: str) -> str:
    return create_tenant(redis_url)


def tokens(count: int, first: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(first, first + count)]


def test_each_device_gets_a_push_as_if_it_had_been_sent_alone(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    fields = {"lane": "low", "environment": "sandbox", "push_type": "background", "collapse_id": "c"}
    answer = ingest.push(key, {**GOOD, **fields, "device_tokens": [*tokens(20), "AbCd"]}, CAMPAIGN)
    assert (answer.status, answer.json["accepted"], answer.json["refused"]) == (202, 21, 0)
    jobs = stored(redis_url)
    assert {(lane, flow) for lane, flow, _ in jobs} == {("low", "acme/sandbox")}
    found = {job.id.decode(): job.device_token.decode() for _, _, job in jobs}
    assert found == dict(
        zip((each["id"] for each in answer.json["results"]), [*tokens(20), "abcd"], strict=True)
    )
    [single] = {
        (job.topic, job.payload, job.push_type, job.priority, job.expiration, job.collapse_id)
        for _, _, job in jobs
    }
    assert single == (TOPIC, b'{"aps": {"alert": "x"}}', "background", 5, -1, b"c")
    # where a single push for the device would stand as well
    ingest.push(key, {**GOOD, **fields, "device_token": "AbCd"})
    [(lane, flow, again)] = stored(redis_url)
    assert (lane, flow, again.device_token, again.priority) == ("low", "acme/sandbox", b"abcd", 5)


def test_refused_devices_are_named_in_order_and_the_others_are_accepted(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    body = {**GOOD, "device_tokens": ["ab", "no hex", "cd", 7, "ef"]}
    answer = ingest.push(key, body, CAMPAIGN)
    assert (answer.status, answer.json["accepted"], answer.json["refused"]) == (207, 3, 2)
    results = answer.json["results"]
    assert ["id" in each for each in results] == [True, False, True, False, True]
    assert [results[at]["error"]["errors"][0]["pointer"] for at in (1, 3)] == [
        "/device_tokens/1",
        "/device_tokens/3",
    ]
    assert [results[at]["error"]["code"] for at in (1, 3)] == ["bad-device-token", "wrong-type"]
    by_token = {job.device_token: job.id.decode() for _, _, job in stored(redis_url)}
    assert by_token == {token: results[at]["id"] for at, token in ((0, b"ab"), (2, b"cd"), (4, b"ef"))}
    minimal = ingest.push(key, body, CAMPAIGN, Prefer="return=minimal")
    assert (minimal.status, minimal.json) == (207, {"accepted": 3, "refused": 2})
    assert minimal.headers["preference-applied"] == "return=minimal"


@pytest.mark.parametrize(
    ("fields", "status", "code", "pointer"),
    [
        ({"device_tokens": []}, 422, "batch-empty", "/device_tokens"),
        ({"device_tokens": tokens(MOST + 1)}, 413, "batch-too-large", "/device_tokens"),
        ({"device_tokens": "ab"}, 422, "wrong-type", "/device_tokens"),
        ({"device_token": "ab"}, 422, "field-unknown", "/device_token"),
        ({"topic": "com.other"}, 422, "topic-not-allowed", "/topic"),
        ({"payload": {"a": "x" * 4096}}, 413, "payload-too-large", "/payload"),
        ({"priority": 2}, 422, "bad-priority", "/priority"),
    ],
)
def test_what_concerns_all_devices_is_refused_as_a_whole(
    ingest: IngestProcess, key: str, redis_url: str, fields: Any, status: int, code: str, pointer: str
) -> None:
    answer = ingest.push(key, {**GOOD, "device_tokens": tokens(2), **fields}, CAMPAIGN)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["errors"][0]["pointer"] == pointer
    assert answer.headers["content-type"] == "application/problem+json"
    assert stored(redis_url) == []


def test_a_campaign_of_bad_tokens_alone_is_answered_207(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    answer = ingest.push(key, {**GOOD, "device_tokens": ["x", "y"]}, CAMPAIGN)
    assert (answer.status, answer.json["accepted"], answer.json["refused"]) == (207, 0, 2)
    assert stored(redis_url) == []


def test_a_campaign_may_be_gzip_and_must_be_json(ingest: IngestProcess, key: str, redis_url: str) -> None:
    body = json.dumps({**GOOD, "device_tokens": tokens(MOST)}).encode()
    assert ingest.push(key, gzip.compress(body), CAMPAIGN, Content_Encoding="gzip").status == 202
    assert len(stored(redis_url)) == MOST
    answer = ingest.push(key, body, CAMPAIGN, Content_Type="application/x-ndjson")
    assert (answer.status, answer.json["code"]) == (415, "unsupported-content-type")


def test_each_device_counts_for_the_rate(ingest: IngestProcess, redis_url: str) -> None:
    key = create_tenant(redis_url, "slow", limits=Limits(admit_per_s=0.01, admit_burst=10))
    # a token that is refused does not count
    first = ingest.push(key, {**GOOD, "device_tokens": [*tokens(6), "x"]}, CAMPAIGN)
    assert (first.status, first.headers["ratelimit"].partition(";t")[0]) == (207, '"tenant";r=4')
    # as any request, the last may go beyond what is left
    last = ingest.push(key, {**GOOD, "device_tokens": tokens(6)}, CAMPAIGN)
    assert (last.status, last.headers["ratelimit"].partition(";t")[0]) == (202, '"tenant";r=0')
    over = ingest.push(key, {**GOOD, "device_tokens": tokens(2)}, CAMPAIGN)
    assert (over.status, over.json["code"]) == (429, "rate-limited")
    assert len(stored(redis_url)) == 12


def on_shard(tenant: str, number: int, count: int) -> list[str]:
    """Tokens of devices that all are on one of the tenant's shards."""
    base = base_shard(tenant, SHARDS)
    found = (
        token
        for token in tokens(100 * count)
        if device_shard(base, token.encode(), SPREAD, SHARDS) == (base + number) % SHARDS
    )
    return [token for token, _ in zip(found, range(count), strict=False)]


def test_a_full_queue_refuses_the_devices_of_its_shard_and_no_others(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    full, free = on_shard("acme", 0, 12), on_shard("acme", 1, 3)
    assert ingest.push(key, {**GOOD, "device_tokens": full}, CAMPAIGN).status == 202
    both = [token for pair in zip(full, free, strict=False) for token in pair]
    answer = ingest.push(key, {**GOOD, "device_tokens": both}, CAMPAIGN)
    assert (answer.status, answer.json["accepted"], answer.json["refused"]) == (207, 3, 3)
    codes = [each.get("error", {}).get("code") for each in answer.json["results"]]
    assert codes == ["queue-full", None] * 3
    alone = ingest.push(key, {**GOOD, "device_tokens": full}, CAMPAIGN)
    assert (alone.status, alone.json["code"]) == (429, "queue-full")
    jobs: list[Job] = [job for _, _, job in stored(redis_url)]
    assert sorted(job.device_token.decode() for job in jobs) == sorted(full + free)


def test_as_many_devices_as_may_be_are_taken_at_once(redis_url: str) -> None:
    key = create_tenant(redis_url)
    ingest = IngestProcess(redis_url)
    ingest.await_ready()
    most = IngestOptions(redis_url=redis_url).campaign_devices_most
    answer = ingest.push(key, {**GOOD, "device_tokens": tokens(most)}, CAMPAIGN)
    assert (answer.status, answer.json["accepted"]) == (202, most)
    assert len({each["id"] for each in answer.json["results"]}) == most
    with redis_py.Redis.from_url(redis_url) as raw:
        shards = [shard_keys(shard) for shard in range(SHARDS)]
        assert sum(int(raw.get(shard.depth) or 0) for shard in shards) == most
        assert sum(int(each) for shard in shards for each in raw.hvals(shard.left)) == most
        assert sum(raw.hlen(shard.campaigns) for shard in shards) == SPREAD
    assert "Traceback" not in ingest.end()


def test_all_refused_devices_are_told_and_the_first_thousand_in_full(redis_url: str) -> None:
    key = create_tenant(redis_url)
    ingest = IngestProcess(redis_url)
    ingest.await_ready()
    count = 20_000
    answer = ingest.push(key, {**GOOD, "device_tokens": [""] * count + ["ab"]}, CAMPAIGN)
    assert (answer.status, answer.json["accepted"], answer.json["refused"]) == (207, 1, count)
    *refused, accepted = answer.json["results"]
    assert "id" in accepted
    assert [each["error"].get("errors", [{}])[0].get("pointer") for each in refused[:1_000]] == [
        f"/device_tokens/{number}" for number in range(1_000)
    ]
    brief = {"error": {"status": 422, "code": "bad-device-token", "retryable": False}}
    assert len(refused) == count and all(each == brief for each in refused[1_000:])
    assert "Traceback" not in ingest.end()


def test_a_campaign_is_described(ingest: IngestProcess) -> None:
    description = ingest.get("/openapi.json").json
    assert f"At most {MOST} devices" in description["paths"][CAMPAIGN]["post"]["description"]
    assert ingest.get(CAMPAIGN).status == 405
