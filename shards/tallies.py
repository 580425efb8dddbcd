"""How many jobs of a tenant stand in the queues, for people who ask; the hot path never does."""

from typing import Final, NamedTuple

from shards.errors import StoreRefused
from shards.flow import flows_of
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import shards_of
from shards.redis import Call, ScriptConnection, script

# a shard's waiting jobs are everybody's, so a tenant's can only be found by looking at each: 1,000 take about 1 ms
LOOKED_AT_MOST: Final = 1_000

_TALLY: Final = script("tally")


class Tally(NamedTuple):
    """Jobs that are ready, by lane, and jobs that wait for another try.

    ``more``: so many jobs wait, of whomever, that not all were looked at; then ``retry`` may be more than is said.
    """

    high: int
    low: int
    retry: int
    more: bool


class Tallies:
    """The call, over one connection. Raises StoreUnavailable and StoreRefused."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Tallies over {self._connection!r}>"

    async def count(self, tenant: str, spread: int, shards: int) -> Tally:
        """A tenant's jobs on the shards that its devices are hashed over, in one round trip."""
        flows = flows_of(tenant)
        calls = []
        for shard in sorted(set(shards_of(tenant, spread, shards))):
            keys = shard_keys(shard)
            ready = [keys.ready(lane, flow) for flow in flows for lane in (Lane.HIGH, Lane.LOW)]
            calls.append(Call(_TALLY, (keys.waiting, *ready), [LOOKED_AT_MOST, *flows]))
        high = low = retry = 0
        more = False
        for answer in await self._connection.run(calls):
            if isinstance(answer, StoreRefused):
                raise answer
            high, low, retry = high + answer[0], low + answer[1], retry + answer[2]
            more = more or answer[3] == 1
        return Tally(high, low, retry, more)
