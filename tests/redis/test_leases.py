"""Leases on a real Redis: members divide the shards, hand them over, and lose them when they say nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import redis as redis_py
from words import all_jobs, jobs, take

from engine.policy.assignment import assign
from engine.worker.hand import Claim, Hand
from engine.worker.leases import Leases
from shards.claim import Fenced, Holding, Reclaimed, Settlement
from shards.errors import StoreUnavailable
from shards.keys import MEMBERS, shard_keys
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection

SHARDS = 8
LEASE_S = 1.0
WAIT_S = 10.0


class Member:
    """A worker as far as leases go; ``stopped`` is a clock that may jump, as after SIGSTOP."""

    def __init__(self, queue: Queue, name: str, siblings: list[str], lease_s: float = LEASE_S) -> None:
        self.queue = queue
        self.hand = Hand(1_000, lambda claim: None)
        self.open: set[int] = set()
        self.lost: list[int] = []
        self.reclaimed: list[Reclaimed] = []
        self.late_s = 0.0
        self.leases = Leases(
            queue,
            SHARDS,
            name,
            siblings,
            lease_s,
            self.hand,
            gained=lambda holding: self.open.add(holding.shard),
            yielded=lambda holding: self.open.discard(holding.shard),
            lost=lambda holding: self.lost.append(holding.shard),
            reclaimed=self.reclaimed.append,
            clock=lambda: asyncio.get_running_loop().time() + self.late_s,
        )
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.leases.run())

    async def die(self) -> None:
        """Say nothing more, as after a kill -9."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait((self.task,))

    async def until_open(self, number: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.open) != number:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def member(
    url: str, name: str, siblings: list[str] | None = None, *, lease_s: float = LEASE_S, runs: bool = True
) -> AsyncIterator[Member]:
    """One that does not run says something only when the test has it do so."""
    connection = ScriptConnection(url)
    one = Member(Queue(connection), name, siblings or [], lease_s)
    if runs:
        one.start()
    try:
        yield one
    finally:
        await one.die()
        await connection.close()


