"""A tenant's rate over real HTTP: held by all processes together, told in headers, and never a round trip a push."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import redis as redis_py
from ingest_process import (
    TOPIC,
    IngestProcess,
    Response,
    create_tenant,
    push_request,
    read_response,
    stored,
    with_tenants,
)
from redis_server import RedisServer

from shards.keys import rate_key
from shards.tenant import Limits, Tenant

GOOD: dict[str, Any] = {"device_token": "ab" * 32, "topic": TOPIC, "payload": {"aps": {"alert": "x"}}}
BATCH = "/v1/push/batch"
# one push in 1,000 s: nothing comes back during a test
STILL = Limits(admit_per_s=0.001, admit_burst=10)
Names = Callable[[], str]


@pytest.fixture(scope="module")
def pair(_redis_process: RedisServer) -> Iterator[tuple[IngestProcess, IngestProcess]]:
    processes = IngestProcess(_redis_process.url), IngestProcess(_redis_process.url)
    for process in processes:
        process.await_ready()
    yield processes
    for process in processes:
        assert "Traceback" not in process.end()


@pytest.fixture
def ingest(pair: tuple[IngestProcess, IngestProcess]) -> IngestProcess:
    return pair[0]


@pytest.fixture(scope="module")
def _numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def name(_numbers: Iterator[int]) -> str:
    """A tenant that no process has an allowance of yet."""
    return f"tenant-{next(_numbers)}"


def rate_of(answer: Response) -> tuple[str, int, int]:
    """The policy, what is left, and in how many seconds it is whole again."""
    found = re.fullmatch(r'"tenant";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert found is not None
    return answer.headers["ratelimit-policy"], int(found[1]), int(found[2])


def server_s(redis_server: RedisServer) -> float:
    """Redis' own clock."""
    with redis_py.Redis.from_url(redis_server.url) as plain:
        seconds, micros = plain.time()
        return float(seconds + micros / 1e6)


