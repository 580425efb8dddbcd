"""Experiment 0007: what a job costs Redis when a claim copies it, and when a claim is a range of its ready list.

    .venv/bin/python -m tuning.experiments.claims_as_ranges [ROUNDS]

The same jobs, flows and calls for both, through the verbs of ``shards/queue.py`` and of ``ranges/queue.py``, each time
on a redis-server of its own with the append-only file on (everysec). A stock is enqueued. Then every shard has between
8 and 16 claims open: 8 are claimed, 8 are settled, and so on until all is done; those settled are either the oldest or
any. CPU is that of Redis' process by the kernel's accounting, the bytes are what the file grew by; in the end a server
is started that reads the file. The two take turns, and each figure is the median of the rounds, as is the ratio.
Last, one claim of a flow stays open while 200,000 jobs pass behind it.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple, Protocol

from redis import Redis

from loadtest.bench.cpu import cpu_s
from loadtest.bench.lab import Lab, device_token, lab, payload
from loadtest.bench.store_cost import leave_alone
from shards.claim import Claimed, Holding, Settlement
from shards.job import Job, encode_job, new_ids
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection
from tuning.experiments.ranges.queue import Ranged, RangeQueue

ROUNDS: Final = 7
SHARDS: Final = 8
JOBS_A_SHARD: Final = 12_000
CLAIM: Final = 125
# claims of a shard that are open at most, and how many are claimed and settled in between
OPEN_MOST: Final = 16
STEP: Final = 8
SETTLED_TOGETHER: Final = 8
BOUND: Final = 1_000_000
HELD_JOBS: Final = 200_000
VERBS: Final = ("enqueue", "claim", "settle")


class Shape(NamedTuple):
    """Flows of a shard, jobs that are enqueued at once, and jobs that a flow gives in a claim."""

    flows: int
    batch: int
    quantum: int


SHAPES: Final = (Shape(1, 125, CLAIM), Shape(200, 20, 16))
ORDERS: Final = ("in order", "any order")


class Verbs(Protocol):
    """What is measured of either kind of queue."""

    async def enqueue(self, batches: Sequence[Batch]) -> list[Any]: ...

    async def claim(
        self, wanted: Sequence[tuple[Holding, str, int]], *, quantum: int, low_share: float
    ) -> list[Any]: ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[Any]: ...


KINDS: Final[dict[str, type[Queue] | type[RangeQueue]]] = {"copies": Queue, "ranges": RangeQueue}


class Meter:
    """Adds up, by verb, Redis' CPU seconds and the growth of its file since it was last asked."""

    def __init__(self, place: Lab, redis: Any) -> None:
        self._pid, self._redis = place.redis_pid, redis
        self.cpu_s = dict.fromkeys(VERBS, 0.0)
        self.file_bytes = dict.fromkeys(VERBS, 0)
        self._seen = self._look()

    def _look(self) -> tuple[float, int]:
        # Redis answers before it writes as long as an fsync is under way; what waits in its buffer counts too
        file = self._redis.info("persistence")
        return cpu_s([self._pid]), file["aof_current_size"] + file["aof_buffer_length"]

    def start(self) -> None:
        self._seen = self._look()

    def add(self, verb: str) -> None:
        ran_s, size = self._look()
        self.cpu_s[verb] += ran_s - self._seen[0]
        self.file_bytes[verb] += size - self._seen[1]
        self._seen = ran_s, size


def made_jobs(number: int) -> list[bytes]:
    """Encoded jobs as ingest stores them."""
    now_ms, body = int(time.time() * 1000), payload(256)
    ids = new_ids(now_ms, os.urandom(10 * number))
    return [
        encode_job(Job(each, device_token(), "com.example.app", body, admitted_ms=now_ms)) for each in ids
    ]


