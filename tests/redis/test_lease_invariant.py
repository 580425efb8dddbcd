"""The same histories with leases and dead letters: still no job is lost or doubled, and no shard has two holders.

Members of three names acquire, renew and release the shards; leases lapse, holders wake up late, and what they hold in
hand is then another's; meanwhile somebody sends dead letters again and throws others away. What a member may do with a
shard follows from a few lines of bookkeeping, and Redis must say the same.
"""

import random
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from test_queue_invariant import FLOWS, SEED, SHARDS, Histories

from shards.claim import Fenced, Holding, Settlement, Taken
from shards.dead import DeadLetter, DeadLetters, Wanted
from shards.flow import tenant_of
from shards.keys import shard_keys

MEMBERS = ("a", "b", "c")
# a lease lapses when a history says so, and never by the clock
LEASE_S = 600.0


class LeaseHistories(Histories):
    """Beside the jobs: who holds the lease of each shard, and which member each holding was given to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.letters = DeadLetters(url, len(SHARDS))
        self.leases: dict[int, str | None] = dict.fromkeys(SHARDS)
        self.members: dict[Holding, str] = {}
        self.seen: dict[tuple[int, str], DeadLetter] = {}

    def teardown(self) -> None:
        self.finish(self.letters.close())
        super().teardown()

    # -- leases ------------------------------------------------------------------------------------------------

    @initialize()
    def first_holders(self) -> None:
        for shard in SHARDS:
            self.holdings[shard] = []
            assert self.acquired(shard, MEMBERS[0])

    @rule(
        shard=st.sampled_from(SHARDS),
        member=st.sampled_from(MEMBERS),
        dies_first=st.booleans(),
        sent=st.booleans(),
    )
    def take_over(self, shard: int, member: str, dies_first: bool, sent: bool) -> None:
        if self.acquired(shard, member) and not dies_first:
            self.give_back(self.holdings[shard][-1], sent=sent)

    def acquired(self, shard: int, member: str) -> bool:
        """Whether a member that asks for a shard gets it: it must, if nobody else has the lease, and only then."""
        [answer] = self.finish(self.queue.acquire([shard], member, LEASE_S))
        holder = self.leases[shard]
        if holder not in (None, member):
            assert answer == Taken(shard, holder)
            return False
        assert isinstance(answer, Holding) and answer not in self.members
        self.holdings[shard].append(answer)
        self.members[answer] = member
        self.leases[shard] = member
        return True

    def succeed(self, shard: int) -> Holding:
        self.lapse(shard)
        assert self.acquired(shard, MEMBERS[len(self.members) % len(MEMBERS)])
        return self.holdings[shard][-1]

    @rule(shard=st.sampled_from(SHARDS))
    def let_lapse(self, shard: int) -> None:
        self.lapse(shard)

    def lapse(self, shard: int) -> None:
        self.raw.delete(shard_keys(shard).lease)
        self.leases[shard] = None

    @rule(seed=SEED)
    def renew(self, seed: int) -> None:
        chance = random.Random(seed)
        self.renewed(chance.choice(list(self.members)))

    def renewed(self, holding: Holding) -> None:
        """A holding is good for another term, also after its lease has lapsed, unless the shard was taken since."""
        member = self.members[holding]
        [answer] = self.finish(self.queue.renew([holding], member, LEASE_S))
        if self.is_latest(holding):
            assert answer == holding
            self.leases[holding.shard] = member
        else:
            assert answer == Fenced(holding)

    @rule(seed=SEED)
    def release(self, seed: int) -> None:
        chance = random.Random(seed)
        holding = chance.choice(list(self.members))
        [answer] = self.finish(self.queue.release([holding]))
        if self.is_latest(holding):
            assert answer == holding
            self.leases[holding.shard] = None
        else:
            assert answer == Fenced(holding)

    @rule(shard=st.sampled_from(SHARDS), taken_by=st.sampled_from((None, *MEMBERS)), reclaims=st.booleans())
    def wake_up_late(self, shard: int, taken_by: str | None, reclaims: bool) -> None:
        late = self.holdings[shard][-1]
        self.lapse(shard)
        if taken_by is not None:
            assert self.acquired(shard, taken_by)
            if reclaims:
                self.give_back(self.holdings[shard][-1], sent=True)
        self.renewed(late)

    @rule(shard=st.sampled_from(SHARDS))
    def reclaim_by_one_who_lost_the_shard(self, shard: int) -> None:
        for holding in self.holdings[shard][:-1]:
            assert self.finish(self.queue.reclaim(holding)) == Fenced(holding)

    def is_latest(self, holding: Holding) -> bool:
        return holding == self.holdings[holding.shard][-1]

    # -- dead letters ------------------------------------------------------------------------------------------

    def listed(self) -> dict[tuple[int, str], DeadLetter]:
        """The dead letters there are, by shard and entry; what was seen once is remembered."""
        letters = self.finish(self.letters.newest(Wanted(), 1_000))
        found = {(letter.shard, letter.entry): letter for letter in letters}
        self.seen |= found
        return found

    @rule(seed=SEED)
    def replay(self, seed: int) -> None:
        chance = random.Random(seed)
        # also letters that are gone meanwhile: somebody looks at a list for long before they act on it
        listed = self.listed()
        chosen = chance.sample(sorted(self.seen), min(4, len(self.seen)))
        there = [listed[at] for at in chosen if at in listed]
        assert self.finish(self.letters.replay([self.seen[at] for at in chosen])) == len(there)
        assert self.finish(self.letters.replay([self.seen[at] for at in chosen])) == 0
        for letter in there:
            self.buried.remove(letter.id.encode())
            # whoever sends poison again means it
            self.deaths.pop(letter.id.encode(), None)
            keys = shard_keys(letter.shard)
            assert not self.raw.hexists(keys.deaths, letter.id) and not self.raw.exists(keys.unrung)

    @rule(tenant=st.sampled_from(sorted({tenant_of(flow) for flow in FLOWS})))
    def purge(self, tenant: str) -> None:
        gone = [letter for letter in self.listed().values() if letter.tenant == tenant]
        assert self.finish(self.letters.purge(Wanted(tenant=tenant))) == len(gone)
        self.throw_away(gone)

    @rule(seed=SEED)
    def trim(self, seed: int) -> None:
        chance = random.Random(seed)
        listed = self.listed().values()
        if not listed:
            return
        before_ms = chance.choice([letter.at()[0] for letter in listed]) + chance.randint(0, 1)
        gone = [letter for letter in listed if letter.at()[0] < before_ms]
        assert self.finish(self.queue.trim_dead(SHARDS, before_ms)) == len(gone)
        self.throw_away(gone)

    def throw_away(self, letters: list[DeadLetter]) -> None:
        for letter in letters:
            self.buried.remove(letter.id.encode())
            self.thrown_away.add(letter.id.encode())

    # -- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def a_lease_has_the_name_of_its_holder_and_lapses(self) -> None:
        for shard, holder in self.leases.items():
            key = shard_keys(shard).lease
            assert self.raw.get(key) == (holder.encode() if holder else None)
            assert self.raw.pttl(key) > 0 or holder is None

    @invariant()
    def no_shard_has_two_holders_that_are_not_fenced(self) -> None:
        for held in self.holdings.values():
            # to settle what is no claim changes nothing, and is refused as any settlement is
            nothing: list[Any] = [Settlement(holding, "0.0:0") for holding in held]
            answers = self.finish(self.queue.settle(nothing))
            assert [answer for answer in answers if not isinstance(answer, Fenced)] == held[-1:]


def test_no_history_of_leases_and_dead_letters_loses_or_doubles_a_job(redis_url: str) -> None:
    run_machine(
        lambda: LeaseHistories(redis_url),
        settings=settings(
            max_examples=40,
            stateful_step_count=50,
            deadline=None,
            # no shrinking, as in the histories that these add to
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
