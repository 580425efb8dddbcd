"""How many jobs of a tenant stand where, on a real Redis."""

import redis as redis_py
from words import jobs, opened, take

from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import shards_of
from shards.queue import Batch
from shards.redis import ScriptConnection
from shards.tallies import LOOKED_AT_MOST, RUNS_LOOKED_AT_MOST, Remains, Tallies, Tally

SHARDS, SPREAD = 64, 4


async def count(url: str, tenant: str = "acme", spread: int = SPREAD, shards: int = SHARDS) -> Tally:
    connection = ScriptConnection(url)
    try:
        return await Tallies(connection).count(tenant, spread, shards)
    finally:
        await connection.close()


async def remains(url: str, tenant: str = "acme") -> Remains:
    connection = ScriptConnection(url)
    try:
        return await Tallies(connection).remains(tenant, SHARDS)
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


async def test_what_remains_of_a_tenant_is_what_waits_and_what_is_in_claims_on_any_shard(
    redis_url: str, raw: redis_py.Redis
) -> None:
    assert await remains(redis_url) == Remains(0, 0)
    async with opened(redis_url) as queue:
        holdings = await queue.acquire([3, 60])
        for number, holding in enumerate(holdings):
            await queue.enqueue(
                [
                    # its bytes look like the head of a run
                    Batch(holding.shard, Lane.HIGH, "zeta", [b"high|acme|50"] * 3),
                    Batch(holding.shard, Lane.HIGH, "acme", jobs("a", 4)),
                    Batch(holding.shard, Lane.LOW, "acme/sandbox", jobs("b", 2)),
                    Batch(holding.shard, Lane.LOW, "acme-too", jobs("c", 9)),
                ]
            )
            for part in range(3):
                # in several claims, of which one is of several runs
                await take(queue, holding, 10 * number + part, most=5)
    wait(raw, 9, "low|acme|x", "low|zeta|y")
    assert await remains(redis_url) == Remains(waiting=1, in_hand=12)
    assert await remains(redis_url, "zeta") == Remains(waiting=1, in_hand=6)
    # those who look at how a tenant stands are not told of what is in hand
    assert await count(redis_url, spread=SHARDS) == Tally(0, 0, 1, False)


async def test_of_very_many_runs_in_claims_only_so_many_are_looked_at_and_that_is_said(
    redis_url: str, raw: redis_py.Redis
) -> None:
    keys = shard_keys(7)
    raw.sadd(keys.claims, "1:1", "1:2")
    raw.rpush(
        keys.claim("1:1"), *(word for _ in range(RUNS_LOOKED_AT_MOST - 1) for word in ("low|zeta|1", "z"))
    )
    raw.rpush(keys.claim("1:2"), "high|acme|1", "a")
    assert await remains(redis_url) == Remains(0, 1)
    raw.rpush(keys.claim("1:2"), "high|zeta|1", "z")
    assert (await remains(redis_url)).more_in_hand


async def test_a_job_that_waits_is_found_among_however_many(redis_url: str, raw: redis_py.Redis) -> None:
    wait(raw, 9, *(f"high|zeta|acme|{number}" for number in range(3 * LOOKED_AT_MOST)))
    connection = ScriptConnection(redis_url)
    tallies = Tallies(connection)
    assert not await tallies.waits("acme", SHARDS)
    assert await tallies.waits("zeta", SHARDS)
    raw.zadd(shard_keys(9).waiting, {"low|acme/sandbox|last": 10**6})
    assert await tallies.waits("acme", SHARDS)
    assert (await tallies.remains("acme", SHARDS)) == Remains(0, 0, more_waiting=True)
    await connection.close()
