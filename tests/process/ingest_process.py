"""One real ingest process and a client that says exactly the bytes it is told to."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from ingest.options import IngestOptions
from runtime.listening import listen
from shards.api_key import ApiKey, hash_api_key, new_api_key
from shards.campaign import campaign_of, expand, is_element
from shards.campaigns import Records
from shards.claim import Claimed
from shards.credential import Credential
from shards.job import Job, decode_job
from shards.queue import Queue
from shards.redis import ScriptConnection
from shards.tenant import Tenant
from shards.tenants import Tenants

TIMEOUT_S = 15.0
# a machine may stand still for longer than the grace that open requests have
END_S = 60.0
TOPIC = "com.acme.app"
CREDENTIAL = Credential("KEY0000001", "TEAM000001", "KEY0000001", b"sealed")
_PROGRAM = """
import json, socket, sys
from ingest.options import IngestOptions
from ingest.serve import serve
fd, lifeline, options = json.loads(sys.argv[1])
sys.exit(serve(IngestOptions(**options), socket.socket(fileno=fd), pulse=lambda: None, lifeline=lifeline))
"""


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class IngestProcess:
    """Started when made. ``lifeline`` is our end of the pipe whose end makes it stop."""

    def __init__(self, redis_url: str, **options: Any) -> None:
        chosen = {"redis_url": redis_url, "bind_port": 0, **options}
        listener = listen(IngestOptions(**chosen))
        self.address: tuple[str, int] = listener.getsockname()
        self._errors: str | None = None
        theirs, self.lifeline = os.pipe()
        arguments = json.dumps([listener.fileno(), theirs, chosen])
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "error", "-c", _PROGRAM, arguments],
            pass_fds=(listener.fileno(), theirs),
            stderr=subprocess.PIPE,
        )
        listener.close()
        os.close(theirs)

    def await_ready(self) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while self.get("/readyz").status != 200:
            assert time.monotonic() < deadline_s, "ingest did not become ready"
            time.sleep(0.02)

    def end(self) -> str:
        """Ask it to stop; returns what it wrote to stderr. It must end with code 0. Safe to repeat."""
        if self._errors is None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                _, errors = self.process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                # with what each thread was at
                self.process.send_signal(signal.SIGABRT)
                _, errors = self.process.communicate()
            os.close(self.lifeline)
            self._errors = errors.decode()
        assert self.process.returncode == 0, (self.process.returncode, self._errors)
        return self._errors

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=TIMEOUT_S)

    def say(self, data: bytes) -> Response:
        """Send bytes on a connection of their own, and read one answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_response(connection, bodiless=data.startswith(b"HEAD"))

    def get(self, path: str) -> Response:
        return self.say(request("GET", path))

    def push(self, key: str, body: Any, path: str = "/v1/push", **headers: str) -> Response:
        return self.say(push_request(key, body, path, **headers))


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    lines = {"Host": "test", "Content-Length": str(len(body)), **(headers or {})}
    return (
        "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items()), "", ""]).encode()
        + body
    )


def push_request(key: str, body: Any, path: str = "/v1/push", **headers: str) -> bytes:
    """``body`` is bytes, or is sent as JSON. A header's name is written with _ for -."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(
        "POST", path, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | given, text
    )


def read_response(connection: socket.socket, *, bodiless: bool = False) -> Response:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        assert received, f"the connection was closed after {data!r}"
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while not bodiless and len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(1 << 20)
    return Response(int(status_line.split()[1]), headers, body)


def create_tenant(redis_url: str, name: str = "acme", **fields: Any) -> str:
    """A tenant that may push to TOPIC, with a key that ingest never opens; returns its API key.

    ``fields`` are more of the tenant's.
    """
    key, prefix = new_api_key()
    tenant = Tenant(**{"id": name, "topics": (TOPIC,), "credentials": (CREDENTIAL,), **fields})
    with_tenants(redis_url, lambda tenants: tenants.create(tenant, key, prefix))
    return key


def create_key(redis_url: str, tenant: str = "acme", **fields: Any) -> str:
    """Another API key of a tenant."""
    key, prefix = new_api_key()
    record = ApiKey(tenant, prefix, **fields)
    with_tenants(redis_url, lambda tenants: tenants.put_key(hash_api_key(key), record))
    return key


def with_tenants(redis_url: str, call: Callable[[Tenants], Awaitable[Any]]) -> None:
    """Run one call of the store's."""

    async def run() -> None:
        tenants = Tenants(redis_url)
        await call(tenants)
        await tenants.close()

    asyncio.run(run())


def stored(redis_url: str) -> list[tuple[str, str, Job]]:
    """Claims all that stands in the queues: (lane, flow, job), those of campaigns as their worker makes them."""

    async def claim() -> list[tuple[str, str, Job]]:
        connection, tenants = ScriptConnection(redis_url), Tenants(redis_url)
        queue = Queue(connection)
        holdings = await queue.acquire(range(await tenants.shards()))
        claims = await queue.claim(
            [(holding, f"{holding.fence}:1", 3_000) for holding in holdings], quantum=3_000, low_share=0.2
        )
        runs = [(each, run) for each in claims if isinstance(each, Claimed) for run in each.runs]
        wanted: dict[int, set[bytes]] = {}
        for claimed, run in runs:
            ids = set(map(campaign_of, filter(is_element, run.jobs)))
            wanted.setdefault(claimed.holding.shard, set()).update(ids or {b""})
        known = await Records(connection).recall(wanted)
        await connection.close()
        await tenants.close()
        return [
            (
                run.lane,
                run.flow,
                expand([job], known[campaign_of(job)])[0] if is_element(job) else decode_job(job),
            )
            for _, run in runs
            for job in run.jobs
        ]

    return asyncio.run(claim())
