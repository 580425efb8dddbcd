"""Campaigns in a shard: their records come with the first element, are told to whoever asks, and go with the last."""

import itertools
from collections.abc import Sequence

import pytest
import redis as redis_py
from words import all_jobs, opened, take

from shards.campaign import (
    Campaign,
    Portion,
    apns_id_of,
    element,
    encode_campaign,
    expand,
    new_campaign_id,
)
from shards.campaigns import Records
from shards.claim import Holding, Reclaimed, Retry, Run, Settlement
from shards.dead import DeadLetters, Wanted
from shards.errors import StoreRefused
from shards.job import Job, decode_job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Full, Queue
from shards.redis import ScriptConnection
from shards.survey import Surveys

SHARD = 7
KEYS = shard_keys(SHARD)
NOW_MS = 1_722_000_000_000
ID, OTHER = (new_campaign_id(NOW_MS, bytes([chance] * 10)) for chance in range(2))
CAMPAIGN = Campaign("com.acme", b'{"aps":{"alert":"x"}}', "production", "alert", 5, 0, b"c", NOW_MS)
RECORD = encode_campaign(CAMPAIGN)

_numbers = itertools.count()


def elements(count: int, campaign_id: bytes = ID, first: int = 0) -> list[bytes]:
    return [element(campaign_id, number, b"\xab\x00") for number in range(first, first + count)]


def batch(jobs: Sequence[bytes], campaign_id: bytes = ID, record: bytes = RECORD, most: int = 0) -> Batch:
    return Batch(SHARD, Lane.HIGH, "a", jobs, most, [Portion(campaign_id, record, len(jobs))])


async def held(queue: Queue) -> Holding:
    [holding] = await queue.acquire([SHARD])
    assert isinstance(holding, Holding)
    return holding


def left(raw: redis_py.Redis) -> dict[bytes, int]:
    assert raw.hkeys(KEYS.campaigns) == raw.hkeys(KEYS.left)
    return {each: int(many) for each, many in raw.hgetall(KEYS.left).items()}


async def test_a_record_stays_until_the_last_element_is_settled(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        assert await queue.enqueue([batch(elements(3)), batch(elements(2, first=3))]) == [None, None]
        assert left(raw) == {ID: 5}
        holding = await held(queue)
        first, second = [await take(queue, holding, number, most) for number, most in ((1, 4), (2, 4))]
        assert all_jobs(first) + all_jobs(second) == elements(5)
        done = Settlement(holding, first.claim_id, elements={ID: 4})
        assert await queue.settle([done, done]) == [holding, holding]
        assert left(raw) == {ID: 1}
        await queue.settle([Settlement(holding, second.claim_id, elements={ID: 1})])
        assert left(raw) == {}


async def test_who_lost_the_shard_counts_nothing_off(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(3))])
        holding = await held(queue)
        claimed = await take(queue, holding, 1)
        following = await held(queue)
        assert await queue.settle([Settlement(holding, claimed.claim_id, elements={ID: 3})]) != [holding]
        assert left(raw) == {ID: 3}
        assert await queue.reclaim(following) == Reclaimed(3)
        assert all_jobs(await take(queue, following, 1)) == elements(3)


async def test_what_is_carried_over_is_carried_as_jobs(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(3))])
        holding = await held(queue)
        claimed = await take(queue, holding, 1)
        rest = list(map(encode_job, expand(elements(1), CAMPAIGN)))
        carried = f"{holding.fence}:2"
        await queue.settle(
            [Settlement(holding, claimed.claim_id, (), (), carried, [Run("high", "a", rest)], {ID: 3})]
        )
        assert left(raw) == {}
        assert await queue.reclaim(await held(queue)) == Reclaimed(1)
        assert raw.lrange(KEYS.ready(Lane.HIGH, "a"), 0, -1) == rest


async def test_elements_that_are_put_back_as_they_are_keep_their_record(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(2))])
        holding = await held(queue)
        claimed = await take(queue, holding, 1)
        back = [Retry(0, "high", "a", each) for each in elements(1)]
        await queue.settle([Settlement(holding, claimed.claim_id, back, elements={ID: 1})])
        assert left(raw) == {ID: 1}
        assert await queue.promote([SHARD], 1) == [(1, -1)]
        assert all_jobs(await take(queue, holding, 2)) == elements(1)


