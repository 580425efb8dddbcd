"""Whether ranges keep what copies keep, in random histories of one shard: nothing lost, nothing in two places.

    .venv/bin/python -m tuning.experiments.ranges.check [SEED]

After each step all of Redis is read. Each position of a flow's list between base and next must be settled, given back,
or in exactly one claim; what is ready, claimed, waiting or dead must be the jobs that have no end yet, each once; the
ring, the depth and what a holder was given must agree with the rest.
"""

import asyncio
import random
import re
import sys
from collections import Counter
from typing import Any, Final

from redis import Redis

from loadtest.bench.lab import lab
from shards.claim import Burial, Fenced, Holding, Reclaimed, Retry, Settlement
from shards.flow import tenant_of
from shards.job import Job, encode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection
from tuning.experiments.ranges.queue import Ranged, RangeQueue, Span, spans_key, spans_of

SHARD: Final = 0
KEYS: Final = shard_keys(SHARD)
FLOWS: Final = ("a", "b/sandbox", "once")
HISTORIES: Final = 150
STEPS: Final = 120
FAR_MS: Final = 10**14
_RECORD: Final = re.compile(r"(-?\d+) (-?\d+)(?: (\S*) (\S*))?")


class History:
    """Holders of one shard, one after the other, and the jobs that have no end yet."""

    def __init__(self, connection: ScriptConnection, redis: Any, chance: random.Random) -> None:
        self._leases, self._queue = Queue(connection), RangeQueue(connection)
        self._redis, self._chance = redis, chance
        self._living: set[bytes] = set()
        self._open: dict[str, tuple[Ranged, list[tuple[Span, list[bytes]]]]] = {}
        self._lost: list[Ranged] = []
        self._number = 0
        self.steps: Counter[str] = Counter()

    async def tell(self) -> None:
        self._redis.flushall()
        self._redis.sadd(KEYS.once, "once")
        self._redis.hset(KEYS.rules, "a", "2 0 none")
        await self._succeed()
        weighed = {self._enqueue: 5, self._claim: 6, self._settle: 6, self._promote: 2, self._take_over: 1}
        for _ in range(STEPS):
            [step] = self._chance.choices(list(weighed), list(weighed.values()))
            await step()
            self.steps[step.__name__.strip("_")] += 1
            self._look()

    async def _enqueue(self) -> None:
        lane, flow = self._chance.choice(list(Lane)), self._chance.choice(FLOWS)
        jobs = []
        for _ in range(self._chance.randint(1, 8)):
            self._number += 1
            jobs.append(encode_job(Job(b"job%d" % self._number, b"00", f"{lane}|{flow}", b"{}")))
        assert await self._queue.enqueue([Batch(SHARD, lane, flow, jobs, 1_000)]) == [None]
        self._living.update(jobs)

    async def _claim(self) -> None:
        self._number += 1
        claim_id, most = f"{self._holding.fence}:{self._number}", self._chance.randint(1, 14)
        rooms = [(flow, self._chance.randint(0, 3)) for flow in FLOWS if self._chance.random() < 0.2]
        [claimed] = await self._queue.claim(
            [(self._holding, claim_id, most)],
            quantum=self._chance.randint(1, 6),
            low_share=self._chance.choice((0.0, 0.3, 1.0)),
            rooms=rooms,
        )
        assert isinstance(claimed, Ranged) and sum(len(run.jobs) for run in claimed.runs) <= most
        if claimed.runs:
            runs = [run.jobs for run in claimed.runs]
            self._open[claim_id] = (
                claimed,
                [(span, list(jobs)) for span, jobs in zip(claimed.spans, runs, strict=True)],
            )

    async def _settle(self) -> None:
        """Any claim of this holder, some jobs of it carried over; one of an earlier holder is refused."""
        for lost in self._lost[-2:]:
            assert await self._queue.settle([Settlement(lost.holding, lost.claim_id)]) == [
                Fenced(lost.holding)
            ]
        if not self._open:
            return
        claim_id = self._chance.choice(sorted(self._open))
        claimed, parts = self._open.pop(claim_id)
        retries, burials, rest = [], [], []
        carries = self._chance.random() < 0.4
        for span, jobs in parts:
            for at, job in enumerate(jobs):
                fate = self._chance.choice(("accepted", "accepted", "retry", "burial", "none"))
                if fate == "none" and carries:
                    rest.append((Span(span.lane, span.flow, span.first + at, 1), [job]))
                elif fate == "retry":
                    retries.append(Retry(self._chance.randint(1, 50), span.lane, span.flow, job))
                elif fate == "burial":
                    burials.append(Burial(tenant_of(span.flow), "Unregistered", 1, job, span.lane))
                else:
                    self._living.discard(job)
        self._number += 1
        rest_id = f"{self._holding.fence}:{self._number}" if rest else ""
        settlement = Settlement(self._holding, claim_id, retries, burials, rest_id)
        rests = {rest_id: [span for span, _ in rest]}
        for _ in range(self._chance.choice((1, 1, 2))):
            # the second time nothing happens
            assert await self._queue.settle([settlement], rests) == [self._holding]
        if rest:
            self._open[rest_id] = claimed, rest

    async def _promote(self) -> None:
        # suspects wait by the clock, so that all comes sometimes
        now_ms = self._chance.choice((25, FAR_MS))
        await self._queue.promote([SHARD], now_ms, self._chance.randint(1, 9))

    async def _take_over(self) -> None:
        await self._succeed()
        held = sum(len(jobs) for _, parts in self._open.values() for _, jobs in parts)
        assert await self._queue.reclaim(self._holding, sent=self._chance.random() < 0.7) == Reclaimed(held)
        self._lost += [claimed for claimed, _ in self._open.values()]
        self._open.clear()
        for lost in self._lost[-1:]:
            wanted = [(lost.holding, f"{lost.holding.fence}:0", 5)]
            assert await self._queue.claim(wanted, quantum=5, low_share=0.0) == [Fenced(lost.holding)]

    async def _succeed(self) -> None:
        [holding] = await self._leases.acquire([SHARD])
        assert isinstance(holding, Holding)
        self._holding = holding

    def _look(self) -> None:
        redis = self._redis
        claims = {name.decode(): spans_of(of.decode()) for name, of in redis.hgetall(KEYS.claims).items()}
        assert claims.keys() == self._open.keys()
        places, depth = [], 0
        for lane in Lane:
            records = redis.hgetall(spans_key(SHARD, lane))
            ring = []
            for flow in FLOWS:
                jobs = redis.lrange(KEYS.ready(lane, flow), 0, -1)
                base, ready, settled = _standing(records.get(flow.encode()), len(jobs))
                held = [
                    position
                    for spans in claims.values()
                    for span in spans
                    if (span.lane, span.flow) == (lane, flow)
                    for position in range(span.first, span.first + span.number)
                ]
                assert sorted([*ready, *settled, *held]) == list(range(base, base + len(jobs)))
                # what is done is trimmed as soon as nothing stands before it
                assert base not in settled
                places += [jobs[position - base] for position in (*ready, *held)]
                for _, parts in self._open.values():
                    for span, own in parts:
                        if (span.lane, span.flow) == (lane, flow):
                            assert jobs[span.first - base : span.first - base + span.number] == own
                depth += len(ready)
                ring += [flow] if ready else []
            assert sorted(name.decode() for name in redis.lrange(KEYS.ring(lane), 0, -1)) == ring
        assert int(redis.get(KEYS.depth) or 0) == depth
        places += [member.split(b"|", 2)[2] for member in redis.zrange(KEYS.waiting, 0, -1)]
        dead = [fields[b"job"] for _, fields in redis.xrange(KEYS.dead)]
        assert sorted([*places, *dead]) == sorted(self._living)


