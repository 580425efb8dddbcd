"""``drain``: how fast a full queue empties to the sink, and what each push costs whom.

The jobs are in Redis before the engine starts. Figures are of the window from the first look that finds pushes at
the sink to the last but one that does, so that boot, TLS handshakes and the tail are left out. Redis and the sink
share the machine's CPUs with the engine.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

from cyclopts import Parameter

from loadtest.bench.backlog import Standing, enqueue
from loadtest.bench.cpu import cpu_s, resident_bytes
from loadtest.bench.lab import Lab, lab, wait_until, workers_of
from loadtest.bench.stages import stage_shares
from loadtest.sink.start import start_sink
from shards.keys import shard_keys
from shards.redis import connect
from shards.tenants import DEFAULT_SHARDS

LOOK_EVERY_S = 0.02


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DrainOptions:
    """How much is drained, and by whom."""

    jobs: int = 200_000
    "Jobs in the queue."

    tenants: int = 10
    "Whose they are, in turn."

    workers: int = 2
    "Sending processes."

    links: int = 1
    "Links per tenant and worker, at most."

    payload_bytes: int = 256
    "Size of each payload."

    sink: Literal["nginx", "python"] | None = None
    "Default: the faster there is."

    stages: bool = True
    "Drain some more with one instrumented worker, for the shares by stage."


def run(options: DrainOptions) -> dict[str, Any]:
    """One drain."""
    jobs = options.jobs
    with lab() as place, start_sink(place.directory / "sink", kind=options.sink) as target:
        place.create_tenants(options.tenants)
        asyncio.run(_enqueue(place, jobs, options.payload_bytes))
        before = cpu_s([place.redis_pid])
        given = (
            *("--apns-production-url", f"https://localhost:{target.port}"),
            *("--apns-ca-file", str(target.ca_file)),
            *("--links-max", str(options.links)),
            *("--workers", str(options.workers)),
        )
        with place.clarion("engine", *given) as supervisor:
            pids = workers_of(supervisor, options.workers)
            looks = _watch(target, jobs, place.redis_pid, [supervisor.pid, *pids])
            settled = asyncio.run(_settled(place))
            memory = max(map(resident_bytes, pids))
        first, last = looks
        pushes = last["pushes"] - first["pushes"]
        seconds = last["at_s"] - first["at_s"]
        result: dict[str, Any] = {
            "pushes_per_s": round(pushes / seconds),
            "engine_us_per_push": _us(first, last, "engine", pushes),
            "redis_us_per_push": _us(first, last, "redis", pushes),
            "sink_us_per_push": _us(first, last, "sink", pushes),
            "sink": target.kind,
            "jobs": jobs,
            "lost": jobs - target.pushes() if target.pushes() < jobs else 0,
            "repeated": max(0, target.pushes() - jobs),
            "settled": settled,
            "worker_rss_mib": round(memory / 2**20, 1),
            "redis_us_per_push_enqueued": round(1e6 * before / jobs, 2),
            "tenants": options.tenants,
            "workers": options.workers,
            "links_per_tenant_and_worker": options.links,
            "payload_bytes": options.payload_bytes,
            "measured_s": round(seconds, 2),
            "appendfsync": "everysec",
        }
        if options.stages:
            asyncio.run(_enqueue(place, jobs // 4, options.payload_bytes))
            result["stages"] = stage_shares(place, target, jobs // 4, options.links)
    return result


def _us(first: dict[str, float], last: dict[str, float], who: str, pushes: float) -> float:
    return round(1e6 * (last[who] - first[who]) / pushes, 2)


def _watch(
    target: Any, jobs: int, redis_pid: int, engine: list[int]
) -> tuple[dict[str, float], dict[str, float]]:
    """The first look at which pushes have come, and the last at which some are still to come."""

    def look() -> dict[str, float]:
        return {
            "pushes": target.pushes(),
            "at_s": time.monotonic(),
            "engine": cpu_s(engine),
            "redis": cpu_s([redis_pid]),
            "sink": cpu_s(target.pids),
        }

    wait_until(target.pushes, "the first push at the sink")
    first = last = look()
    deadline_s = time.monotonic() + 600
    while time.monotonic() < deadline_s:
        time.sleep(LOOK_EVERY_S)
        now = look()
        if now["pushes"] >= jobs:
            return first, last
        last = now
    raise TimeoutError(f"only {last['pushes']} of {jobs} pushes came within 600 s")


async def _enqueue(place: Lab, jobs: int, payload_bytes: int) -> None:
    """Jobs of all tenants alike."""
    number = len(place.teams)
    standings = [Standing(team, jobs // number + (at < jobs % number)) for at, team in enumerate(place.teams)]
    await enqueue(place.redis.url, standings, payload_bytes)


async def _settled(place: Lab) -> bool:
    """Whether Redis holds no claim any more, soon after the last push."""
    client = connect(place.redis.url)
    try:
        for _ in range(100):
            if not sum([await client.scard(shard_keys(shard).claims) for shard in range(DEFAULT_SHARDS)]):
                return True
            await asyncio.sleep(0.05)
        return False
    finally:
        await client.aclose()
