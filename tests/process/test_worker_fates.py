"""One worker process and what tenants, devices and crashes do to the fates of its jobs."""

import asyncio
import signal
from pathlib import Path

import pytest
from worker_process import Place, run, until

from loadtest.simulator.server import Device
from shards.conditions import decode_conditions
from shards.job import decode_job
from shards.keys import CONDITIONS, shard_keys
from shards.lanes import Lane
from shards.tenants import DEFAULT_SHARDS


def conditions(place: Place) -> list[tuple[str, str]]:
    """Of which key and topic, and what APNs said."""
    found = decode_conditions(place.raw.hgetall(CONDITIONS))
    return [(f"{each.name.key_id} {each.name.topic}".strip(), each.reason) for each in found]


def want_once(place: Place, team: int = 0) -> None:
    """The tenant wants nothing twice: as its record says, and as the shards know."""
    tenant = place.teams[team].tenant
    record = place.raw.hget("clarion:tenants", tenant)
    place.raw.hset("clarion:tenants", tenant, record.replace(b"\xa6resend", b"\xa4bury"))
    for shard in range(DEFAULT_SHARDS):
        place.raw.sadd(shard_keys(shard).once, tenant)


def test_t10_a_tenant_that_apns_refuses_is_paused_and_shown_and_the_others_are_served(
    redis_url: str, tmp_path: Path
) -> None:
    """The pushes of one whose credential is refused pile up in memory, and those of all others wait behind them."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            sick, well = place.teams
            place.simulator.script(
                [
                    {
                        "match": {"team": sick.team_id},
                        "then": [{"do": "answer", "reason": "InvalidProviderToken"}],
                    }
                ]
            )
            worker = await place.worker()
            stuck = await place.enqueue(place.jobs(500, 0), 0)
            pushed = await place.enqueue(place.jobs(500, 1), 1)
            await until(lambda: place.accepted(pushed) == {1: 500}, lambda: worker)
            await until(lambda: conditions(place) == [(sick.key_id, "InvalidProviderToken")], lambda: worker)
            # what comes now is not even claimed: a worker's hand is for those that can be served
            resting = await place.enqueue(place.jobs(50, 0), 0)
            await asyncio.sleep(0.5)
            ready = [
                place.raw.llen(shard_keys(s).ready(Lane.HIGH, sick.tenant)) for s in range(DEFAULT_SHARDS)
            ]
            assert sum(ready) >= 50
            stuck += resting
            # one was tried, and tried again on a fresh link; the others were spared
            assert place.tried(stuck)[0] >= 548
            assert place.queued().keys() == set(stuck)
            log = worker.log.read_text()
            assert log.count("can't be used") == 1 and log.count("paused for") == 1

            place.simulator.script([])
            await until(lambda: place.accepted(stuck) == {1: 550}, lambda: (worker, place.accepted(stuck)))
            await until(lambda: conditions(place) == [], lambda: worker)
            await place.settled(worker)
            assert place.dead() == []
            assert worker.log.read_text().count("can be used again") == 1
            assert well.key_id not in worker.log.read_text().partition("can't be used")[0].rpartition("\n")[2]

    run(scenario)


def test_a_condition_that_an_earlier_process_left_is_cleared_by_the_first_push_that_is_accepted(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            team = place.teams[0]
            name = f"production/{team.team_id}/{team.key_id}/"
            place.raw.hset(
                CONDITIONS, name, '{"reason":"Forbidden","since_ms":"1","seen_ms":"1","count":"1"}'
            )
            worker = await place.worker()
            await place.enqueue(place.jobs(5))
            await until(lambda: conditions(place) == [], lambda: worker)

    run(scenario)


@pytest.mark.parametrize("in_doubt", ["resend", "bury"])
def test_a_lost_answer_is_resent_or_buried_as_the_tenant_wants(
    redis_url: str, tmp_path: Path, in_doubt: str
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            if in_doubt == "bury":
                want_once(place)
            worker = await place.worker(overdue_s=0.5)
            warm = await place.enqueue(place.jobs(1))
            await until(lambda: place.accepted(warm) == {1: 1}, lambda: worker)
            place.simulator.script([{"match": {"attempt": 1}, "then": [{"do": "silence", "judged": True}]}])
            pushed = await place.enqueue(place.jobs(20))
            await until(lambda: place.accepted(pushed)[0] == 0, lambda: worker)
            await place.settled(worker)
            if in_doubt == "bury":
                assert place.accepted(pushed) == {1: 20}
                assert [reason for reason, _ in place.dead()] == ["InDoubt: deadline"] * 20
            else:
                assert place.accepted(pushed) == {2: 20}
                assert place.dead() == []

    run(scenario)


def test_after_a_kill_nothing_of_a_tenant_that_wants_nothing_twice_is_sent_again(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            want_once(place, 0)
            worker = await place.worker()
            place.simulator.script([{"match": {"attempt": 1}, "then": [{"do": "silence", "judged": True}]}])
            codes = await place.enqueue(place.jobs(30, 0), 0)
            news = await place.enqueue(place.jobs(30, 1), 1)
            await until(lambda: place.claims() and place.tried(codes + news)[1] > 1, lambda: worker)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
            later = await place.enqueue(place.jobs(10, 0), 0)
            place.simulator.script([])
            second = await place.worker()
            await place.settled(second)
            # at most once, and each is either sent or named among the dead; those that were not claimed just go
            assert place.accepted(codes).keys() <= {0, 1}
            buried = {decode_job(job).id.decode(): reason for reason, job in place.dead()}
            assert set(buried.values()) == {"InDoubt: worker lost"}
            assert {each for each in codes if not place.accepted([each])[1]} <= buried.keys() <= set(codes)
            assert place.accepted(later) == {1: 10}
            assert place.accepted(news)[0] == 0

    run(scenario)


def test_t14_a_job_that_its_workers_die_of_is_buried_and_its_neighbours_are_sent(
    redis_url: str, tmp_path: Path
) -> None:
    """A push that kills its worker comes back with its claim, and kills the next one, for ever."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            [culprit] = await place.enqueue(place.jobs(1, device_token=b"dead00"))
            neighbours = await place.enqueue(place.jobs(5))
            for deaths in range(3):
                # what is never answered stays in hand until the test kills the worker; at last that is the culprit only
                match = {"token_prefix": "dead"} if deaths == 2 else {}
                place.simulator.script([{"match": match, "then": [{"do": "silence"}]}])
                worker = await place.worker()
                await until(lambda: is_claimed(place, culprit), lambda: place.queued())
                worker.signal(signal.SIGKILL)
                await worker.exit_code()
            last = await place.worker()
            await place.settled(last)
            assert [(reason, decode_job(job).id.decode()) for reason, job in place.dead()] == [
                ("Poison", culprit)
            ]
            assert place.accepted(neighbours) == {1: 5}

    run(scenario)


def is_claimed(place: Place, apns_id: str) -> bool:
    claims = place.raw.keys("clarion:{*}:claims:*")
    return any(apns_id.encode() in each for key in claims for each in place.raw.lrange(key, 0, -1))


def test_dead_tokens_are_reported_apart_with_apples_time(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            place.simulator.tell(Device(token="dead", fate="unregistered"))
            place.simulator.script(
                [{"match": {"token_prefix": "00"}, "then": [{"do": "answer", "reason": "PayloadTooLarge"}]}]
            )
            worker = await place.worker()
            await place.enqueue(place.jobs(1, device_token=b"dead"), lane=Lane.LOW)
            await place.enqueue(place.jobs(1))
            await place.settled(worker)
            entries = [
                fields
                for shard in range(DEFAULT_SHARDS)
                for _, fields in place.raw.xrange(shard_keys(shard).dead_tokens)
            ]
            [entry] = entries
            assert (entry[b"token"], entry[b"reason"]) == (b"dead", b"Unregistered")
            assert int(entry[b"timestamp_ms"]) > 1_600_000_000_000
            assert {reason for reason, _ in place.dead()} == {"Unregistered", "PayloadTooLarge"}

    run(scenario)