def _standing(record: bytes | None, length: int) -> tuple[int, list[int], list[int]]:
    """Base, ready positions and settled ones of a flow's list."""
    found = _RECORD.fullmatch(record.decode()) if record else None
    assert (found is None) is (record is None)
    base, following = (int(found[1]), int(found[2])) if found else (0, 0)
    settled, back = (_positions(found[at] or "") if found else [] for at in (3, 4))
    return base, [*back, *range(following, base + length)], settled


def _positions(text: str) -> list[int]:
    pairs = (each.split(":") for each in text.split(",") if each)
    return [position for first, past in pairs for position in range(int(first), int(past))]


async def _check(url: str, seed: int) -> None:
    connection, redis, steps = ScriptConnection(url), Redis.from_url(url), Counter[str]()
    for number in range(seed, seed + HISTORIES):
        history = History(connection, redis, random.Random(number))
        try:
            await history.tell()
        except AssertionError:
            print(f"seed {number}, after {sum(history.steps.values())} steps", file=sys.stderr)
            raise
        steps += history.steps
    print(f"{HISTORIES} histories from seed {seed}:", dict(steps))
    await connection.close()
    redis.close()


def main() -> None:
    with lab() as place:
        asyncio.run(_check(place.redis.url, int(sys.argv[1]) if len(sys.argv) > 1 else 0))


if __name__ == "__main__":
    main()
