"""Who lives and who holds a shard, as Redis says to members that ask: by its clock, which may be set back."""

import asyncio
import time

import pytest
import redis as redis_py
from words import opened

from shards.claim import Holding, Taken
from shards.keys import MEMBERS, shard_keys
from shards.queue import Queue
from shards.redis import ScriptConnection

LEASE_S = 1.0


async def test_only_one_of_many_that_ask_at_once_gets_the_shard(redis_url: str) -> None:
    connections = [ScriptConnection(redis_url) for _ in range(10)]
    answers = await asyncio.gather(
        *(Queue(connection).acquire([0], f"m{number}", 5.0) for number, connection in enumerate(connections))
    )
    got = [answer for [answer] in answers if isinstance(answer, Holding)]
    assert len(got) == 1
    assert sum(isinstance(answer, Taken) for [answer] in answers) == 9
    for connection in connections:
        await connection.close()


@pytest.mark.parametrize("left_s", [None, -0.1, 0.4])
async def test_who_was_not_heard_for_half_a_term_takes_those_it_knew_to_live(
    redis_url: str, raw: redis_py.Redis, left_s: float | None
) -> None:
    if left_s is not None:
        raw.zadd(MEMBERS, {"a": 1000 * (time.time() + LEASE_S * left_s)})
    async with opened(redis_url) as queue:
        members = await queue.announce("a", LEASE_S, ["a", "b"])
    assert set(members.live) == {"a", "b"} and members.heard == ["a"]


async def test_one_that_is_dead_does_not_live_for_as_long_as_another_is_late(
    redis_url: str, raw: redis_py.Redis
) -> None:
    known = ["a", "dead"]
    seen = []
    async with opened(redis_url) as queue:
        for _ in range(3):
            # late by more than half a term each time, and what "dead" had has lapsed each time
            raw.zrem(MEMBERS, "a", *["dead"] * bool(seen))
            members = await queue.announce("a", LEASE_S, known)
            known = list(members.heard)
            seen.append("dead" in members.live)
    assert seen == [True, False, False]


async def test_one_that_is_dead_does_not_live_until_a_clock_that_was_set_back_is_there_again(
    redis_url: str, raw: redis_py.Redis
) -> None:
    ahead_ms = 1000 * (time.time() + 3600)
    raw.zadd(MEMBERS, {"a": ahead_ms, "b": ahead_ms, "dead": ahead_ms})
    async with opened(redis_url) as queue:
        for name in ("a", "b"):
            members = await queue.announce(name, LEASE_S, ["a", "b", "dead"])
            # nobody is given up for the step alone
            assert sorted(members.live) == ["a", "b", "dead"]
    assert sorted(members.heard) == ["a", "b"]
    assert raw.zscore(MEMBERS, "dead") <= 1000 * (time.time() + LEASE_S) + 1


async def test_the_lease_of_one_that_is_dead_is_no_longer_than_any_when_the_clock_was_set_back(
    redis_url: str, raw: redis_py.Redis
) -> None:
    lease = shard_keys(0).lease
    async with opened(redis_url) as queue:
        for left_ms, most_ms in ((3_600_000, 300_000), (5_000, 5_000)):
            raw.set(lease, "dead", px=left_ms)
            assert await queue.acquire([0], "a", LEASE_S) == [Taken(0, "dead")]
            assert 0 < raw.pttl(lease) <= most_ms


async def test_who_was_heard_in_time_takes_nobody_to_live_that_said_nothing(
    redis_url: str, raw: redis_py.Redis
) -> None:
    raw.zadd(MEMBERS, {"a": 1000 * (time.time() + 10 * LEASE_S), "b": 1000 * (time.time() - 0.1)})
    async with opened(redis_url) as queue:
        assert await queue.announce("a", LEASE_S, ["a", "b"]) == (["a"], ["a"])