async def test_what_is_not_taken_leaves_no_record(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        assert await queue.enqueue([batch(elements(1), most=1)]) == [None]
        assert await queue.enqueue([batch(elements(3, OTHER), OTHER, most=1)]) == [Full.FLOW]
        assert await queue.enqueue([batch(elements(3, OTHER), OTHER)], 1) == [Full.SHARD]
        assert left(raw) == {ID: 1}


async def test_no_two_campaigns_share_an_id(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        another = encode_campaign(Campaign("com.other", b"{}"))
        assert await queue.enqueue([batch(elements(1))]) == [None]
        [answer] = await queue.enqueue([batch(elements(1, first=1), record=another)])
        assert isinstance(answer, StoreRefused)
        assert (left(raw), raw.llen(KEYS.ready(Lane.HIGH, "a"))) == ({ID: 1}, 1)


async def test_records_are_told_and_those_that_are_not_there_left_out(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(1))])
        raw.hset(KEYS.campaigns, OTHER, b"junk")
        connection = ScriptConnection(redis_url)
        records = Records(connection)
        assert await records.recall({SHARD: {ID, OTHER, b"none"}, 1: {ID}}) == {ID: CAMPAIGN}
        await connection.close()


async def die_with_all(queue: Queue, raw: redis_py.Redis, holding: Holding) -> Holding:
    """Claim what there is, whenever it is due, and be lost with it."""
    await queue.promote([SHARD], 10**14)
    await take(queue, holding, next(_numbers))
    following = await held(queue)
    await queue.reclaim(following)
    return following


async def test_poison_of_a_campaign_is_buried_as_a_job_that_can_be_read_and_sent_again(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(1))])
        holding = await held(queue)
        for _ in range(2):
            holding = await die_with_all(queue, raw, holding)
        assert left(raw) == {ID: 1}
        await die_with_all(queue, raw, holding)
        assert left(raw) == {}
    letters = DeadLetters(redis_url, SHARD + 1)
    [letter] = await letters.newest(Wanted(reason="Poison"), 10)
    assert [letter.job] == expand(elements(1), CAMPAIGN)
    assert (letter.tenant, letter.admitted_ms) == ("a", NOW_MS)
    assert raw.hexists(KEYS.deaths, letter.id)
    assert await letters.replay([letter]) == 1
    assert not raw.exists(KEYS.deaths)
    await letters.close()


@pytest.mark.parametrize("known", [True, False])
async def test_elements_of_a_tenant_that_wants_nothing_twice_are_buried_after_a_death(
    redis_url: str, raw: redis_py.Redis, known: bool
) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(2)), batch(elements(1, OTHER), OTHER)])
        raw.sadd(KEYS.once, "a")
        if not known:
            raw.delete(KEYS.campaigns, KEYS.left)
        await die_with_all(queue, raw, await held(queue))
        assert left(raw) == {}
    letters = DeadLetters(redis_url, SHARD + 1)
    found = await letters.newest(Wanted(), 10)
    # by its id a letter is found even if nobody knows any more what it said
    ids = {apns_id_of(each).decode() for each in (*elements(2), *elements(1, OTHER))}
    assert {letter.id for letter in found} == ids
    assert [letter.job is not None for letter in found] == [known] * 3
    await letters.close()


async def test_deaths_of_an_element_and_of_its_job_are_one_pushs(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(1))])
        await die_with_all(queue, raw, await held(queue))
        [job] = expand(elements(1), CAMPAIGN)
        assert raw.hgetall(KEYS.deaths) == {job.id: b"1"}


async def test_the_oldest_push_may_be_a_campaigns(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue([batch(elements(2))])
        job = encode_job(Job(b"1", b"00", "t", b"{}", admitted_ms=NOW_MS + 5))
        await queue.enqueue([Batch(0, Lane.HIGH, "a", [job])])
        connection = ScriptConnection(redis_url)
        assert (await Surveys(connection).take(SHARD + 1)).oldest_ms == {"high": NOW_MS}
        await connection.close()


def test_a_job_is_no_element() -> None:
    with pytest.raises(ValueError):
        decode_job(elements(1)[0])
