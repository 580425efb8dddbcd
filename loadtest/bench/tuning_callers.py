"""What a host's settings bring to callers of the API: very many at once, and a large request from far away.

Each measure makes a lab with one ingest process. ``crowd`` needs no rights; what needs other settings of the network is
run in a network namespace of its own (``namespace``).
"""

import asyncio
import re
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final, NamedTuple

import orjson
import uvloop

from loadtest.bench.delay_line import HERE, THERE, DelayLine
from loadtest.bench.lab import Lab, api_request, device_token, free_port, lab, stopped, wait_until
from loadtest.bench.namespace import Refused, serve

_LISTENS: Final = re.compile(r" (\d+) INFO clarion\.ingest: listening on")
LOOPBACK: Final = "127.0.0.1"
# whoever has no answer by then has none
ANSWER_S: Final = 3.5
# a SYN that was not answered is sent again after a second (RFC 6298, section 2)
LATE_S: Final = 1.0
# for how long ingest accepts nobody, as when it is collecting garbage or is being replaced
PAUSE_S: Final = 0.3
ALERT: Final = "x" * 230
# descriptors beside those of its callers that this process has, and an ingest process keeps
SPARE_DESCRIPTORS: Final = 400


class Api(NamedTuple):
    """An ingest process of a lab, and what opens it."""

    port: int
    pid: int
    api_key: str
    topic: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}

    def body(self, pushes: int) -> bytes:
        """Of a request to ``path`` with so many pushes."""
        notifications = [
            {
                "device_token": device_token().decode(),
                "topic": self.topic,
                "payload": {"aps": {"alert": ALERT}},
            }
            for _ in range(pushes)
        ]
        return orjson.dumps(notifications[0] if pushes == 1 else notifications)

    def request(self, pushes: int = 1) -> bytes:
        """All of it, as it goes over the wire."""
        return api_request(path(pushes), self.api_key, self.body(pushes))


def path(pushes: int) -> str:
    """Where so many pushes go in one request."""
    return "/v1/push" if pushes == 1 else "/v1/push/batch"


def crowd(callers: int, descriptors: int) -> Sequence[float]:
    """How many of so many callers, who all come at once and keep their connections, an ingest process with so many
    descriptors serves."""
    _have_descriptors(max(callers, descriptors))
    with _api(LOOPBACK) as api:
        resource.prlimit(api.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        waits_s = uvloop.run(_calls(LOOPBACK, api, callers))
    return [sum(wait_s is not None for wait_s in waits_s)]


def late(callers: int, rtt_ms: float, pauses: bool) -> Sequence[float]:
    """How many of so many callers, who all come at once, wait for more than a second or for ever; ``pauses``: they come
    while ingest accepts nobody for a moment."""
    _have_descriptors(callers)
    here, there = (HERE, THERE) if rtt_ms else (LOOPBACK, LOOPBACK)
    with DelayLine(rtt_ms) if rtt_ms else nullcontext(), _api(here) as api:
        waits_s = uvloop.run(_calls(there, api, callers, PAUSE_S if pauses else 0.0))
    return [sum(wait_s is None or wait_s > LATE_S for wait_s in waits_s)]


def upload(rtt_ms: float, pushes: int) -> Sequence[float]:
    """Milliseconds from the first byte of one batch of so many pushes to its answer, on a connection that is open."""
    with DelayLine(rtt_ms), _api(HERE) as api:
        return [1000 * uvloop.run(_upload(api, pushes))]


async def _upload(api: Api, pushes: int) -> float:
    request = api.request(pushes)
    async with asyncio.timeout(60.0):
        reader, writer = await asyncio.open_connection(THERE, api.port)
        # not the host's own, nor one that takes packets which come late for a way that is full, as cubic does
        wire = writer.get_extra_info("socket")
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        began_s = time.monotonic()
        writer.write(request)
        status = await reader.readline()
        took_s = time.monotonic() - began_s
        writer.close()
    if b" 202 " not in status:
        raise RuntimeError(f"a batch was answered {status!r}")
    return took_s


async def _calls(address: str, api: Api, callers: int, pause_s: float = 0.0) -> list[float | None]:
    """Seconds of each until its answer, None for those that have none in time."""
    with stopped(api.pid) if pause_s else nullcontext():
        calls = [asyncio.create_task(_call(address, api)) for _ in range(callers)]
        await asyncio.sleep(pause_s)
    found = await asyncio.gather(*calls)
    for _, writer in found:
        if writer is not None:
            writer.transport.abort()
    return [wait_s for wait_s, _ in found]


async def _call(address: str, api: Api) -> tuple[float | None, asyncio.StreamWriter | None]:
    """The connection stays open, as that of a caller does who will push again."""
    request, began_s, writer = api.request(), time.monotonic(), None
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(address, api.port)
            writer.write(request)
            status = await reader.readline()
    except (OSError, TimeoutError):
        return None, writer
    return time.monotonic() - began_s if b" 202 " in status else None, writer


def _have_descriptors(number: int) -> None:
    """For this process and what it starts. Raises Refused when the host does not allow as many."""
    wanted = number + SPARE_DESCRIPTORS
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now == resource.RLIM_INFINITY or now >= wanted:
        return
    if most != resource.RLIM_INFINITY and most < wanted:
        raise Refused(f"it takes {wanted} descriptors, and this process may have {most} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def _api(host: str) -> Iterator[Api]:
    with lab() as place, api_of(place, host) as api:
        yield api


@contextmanager
def api_of(place: Lab, host: str) -> Iterator[Api]:
    """The API of this lab, with its one tenant. It has worked before: its connection to Redis is open."""
    place.create_tenants(1)
    [team] = place.teams
    port = free_port()
    with place.clarion("ingest", "--bind", f"{host}:{port}"):
        wait_until(lambda: _LISTENS.search(place.log_of("ingest")), "an ingest process that listens")
        api = Api(
            port, int(_LISTENS.findall(place.log_of("ingest"))[0]), place.api_keys[team.tenant], team.topic
        )
        uvloop.run(_calls(host, api, 1))
        yield api


if __name__ == "__main__":
    serve({"late": late, "upload": upload})