def batches_of(shape: Shape, jobs: Sequence[bytes]) -> list[Batch]:
    """The stock, a batch of each flow of each shard in turn."""
    pieces = iter(range(0, len(jobs), shape.batch))
    return [
        Batch(shard, Lane.HIGH, f"tenant{flow:03d}", jobs[first : first + shape.batch], BOUND)
        for _ in range(JOBS_A_SHARD // shape.batch // shape.flows)
        for flow in range(shape.flows)
        for shard in range(SHARDS)
        for first in [next(pieces)]
    ]


class Work:
    """Takes a stock through the verbs of a queue, as the holder of all shards."""

    def __init__(self, queue: Verbs, holdings: Sequence[Holding], meter: Meter) -> None:
        self._queue, self._holdings, self._meter = queue, holdings, meter
        self._open: list[list[Settlement]] = [[] for _ in holdings]
        self._number = 0

    async def enqueue(self, batches: Sequence[Batch]) -> None:
        self._meter.start()
        for first in range(0, len(batches), SHARDS):
            answers = await self._queue.enqueue(batches[first : first + SHARDS])
            assert not any(answers), answers
        self._meter.add("enqueue")

    async def drain(self, quantum: int, chance: random.Random | None) -> int:
        """Claims and settles until nothing is left, in any order if there is chance; returns the number of jobs."""
        done, more = 0, True
        while more or any(self._open):
            self._meter.start()
            while more and all(len(mine) < OPEN_MOST for mine in self._open):
                brought = await self._claim(quantum)
                done += brought
                more = brought > 0
            self._meter.add("claim")
            ending = [each for mine in self._open for each in _taken(mine, more, chance)]
            self._meter.start()
            for first in range(0, len(ending), SETTLED_TOGETHER):
                await self._queue.settle(ending[first : first + SETTLED_TOGETHER])
            self._meter.add("settle")
        return done

    async def _claim(self, quantum: int) -> int:
        """One claim of each shard."""
        self._number += 1
        wanted = [(each, f"{each.fence}:{self._number}", CLAIM) for each in self._holdings]
        brought = 0
        for mine, answer in zip(
            self._open, await self._queue.claim(wanted, quantum=quantum, low_share=0.1), strict=True
        ):
            assert isinstance(answer, Claimed | Ranged), answer
            if answer.runs:
                mine.append(Settlement(answer.holding, answer.claim_id))
                brought += sum(len(run.jobs) for run in answer.runs)
        return brought


def _taken(mine: list[Settlement], some: bool, chance: random.Random | None) -> list[Settlement]:
    """Takes claims off a shard's open ones: ``STEP`` of them, or all."""
    if chance:
        chance.shuffle(mine)
    taken = mine[:STEP] if some else list(mine)
    del mine[: len(taken)]
    return taken


async def _measure(
    place: Lab, kind: str, shape: Shape, order: str, jobs: Sequence[bytes]
) -> dict[str, float]:
    connection, redis = (
        ScriptConnection(place.redis.url, answer_timeout_s=60.0),
        Redis.from_url(place.redis.url),
    )
    leave_alone(redis)
    holdings = [each for each in await Queue(connection).acquire(range(SHARDS)) if isinstance(each, Holding)]
    meter = Meter(place, redis)
    work = Work(KINDS[kind](connection), holdings, meter)
    await work.enqueue(batches_of(shape, jobs))
    done = await work.drain(shape.quantum, random.Random(len(jobs)) if order == "any order" else None)
    assert done == len(jobs), (done, len(jobs))
    await connection.close()
    redis.close()
    found = {f"{verb}_us": 1e6 * meter.cpu_s[verb] / done for verb in VERBS}
    found |= {f"{verb}_bytes": meter.file_bytes[verb] / done for verb in VERBS}
    return found | {
        "us": 1e6 * sum(meter.cpu_s.values()) / done,
        "bytes": sum(meter.file_bytes.values()) / done,
        "restart_us": 1e6 * _restarted_s(place) / done,
    }


def _restarted_s(place: Lab) -> float:
    """CPU seconds that a new server takes until it has read the file."""
    place.redis.stop()
    place.redis.start()
    return cpu_s([place.redis_pid])


async def _hold(place: Lab, kind: str, jobs: Sequence[bytes]) -> dict[str, float]:
    """One flow, of which the first claim stays open while all others are claimed and settled."""
    connection, redis = (
        ScriptConnection(place.redis.url, answer_timeout_s=60.0),
        Redis.from_url(place.redis.url),
    )
    leave_alone(redis)
    [holding] = [each for each in await Queue(connection).acquire([0]) if isinstance(each, Holding)]
    queue: Verbs = KINDS[kind](connection)
    empty: int = redis.info("memory")["used_memory"]
    for first in range(0, len(jobs), CLAIM):
        await queue.enqueue([Batch(0, Lane.HIGH, "tenant", jobs[first : first + CLAIM])])
    spent = []
    began_s = cpu_s([place.redis_pid])
    for number in range(len(jobs) // CLAIM):
        claim_id = f"{holding.fence}:{number}"
        await queue.claim([(holding, claim_id, CLAIM)], quantum=CLAIM, low_share=0.1)
        if number:
            await queue.settle([Settlement(holding, claim_id)])
        now_s = cpu_s([place.redis_pid])
        spent.append(1e6 * (now_s - began_s) / CLAIM)
        began_s = now_s
    kept: int = redis.info("memory")["used_memory"]
    await connection.close()
    redis.close()
    tenth = len(spent) // 10
    middle = spent[len(spent) // 2 - tenth // 2 : len(spent) // 2 + tenth // 2]
    return {
        "first_tenth_us": round(median(spent[:tenth]), 2),
        "middle_us": round(median(middle), 2),
        "last_tenth_us": round(median(spent[-tenth:]), 2),
        "memory_kept": kept - empty,
    }


def in_turn(rounds: int, shape: Shape, order: str, jobs: Sequence[bytes]) -> dict[str, Any]:
    seen: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in list(KINDS)[:: 1 if number % 2 else -1]:
            with lab() as place:
                seen[kind].append(asyncio.run(_measure(place, kind, shape, order, jobs)))
    found: dict[str, Any] = {
        kind: {name: round(median(each[name] for each in own), 2) for name in own[0]}
        for kind, own in seen.items()
    }
    ratios = [b["us"] / a["us"] for a, b in zip(seen["copies"], seen["ranges"], strict=True)]
    return found | {"ratios": [round(each, 2) for each in ratios], "ratio": round(median(ratios), 2)}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    jobs = made_jobs(SHARDS * JOBS_A_SHARD)
    result: dict[str, Any] = {"job_bytes": len(jobs[0])}
    for shape in SHAPES:
        for order in ORDERS:
            result[f"{shape.flows} flows, {order}"] = in_turn(rounds, shape, order, jobs)
    jobs = made_jobs(HELD_JOBS)
    for kind in KINDS:
        with lab() as place:
            result[f"one claim held, {kind}"] = asyncio.run(_hold(place, kind, jobs))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
