"""Pushes at a fixed rate into the queue, of many tenants in turn; open-loop, as in ``latency``."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Final

from loadtest.bench.lab import Lab, device_token, payload
from loadtest.bench.population import Sender
from shards.job import Job, encode_job, new_ids
from shards.lanes import Lane
from shards.placement import base_shard, device_shard
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection
from shards.tenants import DEFAULT_SHARDS

# how far apart two looks at what is due are; it counts to the time of each push
TICK_S: Final = 0.002
# pushes in one round trip, when some are late; and how long a machine that does much else may take for one
TOGETHER: Final = 500
ANSWER_S: Final = 60.0


async def trickle(
    place: Lab, senders: Sequence[Sender], pushes: int, per_s: int, payload_bytes: int
) -> dict[bytes, float]:
    """Enqueue each push when it is due; returns apns-id → Unix seconds at which it was."""
    made = _pushes(senders, pushes, payload_bytes)
    connection = ScriptConnection(place.redis.url, answer_timeout_s=ANSWER_S)
    queue = Queue(connection)
    began_s = time.time()
    sent = 0
    while sent < pushes:
        due = min(pushes, sent + TOGETHER, int((time.time() - began_s) * per_s) + 1)
        if due > sent:
            await queue.enqueue([batch for _, batch in made[sent:due]])
            sent = due
        await asyncio.sleep(TICK_S)
    await connection.close()
    return {apns_id: began_s + number / per_s for number, (apns_id, _) in enumerate(made)}


def _pushes(senders: Sequence[Sender], pushes: int, payload_bytes: int) -> list[tuple[bytes, Batch]]:
    body, now_ms = payload(payload_bytes), int(time.time() * 1000)
    made = []
    for number, job_id in enumerate(new_ids(now_ms, os.urandom(10 * pushes))):
        tenant, topic, spread = senders[number % len(senders)]
        token = device_token()
        shard = device_shard(base_shard(tenant, DEFAULT_SHARDS), token, spread, DEFAULT_SHARDS)
        job = encode_job(Job(job_id, token, topic, body, admitted_ms=now_ms))
        made.append((job_id, Batch(shard, Lane.HIGH, tenant, [job])))
    return made
