"""``rtt``: one tenant's queue drained over ways of different length, with windows as small as Apple's.

queue ──▶ clarion engine ──TLS──▶ relay, which adds the round trip ──▶ sink with windows of 65,535 bytes

A connection's window bounds what it carries in each round trip, however fast both ends are. So the number of links
has to follow what is to be under way, and nobody tells the engine how many that is: the length of the way, the size
of the payloads and the windows are all that it can see.
"""

import asyncio
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

from cyclopts import Parameter

from engine.policy.links import LinkOptions
from loadtest.bench import rtt_verdict as verdict
from loadtest.bench.backlog import Standing, enqueue
from loadtest.bench.cpu import machine_s
from loadtest.bench.lab import lab, wait_until
from loadtest.bench.rtt_verdict import RETURNED_BYTES, Case, Look
from loadtest.sink.protocol import Windows
from loadtest.sink.python import PythonSink
from loadtest.sink.relay import Relay
from shards.lanes import Lane
from shards.tenants import DEFAULT_SHARDS

LOOK_EVERY_S: Final = 0.1
DRAIN_MOST_S: Final = 180.0
# what two CPUs with both ends on them may reach, for the number of jobs
PER_S_MOST: Final = 60_000
JOBS_MOST: Final = 600_000
WANTED: Final = {(100.0, 256): 20_000.0}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RttOptions:
    """The ways, and what goes over them."""

    rtt_ms: tuple[float, ...] = (0.0, 20.0, 50.0, 100.0, 150.0)
    "Round trips."

    payload_bytes: tuple[int, ...] = (256, 1024, 4096)
    "Sizes of payloads."

    workers: int = 2
    "Sending processes."

    links_max: int = LinkOptions().most
    "Links that each of them may open."

    first_s: float = 8.0
    "Time for the links to grow, which is not counted."

    seconds: float = 8.0
    "For how long it is measured, about."


def run(options: RttOptions) -> dict[str, Any]:
    """Every way with every payload. ``failed`` names what missed the mark."""
    cases = [
        _drain(options, rtt_ms, payload) for rtt_ms in options.rtt_ms for payload in options.payload_bytes
    ]
    return {
        "cases": verdict.told(cases),
        "sink": "python, windows of 65,535 bytes returned by halves, behind a relay",
        "options": asdict(options),
        "failed": verdict.failures(cases, WANTED),
    }


def _drain(options: RttOptions, rtt_ms: float, payload: int) -> Case:
    # the most that all links' windows allow together
    per_s = float(PER_S_MOST)
    if rtt_ms:
        per_s = min(per_s, options.workers * options.links_max * RETURNED_BYTES / payload / (rtt_ms / 1000))
    jobs = min(JOBS_MOST, int(per_s * (options.first_s + options.seconds)))
    with ExitStack() as stack:
        place = stack.enter_context(lab())
        sink = stack.enter_context(PythonSink(place.directory / "sink", windows=Windows.APPLE))
        relay = stack.enter_context(Relay(sink.port, rtt_ms))
        place.create_tenants(1, DEFAULT_SHARDS)
        standing = Standing(place.teams[0], jobs, Lane.HIGH, DEFAULT_SHARDS)
        asyncio.run(enqueue(place.redis.url, [standing], payload))
        given = (
            *("--apns-production-url", f"https://localhost:{relay.port}"),
            *("--apns-ca-file", str(sink.ca_file)),
            *("--links-max", str(options.links_max)),
            *("--workers", str(options.workers)),
        )
        with place.clarion("engine", *given):
            looks = _watch(sink, relay, jobs)
            wait_until(lambda: sink.pushes() >= jobs, f"{jobs} pushes", within_s=DRAIN_MOST_S)
        came = sink.pushes()
    return Case(rtt_ms, payload, jobs, came, options.first_s, looks, os.cpu_count() or 1)


def _watch(sink: PythonSink, relay: Relay, jobs: int) -> list[Look]:
    """Until most have come: towards the end one shard after the other is empty, and no longer all links are needed."""
    looks: list[Look] = []
    wait_until(sink.pushes, "the first push at the sink")
    until_s = time.monotonic() + DRAIN_MOST_S
    while (pushes := sink.pushes()) < 0.9 * jobs and time.monotonic() < until_s:
        looks.append(Look(time.monotonic(), pushes, relay.connections(), machine_s()))
        time.sleep(LOOK_EVERY_S)
    return looks
