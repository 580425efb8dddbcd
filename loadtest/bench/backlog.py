"""Backlogs: jobs that stand in Redis before anybody sends them, put there as ingest would, and how deep they stand."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from redis import Redis

from loadtest.bench.lab import device_token, payload, wait_until
from loadtest.teams import MadeUpTeam
from shards.job import Job, encode_job, new_ids
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import base_shard, device_shard, shards_of
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection
from shards.tenants import DEFAULT_SHARDS

ENQUEUE_BATCH: Final = 500
LOOK_EVERY_S: Final = 0.1
DRAIN_MOST_S: Final = 600.0

_LENGTHS: Final = """
local lengths = {}
for i = 1, #KEYS do
  lengths[i] = redis.call('LLEN', KEYS[i])
end
return lengths
"""


class Standing(NamedTuple):
    """So many jobs of a team's tenant in a lane; ``spread`` is the tenant's."""

    team: MadeUpTeam
    jobs: int
    lane: Lane = Lane.HIGH
    spread: int = 4


class Depth(NamedTuple):
    """Ready jobs of one tenant: in all its shards, and in the one that has the fewest."""

    total: int
    least: int


async def enqueue(url: str, standings: Sequence[Standing], payload_bytes: int) -> list[list[bytes]]:
    """Put jobs into Redis, the tenants in turn; returns each one's apns-ids."""
    connection = ScriptConnection(url)
    queue = Queue(connection)
    body = payload(payload_bytes)
    now_ms = int(time.time() * 1000)
    waiting: dict[tuple[int, Lane, str], list[bytes]] = defaultdict(list)
    ids = [list(new_ids(now_ms, os.urandom(10 * standing.jobs))) for standing in standings]
    bases = [base_shard(standing.team.tenant, DEFAULT_SHARDS) for standing in standings]
    for number in range(max(standing.jobs for standing in standings)):
        for (team, jobs, lane, spread), own, base in zip(standings, ids, bases, strict=True):
            if number >= jobs:
                continue
            token = device_token()
            shard = device_shard(base, token, spread, DEFAULT_SHARDS)
            batch = waiting[shard, lane, team.tenant]
            batch.append(encode_job(Job(own[number], token, team.topic, body, admitted_ms=now_ms)))
            if len(batch) == ENQUEUE_BATCH:
                await queue.enqueue([Batch(shard, lane, team.tenant, batch)])
                batch.clear()
    await queue.enqueue(
        [Batch(shard, lane, tenant, rest) for (shard, lane, tenant), rest in waiting.items() if rest]
    )
    await connection.close()
    return ids


class Depths:
    """Looks at the backlogs of these standings."""

    def __init__(self, redis: Any, standings: Sequence[Standing]) -> None:
        self._redis = redis
        self._lists = [
            [
                shard_keys(shard).ready(lane, team.tenant)
                for shard in shards_of(team.tenant, spread, DEFAULT_SHARDS)
            ]
            for team, _, lane, spread in standings
        ]

    def look(self) -> list[Depth]:
        """In the order of the standings."""
        keys = [key for lists in self._lists for key in lists]
        lengths = iter(self._redis.eval(_LENGTHS, len(keys), *keys))
        found = [[next(lengths) for _ in lists] for lists in self._lists]
        return [Depth(sum(each), min(each)) for each in found]

    def wait_drained(self) -> None:
        """Until nothing is ready any more."""
        wait_until(
            lambda: not any(depth.total for depth in self.look()),
            "the end of the backlog",
            DRAIN_MOST_S,
            0.25,
        )


@contextmanager
def depths(url: str, standings: Sequence[Standing]) -> Iterator[Depths]:
    """Depths over a connection of its own."""
    redis = Redis.from_url(url)
    try:
        yield Depths(redis, standings)
    finally:
        redis.close()
