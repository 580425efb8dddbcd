"""Ingest over real HTTP with a real Redis: what is answered, and what then stands in the queues."""

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_process import CREDENTIAL, TOPIC, IngestProcess, create_tenant, push_request, request, stored
from redis_server import RedisServer

BODY_BYTES_MOST = 1 << 20
GOOD: dict[str, Any] = {"device_token": "AB" * 32, "topic": TOPIC, "payload": {"aps": {"alert": "x"}}}
BATCH = "/v1/push/batch"


@pytest.fixture(scope="module")
def ingest(_redis_process: RedisServer) -> Iterator[IngestProcess]:
    process = IngestProcess(_redis_process.url, body_bytes_most=BODY_BYTES_MOST, batch_items_most=100)
    process.await_ready()
    yield process
    errors = process.end()
    assert "Traceback" not in errors


@pytest.fixture
def key(redis_url: str) -> str:
    return create_tenant(redis_url)


def good(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {**GOOD, "device_token": f"{number:064x}", **fields}


def test_a_push_is_stored_as_it_was_sent_under_the_id_of_the_answer(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    raw = b'{"device_token":"AbCd","topic":"com.acme.app","payload":{ "aps" : {"alert":"h\xc3\xa9"} },"lane":"low"}'
    answer = ingest.push(key, raw)
    assert answer.status == 202
    [(lane, tenant, job)] = stored(redis_url)
    assert (lane, tenant, job.id.decode()) == ("low", "acme", answer.json["id"])
    assert (job.device_token, job.payload) == (b"abcd", b'{ "aps" : {"alert":"h\xc3\xa9"} }')
    assert abs(job.admitted_ms / 1000 - time.time()) < 60


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, "empty-body", None),
        (b'{"device_token":', 400, "malformed-json", None),
        (b'{"device_token":"ab","topic":"t","payload":{"a":"\xff"}}', 400, "malformed-json", None),
        ({**GOOD, "tokn": 1}, 422, "field-unknown", "/tokn"),
        ({**GOOD, "priority": "high"}, 422, "wrong-type", "/priority"),
        ({**GOOD, "payload": {"a": "x" * 4089}}, 413, "payload-too-large", "/payload"),
        (
            {**GOOD, "payload": {"a": "x" * 5113}, "push_type": "voip", "topic": f"{TOPIC}.voip"},
            413,
            "payload-too-large",
            "/payload",
        ),
        ({"device_token": "ab", "payload": {"a": 1}}, 422, "field-missing", "/topic"),
        ({**GOOD, "device_token": "nonhex"}, 422, "bad-device-token", "/device_token"),
        ({**GOOD, "device_token": "abc"}, 422, "bad-device-token", "/device_token"),
        ({**GOOD, "topic": "com.evil.app"}, 422, "topic-not-allowed", "/topic"),
        ({**GOOD, "push_type": "voip"}, 422, "topic-for-push-type", "/topic"),
        ([GOOD], 422, "wrong-type", None),
        (b"x" * (BODY_BYTES_MOST + 1), 413, "body-too-large", None),
    ],
)
def test_a_bad_push_is_a_problem_and_nothing_is_stored(
    ingest: IngestProcess, key: str, redis_url: str, body: Any, status: int, code: str, pointer: str | None
) -> None:
    answer = ingest.push(key, body, X_Request_Id="mine-1")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["instance"] == answer.headers["x-request-id"] == "mine-1"
    assert [error["pointer"] for error in problem.get("errors", [])] == ([pointer] if pointer else [])
    assert stored(redis_url) == []


def test_what_could_never_be_sent_is_not_taken_in(ingest: IngestProcess, redis_url: str) -> None:
    bare = create_tenant(redis_url, "bare", credentials=())
    for body, path in ((GOOD, "/v1/push"), ([GOOD], BATCH)):
        answer = ingest.push(bare, body, path)
        problem = answer.json if path != BATCH else answer.json["results"][0]["error"]
        assert (problem["status"], problem["code"]) == (422, "no-credential")
        assert "add its .p8 key" in problem["detail"]
    sandbox = msgspec.structs.replace(CREDENTIAL, environments=("sandbox",))
    half = create_tenant(redis_url, "half", credentials=(sandbox,))
    answer = ingest.push(half, [good(0), good(1, environment="sandbox")], BATCH)
    [refused, accepted] = answer.json["results"]
    assert (refused["error"]["code"], refused["error"]["errors"][0]["pointer"]) == (
        "no-credential",
        "/environment",
    )
    assert [(flow, job.id.decode()) for _, flow, job in stored(redis_url)] == [
        ("half/sandbox", accepted["id"])
    ]


