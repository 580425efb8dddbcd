"""The life of an ingest process: it starts without Redis, survives it, and ends without hurting anyone."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from ingest_process import (
    END_S,
    TOPIC,
    IngestProcess,
    Response,
    create_tenant,
    push_request,
    read_response,
    request,
    stored,
)
from redis_server import RedisServer

from ingest.options import IngestOptions
from runtime.listening import ListenError, listen
from shards.redis import ANSWER_TIMEOUT_S

GOOD: dict[str, Any] = {"device_token": "ab" * 32, "topic": TOPIC, "payload": {"aps": {"alert": "x"}}}
Start = Callable[..., IngestProcess]


@pytest.fixture
def start(redis_server: RedisServer) -> Iterator[Start]:
    """Starts ingest processes, and ends those that still run."""
    started: list[IngestProcess] = []

    def begin(**options: Any) -> IngestProcess:
        started.append(IngestProcess(redis_server.url, **options))
        return started[-1]

    yield begin
    for process in started:
        process.end()


@pytest.fixture
def key(redis_url: str) -> str:
    return create_tenant(redis_url)


def test_it_starts_without_redis_and_goes_on_when_redis_comes(
    redis_server: RedisServer, key: str, start: Start
) -> None:
    redis_server.kill9()
    ingest = start()
    assert ingest.get("/livez").status == 200
    assert ingest.get("/readyz").status == 503
    answer = ingest.push(key, GOOD)
    assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
    redis_server.start()
    ingest.await_ready()
    assert ingest.push(key, GOOD).status == 202
    assert len(stored(redis_server.url)) == 1


def test_t15_no_push_that_was_answered_202_is_lost_when_redis_is_killed_midway(
    redis_server: RedisServer, key: str, start: Start
) -> None:
    """An answer that is given before the queue has the push promises what nobody can keep."""
    ingest = start()
    ingest.await_ready()
    answers: list[Response] = []
    over = threading.Event()

    def pushing(number: int) -> None:
        with ingest.connect() as connection:
            while not over.is_set():
                connection.sendall(push_request(key, {**GOOD, "device_token": f"{number:04x}"}))
                answers.append(read_response(connection))

    threads = [threading.Thread(target=pushing, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    redis_server.kill9()
    time.sleep(0.2)
    redis_server.start()
    ingest.await_ready()
    over.set()
    for thread in threads:
        thread.join()
    by_status: dict[int, list[Response]] = {202: [], 503: []}
    for answer in answers:
        by_status[answer.status].append(answer)
    accepted = {answer.json["id"] for answer in by_status[202]}
    in_doubt = [answer for answer in by_status[503] if answer.json["code"] == "store-in-doubt"]
    jobs = [job.id.decode() for _, _, job in stored(redis_server.url)]
    assert accepted and by_status[503]
    assert accepted <= set(jobs) and len(jobs) == len(set(jobs))
    assert len(jobs) - len(accepted) <= len(in_doubt)
    assert all("retry-after" in answer.headers for answer in by_status[503])


def test_a_redis_that_hangs_leaves_the_push_in_doubt(
    redis_server: RedisServer, key: str, start: Start
) -> None:
    ingest = start()
    ingest.await_ready()
    assert ingest.push(key, GOOD).status == 202
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        assert ingest.get("/readyz").status == 503
        # sooner than a push is given up, or whoever asks would not hear of it in time
        assert time.monotonic() - began_s < ANSWER_TIMEOUT_S
        answer = ingest.push(key, GOOD)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (503, "store-in-doubt", False)


def test_t3_more_than_may_wait_is_turned_away_at_once(
    redis_server: RedisServer, key: str, start: Start
) -> None:
    """A full waiting room that fails in an unforeseen way, or makes its caller wait for a place, takes the API down."""
    ingest = start(waiting_jobs_most=6, batch_items_most=3, campaign_devices_most=3)
    ingest.await_ready()
    assert ingest.push(key, GOOD).status == 202
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        with ingest.connect() as waiting:
            waiting.sendall(push_request(key, [GOOD] * 3, "/v1/push/batch"))
            time.sleep(0.2)
            answer = ingest.push(key, GOOD)
            assert (answer.status, answer.json["code"]) == (503, "too-busy")
            assert answer.json["detail"].startswith("3 pushes (")
            assert "3 (" in answer.json["detail"] and "of them this tenant's" in answer.json["detail"]
            assert int(answer.headers["retry-after"]) >= 1
            os.kill(redis_server.pid, signal.SIGCONT)
            assert read_response(waiting).json["accepted"] == 3
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert len(stored(redis_server.url)) == 4


def test_a_client_that_goes_away_hurts_nobody(redis_server: RedisServer, key: str, start: Start) -> None:
    ingest = start()
    ingest.await_ready()
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        others = [ingest.connect() for _ in range(4)]
        for connection in others:
            connection.sendall(push_request(key, GOOD))
        others[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        others[0].close()
        half = ingest.connect()
        half.sendall(push_request(key, GOOD)[:-10])
        half.close()
        time.sleep(0.2)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    for connection in others[1:]:
        assert read_response(connection).status == 202
        connection.close()
    assert "Traceback" not in ingest.end()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "lifeline"])
def test_a_stop_answers_what_is_open_and_closes_what_is_idle(
    redis_server: RedisServer, key: str, start: Start, how: str
) -> None:
    # either is longer than this test waits for its end
    ingest = start(grace_s=10 * END_S, keepalive_s=10 * END_S)
    ingest.await_ready()
    idle, busy = ingest.connect(), ingest.connect()
    idle.sendall(push_request(key, GOOD))
    assert read_response(idle).status == 202
    whole = push_request(key, GOOD)
    busy.sendall(whole[:-20])
    time.sleep(0.1)
    if how == "lifeline":
        os.close(ingest.lifeline)
        ingest.lifeline = os.open(os.devnull, os.O_RDONLY)
    else:
        ingest.process.send_signal(signal.Signals[how])
    assert idle.recv(10) == b""
    assert ingest.process.poll() is None
    with pytest.raises(ConnectionRefusedError):
        ingest.connect()
    busy.sendall(whole[-20:])
    answer = read_response(busy)
    assert (answer.status, answer.headers["connection"]) == (202, "close")
    assert busy.recv(10) == b""
    assert "Traceback" not in ingest.end()
    for connection in (idle, busy):
        connection.close()
    assert len(stored(redis_server.url)) == 2


@pytest.mark.parametrize("trickles", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_does_not_arrive_in_time_is_given_up_and_its_connection_closed(
    redis_server: RedisServer, key: str, start: Start, trickles: bool, chunked: bool
) -> None:
    ingest = start(body_s=0.3)
    ingest.await_ready()
    head, _, body = push_request(key, GOOD).partition(b"\r\n\r\n")
    body += b" " * 100_000
    if chunked:
        head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
        body = b"%x\r\n%b" % (len(body), body)
    else:
        head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head)
    with ingest.connect() as slow:
        slow.sendall(head + b"\r\n\r\n" + body[:200])
        for at in range(200, len(body) - 1):
            if not trickles or select.select([slow], [], [], 0.02)[0]:
                break
            slow.sendall(body[at : at + 1])
        answer = read_response(slow)
        assert (answer.status, answer.json["code"]) == (408, "body-too-slow")
        assert answer.json["retryable"] and answer.headers["connection"] == "close"
        assert slow.recv(10) == b""
    assert "Traceback" not in ingest.end()


def test_bodies_that_stall_take_their_own_tenants_part_of_the_room_and_no_more(
    redis_server: RedisServer, key: str, start: Start
) -> None:
    ingest = start(arriving_bytes_most=8 << 20)
    ingest.await_ready()
    other = create_tenant(redis_server.url, "zeta")
    # all but the last byte of 3 MiB each, of which one tenant may have one while 4 MiB are its part
    long = push_request(key, json.dumps(GOOD).encode() + b" " * (3 << 20))
    with ingest.connect() as first, ingest.connect() as second:
        first.sendall(long[:-1])
        # reads all that was sent before it looks at another: it is one loop
        time.sleep(0.3)
        second.sendall(long[:-1])
        answer = read_response(second)
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "too-busy", "1")
        assert ingest.push(key, GOOD).status == 202
        whole = push_request(other, json.dumps(GOOD).encode() + b" " * (1 << 20))
        assert ingest.say(whole).status == 202
        first.sendall(long[-1:])
        assert read_response(first).status == 202
    # and what they took is free again
    assert ingest.say(long).status == 202
    assert "Traceback" not in ingest.end()


def test_a_client_that_does_not_read_its_answers_is_cut_off(start: Start) -> None:
    ingest = start(answer_s=0.3)
    ingest.await_ready()
    asked = request("GET", "/openapi.json")
    with ingest.connect() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(50_000):
                deaf.sendall(asked * 50)
    assert ingest.get("/livez").status == 200
    assert "Traceback" not in ingest.end()


def test_a_request_that_does_not_end_is_given_up_after_the_grace(key: str, start: Start) -> None:
    # its body may take longer than its end is waited for
    ingest = start(grace_s=0.3, body_s=10 * END_S)
    ingest.await_ready()
    with ingest.connect() as stuck:
        stuck.sendall(push_request(key, GOOD)[:-5])
        time.sleep(0.1)
        ingest.end()


def test_it_pulses_every_second() -> None:
    with TemporaryDirectory(prefix="clarion-test-") as directory:
        pulses = Path(directory) / "pulses"
        pulses.touch()
        program = (
            "import sys, time\n"
            "from ingest.options import IngestOptions\n"
            "from ingest.serve import serve\n"
            "from runtime.listening import listen\n"
            f"options = IngestOptions(redis_url='unix://{directory}/none', bind_port=0)\n"
            f"pulse = lambda: open({str(pulses)!r}, 'a').write(f'{{time.monotonic()}}\\n') and None\n"
            "sys.exit(serve(options, listen(options), pulse=pulse, lifeline=None))\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program])
        deadline_s = time.monotonic() + 30
        while len(pulses.read_text().splitlines()) < 4:
            assert time.monotonic() < deadline_s and process.poll() is None, "it does not pulse"
            time.sleep(0.02)
        process.terminate()
        assert process.wait(10) == 0
        at_s = [float(line) for line in pulses.read_text().splitlines()]
        # the first tells that it starts, the second that it listens
        assert min(at_s[2] - at_s[1], at_s[3] - at_s[2]) > 0.9


def test_a_port_in_use_is_told_in_one_line() -> None:
    options = IngestOptions(redis_url="redis://localhost", bind_port=0)
    with listen(options) as listener:
        taken = IngestOptions(redis_url="redis://localhost", bind_port=listener.getsockname()[1])
        with pytest.raises(ListenError, match="in use") as raised:
            listen(taken)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_told_in_one_line(host: str) -> None:
    with pytest.raises(ListenError, match="no address of this machine"):
        listen(IngestOptions(redis_url="redis://localhost", bind_host=host, bind_port=0))
