"""The sharded queues: enqueue, claim, settle, promote, reclaim. One method a verb, one Lua script a verb.

Every method takes and returns batches that span shards, and costs one round trip. A job is in exactly one place
until it is settled: a ready list, a claim, or the waiting set. While Redis is out of memory enqueue is refused, and
every other verb still works, so that the queues can drain.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from shards.errors import StoreRefused
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.redis import Call, ScriptConnection, script

CLAIM_MOST: Final = 3_800
DEAD_LENGTH: Final = 10_000

_ENQUEUE: Final = script("enqueue")
_CLAIM: Final = script("claim")
_SETTLE: Final = script("settle")
_PROMOTE: Final = script("promote")
_RECLAIM: Final = script("reclaim")
_ACQUIRE: Final = script("acquire")


class Batch(NamedTuple):
    """Encoded jobs of one tenant for one lane of one shard."""

    shard: int
    lane: Lane
    tenant: str
    jobs: Sequence[bytes]


class Holding(NamedTuple):
    """A worker's right to a shard: whoever held it before has a lower fence and can neither claim nor settle."""

    shard: int
    fence: int


class Run(NamedTuple):
    """Encoded jobs of one tenant and lane that stand together in a claim."""

    lane: str
    tenant: str
    jobs: Sequence[bytes]


class Claimed(NamedTuple):
    """The answer to a claim. ``asleep``: the shard has nothing more, and rings its bell at the next enqueue."""

    holding: Holding
    claim_id: str
    runs: list[Run]
    asleep: bool


class Retry(NamedTuple):
    """A job that waits until ``due_ms`` (Unix ms) to be tried again."""

    due_ms: int
    lane: str
    tenant: str
    job: bytes


class Burial(NamedTuple):
    """A job that ends unsent, and why; ``at_ms`` is Unix ms."""

    tenant: str
    reason: str
    at_ms: int
    job: bytes


class Settlement(NamedTuple):
    """The end of a claim: the jobs not named in it were accepted by APNs."""

    holding: Holding
    claim_id: str
    retries: Sequence[Retry] = ()
    burials: Sequence[Burial] = ()


class Fenced(NamedTuple):
    """Not done: another worker has taken the shard since."""

    holding: Holding


class Queue:
    """The verbs, over one connection. Raises StoreUnavailable, and StoreRefused when Redis refuses the login."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection
        self._low_owed: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<Queue over {self._connection!r}>"

    async def enqueue(self, batches: Sequence[Batch]) -> list[StoreRefused | None]:
        """Append jobs; returns for each batch None (Redis has it) or why Redis would not take it (none of it)."""
        calls = []
        for shard, lane, tenant, jobs in batches:
            keys = shard_keys(shard)
            calls.append(
                Call(
                    _ENQUEUE,
                    (keys.ring(lane), keys.ready(lane, tenant), keys.asleep, keys.bell),
                    [tenant, *jobs],
                )
            )
        return [a if isinstance(a, StoreRefused) else None for a in await self._connection.run(calls)]

    async def acquire(self, shards: Sequence[int]) -> list[Holding]:
        """Take shards over from whoever held them."""
        answers = await self._run([Call(_ACQUIRE, (shard_keys(s).fence,), ()) for s in shards])
        return [Holding(s, fence) for s, fence in zip(shards, answers, strict=True)]

    async def claim(
        self,
        wanted: Sequence[tuple[Holding, str, int]],
        *,
        quantum: int,
        low_share: float,
        pass_over: Sequence[str] = (),
    ) -> list[Claimed | Fenced | StoreRefused]:
        """Claim jobs: for each (holding, new claim id, how many at most) one answer.

        A claim id is "fence:number", with a number that grows and is never used twice: a claim under an id that is
        in use already would be settled together with the other one. A tenant that shares a lane with others gives
        up to ``quantum`` jobs at each turn; ``low_share`` of what is wanted (0 to 1) is kept for the low lane as
        long as that has jobs. Tenants in ``pass_over`` keep their jobs.
        """
        calls = []
        for (shard, fence), claim_id, most in wanted:
            keys = shard_keys(shard)
            want = min(most, CLAIM_MOST)
            # fractions add up from claim to claim: many small claims leave the low lane its share all the same
            owed = self._low_owed.get(shard, 0.0) + want * low_share
            reserved = int(owed)
            self._low_owed[shard] = owed - reserved
            calls.append(
                Call(
                    _CLAIM,
                    (keys.fence, keys.high, keys.low, keys.claims, keys.claim(claim_id), keys.asleep),
                    [fence, claim_id, want, quantum, reserved, *pass_over],
                )
            )
        return [
            answer if isinstance(answer, StoreRefused) else _claimed(holding, claim_id, answer)
            for (holding, claim_id, _), answer in zip(wanted, await self._connection.run(calls), strict=True)
        ]

    async def settle(self, settlements: Sequence[Settlement]) -> list[Holding | Fenced | StoreRefused]:
        """End claims; each answer is the holding when it is done. Safe to repeat when it was not, or unanswered."""
        calls = []
        for (shard, fence), claim_id, retries, burials in settlements:
            keys = shard_keys(shard)
            args: list[bytes | str | int] = [fence, claim_id, DEAD_LENGTH, len(retries)]
            for due_ms, lane, tenant, job in retries:
                args += (due_ms, f"{lane}|{tenant}|".encode() + job)
            for burial in burials:
                args += burial
            calls.append(
                Call(_SETTLE, (keys.fence, keys.claims, keys.claim(claim_id), keys.waiting, keys.dead), args)
            )
        return [
            answer if isinstance(answer, StoreRefused) else Fenced(s.holding) if answer == -1 else s.holding
            for s, answer in zip(settlements, await self._connection.run(calls), strict=True)
        ]

    async def promote(self, shards: Sequence[int], now_ms: int, most: int = 1_000) -> list[tuple[int, int]]:
        """Make due jobs ready; for each shard (promoted, due time of the next in Unix ms or -1)."""
        calls = []
        for shard in shards:
            keys = shard_keys(shard)
            calls.append(Call(_PROMOTE, (keys.waiting, keys.high, keys.low), [now_ms, most]))
        return [(promoted, due_ms) for promoted, due_ms in await self._run(calls)]

    async def reclaim(self, holding: Holding) -> int | Fenced:
        """Give back the claims that earlier holders of the shard left; returns the number of jobs given back."""
        keys = shard_keys(holding.shard)
        call = Call(_RECLAIM, (keys.fence, keys.claims, keys.high, keys.low), [holding.fence])
        total, left = 0, 1
        while left:
            # one claim a call: Redis serves others in between
            [(given_back, left)] = await self._run([call])
            if given_back == -1:
                return Fenced(holding)
            total += given_back
        return total

    async def _run(self, calls: list[Call]) -> list[Any]:
        answers = await self._connection.run(calls)
        for answer in answers:
            if isinstance(answer, StoreRefused):
                raise answer
        return answers


def _claimed(holding: Holding, claim_id: str, answer: list[Any]) -> Claimed | Fenced:
    state = answer[0]
    if state == -1:
        return Fenced(holding)
    runs = []
    at = 1
    while at < len(answer):
        lane, tenant, count = answer[at].decode().split("|")
        end = at + 1 + int(count)
        runs.append(Run(lane, tenant, answer[at + 1 : end]))
        at = end
    return Claimed(holding, claim_id, runs, state == 1)
