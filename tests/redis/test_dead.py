"""Dead letters as a person handles them: the newest first, by tenant and reason, sent again once, thrown away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis as redis_py
from words import all_jobs, opened, take

from shards.claim import Burial, Holding, Settlement
from shards.dead import DeadLetter, DeadLetters, Wanted, sendable
from shards.errors import NotFound, StoreRefused
from shards.job import Job, decode_job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import listening
from shards.tenant import Tenant

SHARDS = 4


def job(name: str, attempts: int = 0) -> bytes:
    return encode_job(
        Job(name.encode(), b"00fc", "com.acme", b'{"aps":{}}', admitted_ms=7, attempts=attempts)
    )


@asynccontextmanager
async def letters_of(url: str) -> AsyncIterator[DeadLetters]:
    letters = DeadLetters(url, SHARDS)
    try:
        yield letters
    finally:
        await letters.close()


def put(raw: redis_py.Redis, shard: int, at_ms: int, tenant: str, reason: str, encoded: bytes) -> None:
    raw.xadd(
        shard_keys(shard).dead,
        {"tenant": tenant, "reason": reason, "at_ms": at_ms, "job": encoded, "lane": "low", "status": 400},
        id=f"{at_ms}-0",
    )


def put_four(raw: redis_py.Redis) -> None:
    put(raw, 0, 1_000, "acme", "BadDeviceToken", job("1"))
    put(raw, 3, 2_000, "zeta", "InDoubt: deadline", job("2", attempts=1))
    put(raw, 0, 3_000, "acme", "InDoubt: worker lost", job("3"))
    put(raw, 2, 4_000, "zeta", "BadDeviceToken", job("4"))


@pytest.mark.parametrize(
    ("wanted", "most", "ids"),
    [
        (Wanted(), 10, "4321"),
        (Wanted(), 2, "43"),
        (Wanted(tenant="acme"), 10, "31"),
        (Wanted(tenant="acme"), 1, "3"),
        (Wanted(reason="BadDeviceToken"), 10, "41"),
        (Wanted(reason="InDoubt"), 10, "32"),
        (Wanted(tenant="zeta", reason="InDoubt"), 10, "2"),
        (Wanted(tenant="nobody"), 10, ""),
    ],
)
async def test_letters_of_all_shards_are_listed_newest_first(
    redis_url: str, raw: redis_py.Redis, wanted: Wanted, most: int, ids: str
) -> None:
    put_four(raw)
    async with letters_of(redis_url) as letters:
        assert [letter.id for letter in await letters.newest(wanted, most)] == list(ids)


@pytest.mark.parametrize(
    ("admitted_ms", "at_ms", "tenants", "inherited", "is_sendable"),
    [
        (500, 900, [Tenant("acme")], False, True),
        (500, 900, [Tenant("acme", created_ms=500)], False, True),
        (500, 900, [Tenant("acme", created_ms=501)], False, False),
        (500, 900, [Tenant("acme", created_ms=501)], True, True),
        # of the first version: when it died is all that is known
        (0, 900, [Tenant("acme", created_ms=501)], False, True),
        (0, 900, [Tenant("acme", created_ms=901)], False, False),
        (500, 900, [], False, False),
        (500, 900, [Tenant("zeta")], True, False),
    ],
)
def test_a_letter_is_sent_for_its_own_tenant_only(
    admitted_ms: int, at_ms: int, tenants: list[Tenant], inherited: bool, is_sendable: bool
) -> None:
    encoded = job("1")
    letter = DeadLetter(
        0, "9-0", "acme", "Odd", at_ms, "high", 0, 0, 1, admitted_ms, encoded, decode_job(encoded)
    )
    assert sendable([letter], tenants, inherited=inherited) == [letter] * is_sendable


async def test_a_long_stream_is_walked_to_its_end(redis_url: str, raw: redis_py.Redis) -> None:
    for number in range(1, 1_102):
        put(raw, 1, number, "acme", "Odd" if number == 1 else "Even", job(f"{number}"))
    async with letters_of(redis_url) as letters:
        assert [letter.id for letter in await letters.newest(Wanted(reason="Odd"), 5)] == ["1"]
        assert len(await letters.newest(Wanted(), 5_000)) == 1_101


async def test_what_settle_wrote_is_read_back(redis_url: str) -> None:
    async with opened(redis_url) as queue, letters_of(redis_url) as letters:
        holding = await held(queue, 1)
        burial = Burial(
            "acme", "Unregistered", 99, job("1"), "low", 410, 55, 3, 7, b"00fc", "com.acme", "production"
        )
        await bury(queue, holding, burial)
        letter = await letters.one("1")
        assert (letter.tenant, letter.reason, letter.at_ms, letter.lane) == (
            "acme",
            "Unregistered",
            99,
            "low",
        )
        assert (letter.status, letter.timestamp_ms, letter.attempts, letter.admitted_ms) == (410, 55, 3, 7)
        assert letter.job == decode_job(job("1"))


async def test_a_letter_of_the_first_version_is_read(redis_url: str, raw: redis_py.Redis) -> None:
    old = {"tenant": "acme", "reason": "Forbidden", "at_ms": 5, "job": job("1", attempts=4)}
    raw.xadd(shard_keys(0).dead, old)
    async with letters_of(redis_url) as letters:
        letter = await letters.one("1")
        assert (letter.lane, letter.status, letter.attempts, letter.admitted_ms) == ("high", 0, 4, 7)


async def test_there_may_be_no_such_letter(redis_url: str, raw: redis_py.Redis) -> None:
    put_four(raw)
    async with letters_of(redis_url) as letters:
        assert (await letters.one("3")).at_ms == 3_000
        with pytest.raises(NotFound, match="there is no dead letter 9"):
            await letters.one("9")


async def test_a_replay_enqueues_with_the_same_id_and_no_attempts_once(
    redis_url: str, raw: redis_py.Redis
) -> None:
    put_four(raw)
    keys = shard_keys(3)
    raw.hset(keys.deaths, "2", 3)
    raw.set(keys.unrung, "asleep")
    async with (
        opened(redis_url) as queue,
        letters_of(redis_url) as letters,
        listening(redis_url, [keys.bell]) as rings,
    ):
        found = await letters.newest(Wanted(tenant="zeta", reason="InDoubt"), 10)
        assert await letters.replay(found) == 1
        assert await letters.replay(found) == 0
        assert await anext(rings) == (keys.bell, "")
        assert not raw.hexists(keys.deaths, "2")
        assert raw.xlen(keys.dead) == 0
        claimed = await take(queue, await held(queue, 3), 1)
        assert [(run.lane, run.flow) for run in claimed.runs] == [("low", "zeta")]
        assert all_jobs(claimed) == [job("2")]
        assert len(await letters.newest(Wanted(), 10)) == 3


async def test_without_memory_a_letter_stays_in_its_place(redis_url: str, raw: redis_py.Redis) -> None:
    put_four(raw)
    async with letters_of(redis_url) as letters:
        found = await letters.newest(Wanted(), 1)
        raw.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreRefused, match="maxmemory"):
                await letters.replay(found)
        finally:
            raw.config_set("maxmemory", 0)
        assert await letters.newest(Wanted(), 1) == found
        assert await letters.replay(found) == 1


async def test_what_can_not_be_read_is_listed_and_never_replayed(redis_url: str, raw: redis_py.Redis) -> None:
    put(raw, 0, 1_000, "acme", "Unreadable", b"hello")
    async with letters_of(redis_url) as letters:
        [letter] = await letters.newest(Wanted(), 10)
        assert (letter.id, letter.job, letter.encoded) == ("", None, b"hello")
        assert await letters.replay([letter]) == 0
        assert len(await letters.newest(Wanted(), 10)) == 1


async def test_a_purge_takes_what_is_wanted_and_nothing_else(redis_url: str, raw: redis_py.Redis) -> None:
    put_four(raw)
    async with letters_of(redis_url) as letters:
        assert await letters.purge(Wanted(tenant="acme", reason="InDoubt")) == 1
        assert [letter.id for letter in await letters.newest(Wanted(), 10)] == list("421")
        assert await letters.purge(Wanted()) == 3
        assert await letters.newest(Wanted(), 10) == []


async def held(queue: Queue, shard: int) -> Holding:
    [holding] = await queue.acquire([shard])
    assert isinstance(holding, Holding)
    return holding


async def bury(queue: Queue, holding: Holding, burial: Burial) -> None:
    """Through a claim, as a worker does."""
    await queue.enqueue([Batch(holding.shard, Lane.LOW, burial.tenant, [burial.job])])
    claimed = await take(queue, holding, 1)
    assert await queue.settle([Settlement(holding, claimed.claim_id, (), [burial])]) == [holding]
