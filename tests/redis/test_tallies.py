"""How many jobs of a tenant stand where, on a real Redis."""

import redis as redis_py
from words import jobs, opened

from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import shards_of
from shards.queue import Batch
from shards.redis import ScriptConnection
from shards.tallies import LOOKED_AT_MOST, Tallies, Tally

SHARDS, SPREAD = 64, 4


async def count(url: str, tenant: str = "acme", spread: int = SPREAD, shards: int = SHARDS) -> Tally:
    connection = ScriptConnection(url)
    try:
        return await Tallies(connection).count(tenant, spread, shards)
    finally:
        await connection.close()


def wait(raw: redis_py.Redis, shard: int, *entries: str) -> None:
    raw.zadd(shard_keys(shard).waiting, {entry: number for number, entry in enumerate(entries)})


async def test_jobs_are_counted_by_lane_over_the_tenants_shards_and_both_environments(
    redis_url: str, raw: redis_py.Redis
) -> None:
    first, second, *_, last = shards_of("acme", SPREAD, SHARDS)
    async with opened(redis_url) as queue:
        await queue.enqueue(
            [
                Batch(first, Lane.HIGH, "acme", jobs("a", 3)),
                Batch(last, Lane.HIGH, "acme/sandbox", jobs("b", 2)),
                Batch(second, Lane.LOW, "acme", jobs("c", 7)),
                Batch(first, Lane.LOW, "zeta", jobs("d", 90)),
                Batch(first, Lane.HIGH, "acme-too", jobs("e", 90)),
            ]
        )
    wait(raw, first, "high|acme|x", "low|acme/sandbox|y|acme|", "low|zeta|z|acme|")
    wait(raw, last, "low|acme|x", "high|acme-too|y")
    assert await count(redis_url) == Tally(high=5, low=7, retry=3, more=False)
    assert await count(redis_url, "nobody") == Tally(0, 0, 0, False)


async def test_a_shard_that_a_wide_spread_meets_twice_is_counted_once(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([Batch(shard, Lane.HIGH, "acme", jobs("a", 1)) for shard in range(2)])
    assert (await count(redis_url, spread=8, shards=2)).high == 2


async def test_of_very_many_that_wait_only_the_first_are_looked_at_and_that_is_said(
    redis_url: str, raw: redis_py.Redis
) -> None:
    shard = shards_of("acme", SPREAD, SHARDS)[1]
    wait(raw, shard, *(f"high|acme|{number}" for number in range(LOOKED_AT_MOST)))
    assert await count(redis_url) == Tally(0, 0, LOOKED_AT_MOST, False)
    raw.zadd(shard_keys(shard).waiting, {"high|acme|later": 10**6})
    assert await count(redis_url) == Tally(0, 0, LOOKED_AT_MOST, True)
