"""The meters against a bucket that a test lets time pass in: who asks, who shares a flight, and who learns what."""

import asyncio

import pytest
from bucket import Bucket

from ingest.fates import NOT_REACHED, NOT_TAKEN, OVER_RATE, refusal_by_rate, surely_unstored
from ingest.gather import Fate, Parcel, Place, Stored, TurnedAway, Unstored
from ingest.meters import FORGET_AFTER_S, Meters
from ingest.rate import IDLE_S, Allowance, Take
from shards.errors import StoreError, StoreRefused, StoreUnavailable
from shards.lanes import Lane
from shards.queue import Full
from shards.tenant import Limits, Tenant

ACME = Tenant("acme", limits=Limits(admit_per_s=1_000.0))
ZETA = Tenant("zeta", limits=Limits(admit_per_s=10.0, admit_burst=10))


def opened() -> tuple[Bucket, Meters]:
    bucket = Bucket()
    return bucket, Meters(bucket, now_s=bucket.clock)


def of(meters: Meters, tenant: Tenant) -> Allowance:
    allowance = meters.of(tenant)
    assert allowance is not None
    return allowance


def test_a_tenant_without_a_rate_has_no_allowance() -> None:
    bucket, meters = opened()
    assert meters.of(Tenant("free")) is None
    assert repr(meters) == "<Meters idle, 0 tenants, 0 lines>" and not bucket.calls


def test_pushes_within_the_rate_cost_a_few_round_trips_and_none_of_them_waits_but_the_first() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        ours = of(meters, ACME)
        waited = 0
        for _ in range(2_000):
            bucket.now_s += 0.0011
            calls = len(bucket.calls)
            assert await meters.take(ours, 1) is Take.TAKEN
            waited += len(bucket.calls) > calls
            # the flight that asks ahead
            await asyncio.sleep(0)
        assert waited == 1
        assert len(bucket.calls) <= 20

    asyncio.run(scenario())


def test_those_over_the_rate_cost_no_round_trip_each_either() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        ours = of(meters, ACME)
        taken = 0
        for _ in range(10_000):
            bucket.now_s += 0.0001
            taken += await meters.take(ours, 1) is Take.TAKEN
        assert taken == pytest.approx(2_000, abs=60)
        assert len(bucket.calls) <= 40

    asyncio.run(scenario())


def test_requests_of_one_turn_ask_together_for_all_tenants() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        acme, zeta = of(meters, ACME), of(meters, ZETA)
        fates = await asyncio.gather(
            meters.take(acme, 300), meters.take(zeta, 4), meters.take(acme, 200), meters.take(zeta, 30)
        )
        assert fates == [Take.TAKEN, Take.TAKEN, Take.TAKEN, Take.OVER]
        [asks] = bucket.calls
        assert [(ask.tenant, ask.need, ask.want) for ask in asks] == [
            ("acme", 300, 750),
            ("zeta", 4, 37),
        ]
        assert (acme.left, zeta.left) == (250, 6)

    asyncio.run(scenario())


def test_a_batch_larger_than_the_bucket_is_taken_whole_and_paid_for_by_those_after_it() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        zeta = of(meters, ZETA)
        assert await meters.take(zeta, 100) is Take.TAKEN
        assert await meters.take(zeta, 1) is Take.OVER
        assert meters.retry_after_s(zeta) == 10
        bucket.now_s += 9.05
        assert await meters.take(zeta, 1) is Take.OVER
        bucket.now_s += 0.06
        assert await meters.take(zeta, 100) is Take.TAKEN

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (StoreUnavailable("down", in_doubt=False), NOT_REACHED),
        (StoreUnavailable("lost", in_doubt=True), NOT_REACHED),
        (StoreRefused("read only"), NOT_TAKEN),
        (StoreError("odd"), NOT_REACHED),
    ],
)
def test_without_redis_a_request_is_not_called_over_the_rate(error: StoreError, refusal: object) -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        ours = of(meters, ACME)
        bucket.down = error
        for _ in range(2):
            assert refusal_by_rate(await meters.take(ours, 1)) == refusal
        bucket.down = None
        assert refusal_by_rate(await meters.take(ours, 1)) is None
        assert refusal_by_rate(Take.OVER) == OVER_RATE

    asyncio.run(scenario())