def scripts_run(redis_server: RedisServer) -> int:
    with redis_py.Redis.from_url(redis_server.url) as plain:
        return int(plain.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_what_is_over_the_rate_is_told_when_to_come_again(
    ingest: IngestProcess, redis_url: str, name: str
) -> None:
    key = create_tenant(redis_url, name, limits=STILL)
    for left in range(9, -1, -1):
        answer = ingest.push(key, GOOD)
        assert answer.status == 202
        assert rate_of(answer)[:2] == ('"tenant";q=10;w=1', left)
    for body, path in ((GOOD, "/v1/push"), ([GOOD, 3], BATCH)):
        answer = ingest.push(key, body, path)
        assert answer.status == 429
        problem = answer.json
        assert (problem["code"], problem["retryable"]) == ("rate-limited", True)
        assert problem["type"] == "/docs/problems#quota-exceeded"
        assert problem["violated-policies"] == ["tenant"]
        _, left, whole_s = rate_of(answer)
        assert left == 0
        assert int(answer.headers["retry-after"]) >= whole_s > 9_000
    assert len(stored(redis_url)) == 10


def test_every_answer_to_a_push_tells_of_the_rate_and_only_to_tenants_that_have_one(
    ingest: IngestProcess, redis_url: str, name: str
) -> None:
    key = create_tenant(redis_url, name, limits=Limits(admit_per_s=50.0))
    for body, path, status in (
        (GOOD, "/v1/push", 202),
        ([GOOD, 3], BATCH, 207),
        ([GOOD], BATCH, 202),
        ({**GOOD, "topic": "com.evil.app"}, "/v1/push", 422),
        (b"{", "/v1/push", 400),
    ):
        answer = ingest.push(key, body, path)
        assert answer.status == status
        policy, left, whole_s = rate_of(answer)
        assert policy == '"tenant";q=50;w=1' and left <= 50 and whole_s <= 1
    free = create_tenant(redis_url, f"{name}-free")
    answer = ingest.push(free, GOOD)
    assert answer.status == 202 and not {"ratelimit", "ratelimit-policy"} & set(answer.headers)


def test_a_batch_larger_than_the_burst_is_taken_whole_and_what_was_refused_in_it_does_not_count(
    ingest: IngestProcess, redis_url: str, name: str
) -> None:
    key = create_tenant(redis_url, name, limits=STILL)
    answer = ingest.push(key, [3] * 20 + [GOOD] * 4, BATCH)
    assert (answer.json["accepted"], rate_of(answer)[1]) == (4, 6)
    assert ingest.push(key, [GOOD] * 50, BATCH).json["accepted"] == 50
    # a chunk is one push, which may still be there
    accepted = 54 + (ingest.push(key, GOOD).status == 202)
    answer = ingest.push(key, GOOD)
    assert answer.status == 429
    # a debt of 44 or 45, and the 10 that it is whole with, at one in 1,000 s
    assert 53_000 <= int(answer.headers["retry-after"]) <= 55_000
    assert len(stored(redis_url)) == accepted


def test_pushes_within_the_rate_cost_no_round_trip_each(
    ingest: IngestProcess, redis_server: RedisServer, name: str
) -> None:
    key = create_tenant(redis_server.url, name, limits=Limits(admit_per_s=10_000.0))
    with ingest.connect() as connection:

        def push() -> int:
            connection.sendall(push_request(key, GOOD))
            return read_response(connection).status

        assert push() == 202
        before, began_s = scripts_run(redis_server), time.monotonic()
        assert {push() for _ in range(300)} == {202}
        seconds = time.monotonic() - began_s
    # each push is enqueued by a call of its own; what the rate costs comes on top: a chunk is 2,500 pushes, of which
    # the sweep gives back, and a push asks for anew, what a pause of a second leaves unused
    assert scripts_run(redis_server) - before - 300 <= 4 + 3 * seconds


def test_two_processes_hold_the_rate_together(
    pair: tuple[IngestProcess, IngestProcess], redis_server: RedisServer, name: str
) -> None:
    per_s, wanted = 200, 800
    key = create_tenant(redis_server.url, name, limits=Limits(admit_per_s=float(per_s)))
    admitted = 0
    by_process = [0, 0]
    wrong: list[int] = []
    lock, over = threading.Lock(), threading.Event()

    def push(number: int) -> None:
        nonlocal admitted
        with pair[number].connect() as connection:
            while not over.is_set():
                connection.sendall(push_request(key, GOOD))
                answer = read_response(connection)
                with lock:
                    if answer.status == 202:
                        admitted += 1
                        by_process[number] += 1
                    elif answer.status != 429 or int(answer.headers["retry-after"]) < rate_of(answer)[2]:
                        wrong.append(answer.status)
                    if admitted >= wanted:
                        over.set()

    threads = [threading.Thread(target=push, args=(number % 2,)) for number in range(4)]
    began_s = server_s(redis_server)
    for thread in threads:
        thread.start()
    assert over.wait(60)
    for thread in threads:
        thread.join()
    elapsed_s = server_s(redis_server) - began_s
    assert wrong == []
    assert min(by_process) > 0
    # the bucket is full at first; what was granted is taken in or stands aside, so there can't be more
    assert admitted <= per_s + per_s * elapsed_s + 1
    # and little less, though a machine that stands still for a second loses what runs over meanwhile
    assert admitted >= (per_s + per_s * elapsed_s) / 2
    assert len(stored(redis_server.url)) == admitted


def test_what_a_process_does_not_use_another_can(
    pair: tuple[IngestProcess, IngestProcess], redis_url: str, name: str
) -> None:
    key = create_tenant(redis_url, name, limits=Limits(admit_per_s=0.001, admit_burst=4))
    first, second = pair
    assert first.push(key, GOOD).status == 202
    # the first has set one aside, which it gives back when it has not used it for a second
    answers: list[int] = []
    deadline_s = time.monotonic() + 20
    while answers.count(202) < 3:
        assert time.monotonic() < deadline_s, answers
        answers.append(second.push(key, GOOD).status)
        time.sleep(0.1)
    assert set(answers) <= {202, 429}
    assert {process.push(key, GOOD).status for process in pair} == {429}


def test_a_rate_that_is_changed_or_taken_away_holds_soon(
    ingest: IngestProcess, redis_url: str, name: str
) -> None:
    key = create_tenant(redis_url, name, limits=STILL)

    def limit(limits: Limits) -> None:
        def change(tenant: Tenant) -> Tenant:
            return Tenant(tenant.id, tenant.topics, tenant.credentials, limits=limits)

        with_tenants(redis_url, lambda tenants: tenants.change(name, change))

    def until(status: int) -> Response:
        deadline_s = time.monotonic() + 15
        while (answer := ingest.push(key, GOOD)).status != status:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        return answer

    until(429)
    limit(Limits(admit_per_s=100_000.0))
    assert rate_of(until(202))[0] == '"tenant";q=100000;w=1'
    limit(STILL)
    until(429)
    limit(Limits())
    assert "ratelimit" not in until(202).headers


def test_without_redis_nobody_is_called_over_the_rate(
    ingest: IngestProcess, redis_server: RedisServer, name: str
) -> None:
    key = create_tenant(redis_server.url, name, limits=Limits(admit_per_s=4.0))
    assert ingest.push(key, GOOD).status == 202
    redis_server.kill9()
    for body, path in ((GOOD, "/v1/push"), ([GOOD] * 9, BATCH)) * 2:
        answer = ingest.push(key, body, path)
        assert answer.status == 503
        assert answer.json["code"] in ("store-unavailable", "store-in-doubt")
        assert "retry-after" in answer.headers
        assert rate_of(answer)[0] == '"tenant";q=4;w=1'
    redis_server.start()
    ingest.await_ready()
    deadline_s = time.monotonic() + 15
    while ingest.push(key, GOOD).status != 202:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_rate_leaves_one_key_behind_and_that_lapses(
    ingest: IngestProcess, redis_url: str, name: str
) -> None:
    key = create_tenant(redis_url, name, limits=Limits(admit_per_s=2.0, admit_burst=20))
    assert ingest.push(key, GOOD).status == 202

    async def ttl_ms() -> int:
        with redis_py.Redis.from_url(redis_url) as plain:
            return int(plain.pttl(rate_key(name)))

    assert 0 < asyncio.run(ttl_ms()) <= 12_000
