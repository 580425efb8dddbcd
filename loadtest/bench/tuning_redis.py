"""What settings of Redis bring: a drain with and without each, what is left after a SIGKILL, what becomes of accepted
pushes when memory ends, and what Redis copies after a fork.

Each measure has a lab of its own, and changes settings of that lab's redis-server only.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, Final, NamedTuple

from redis import Redis

from loadtest.bench.backlog import Standing, depths, enqueue
from loadtest.bench.cpu import children
from loadtest.bench.lab import LAB_SPREAD, Lab, lab, stopped, wait_until
from loadtest.bench.namespace import Refused
from loadtest.bench.population import in_turn, one_for_each_shard, settle_in
from loadtest.bench.side import Side
from loadtest.bench.steady import fates
from loadtest.bench.store_cost import leave_alone
from loadtest.bench.tuning_callers import ANSWER_S, LOOPBACK, api_of, path
from loadtest.sink.start import start_sink

PAYLOAD_BYTES: Final = 256
TENANTS: Final = 10
WORKERS: Final = 2
LINKS: Final = 1
BATCH_ITEMS: Final = 500
FORK_S: Final = 60.0
# of jemalloc, which the kernel obeys where the host's own word is "madvise"
_HUGE_PAGES: Final = ("env", "MALLOC_CONF=thp:always")


def drained(settings: Mapping[str, str], jobs: int, snapshot: bool = False) -> float:
    """CPU microseconds of Redis, and of what it forks, for each push of a drain with these settings; with a snapshot
    that begins when the drain does. How fast it was depends on what else the machine does, so it is not told."""
    with lab(settings=settings) as place, start_sink(place.directory / "sink") as sink:
        senders = settle_in(place, TENANTS, TENANTS, LAB_SPREAD)
        side = Side(place, senders, WORKERS, LINKS, PAYLOAD_BYTES)
        leave_alone(side.redis)
        with side.engine(sink.port, sink.ca_file) as pids:
            side.drain(sink, pids, one_for_each_shard(senders))
            waiting = side.lay_in(in_turn(senders, jobs))
            before_s = _forks_s(side.redis)
            if snapshot:
                side.redis.bgsave()
            drain = side.drain_stock(sink, pids, waiting)
            _wait_for_forks(side.redis)
            redis_s = drain.redis_s + _forks_s(side.redis) - before_s
            return 1e6 * redis_s / drain.jobs


def kept_after_kill(settings: Mapping[str, str], jobs: int) -> int:
    """How many of so many jobs, all of them stored, Redis still has when it was killed and started again."""
    with lab(settings=settings) as place:
        _store(place, jobs)
        os.kill(place.redis_pid, signal.SIGKILL)
        place.redis.stop()
        place.redis.start()
        return _stored(place)


def copied_in_rewrite(jobs: int, more: int, huge_pages: bool) -> int:
    """Bytes that Redis copies in a rewrite of its file, with so many jobs waiting and so many more stored meanwhile.

    The rewrite is held up until they are, or it would be over before. ``huge_pages``: Redis' memory is in such, which
    it would switch off for itself. Raises Refused when this host gives it none.
    """
    settings = {"disable-thp": "no"} if huge_pages else {}
    with lab(settings=settings, under=_HUGE_PAGES if huge_pages else ()) as place:
        with closing(Redis.from_url(place.redis.url)) as redis:
            leave_alone(redis)
            _store(place, jobs)
            if huge_pages:
                _look_for_huge_pages(place)
            redis.bgrewriteaof()
            wait_until(lambda: children(place.redis_pid), "a fork of Redis")
            [forked] = children(place.redis_pid)
            with stopped(forked):
                _store(place, more)
            _wait_for_forks(redis)
            return int(redis.info("persistence")["aof_last_cow_size"])


class Admitted(NamedTuple):
    """Pushes that the API accepted, that it refused, and that Redis has."""

    accepted: int
    refused: int
    stored: int


def admitted(settings: Mapping[str, str], batches: int) -> Admitted:
    """Hand so many batches to the API, whatever it says."""
    said: Counter[str] = Counter()
    with lab(settings=settings) as place, api_of(place, LOOPBACK) as api:
        before = _stored(place)
        with closing(HTTPConnection(LOOPBACK, api.port, timeout=ANSWER_S)) as caller:
            for _ in range(batches):
                caller.request("POST", path(BATCH_ITEMS), api.body(BATCH_ITEMS), api.headers)
                answer = caller.getresponse()
                for fate in fates(answer.status, answer.read(), BATCH_ITEMS, 0.0, 0.0):
                    said[fate.kind] += fate.pushes
        return Admitted(said["accepted"], said["refused"], _stored(place) - before)


def _store(place: Lab, jobs: int) -> None:
    """Jobs of the lab's one tenant, as ingest would store them."""
    if not place.teams:
        place.create_tenants(1)
    asyncio.run(enqueue(place.redis.url, [Standing(place.teams[0], jobs, spread=LAB_SPREAD)], PAYLOAD_BYTES))


def _stored(place: Lab) -> int:
    with depths(place.redis.url, [Standing(place.teams[0], 0, spread=LAB_SPREAD)]) as found:
        return found.look()[0].total


def _forks_s(redis: Any) -> float:
    """CPU seconds of forks that have ended."""
    cpu = redis.info("cpu")
    return float(cpu["used_cpu_user_children"] + cpu["used_cpu_sys_children"])


def _wait_for_forks(redis: Any) -> None:
    going_on = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")

    def over() -> bool:
        info = redis.info("persistence")
        return not any(info[name] for name in going_on)

    wait_until(over, "the end of a fork", FORK_S)


def _look_for_huge_pages(place: Lab) -> None:
    with open(f"/proc/{place.redis_pid}/smaps_rollup") as file:
        huge = [line.split()[1] for line in file if line.startswith("AnonHugePages")]
    if huge in ([], ["0"]):
        raise Refused("this host gives Redis no huge pages, whatever it asks for")
