"""``latency``: how long a single push takes from the API to APNs when the queue is idle, and what idling costs.

Open loop: requests leave at fixed times whether or not earlier ones have been answered, and a time is counted from
when its request was *due*, so a stall of the gateway is not hidden by a client that waits (coordinated omission).
The other end of each time is the moment at which the simulator accepted the push; both are read from the wall clock
of this machine.
"""

import asyncio
import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
from cyclopts import Parameter

from loadtest.bench.cpu import cpu_s
from loadtest.bench.lab import Lab, free_port, lab, wait_until, workers_of
from loadtest.demo.verdict import judge
from loadtest.programs import program
from loadtest.teams import MadeUpTeam

WARM_UP_S = 2.0


class RunningSimulator(NamedTuple):
    """A simulator process, as it describes itself."""

    port: int
    ca_file: str
    control_url: str


@contextmanager
def simulator(place: Lab, rtt_ms: float = 0.0) -> Iterator[RunningSimulator]:
    """The simulator as a process of its own."""
    process = subprocess.Popen(
        program(
            *("engine", "simulate", "--port", "0", "--control-port", "0"),
            *("--data-dir", str(place.directory / "simulator"), "--rtt-ms", str(rtt_ms)),
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            said = json.loads(process.stdout.readline() if process.stdout else "")
            yield RunningSimulator(said["port"], said["ca_file"], said["control_url"])
        finally:
            process.terminate()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """The rate, and what stands between."""

    per_s: int = 100
    "Requests each second."

    seconds: float = 20.0
    "For how long they are measured."

    rtt_ms: float = 0.0
    "A round trip to the simulator, added by it."

    workers: int = 2
    "Sending processes."


def run(options: LatencyOptions) -> dict[str, Any]:
    """Single POSTs at a fixed rate through the whole gateway to the simulator."""
    workers = options.workers
    with lab() as place, simulator(place, options.rtt_ms) as apns:
        place.create_tenants(1)
        port = free_port()
        given = (
            *("--bind", f"127.0.0.1:{port}"),
            *("--apns-production-url", f"https://localhost:{apns.port}"),
            *("--apns-ca-file", apns.ca_file),
            *("--workers", str(workers)),
        )
        with place.clarion("run", *given) as supervisor:
            pids = workers_of(supervisor, workers + 1)
            asyncio.run(_register(apns, place.teams[0]))
            wait_until(lambda: _ready(port), "the gateway's /readyz")
            asyncio.run(_push(place, port, options.per_s, WARM_UP_S))
            sent = asyncio.run(_push(place, port, options.per_s, options.seconds))
            time.sleep(1.0)
            entries = asyncio.run(_entries(apns))
            before, began_s = [cpu_s([pid]) for pid in pids], time.monotonic()
            time.sleep(10.0)
            idle_s = time.monotonic() - began_s
            idle = [100 * (cpu_s([pid]) - was) / idle_s for pid, was in zip(pids, before, strict=True)]
    judgement = judge(sent, min(sent.values()), entries)
    return {
        "p50_ms": round(1000 * judgement.p50_s, 2),
        "p99_ms": round(1000 * judgement.p99_s, 2),
        "offered_per_s": options.per_s,
        "pushes": judgement.accepted_by_api,
        "lost": judgement.lost,
        "repeated": judgement.repeated,
        "idle_worker_cpu_percent": round(max(idle[:workers]), 2),
        "idle_ingest_cpu_percent": round(max(idle[workers:]), 2),
        "added_rtt_ms": options.rtt_ms,
        "sink": "simulator",
    }


def _ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    return False


async def _register(apns: RunningSimulator, team: MadeUpTeam) -> None:
    known = {"team_id": team.team_id, "key_id": team.key_id, "topics": [team.topic]}
    async with aiohttp.ClientSession() as session:
        document = {**known, "public_key_pem": team.public_key_pem}
        async with session.post(f"{apns.control_url}/teams", json=document) as answer:
            answer.raise_for_status()


async def _push(place: Lab, port: int, per_s: int, seconds: float) -> dict[str, float]:
    """Send at a fixed rate; returns apns-id → the wall time at which its request was due."""
    team = place.teams[0]
    due: dict[str, float] = {}
    headers = {"Authorization": f"Bearer {place.api_keys[team.tenant]}"}

    async def one(session: aiohttp.ClientSession, number: int, due_s: float) -> None:
        body = {
            "device_token": f"{number:064x}",
            "topic": team.topic,
            "payload": {"aps": {"alert": f"Notification {number}"}},
        }
        async with session.post("/v1/push", json=body, headers=headers) as answer:
            answer.raise_for_status()
            due[(await answer.json())["id"]] = due_s

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session:
        start_s = time.time() + 0.05
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_s * seconds)):
                due_s = start_s + number / per_s
                await asyncio.sleep(max(0.0, due_s - time.time()))
                group.create_task(one(session, number, due_s))
    return due


async def _entries(apns: RunningSimulator) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession(apns.control_url) as session, session.get("/ledger/entries") as answer:
        return [json.loads(line) for line in (await answer.text()).splitlines()]
