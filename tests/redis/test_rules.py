"""Weights, rates and pauses: what each shard knows of a tenant, and what claims make of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import redis as redis_py
from redis_server import RedisServer
from words import jobs, opened, portions, take

from shards import keys
from shards.api_key import new_api_key
from shards.claim import Holding
from shards.errors import AlreadyExists, NotFound, StoreRefused
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import listening
from shards.tenant import Limits, Tenant
from shards.tenants import DEFAULT_SHARDS, Tenants

SHARD = 5
KEYS = shard_keys(SHARD)


@dataclass
class Desk:
    queue: Queue
    tenants: Tenants
    holding: Holding
    claims: int = 0

    async def take(self, most: int = 1_000, quantum: int = 10, **how: Any) -> list[tuple[str, str, int]]:
        self.claims += 1
        return portions(await take(self.queue, self.holding, self.claims, most, quantum=quantum, **how))


async def desk(queue: Queue, url: str, *names: str, each: int = 400, lane: Lane = Lane.HIGH) -> Desk:
    """Tenants with so many jobs each."""
    tenants = Tenants(url)
    for name in names:
        await tenants.create(Tenant(name), *new_api_key())
    await queue.enqueue([Batch(SHARD, lane, name, jobs(name, each)) for name in names])
    [holding] = await queue.acquire([SHARD])
    return Desk(queue, tenants, holding)


async def limit(tenants: Tenants, name: str, **limits: float) -> None:
    await tenants.change(name, lambda tenant: Tenant(tenant.id, limits=Limits(**limits)))  # type: ignore[arg-type]


async def test_flows_are_served_in_the_ratio_of_their_weights(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", "b", "c")
        await limit(at.tenants, "b", weight=2)
        await limit(at.tenants, "c", weight=4)
        served = {"a": 0, "b": 0, "c": 0}
        # a claim that ends in the middle of a turn takes nothing from whoever it was
        for _ in range(25):
            for _, flow, count in await at.take(most=23):
                served[flow] += count
        assert sum(served.values()) == 25 * 23
        share = sum(served.values()) / 7
        # within one turn, wherever it ends
        for flow, weight in (("a", 1), ("b", 2), ("c", 4)):
            assert abs(served[flow] - weight * share) <= 10 * weight
        await at.tenants.close()


async def test_a_paused_lane_gives_nothing_and_the_other_goes_on(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", "b", each=5)
        await queue.enqueue([Batch(SHARD, Lane.LOW, "a", jobs("a", 5))])
        await at.tenants.change("a", lambda tenant: Tenant("a", paused=("high",)))
        assert await at.take() == [("high", "b", 5), ("low", "a", 5)]
        assert await at.take() == []
        await at.tenants.change("a", lambda tenant: Tenant("a"))
        assert await at.take() == [("high", "a", 5)]
        await at.tenants.close()


async def test_a_disabled_tenant_gives_nothing(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", "b", each=5)
        await at.tenants.change("a", lambda tenant: Tenant("a", disabled=True))
        assert await at.take() == [("high", "b", 5)]
        await at.tenants.close()


async def test_whatever_may_bring_work_wakes_a_shard_that_sleeps(redis_url: str) -> None:
    async with opened(redis_url) as queue, listening(redis_url, [KEYS.bell]) as rings:
        at = await desk(queue, redis_url, "a", each=5)
        await at.tenants.change("a", lambda tenant: Tenant("a", paused=("high", "low")))
        assert await at.take() == []
        await at.tenants.change("a", lambda tenant: Tenant("a"))
        assert await anext(rings) == (KEYS.bell, "")
        await at.tenants.close()


async def test_a_rate_is_kept_and_the_claim_says_when_there_is_more(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", "b", each=100)
        await limit(at.tenants, "a", send_per_s=80)
        # 80 a second over 4 shards, a quarter of a second's worth at once
        first = await take(queue, at.holding, 1)
        assert portions(first) == [("high", "a", 5), ("high", "b", 100)]
        assert first.asleep and 0 < first.again_s <= 0.05
        # ten seconds later, by the budget's own account, it is full again and no fuller
        budget, at_ms = raw.hget(KEYS.budgets, "a").split()
        raw.hset(KEYS.budgets, "a", b"%s %d" % (budget, int(at_ms) - 10_000))
        assert portions(await take(queue, at.holding, 2)) == [("high", "a", 5)]
        await at.tenants.close()


async def test_a_rate_goes_on_when_the_clock_of_redis_is_set_back(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", each=100)
        await limit(at.tenants, "a", send_per_s=80)
        assert await at.take() == [("high", "a", 5)]
        budget, at_ms = raw.hget(KEYS.budgets, "a").split()
        raw.hset(KEYS.budgets, "a", b"%s %d" % (budget, int(at_ms) + 3_600_000))
        assert await at.take() == []
        await asyncio.sleep(0.06)
        assert [flow for _, flow, _ in await at.take()] == ["a"]
        await at.tenants.close()


async def test_a_change_of_spread_moves_the_rate_with_it(redis_url: str, raw: redis_py.Redis) -> None:
    tenants = Tenants(redis_url)
    await tenants.create(Tenant("a", limits=Limits(send_per_s=80), spread=4), *new_api_key())
    assert raw.hget(KEYS.rules, "a") == b"1 20 none"
    await tenants.change("a", lambda tenant: Tenant("a", limits=tenant.limits, spread=8))
    assert raw.hget(KEYS.rules, "a") == b"1 10 none"
    await tenants.close()


async def test_a_tenant_like_most_leaves_nothing_in_the_shards(redis_url: str, raw: redis_py.Redis) -> None:
    tenants = Tenants(redis_url)
    await tenants.create(Tenant("a"), *new_api_key())
    assert set(raw.keys()) == {each.encode() for each in (keys.TENANTS, keys.API_KEYS, keys.LAYOUT)}
    await tenants.change("a", lambda tenant: Tenant("a", in_doubt="bury", limits=Limits(weight=3)))
    assert raw.smembers(KEYS.once) == {b"a", b"a/sandbox"}
    assert raw.hgetall(KEYS.rules) == {b"a": b"3 0 none", b"a/sandbox": b"3 0 none"}
    await tenants.delete("a")
    assert not raw.exists(KEYS.once, KEYS.rules, keys.TENANTS, keys.API_KEYS)
    await tenants.close()


@contextmanager
def may_write_only(raw: redis_py.Redis, *patterns: str) -> Iterator[None]:
    """What Redis refuses is refused half-way, as when it loses its memory or its disk between two calls."""
    raw.execute_command(
        "ACL", "SETUSER", "default", "resetkeys", *(f"%RW~{each}" for each in patterns), "%R~*"
    )
    try:
        yield
    finally:
        raw.execute_command("ACL", "SETUSER", "default", "allkeys")


def told(raw: redis_py.Redis, flow: str = "a") -> set[bytes | None]:
    """What the shards are told of a flow."""
    return {raw.hget(shard_keys(shard).rules, flow) for shard in range(DEFAULT_SHARDS)}


def paused(tenant: Tenant) -> Tenant:
    return msgspec.structs.replace(tenant, paused=("high", "low"))


def resumed(tenant: Tenant) -> Tenant:
    return msgspec.structs.replace(tenant, paused=())


async def test_a_change_that_is_not_stored_is_not_in_force(own_server: RedisServer) -> None:
    with redis_py.Redis.from_url(own_server.url) as raw:
        tenants = Tenants(own_server.url)
        await tenants.create(Tenant("a"), *new_api_key())
        with may_write_only(raw, "clarion:{*", keys.LAYOUT), pytest.raises(StoreRefused):
            await tenants.change("a", paused)
        assert (await tenants.get("a")).paused == ()
        assert told(raw) == {None}
        await tenants.close()


@pytest.mark.parametrize("next_one", [paused, resumed])
async def test_a_change_that_some_shards_did_not_hear_of_is_made_again_or_undone(
    next_one: Callable[[Tenant], Tenant], own_server: RedisServer
) -> None:
    with redis_py.Redis.from_url(own_server.url) as raw:
        tenants = Tenants(own_server.url)
        await tenants.create(Tenant("a"), *new_api_key())
        with (
            may_write_only(raw, "clarion:{0*", keys.LAYOUT, keys.TENANTS, keys.CHANGES),
            pytest.raises(StoreRefused),
        ):
            await tenants.change("a", paused)
        assert told(raw) == {None, b"1 0 both"}
        # whoever looks sees that it is to be paused
        assert (await tenants.get("a")).paused == ("high", "low")
        await tenants.change("a", next_one)
        assert told(raw) == {b"1 0 both" if next_one is paused else None}
        await tenants.close()


async def test_any_change_puts_right_what_a_killed_process_left_in_the_shards(
    redis_url: str, raw: redis_py.Redis
) -> None:
    tenants = Tenants(redis_url)
    await tenants.create(Tenant("a"), *new_api_key())
    raw.hset(KEYS.rules, "a", "1 0 both")
    raw.sadd(KEYS.once, "a")
    await tenants.change("a", lambda tenant: msgspec.structs.replace(tenant, topics=("com.a",)))
    assert told(raw) == {None}
    assert not raw.exists(KEYS.once)
    await tenants.close()


async def test_shards_say_what_the_record_says_after_any_number_of_changes_at_once(
    redis_url: str, raw: redis_py.Redis
) -> None:
    everybody = [Tenants(redis_url) for _ in range(4)]
    await everybody[0].create(Tenant("a"), *new_api_key())

    async def change(tenants: Tenants, first: int) -> None:
        for weight in range(first, first + 10):
            await limit(tenants, "a", weight=weight)

    await asyncio.gather(*(change(tenants, 100 * number) for number, tenants in enumerate(everybody, 1)))
    limits = (await everybody[0].get("a")).limits
    assert told(raw) == {b"%d 0 none" % limits.weight}
    for tenants in everybody:
        await tenants.close()


async def test_a_change_beside_a_removal_leaves_nothing_to_the_next_tenant_of_that_name(
    redis_url: str, raw: redis_py.Redis
) -> None:
    tenants = Tenants(redis_url)
    await tenants.create(Tenant("a"), *new_api_key())

    def paused_too_late(tenant: Tenant) -> Tenant:
        raw.hdel(keys.TENANTS, "a")
        return paused(tenant)

    with pytest.raises(NotFound):
        await tenants.change("a", paused_too_late)
    assert told(raw) == {None}
    await tenants.close()


@pytest.mark.parametrize("plain_first", [True, False])
async def test_of_two_creations_of_one_name_the_shards_say_what_the_stored_one_says(
    plain_first: bool, redis_url: str, raw: redis_py.Redis
) -> None:
    one, other = Tenants(redis_url), Tenants(redis_url)
    made = [Tenant("a"), Tenant("a", in_doubt="bury", limits=Limits(send_per_s=4))]
    first, second = made if plain_first else reversed(made)
    for _ in range(10):
        calls = [one.create(first, *new_api_key()), other.create(second, *new_api_key())]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [AlreadyExists]
        stored = await one.get("a")
        assert told(raw) == {None if stored.in_doubt == "resend" else b"1 1 none"}
        assert raw.exists(KEYS.once) == (stored.in_doubt == "bury")
        await one.delete("a")
    await one.close()
    await other.close()


async def test_what_a_killed_process_left_of_a_name_does_not_go_to_the_next_tenant(
    redis_url: str, raw: redis_py.Redis
) -> None:
    tenants = Tenants(redis_url)
    raw.hset(KEYS.rules, "a", "1 0 both")
    raw.sadd(KEYS.once, "a")
    await tenants.create(Tenant("a"), *new_api_key())
    assert told(raw) == {None}
    assert not raw.exists(KEYS.once)
    # and a name that is taken is put right, too
    raw.hset(KEYS.rules, "a", "1 0 both")
    with pytest.raises(AlreadyExists):
        await tenants.create(Tenant("a"), *new_api_key())
    assert told(raw) == {None}
    await tenants.close()


async def test_a_change_of_something_else_keeps_what_is_left_of_a_rate_and_wakes_nobody(
    redis_url: str, raw: redis_py.Redis
) -> None:
    tenants = Tenants(redis_url)
    await tenants.create(Tenant("a", limits=Limits(send_per_s=80)), *new_api_key())
    raw.hset(KEYS.budgets, "a", "0.5 1")
    raw.set(KEYS.unrung, "asleep")
    await tenants.change("a", lambda tenant: msgspec.structs.replace(tenant, topics=("com.a",)))
    assert raw.hget(KEYS.budgets, "a") == b"0.5 1"
    assert raw.get(KEYS.unrung) == b"asleep"
    await tenants.close()


@pytest.mark.parametrize("low_share", [0.1, 0.25, 0.5])
async def test_the_low_lane_has_its_share_in_the_long_run(redis_url: str, low_share: float) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", "b")
        await queue.enqueue([Batch(SHARD, Lane.LOW, "c", jobs("c", 400))])
        low = 0
        for _ in range(20):
            low += sum(
                n for lane, _, n in await at.take(17, quantum=40, low_share=low_share) if lane == "low"
            )
        # less than one job of a claim apart
        assert abs(low - 20 * 17 * low_share) < 20
        await at.tenants.close()


@pytest.mark.parametrize("room", [1, 3, 10])
@pytest.mark.parametrize("low_share", [0.1, 0.5])
async def test_a_flow_shares_the_room_that_there_is_for_it_among_its_lanes(
    redis_url: str, low_share: float, room: int
) -> None:
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a")
        await queue.enqueue([Batch(SHARD, Lane.LOW, "a", jobs("a", 400))])
        served = {"high": 0, "low": 0}
        for _ in range(300 // room):
            for lane, _, count in await at.take(100, quantum=40, low_share=low_share, rooms=[("a", room)]):
                served[lane] += count
        assert sum(served.values()) == 300 // room * room
        assert abs(served["low"] - 300 * low_share) <= room + 1
        await at.tenants.close()


@pytest.mark.parametrize(("in_low", "paused", "of_low"), [(1, (), 1), (5, ("low",), 0)])
async def test_a_high_lane_keeps_no_room_for_what_its_low_lane_cannot_give(
    redis_url: str, in_low: int, paused: tuple[str, ...], of_low: int
) -> None:
    """Else the shard would rest, and the flow with it, though there is room for its jobs."""
    async with opened(redis_url) as queue:
        at = await desk(queue, redis_url, "a", each=3)
        await queue.enqueue([Batch(SHARD, Lane.LOW, "a", jobs("a", in_low))])
        await at.tenants.change("a", lambda tenant: Tenant(tenant.id, paused=paused))
        served = {"high": 0, "low": 0}
        for lane, _, count in await at.take(100, low_share=1.0, rooms=[("a", 3)]):
            served[lane] += count
        assert served == {"high": 3 - of_low, "low": of_low}
        await at.tenants.close()
