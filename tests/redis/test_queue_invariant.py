"""Whatever the order of the verbs: a job is in exactly one place, the rings are true, and the index of claims is.

Hypothesis makes up histories of a few shards and tenants, with workers that lost their shard, jobs that were in hand
at several such losses, a tenant that wants nothing twice and settlements that are sent twice, and after each step all
of Redis is read and compared with what must be there.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import redis as redis_py
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Burial, Claimed, Fenced, Holding, Queue, Retry, Settlement
from shards.redis import ScriptConnection

SHARDS = (0, 1)
TENANTS = ("a", "b", "c")
READY = [(shard, lane, tenant) for shard in SHARDS for lane in Lane for tenant in TENANTS]
FATES = ("accepted", "retry", "burial")
# the tenant that wants nothing twice
ONCE = "c"
# suspects come back by Redis' own clock
FAR_MS = 10**14

Answer = TypeVar("Answer")


class Histories(RuleBasedStateMachine):
    """Workers and a tenant at two shards, and a book of what became of each job."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.connection = ScriptConnection(url)
        self.queue = Queue(self.connection)
        self.raw: Any = redis_py.Redis.from_url(url)
        self.raw.flushall()
        for shard in SHARDS:
            self.raw.sadd(shard_keys(shard).once, ONCE)
        self.deaths: Counter[bytes] = Counter()
        self.enqueued: set[bytes] = set()
        self.accepted: set[bytes] = set()
        self.buried: set[bytes] = set()
        self.holdings: dict[int, list[Holding]] = {}
        self.open: dict[tuple[int, str], Claimed] = {}
        self.settlements: list[Settlement] = []
        self.number = 0
        self.now_ms = 1_000

    def teardown(self) -> None:
        self.finish(self.connection.close())
        self.raw.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def finish(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def first_holders(self) -> None:
        for holding in self.finish(self.queue.acquire(SHARDS)):
            self.holdings[holding.shard] = [holding]

    @rule(place=st.sampled_from(READY), count=st.integers(1, 6))
    def enqueue(self, place: tuple[int, Lane, str], count: int) -> None:
        shard, lane, tenant = place
        first = len(self.enqueued)
        jobs = [f"job{number}|{lane}|{tenant}".encode() for number in range(first, first + count)]
        assert self.finish(self.queue.enqueue([Batch(shard, lane, tenant, jobs)])) == [None]
        self.enqueued.update(jobs)

    @rule(
        shard=st.sampled_from(SHARDS),
        most=st.integers(0, 12),
        quantum=st.integers(1, 4),
        low_share=st.sampled_from((0.0, 0.3, 1.0)),
        pass_over=st.sets(st.sampled_from(TENANTS)),
    )
    def claim(self, shard: int, most: int, quantum: int, low_share: float, pass_over: set[str]) -> None:
        holding = self.holdings[shard][-1]
        self.number += 1
        claim_id = f"{holding.fence}:{self.number}"
        [claimed] = self.finish(
            self.queue.claim(
                [(holding, claim_id, most)], quantum=quantum, low_share=low_share, pass_over=sorted(pass_over)
            )
        )
        assert isinstance(claimed, Claimed)
        taken = sum(len(run.jobs) for run in claimed.runs)
        assert not pass_over & {run.tenant for run in claimed.runs}
        assert taken <= most
        # what the shard says of itself: asleep only with nothing left to take, awake only when the claim is full
        left = {
            tenant
            for at, lane, tenant in READY
            if at == shard and self.raw.exists(shard_keys(at).ready(lane, tenant))
        }
        assert left <= pass_over if claimed.asleep else taken == most
        if taken:
            self.open[shard, claim_id] = claimed

    @precondition(lambda self: any(len(held) > 1 for held in self.holdings.values()))
    @rule(shard=st.sampled_from(SHARDS))
    def claim_by_one_who_lost_the_shard(self, shard: int) -> None:
        for holding in self.holdings[shard][:-1]:
            wanted = [(holding, f"{holding.fence}:999", 5)]
            assert self.finish(self.queue.claim(wanted, quantum=5, low_share=0.0)) == [Fenced(holding)]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        shard, claim_id = data.draw(st.sampled_from(sorted(self.open)))
        claimed = self.open.pop((shard, claim_id))
        retries, burials, accepted = [], [], set()
        for run in claimed.runs:
            for job in run.jobs:
                fate = data.draw(st.sampled_from(FATES))
                if fate == "retry":
                    due_ms = self.now_ms + data.draw(st.integers(0, 50))
                    retries.append(Retry(due_ms, run.lane, run.tenant, job))
                elif fate == "burial":
                    burials.append(Burial(run.tenant, "Unregistered", self.now_ms, job))
                else:
                    accepted.add(job)
        settlement = Settlement(claimed.holding, claim_id, retries, burials)
        answer = self.finish(self.queue.settle([settlement]))
        if claimed.holding == self.holdings[shard][-1]:
            assert answer == [claimed.holding]
            self.accepted |= accepted
            self.buried |= {burial.job for burial in burials}
            self.settlements.append(settlement)
        else:
            assert answer == [Fenced(claimed.holding)]

    @precondition(lambda self: self.settlements)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        settlement = data.draw(st.sampled_from(self.settlements))
        is_holder = settlement.holding == self.holdings[settlement.holding.shard][-1]
        answer = self.finish(self.queue.settle([settlement]))
        assert answer == [settlement.holding if is_holder else Fenced(settlement.holding)]

    @rule(wait_ms=st.integers(0, 40), most=st.integers(1, 5))
    def promote(self, wait_ms: int, most: int) -> None:
        self.now_ms += wait_ms
        for shard, (promoted, next_ms) in zip(
            SHARDS, self.finish(self.queue.promote(SHARDS, self.now_ms, most)), strict=True
        ):
            assert promoted <= most
            assert promoted == most or next_ms == -1 or next_ms > self.now_ms
            assert (next_ms == -1) is not bool(self.raw.exists(shard_keys(shard).waiting))

    @rule()
    def promote_all(self) -> None:
        self.finish(self.queue.promote(SHARDS, FAR_MS))

    @rule(shard=st.sampled_from(SHARDS), dies_first=st.booleans(), sent=st.booleans())
    def take_over(self, shard: int, dies_first: bool, sent: bool) -> None:
        [holding] = self.finish(self.queue.acquire([shard]))
        assert holding.fence not in {earlier.fence for earlier in self.holdings[shard]}
        self.holdings[shard].append(holding)
        if dies_first:
            return
        orphaned = [job for claim in self.claims(shard).values() for job in claim]
        assert self.finish(self.queue.reclaim(holding, sent=sent)) == len(orphaned)
        assert self.claims(shard) == {}
        if sent:
            self.deaths.update(orphaned)
        dead = {fields[b"job"] for _, fields in self.raw.xrange(shard_keys(shard).dead)}
        for job in orphaned:
            once = job.endswith(ONCE.encode())
            # poison is named at the third death, or at the sixth if others were always beside it
            if job in dead:
                assert sent and (once or self.deaths[job] >= 3)
                self.buried.add(job)
            else:
                assert not (sent and once) and self.deaths[job] < 6
        self.open = {at: claimed for at, claimed in self.open.items() if at[0] != shard}

    def claims(self, shard: int) -> dict[str, list[bytes]]:
        """The jobs of each claim of a shard, as they lie in Redis."""
        prefix = f"{shard_keys(shard).claims}:"
        return {
            key.decode().removeprefix(prefix): without_heads(self.raw.lrange(key, 0, -1))
            for key in self.raw.keys(f"{prefix}*")
        }

    @invariant()
    def each_job_is_in_exactly_one_place(self) -> None:
        places: list[bytes] = [*self.accepted]
        for shard, lane, tenant in READY:
            places += self.raw.lrange(shard_keys(shard).ready(lane, tenant), 0, -1)
        for shard in SHARDS:
            places += (job for claim in self.claims(shard).values() for job in claim)
            waiting = self.raw.zrange(shard_keys(shard).waiting, 0, -1)
            places += (member.split(b"|", 2)[2] for member in waiting)
            places += (fields[b"job"] for _, fields in self.raw.xrange(shard_keys(shard).dead))
        assert sorted(places) == sorted(self.enqueued)

    @invariant()
    def only_buried_jobs_are_dead(self) -> None:
        dead = [fields[b"job"] for s in SHARDS for _, fields in self.raw.xrange(shard_keys(s).dead)]
        assert sorted(dead) == sorted(self.buried)

    @invariant()
    def a_tenant_is_in_the_ring_once_exactly_if_it_has_ready_jobs(self) -> None:
        for shard in SHARDS:
            keys = shard_keys(shard)
            for lane in Lane:
                ring = [tenant.decode() for tenant in self.raw.lrange(keys.ring(lane), 0, -1)]
                assert sorted(ring) == [t for t in TENANTS if self.raw.exists(keys.ready(lane, t))]

    @invariant()
    def jobs_lie_where_their_lane_and_tenant_say(self) -> None:
        for shard, lane, tenant in READY:
            for job in self.raw.lrange(shard_keys(shard).ready(lane, tenant), 0, -1):
                assert job.decode().endswith(f"|{lane}|{tenant}")

    @invariant()
    def the_index_names_exactly_the_claims_that_there_are(self) -> None:
        for shard in SHARDS:
            index = {claim_id.decode() for claim_id in self.raw.smembers(shard_keys(shard).claims)}
            assert index == set(self.claims(shard))

    @invariant()
    def what_a_holder_was_given_is_what_its_claim_keeps(self) -> None:
        for (shard, claim_id), claimed in self.open.items():
            assert self.claims(shard)[claim_id] == [job for run in claimed.runs for job in run.jobs]


def without_heads(claim: list[bytes]) -> list[bytes]:
    """The jobs of a claim, without the "lane|tenant|count" before each run."""
    found: list[bytes] = []
    at = 0
    while at < len(claim):
        end = at + 1 + int(claim[at].rsplit(b"|", 1)[1])
        assert end <= len(claim)
        found += claim[at + 1 : end]
        at = end
    return found


def test_no_history_loses_or_doubles_a_job(redis_url: str) -> None:
    run_machine(
        lambda: Histories(redis_url),
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            # no shrinking: on a real Redis it takes minutes; add Phase.shrink to get a short history of a failure
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
