"""More callers than an ingest process has descriptors for: it goes on serving those it has, and Redis."""

import os
import resource
import socket
import time
from contextlib import ExitStack
from typing import Any

from ingest_process import (
    TIMEOUT_S,
    TOPIC,
    IngestProcess,
    create_tenant,
    push_request,
    read_response,
    request,
)
from redis_server import RedisServer

from ingest.crowd import places

GOOD: dict[str, Any] = {"device_token": "ab" * 32, "topic": TOPIC, "payload": {"aps": {"alert": "x"}}}
DESCRIPTORS = 200


def asked(connection: socket.socket, what: bytes) -> tuple[int, bool]:
    """The status, and whether the connection closes then."""
    connection.sendall(what)
    answer = read_response(connection)
    return answer.status, answer.headers.get("connection") == "close"


def await_descriptors(pid: int, number: int) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while (now := descriptors_of(pid)) != number:
        assert time.monotonic() < deadline_s, now
        time.sleep(0.01)


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_who_is_one_too_many_is_told_and_the_process_keeps_redis(redis_server: RedisServer) -> None:
    key = create_tenant(redis_server.url)
    push, look = push_request(key, GOOD), request("GET", "/livez")
    most = places(DESCRIPTORS)
    ingest = IngestProcess(redis_server.url)
    try:
        ingest.await_ready()
        pid = ingest.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with ExitStack() as stack:
            seated = [stack.enter_context(ingest.connect()) for _ in range(int(most.served))]
            assert {asked(each, look) for each in seated} == {(200, False)}
            full = descriptors_of(pid)
            # a push is not taken, and a probe is answered
            with ingest.connect() as surplus:
                surplus.sendall(push)
                answer = read_response(surplus)
                assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (
                    503,
                    "too-busy",
                    "1",
                )
                assert answer.headers["connection"] == "close" and surplus.recv(1) == b""
            with ingest.connect() as surplus:
                assert asked(surplus, look) == (200, True)
            # one for whom there is room by the time it asks is served, and stays
            await_descriptors(pid, full)
            late = stack.enter_context(ingest.connect())
            await_descriptors(pid, full + 1)
            seated.pop().close()
            await_descriptors(pid, full)
            assert asked(late, push) == (202, False)
            seated.append(late)
            # who only sits there is closed once too many do; the places of those two may not be free yet
            room = int(most.answered - most.served)
            idle = [stack.enter_context(ingest.connect()) for _ in range(room + 5)]
            assert idle[-1].recv(1) == b""
            # and after a moment all that only sat there are, so that a probe comes in again
            assert [each.recv(1) for each in idle] == [b""] * len(idle)
            with ingest.connect() as surplus:
                assert asked(surplus, look) == (200, True)
            # those that were there first lose nothing when Redis has to be found again and all ask for the key at once
            redis_server.kill9()
            redis_server.start()
            deadline_s = time.monotonic() + TIMEOUT_S
            while ingest.get("/readyz").status != 200:
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            for each in seated:
                each.sendall(push)
            assert {read_response(each).status for each in seated} <= {202, 503}
            assert {asked(each, push) for each in seated} == {(202, False)}
            # what they were asked for took few connections to Redis, and not one for each
            assert descriptors_of(pid) < DESCRIPTORS - 10
        ingest.await_ready()
        assert ingest.push(key, GOOD).status == 202
    finally:
        errors = ingest.end()
    assert "as nofile allows" in errors and "Traceback" not in errors
