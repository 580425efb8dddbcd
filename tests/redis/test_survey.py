"""A look at all queues: what is ready, what waits, what is dead, and how old the oldest is."""

import redis as redis_py
from words import opened, take

from shards.claim import Burial, Holding, Retry, Settlement
from shards.job import Job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch
from shards.redis import ScriptConnection
from shards.survey import FLOWS_LOOKED_AT, Surveys

HIGH, LOW = Lane.HIGH, Lane.LOW
SHARDS = 4


def job(admitted_ms: int) -> bytes:
    return encode_job(Job(b"%036d" % admitted_ms, b"00" * 32, "com.acme.app", b"{}", admitted_ms=admitted_ms))


async def test_jobs_are_counted_by_lane_and_place_and_the_oldest_is_found(
    redis_url: str, raw: redis_py.Redis
) -> None:
    connection = ScriptConnection(redis_url)
    surveys = Surveys(connection)
    assert await surveys.take(SHARDS) == ({HIGH: 0, LOW: 0, "": 0}, 0, 0, {})
    async with opened(redis_url) as queue:
        await queue.enqueue(
            [
                Batch(0, HIGH, "a", [job(5_000), job(6_000)]),
                Batch(0, HIGH, "b", [job(4_000)]),
                Batch(3, HIGH, "a", [job(4_500)]),
                Batch(2, LOW, "a", [job(7_000), job(8_000)]),
            ]
        )
        ready, waiting, dead, oldest_ms = await surveys.take(SHARDS)
        assert (ready, waiting, dead) == ({HIGH: 4, LOW: 2, "": 0}, 0, 0)
        assert oldest_ms == {"high": 4_000, "low": 7_000}
        [holding] = await queue.acquire([2])
        assert isinstance(holding, Holding)
        claimed = await take(queue, holding, 1)
        retry = Retry(2**45, "low", "a", job(7_000))
        burial = Burial("a", "Unregistered", 1, job(8_000), "low")
        await queue.settle([Settlement(holding, claimed.claim_id, [retry], [burial])])
    ready, waiting, dead, oldest_ms = await surveys.take(SHARDS)
    assert (ready, waiting, dead) == ({HIGH: 4, LOW: 0, "": 0}, 1, 1)
    assert oldest_ms == {"high": 4_000}
    await connection.close()


async def test_of_very_many_flows_some_are_looked_at_and_all_are_counted(
    redis_url: str, raw: redis_py.Redis
) -> None:
    connection = ScriptConnection(redis_url)
    async with opened(redis_url) as queue:
        await queue.enqueue([Batch(1, LOW, f"flow-{n}", [job(9_000)]) for n in range(FLOWS_LOOKED_AT + 25)])
    raw.rpush(shard_keys(0).ready(HIGH, "odd"), b"no job")
    raw.rpush(shard_keys(0).high, "odd")
    raw.incr(shard_keys(0).depth)
    ready, _, _, oldest_ms = await Surveys(connection).take(SHARDS)
    assert ready == {HIGH: 1, LOW: FLOWS_LOOKED_AT, "": 25}
    assert oldest_ms == {"low": 9_000}
    await connection.close()