async def test_one_member_holds_everything_and_two_have_half_each(redis_url: str) -> None:
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        async with member(redis_url, "b") as b:
            await b.until_open(SHARDS // 2)
            await a.until_open(SHARDS // 2)
            assert a.open.isdisjoint(b.open)
            assert a.lost == b.lost == []


async def test_siblings_that_start_together_do_not_take_each_others_shards_first(redis_url: str) -> None:
    async with member(redis_url, "n/0", ["n/0", "n/1"]) as first:
        await first.until_open(SHARDS // 2)
        async with member(redis_url, "n/1", ["n/0", "n/1"]) as second:
            await second.until_open(SHARDS // 2)
            assert len(first.open) == SHARDS // 2
            assert first.lost == []


async def test_the_shards_of_a_member_that_says_nothing_more_go_to_the_others(redis_url: str) -> None:
    async with member(redis_url, "a") as a, member(redis_url, "b") as b:
        await b.until_open(SHARDS // 2)
        await a.die()
        await b.until_open(SHARDS)
        assert b.lost == []


async def test_a_member_that_leaves_hands_its_shards_over_before_its_leases_lapse(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with member(redis_url, "a") as a, member(redis_url, "b") as b:
        await b.until_open(SHARDS // 2)
        await a.leases.leave()
        assert not any(raw.get(shard_keys(shard).lease) == b"a" for shard in range(SHARDS))
        assert raw.zscore(MEMBERS, "a") is None
        await b.until_open(SHARDS)


@pytest.mark.parametrize("verb", ["announce", "renew", "acquire"])
async def test_a_member_that_leaves_in_the_middle_of_a_round_takes_nothing_back_with_it(
    redis_url: str, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    async with member(redis_url, "a", lease_s=60.0, runs=verb == "acquire") as a:
        if verb != "acquire":
            # it holds all before the round in which it leaves
            await a.leases._beat()
            a.start()
        call, at_it = getattr(a.queue, verb), asyncio.Event()

        async def slow(*args: object, **how: object) -> object:
            at_it.set()
            await asyncio.sleep(0.05)
            return await call(*args, **how)

        monkeypatch.setattr(a.queue, verb, slow)
        await asyncio.wait_for(at_it.wait(), WAIT_S)
        monkeypatch.undo()
        await a.leases.leave()
        assert a.task is not None
        await asyncio.wait((a.task,), timeout=WAIT_S)
        assert not raw.zrange(MEMBERS, 0, -1)
        assert [shard for shard in range(SHARDS) if raw.exists(shard_keys(shard).lease)] == []


async def test_a_member_that_is_started_again_takes_its_shards_back_at_once(redis_url: str) -> None:
    # its leases do not lapse while this test waits
    async with member(redis_url, "a", lease_s=6 * WAIT_S) as a:
        await a.until_open(SHARDS)
        await a.die()
        async with member(redis_url, "a", lease_s=6 * WAIT_S) as again:
            await again.until_open(SHARDS)


async def test_a_shard_is_not_handed_over_while_claims_on_it_are_in_hand(
    redis_url: str, raw: redis_py.Redis
) -> None:
    lease_s = 6 * WAIT_S
    async with (
        member(redis_url, "a", lease_s=lease_s, runs=False) as a,
        member(redis_url, "b", lease_s=lease_s, runs=False) as b,
    ):
        await a.leases._beat()
        assert len(a.open) == SHARDS
        claims = [Claim(holding, f"{holding.fence}:1", 1) for holding in a.leases.held.values()]
        for claim in claims:
            a.hand.take(claim, [])
        for _ in range(2):
            # a lease that has nearly lapsed is renewed though its shard is to go
            for shard in range(SHARDS):
                raw.expire(shard_keys(shard).lease, int(lease_s / 2))
            assert await b.leases._beat()
            await a.leases._beat()
            assert min(raw.ttl(shard_keys(shard).lease) for shard in range(SHARDS)) > lease_s / 2
        assert (len(a.open), b.open) == (SHARDS // 2, set())
        for claim in claims:
            a.hand.forget(claim)
        await a.leases._beat()
        await b.leases._beat()
        assert len(b.open) == SHARDS // 2 and a.open.isdisjoint(b.open)
        assert a.lost == []


async def test_a_renewal_counts_from_when_it_was_asked_for_and_not_from_its_answer(redis_url: str) -> None:
    class Late(Queue):
        """The answer to a renewal is seen a whole term after it was asked for, as after SIGSTOP."""

        async def renew(
            self, holdings: Sequence[Holding], member: str, lease_s: float
        ) -> list[Holding | Fenced]:
            answers = await super().renew(holdings, member, lease_s)
            late.late_s += LEASE_S
            return answers

    connection = ScriptConnection(redis_url)
    late = Member(Late(connection), "a", [])
    await late.leases._beat()
    await connection.close()
    assert len(late.open) == SHARDS
    assert not late.leases.may_send()


async def test_a_member_that_was_stopped_past_its_lease_may_not_send_until_it_has_asked(
    redis_url: str,
) -> None:
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        assert a.leases.may_send()
        a.late_s = LEASE_S
        assert not a.leases.may_send()
        # nobody has taken the shards since, so the next renewal revives them
        async with asyncio.timeout(WAIT_S):
            while not a.leases.may_send():
                await asyncio.sleep(0.01)
        assert a.lost == []


async def test_what_another_has_taken_meanwhile_is_lost_and_can_neither_be_claimed_nor_settled(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        await a.queue.enqueue([Batch(0, Lane.HIGH, "t", jobs("t", 4))])
        claimed = await take(a.queue, a.leases.held[0], 1, most=2)
        raw.delete(shard_keys(0).lease)
        [theirs] = await a.queue.acquire([0], "b", 60.0)
        assert isinstance(theirs, Holding)
        [answer] = await a.queue.claim(
            [(claimed.holding, f"{claimed.holding.fence}:2", 2)], quantum=1, low_share=0
        )
        assert answer == Fenced(claimed.holding)
        [answer] = await a.queue.settle([Settlement(claimed.holding, claimed.claim_id)])
        assert answer == Fenced(claimed.holding)
        async with asyncio.timeout(WAIT_S):
            while a.lost != [0]:
                await asyncio.sleep(0.01)
        assert 0 not in a.leases.held
        assert await a.queue.reclaim(theirs) == Reclaimed(2)
        assert all_jobs(await take(a.queue, theirs, 1)) == jobs("t", 4)


async def test_a_shard_in_doubt_is_acquired_anew_and_what_its_lost_claim_held_is_ready_again(
    redis_url: str, raw: redis_py.Redis
) -> None:
    # its tenant wants nothing twice
    raw.sadd(shard_keys(3).once, "t")
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        await a.queue.enqueue([Batch(3, Lane.HIGH, "t", jobs("t", 5))])
        before = a.leases.held[3]
        await take(a.queue, before, 1)
        a.leases.doubt([before])
        assert 3 not in a.open
        await a.until_open(SHARDS)
        assert not a.leases.holds(before)
        assert all_jobs(await take(a.queue, a.leases.held[3], 1)) == jobs("t", 5)
        assert a.lost == []
    # nobody learned of that claim, so nothing of it was sent, and nobody died with it
    assert not raw.exists(shard_keys(3).dead, shard_keys(3).deaths)


async def other_dies_with(raw: redis_py.Redis, a: Member, shard: int) -> None:
    """``b`` holds a shard of which it takes a push that must not be sent twice, and says nothing more."""
    [theirs] = await a.queue.acquire([shard], "b", 60.0)
    assert isinstance(theirs, Holding)
    raw.sadd(shard_keys(shard).once, "t")
    await a.queue.enqueue([Batch(shard, Lane.HIGH, "t", jobs("t", 1))])
    assert all_jobs(await take(a.queue, theirs, 1)) == jobs("t", 1)
    raw.delete(shard_keys(shard).lease)
    await a.queue.announce("b", 0)


async def test_a_doubt_does_not_outlive_its_holding_when_the_shard_goes_to_another_that_dies(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        await a.queue.announce("b", 60.0)
        a.leases.doubt(list(a.leases.held.values()))
        await a.until_open(SHARDS // 2)
        a.reclaimed.clear()
        await other_dies_with(raw, a, assign(SHARDS, ["a", "b"])["b"][0])
        await a.until_open(SHARDS)
        # what b sent may have arrived
        assert Reclaimed(0, in_doubt=1) in a.reclaimed
        assert a.lost == []


async def test_a_claim_that_is_refused_after_its_shard_was_lost_leaves_no_doubt(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        await a.queue.announce("b", 60.0)
        await a.until_open(SHARDS // 2)
        shard = min(a.open)
        ours = a.leases.held[shard]
        raw.delete(shard_keys(shard).lease)
        await a.queue.acquire([shard], "b", 60.0)
        async with asyncio.timeout(WAIT_S):
            while a.lost != [shard]:
                await asyncio.sleep(0.01)
        a.leases.doubt([ours])
        await other_dies_with(raw, a, shard)
        await a.until_open(SHARDS)
        assert Reclaimed(0, in_doubt=1) in a.reclaimed


async def test_a_doubt_lasts_until_what_it_is_about_was_given_back(
    redis_url: str, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(redis_url, "a") as a:
        await a.until_open(SHARDS)
        raw.sadd(shard_keys(3).once, "t")
        await a.queue.enqueue([Batch(3, Lane.HIGH, "t", jobs("t", 5))])
        await take(a.queue, a.leases.held[3], 1)
        reclaim, refusals = a.queue.reclaim, [StoreUnavailable("gone", in_doubt=True)]

        async def reclaim_late(holding: Holding, *, sent: bool = True) -> Reclaimed | Fenced:
            if refusals:
                raise refusals.pop()
            return await reclaim(holding, sent=sent)

        monkeypatch.setattr(a.queue, "reclaim", reclaim_late)
        a.leases.doubt([a.leases.held[2], a.leases.held[3]])
        await a.until_open(SHARDS)
        assert refusals == []
        assert Reclaimed(5) in a.reclaimed
        assert raw.xlen(shard_keys(3).dead) == 0


async def test_after_redis_was_away_the_first_one_back_does_not_take_everything(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with member(redis_url, "a") as a, member(redis_url, "b") as b:
        await a.until_open(SHARDS // 2)
        await b.until_open(SHARDS // 2)
        # Redis away for longer than a lease: everybody's announcement and leases have lapsed when it is back
        raw.client_pause(int(1000 * LEASE_S * 1.5))
        raw.delete(MEMBERS)
        await asyncio.sleep(2 * LEASE_S)
        async with asyncio.timeout(WAIT_S):
            while not (a.leases.may_send() and b.leases.may_send()):
                await asyncio.sleep(0.01)
        assert a.lost == b.lost == []
