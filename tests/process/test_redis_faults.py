"""Redis falters under load, with the API in front of it and a worker behind it: both wait, say so, and go on.

Whatever the API answered 202 is sent once; what it answered 503 is not sent, but for what it said is in doubt; and
nothing that Redis may have taken is tried again unasked.
"""

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from faulty_redis import FaultyRedis
from ingest_process import IngestProcess
from redis_server import RedisServer
from worker_process import Place, Worker, run, until

from shards.api_key import ApiKey, encode_api_key, hash_api_key, new_api_key
from shards.keys import API_KEYS
from shards.private_redis.binary import find_server

BATCH = 20
PUSHERS = 4
PACE_S = 0.01
FAULT_S = 1.0


class Pushers:
    """Clients of the API that push batches, one after the other, and remember what they were told."""

    def __init__(self, place: Place, ingest: IngestProcess, key: str) -> None:
        self.accepted: list[str] = []
        self.in_doubt = 0
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.without_retry_after = 0
        self._place = place
        self._url = f"http://127.0.0.1:{ingest.address[1]}"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._tokens = iter(range(1, 1 << 60))
        self._over = False

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[None]:
        """Push as long as the block lasts."""
        async with aiohttp.ClientSession(self._url, headers=self._headers) as session:
            async with asyncio.TaskGroup() as group:
                for _ in range(PUSHERS):
                    group.create_task(self._push(session))
                yield
                self._over = True

    async def go_on(self, what: object) -> None:
        """Wait until pushes are accepted again."""
        some = len(self.accepted) + 5 * BATCH
        await until(lambda: len(self.accepted) > some, lambda: (self.statuses, self.codes, what))

    async def _push(self, session: aiohttp.ClientSession) -> None:
        while not self._over:
            await self.push(session)
            await asyncio.sleep(PACE_S)

    async def push(self, session: aiohttp.ClientSession) -> None:
        topic = self._place.teams[0].topic
        items = [
            {"device_token": f"{next(self._tokens):064x}", "topic": topic, "payload": {"aps": {}}}
            for _ in range(BATCH)
        ]
        async with session.post("/v1/push/batch", json=items) as answer:
            self.statuses[answer.status] += 1
            document = await answer.json(content_type=None)
            if answer.status in (202, 207):
                self.accepted += [result["id"] for result in document["results"] if "id" in result]
                self.codes.update(r["error"]["code"] for r in document["results"] if "error" in r)
                return
            self.codes[document["code"]] += 1
            self.in_doubt += BATCH * (document["code"] == "store-in-doubt")
            self.without_retry_after += "Retry-After" not in answer.headers


@asynccontextmanager
async def gateway(
    directory: Path, redis_url: str, seen_by_ingest: str = ""
) -> AsyncIterator[tuple[Place, Worker, Pushers]]:
    """An ingest process and a worker on one Redis."""
    async with Place(redis_url, directory) as place:
        key, prefix = new_api_key()
        record = encode_api_key(ApiKey(place.teams[0].tenant, prefix))
        place.raw.hset(API_KEYS, hash_api_key(key), record)
        worker = await place.worker()
        ingest = IngestProcess(seen_by_ingest or redis_url)
        try:
            await asyncio.to_thread(ingest.await_ready)
            yield place, worker, Pushers(place, ingest, key)
        finally:
            await asyncio.to_thread(ingest.end)


async def check(place: Place, worker: Worker, pushers: Pushers) -> None:
    """Every accepted push was accepted by APNs, once, and nothing else but what is in doubt."""
    accepted = pushers.accepted
    assert len(set(accepted)) == len(accepted) > 10 * BATCH
    await until(lambda: not place.accepted(accepted)[0], lambda: (place.accepted(accepted), worker))
    await place.settled(worker)
    assert place.accepted(accepted) == {1: len(accepted)}
    strangers = place.simulator.ledger.accepted_distinct - len(accepted)
    assert 0 <= strangers <= pushers.in_doubt
    assert set(pushers.statuses) <= {202, 207, 503}
    assert pushers.without_retry_after == 0
    assert worker.alive and "Traceback" not in worker.log.read_text()


async def restart(server: RedisServer, pushers: Pushers) -> None:
    for _ in range(2):
        server.kill9()
        await asyncio.sleep(0.3)
        server.start()
        await pushers.go_on(server)


async def read_only(server: RedisServer, pushers: Pushers) -> None:
    assert server.command("REPLICAOF 127.0.0.1 1") == b"+OK\r\n"
    await asyncio.sleep(FAULT_S)
    assert server.command("REPLICAOF NO ONE") == b"+OK\r\n"


