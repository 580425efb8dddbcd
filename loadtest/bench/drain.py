"""``drain``: how fast a full queue empties to the sink, and what each push costs whom.

The jobs are in Redis before the engine starts. Figures are of the window from the first look that finds pushes at
the sink to the last but one that does, so that boot, TLS handshakes and the tail are left out. Redis and the sink
share the machine's CPUs with the engine.
"""

import asyncio
import os
import time
from collections import defaultdict
from typing import Any, Literal

from loadtest.bench.cpu import cpu_s, resident_bytes
from loadtest.bench.lab import Lab, device_token, lab, payload, wait_until, workers_of
from loadtest.bench.stages import stage_shares
from loadtest.sink.start import start_sink
from shards.job import Job, encode_job, new_ids
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import base_shard, device_shard
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection, connect
from shards.tenants import DEFAULT_SHARDS, Tenants

ENQUEUE_BATCH = 500
LOOK_EVERY_S = 0.02


def run(
    jobs: int = 200_000,
    tenants: int = 10,
    workers: int = 2,
    links: int = 1,
    payload_bytes: int = 256,
    sink: Literal["nginx", "python"] | None = None,
    stages: bool = True,
) -> dict[str, Any]:
    """One drain; ``links``: per tenant and worker, at most; ``sink``: nginx or python, default the faster there is."""
    with lab() as place, start_sink(place.directory / "sink", kind=sink) as target:
        place.create_tenants(tenants)
        asyncio.run(enqueue(place, jobs, payload_bytes))
        before = cpu_s([place.redis_pid])
        options = (
            *("--apns-production-url", f"https://localhost:{target.port}"),
            *("--apns-ca-file", str(target.ca_file)),
            *("--links-max", str(links)),
            *("--workers", str(workers)),
        )
        with place.clarion("engine", *options) as supervisor:
            pids = workers_of(supervisor, workers)
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
            "tenants": tenants,
            "workers": workers,
            "links_per_tenant_and_worker": links,
            "payload_bytes": payload_bytes,
            "measured_s": round(seconds, 2),
            "appendfsync": "everysec",
        }
        if stages:
            asyncio.run(enqueue(place, jobs // 4, payload_bytes))
            result["stages"] = stage_shares(place, target, jobs // 4, links)
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


async def enqueue(place: Lab, jobs: int, payload_bytes: int) -> None:
    """Put jobs of all tenants in turn into Redis, as ingest would."""
    store = Tenants(place.redis.url)
    shards = await store.shards()
    await store.close()
    connection = ScriptConnection(place.redis.url)
    queue = Queue(connection)
    body = payload(payload_bytes)
    waiting: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    ids = new_ids(int(time.time() * 1000), os.urandom(10 * jobs))
    for number, job_id in enumerate(ids):
        team = place.teams[number % len(place.teams)]
        token = device_token()
        shard = device_shard(base_shard(team.tenant, shards), token, 4, shards)
        batch = waiting[shard, team.tenant]
        batch.append(encode_job(Job(job_id, token, team.topic, body, admitted_ms=int(time.time() * 1000))))
        if len(batch) == ENQUEUE_BATCH:
            await queue.enqueue([Batch(shard, Lane.HIGH, team.tenant, batch)])
            batch.clear()
    await queue.enqueue(
        [Batch(shard, Lane.HIGH, tenant, rest) for (shard, tenant), rest in waiting.items() if rest]
    )
    await connection.close()


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
