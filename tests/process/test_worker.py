"""One worker process from claim to settle, between a real Redis and a simulator: what becomes of every job."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from worker_process import Place, run, until

from loadtest.simulator.server import Device
from shards.job import decode_job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import base_shard
from shards.tenants import DEFAULT_SHARDS


def test_every_job_is_accepted_once_under_its_own_id_and_leaves_the_queues(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=3) as place:
            worker = await place.worker()
            pushed = []
            for lane in Lane:
                for team in range(3):
                    pushed += await place.enqueue(place.jobs(200, team), team, lane)
            await until(lambda: place.accepted(pushed)[1] == 1200, lambda: worker)
            await place.settled(worker)
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
            summary = place.simulator.ledger.summary()
            assert (summary["attempts"], summary["apns_ids"], summary["repeated"]) == (1200, 1200, 0)
            assert summary["teams_per_connection_max"] == 1
            assert summary["protocol_errors"] == {}
            assert place.dead() == []

    run(scenario)


def test_jobs_that_stood_before_the_worker_came_are_served(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            pushed = await place.enqueue(place.jobs(100))
            worker = await place.worker()
            await until(lambda: place.accepted(pushed)[1] == 100, lambda: worker)

    run(scenario)


def test_the_low_lane_is_served_beside_a_full_high_lane(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, rtt_s=0.02, streams_max=20) as place:
            high = await place.enqueue(place.jobs(4000))
            low = await place.enqueue(place.jobs(50), lane=Lane.LOW)
            worker = await place.worker(in_hand_most=512, claim_most=128, drain_s=0.0)
            await until(lambda: place.accepted(low)[1] == 50, lambda: worker)
            assert place.accepted(high)[0] > 1000

    run(scenario)


def test_a_retryable_answer_brings_the_job_back_with_the_same_id(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            place.simulator.script(
                [
                    {
                        "match": {"attempt": 1, "share": 0.5},
                        "then": [{"do": "answer", "reason": "InternalServerError"}],
                    },
                    {"times": 1, "then": [{"do": "answer", "reason": "ServiceUnavailable"}]},
                ]
            )
            worker = await place.worker()
            pushed = await place.enqueue(place.jobs(60))
            await until(lambda: place.accepted(pushed)[1] == 60, lambda: worker)
            await place.settled(worker)
            tried = place.tried(pushed)
            assert tried[1] + tried[2] + tried[3] == 60 and tried[2] > 10
            assert place.simulator.ledger.summary()["apns_ids"] == 60
            assert place.dead() == []

    run(scenario)


def test_refused_jobs_are_buried_with_their_reason_and_the_others_are_sent(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            place.simulator.tell(Device(token="bad0", fate="bad"))
            place.simulator.tell(Device(token="dead", fate="unregistered"))
            worker = await place.worker()
            pushed = await place.enqueue(place.jobs(50))
            bad = await place.enqueue(place.jobs(1, device_token=b"bad0"))
            gone = await place.enqueue(place.jobs(1, device_token=b"dead"))
            long = await place.enqueue(place.jobs(1, collapse_id=b"c" * 65))
            await place.settled(worker)
            buried = {(reason, decode_job(job).id.decode()) for reason, job in place.dead()}
            assert buried == {("BadDeviceToken", *bad), ("Unregistered", *gone), ("BadCollapseId", *long)}
            assert place.accepted(pushed) == {1: 50}
            assert place.tried(bad + gone + long) == {1: 3}

    run(scenario)


def test_an_expired_job_is_not_sent_and_expiration_zero_is_no_time(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker()
            late = await place.enqueue(place.jobs(5, expiration=int(time.time()) - 1))
            zero = await place.enqueue(place.jobs(5, expiration=0))
            timely = await place.enqueue(place.jobs(5, expiration=int(time.time()) + 600))
            await place.settled(worker)
            assert place.tried(late) == {0: 5}
            assert place.accepted(zero + timely) == {1: 10}
            assert [reason for reason, _ in place.dead()] == ["Expired"] * 5

    run(scenario)


def test_jobs_that_no_worker_can_ever_send_are_buried_and_stop_nobody(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            tenant = place.teams[0].tenant
            shard = base_shard(tenant, DEFAULT_SHARDS)
            good, strange = place.jobs(2), place.jobs(1, environment="staging")
            stored = [b"\xc0 no job", encode_job(good[0]), b"\x93\x01\x02\x03", *map(encode_job, strange)]
            await place.enqueue_raw(shard, "nobody", [encode_job(*place.jobs(1))])
            await place.enqueue_raw(shard, tenant, [*stored, encode_job(good[1])])
            worker = await place.worker()
            await until(lambda: len(place.dead()) == 4, lambda: worker)
            await until(lambda: place.accepted(job.id.decode() for job in good) == {1: 2}, lambda: worker)
            reasons = sorted(reason for reason, _ in place.dead())
            assert reasons == ["EnvironmentUnknown", "TenantUnknown", "Unreadable", "Unreadable"]
            assert {stored[0], stored[2]} <= {job for _, job in place.dead()}
            assert worker.alive

    run(scenario)


def test_an_environment_that_cannot_be_reached_does_not_fill_the_hand(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=4) as place:
            worker = await place.worker(in_hand_most=512, claim_most=128, drain_s=0.0)
            stuck = []
            for team in range(3):
                stuck += await place.enqueue(place.jobs(600, team, environment="sandbox"), team)
            await worker.says("can't be reached")
            pushed = await place.enqueue(place.jobs(300, 3), 3)
            await until(lambda: place.accepted(pushed)[1] == 300, lambda: worker)
            mixed = await place.enqueue(place.jobs(50, 0), 0)
            await until(lambda: place.accepted(mixed)[1] == 50, lambda: worker)
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
            assert place.queued() == dict.fromkeys(stuck, 1)

    run(scenario)


def test_a_tenant_whose_key_does_not_open_is_put_off_and_the_others_are_served(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            key = "clarion:tenants"
            record = place.raw.hget(key, "tenant-1").replace(place.teams[1].key_id.encode(), b"KEYS999999")
            place.raw.hset(key, "tenant-1", record)
            worker = await place.worker()
            stuck = await place.enqueue(place.jobs(20, 1), 1)
            pushed = await place.enqueue(place.jobs(20, 0), 0)
            await until(lambda: place.accepted(pushed)[1] == 20, lambda: worker)
            await until(lambda: set(place.queued()) == set(stuck), lambda: worker)
            assert place.tried(stuck) == {0: 20}
            assert worker.alive

    run(scenario)


def test_who_only_claims_anothers_team_and_key_id_does_not_push_with_their_key(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            owner = place.teams[0]
            impostor = Place(redis_url, tmp_path)
            impostor.teams = [impostor.teams[0]._replace(tenant="impostor")]
            async with impostor:
                worker = await place.worker()
                pushed = await place.enqueue(place.jobs(5))
                await until(lambda: place.accepted(pushed) == {1: 5}, lambda: worker)
                stolen = await impostor.enqueue(place.jobs(5))
                # not theirs to send, but not lost either: the impostor's pool pauses
                await worker.says("paused for")
                assert place.accepted(stolen) == {0: 5}
                again = await place.enqueue(place.jobs(5))
                await until(lambda: place.accepted(again) == {1: 5}, lambda: worker)
                assert place.dead() == []
                assert (owner.team_id, owner.key_id) == impostor.teams[0][1:3]

    run(scenario)


def test_a_shard_that_another_worker_has_taken_is_left_to_it(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            worker = await place.worker()
            await asyncio.sleep(0.1)
            taken = {
                (base_shard(place.teams[0].tenant, DEFAULT_SHARDS) + each) % DEFAULT_SHARDS
                for each in range(4)
            }
            kept = {
                (base_shard(place.teams[1].tenant, DEFAULT_SHARDS) + each) % DEFAULT_SHARDS
                for each in range(4)
            }
            assert not taken & kept
            await place.take_shards(sorted(taken))
            for _ in range(3):
                # each rings the bells of shards that are no longer its own
                await place.enqueue(place.jobs(20))
                for shard in taken:
                    place.raw.publish(shard_keys(shard).bell, "")
                await asyncio.sleep(0.05)
            pushed = await place.enqueue(place.jobs(20, 1), 1)
            await until(lambda: place.accepted(pushed) == {1: 20}, lambda: worker)
            await until(lambda: len(place.queued()) == 60, lambda: worker)
            assert worker.alive

    run(scenario)


def test_a_worker_whose_every_shard_is_anothers_takes_them_again_when_the_leases_lapse(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker()
            await place.take_shards(range(DEFAULT_SHARDS))
            pushed = await place.enqueue(place.jobs(20))
            await worker.says("has another holder")
            await until(lambda: place.accepted(pushed) == {1: 20}, lambda: worker)

    run(scenario)


def test_an_idle_worker_claims_nothing_and_hardly_ever_wakes(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker()
            pushed = await place.enqueue(place.jobs(10))
            await until(lambda: place.accepted(pushed) == {1: 10}, lambda: worker)
            await place.settled(worker)
            await asyncio.sleep(0.2)
            place.raw.config_resetstat()
            wakeups = worker.wakeups()
            await asyncio.sleep(2.0)
            stats = place.raw.info("commandstats")
            # a claim would look at the rings, a settlement at the index of claims
            assert "cmdstat_llen" not in stats and "cmdstat_srem" not in stats, stats
            # promote twice a second, renew every other second
            assert 3 <= stats["cmdstat_evalsha"]["calls"] / DEFAULT_SHARDS <= 8
            assert worker.wakeups() - wakeups < 100

    run(scenario)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_when_told(redis_url: str, tmp_path: Path, number: int) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker()
            worker.signal(number)
            assert await worker.exit_code() == 0
            assert "Traceback" not in worker.log.read_text()

    run(scenario)


def test_a_worker_stops_at_the_end_of_its_lifeline(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            worker = await place.worker()
            worker.drop_lifeline()
            assert await worker.exit_code() == 0

    run(scenario)
