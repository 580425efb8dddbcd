"""One worker process between a real Redis and a simulator in the test's own event loop.

Run as a program this file is the worker: `python worker_process.py JSON`. Others may be told to run in its stead.
"""

import asyncio
import dataclasses
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import redis as redis_py
import uvloop

from engine.options import EngineOptions
from engine.policy.links import LinkOptions
from engine.policy.pause import PauseOptions
from engine.policy.retry import RetryOptions
from engine.worker.worker import run_worker
from loadtest.simulator.server import Simulator, SimulatorOptions, Team
from loadtest.teams import make_team, tenant_of
from shards.api_key import new_api_key
from shards.campaign import apns_id_of, is_element
from shards.flow import flow_of
from shards.job import Job, decode_job, encode_job, new_ids
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import base_shard, device_shard
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection
from shards.tenants import DEFAULT_SHARDS, Tenants
from shards.vault import Vault, read_master_key

MASTER_KEY = bytes(range(32))
# a job that several workers died with comes back in a slot of its own, some 10 s later
WAIT_S = 60.0
SPREAD = 4
# a worker's own times, short enough for a test
OPTIONS: dict[str, Any] = {
    "retry": RetryOptions(first_s=0.2),
    "links": LinkOptions(redial_first_s=0.1, apart_s=0.05, late_s=5.0),
}

_numbers = itertools.count()


def run(scenario: Callable[[], Awaitable[None]], within_s: float = 3 * WAIT_S) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(within_s):
            await scenario()

    uvloop.run(guarded())


