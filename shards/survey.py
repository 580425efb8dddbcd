"""What stands in all queues, and for how long: for whoever watches; the hot path never asks."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from shards.campaign import admitted_ms_of, is_element
from shards.errors import StoreRefused
from shards.job import decode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.redis import Call, ScriptConnection, script

# of one lane of a shard
FLOWS_LOOKED_AT: Final = 100

_SURVEY: Final = script("survey")


class Survey(NamedTuple):
    """Jobs of all shards. ``ready`` by lane, as far as flows were looked at, and under "" the others; ``oldest_ms``:
    when the oldest job of a lane was admitted, Unix ms, of those that were looked at."""

    ready: Mapping[str, int]
    waiting: int
    dead: int
    oldest_ms: Mapping[str, int]


class Surveys:
    """The call, over one connection. Raises StoreUnavailable and StoreRefused."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Surveys over {self._connection!r}>"

    async def take(self, shards: int) -> Survey:
        """In one round trip. Redis looks at no more than ``FLOWS_LOOKED_AT`` flows of a lane of a shard."""
        calls = []
        for shard in range(shards):
            keys = shard_keys(shard)
            lists = (keys.high, keys.low, keys.depth, keys.waiting, keys.dead)
            calls.append(Call(_SURVEY, lists, [FLOWS_LOOKED_AT]))
        ready: dict[str, int] = dict.fromkeys((*Lane, ""), 0)
        oldest_ms: dict[str, int] = {}
        waiting = dead = 0
        for answer in await self._connection.run(calls):
            if isinstance(answer, StoreRefused):
                raise answer
            all_ready, late, letters, high, low, *oldest = answer
            ready[Lane.HIGH] += high
            ready[Lane.LOW] += low
            ready[""] += max(0, all_ready - high - low)
            waiting, dead = waiting + late, dead + letters
            for lane, job in zip(oldest[::2], oldest[1::2], strict=True):
                _note(oldest_ms, lane.decode(), job)
        return Survey(ready, waiting, dead, oldest_ms)


def _note(oldest_ms: dict[str, int], lane: str, encoded: Any) -> None:
    try:
        admitted_ms = admitted_ms_of(encoded) if is_element(encoded) else decode_job(encoded).admitted_ms
    except msgspec.DecodeError:
        # a worker that meets it buries it
        return
    oldest_ms[lane] = min(oldest_ms.get(lane) or admitted_ms, admitted_ms)
