"""A worker that is stopped, killed, or loses its Redis under load: nothing is lost, and what repeats is bounded."""

import asyncio
import re
import signal
from pathlib import Path

import pytest
from faulty_redis import FaultyRedis
from redis_server import RedisServer
from worker_process import Place, Worker, run, until

LOAD = 3000
SLOW = {"rtt_s": 0.02, "streams_max": 25}


async def under_load(place: Place, worker: Worker, tenants: int = 1) -> list[str]:
    """Put a load on, and come back when the worker is in the middle of it."""
    pushed = []
    for team in range(tenants):
        pushed += await place.enqueue(place.jobs(LOAD // tenants, team), team)
    ledger = place.simulator.ledger
    await until(lambda: ledger.accepted_distinct > LOAD // 20, lambda: worker)
    assert ledger.accepted_distinct < LOAD
    return pushed


def nowhere(place: Place, pushed: list[str]) -> set[str]:
    """Jobs that APNs has not accepted and that stand in no queue."""
    queued = place.queued()
    return {each for each in pushed if not place.simulator.ledger.accepted(each) and each not in queued}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_under_load_it_answers_what_it_holds_and_nothing_repeats(
    redis_url: str, tmp_path: Path, number: int
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2, **SLOW) as place:
            worker = await place.worker(in_hand_most=512, claim_most=128)
            pushed = await under_load(place, worker, tenants=2)
            worker.signal(number)
            assert await worker.exit_code() == 0
            assert "Traceback" not in worker.log.read_text()
            accepted, queued = place.accepted(pushed), place.queued()
            assert accepted[0] + accepted[1] == LOAD
            # it stopped long before the end, and each job is either accepted or queued, once
            assert accepted[0] > 0
            assert len(queued) == sum(queued.values()) == accepted[0]
            assert place.claims() == 0
            await place.worker()
            await until(lambda: place.accepted(pushed) == {1: LOAD}, lambda: place.accepted(pushed))

    run(scenario)


def test_a_second_signal_hurries_it_and_what_had_no_answer_comes_again(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker(drain_s=3600.0)
            warm = await place.enqueue(place.jobs(1))
            await until(lambda: place.accepted(warm) == {1: 1}, lambda: worker)
            place.simulator.script([{"match": {"connection": 1}, "then": [{"do": "silence"}]}])
            pushed = await place.enqueue(place.jobs(200))
            await until(lambda: place.tried(pushed)[1] == 200, lambda: worker)
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert worker.alive
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
            assert "200 jobs were not answered in time" in worker.log.read_text()
            assert place.queued() == dict.fromkeys(pushed, 1)
            assert place.claims() == 0
            await place.worker()
            await until(lambda: place.accepted(pushed) == {1: 200}, lambda: place.accepted(pushed))

    run(scenario)


def test_a_stop_while_no_link_can_be_opened_gives_everything_back(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker(drain_s=0.1)
            await place.simulator.stop()
            pushed = await place.enqueue(place.jobs(100))
            await worker.says("can't be reached")
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
            assert place.queued() == dict.fromkeys(pushed, 1)
            assert place.claims() == 0

    run(scenario)


def test_t1_killed_under_load_nothing_is_lost_and_only_what_was_in_hand_repeats(
    redis_url: str, tmp_path: Path
) -> None:
    """A job that leaves the queue as it is handed to a sender, and not when it was sent, dies with that sender."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2, **SLOW) as place:
            in_hand_most = 512
            worker = await place.worker(in_hand_most=in_hand_most, claim_most=128)
            pushed = await under_load(place, worker, tenants=2)
            worker.signal(signal.SIGKILL)
            assert await worker.exit_code() == -signal.SIGKILL
            assert nowhere(place, pushed) == set()
            second = await place.worker()
            await until(lambda: not place.accepted(pushed)[0], lambda: second)
            await place.settled(second)
            accepted = place.accepted(pushed)
            # the claims of the first: in hand, or answered and about to be settled
            assert accepted[1] + accepted[2] == LOAD
            assert accepted[2] <= 2 * in_hand_most
            assert place.simulator.ledger.summary()["apns_ids"] == LOAD

    run(scenario)


def test_redis_killed_and_started_again_under_load_the_worker_goes_on_by_itself(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        redis_server.command("CONFIG SET appendfsync always")
        async with Place(redis_server.url, tmp_path, tenants=2, **SLOW) as place:
            worker = await place.worker(in_hand_most=512, claim_most=128)
            pushed = await under_load(place, worker, tenants=2)
            for _ in range(2):
                redis_server.kill9()
                await asyncio.sleep(0.1)
                redis_server.start()
                redis_server.command("CONFIG SET appendfsync always")
                await asyncio.sleep(0.6)
            await until(lambda: not place.accepted(pushed)[0], lambda: (place.accepted(pushed), worker))
            await place.settled(worker)
            assert place.accepted(pushed) == {1: LOAD}
            following = await place.enqueue(place.jobs(10))
            await until(lambda: place.accepted(following) == {1: 10}, lambda: worker)

    run(scenario)


@pytest.mark.parametrize("verb", ["claim", "settle", "promote"])
def test_when_an_answer_of_redis_is_lost_no_job_is_lost_or_repeated(
    redis_url: str, tmp_path: Path, verb: str
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, **SLOW) as place, FaultyRedis(redis_url, tmp_path) as faulty:
            worker = await place.worker(faulty.url, in_hand_most=512, claim_most=128)
            pushed = await under_load(place, worker)
            for round_ in range(1, 4):
                faulty.swallow(verb, b"high|" if verb == "claim" else b"")
                await until(lambda times=round_: faulty.swallowed == times, lambda: worker)
            await until(lambda: not place.accepted(pushed)[0], lambda: (place.accepted(pushed), worker))
            await place.settled(worker)
            assert place.accepted(pushed) == {1: LOAD}
            assert worker.alive
            given_back = re.search(r"[1-9]\d* jobs of earlier claims are given back", worker.log.read_text())
            assert (given_back is not None) == (verb == "claim")

    run(scenario)


def test_jobs_of_a_lost_claim_come_back_though_nothing_else_happens(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place, FaultyRedis(redis_url, tmp_path) as faulty:
            worker = await place.worker(faulty.url)
            faulty.swallow("claim", b"high|")
            pushed = await place.enqueue(place.jobs(3, device_token=b"ab"))
            await until(lambda: faulty.swallowed, lambda: worker)
            await until(lambda: place.accepted(pushed) == {1: 3}, lambda: worker)
            await place.settled(worker)
            assert " 3 jobs of earlier claims are given back" in worker.log.read_text()

    run(scenario)


def test_a_redis_that_comes_back_empty_has_its_shards_taken_again(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_server.url, tmp_path) as place:
            worker = await place.worker()
            tenants = place.raw.hgetall("clarion:tenants")
            redis_server.command("FLUSHALL")
            place.raw.hset("clarion:tenants", mapping=tenants)
            pushed = await place.enqueue(place.jobs(20))
            for shard in range(64):
                place.raw.publish(f"clarion:{{{shard:02d}}}:bell", "")
            await until(lambda: place.accepted(pushed) == {1: 20}, lambda: worker)

    run(scenario)


def test_a_worker_waits_for_redis_and_stops_meanwhile_when_told(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_server.url, tmp_path) as place:
            pushed = await place.enqueue(place.jobs(3))
            redis_server.kill9()
            told, waiting = place.start(), place.start()
            await told.says("can't start yet")
            told.signal(signal.SIGTERM)
            assert await told.exit_code() == 0
            await waiting.says("can't start yet")
            redis_server.start()
            await until(lambda: place.accepted(pushed) == {1: 3}, lambda: waiting)

    run(scenario)
