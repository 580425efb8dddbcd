"""Campaigns from the API to a look-alike of Apple: each device once, whatever happens in the middle."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ingest_process import IngestProcess, create_key
from redis_server import RedisServer
from worker_process import Place, Worker, run, until

from loadtest.simulator.registry import Device
from shards.job import Job, decode_job

DEVICES = 3000
SLOW = {"rtt_s": 0.02, "streams_max": 25}


@asynccontextmanager
async def served(redis_url: str, directory: Path, **simulator: Any) -> AsyncIterator[tuple[Place, "Api"]]:
    """A place and its API."""
    async with Place(redis_url, directory, **simulator) as place:
        ingest = IngestProcess(redis_url)
        try:
            await asyncio.to_thread(ingest.await_ready)
            key = await asyncio.to_thread(create_key, redis_url, place.teams[0].tenant)
            yield place, Api(place, ingest, key)
        finally:
            await asyncio.to_thread(ingest.end)


class Api:
    """Hands campaigns in."""

    def __init__(self, place: Place, ingest: IngestProcess, key: str) -> None:
        self._place = place
        self._ingest = ingest
        self._key = key

    async def push(self, devices: Sequence[str], **fields: Any) -> list[str]:
        """Returns the ids in order."""
        body = {"topic": self._place.teams[0].topic, "payload": {"aps": {"alert": "é"}}, **fields}
        answer = await asyncio.to_thread(
            self._ingest.push, self._key, {**body, "device_tokens": devices}, "/v1/push/campaign"
        )
        assert answer.status == 202, answer
        return [each["id"] for each in json.loads(answer.body)["results"]]


def devices(count: int, first: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(first, first + count)]


async def partly_sent(place: Place, api: Api) -> tuple[Worker, list[str]]:
    """The worker that is in the middle of a campaign, and the campaign's ids."""
    worker = await place.worker(in_hand_most=512, claim_most=128)
    pushed = await api.push(devices(DEVICES))
    ledger = place.simulator.ledger
    await until(lambda: ledger.accepted_distinct > DEVICES // 10, lambda: worker)
    assert ledger.accepted_distinct < DEVICES
    return worker, pushed


async def all_sent(place: Place, pushed: list[str], worker: Worker) -> None:
    await until(
        lambda: place.accepted(pushed)[0] == 0, lambda: (place.accepted(pushed), place.queued(), worker)
    )
    await place.settled(worker)
    assert place.campaigns() == 0
    assert place.dead() == []
    assert place.simulator.ledger.summary()["apns_ids"] == len(pushed)


def test_each_device_gets_it_once_and_the_record_is_gone_then(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(redis_url, tmp_path) as (place, api):
            worker = await place.worker()
            # the one in the middle of the other, in the same lists
            first = await api.push(devices(500))
            single = await place.enqueue(place.jobs(50))
            second = await api.push(devices(500, 500), lane="low", priority=5, collapse_id="c")
            await all_sent(place, first + single + second, worker)
            assert place.accepted(first + single + second) == {1: 1050}

    run(scenario)


def test_what_comes_back_and_what_is_refused_are_ordinary_jobs_with_the_ids_of_the_answer(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with served(redis_url, tmp_path) as (place, api):
            place.simulator.tell(Device(token="dead", fate="unregistered"))
            place.simulator.script(
                [
                    {
                        "match": {"attempt": 1, "share": 0.5},
                        "then": [{"do": "answer", "reason": "InternalServerError"}],
                    }
                ]
            )
            worker = await place.worker()
            pushed = await api.push(["dead", *devices(200)])
            await until(lambda: place.accepted(pushed[1:])[1] == 200, lambda: worker)
            await until(lambda: len(place.dead()) == 1, lambda: worker)
            await place.settled(worker)
            assert place.tried(pushed[1:])[2] > 20
            [(reason, encoded)] = place.dead()
            job = decode_job(encoded)
            assert (reason, job.id.decode(), job.device_token) == ("Unregistered", pushed[0], b"dead")
            assert isinstance(job, Job) and json.loads(job.payload) == {"aps": {"alert": "é"}}
            assert place.campaigns() == 0
            assert place.simulator.ledger.summary()["apns_ids"] == 201

    run(scenario)


def test_kill_9_in_the_middle_loses_nothing_and_repeats_what_was_in_hand_under_the_same_ids(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with served(redis_url, tmp_path, **SLOW) as (place, api):
            worker, pushed = await partly_sent(place, api)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
            worker = await place.worker()
            await all_sent(place, pushed, worker)
            repeated = sum(many for times, many in place.accepted(pushed).items() if times > 1)
            assert repeated <= 512

    run(scenario)


def test_a_campaign_that_is_stopped_in_the_middle_goes_on_and_repeats_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with served(redis_url, tmp_path, **SLOW) as (place, api):
            worker, pushed = await partly_sent(place, api)
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
            assert "Traceback" not in worker.log.read_text()
            queued = place.queued()
            assert len(queued) == sum(queued.values()) == place.accepted(pushed)[0] > 0
            worker = await place.worker()
            await all_sent(place, pushed, worker)
            assert place.accepted(pushed) == {1: DEVICES}

    run(scenario)


@pytest.mark.parametrize("before_the_first", [False, True])
def test_a_campaign_outlives_a_restart_of_redis(
    redis_server: RedisServer, tmp_path: Path, before_the_first: bool
) -> None:
    async def scenario() -> None:
        async with served(redis_server.url, tmp_path, **SLOW) as (place, api):
            assert redis_server.command("CONFIG SET appendfsync always") == b"+OK\r\n"
            if before_the_first:
                pushed = await api.push(devices(DEVICES))
            else:
                worker, pushed = await partly_sent(place, api)
            redis_server.kill9()
            redis_server.start()
            if before_the_first:
                worker = await place.worker()
            await all_sent(place, pushed, worker)

    run(scenario)


def test_elements_without_a_record_are_buried_and_stop_nobody(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(redis_url, tmp_path) as (place, api):
            lost = await api.push(devices(20))
            # as whoever restores half a backup may leave it
            for key in place.raw.keys("clarion:{*}:campaigns"):
                place.raw.delete(key)
            pushed = await api.push(devices(20))
            worker = await place.worker()
            await until(lambda: place.accepted(pushed) == {1: 20}, lambda: worker)
            await place.settled(worker)
            assert [reason for reason, _ in place.dead()] == ["CampaignUnknown"] * 20
            assert place.tried(lost) == {0: 20}
            assert place.campaigns() == 0

    run(scenario)
