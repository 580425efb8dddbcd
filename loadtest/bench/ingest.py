"""What a push costs on its way in: CPU of the ingest process and of Redis per push, each push durable.

One redis-server of its own (append-only file on, everysec, unix socket), one forked ingest process, two tenants: one
without a rate, and one with a rate that it does not reach. Two loads of each follow each other: batches of 500 on 4
connections, and single requests on 64 keep-alive connections, without pipelining: each connection sends its next
request when it has its answer. The client is another process, so its CPU is not counted. CPU is user and system time
of the process as the kernel accounts it (in ticks of 10 ms, which is why the loads run for seconds), taken after a
warm-up.

Every 202 is compared with what stands in Redis at the end: a figure for pushes that were not stored is worthless.
"""

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import uvloop

from ingest.options import IngestOptions
from ingest.serve import serve
from loadtest.bench.lab import api_request
from runtime.listening import listen
from shards.api_key import new_api_key
from shards.credential import Credential
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.redis import connect
from shards.tenant import Limits, Tenant
from shards.tenants import Tenants

BATCH_ITEMS: Final = 500
BATCH_CONNECTIONS: Final = 4
SINGLE_CONNECTIONS: Final = 64
PAYLOAD_BYTES: Final = 256
WARM_UP_S: Final = 1.0
CLIENT_SLACK_S: Final = 15.0
# tenant → pushes a second that it may push; 0 for any number. The rate is above what one process can take in.
TENANTS: Final = {"bench": 0.0, "rated": 1_000_000.0}
QUEUE_MOST: Final = 1_000_000_000
TOPIC: Final = "com.example.bench"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Load(NamedTuple):
    """One kind of request: how many pushes it carries, on how many connections, and its bytes."""

    pushes: int
    connections: int
    requests: tuple[bytes, ...]


class Cost(NamedTuple):
    """What one load came to."""

    requests: int
    seconds: float
    ingest_s: float
    redis_s: float
    stored: int


def run(seconds: float) -> dict[str, object]:
    """Measure both loads for ``seconds`` each. Raises RuntimeError when an answer is not 202 or a push is missing."""
    # the client is started before anything else, so that it inherits nothing but its pipe
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    client = spawn.Process(target=_client, args=(theirs,), daemon=True)
    client.start()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory,
            _redis(Path(directory)) as redis,
        ):
            url, redis_pid = redis
            keys = asyncio.run(_create_tenants(url))
            with _ingest(url) as (address, ingest_pid):
                pids = (ingest_pid, redis_pid)
                batch, rated_batch = (
                    _measure(ours, address, _batches(key), seconds, url, pids) for key in keys
                )
                single, rated_single = (
                    _measure(ours, address, _singles(key), seconds, url, pids) for key in keys
                )
    finally:
        # it holds nothing that is worth a farewell
        client.terminate()
        client.join()
    return {
        "batch_us_per_push": _us(batch.ingest_s, batch.requests * BATCH_ITEMS),
        "single_us_per_push": _us(single.ingest_s, single.requests),
        "rated_batch_us_per_push": _us(rated_batch.ingest_s, rated_batch.requests * BATCH_ITEMS),
        "rated_single_us_per_push": _us(rated_single.ingest_s, rated_single.requests),
        "batch_redis_us_per_push": _us(batch.redis_s, batch.requests * BATCH_ITEMS),
        "single_redis_us_per_push": _us(single.redis_s, single.requests),
        "batch_pushes_per_s": round(batch.requests * BATCH_ITEMS / batch.seconds),
        "single_requests_per_s": round(single.requests / single.seconds),
        "batch_stored": batch.stored,
        "single_stored": single.stored,
        "batch_items": BATCH_ITEMS,
        "payload_bytes": PAYLOAD_BYTES,
        "seconds": seconds,
    }


def _us(cpu_s: float, pushes: int) -> float:
    return round(cpu_s * 1e6 / max(pushes, 1), 2)


def _measure(
    client: "Connection[Any, Any]",
    address: tuple[str, int],
    load: Load,
    seconds: float,
    url: str,
    pids: tuple[int, int],
) -> Cost:
    asyncio.run(_empty(url))
    warm_up = _played(client, address, load, WARM_UP_S)
    began_s = time.monotonic()
    before = [_cpu_s(pid) for pid in pids]
    answers = _played(client, address, load, seconds)
    ingest_s, redis_s = (_cpu_s(pid) - cpu_s for pid, cpu_s in zip(pids, before, strict=True))
    took_s = time.monotonic() - began_s
    stored = asyncio.run(_stored(url))
    wrong = {status: n for part in (warm_up, answers) for status, n in part.items() if status != 202}
    if wrong:
        raise RuntimeError(f"answers other than 202: {wrong}")
    promised = (warm_up[202] + answers[202]) * load.pushes
    if stored != promised:
        raise RuntimeError(f"{promised} pushes were answered with 202, but Redis has {stored}")
    return Cost(answers[202], took_s, ingest_s, redis_s, stored)


def _played(
    client: "Connection[Any, Any]", address: tuple[str, int], load: Load, seconds: float
) -> dict[int, int]:
    """How often each status came."""
    client.send((address, load, seconds))
    if not client.poll(seconds + CLIENT_SLACK_S):
        raise RuntimeError(f"the client did not end its load of {seconds} s within {CLIENT_SLACK_S} s more")
    statuses: dict[int, int] = client.recv()
    return statuses