async def until(holds: Callable[[], Any], what: Callable[[], Any] = lambda: "") -> None:
    """Wait until it holds; a test that fails here shows ``what`` it last saw."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, what()
        await asyncio.sleep(0.01)


# in one step: a job that is on its way from one place to the next would be missed otherwise
_ALL_THAT_STANDS = """
local lists, zsets = {}, {}
for _, key in ipairs(redis.call('KEYS', 'clarion:{*')) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'list' then
    for _, each in ipairs(redis.call('LRANGE', key, 0, -1)) do lists[#lists + 1] = each end
  elseif kind == 'zset' then
    for _, each in ipairs(redis.call('ZRANGE', key, 0, -1)) do zsets[#zsets + 1] = each end
  end
end
return {lists, zsets}
"""


class Worker:
    """A worker process, its log, and the pipe that it dies with."""

    def __init__(
        self, redis_url: str, simulator: Simulator, log: Path, program: str = __file__, **options: Any
    ) -> None:
        self.log = log
        readable, self._writable = os.pipe()
        settings = {
            "redis_url": redis_url,
            "port": simulator.port,
            "ca_file": str(simulator.ca_file),
            "lifeline": readable,
            "options": options,
        }
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, program, json.dumps(settings)],
                stdout=sink,
                stderr=sink,
                pass_fds=[readable],
            )
        os.close(readable)

    def __repr__(self) -> str:
        return f"<Worker {self._process.pid} {self._process.poll()}\n{self.log.read_text()}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def drop_lifeline(self) -> None:
        if self._writable >= 0:
            os.close(self._writable)
            self._writable = -1

    async def says(self, text: str) -> None:
        """Wait until its log has this text."""
        await until(lambda: text in self.log.read_text(), lambda: self)

    async def exit_code(self) -> int:
        await until(lambda: not self.alive, lambda: self)
        return self._process.returncode

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self.drop_lifeline()

    def wakeups(self) -> int:
        """How often it has gone to sleep of its own accord."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


class Place:
    """``async with Place(redis_url, directory)``: a simulator, tenants, the queues, and workers as asked for."""

    def __init__(
        self,
        redis_url: str,
        directory: Path,
        tenants: int = 1,
        clock: Callable[[], float] = time.time,
        spread: int = SPREAD,
        **simulator: Any,
    ) -> None:
        self.redis_url = redis_url
        self.teams = [make_team(number) for number in range(tenants)]
        self.simulator = Simulator(SimulatorOptions(**simulator), clock=clock)
        self.raw = redis_py.Redis.from_url(redis_url)
        self._directory = directory
        self._spread = spread
        self._connection = ScriptConnection(redis_url)
        self._queue = Queue(self._connection)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Place":
        await self._stack.enter_async_context(self.simulator)
        self._stack.push_async_callback(self._connection.close)
        self._stack.callback(self.raw.close)
        store = Tenants(self.redis_url)
        vault = Vault(MASTER_KEY)
        for team in self.teams:
            await store.create(tenant_of(team, vault, spread=self._spread), *new_api_key())
            self.simulator.register(
                Team(
                    team_id=team.team_id,
                    key_id=team.key_id,
                    public_key_pem=team.public_key_pem,
                    topics=(team.topic,),
                )
            )
        await store.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def start(self, redis_url: str = "", **options: Any) -> Worker:
        """A worker that may not be serving yet."""
        log = self._directory / f"worker-{next(_numbers)}.log"
        worker = Worker(redis_url or self.redis_url, self.simulator, log, **options)
        self._stack.callback(worker.end)
        return worker

    async def worker(self, redis_url: str = "", **options: Any) -> Worker:
        """A worker that has begun to serve."""
        worker = self.start(redis_url, **options)
        await worker.says(" shards\n")
        return worker

    def jobs(self, number: int, team: int = 0, **fields: Any) -> list[Job]:
        made = []
        for _ in range(number):
            each = next(_numbers)
            [apns_id] = new_ids(1_700_000_000_000, (each << 16).to_bytes(10))
            plain = {"id": apns_id, "device_token": b"%064x" % each, "topic": self.teams[team].topic}
            made.append(Job(**{"payload": b'{"aps":{}}', **plain, **fields}))
        return made

    async def enqueue(self, jobs: Sequence[Job], team: int = 0, lane: Lane = Lane.HIGH) -> list[str]:
        """Stand them in the queues as ingest does; returns their ids."""
        tenant = self.teams[team].tenant
        base = base_shard(tenant, DEFAULT_SHARDS)
        by_place: dict[tuple[int, str], list[bytes]] = {}
        for job in jobs:
            shard = device_shard(base, job.device_token, self._spread, DEFAULT_SHARDS)
            by_place.setdefault((shard, flow_of(tenant, job.environment)), []).append(encode_job(job))
        answers = await self._queue.enqueue(
            [Batch(shard, lane, flow, each) for (shard, flow), each in by_place.items()]
        )
        assert set(answers) == {None}
        return [job.id.decode() for job in jobs]

    async def enqueue_raw(self, shard: int, tenant: str, jobs: Sequence[bytes]) -> None:
        assert await self._queue.enqueue([Batch(shard, Lane.HIGH, tenant, jobs)]) == [None]

    async def take_shards(self, shards: Sequence[int]) -> None:
        """Become their holder for a while, as another worker would after their leases have lapsed."""
        self.raw.delete(*(shard_keys(shard).lease for shard in shards))
        await self._queue.acquire(shards, "another", 1.0)

    def accepted(self, ids: Iterable[str]) -> Counter[int]:
        """How many of these were accepted so many times."""
        return Counter(map(self.simulator.ledger.accepted, ids))

    def tried(self, ids: Iterable[str]) -> Counter[int]:
        return Counter(map(self.simulator.ledger.attempt_count, ids))

    def queued(self) -> Counter[str]:
        """The ids of all jobs that stand ready, wait or are claimed, and how often each does, at one moment."""
        lists, zsets = self.raw.eval(_ALL_THAT_STANDS, 0)
        stored = [each for each in lists if each[:1] >= b"\x80"]
        stored += [member.split(b"|", 2)[2] for member in zsets]
        return Counter(
            (apns_id_of(each) if is_element(each) else decode_job(each).id).decode() for each in stored
        )

    def campaigns(self) -> int:
        """How many records of campaigns, and counts of their elements, the shards keep."""
        keys = map(shard_keys, range(DEFAULT_SHARDS))
        return sum(int(self.raw.hlen(key)) for each in keys for key in (each.campaigns, each.left))

    def claims(self) -> int:
        return sum(int(self.raw.scard(shard_keys(shard).claims)) for shard in range(DEFAULT_SHARDS))

    def dead(self) -> list[tuple[str, bytes]]:
        """(reason, job as stored) of the dead letters."""
        return [
            (entry[b"reason"].decode(), entry[b"job"])
            for shard in range(DEFAULT_SHARDS)
            for _, entry in self.raw.xrange(shard_keys(shard).dead)
        ]

    async def settled(self, worker: Worker) -> None:
        """Wait until no job stands anywhere."""
        await until(lambda: not self.claims() and not self.queued(), lambda: (self.queued(), worker))


def main(settings: dict[str, Any]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    node = settings["options"].pop("node", "node")
    pause_s = settings["options"].pop("pause_s", PauseOptions().first_s)
    overdue_s = settings["options"].pop("overdue_s", LinkOptions().overdue_s)
    key_file = settings["options"].pop("master_key_file", None)
    master_key = read_master_key(Path(key_file), create=False) if key_file else MASTER_KEY
    plain = {
        "redis_url": settings["redis_url"],
        "apns_production_url": f"https://localhost:{settings['port']}",
        "apns_sandbox_url": "https://localhost:1",
        "apns_ca_file": Path(settings["ca_file"]),
    }
    options = EngineOptions(**{**plain, **OPTIONS, **settings["options"]})
    links = options.links._replace(pause=PauseOptions(first_s=pause_s), overdue_s=overdue_s)
    options = dataclasses.replace(options, links=links)
    return run_worker(options, master_key, 0, 1, node=node, lifeline=settings["lifeline"])


if __name__ == "__main__":
    # as under a terminal's or a container's defaults, whatever the test run has done
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(json.loads(sys.argv[1])))
