"""The sharded queues: enqueue, claim, settle, promote, reclaim. One method a verb, one Lua script a verb.

Every method takes and returns batches that span shards, and costs one round trip. A job is in exactly one place
until it is settled: a ready list, a claim, or the waiting set. While Redis is out of memory enqueue is refused, and
every other verb still works, so that the queues can drain.
"""

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from shards.campaign import Portion
from shards.claim import Claimed, Fenced, Holding, Members, Reclaimed, Run, Settlement, Taken
from shards.errors import StoreRefused
from shards.keys import MEMBERS, shard_keys
from shards.lanes import Lane
from shards.redis import Call, ScriptConnection, script

CLAIM_MOST: Final = 3_800
# how long a shard stays with a member that says nothing more
LEASE_S: Final = 6.0
# no member may ask for longer; a lease that would hold longer is of before the clock was set back
LEASE_MOST_S: Final = 300.0
DEAD_LENGTH: Final = 10_000
# a job that so many holders died with in hand is buried; suspects come back in slots of their own, of which each
# shard uses every eighth
DEATHS_MOST: Final = 3
SLOT_MS: Final = 1_000
SLOTS: Final = 8
DEATHS_KEPT: Final = 10_000
DEATHS_KEPT_S: Final = 3_600

_ENQUEUE: Final = script("enqueue")
_CLAIM: Final = script("claim")
_SETTLE: Final = script("settle")
_PROMOTE: Final = script("promote")
_RECLAIM: Final = script("reclaim")
_TRIM: Final = script("trim")
_ACQUIRE: Final = script("acquire")
_RENEW: Final = script("renew")
_RELEASE: Final = script("release")
_ANNOUNCE: Final = script("announce")


class Batch(NamedTuple):
    """Encoded jobs of one flow for one lane of one shard.

    ``most``: jobs that the flow may have ready on the shard; 0 for any number. ``campaigns``: whose elements are among
    the jobs, and how many of each.
    """

    shard: int
    lane: Lane
    flow: str
    jobs: Sequence[bytes]
    most: int = 0
    campaigns: Sequence[Portion] = ()


class Full(StrEnum):
    """Not enqueued: so many jobs stand in the queue already that no more are taken."""

    FLOW = "flow"
    SHARD = "shard"


_FULL: Final = {-1: Full.FLOW, -2: Full.SHARD}