def _notification(number: int) -> dict[str, object]:
    body = "x" * (PAYLOAD_BYTES - len('{"aps":{"alert":""}}'))
    return {"device_token": f"{number:064x}", "topic": TOPIC, "payload": {"aps": {"alert": body}}}


def _request(path: str, key: str, body: object) -> bytes:
    return api_request(path, key, json.dumps(body, separators=(",", ":")).encode())


def _batches(key: str) -> Load:
    bodies = [[_notification(at * BATCH_ITEMS + n) for n in range(BATCH_ITEMS)] for at in range(8)]
    return Load(
        BATCH_ITEMS, BATCH_CONNECTIONS, tuple(_request("/v1/push/batch", key, body) for body in bodies)
    )


def _singles(key: str) -> Load:
    return Load(1, SINGLE_CONNECTIONS, tuple(_request("/v1/push", key, _notification(n)) for n in range(512)))


@contextmanager
def _redis(directory: Path) -> Iterator[tuple[str, int]]:
    """A redis-server of our own: its URL and its process id."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise RuntimeError("there is no redis-server to measure with; install one")
    path = directory / "redis.sock"
    options = (
        f"--port 0 --unixsocket {path} --dir {directory} --save  --appendonly yes --appendfsync everysec"
    )
    server = subprocess.Popen([program, *options.split(" ")], stdout=subprocess.DEVNULL)
    try:
        _await_socket(path)
        yield f"unix://{path}", server.pid
    finally:
        server.terminate()
        server.wait()


def _await_socket(path: Path) -> None:
    deadline_s = time.monotonic() + 10.0
    while time.monotonic() < deadline_s:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("the redis-server did not start within 10 s")


@contextmanager
def _ingest(url: str) -> Iterator[tuple[tuple[str, int], int]]:
    """One forked ingest process: its address and its process id."""
    # nothing is sent, so what is taken in stands in the queues, however long the loads are
    options = IngestOptions(
        redis_url=url, bind_port=0, queue_most_tenant=QUEUE_MOST, queue_most_shard=QUEUE_MOST
    )
    listener = listen(options)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = serve(options, listener, pulse=lambda: None, lifeline=None)
        except BaseException:
            traceback.print_exc()
        finally:
            # never into the finally clauses of the parent, which would end its redis-server
            os._exit(code)
    address = listener.getsockname()
    listener.close()
    try:
        yield address, pid
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


async def _create_tenants(url: str) -> list[str]:
    """Their API keys."""
    tenants = Tenants(url)
    made = []
    for name, per_s in TENANTS.items():
        key, prefix = new_api_key()
        # ingest never opens it
        credential = Credential("BENCHKEY01", "BENCHTEAM1", "BENCHKEY01", b"sealed")
        limits = Limits(admit_per_s=per_s)
        await tenants.create(Tenant(name, (TOPIC,), (credential,), limits=limits), key, prefix)
        made.append(key)
    await tenants.shards()
    await tenants.close()
    return made


def _ready_lists(shards: int) -> list[str]:
    return [shard_keys(shard).ready(Lane.HIGH, tenant) for shard in range(shards) for tenant in TENANTS]


async def _stored(url: str) -> int:
    tenants, redis = Tenants(url), connect(url)
    total = 0
    for ready in _ready_lists(await tenants.shards()):
        total += await redis.llen(ready)
    await tenants.close()
    await redis.aclose()
    return total


async def _empty(url: str) -> None:
    """Remove what an earlier load left, so that Redis holds one load at a time."""
    tenants, redis = Tenants(url), connect(url)
    shards = await tenants.shards()
    counts = [key for shard in range(shards) for key in (shard_keys(shard).high, shard_keys(shard).depth)]
    await redis.delete(*_ready_lists(shards), *counts)
    await tenants.close()
    await redis.aclose()


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _client(pipe: "Connection[Any, Any]") -> None:
    """The client process: plays each load that it is sent, and sends back how often each status came."""
    while True:
        pipe.send(uvloop.run(_play(*pipe.recv())))


async def _play(address: tuple[str, int], load: Load, seconds: float) -> dict[int, int]:
    statuses: dict[int, int] = {}
    deadline_s = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    callers = [_Caller(load, at, statuses, deadline_s) for at in range(load.connections)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, *address)  # type: ignore[misc]
    await asyncio.gather(*(caller.done for caller in callers))
    return statuses


class _Caller(asyncio.Protocol):
    """One keep-alive connection that sends its next request when it has the answer to the last."""

    def __init__(self, load: Load, at: int, statuses: dict[int, int], deadline_s: float) -> None:
        self._requests = load.requests
        self._at = at
        self._statuses = statuses
        self._deadline_s = deadline_s
        self._answer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, so this can only be asserted to the type checker
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0]):
            return
        status = int(head[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._answer = b""
        if time.monotonic() < self._deadline_s:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._at += 1
        self._transport.write(self._requests[self._at % len(self._requests)])


if __name__ == "__main__":
    json.dump(run(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0), sys.stdout, indent=2)
    print()
