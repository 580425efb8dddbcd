"""Whatever the order of the verbs: a job is in exactly one place, the rings are true, and the index of claims is. A
campaign's record is there exactly as long as elements of it are, and their number stands beside it.

Hypothesis makes up histories of a few shards and tenants, with workers that lost their shard, jobs that were in hand
at several such losses, a tenant that wants nothing twice, campaigns, and settlements that are sent twice, and after
each step all of Redis is read and compared with what must be there.

What is drawn never depends on what stands in Redis: suspects wait by its clock, so a history that is told again may
differ a little, and hypothesis would call the test flaky. A rule that has nothing to do does nothing.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import redis as redis_py
from book import Book, made, name_of, without_heads
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from shards.campaign import campaign_of, is_element
from shards.claim import Burial, Claimed, Fenced, Holding, Reclaimed, Retry, Settlement
from shards.flow import tenant_of
from shards.job import decode_job
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection

SHARDS = (0, 1)
FLOWS = ("a", "b/sandbox", "c")
READY = [(shard, lane, tenant) for shard in SHARDS for lane in Lane for tenant in FLOWS]
FATES = ("accepted", "retry", "burial")
# of chance: a failure shows it
SEED = st.integers(0, 2**32)
# the tenant that wants nothing twice
ONCE = "c"
FAR_MS = 10**14
# weight, jobs a second (0: any number), paused lane
LIKE_MOST = (1, 0, "none")
MOST_QUANTUM = 4

Place = tuple[int, Lane, str]
Answer = TypeVar("Answer")


class Histories(RuleBasedStateMachine):
    """Workers and a tenant at two shards, and a book of what became of each job, by its id."""

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
        # by who looks after the dead letters
        self.thrown_away: set[bytes] = set()
        self.holdings: dict[int, list[Holding]] = {}
        self.open: dict[tuple[int, str], Claimed] = {}
        self.settlements: list[Settlement] = []
        self.rules: dict[tuple[int, str], tuple[int, int, str]] = {}
        self.campaigns = Book()
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

    @initialize()
    def first_jobs(self) -> None:
        # or most histories would have little to tell of
        for place in READY:
            self.stand(place, 2)

    @rule(place=st.sampled_from(READY), count=st.integers(1, 6))
    def enqueue(self, place: Place, count: int) -> None:
        self.stand(place, count)

    @rule(place=st.sampled_from(READY), count=st.integers(1, 6), beside=st.integers(0, 2), seed=SEED)
    def enqueue_campaign(self, place: Place, count: int, beside: int, seed: int) -> None:
        _, lane, flow = place
        number = len(self.enqueued)
        elements = self.campaigns.elements(lane, flow, range(number, number + count), random.Random(seed))
        self.stand(place, beside, elements)

    def stand(self, place: Place, count: int, elements: Sequence[bytes] = ()) -> None:
        shard, lane, tenant = place
        first = len(self.enqueued) + len(elements)
        jobs = [made(number, lane, tenant) for number in range(first, first + count)]
        batch = Batch(shard, lane, tenant, [*jobs, *elements], campaigns=self.campaigns.portions(elements))
        assert self.finish(self.queue.enqueue([batch])) == [None]
        self.enqueued.update(map(name_of, batch.jobs))

    @rule(
        shard=st.sampled_from(SHARDS),
        most=st.integers(0, 12),
        quantum=st.integers(1, MOST_QUANTUM),
        low_share=st.sampled_from((0.0, 0.3, 1.0)),
        rooms=st.dictionaries(st.sampled_from(FLOWS), st.integers(0, 3)),
    )
    def claim(self, shard: int, most: int, quantum: int, low_share: float, rooms: dict[str, int]) -> None:
        self.claim_some(shard, most, quantum, low_share, rooms)

    def claim_some(
        self,
        shard: int,
        most: int,
        quantum: int = 2,
        low_share: float = 0.3,
        rooms: Mapping[str, int] = MappingProxyType({}),
    ) -> tuple[int, str] | None:
        """Claim as the shard's holder; returns where the claim is, if there is one."""
        holding = self.holdings[shard][-1]
        self.number += 1
        claim_id = f"{holding.fence}:{self.number}"
        [claimed] = self.finish(
            self.queue.claim(
                [(holding, claim_id, most)], quantum=quantum, low_share=low_share, rooms=list(rooms.items())
            )
        )
        assert isinstance(claimed, Claimed)
        taken = sum(len(run.jobs) for run in claimed.runs)
        assert taken <= most
        of_flow: Counter[str] = Counter()
        of_turn: Counter[tuple[str, str]] = Counter()
        for run in claimed.runs:
            of_flow[run.flow] += len(run.jobs)
            of_turn[run.lane, run.flow] += len(run.jobs)
        for (lane, flow), jobs in of_turn.items():
            weight, _, paused = self.rules.get((shard, flow), LIKE_MOST)
            # one turn at most, and the rest of one that an earlier claim with a larger quantum interrupted
            assert jobs <= MOST_QUANTUM * max(weight, 3) and paused not in (lane, "both")
        for flow, room in rooms.items():
            assert of_flow[flow] <= room
        # what the shard says of itself: asleep only with nothing left to take
        for at, lane, flow in READY:
            if at == shard and claimed.asleep and self.raw.exists(shard_keys(at).ready(lane, flow)):
                _, per_s, paused = self.rules.get((shard, flow), LIKE_MOST)
                assert paused in (lane, "both") or per_s or rooms.get(flow) == of_flow[flow]
        if not taken:
            return None
        self.open[shard, claim_id] = claimed
        return shard, claim_id

    @rule(
        shard=st.sampled_from(SHARDS),
        flow=st.sampled_from(FLOWS),
        of_it=st.sampled_from((LIKE_MOST, (3, 0, "none"), (1, 2, "none"), (1, 0, "low"), (2, 0, "both"))),
    )
    def regulate(self, shard: int, flow: str, of_it: tuple[int, int, str]) -> None:
        self.rules[shard, flow] = of_it
        self.raw.hset(shard_keys(shard).rules, flow, " ".join(map(str, of_it)))

    @rule(shard=st.sampled_from(SHARDS))
    def claim_by_one_who_lost_the_shard(self, shard: int) -> None:
        for holding in self.holdings[shard][:-1]:
            wanted = [(holding, f"{holding.fence}:999", 5)]
            assert self.finish(self.queue.claim(wanted, quantum=5, low_share=0.0)) == [Fenced(holding)]

    @rule(seed=SEED)
    def settle(self, seed: int) -> None:
        chance = random.Random(seed)
        if self.open:
            self.settle_at(chance.choice(sorted(self.open)), chance)

    @rule(shard=st.sampled_from(SHARDS), most=st.integers(1, 6), seed=SEED)
    def claim_and_settle(self, shard: int, most: int, seed: int) -> None:
        chance = random.Random(seed)
        at = self.claim_some(shard, most)
        if at is not None:
            self.settle_at(at, chance)

    def settle_at(self, at: tuple[int, str], chance: random.Random) -> None:
        shard, claim_id = at
        claimed = self.open.pop(at)
        retries, burials, accepted = [], [], set()
        elements: Counter[bytes] = Counter()
        for run in claimed.runs:
            for stored in run.jobs:
                job = self.campaigns.expanded(stored)
                fate = chance.choice(FATES)
                if fate == "retry" and chance.random() < 0.3:
                    # by a worker that could not learn what it is
                    retries.append(Retry(0, run.lane, run.flow, stored))
                    continue
                if is_element(stored):
                    elements[campaign_of(stored)] += 1
                if fate == "retry":
                    due_ms = self.now_ms + chance.randint(0, 50)
                    retries.append(Retry(due_ms, run.lane, run.flow, job))
                elif fate == "burial":
                    burials.append(Burial(tenant_of(run.flow), "Unregistered", self.now_ms, job, run.lane))
                else:
                    accepted.add(name_of(job))
        settlement = Settlement(claimed.holding, claim_id, retries, burials, elements=elements)
        answer = self.finish(self.queue.settle([settlement]))
        if claimed.holding == self.holdings[shard][-1]:
            assert answer == [claimed.holding]
            self.accepted |= accepted
            self.buried |= {name_of(burial.job) for burial in burials}
            self.settlements.append(settlement)
        else:
            assert answer == [Fenced(claimed.holding)]

    @rule(seed=SEED)
    def settle_again(self, seed: int) -> None:
        chance = random.Random(seed)
        if not self.settlements:
            return
        settlement = chance.choice(self.settlements)
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
        holding = self.succeed(shard)
        if not dies_first:
            self.give_back(holding, sent=sent)

    @rule(shard=st.sampled_from(SHARDS), most=st.integers(1, 12), times=st.integers(1, 4))
    def die_with_jobs_in_hand(self, shard: int, most: int, times: int) -> None:
        for _ in range(times):
            # suspects come back by Redis' own clock
            self.finish(self.queue.promote([shard], FAR_MS))
            self.claim_some(shard, most)
            self.give_back(self.succeed(shard), sent=True)

    def succeed(self, shard: int) -> Holding:
        """The next holder comes, and the one before can do no more."""
        [holding] = self.finish(self.queue.acquire([shard]))
        assert isinstance(holding, Holding)
        self.holdings[shard].append(holding)
        return holding

    def give_back(self, holding: Holding, *, sent: bool) -> None:
        """What a new holder does first: reclaim what earlier ones have left."""
        shard = holding.shard
        orphaned = [
            (name_of(job), self.campaigns.place_of(job))
            for each in self.claims(shard).values()
            for job in each
        ]
        buried = len(self.dead(shard))
        reclaimed = self.finish(self.queue.reclaim(holding, sent=sent))
        assert isinstance(reclaimed, Reclaimed) and sum(reclaimed) == len(orphaned)
        assert reclaimed.in_doubt + reclaimed.poison == len(self.dead(shard)) - buried
        assert self.claims(shard) == {}
        if sent:
            self.deaths.update(job for job, _ in orphaned)
        dead = set(map(name_of, self.dead(shard)))
        for job, (_, flow) in orphaned:
            once = flow == ONCE
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
    def no_two_holders_have_one_fence(self) -> None:
        for held in self.holdings.values():
            numbers = [int(holding.fence.partition(".")[0]) for holding in held]
            assert numbers == sorted(set(numbers))

    def dead(self, shard: int) -> list[bytes]:
        """The jobs of its dead letters."""
        return [fields[b"job"] for _, fields in self.raw.xrange(shard_keys(shard).dead)]

    @invariant()
    def each_job_is_in_exactly_one_place_and_left_counts_the_elements(self) -> None:
        everything: list[bytes] = []
        for shard in SHARDS:
            keys = shard_keys(shard)
            here: list[bytes] = []
            for at, lane, flow in READY:
                here += self.raw.lrange(keys.ready(lane, flow), 0, -1) if at == shard else []
            here += (job for claim in self.claims(shard).values() for job in claim)
            here += (member.split(b"|", 2)[2] for member in self.raw.zrange(keys.waiting, 0, -1))
            left = Counter(map(campaign_of, filter(is_element, here)))
            assert {each: int(many) for each, many in self.raw.hgetall(keys.left).items()} == left
            records = {each: self.campaigns.record(each) for each in left}
            assert self.raw.hgetall(keys.campaigns) == records
            # which all can be read without the record of a campaign
            letters = [decode_job(job) for job in self.dead(shard)]
            everything += map(name_of, here)
            everything += (job.id for job in letters)
        names = [*everything, *self.accepted, *self.thrown_away]
        assert sorted(names) == sorted(self.enqueued)

    @invariant()
    def the_depth_is_the_number_of_ready_jobs(self) -> None:
        for shard in SHARDS:
            ready = [shard_keys(at).ready(lane, flow) for at, lane, flow in READY if at == shard]
            assert int(self.raw.get(shard_keys(shard).depth) or 0) == sum(map(self.raw.llen, ready))

    @invariant()
    def only_buried_jobs_are_dead(self) -> None:
        assert sorted(name_of(job) for s in SHARDS for job in self.dead(s)) == sorted(self.buried)

    @invariant()
    def a_tenant_is_in_the_ring_once_exactly_if_it_has_ready_jobs(self) -> None:
        for shard in SHARDS:
            keys = shard_keys(shard)
            for lane in Lane:
                ring = [tenant.decode() for tenant in self.raw.lrange(keys.ring(lane), 0, -1)]
                assert sorted(ring) == [t for t in FLOWS if self.raw.exists(keys.ready(lane, t))]

    @invariant()
    def jobs_lie_where_their_lane_and_tenant_say(self) -> None:
        for shard, lane, tenant in READY:
            for job in self.raw.lrange(shard_keys(shard).ready(lane, tenant), 0, -1):
                assert self.campaigns.place_of(job) == (lane, tenant)

    @invariant()
    def the_index_names_exactly_the_claims_that_there_are(self) -> None:
        for shard in SHARDS:
            index = {claim_id.decode() for claim_id in self.raw.smembers(shard_keys(shard).claims)}
            assert index == set(self.claims(shard))

    @invariant()
    def what_a_holder_was_given_is_what_its_claim_keeps(self) -> None:
        for (shard, claim_id), claimed in self.open.items():
            assert self.claims(shard)[claim_id] == [job for run in claimed.runs for job in run.jobs]


def test_no_history_loses_or_doubles_a_job(redis_url: str) -> None:
    run_machine(
        lambda: Histories(redis_url),
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            # no shrinking: on a real Redis it takes minutes; add Phase.shrink to get a short history of a failure
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
