"""What a lost worker leaves: given back, buried where it may not go twice, and poison told from its neighbours."""

import itertools
import time

import pytest
import redis as redis_py
from words import all_jobs, opened, take

from shards import queue as queue_module
from shards.api_key import new_api_key
from shards.claim import Holding, Reclaimed, Retry, Settlement
from shards.job import Job, decode_job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.tenant import Tenant
from shards.tenants import Tenants

SHARD = 7
KEYS = shard_keys(SHARD)

_numbers = itertools.count()


def job(name: str, **fields: int) -> bytes:
    return encode_job(Job(name.encode(), b"00", "com.acme", b'{"aps":{}}', **fields))


async def opened_shard(queue: Queue, *jobs: bytes, tenant: str = "a") -> Holding:
    assert await queue.enqueue([Batch(SHARD, Lane.HIGH, tenant, jobs)]) == [None]
    [holding] = await queue.acquire([SHARD])
    assert isinstance(holding, Holding)
    return holding


async def die_with(queue: Queue, holding: Holding, *, sent: bool = True) -> tuple[Holding, list[bytes]]:
    """Claim all that is ready, be lost with it, and have the next holder reclaim."""
    claimed = await take(queue, holding, next(_numbers))
    [following] = await queue.acquire([SHARD])
    assert isinstance(following, Holding)
    reclaimed = await queue.reclaim(following, sent=sent)
    assert isinstance(reclaimed, Reclaimed) and sum(reclaimed) == len(all_jobs(claimed))
    return following, all_jobs(claimed)


def buried(raw: redis_py.Redis) -> list[tuple[str, bytes]]:
    return [(fields[b"reason"].decode(), fields[b"job"]) for _, fields in raw.xrange(KEYS.dead)]


def waiting(raw: redis_py.Redis) -> list[tuple[bytes, int]]:
    """Jobs that wait, and in how many seconds each is due, about."""
    now_ms = time.time() * 1000
    return [
        (member.split(b"|", 2)[2], round((due_ms - now_ms) / 1000))
        for member, due_ms in raw.zrange(KEYS.waiting, 0, -1, withscores=True)
    ]


async def make_tenant(url: str, name: str, in_doubt: str) -> None:
    store = Tenants(url)
    await store.create(Tenant(name, in_doubt=in_doubt), *new_api_key())
    await store.close()


