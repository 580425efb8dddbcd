"""The gatherer against a store that does what a test says: who shares a flight, and who learns what."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import msgspec
import pytest

from ingest.gather import Fate, Gatherer, Parcel, Stored, TurnedAway, Unstored, pack, placer
from shards.environment import Environment
from shards.errors import StoreError, StoreRefused, StoreUnavailable
from shards.job import Job
from shards.lanes import Lane
from shards.notification import Notification
from shards.queue import Batch, Full
from shards.tenant import Limits, Tenant

NO_MEMORY = StoreRefused("out of memory")
Enqueue = Callable[[Sequence[Batch]], Awaitable[list[StoreRefused | Full | None]]]


class Redis:
    """A store at the level of one verb; ``enqueue`` is what the test makes of it."""

    def __init__(self, enqueue: Enqueue | None = None) -> None:
        self.flights: list[Sequence[Batch]] = []
        self.shard_most = 0
        self.gate = asyncio.Event()
        self._enqueue = enqueue

    async def enqueue(
        self, batches: Sequence[Batch], shard_most: int = 0
    ) -> list[StoreRefused | Full | None]:
        self.flights.append(batches)
        self.shard_most = shard_most
        await self.gate.wait()
        return await self._enqueue(batches) if self._enqueue else [None] * len(batches)

    def jobs(self) -> list[bytes]:
        return [job for flight in self.flights for batch in flight for job in batch.jobs]


def parcel(*jobs: bytes, shard: int = 0, flow: str = "acme", most: int = 0) -> Parcel:
    return Parcel({(shard, Lane.HIGH, flow, most): list(jobs)}, len(jobs), sum(map(len, jobs)))


def gatherer(redis: Redis, *, jobs_most: int = 100, bytes_most: int = 1_000) -> Gatherer:
    return Gatherer(redis, jobs_most=jobs_most, bytes_most=bytes_most)


async def at_once(fate: Coroutine[None, None, Fate]) -> Fate | None:
    """What is told without waiting for Redis; None if nothing is."""
    asked = asyncio.create_task(fate)
    await asyncio.sleep(0.01)
    return asked.result() if asked.done() else None


async def outcome(fail: Enqueue, *parcels: Parcel) -> list[Fate]:
    redis = Redis(fail)
    redis.gate.set()
    gather = gatherer(redis)
    return list(await asyncio.gather(*map(gather.store, parcels)))


def test_requests_of_one_turn_share_a_flight_and_those_of_one_place_a_batch() -> None:
    async def scenario() -> None:
        redis = Redis()
        redis.gate.set()
        gather = gatherer(redis)
        await asyncio.gather(*(gather.store(parcel(b"%d" % n, shard=n % 2)) for n in range(10)))
        [flight] = redis.flights
        assert {batch.shard: list(batch.jobs) for batch in flight} == {
            0: [b"0", b"2", b"4", b"6", b"8"],
            1: [b"1", b"3", b"5", b"7", b"9"],
        }
        await gather.landed()
        assert repr(gather) == "<Gatherer idle, 0 jobs, 0 bytes, 0 parcels in line>"

    asyncio.run(scenario())


def test_nobody_is_told_before_redis_has_answered_and_later_ones_take_the_next_flight() -> None:
    async def scenario() -> None:
        redis = Redis()
        gather = gatherer(redis)
        first = asyncio.create_task(gather.store(parcel(b"a")))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(gather.store(parcel(job))) for job in (b"b", b"c")]
        await asyncio.sleep(0.01)
        assert len(redis.flights) == 1 and not first.done()
        redis.gate.set()
        assert await asyncio.gather(first, *rest) == [Stored({})] * 3
        assert [len(flight[0].jobs) for flight in redis.flights] == [1, 2]

    asyncio.run(scenario())


def test_only_those_whose_place_was_refused_are_told_so() -> None:
    async def refuse_shard_1(batches: Sequence[Batch]) -> list[StoreRefused | Full | None]:
        return [NO_MEMORY if batch.shard == 1 else None for batch in batches]

    both = Parcel({**parcel(b"a").by_place, **parcel(b"b", shard=1).by_place}, 2, 2)
    fates = asyncio.run(outcome(refuse_shard_1, parcel(b"x"), parcel(b"y", shard=1), both))
    refused = {(1, Lane.HIGH, "acme", 0): NO_MEMORY}
    assert fates == [Stored({}), Stored(refused), Stored(refused)]


def test_each_way_to_fail_is_told_apart_and_tried_once() -> None:
    calls = 0

    def failing(error: Exception) -> Enqueue:
        async def fail(_: Sequence[Batch]) -> list[StoreRefused | Full | None]:
            nonlocal calls
            calls += 1
            raise error

        return fail

    place = (0, Lane.HIGH, "acme", 0)
    for error, fate in (
        (StoreUnavailable("down", in_doubt=False), Unstored("down", in_doubt=False)),
        (StoreUnavailable("lost", in_doubt=True), Unstored("lost", in_doubt=True)),
        (NO_MEMORY, Stored({place: NO_MEMORY})),
        (StoreError("odd"), Unstored("odd", in_doubt=True)),
        (ZeroDivisionError(), Unstored("the queue failed", in_doubt=True)),
    ):
        calls = 0
        assert asyncio.run(outcome(failing(error), parcel(b"a"))) == [fate]
        assert calls == 1


def test_what_waits_is_bounded_in_jobs_and_in_bytes_and_counts_the_flight_under_way() -> None:
    async def scenario() -> None:
        for most in ({"jobs_most": 4}, {"bytes_most": 16}):
            redis = Redis()
            gather = gatherer(redis, **most)
            waiting = [asyncio.create_task(gather.store(parcel(b"four"))) for _ in range(2)]
            await asyncio.sleep(0.01)
            assert await at_once(gather.store(parcel(b"more"))) == TurnedAway(2, 8, 2, 8)
            redis.gate.set()
            await asyncio.gather(*waiting)
            assert await gather.store(parcel(b"more")) == Stored({})

    asyncio.run(scenario())


def test_large_parcels_of_one_tenant_turn_no_others_away() -> None:
    async def scenario() -> None:
        redis = Redis()
        gather = gatherer(redis, jobs_most=40, bytes_most=400)
        large, small = parcel(*(b"e" for _ in range(10))), parcel(b"b", flow="zeta")
        waiting = [asyncio.create_task(gather.store(large)) for _ in range(2)]
        await asyncio.sleep(0.01)
        # its sandbox is no other tenant
        for more in (large, parcel(b"e", flow="acme/sandbox")):
            assert await at_once(gather.store(more)) == TurnedAway(20, 20, 20, 20)
        waiting += [asyncio.create_task(gather.store(small)) for _ in range(10)]
        await asyncio.sleep(0.01)
        assert await at_once(gather.store(small)) == TurnedAway(10, 10, 30, 30)
        # somebody new has half of what is left, and so on
        waiting += [asyncio.create_task(gather.store(parcel(b"c", flow="nova"))) for _ in range(5)]
        await asyncio.sleep(0.01)
        redis.gate.set()
        assert await asyncio.gather(*waiting) == [Stored({})] * len(waiting)
        await gather.landed()
        assert await gather.store(large) == Stored({})

    asyncio.run(scenario())


def test_a_request_that_goes_away_takes_only_its_own_jobs_along() -> None:
    async def scenario() -> None:
        redis = Redis()
        gather = gatherer(redis)
        flying = [asyncio.create_task(gather.store(parcel(job))) for job in (b"a", b"b")]
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(gather.store(parcel(job))) for job in (b"c", b"d")]
        await asyncio.sleep(0.01)
        for task in (flying[0], waiting[0]):
            task.cancel()
        redis.gate.set()
        fates = await asyncio.gather(*flying, *waiting, return_exceptions=True)
        assert [isinstance(fate, Stored) for fate in fates] == [False, True, False, True]
        # what was under way can't be called back; what had not begun was left out
        assert redis.jobs() == [b"a", b"b", b"d"]
        await gather.landed()
        assert "0 jobs, 0 bytes" in repr(gather)

    asyncio.run(scenario())


def test_jobs_are_packed_by_place_in_their_order() -> None:
    jobs = [Job(b"%d" % n, b"ab", "t", b"{}") for n in range(4)]
    packed = pack([((n % 2, Lane.LOW, "acme"), job) for n, job in enumerate(jobs)])
    assert (packed.jobs, packed.size) == (
        4,
        sum(len(job) for place in packed.by_place.values() for job in place),
    )
    assert [len(place) for place in packed.by_place.values()] == [2, 2]


def test_what_is_full_is_told_apart_and_how_much_is_full_is_passed_on() -> None:
    async def scenario() -> None:
        async def fill(batches: Sequence[Batch]) -> list[StoreRefused | Full | None]:
            return [Full.FLOW if batch.flow == "acme" else Full.SHARD for batch in batches]

        redis = Redis(fill)
        redis.gate.set()
        gather = Gatherer(redis, jobs_most=100, bytes_most=1_000, shard_most=70)
        fates = await asyncio.gather(
            gather.store(parcel(b"a", most=5)), gather.store(parcel(b"b", flow="zeta", most=9))
        )
        assert fates == [
            Stored({(0, Lane.HIGH, "acme", 5): Full.FLOW}),
            Stored({(0, Lane.HIGH, "zeta", 9): Full.SHARD}),
        ]
        assert [(batch.flow, batch.most) for batch in redis.flights[0]] == [("acme", 5), ("zeta", 9)]
        assert redis.shard_most == 70

    asyncio.run(scenario())


def one(environment: Environment = Environment.PRODUCTION) -> Notification:
    return Notification(
        device_token="ab",
        topic="t",
        payload=msgspec.Raw(b"{}"),
        lane=Lane.LOW,
        environment=environment,
    )


def test_a_device_always_has_the_same_place() -> None:
    tenant = Tenant("acme", spread=4)
    place = placer(tenant, 64, 1_000)(one(), b"ab")
    assert place == placer(tenant, 64, 1_000)(one(), b"ab")
    shard, lane, flow, _ = place
    assert (lane, flow) == (Lane.LOW, "acme") and 0 <= shard < 64


def test_each_environment_is_a_flow_of_its_own() -> None:
    place = placer(Tenant("acme"), 64, 1_000)
    shard, _, flow, _ = place(one(Environment.SANDBOX), b"ab")
    assert (shard, flow) == (place(one(), b"ab")[0], "acme/sandbox")


@pytest.mark.parametrize(
    ("spread", "own", "shards", "most"),
    [
        (4, 0, 64, 250),
        (3, 0, 64, 334),
        (4, 10, 64, 3),
        (4, 5_000, 64, 1_250),
        (1, 0, 64, 1_000),
        # no more shards than there are
        (64, 0, 16, 63),
        (64, 1, 64, 1),
    ],
)
def test_a_tenants_queue_is_bounded_by_parts_that_are_never_less_than_the_whole(
    spread: int, own: int, shards: int, most: int
) -> None:
    tenant = Tenant("acme", spread=spread, limits=Limits(queue_most=own))
    assert placer(tenant, shards, 1_000)(one(), b"ab")[3] == most
