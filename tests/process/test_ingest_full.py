"""Queues that are full: whose, and what is then said of one push, of a whole batch, and item by item."""

from collections.abc import Iterator
from typing import Any

import pytest
from ingest_process import TOPIC, IngestProcess, Response, create_tenant, stored
from redis_server import RedisServer

from shards.placement import base_shard, device_shard
from shards.tenant import Limits

BATCH = "/v1/push/batch"
SHARDS, SPREAD = 64, 4
TENANT_MOST, SHARD_MOST = 20, 30


@pytest.fixture(scope="module")
def ingest(_redis_process: RedisServer) -> Iterator[IngestProcess]:
    process = IngestProcess(
        _redis_process.url, queue_most_tenant=TENANT_MOST, queue_most_shard=SHARD_MOST, retry_after_s=7
    )
    process.await_ready()
    yield process
    assert "Traceback" not in process.end()


def push_for(number: int, **fields: Any) -> dict[str, Any]:
    return {"device_token": f"{number:064x}", "topic": TOPIC, "payload": {"aps": {}}, **fields}


def pushes_on(tenant: str, shard: int, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Pushes for devices that all are on one shard of the tenant's."""
    base = base_shard(tenant, SHARDS)
    found: list[dict[str, Any]] = []
    number = 0
    while len(found) < count:
        number += 1
        push = push_for(number, **fields)
        if device_shard(base, push["device_token"].encode(), SPREAD, SHARDS) == (base + shard) % SHARDS:
            found.append(push)
    return found


def codes(answer: Response) -> list[str | None]:
    return [result.get("error", {}).get("code") for result in answer.json["results"]]


def test_t3_a_tenant_whose_own_queue_is_full_is_told_429_and_others_push_on(
    ingest: IngestProcess, redis_url: str
) -> None:
    key, other = create_tenant(redis_url), create_tenant(redis_url, "zeta")
    part = TENANT_MOST // SPREAD
    # the last may go beyond its part, and both lanes count
    assert ingest.push(key, pushes_on("acme", 0, part - 1, lane="low"), BATCH).json["accepted"] == part - 1
    assert ingest.push(key, pushes_on("acme", 0, 3), BATCH).json["accepted"] == 3
    [one] = pushes_on("acme", 0, 1)
    for body, path in ((one, "/v1/push"), ([one, one], BATCH), ([one, 3], BATCH)):
        answer = ingest.push(key, body, path)
        assert (answer.status, answer.json["code"]) == (429, "queue-full")
        assert (answer.json["retryable"], answer.headers["retry-after"]) == (True, "7")
    assert ingest.push(key, pushes_on("acme", 1, 1)[0]).status == 202
    # the sandbox is a flow of its own
    assert ingest.push(key, {**one, "environment": "sandbox"}).status == 202
    assert ingest.push(other, pushes_on("zeta", 0, 1)[0]).status == 202
    jobs = stored(redis_url)
    assert len(jobs) == part + 2 + 3
    assert {flow for _, flow, _ in jobs} == {"acme", "acme/sandbox", "zeta"}


def test_a_limit_of_the_tenants_own_goes_before_the_gateways(ingest: IngestProcess, redis_url: str) -> None:
    key = create_tenant(redis_url, limits=Limits(queue_most=3))
    first, second = pushes_on("acme", 0, 2)
    assert ingest.push(key, first).status == 202
    assert ingest.push(key, second).json["code"] == "queue-full"


def test_what_finds_no_room_does_not_count_for_the_rate(ingest: IngestProcess, redis_url: str) -> None:
    # one push in 1,000 s: nothing comes back during the test
    still = Limits(admit_per_s=0.001, admit_burst=10, queue_most=SPREAD)
    key = create_tenant(redis_url, "still", limits=still)

    def left(answer: Response) -> int:
        return int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0])

    [one], [free] = pushes_on("still", 0, 1), pushes_on("still", 1, 1)
    assert left(ingest.push(key, one)) == 9
    for body, path in ((one, "/v1/push"), ([one] * 3, BATCH), ([one] * 300, BATCH)) * 20:
        answer = ingest.push(key, body, path)
        assert (answer.status, answer.json["code"], left(answer)) == (429, "queue-full", 9)
    # of those that find room, the others do not count
    answer = ingest.push(key, [one] * 5 + [free], BATCH)
    assert (answer.status, codes(answer), left(answer)) == (207, ["queue-full"] * 5 + [None], 8)
    assert len(stored(redis_url)) == 2


def test_a_shard_that_is_full_is_everybodys_and_told_503(ingest: IngestProcess, redis_url: str) -> None:
    key = create_tenant(redis_url, limits=Limits(queue_most=1_000))
    assert ingest.push(key, pushes_on("acme", 0, SHARD_MOST), BATCH).status == 202
    [one] = pushes_on("acme", 0, 1)
    for body, path in ((one, "/v1/push"), ([one], BATCH)):
        answer = ingest.push(key, body, path)
        assert (answer.status, answer.json["code"]) == (503, "too-busy")
        assert answer.json["type"] == "/docs/problems#temporary-reduced-capacity"
        assert (answer.json["retryable"], answer.headers["retry-after"]) == (True, "7")
    assert len(stored(redis_url)) == SHARD_MOST


def test_a_batch_of_which_some_find_room_is_answered_item_by_item(
    ingest: IngestProcess, redis_url: str
) -> None:
    key = create_tenant(redis_url)
    wide = create_tenant(redis_url, "wide", limits=Limits(queue_most=1_000))
    assert ingest.push(key, pushes_on("acme", 0, 5), BATCH).status == 202
    [full], [free] = pushes_on("acme", 0, 1), pushes_on("acme", 1, 1)
    answer = ingest.push(key, [full, free, 3, full], BATCH)
    assert answer.status == 207
    assert codes(answer) == ["queue-full", None, "wrong-type", "queue-full"]
    assert [result["error"]["status"] for result in answer.json["results"] if "error" in result] == [
        429, 422, 429,
    ]  # fmt: skip
    assert ingest.push(wide, pushes_on("wide", 0, SHARD_MOST), BATCH).status == 202
    [full], [free] = pushes_on("wide", 0, 1), pushes_on("wide", 1, 1)
    answer = ingest.push(wide, [free, full], BATCH)
    assert (answer.status, codes(answer)) == (207, [None, "too-busy"])
    ids = {job.id.decode() for _, _, job in stored(redis_url)}
    assert len(ids) == 5 + 1 + SHARD_MOST + 1
    assert answer.json["results"][0]["id"] in ids


def test_of_several_reasons_that_nothing_was_taken_the_gravest_is_told(
    ingest: IngestProcess, redis_url: str
) -> None:
    key = create_tenant(redis_url, limits=Limits(queue_most=SPREAD * SHARD_MOST))
    assert ingest.push(key, pushes_on("acme", 0, SHARD_MOST), BATCH).status == 202
    # this shard is full by the pushes of the sandbox, and the other by those of production
    assert ingest.push(key, pushes_on("acme", 1, SHARD_MOST, environment="sandbox"), BATCH).status == 202
    [flow_full], [shard_full] = pushes_on("acme", 0, 1), pushes_on("acme", 1, 1)
    assert ingest.push(key, [flow_full], BATCH).json["code"] == "queue-full"
    assert ingest.push(key, [flow_full, shard_full], BATCH).json["code"] == "too-busy"
