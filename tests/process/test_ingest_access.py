"""Who may push and who may look, over real HTTP: scopes, keys whose time is over, tenants that are disabled."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ingest_process import (
    CREDENTIAL,
    TOPIC,
    IngestProcess,
    Response,
    create_key,
    create_tenant,
    push_request,
    read_response,
    request,
    stored,
    with_tenants,
)
from redis_server import RedisServer

from shards.conditions import ConditionName
from shards.job import Job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import shards_of
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection, connect
from shards.tenant import Limits, Tenant

GOOD: dict[str, Any] = {"device_token": "ab" * 32, "topic": TOPIC, "payload": {"aps": {"alert": "x"}}}
BATCH = "/v1/push/batch"


@pytest.fixture(scope="module")
def ingest(_redis_process: RedisServer) -> Iterator[IngestProcess]:
    process = IngestProcess(_redis_process.url, queue_most_tenant=1_234)
    process.await_ready()
    yield process
    assert "Traceback" not in process.end()


def look(ingest: IngestProcess, key: str, method: str = "GET") -> Response:
    return ingest.say(request(method, "/v1/tenant", {"Authorization": f"Bearer {key}"}))


@pytest.mark.parametrize("scopes", [("read",), ("admin",), ("read", "admin"), ()])
def test_a_key_without_the_scope_send_does_not_push(
    ingest: IngestProcess, redis_url: str, scopes: tuple[str, ...]
) -> None:
    create_tenant(redis_url)
    key = create_key(redis_url, scopes=scopes)
    for body, path in ((GOOD, "/v1/push"), ([GOOD], BATCH)):
        answer = ingest.push(key, body, path)
        assert (answer.status, answer.json["code"]) == (403, "scope-missing")
        assert "scope send" in answer.json["detail"]
    assert stored(redis_url) == []


def test_a_key_without_the_scope_read_does_not_look(ingest: IngestProcess, redis_url: str) -> None:
    create_tenant(redis_url)
    key = create_key(redis_url, scopes=("send", "admin"))
    assert ingest.push(key, GOOD).status == 202
    answer = look(ingest, key)
    assert (answer.status, answer.json["code"]) == (403, "scope-missing")
    assert "scope read" in answer.json["detail"]


def test_a_key_whose_time_is_over_is_told_so(ingest: IngestProcess, redis_url: str) -> None:
    create_tenant(redis_url)
    # over is said before anything about its scopes
    key = create_key(redis_url, scopes=(), not_after_ms=int(time.time() * 1000) - 1)
    for answer in (ingest.push(key, GOOD), ingest.push(key, [GOOD], BATCH), look(ingest, key)):
        assert (answer.status, answer.json["code"]) == (401, "key-over")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert stored(redis_url) == []


def test_a_key_that_is_in_use_stops_working_when_its_time_is_over_though_nothing_announces_that(
    ingest: IngestProcess, redis_url: str
) -> None:
    create_tenant(redis_url)
    for life_ms in (2_000, 10_000):
        key = create_key(redis_url, not_after_ms=int(time.time() * 1000) + life_ms)
        pushed = ingest.push(key, GOOD).status
        if pushed == 202:
            break
    assert pushed == 202
    deadline_s = time.monotonic() + 30
    while (answer := ingest.push(key, GOOD)).status == 202:
        assert time.monotonic() < deadline_s, "it never stops"
        time.sleep(0.05)
    assert (answer.status, answer.json["code"]) == (401, "key-over")
    assert look(ingest, key).json["code"] == "key-over"


def test_a_disabled_tenant_pushes_nothing_but_may_look_until_it_is_enabled_again(
    ingest: IngestProcess, redis_url: str
) -> None:
    key = create_tenant(redis_url)
    assert ingest.push(key, GOOD).status == 202

    def disable(tenant: Tenant, *, disabled: bool = True) -> Tenant:
        return Tenant(tenant.id, tenant.topics, tenant.credentials, disabled=disabled)

    with_tenants(redis_url, lambda tenants: tenants.change("acme", disable))
    until(lambda: ingest.push(key, GOOD).status != 202)
    for body, path in ((GOOD, "/v1/push"), ([GOOD], BATCH)):
        answer = ingest.push(key, body, path)
        assert (answer.status, answer.json["code"]) == (403, "tenant-disabled")
    seen = look(ingest, key)
    assert (seen.status, seen.json["disabled"]) == (200, True)
    with_tenants(
        redis_url, lambda tenants: tenants.change("acme", lambda tenant: disable(tenant, disabled=False))
    )
    until(lambda: ingest.push(key, GOOD).status == 202)


@pytest.mark.parametrize("path", ["/v1/push", BATCH, "/v1/push/campaign"])
def test_a_body_that_arrives_when_its_key_is_nobodys_any_more_is_not_taken_for_whoever_has_the_name_then(
    ingest: IngestProcess, redis_url: str, path: str
) -> None:
    key = create_tenant(redis_url)
    campaign = {name: GOOD[name] for name in ("topic", "payload")} | {"device_tokens": ["ab"]}
    body = {"/v1/push": GOOD, BATCH: [GOOD]}.get(path, campaign)
    whole = push_request(key, body, path)
    with ingest.connect() as connection:
        connection.sendall(whole[:-1])
        assert ingest.push(key, [], BATCH).status == 422
        with_tenants(redis_url, lambda tenants: tenants.delete("acme"))
        create_tenant(redis_url)
        until(lambda: ingest.push(key, [], BATCH).status == 401)
        connection.sendall(whole[-1:])
        answer = read_response(connection)
    assert (answer.status, answer.json["code"]) == (401, "key-unknown")
    assert stored(redis_url) == []


def until(true: Any) -> None:
    deadline_s = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_tenant_sees_how_it_stands_and_none_of_its_secrets(ingest: IngestProcess, redis_url: str) -> None:
    limits = Limits(weight=2, admit_per_s=50.0, admit_burst=100)
    key = create_tenant(redis_url, "seen", limits=limits, paused=("low",), topics=(TOPIC, "com.acme.mail"))
    fill(redis_url)
    before_ms = int(time.time() * 1000)
    answer = look(ingest, key)
    assert answer.status == 200
    seen = answer.json
    assert seen.pop("as_of_ms") >= before_ms - 1_000
    [condition] = seen.pop("conditions")
    assert "paused since" in condition.pop("detail")
    assert condition == {
        "environment": "sandbox",
        "credential": CREDENTIAL.name,
        "topic": "com.acme.mail",
        "reason": "TopicDisallowed",
        "since_ms": 1_000,
        "seen_ms": 1_000,
        "refusals": 3,
    }
    assert seen == {
        "name": "seen",
        "topics": [TOPIC, "com.acme.mail"],
        "environments": ["production", "sandbox"],
        "limits": {
            "weight": 2,
            "send_per_s": None,
            "in_flight_most": None,
            "admit_per_s": 50.0,
            "admit_burst": 100,
            "queue_most": 1_234,
        },
        "paused": ["low"],
        "disabled": False,
        "waiting": {"high": 3, "low": 2, "retry": 1, "retry_at_least": False},
    }
    assert b"sealed" not in answer.body and key.encode() not in answer.body
    head = ingest.say(request("HEAD", "/v1/tenant", {"Authorization": f"Bearer {key}"}))
    assert (head.status, head.body) == (200, b"")


def fill(redis_url: str) -> None:
    """Jobs and conditions, of the tenant ``seen`` and of another."""

    async def run() -> None:
        connection, plain = ScriptConnection(redis_url), connect(redis_url)
        first, second, *_ = shards_of("seen", 4, 64)
        job = encode_job(Job(b"1", b"ab", TOPIC, b"{}"))
        await Queue(connection).enqueue(
            [
                Batch(first, Lane.HIGH, "seen", [job] * 3),
                Batch(second, Lane.LOW, "seen/sandbox", [job] * 2),
                Batch(second, Lane.LOW, "zeta", [job] * 9),
            ]
        )
        waiting = shard_keys(first).waiting
        await plain.zadd(waiting, {b"high|seen|" + job: 1, b"high|zeta|" + job: 2})
        await connection.close()
        await plain.aclose()

    asyncio.run(run())
    team, key = CREDENTIAL.team_id, CREDENTIAL.key_id
    for name in (
        ConditionName("sandbox", team, key, "com.acme.mail"),
        ConditionName("sandbox", team, key, "com.other.app"),
        ConditionName("sandbox", "TEAM000002", key),
    ):
        with_tenants(
            redis_url,
            lambda tenants, name=name: tenants.conditions.note(name, "TopicDisallowed", 1_000, 3),  # type: ignore[misc]
        )


def test_who_looks_often_costs_the_queues_one_look_a_second(
    ingest: IngestProcess, redis_server: RedisServer
) -> None:
    key = create_tenant(redis_server.url, "often")
    assert look(ingest, key).status == 200
    began_s = time.monotonic()
    assert redis_server.command("CONFIG RESETSTAT") == b"+OK\r\n"
    seen = {look(ingest, key).json["as_of_ms"] for _ in range(50)}
    most = 2 + int(time.monotonic() - began_s)
    assert len(seen) <= most
    # of each look one call for each shard of the tenant
    assert calls_of(redis_server, "evalsha") <= 4 * most
    assert calls_of(redis_server, "hgetall") <= most


def calls_of(redis_server: RedisServer, command: str) -> int:
    async def run() -> int:
        plain = connect(redis_server.url)
        stats = await plain.info("commandstats")
        await plain.aclose()
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    return asyncio.run(run())


def test_without_redis_a_look_is_told_so(ingest: IngestProcess, redis_server: RedisServer) -> None:
    # one that nobody has looked at before
    key = create_tenant(redis_server.url, "unseen")
    assert ingest.push(key, GOOD).status == 202
    redis_server.kill9()
    answer = look(ingest, key)
    assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
    assert "retry-after" in answer.headers
    redis_server.start()
    ingest.await_ready()
    until(lambda: look(ingest, key).status == 200)


@pytest.mark.parametrize("key", ["", "clarion_00000000_wrong"])
def test_without_a_known_key_nobody_looks(ingest: IngestProcess, redis_url: str, key: str) -> None:
    assert look(ingest, key).status == 401
