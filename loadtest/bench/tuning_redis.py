"""What settings of Redis bring: a drain with and without each, what is left after a SIGKILL, what becomes of accepted
pushes when memory ends, and what Redis copies after a fork.

Each measure has a lab of its own, and changes settings of that lab's redis-server only.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, Final, NamedTuple

from loadtest.bench.backlog import Standing, depths, enqueue
from loadtest.bench.lab import LAB_SPREAD, Lab, lab, wait_until
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


class Drained(NamedTuple):
    """A drain: pushes a second, CPU microseconds of Redis and its forks for a push, bytes that were copied by reason
    of a fork."""

    per_s: float
    redis_us: float
    copied_bytes: int


def drained(settings: Mapping[str, str], jobs: int, fork: str = "", under: Sequence[str] = ()) -> Drained:
    """Drain so many jobs with these settings. ``fork``: BGSAVE or BGREWRITEAOF, begun with the drain."""
    with lab(settings=settings, under=under) as place, start_sink(place.directory / "sink") as sink:
        senders = settle_in(place, TENANTS, TENANTS, LAB_SPREAD)
        side = Side(place, senders, WORKERS, LINKS, PAYLOAD_BYTES)
        # no rewrite but the one that is asked for
        leave_alone(side.redis)
        with side.engine(sink.port, sink.ca_file) as pids:
            side.drain(sink, pids, one_for_each_shard(senders))
            waiting = side.lay_in(in_turn(senders, jobs))
            if under:
                _look_for_huge_pages(place)
            before_s = _children_s(side.redis)
            if fork:
                side.redis.execute_command(fork)
            drain = side.drain_stock(sink, pids, waiting)
            wait_until(lambda: not _forked(side.redis), "the end of a fork", FORK_S)
            redis_s = drain.redis_s + _children_s(side.redis) - before_s
            info = side.redis.info("persistence")
            copied = {"BGREWRITEAOF": info["aof_last_cow_size"], "BGSAVE": info["rdb_last_cow_size"]}.get(
                fork, 0
            )
            return Drained(drain.jobs / drain.seconds, 1e6 * redis_s / drain.jobs, int(copied))


def kept_after_kill(settings: Mapping[str, str], jobs: int) -> int:
    """How many of so many jobs, all of them stored, Redis still has when it was killed and started again."""
    with lab(settings=settings) as place:
        place.create_tenants(1)
        standings = [Standing(place.teams[0], jobs, spread=LAB_SPREAD)]
        asyncio.run(enqueue(place.redis.url, standings, PAYLOAD_BYTES))
        os.kill(place.redis_pid, signal.SIGKILL)
        place.redis.stop()
        place.redis.start()
        with depths(place.redis.url, standings) as left:
            return left.look()[0].total


def copied_with_huge_pages(jobs: int) -> int:
    """Bytes that Redis copies while it rewrites its file in a drain, when its memory is in huge pages, which it would
    switch off for itself. Raises Refused when it does not get any."""
    return drained({"disable-thp": "no"}, jobs, "BGREWRITEAOF", _HUGE_PAGES).copied_bytes


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


def _stored(place: Lab) -> int:
    with depths(place.redis.url, [Standing(place.teams[0], 0, spread=LAB_SPREAD)]) as found:
        return found.look()[0].total


def _children_s(redis: Any) -> float:
    """CPU seconds of forks that have ended."""
    cpu = redis.info("cpu")
    return float(cpu["used_cpu_user_children"] + cpu["used_cpu_sys_children"])


def _forked(redis: Any) -> bool:
    info = redis.info("persistence")
    return bool(
        info["rdb_bgsave_in_progress"] or info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
    )


def _look_for_huge_pages(place: Lab) -> None:
    with open(f"/proc/{place.redis_pid}/smaps_rollup") as file:
        huge = [line.split()[1] for line in file if line.startswith("AnonHugePages")]
    if huge in ([], ["0"]):
        raise Refused("this host gives Redis no huge pages, whatever it asks for")
