"""The verbs of the queues on a real Redis: what goes in comes out, in order, in turn and once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis as redis_py
from words import all_jobs, jobs, opened, portions, take

from shards import queue as queue_module
from shards.claim import Burial, Fenced, Holding, Reclaimed, Retry, Run, Settlement
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import CLAIM_MOST, Batch, Queue
from shards.redis import listening

SHARD = 7
KEYS = shard_keys(SHARD)
HIGH, LOW = Lane.HIGH, Lane.LOW


async def fill(queue: Queue, *batches: tuple[Lane, str, int]) -> Holding:
    """Enqueue so many jobs for each lane and tenant, take the shard over and return the holding."""
    stored = await queue.enqueue(
        [Batch(SHARD, lane, name, jobs(name, count)) for lane, name, count in batches]
    )
    assert stored == [None] * len(batches)
    [holding] = await queue.acquire([SHARD])
    return holding


async def test_jobs_are_claimed_in_the_order_in_which_they_were_enqueued(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "acme", 5))
        await queue.enqueue([Batch(SHARD, HIGH, "acme", jobs("acme", 5, first=5))])
        first = await take(queue, holding, 1, most=7)
        second = await take(queue, holding, 2)
        assert all_jobs(first) + all_jobs(second) == jobs("acme", 10)
        assert (first.asleep, second.asleep) == (False, True)


async def test_one_call_spans_shards_lanes_and_tenants(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        await queue.enqueue(
            [
                Batch(1, HIGH, "acme", [b"one"]),
                Batch(2, LOW, "acme", [b"two"]),
                Batch(2, LOW, "zeta", [b"three"]),
            ]
        )
        holdings = await queue.acquire([1, 2])
        wanted = [(holding, f"{holding.fence}:1", 10) for holding in holdings]
        claims = await queue.claim(wanted, quantum=1, low_share=0.0)
        assert [claim.runs for claim in claims if not isinstance(claim, Exception | Fenced)] == [
            [Run("high", "acme", [b"one"])],
            [Run("low", "acme", [b"two"]), Run("low", "zeta", [b"three"])],
        ]


async def test_the_high_lane_goes_first_and_leaves_the_low_lane_its_share(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (LOW, "mail", 100), (HIGH, "chat", 100))
        claimed = await take(queue, holding, 1, most=50, low_share=0.2)
        assert portions(claimed) == [("high", "chat", 40), ("low", "mail", 10)]


async def test_what_one_lane_cannot_fill_goes_to_the_other(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (LOW, "mail", 3), (HIGH, "chat", 60))
        claimed = await take(queue, holding, 1, most=50, low_share=0.2)
        assert portions(claimed) == [("high", "chat", 40), ("low", "mail", 3), ("high", "chat", 7)]
        await queue.enqueue([Batch(SHARD, LOW, "mail", jobs("mail", 40))])
        claimed = await take(queue, holding, 2, most=50, low_share=0.2)
        assert portions(claimed) == [("high", "chat", 13), ("low", "mail", 37)]


@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("low_share", [0.1, 0.15, 0.3, 0.4])
async def test_the_low_lane_has_its_share_of_claims_of_any_size(
    redis_url: str, low_share: float, most: int
) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (LOW, "mail", 400), (HIGH, "chat", 400))
        claims = [await take(queue, holding, n, most=most, low_share=low_share) for n in range(100)]
        low = sum(jobs for claimed in claims for lane, _, jobs in portions(claimed) if lane == "low")
        # of a single job no more than one can be owed, so a little is forgotten
        assert low_share * 0.8 <= low / (100 * most) <= low_share


async def test_many_small_claims_leave_the_low_lane_its_share_too(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (LOW, "mail", 100), (HIGH, "chat", 100))
        lanes = [portions(await take(queue, holding, n, most=1, low_share=0.25))[0][0] for n in range(20)]
        assert lanes == ["high", "high", "high", "low"] * 5


async def test_tenants_take_turns_of_one_quantum(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 25), (HIGH, "b", 4), (HIGH, "c", 25))
        for number, turns in enumerate(([("a", 10), ("b", 4), ("c", 10)], [("a", 10), ("c", 10)])):
            claimed = await take(queue, holding, number, quantum=10)
            assert portions(claimed) == [("high", flow, count) for flow, count in turns]


async def test_a_turn_that_the_end_of_a_claim_interrupts_is_finished_in_the_next(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 100), (HIGH, "b", 100))
        served = [portions(await take(queue, holding, number, most=7, quantum=10)) for number in range(4)]
        assert [(flow, count) for claim in served for _, flow, count in claim] == [
            ("a", 7), ("a", 3), ("b", 4), ("b", 6), ("a", 1), ("a", 7),
        ]  # fmt: skip


async def test_turns_go_on_from_claim_to_claim(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 100), (HIGH, "b", 100), (HIGH, "c", 100))
        served = [portions(await take(queue, holding, n, most=10, quantum=10)) for n in range(4)]
        assert served == [[("high", tenant, 10)] for tenant in "abca"]


async def test_a_flow_alone_has_one_turn_in_a_claim_too(redis_url: str) -> None:
    # so that a worker which claims from many shards in turn is fair across them
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 100))
        claimed = await take(queue, holding, 1, most=70, quantum=10)
        assert (portions(claimed), claimed.asleep) == ([("high", "a", 10)], False)


async def test_tenants_passed_over_keep_their_jobs_and_the_shard_is_asleep(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 5), (HIGH, "b", 5), (LOW, "a", 5))
        claimed = await take(queue, holding, 1, rooms=[("a", 0)])
        assert (portions(claimed), claimed.asleep) == ([("high", "b", 5)], True)
        claimed = await take(queue, holding, 2)
        assert all_jobs(claimed) == jobs("a", 5) + jobs("a", 5)


async def test_a_tenant_passed_over_takes_no_turn_from_the_others(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 100), (HIGH, "b", 100), (HIGH, "c", 100))
        for number in range(10):
            claimed = await take(queue, holding, number, quantum=10, rooms=[("a", 0)])
            assert portions(claimed) == [("high", "b", 10), ("high", "c", 10)]
        assert claimed.asleep


async def test_no_more_of_a_flow_is_claimed_than_there_is_room_for(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 30), (LOW, "a", 30), (HIGH, "b", 5))
        claimed = await take(queue, holding, 1, rooms=[("a", 40)])
        assert portions(claimed) == [("high", "a", 30), ("high", "b", 5), ("low", "a", 10)]
        assert claimed.asleep


async def test_a_ready_list_deleted_by_hand_costs_nobody_else_a_job(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 5), (HIGH, "b", 5), (HIGH, "c", 5))
        raw.delete(KEYS.ready(HIGH, "b"))
        claims = [await take(queue, holding, number, quantum=2) for number in range(3)]
        assert sorted(job for each in claims for job in all_jobs(each)) == jobs("a", 5) + jobs("c", 5)
        assert claims[-1].asleep


async def heard(rings: AsyncIterator[tuple[str, str]], raw: redis_py.Redis) -> int:
    """How often the bell has rung."""
    # whatever rang must arrive before this
    await asyncio.to_thread(raw.publish, KEYS.bell, "end")
    count = 0
    while await anext(rings) != (KEYS.bell, "end"):
        count += 1
    return count


async def test_the_bell_rings_once_for_each_sleep(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue, listening(redis_url, [KEYS.bell]) as rings:
        holding = await fill(queue, (HIGH, "a", 1))
        for number in (1, 2):
            assert (await take(queue, holding, number)).asleep
            for flow in ("a", "a", "b"):
                await queue.enqueue([Batch(SHARD, LOW, flow, [b"job"])])
            assert await heard(rings, raw) == 1


async def test_while_a_shard_is_awake_the_bell_rings_for_a_flow_that_was_not_there(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue, listening(redis_url, [KEYS.bell]) as rings:
        holding = await fill(queue, (HIGH, "a", 30))
        assert await heard(rings, raw) == 0
        assert not (await take(queue, holding, 1, most=10)).asleep
        await queue.enqueue([Batch(SHARD, HIGH, "a", [b"job"])])
        assert await heard(rings, raw) == 0
        # in the other lane, too; but once for a claim
        for lane, flow in ((LOW, "a"), (HIGH, "b"), (LOW, "b")):
            await queue.enqueue([Batch(SHARD, lane, flow, [b"job"])])
        assert await heard(rings, raw) == 1
        assert not (await take(queue, holding, 2, most=10)).asleep
        await queue.enqueue([Batch(SHARD, HIGH, "c", [b"job"])])
        assert await heard(rings, raw) == 1


async def test_a_settled_claim_leaves_nothing_behind(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 10))
        claimed = await take(queue, holding, 1, most=5)
        assert raw.exists(KEYS.claim(claimed.claim_id))
        assert await queue.settle([Settlement(holding, claimed.claim_id)]) == [holding]
        await queue.settle([Settlement(holding, (await take(queue, holding, 2)).claim_id)])
        assert set(raw.keys()) == {
            KEYS.fence.encode(),
            KEYS.lease.encode(),
            KEYS.unrung.encode(),
            KEYS.depth.encode(),
        }


async def test_retries_wait_until_due_and_then_go_to_the_head(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 4), (LOW, "b", 1))
        claimed = await take(queue, holding, 1)
        retries = [
            Retry(2_000, "high", "a", b"a1"),
            Retry(1_000, "high", "a", b"a0|with a bar"),
            Retry(9_000, "low", "b", b"b0"),
        ]
        await queue.settle([Settlement(holding, claimed.claim_id, retries)])
        await queue.enqueue([Batch(SHARD, HIGH, "a", [b"newer"])])
        assert await queue.promote([SHARD], 999) == [(0, 1_000)]
        assert await queue.promote([SHARD], 2_000) == [(2, 9_000)]
        assert all_jobs(await take(queue, holding, 2)) == [b"a0|with a bar", b"a1", b"newer"]
        assert await queue.promote([SHARD], 9_000) == [(1, -1)]
        assert portions(await take(queue, holding, 3)) == [("low", "b", 1)]


async def test_promote_takes_no_more_than_it_is_asked_to(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 5))
        claimed = await take(queue, holding, 1)
        retries = [Retry(1_000 + at, "high", "a", job) for at, job in enumerate(jobs("a", 5))]
        await queue.settle([Settlement(holding, claimed.claim_id, retries)])
        assert await queue.promote([SHARD], 5_000, most=3) == [(3, 1_003)]
        assert all_jobs(await take(queue, holding, 2)) == jobs("a", 3)


async def test_a_buried_job_lies_in_the_dead_stream_with_its_reason(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 1))
        claimed = await take(queue, holding, 1)
        burial = Burial("a", "BadDeviceToken", 1_700_000_000_000, b"a0")
        await queue.settle([Settlement(holding, claimed.claim_id, (), [burial])])
        [(_, fields)] = raw.xrange(KEYS.dead)
        assert fields == {
            b"tenant": b"a",
            b"reason": b"BadDeviceToken",
            b"at_ms": b"1700000000000",
            b"job": b"a0",
            b"lane": b"high",
            b"status": b"0",
            b"timestamp_ms": b"0",
            b"attempts": b"0",
            b"admitted_ms": b"0",
        }
        assert not raw.exists(KEYS.dead_tokens)


async def test_a_dead_token_is_reported_apart_too(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (LOW, "a", 2))
        claimed = await take(queue, holding, 1)
        plain = Burial("a", "PayloadTooLarge", 1_000, b"a0", "low", 413, 0, 1, 900)
        token = Burial(
            "a", "Unregistered", 1_000, b"a1", "low", 410, 800, 2, 900, b"00fc", "com.a", "sandbox"
        )
        await queue.settle([Settlement(holding, claimed.claim_id, (), [plain, token])])
        [(_, first), (_, second)] = raw.xrange(KEYS.dead)
        assert (first[b"reason"], first[b"status"], first[b"attempts"]) == (b"PayloadTooLarge", b"413", b"1")
        assert (second[b"lane"], second[b"timestamp_ms"], second[b"admitted_ms"]) == (b"low", b"800", b"900")
        [(_, dead)] = raw.xrange(KEYS.dead_tokens)
        assert dead == {
            b"tenant": b"a",
            b"token": b"00fc",
            b"topic": b"com.a",
            b"environment": b"sandbox",
            b"reason": b"Unregistered",
            b"timestamp_ms": b"800",
        }


async def test_the_dead_are_forgotten_by_age(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        for stream in (KEYS.dead, KEYS.dead_tokens):
            for at_ms in (1_000, 2_000, 3_000):
                raw.xadd(stream, {"tenant": "a"}, id=f"{at_ms}-0")
        assert await queue.trim_dead([SHARD, SHARD + 1], 2_000) == 2
        for stream in (KEYS.dead, KEYS.dead_tokens):
            assert [entry for entry, _ in raw.xrange(stream)] == [b"2000-0", b"3000-0"]


async def test_the_dead_stream_is_capped(
    redis_url: str, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "DEAD_LENGTH", 100)
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 1_000))
        claimed = await take(queue, holding, 1)
        burials = [Burial("a", "Unregistered", 1, job) for job in all_jobs(claimed)]
        await queue.settle([Settlement(holding, claimed.claim_id, (), burials)])
        # Redis trims whole nodes of 100 entries, so about 100 means up to 200
        assert 100 <= raw.xlen(KEYS.dead) <= 200
        [(_, newest)] = raw.xrevrange(KEYS.dead, count=1)
        assert newest[b"job"] == b"a999"


async def test_settling_twice_changes_nothing(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", 2))
        claimed = await take(queue, holding, 1)
        settlement = Settlement(
            holding,
            claimed.claim_id,
            [Retry(1_000, "high", "a", b"a0")],
            [Burial("a", "Unregistered", 1, b"a1")],
        )
        assert await queue.settle([settlement]) == [holding]
        assert await queue.promote([SHARD], 1_000) == [(1, -1)]
        assert await queue.settle([settlement, settlement]) == [holding, holding]
        assert (raw.zcard(KEYS.waiting), raw.xlen(KEYS.dead)) == (0, 1)


async def test_a_lower_fence_can_neither_claim_nor_settle_nor_reclaim(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        earlier = await fill(queue, (HIGH, "a", 10))
        claimed = await take(queue, earlier, 1, most=4)
        [later] = await queue.acquire([SHARD])
        assert int(later.fence.split(".")[0]) == int(earlier.fence.split(".")[0]) + 1
        assert await queue.claim([(earlier, "1:2", 5)], quantum=5, low_share=0.0) == [Fenced(earlier)]
        assert await queue.settle([Settlement(earlier, claimed.claim_id)]) == [Fenced(earlier)]
        assert await queue.reclaim(earlier) == Fenced(earlier)
        assert await queue.reclaim(later) == Reclaimed(4)
        assert all_jobs(await take(queue, later, 1)) == jobs("a", 10)


async def test_reclaim_gives_everything_back_in_the_old_order(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        first = await fill(queue, (HIGH, "a", 200), (HIGH, "b", 200), (LOW, "a", 200))
        # more than nine claims, because 10 comes after 9 and not after 1
        for number in range(1, 13):
            await take(queue, first, number, most=20, quantum=10, low_share=0.4)
        [second] = await queue.acquire([SHARD])
        for number in range(1, 4):
            await take(queue, second, number, most=20, quantum=10, low_share=0.4)
        [third] = await queue.acquire([SHARD])
        assert await queue.reclaim(third) == Reclaimed(15 * 20)
        claimed = await take(queue, third, 1, most=600)
        for lane, tenant in (("high", "a"), ("high", "b"), ("low", "a")):
            runs = [run.jobs for run in claimed.runs if (run.lane, run.flow) == (lane, tenant)]
            assert [job for run in runs for job in run] == jobs(tenant, 200)


async def test_reclaim_leaves_the_callers_own_claims(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        earlier = await fill(queue, (HIGH, "a", 10))
        await take(queue, earlier, 1, most=3)
        [later] = await queue.acquire([SHARD])
        own = await take(queue, later, 1, most=4)
        assert await queue.reclaim(later) == Reclaimed(3)
        assert raw.smembers(KEYS.claims) == {own.claim_id.encode()}
        assert all_jobs(await take(queue, later, 2)) == [*jobs("a", 3), *jobs("a", 3, first=7)]


async def test_a_batch_may_be_larger_than_what_lua_unpacks(redis_url: str) -> None:
    count = 2 * 8_000 + 1
    async with opened(redis_url) as queue:
        holding = await fill(queue, (HIGH, "a", count))
        claims = [await take(queue, holding, number, most=count, quantum=count) for number in range(1, 6)]
        assert [len(all_jobs(claimed)) for claimed in claims] == [CLAIM_MOST] * 4 + [count - 4 * CLAIM_MOST]
        [later] = await queue.acquire([SHARD])
        assert await queue.reclaim(later) == Reclaimed(count)
        assert all_jobs(await take(queue, later, 1, most=count)) == jobs("a", CLAIM_MOST)


async def test_a_claim_of_as_many_tenants_as_jobs_is_not_too_large(redis_url: str) -> None:
    async with opened(redis_url) as queue:
        holding = await fill(queue, *((HIGH, f"t{number}", 1) for number in range(CLAIM_MOST + 10)))
        claimed = await take(queue, holding, 1, most=CLAIM_MOST + 10)
        assert len(claimed.runs) == CLAIM_MOST
        assert not claimed.asleep