def test_a_fault_that_nobody_foresaw_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        bucket.down = ZeroDivisionError()  # type: ignore[assignment]
        assert isinstance(await meters.take(of(meters, ACME), 1), StoreError)
        assert "nobody foresaw" in caplog.text

    asyncio.run(scenario())


def test_a_request_that_goes_away_takes_nothing() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        zeta = of(meters, ZETA)
        gone = asyncio.create_task(meters.take(zeta, 8))
        await asyncio.sleep(0)
        gone.cancel()
        assert await meters.take(zeta, 8) is Take.TAKEN
        # with the chunk of three to be ahead, and nothing for who has gone
        assert [(ask.need, ask.want) for asks in bucket.calls for ask in asks] == [(8, 11)]

    asyncio.run(scenario())


def test_who_comes_while_a_flight_is_under_way_is_served_from_what_it_brings() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        ours = of(meters, ACME)
        bucket.gate.clear()
        waiting = [asyncio.create_task(meters.take(ours, 1))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(bucket.calls) == 1
        gone = asyncio.create_task(meters.take(ours, 50))
        waiting += [asyncio.create_task(meters.take(ours, pushes)) for pushes in (100, 149, 1)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        gone.cancel()
        bucket.gate.set()
        assert await asyncio.gather(*waiting) == [Take.TAKEN] * 4
        # the second flight brings the next chunk, which nobody waits for
        assert [asks[0].need for asks in bucket.calls] == [1, 0]

    asyncio.run(scenario())


def test_what_is_not_used_for_a_second_goes_back_and_whoever_is_not_seen_is_forgotten() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        assert await meters.take(of(meters, ACME), 1) is Take.TAKEN
        bucket.now_s += IDLE_S / 2
        await meters.sweep()
        assert len(bucket.calls) == 1
        bucket.now_s += IDLE_S / 2
        await meters.sweep()
        assert [ask.back for ask in bucket.calls[1]] == [250]
        assert of(meters, ACME).left == 0
        await meters.sweep()
        assert len(bucket.calls) == 2
        bucket.now_s += FORGET_AFTER_S
        await meters.sweep()
        assert "0 tenants" in repr(meters)

    asyncio.run(scenario())


def test_what_was_taken_in_and_not_stored_is_here_again_and_no_more_of_it_than_a_chunk() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        zeta, other = of(meters, ZETA), of(Meters(bucket, now_s=bucket.clock), ZETA)
        assert await meters.take(zeta, 2) is Take.TAKEN
        assert zeta.left == 3
        # of a chunk it stays here
        assert await meters.take(zeta, 1) is Take.TAKEN
        meters.give_back(zeta, 1)
        await asyncio.sleep(0)
        assert (zeta.left, len(bucket.calls)) == (3, 1)
        # a batch on credit that found no room: the debt is gone, for all processes
        assert await meters.take(zeta, 100) is Take.TAKEN
        assert bucket.answer(other.ask(1)).granted == 0
        meters.give_back(zeta, 100)
        assert zeta.left == 103
        for _ in range(3):
            await asyncio.sleep(0)
        assert zeta.left == 3
        assert bucket.answer(other.ask(1)).granted > 0

    asyncio.run(scenario())


def test_who_comes_while_something_goes_back_waits_for_it() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        zeta = of(meters, ZETA)
        assert await meters.take(zeta, 100) is Take.TAKEN
        bucket.gate.clear()
        meters.give_back(zeta, 100)
        for _ in range(3):
            await asyncio.sleep(0)
        later = asyncio.create_task(meters.take(zeta, 5))
        await asyncio.sleep(0)
        bucket.gate.set()
        assert await later is Take.TAKEN

    asyncio.run(scenario())


@pytest.mark.parametrize(("in_doubt", "left"), [(False, 104), (True, 3)])
def test_what_goes_back_stays_here_if_redis_surely_has_it_not(
    in_doubt: bool, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def scenario() -> None:
        bucket, meters = opened()
        zeta = of(meters, ZETA)
        assert await meters.take(zeta, 6) is Take.TAKEN
        zeta.left = 4
        bucket.down = StoreUnavailable("down", in_doubt=in_doubt)
        meters.give_back(zeta, 100)
        for _ in range(3):
            await asyncio.sleep(0)
        assert zeta.left == left
        await meters.sweep()
        assert zeta.left == left
        bucket.down = None
        await meters.sweep()
        assert zeta.left == 3

    asyncio.run(scenario())
    # an allowance, which is not to be read as pushes
    said = "101 of what the rate of zeta allows are not given back: down; no push is lost"
    assert [record.getMessage() for record in caplog.records] == [said] * in_doubt


def test_what_was_taken_in_by_an_allowance_that_is_forgotten_is_not_given_back() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        zeta = of(meters, ZETA)
        assert await meters.take(zeta, 100) is Take.TAKEN
        zeta.left = 0
        bucket.now_s += FORGET_AFTER_S
        await meters.sweep()
        calls = len(bucket.calls)
        meters.give_back(zeta, 100)
        await asyncio.sleep(0)
        assert len(bucket.calls) == calls and repr(meters) == "<Meters idle, 0 tenants, 0 lines>"

    asyncio.run(scenario())


@pytest.mark.parametrize("seen_again", [False, True])
def test_an_allowance_that_is_forgotten_while_a_body_arrives_leaves_nobody_waiting(seen_again: bool) -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        zeta = of(meters, ZETA)
        bucket.now_s += FORGET_AFTER_S
        await meters.sweep()
        assert "0 tenants" in repr(meters)
        known = of(meters, ZETA) if seen_again else zeta
        async with asyncio.timeout(10):
            fates = await asyncio.gather(meters.take(zeta, 4), meters.take(of(meters, ACME), 1))
        assert fates == [Take.TAKEN, Take.TAKEN]
        assert of(meters, ZETA) is known
        # of the ten that the bucket had, with the chunk of three to be ahead
        assert known.left == 3
        meters.give_back(zeta, 4)
        assert known.left == 7

    asyncio.run(scenario())


OTHERS: Place = (1, Lane.LOW, "acme", 10)
HERE: Place = (0, Lane.HIGH, "acme", 10)
PARCEL = Parcel({HERE: [b"1", b"2"], OTHERS: [b"3"]}, 3, 3)


@pytest.mark.parametrize(
    ("fate", "count"),
    [
        (Stored({}), 0),
        (Stored({HERE: Full.FLOW}), 2),
        (Stored({OTHERS: Full.SHARD}), 1),
        (Stored({HERE: Full.SHARD, OTHERS: StoreRefused("out of memory")}), 3),
        (Unstored("down", in_doubt=False), 3),
        (Unstored("lost", in_doubt=True), 0),
        (TurnedAway(1, 1, 1, 1), 3),
    ],
)
def test_only_what_redis_surely_has_not_is_given_back(fate: Fate, count: int) -> None:
    assert surely_unstored(fate, PARCEL) == count


def test_a_sweep_that_redis_does_not_answer_hurts_nobody() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        assert await meters.take(of(meters, ACME), 1) is Take.TAKEN
        bucket.now_s += IDLE_S
        bucket.down = StoreUnavailable("down", in_doubt=False)
        await meters.sweep()
        bucket.down = None
        assert await meters.take(of(meters, ACME), 1) is Take.TAKEN

    asyncio.run(scenario())


def test_a_rate_that_is_changed_holds_from_the_next_request_on() -> None:
    async def scenario() -> None:
        bucket, meters = opened()
        assert await meters.take(of(meters, ZETA), 100) is Take.TAKEN
        assert await meters.take(of(meters, ZETA), 1) is Take.OVER
        faster = Tenant("zeta", limits=Limits(admit_per_s=1_000_000.0))
        bucket.now_s += 0.001
        assert await meters.take(of(meters, faster), 1) is Take.TAKEN
        assert "q=1000000;" in meters.headers(of(meters, faster))

    asyncio.run(scenario())