async def out_of_memory(server: RedisServer, pushers: Pushers) -> None:
    assert server.command("CONFIG SET maxmemory 1") == b"+OK\r\n"
    await asyncio.sleep(FAULT_S)
    assert server.command("CONFIG SET maxmemory 0") == b"+OK\r\n"


async def slow(server: RedisServer, pushers: Pushers) -> None:
    # for less than anybody's patience
    for _ in range(2):
        assert server.command("CLIENT PAUSE 1000 ALL") == b"+OK\r\n"
        await asyncio.sleep(1.2)


async def forget_scripts(server: RedisServer, pushers: Pushers) -> None:
    for _ in range(10):
        assert server.command("SCRIPT FLUSH SYNC") == b"+OK\r\n"
        await asyncio.sleep(FAULT_S / 10)


Fault = Callable[[RedisServer, Pushers], Awaitable[None]]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (restart, "store-unavailable"),
        (read_only, "store-refused"),
        (out_of_memory, "store-refused"),
        (slow, None),
        (forget_scripts, None),
    ],
)
def test_under_load_a_fault_of_redis_loses_nothing_and_repeats_nothing(
    redis_server: RedisServer, tmp_path: Path, fault: Fault, code: str | None
) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path, redis_server.url) as (place, worker, pushers):
            async with pushers.pushing():
                await pushers.go_on(worker)
                await fault(redis_server, pushers)
                await pushers.go_on(worker)
            await check(place, worker, pushers)
            if code is None:
                assert set(pushers.statuses) == {202}
            else:
                assert pushers.codes[code] > 0 and set(pushers.codes) <= {code, "store-in-doubt"}

    # a kill at the moment of a background fsync could lose what "everysec" had put off, which is not at issue here
    redis_server.command("CONFIG SET appendfsync always")
    try:
        run(scenario)
    finally:
        for command in ("REPLICAOF NO ONE", "CONFIG SET maxmemory 0", "CONFIG SET appendfsync everysec"):
            redis_server.command(command)


class SlowLoader(RedisServer):
    """A redis-server that takes its time to read its file, and meanwhile answers LOADING."""

    def start_slowly(self, directory: Path) -> None:
        options = (
            f"--port 0 --unixsocket {self.socket} --dir {directory} --save  --appendonly yes "
            "--key-load-delay 1000 --aof-use-rdb-preamble no"
        )
        program = find_server(None, directory / "bin").path
        self._process = subprocess.Popen([program, *options.split(" ")], stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10.0
        while not self.command("PING").startswith(b"-LOADING"):
            assert time.monotonic() < deadline_s, "it never said LOADING"


def test_a_redis_that_still_loads_its_file_is_waited_for(tmp_path: Path) -> None:
    server = SlowLoader(tmp_path)
    server.start()
    server.command("CONFIG SET appendfsync always")

    async def scenario() -> None:
        async with gateway(tmp_path, server.url) as (place, worker, pushers):
            async with pushers.pushing():
                await pushers.go_on(worker)
                pipe = place.raw.pipeline(transaction=False)
                for _ in range(3_000):
                    pipe.incr("padding")
                pipe.execute()
                server.kill9()
                await asyncio.to_thread(server.start_slowly, tmp_path)
                await pushers.go_on(worker)
            await check(place, worker, pushers)
            assert sum(pushers.codes.values()) > 0
            assert set(pushers.codes) <= {"store-unavailable", "store-refused", "store-in-doubt"}

    try:
        run(scenario)
    finally:
        server.stop()


def test_an_unanswered_enqueue_is_told_as_in_doubt_and_not_tried_again(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with FaultyRedis(redis_server.url, tmp_path) as faulty:
            async with gateway(tmp_path, redis_server.url, faulty.url) as (place, worker, pushers):
                async with pushers.pushing():
                    for times in range(1, 4):
                        await pushers.go_on(worker)
                        faulty.swallow("enqueue")
                        await until(lambda times=times: faulty.swallowed == times)
                    await pushers.go_on(worker)
                await check(place, worker, pushers)
                assert pushers.codes.keys() == {"store-in-doubt"}
                # Redis had taken them: they are sent, each once, though nobody was told their ids
                ledger = place.simulator.ledger
                assert ledger.accepted_distinct == len(pushers.accepted) + pushers.in_doubt
                assert ledger.summary()["apns_ids"] == ledger.accepted_distinct

    run(scenario)
