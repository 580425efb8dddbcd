"""A worker that stands still past its lease: what it held is another's, and it neither sends nor settles any of it."""

import asyncio
import signal
from pathlib import Path

from worker_process import Place, run, until

from engine.policy.assignment import assign
from shards.job import Job
from shards.placement import base_shard, device_shard
from shards.tenants import DEFAULT_SHARDS

LOAD = 2_000
LEASE_S = 1.0
# one answer takes a while and few streams are allowed, so that most of what the worker holds has not been sent
SLOW = {"rtt_s": 0.05, "streams_max": 20}
IN_HAND_MOST = 1_024


def test_t16_stopped_past_its_lease_a_worker_sends_and_settles_nothing_of_what_it_lost(
    redis_url: str, tmp_path: Path
) -> None:
    """A stall is taken for a death: the jobs go to another, and the one that wakes up sends and settles them too."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path, **SLOW) as place:
            ledger = place.simulator.ledger
            stalled = await place.worker(lease_s=LEASE_S, in_hand_most=IN_HAND_MOST, claim_most=128)
            pushed = await place.enqueue(place.jobs(LOAD))
            await until(lambda: ledger.accepted_distinct > 50, lambda: stalled)
            stalled.signal(signal.SIGSTOP)
            # what is on the wire arrives
            await asyncio.sleep(0.3)
            assert place.claims() and ledger.accepted_distinct < LOAD - 500

            other = await place.worker(node="other", lease_s=LEASE_S)
            await until(lambda: not place.accepted(pushed)[0], lambda: other)
            await place.settled(other)
            at_stop = place.accepted(pushed)
            # only what was in its claims is sent again, and once
            assert at_stop[2] <= IN_HAND_MOST and at_stop[1] + at_stop[2] == LOAD
            attempts = ledger.summary()["attempts"]

            stalled.signal(signal.SIGCONT)
            await stalled.says("has another holder")
            await asyncio.sleep(1.0)
            # it may have been about to write a batch when it was stopped, but of hundreds that it held it sends no more
            assert ledger.summary()["attempts"] - attempts <= SLOW["streams_max"], stalled
            assert not place.queued() and not place.dead()

            # it is a member again, and both go on
            following = await place.enqueue(place.jobs(100))
            await until(lambda: place.accepted(following) == {1: 100}, lambda: (stalled, other))

    run(scenario)


def test_the_shards_of_a_dead_host_move_after_the_lease_and_those_of_a_living_one_stay(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            first = await place.worker(lease_s=LEASE_S)
            second = await place.worker(node="other", lease_s=LEASE_S)
            pushed = await place.enqueue(place.jobs(200))
            await until(lambda: place.accepted(pushed) == {1: 200}, lambda: (first, second))
            first.signal(signal.SIGKILL)
            await first.exit_code()
            following = await place.enqueue(place.jobs(200))
            await until(lambda: place.accepted(following) == {1: 200}, lambda: second)
            assert "has another holder" not in second.log.read_text()

    run(scenario)


def test_a_shard_moves_though_a_push_of_it_waits_for_a_link_that_nobody_can_open(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, spread=DEFAULT_SHARDS) as place:
            tenant = place.teams[0].tenant
            base = base_shard(tenant, DEFAULT_SHARDS)
            moving = assign(DEFAULT_SHARDS, ["node/0", "other/0"])["other/0"]

            def moves(job: Job) -> bool:
                shard = device_shard(base, job.device_token, DEFAULT_SHARDS, DEFAULT_SHARDS)
                return shard in moving

            first = await place.worker(lease_s=LEASE_S)
            # nobody listens there, and a few pushes are kept to try with
            waiting = await place.enqueue(list(filter(moves, place.jobs(50, environment="sandbox")))[:4])
            await until(place.claims, lambda: first)
            second = await place.worker(node="other", lease_s=LEASE_S)
            pushed = await place.enqueue(place.jobs(500))
            await until(lambda: place.accepted(pushed) == {1: 500}, lambda: (first, second))
            await until(lambda: place.queued() == dict.fromkeys(waiting, 1), place.queued)

    run(scenario)
