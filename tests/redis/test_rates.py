"""The bucket of a tenant's rate on a real Redis: what is granted, on credit too, and how it fills by Redis' clock."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis as redis_py
from redis_server import RedisServer

from shards.errors import StoreUnavailable
from shards.grant import Ask, Grant
from shards.keys import rate_key
from shards.rates import Rates
from shards.redis import ScriptConnection

# fills by one push in 1,000 s, so not during a test
STILL = Ask("acme", 0.001, 10)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Rates]:
    connection = ScriptConnection(url)
    try:
        yield Rates(connection)
    finally:
        await connection.close()


async def ask(rates: Rates, wanted: Ask = STILL, **fields: int) -> Grant:
    [grant] = await rates.grant([wanted._replace(**fields)])
    assert isinstance(grant, Grant)
    return grant


def was(raw: redis_py.Redis, level: float, seconds_ago: float) -> None:
    """The bucket as somebody left it so long ago by Redis' clock; in the future for times below 0."""
    seconds, micros = raw.time()
    raw.set(rate_key("acme"), f"{level} {int(seconds * 1000 + micros / 1000 - seconds_ago * 1000)}")


async def test_it_is_full_at_first_and_gives_what_is_wanted_as_far_as_it_is_there(redis_url: str) -> None:
    async with opened(redis_url) as rates:
        assert await ask(rates, want=4) == Grant(4, 6, 0)
        assert (await ask(rates, want=40))[:2] == (6, 0)
        assert (await ask(rates, want=40))[:2] == (0, 0)


async def test_what_is_needed_is_given_whole_and_on_credit(redis_url: str) -> None:
    async with opened(redis_url) as rates:
        granted, remaining, wait_ms = await ask(rates, need=500, want=800)
        assert (granted, remaining) == (500, -490)
        assert wait_ms == pytest.approx(491_000_000, rel=1e-3)


async def test_in_debt_nothing_is_given_however_much_is_needed(redis_url: str) -> None:
    async with opened(redis_url) as rates:
        await ask(rates, need=11)
        for needed in (1, 500):
            assert (await ask(rates, need=needed, want=needed))[:2] == (0, -1)


async def test_less_than_one_push_is_nothing(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as rates:
        was(raw, 0.99, 0)
        granted, remaining, wait_ms = await ask(rates, need=1)
        assert (granted, remaining) == (0, 0) and wait_ms == pytest.approx(10_000, abs=500)
        was(raw, 1.0, 0)
        assert (await ask(rates, need=3))[:2] == (3, -2)


@pytest.mark.parametrize(
    ("level", "seconds_ago", "there"),
    [(0, 12, 6), (-20, 20, -10), (0, 3_600, 10), (7, 3_600, 10), (4, -60, 4)],
)
async def test_it_fills_with_time_up_to_its_burst_and_never_backwards(
    redis_url: str, raw: redis_py.Redis, level: float, seconds_ago: float, there: int
) -> None:
    async with opened(redis_url) as rates:
        was(raw, level, seconds_ago)
        granted, remaining, _ = await ask(rates, Ask("acme", 0.5, 10))
        # the test may be slow, and time passes in it too
        assert granted == 0 and there <= remaining <= min(10, there + 6)


async def test_who_waits_as_long_as_it_says_is_granted_something_and_not_before(
    redis_url: str, raw: redis_py.Redis
) -> None:
    wanted = Ask("acme", 50.0, 50)
    async with opened(redis_url) as rates:
        began_s, began_us = raw.time()
        assert await ask(rates, wanted, need=55) == Grant(55, -5, 120)
        deadline_s = time.monotonic() + 10
        while (await ask(rates, wanted, need=1)).granted == 0:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)
        ended_s, ended_us = raw.time()
        # Redis counts in ms
        assert (ended_s - began_s) * 1_000 + (ended_us - began_us) / 1_000 >= 110


async def test_what_comes_back_is_there_again_and_what_was_overdrawn_is_paid(redis_url: str) -> None:
    async with opened(redis_url) as rates:
        await ask(rates, want=8)
        assert await ask(rates, back=3) == Grant(0, 5, 0)
        assert await ask(rates, back=300) == Grant(0, 10, 0)
        assert (await ask(rates, back=-15))[:2] == (0, -5)


async def test_each_tenant_has_its_own_and_many_are_asked_at_once(redis_url: str) -> None:
    async with opened(redis_url) as rates:
        await ask(rates, want=10)
        asks = [STILL._replace(tenant=f"tenant-{number}", want=number % 9 + 1) for number in range(500)]
        assert [grant[:2] for grant in await rates.grant(asks)] == [
            (number % 9 + 1, 9 - number % 9) for number in range(500)
        ]


async def test_a_bucket_is_kept_until_it_is_full_and_no_longer(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as rates:
        await ask(rates, Ask("acme", 10.0, 1_000), need=1_100)
        assert 100_000 <= raw.pttl(rate_key("acme")) <= 111_000
        # so slow that its end is further away than Redis can count
        await ask(rates, Ask("slow", 1e-12, 10**9), need=10**9)
        assert 0 < raw.pttl(rate_key("slow")) <= 32 * 86_400_000


async def test_a_redis_out_of_memory_still_grants_so_that_the_queue_can_say_what_is_wrong(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as rates:
        assert redis_server.command("CONFIG SET maxmemory 1") == b"+OK\r\n"
        try:
            assert (await ask(rates, need=1)).granted == 1
        finally:
            assert redis_server.command("CONFIG SET maxmemory 0") == b"+OK\r\n"


async def test_without_redis_there_is_no_answer(own_server: RedisServer) -> None:
    async with opened(own_server.url) as rates:
        own_server.kill9()
        with pytest.raises(StoreUnavailable):
            await rates.grant([STILL])