@pytest.mark.parametrize("size", [4096, 5120])
def test_the_largest_payload_is_accepted(ingest: IngestProcess, key: str, size: int) -> None:
    voip = {"push_type": "voip", "topic": f"{TOPIC}.voip"} if size > 4096 else {}
    payload = '{"a":"' + "x" * (size - 8) + '"}'
    body = json.dumps({**GOOD, **voip, "payload": 0}).replace('"payload": 0', f'"payload":{payload}')
    assert ingest.push(key, body.encode()).status == 202


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key-missing"),
        ({"Authorization": "Basic abc"}, "key-missing"),
        ({"Authorization": "Bearer"}, "key-missing"),
        ({"Authorization": "Bearer clarion_00000000_wrong"}, "key-unknown"),
        ({"Authorization": "Bearer " + "k" * 5000}, "key-unknown"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/push", BATCH])
def test_without_a_known_key_nobody_is_served(
    ingest: IngestProcess, redis_url: str, path: str, headers: dict[str, str], code: str
) -> None:
    body = json.dumps(GOOD).encode()
    answer = ingest.say(request("POST", path, {**headers, "Content-Type": "application/json"}, body))
    assert (answer.status, answer.json["code"]) == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert b"wrong" not in answer.body and b"kkk" not in answer.body
    assert stored(redis_url) == []


def test_what_there_is_not_is_a_problem_too(ingest: IngestProcess, key: str) -> None:
    assert ingest.get("/nothing").json["code"] == "not-found"
    wrong = ingest.get("/v1/push")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    head = ingest.say(request("HEAD", "/livez"))
    assert (head.status, head.body) == (200, b"")
    typed = ingest.push(key, GOOD, Content_Type="text/plain")
    assert (typed.status, typed.json["code"]) == (415, "unsupported-content-type")
    packed = ingest.push(key, GOOD, Content_Encoding="br")
    assert (packed.status, packed.json["code"]) == (415, "unsupported-content-encoding")
    lines = ingest.push(key, GOOD, Content_Type="application/x-ndjson")
    assert lines.status == 415


def test_a_batch_with_bad_items_is_answered_item_by_item(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    items = [good(0), good(1, topic="com.evil.app"), good(2), 3, good(4), good(5, device_token="c0ffee0")]
    answer = ingest.push(key, items, BATCH)
    assert answer.status == 207
    assert (answer.json["accepted"], answer.json["refused"]) == (3, 3)
    results = answer.json["results"]
    assert [result.get("error", {}).get("code") for result in results] == [
        None, "topic-not-allowed", None, "wrong-type", None, "bad-device-token",
    ]  # fmt: skip
    assert "instance" not in results[1]["error"]
    assert b"c0ffee0" not in answer.body
    by_id = {job.id.decode(): job.device_token.decode() for _, _, job in stored(redis_url)}
    assert by_id == {results[n]["id"]: f"{n:064x}" for n in (0, 2, 4)}


def test_a_whole_batch_is_answered_202_in_every_form(ingest: IngestProcess, key: str, redis_url: str) -> None:
    items = [good(n, lane="low" if n % 2 else "high") for n in range(100)]
    array = json.dumps(items).encode()
    lines = b"\n".join(json.dumps(one).encode() for one in items) + b"\n"
    two_members = gzip.compress(array[:100]) + gzip.compress(array[100:])
    ndjson = {"Content_Type": "application/x-ndjson; charset=utf-8"}
    for body, headers in (
        (array, {}),
        (gzip.compress(array), {"Content_Encoding": "gzip"}),
        (two_members, {"Content_Encoding": "GZIP"}),
        (lines, ndjson),
        (gzip.compress(lines), {**ndjson, "Content_Encoding": "gzip"}),
    ):
        answer = ingest.push(key, body, BATCH, **headers)
        assert (answer.status, answer.json["accepted"], answer.json["refused"]) == (202, 100, 0)
    jobs = stored(redis_url)
    assert len(jobs) == len({job.id for _, _, job in jobs}) == 500
    assert sum(lane == "low" for lane, _, _ in jobs) == 250


def test_who_wants_only_the_counts_gets_only_those(ingest: IngestProcess, key: str) -> None:
    answer = ingest.push(key, [GOOD, 1], BATCH, Prefer='respond-async, return="minimal"; x=1')
    assert (answer.status, answer.json) == (207, {"accepted": 1, "refused": 1})
    assert answer.headers["preference-applied"] == "return=minimal"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"[]", {}, 422, "batch-empty"),
        (b"", {}, 400, "empty-body"),
        (b"[" + b",".join([b"{}"] * 101) + b"]", {}, 413, "batch-too-large"),
        (b"[{}", {}, 400, "malformed-json"),
        (gzip.compress(b"[" + b" " * 50_000_000 + b"]"), {"Content_Encoding": "gzip"}, 413, "body-too-large"),
        (gzip.compress(b"[]")[:-1], {"Content_Encoding": "gzip"}, 400, "bad-compression"),
        (gzip.compress(b"[]") * 101, {"Content_Encoding": "gzip"}, 400, "bad-compression"),
        (b"[]", {"Content_Encoding": "gzip"}, 400, "bad-compression"),
        (zlib.compress(b"[]"), {"Content_Encoding": "deflate"}, 415, "unsupported-content-encoding"),
    ],
)
def test_a_bad_batch_is_refused_whole(
    ingest: IngestProcess, key: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = ingest.push(key, body, BATCH, **headers)
    assert (answer.status, answer.json["code"]) == (status, code)


def test_nonsense_in_headers_is_told_as_a_problem(ingest: IngestProcess, key: str, redis_url: str) -> None:
    whole = push_request(key, GOOD)
    head, _, body = whole.partition(b"\r\n\r\n")
    for extra in (
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
        b"Authorization: Bearer other",
        b"Content-Type: text/plain",
        b"Bad Header: x",
        b"X: " + b"y" * 20_000,
        b"X-Nul: a\x00b",
    ):
        answer = ingest.say(head + b"\r\n" + extra + b"\r\n\r\n" + body)
        assert answer.status in (400, 401, 415), extra
        assert answer.headers["content-type"] == "application/problem+json", extra
        assert key.encode() not in answer.body
    assert stored(redis_url) == []


def test_an_id_that_could_break_a_log_is_replaced(ingest: IngestProcess) -> None:
    for bad in ("a b", "x" * 200, 'a"b', ""):
        answer = ingest.say(request("GET", "/livez", {"X-Request-Id": bad}))
        assert answer.headers["x-request-id"] not in ("", bad)


def test_a_client_that_asks_first_is_told_to_go_on_or_refused_at_once(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    whole = push_request(key, GOOD, Expect="100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")
    with ingest.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 202 Accepted\r\n")
    with ingest.connect() as connection:
        connection.sendall(head.replace(key.encode(), b"wrong") + b"\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert len(stored(redis_url)) == 1


def test_pipelined_requests_and_old_clients_are_served(
    ingest: IngestProcess, key: str, redis_url: str
) -> None:
    with ingest.connect() as connection:
        connection.sendall(push_request(key, good(1)) * 3)
        received = b""
        while received.count(b"HTTP/1.1 202") < 3:
            received += connection.recv(65536)
    old = push_request(key, GOOD).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert ingest.say(old).headers["connection"] == "close"
    assert len(stored(redis_url)) == 4


def test_the_small_resources_answer(ingest: IngestProcess) -> None:
    for path in ("/livez", "/readyz", "/version", "/openapi.json", "/docs", "/docs/problems", "/livez?x=1"):
        assert ingest.get(path).status == 200, path
    assert ingest.get("/openapi.json").json["openapi"] == "3.1.0"


def test_t15_while_redis_is_down_nothing_is_accepted_and_nothing_appears_later(
    ingest: IngestProcess, key: str, redis_server: RedisServer
) -> None:
    """Without its queue a gateway can promise nothing: 503 is what remains to be said."""
    assert ingest.push(key, GOOD).status == 202
    redis_server.kill9()
    # the first may have been written to a connection that was dying
    assert ingest.push(key, GOOD).json["code"] in ("store-in-doubt", "store-unavailable")
    for body, path in ((GOOD, "/v1/push"), ([GOOD], BATCH)):
        answer = ingest.push(key, body, path)
        assert (answer.status, answer.json["code"], answer.json["retryable"]) == (
            503,
            "store-unavailable",
            True,
        )
        assert int(answer.headers["retry-after"]) >= 1
    assert ingest.get("/livez").status == 200
    not_ready = ingest.get("/readyz")
    assert (not_ready.status, "retry-after" in not_ready.headers) == (503, True)
    redis_server.start()
    ingest.await_ready()
    assert len(stored(redis_server.url)) == 1
    assert ingest.push(key, GOOD).status == 202


def test_t3_a_redis_that_takes_no_writes_is_told_apart(
    ingest: IngestProcess, key: str, redis_server: RedisServer
) -> None:
    """A full queue is said at once, with the time to come again, to who pushes one and to who pushes many."""
    assert ingest.push(key, GOOD).status == 202
    assert redis_server.command("CONFIG SET maxmemory 1") == b"+OK\r\n"
    try:
        for body, path in ((GOOD, "/v1/push"), ([GOOD, 3], BATCH)):
            answer = ingest.push(key, body, path)
            assert (answer.status, answer.json["code"]) == (503, "store-refused")
            assert "retry-after" in answer.headers
    finally:
        assert redis_server.command("CONFIG SET maxmemory 0") == b"+OK\r\n"
    assert len(stored(redis_server.url)) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=80) | st.text(max_size=40).map(lambda text: json.dumps(text).encode()),
    path=st.sampled_from(["/v1/push", BATCH]),
    media=st.sampled_from(["application/json", "application/x-ndjson", "x"]),
    encoding=st.sampled_from(["identity", "gzip", "deflate", "br", "zstd"]),
)
def test_no_body_is_a_fault_of_ours(
    ingest: IngestProcess, key: str, body: bytes, path: str, media: str, encoding: str
) -> None:
    answer = ingest.push(key, body, path, Content_Type=media, Content_Encoding=encoding)
    assert answer.status in (202, 207, 400, 413, 415, 422)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