class Queue:
    """The verbs, over one connection. Raises StoreUnavailable, and StoreRefused when Redis refuses the login."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Queue over {self._connection!r}>"

    async def enqueue(
        self, batches: Sequence[Batch], shard_most: int = 0
    ) -> list[StoreRefused | Full | None]:
        """Append jobs; returns for each batch None (Redis has it) or why it would not take any of it.

        ``shard_most``: jobs that a shard may hold, ready and waiting; 0 for any number.
        """
        calls = []
        for shard, lane, flow, jobs, most, campaigns in batches:
            keys = shard_keys(shard)
            other = Lane.LOW if lane is Lane.HIGH else Lane.HIGH
            args: list[bytes | str | int] = [flow, most, shard_most, len(campaigns)]
            for campaign in campaigns:
                args += campaign
            calls.append(
                Call(
                    _ENQUEUE,
                    (
                        *(keys.ring(lane), keys.ready(lane, flow), keys.unrung, keys.bell, keys.depth),
                        *(keys.waiting, keys.ready(other, flow), keys.campaigns, keys.left),
                    ),
                    [*args, *jobs],
                )
            )
        return [
            answer if isinstance(answer, StoreRefused) else _FULL.get(answer)
            for answer in await self._connection.run(calls)
        ]

    async def announce(self, member: str, lease_s: float, known: Sequence[str] = ()) -> Members:
        """Say that a member lives for so long from now (0: that it leaves); returns who else does.

        ``known`` are the members that were heard when it last asked: taken to live when it has not been heard itself
        for half of that time.
        """
        [(live, heard)] = await self._run([Call(_ANNOUNCE, (MEMBERS,), [_ms(lease_s), member, *known])])
        return Members([name.decode() for name in live], [name.decode() for name in heard])

    async def acquire(
        self, shards: Sequence[int], member: str = "worker", lease_s: float = LEASE_S
    ) -> list[Holding | Taken]:
        """Take shards that are free, or whose lease has lapsed; a member takes back its own at once."""
        calls = []
        for shard in shards:
            keys = shard_keys(shard)
            nonce = os.urandom(4).hex()
            calls.append(
                Call(_ACQUIRE, (keys.fence, keys.lease), [member, _ms(lease_s), nonce, _ms(LEASE_MOST_S)])
            )
        return [
            Holding(shard, said.decode()) if done else Taken(shard, said.decode())
            for shard, (done, said) in zip(shards, await self._run(calls), strict=True)
        ]

    async def renew(self, holdings: Sequence[Holding], member: str, lease_s: float) -> list[Holding | Fenced]:
        """Hold shards for another term; one that nobody else has taken since is revived even if it has lapsed."""
        calls = []
        for shard, fence in holdings:
            keys = shard_keys(shard)
            calls.append(Call(_RENEW, (keys.fence, keys.lease), [fence, member, _ms(lease_s)]))
        return _held_or_fenced(holdings, await self._run(calls))

    async def release(self, holdings: Sequence[Holding]) -> list[Holding | Fenced]:
        """Give shards up; settle their claims before."""
        calls = []
        for shard, fence in holdings:
            keys = shard_keys(shard)
            calls.append(Call(_RELEASE, (keys.fence, keys.lease), [fence]))
        return _held_or_fenced(holdings, await self._run(calls))

    async def claim(
        self,
        wanted: Sequence[tuple[Holding, str, int]],
        *,
        quantum: int,
        low_share: float,
        rooms: Sequence[tuple[str, int]] = (),
    ) -> list[Claimed | Fenced | StoreRefused]:
        """Claim jobs: for each (holding, new claim id, how many at most) one answer.

        A claim id is "fence:number", with a number that grows and is never used twice: a claim under an id that is
        in use already would be settled together with the other one. Each flow gives at most ``quantum`` jobs times its
        weight; while the high lane has more to give, ``low_share`` (0 to 1) of what is taken comes from the low lane.
        ``rooms``: flows of which no more than so many jobs are wanted; with 0 they keep what they have.
        """
        calls = []
        limited = [word for flow, most in rooms for word in (flow, most)]
        for (shard, fence), claim_id, most in wanted:
            keys = shard_keys(shard)
            calls.append(
                Call(
                    _CLAIM,
                    (
                        *(keys.fence, keys.high, keys.low, keys.claims, keys.claim(claim_id), keys.unrung),
                        *(keys.depth, keys.rules, keys.budgets, keys.turns),
                    ),
                    [fence, claim_id, min(most, CLAIM_MOST), quantum, str(low_share), *limited],
                )
            )
        return [
            answer if isinstance(answer, StoreRefused) else _claimed(holding, claim_id, answer)
            for (holding, claim_id, _), answer in zip(wanted, await self._connection.run(calls), strict=True)
        ]

    async def settle(self, settlements: Sequence[Settlement]) -> list[Holding | Fenced | StoreRefused]:
        """End claims; each answer is the holding when it is done. Safe to repeat when it was not, or unanswered."""
        calls = []
        for (shard, fence), claim_id, retries, burials, rest_id, rest, elements in settlements:
            keys = shard_keys(shard)
            lines: list[bytes | str] = []
            for lane, flow, jobs in rest:
                lines += (f"{lane}|{flow}|{len(jobs)}", *jobs)
            args: list[bytes | str | int] = [
                fence,
                claim_id,
                DEAD_LENGTH,
                rest_id,
                len(lines),
                *lines,
                len(elements),
            ]
            for each in elements.items():
                args += each
            args.append(len(retries))
            for due_ms, lane, flow, job in retries:
                args += (due_ms, f"{lane}|{flow}|".encode() + job)
            for burial in burials:
                args += burial
            own = (keys.fence, keys.claims, keys.claim(claim_id), keys.waiting, keys.dead, keys.dead_tokens)
            calls.append(Call(_SETTLE, (*own, keys.claim(rest_id), keys.campaigns, keys.left), args))
        return [
            answer if isinstance(answer, StoreRefused) else Fenced(s.holding) if answer == -1 else s.holding
            for s, answer in zip(settlements, await self._connection.run(calls), strict=True)
        ]

    async def promote(self, shards: Sequence[int], now_ms: int, most: int = 1_000) -> list[tuple[int, int]]:
        """Make due jobs ready; for each shard (promoted, due time of the next in Unix ms or -1)."""
        calls = []
        for shard in shards:
            keys = shard_keys(shard)
            calls.append(Call(_PROMOTE, (keys.waiting, keys.high, keys.low, keys.depth), [now_ms, most]))
        return [(promoted, due_ms) for promoted, due_ms in await self._run(calls)]

    async def trim_dead(self, shards: Sequence[int], older_than_ms: int) -> int:
        """Forget dead letters and dead tokens of before that time (Unix ms); returns how many."""
        calls = []
        for shard in shards:
            keys = shard_keys(shard)
            calls.append(Call(_TRIM, (keys.dead, keys.dead_tokens), [older_than_ms]))
        return sum(await self._run(calls))

    async def reclaim(self, holding: Holding, *, sent: bool = True) -> Reclaimed | Fenced:
        """Give back the claims that earlier holders of the shard left.

        ``sent``: their jobs may have been sent, which is so whenever a holder was lost. Then those of tenants that
        want nothing twice are buried, and a job that was in hand at several such losses is buried as poison. It is
        False for claims that no worker ever learned of, because the answer was lost.
        """
        keys = shard_keys(holding.shard)
        lists = (
            keys.fence,
            keys.claims,
            keys.high,
            keys.low,
            keys.waiting,
            keys.dead,
            keys.deaths,
            keys.once,
            keys.depth,
            keys.campaigns,
            keys.left,
        )
        call = Call(
            _RECLAIM,
            lists,
            [
                *(holding.fence, int(sent), DEATHS_MOST, SLOT_MS, DEAD_LENGTH, DEATHS_KEPT, DEATHS_KEPT_S),
                *(SLOTS, holding.shard % SLOTS),
            ],
        )
        total, left = Reclaimed(0), 1
        while left:
            # one claim a call: Redis serves others in between
            [(jobs, in_doubt, poison, left)] = await self._run([call])
            if jobs == -1:
                return Fenced(holding)
            total = Reclaimed(total.jobs + jobs, total.in_doubt + in_doubt, total.poison + poison)
        return total

    async def _run(self, calls: list[Call]) -> list[Any]:
        answers = await self._connection.run(calls)
        for answer in answers:
            if isinstance(answer, StoreRefused):
                raise answer
        return answers


def _held_or_fenced(holdings: Sequence[Holding], answers: Sequence[int]) -> list[Holding | Fenced]:
    return [holding if done else Fenced(holding) for holding, done in zip(holdings, answers, strict=True)]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _claimed(holding: Holding, claim_id: str, answer: list[Any]) -> Claimed | Fenced:
    state = answer[0]
    if state == -1:
        return Fenced(holding)
    runs = []
    at = 1
    while at < len(answer):
        lane, flow, count = answer[at].decode().split("|")
        end = at + 1 + int(count)
        runs.append(Run(lane, flow, answer[at + 1 : end]))
        at = end
    return Claimed(holding, claim_id, runs, state > 0, state / 1000 if state > 1 else 0.0)
