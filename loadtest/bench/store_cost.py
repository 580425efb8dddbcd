"""What claiming and settling cost Redis, each by itself.

In a drain both run at once, beside much else, and Redis counts all scripts as one command. So a whole stock is claimed
here first, in rounds as a worker with an empty hand claims, and settled then, while nothing else runs. The cost is the
CPU time of Redis' process, with the reading of calls, the writing of answers and of the append-only file; beside it
stands what ``INFO commandstats`` has for the scripts alone. (The latter is by the clock on the wall: a script that has
to wait for a CPU costs more by it.)
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from engine.options import EngineOptions
from engine.policy.sharing import RoundOptions, plan_round, turns_brought
from loadtest.bench.cpu import cpu_s
from loadtest.bench.lab import Lab
from shards.claim import Claimed, Holding, Settlement
from shards.queue import Queue
from shards.redis import ScriptConnection
from shards.tenants import DEFAULT_SHARDS

ANSWER_S: Final = 60.0
LEASE_S: Final = 300.0
_SETTLED_TOGETHER: Final = 8


class Cost(NamedTuple):
    """Calls of a script for so many jobs; CPU seconds of Redis' process, and the script's microseconds."""

    jobs: int
    calls: int
    cpu_s: float
    script_us: int


class StoreCost(NamedTuple):
    """Of one stock, claimed and then settled."""

    claim: Cost
    settle: Cost


def leave_alone(redis: Any) -> None:
    """The append-only file is not rewritten any more: that comes by its size, whoever's jobs are in it, and falls on
    one measurement or another."""
    redis.config_set("auto-aof-rewrite-percentage", 0)


def store_cost(place: Lab, redis: Any, ready: Callable[[], None]) -> StoreCost:
    """Claim and settle a stock, which ``ready`` makes ready when every shard is held. No worker must run."""
    return asyncio.run(_store_cost(place, redis, ready))


async def _store_cost(place: Lab, redis: Any, ready: Callable[[], None]) -> StoreCost:
    options = EngineOptions()
    connection = ScriptConnection(place.redis.url, answer_timeout_s=ANSWER_S)
    queue = Queue(connection)
    holdings = [
        each
        for each in await queue.acquire(range(DEFAULT_SHARDS), "bench", LEASE_S)
        if isinstance(each, Holding)
    ]
    ready()
    meter = _Meter(place.redis_pid, redis)
    claims = await _claim_all(queue, holdings, options)
    claim = meter.read(sum(len(run.jobs) for each in claims for run in each.runs))
    settlements = [Settlement(each.holding, each.claim_id) for each in claims]
    del claims
    for first in range(0, len(settlements), _SETTLED_TOGETHER):
        await queue.settle(settlements[first : first + _SETTLED_TOGETHER])
    settle = meter.read(claim.jobs)
    await queue.release(holdings)
    await connection.close()
    return StoreCost(claim, settle)


async def _claim_all(queue: Queue, holdings: list[Holding], options: EngineOptions) -> list[Claimed]:
    rounds = RoundOptions(options.round_most, options.claim_least, options.claim_most, options.turn_least)
    awake, claims, number, turns = list(holdings), [], 0, 1.0
    while awake:
        number += 1
        plan = plan_round(0, len(awake), options.in_hand_most, options.in_hand_most, turns, rounds)
        some, awake = awake[: plan.shards], awake[plan.shards :]
        answers = await queue.claim(
            [(each, f"{each.fence}:{number}", plan.most) for each in some],
            quantum=plan.turn,
            low_share=options.low_share,
        )
        brought = 0
        for answer in answers:
            if not isinstance(answer, Claimed):
                raise RuntimeError(f"a claim failed: {answer!r}")
            if answer.runs:
                claims.append(answer)
                brought += sum(len(run.jobs) for run in answer.runs)
            if not answer.asleep:
                awake.append(answer.holding)
        turns = turns_brought(turns, plan, brought)
    return claims


class _Meter:
    """Reads what was spent since it was last read."""

    def __init__(self, pid: int, redis: Any) -> None:
        self._pid = pid
        self._redis = redis
        self._cpu_s, self._stats = cpu_s([pid]), _stats(redis)

    def read(self, jobs: int) -> Cost:
        now_s = cpu_s([self._pid])
        stats = _stats(self._redis)
        cost = Cost(
            jobs,
            stats["calls"] - self._stats["calls"],
            now_s - self._cpu_s,
            stats["usec"] - self._stats["usec"],
        )
        self._cpu_s, self._stats = cpu_s([self._pid]), stats
        return cost


def _stats(redis: Any) -> dict[str, int]:
    found: dict[str, int] = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return found