async def test_after_one_death_everything_is_ready_again(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        jobs = [job("1"), job("2")]
        holding = await opened_shard(queue, *jobs)
        holding, _ = await die_with(queue, holding)
        assert all_jobs(await take(queue, holding, next(_numbers))) == jobs
        assert (buried(raw), waiting(raw)) == ([], [])


async def test_suspects_come_back_one_by_one_in_their_order(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        jobs = [job("1"), job("2"), job("3")]
        holding = await opened_shard(queue, *jobs)
        for _ in range(2):
            holding, _ = await die_with(queue, holding)
        # shard 7 has the last of eight slots of a second
        assert sorted(seconds for _, seconds in waiting(raw)) == [8, 16, 24]
        assert {each for each, _ in waiting(raw)} == set(jobs)
        assert buried(raw) == []


async def test_suspects_of_neighbouring_shards_come_back_at_different_times(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        shards = range(2, 6)
        await queue.enqueue([Batch(shard, Lane.HIGH, "a", [job(f"{shard}")]) for shard in shards])
        for _ in range(3):
            for holding in await queue.acquire(shards):
                assert isinstance(holding, Holding)
                await queue.reclaim(holding)
                await take(queue, holding, next(_numbers))
        due_s = [
            raw.zrange(shard_keys(shard).waiting, 0, 0, withscores=True)[0][1] / 1000 for shard in shards
        ]
        apart_s = [later - earlier for earlier, later in itertools.pairwise(due_s)]
        assert apart_s == pytest.approx([1.0] * 3, abs=0.3)


async def test_the_last_death_names_the_culprit_and_spares_who_was_beside_it(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        culprit, innocent, late = job("culprit", admitted_ms=5, attempts=2), job("innocent"), job("late")
        holding = await opened_shard(queue, culprit, innocent)
        for _ in range(2):
            holding, _ = await die_with(queue, holding)
        raw.zrem(KEYS.waiting, b"high|a|" + innocent)
        await queue.promote([SHARD], int(time.time() * 1000) + 60_000)
        await queue.enqueue([Batch(SHARD, Lane.HIGH, "a", [late])])
        holding, claimed = await die_with(queue, holding)
        assert claimed == [culprit, late]
        assert buried(raw) == [("Poison", culprit)]
        [(_, fields)] = raw.xrange(KEYS.dead)
        assert (fields[b"tenant"], fields[b"lane"]) == (b"a", b"high")
        assert all_jobs(await take(queue, holding, next(_numbers))) == [late]


async def test_two_suspects_that_came_back_together_are_parted_again_not_buried(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        jobs = [job("1"), job("2")]
        holding = await opened_shard(queue, *jobs)
        for _ in range(2):
            holding, _ = await die_with(queue, holding)
        # the next worker came so late that both were due
        await queue.promote([SHARD], int(time.time() * 1000) + 60_000)
        await die_with(queue, holding)
        assert buried(raw) == []
        assert sorted(seconds for _, seconds in waiting(raw)) == [8, 16]


async def test_nothing_is_tried_for_ever(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        jobs = [job("1"), job("2")]
        holding = await opened_shard(queue, *jobs)
        for _ in range(6):
            assert buried(raw) == []
            holding, _ = await die_with(queue, holding)
            await queue.promote([SHARD], int(time.time() * 1000) + 60_000)
        assert sorted(buried(raw)) == sorted(("Poison", each) for each in jobs)


async def test_deaths_are_counted_by_id_so_a_further_attempt_starts_no_new_count(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        holding = await opened_shard(queue, job("1"))
        holding, _ = await die_with(queue, holding)
        claimed = await take(queue, holding, next(_numbers))
        retries = [Retry(0, "high", "a", job("1", attempts=1))]
        await queue.settle([Settlement(holding, claimed.claim_id, retries)])
        for _ in range(2):
            await queue.promote([SHARD], int(time.time() * 1000) + 60_000)
            holding, _ = await die_with(queue, holding)
        assert buried(raw) == [("Poison", job("1", attempts=1))]


async def test_what_nobody_ever_learned_of_counts_as_no_death_and_is_no_doubt(
    redis_url: str, raw: redis_py.Redis
) -> None:
    await make_tenant(redis_url, "a", "bury")
    async with opened(redis_url) as queue:
        holding = await opened_shard(queue, job("1"))
        for _ in range(4):
            holding, _ = await die_with(queue, holding, sent=False)
        assert all_jobs(await take(queue, holding, next(_numbers))) == [job("1")]
        assert not raw.exists(KEYS.deaths) and buried(raw) == []


async def test_claims_of_a_tenant_that_wants_nothing_twice_are_buried_and_others_given_back(
    redis_url: str, raw: redis_py.Redis
) -> None:
    await make_tenant(redis_url, "codes", "bury")
    await make_tenant(redis_url, "news", "resend")
    async with opened(redis_url) as queue:
        await opened_shard(queue, job("1"), job("2"), tenant="codes")
        holding = await opened_shard(queue, job("3"), tenant="news")
        claimed = await take(queue, holding, next(_numbers))
        assert len(all_jobs(claimed)) == 3
        # what was not claimed was not sent
        await queue.enqueue([Batch(SHARD, Lane.HIGH, "codes", [job("4")])])
        [following] = await queue.acquire([SHARD])
        assert isinstance(following, Holding)
        assert await queue.reclaim(following) == Reclaimed(1, in_doubt=2)
        assert sorted(buried(raw)) == [("InDoubt: worker lost", job(n)) for n in "12"]
        left = all_jobs(await take(queue, following, next(_numbers)))
        assert {decode_job(each).id for each in left} == {b"3", b"4"}


async def test_jobs_that_can_not_be_read_are_reclaimed_too(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        # text, the beginning of a job, a number, nothing, an array whose first field is no id
        odd = [b"hello", job("1")[:9], b"\x01", b"", b"\x91\x01"]
        holding = await opened_shard(queue, *odd)
        holding, _ = await die_with(queue, holding)
        assert all_jobs(await take(queue, holding, next(_numbers))) == odd
        assert raw.hlen(KEYS.deaths) == len(odd)


async def test_what_is_remembered_of_deaths_lapses_and_is_bounded(
    redis_url: str, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "DEATHS_KEPT", 3)
    async with opened(redis_url) as queue:
        holding = await opened_shard(queue, *(job(f"{n}") for n in range(4)))
        holding, _ = await die_with(queue, holding)
        assert 3_500 < raw.ttl(KEYS.deaths) <= 3_600
        assert raw.hlen(KEYS.deaths) == 4
        holding, _ = await die_with(queue, holding)
        assert set(raw.hvals(KEYS.deaths)) == {b"1"}
