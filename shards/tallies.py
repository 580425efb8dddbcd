"""How many jobs of a tenant stand in the queues, for people who ask; the hot path never does."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from shards.errors import StoreRefused
from shards.flow import flows_of
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import shards_of
from shards.redis import Call, ScriptConnection, script

# a shard's waiting jobs are everybody's, so a tenant's can only be found by looking at each: 1,000 take about 1 ms
LOOKED_AT_MOST: Final = 1_000
# runs in a shard's claims are everybody's, too: 4,000, a quarter of what a worker may hold, take about 10 ms
RUNS_LOOKED_AT_MOST: Final = 4_000

_TALLY: Final = script("tally")
_SEEK: Final = script("seek")


class Tally(NamedTuple):
    """Jobs that are ready, by lane, and jobs that wait for another try.

    ``more``: so many jobs wait, of whomever, that not all were looked at; then ``retry`` may be more than is said.
    """

    high: int
    low: int
    retry: int
    more: bool


class Remains(NamedTuple):
    """Jobs of a tenant that have not ended, on any shard: those that wait, and those ``in_hand``, in workers' claims.

    ``more_waiting``, ``more_in_hand``: there are so many, of whomever, that not all were looked at; then there may be
    more of the tenant's than is said.
    """

    waiting: int
    in_hand: int
    more_waiting: bool = False
    more_in_hand: bool = False


class Tallies:
    """The call, over one connection. Raises StoreUnavailable and StoreRefused."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Tallies over {self._connection!r}>"

    async def count(self, tenant: str, spread: int, shards: int) -> Tally:
        """A tenant's jobs on the shards that its devices are hashed over, in one round trip."""
        high, low, retry, more, _, _ = await self._sums(tenant, shards_of(tenant, spread, shards), 0)
        return Tally(high, low, retry, more > 0)

    async def remains(self, tenant: str, shards: int) -> Remains:
        """What is left of a tenant, in one round trip: on all shards, since its spread may have been another before."""
        high, low, retry, more, in_hand, more_in_hand = await self._sums(
            tenant, range(shards), RUNS_LOOKED_AT_MOST
        )
        return Remains(high + low + retry, in_hand, more > 0, more_in_hand > 0)

    async def waits(self, tenant: str, shards: int) -> bool:
        """Whether a job of the tenant waits for another try, however many of others do.

        It looks at all that wait, piece by piece, about a second for a million of them. What moves from there to the
        ready lists meanwhile may not be found: count what ``remains`` after it.
        """
        flows = flows_of(tenant)
        for shard in range(shards):
            cursor = b"0"
            while True:
                call = Call(_SEEK, (shard_keys(shard).waiting,), [cursor, LOOKED_AT_MOST, *flows])
                [answer] = await self._connection.run([call])
                if isinstance(answer, StoreRefused):
                    raise answer
                cursor, found = answer
                if found:
                    return True
                if cursor == b"0":
                    break
        return False

    async def _sums(self, tenant: str, shards: Iterable[int], runs_most: int) -> list[int]:
        """What the script returns of each shard, added up."""
        flows = flows_of(tenant)
        calls = []
        for shard in sorted(set(shards)):
            keys = shard_keys(shard)
            ready = [keys.ready(lane, flow) for flow in flows for lane in (Lane.HIGH, Lane.LOW)]
            calls.append(
                Call(_TALLY, (keys.waiting, keys.claims, *ready), [LOOKED_AT_MOST, runs_most, *flows])
            )
        sums = [0] * 6
        for answer in await self._connection.run(calls):
            if isinstance(answer, StoreRefused):
                raise answer
            sums = [so_far + part for so_far, part in zip(sums, answer, strict=True)]
        return sums
