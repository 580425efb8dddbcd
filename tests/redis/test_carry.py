"""A claim of which a part is carried over into another one: nothing is lost, and nothing is done twice."""

import redis as redis_py
from words import all_jobs, jobs, opened, take

from shards.claim import Burial, Fenced, Reclaimed, Retry, Run, Settlement
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue

SHARD = 3
KEYS = shard_keys(SHARD)


async def carried(queue: Queue) -> tuple[Settlement, list[bytes]]:
    """A claim of ten jobs, of which seven were accepted and one is to be tried again; two go over into a new claim."""
    stored = jobs("a", 10)
    await queue.enqueue([Batch(SHARD, Lane.HIGH, "a", stored)])
    [holding] = await queue.acquire([SHARD])
    await take(queue, holding, 1)
    part = Settlement(
        holding,
        f"{holding.fence}:1",
        [Retry(10**14, "high", "a", stored[0])],
        (),
        f"{holding.fence}:2",
        [Run("high", "a", stored[8:])],
    )
    assert await queue.settle([part]) == [holding]
    return part, stored


def claims(raw: redis_py.Redis) -> dict[str, list[bytes]]:
    return {
        claim_id.decode(): raw.lrange(KEYS.claim(claim_id.decode()), 0, -1)
        for claim_id in raw.smembers(KEYS.claims)
    }


async def test_what_has_no_fate_yet_is_all_that_is_kept(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        part, stored = await carried(queue)
        assert claims(raw) == {part.rest_id: [b"high|a|2", *stored[8:]]}
        assert raw.zcard(KEYS.waiting) == 1
        assert await queue.settle([Settlement(part.holding, part.rest_id)]) == [part.holding]
        assert claims(raw) == {} and not raw.exists(KEYS.claim(part.rest_id))


async def test_a_part_that_is_settled_again_changes_nothing(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        part, _ = await carried(queue)
        before = claims(raw)
        assert await queue.settle([part]) == [part.holding]
        assert claims(raw) == before and raw.zcard(KEYS.waiting) == 1
        # nor after the rest has been settled: it must not come back
        end = Settlement(part.holding, part.rest_id, (), [Burial("a", "Unregistered", 1, b"job")])
        assert await queue.settle([part, end, part]) == [part.holding] * 3
        assert claims(raw) == {} and raw.xlen(KEYS.dead) == 1


async def test_only_the_rest_is_given_back_when_the_holder_is_lost(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        part, stored = await carried(queue)
        [later] = await queue.acquire([SHARD])
        assert await queue.settle([part]) == [Fenced(part.holding)]
        assert await queue.reclaim(later) == Reclaimed(2)
        assert all_jobs(await take(queue, later, 1)) == stored[8:]
