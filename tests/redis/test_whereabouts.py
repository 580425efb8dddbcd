"""Where jobs stand in Redis, as the benches that break things ask: each in one place, whichever way it came there."""

from collections.abc import Iterator

import pytest
import redis as redis_py
from words import opened, take

from loadtest.bench.whereabouts import Counts, Found, Place, Whereabouts
from shards.claim import Burial, Holding, Retry, Settlement
from shards.job import Job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch

SHARD = 7
NOW_MS = 1_000_000


def job(name: str) -> bytes:
    return encode_job(Job(name.encode(), b"00fc", "com.acme", b'{"aps":{}}'))


@pytest.fixture
def store(redis_url: str) -> Iterator[Whereabouts]:
    found = Whereabouts(redis_url, ["acme", "zeta"])
    yield found
    found.close()


async def fill(url: str) -> None:
    """Eight jobs, two of them claimed by a member named node/1, one buried, two waiting, three ready."""
    async with opened(url) as queue:
        [holding] = await queue.acquire([SHARD], "node/1")
        assert isinstance(holding, Holding)
        await queue.enqueue([Batch(SHARD, Lane.HIGH, "acme", [job("dead"), job("due"), job("later")])])
        await take(queue, holding, 1)
        retries = [
            Retry(NOW_MS, "high", "acme", job("due")),
            Retry(NOW_MS + 1, "high", "acme", job("later")),
        ]
        burial = Burial("acme", "Poison", NOW_MS, job("dead"))
        await queue.settle([Settlement(holding, f"{holding.fence}:1", retries, [burial])])
        await queue.enqueue(
            [Batch(SHARD, Lane.HIGH, "acme", [job("c1")]), Batch(SHARD, Lane.LOW, "zeta", [job("c2")])]
        )
        await take(queue, holding, 2)
        await queue.enqueue(
            [
                Batch(SHARD, Lane.HIGH, "zeta", [job("r1"), job("r2")]),
                Batch(0, Lane.LOW, "acme", [job("r3")]),
            ]
        )


async def test_each_job_is_found_where_it_stands(redis_url: str, store: Whereabouts) -> None:
    await fill(redis_url)
    assert sorted(store.found(NOW_MS)) == sorted(
        [
            Found(b"r1", Place.READY),
            Found(b"r2", Place.READY),
            Found(b"r3", Place.READY),
            Found(b"c1", Place.CLAIMED),
            Found(b"c2", Place.CLAIMED),
            Found(b"due", Place.DUE),
            Found(b"later", Place.WAITING),
            Found(b"dead", Place.DEAD, "Poison"),
        ]
    )


async def test_jobs_are_counted_by_place_and_claims_by_holder(redis_url: str, store: Whereabouts) -> None:
    assert store.counts() == Counts(0, 0, 0)
    await fill(redis_url)
    # two runs in the claim, each with a line of its own
    assert store.counts() == Counts(ready=3, waiting=2, claimed=4)
    assert store.claimed() == store.claimed("/1") == 4
    assert store.claimed("/0") == 0


async def test_a_shard_that_nobody_holds_counts_for_anybody(
    redis_url: str, store: Whereabouts, raw: redis_py.Redis
) -> None:
    await fill(redis_url)
    raw.delete(shard_keys(SHARD).lease)
    assert store.claimed("/0") == 4


async def test_what_is_written_is_told_as_it_grows(redis_url: str, store: Whereabouts) -> None:
    before = store.written()
    await fill(redis_url)
    after = store.written()
    assert after[0] > before[0] and after[1] > before[1]


async def test_a_job_that_cannot_be_read_is_nobodys(
    redis_url: str, store: Whereabouts, raw: redis_py.Redis
) -> None:
    raw.rpush(shard_keys(SHARD).ready(Lane.HIGH, "acme"), b"no job", job("r1"))
    assert list(store.found(NOW_MS)) == [Found(b"r1", Place.READY)]


def test_nothing_is_known_while_redis_does_not_answer() -> None:
    silent = Whereabouts("redis://127.0.0.1:1/0", ["acme"])
    assert silent.counts() is None and silent.claimed() is None and not silent.fsync_pending()
    silent.close()
