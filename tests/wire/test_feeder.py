"""The feeder with a store that says what a test wants: every job that Redis has put in our hands is handed over."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from rig import Rig, ids, job, run, until

from engine.link.pool import Pool
from engine.options import EngineOptions
from engine.policy.pace import Way
from engine.worker.dealer import Dealer
from engine.worker.feeder import Feeder
from engine.worker.hand import Claim, HeldRun
from engine.worker.settler import Settler
from shards.campaign import Campaign, apns_id_of, element, new_campaign_id
from shards.claim import Claimed, Fenced, Holding, Run, Settlement
from shards.errors import StoreRefused, StoreUnavailable
from shards.job import encode_job

OPTIONS = EngineOptions(in_hand_most=400, claim_most=100)


class Store:
    """A queue whose answers are scripted: for each shard what the next claims bring, or the error of a round."""

    def __init__(self, stock: dict[int, list[Any]]) -> None:
        self.stock = stock
        self.said: list[str] = []
        self.rooms: list[dict[str, int]] = []
        self.settle_fails = 0
        self.settlements: list[Settlement] = []
        self.doubted: list[int] = []
        self.given_up: set[Holding] = set()
        # of the campaigns that there are; or None, and asking for them fails
        self.campaigns: dict[bytes, Campaign] | None = {}
        self.recalled: list[Mapping[int, set[bytes]]] = []

    async def claim(self, wanted: Sequence[tuple[Holding, str, int]], **how: Any) -> list[Any]:
        self.rooms.append(dict(how["rooms"]))
        answers = []
        for holding, claim_id, _ in wanted:
            self.said.append(f"claim {holding.shard}")
            waiting = self.stock.get(holding.shard, [])
            brings = waiting.pop(0) if waiting else []
            if isinstance(brings, StoreUnavailable):
                raise brings
            if brings is Fenced:
                brings = Fenced(holding)
            if isinstance(brings, list):
                jobs = [each if isinstance(each, bytes) else encode_job(each) for each in brings]
                runs = [Run("high", "tenant-0", jobs)] if brings else []
                brings = Claimed(holding, claim_id, runs, not runs or not waiting)
            answers.append(brings)
        return answers

    async def recall(self, wanted: Mapping[int, set[bytes]]) -> dict[bytes, Campaign]:
        self.recalled.append(wanted)
        if self.campaigns is None:
            raise StoreUnavailable("gone", in_doubt=False)
        ids = set().union(*wanted.values())
        return {each: campaign for each, campaign in self.campaigns.items() if each in ids}

    async def settle(self, settlements: Sequence[Settlement]) -> list[Any]:
        if self.settle_fails:
            self.settle_fails -= 1
            raise StoreUnavailable("gone", in_doubt=True)
        self.said.append("settle")
        self.settlements += settlements
        return [settlement.holding for settlement in settlements]


class OneRoute:
    """Every tenant's jobs go to one pool, which is both the router and the route here."""

    usable = True

    def __init__(self, pool: Pool, while_learning: Callable[[], None]) -> None:
        self.weights: dict[str, int] = {}
        self._pool = pool
        self._while_learning = while_learning

    def known(self, flow: str) -> "OneRoute":
        return self

    async def learn(self, flows: set[str]) -> None:
        self._while_learning()

    def sort(self, held: list[Any]) -> Iterator[tuple[Pool, list[Any]]]:
        yield self._pool, held

    def resting(self) -> list[str]:
        return []

    def way(self) -> Way:
        return Way(0.0, 0)

    def limits(self) -> dict[str, int]:
        return {"tenant-0": 60}


@asynccontextmanager
async def feeding(
    rig: Rig,
    store: Store,
    shards: int,
    *,
    pool: Pool | None = None,
    while_learning: Callable[[], None] = lambda: None,
) -> Any:
    """A feeder and a settler at work on a pool of the rig."""
    settler = Settler(store, rig.hand.forget)  # type: ignore[arg-type]
    rig.hand._finished = settler.add
    router: Any = OneRoute(pool or rig.pool(most=1), while_learning)
    feeder = Feeder(
        store,  # type: ignore[arg-type]
        rig.hand,
        router,
        rig.fates,
        Dealer(router, rig.endings, rig.waits, store),
        OPTIONS,
        is_ours=lambda holding: holding not in store.given_up,
        doubted=lambda holdings: doubt(holdings),
    )
    holdings = [Holding(shard, "1.a") for shard in range(shards)]

    def doubt(doubted: Iterable[Holding]) -> None:
        for holding in doubted:
            store.doubted.append(holding.shard)
            feeder.let_go(holding)

    for holding in holdings:
        feeder.gain(holding)
    tasks = [asyncio.create_task(feeder.run()), asyncio.create_task(settler.run())]
    ticker = asyncio.create_task(_tick(feeder))
    yield feeder, settler, tasks[0]
    feeder.quiet()
    await tasks[0]
    for task in (ticker, tasks[1]):
        task.cancel()


async def _tick(feeder: Feeder) -> None:
    while True:
        await asyncio.sleep(0.01)
        feeder.stir()


def test_what_was_claimed_beside_a_refusal_is_handed_over() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            jobs = [job(rig.teams[0]) for _ in range(20)]
            stock = {0: [jobs[:5]], 1: [StoreRefused("Redis refused: READONLY"), jobs[5:10]], 2: [jobs[10:]]}
            async with feeding(rig, Store(stock), 3):
                pushed = ids([(each, None) for each in jobs])
                await until(lambda: rig.times_accepted(pushed) == {1}, lambda: rig.hand)
                await until(lambda: not rig.hand.claims, lambda: rig.hand)

    run(scenario)


def test_a_claim_without_an_answer_leaves_its_shards_in_doubt_and_they_are_let_go() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            store = Store({0: [StoreUnavailable("gone", in_doubt=True)], 1: []})
            async with feeding(rig, store, 1) as (feeder, _, task):
                await until(lambda: store.doubted == [0], lambda: feeder)
                # a bell rings meanwhile
                feeder.wake((0,))
                await asyncio.sleep(0.05)
                assert store.said == ["claim 0"]
                assert not task.done()

    run(scenario)


def test_a_claim_that_arrives_after_its_shard_was_given_up_is_not_sent() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            ours, others = [job(rig.teams[0])], [job(rig.teams[0])]
            store = Store({0: [others], 1: [ours]})
            store.given_up.add(Holding(0, "1.a"))
            async with feeding(rig, store, 2):
                await until(lambda: rig.times_accepted(ids([(ours[0], None)])) == {1}, lambda: store.said)
            assert rig.times_accepted(ids([(others[0], None)])) == {0}
            assert not rig.hand.jobs

    run(scenario)


def test_what_a_round_brings_for_one_pool_is_written_at_once() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            rig.simulator.script([{"then": [{"do": "delay", "delay_s": 0.2}, {"do": "judge"}]}])
            jobs = [job(rig.teams[0]) for _ in range(30)]
            store = Store({shard: [jobs[10 * shard : 10 * shard + 10]] for shard in range(3)})
            async with feeding(rig, store, 3, pool=pool):
                await until(lambda: pool.in_flight() == 30, lambda: pool)
                # the last streams of what was written, behind that of the push that warmed the pool
                assert [last for last, _ in pool.links[0]._health._written if last > 1] == [61]
                await until(lambda: not rig.hand.jobs, lambda: rig.hand)

    run(scenario)


def test_jobs_whose_shard_is_lost_while_routes_are_asked_for_are_not_sent() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            ours, lost = [job(rig.teams[0])], [job(rig.teams[0])]
            store = Store({0: [lost], 1: [ours]})
            lose = Holding(0, "1.a")
            async with feeding(rig, store, 2, while_learning=lambda: rig.hand.lose(lose)):
                await until(lambda: rig.times_accepted(ids([(ours[0], None)])) == {1}, lambda: store.said)
                await until(lambda: not rig.hand.jobs, lambda: rig.hand)
            assert rig.times_accepted(ids([(lost[0], None)])) == {0}

    run(scenario)


def test_an_unavailable_store_that_did_nothing_leaves_no_doubt() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            jobs = [job(rig.teams[0])]
            store = Store({0: [StoreUnavailable("refused", in_doubt=False), jobs]})
            async with feeding(rig, store, 1):
                await until(lambda: rig.times_accepted(ids([(jobs[0], None)])) == {1}, lambda: store.said)
            assert not any(said.startswith("acquire") for said in store.said)

    run(scenario)


CAMPAIGN = Campaign("com.example.app0", b'{"aps":{}}')
CAMPAIGN_IDS = [new_campaign_id(1_722_000_000_000 + number, bytes(10)) for number in range(3)]


def elements(campaign_id: bytes, count: int, first: int = 0) -> list[bytes]:
    return [element(campaign_id, number, bytes([number] * 32)) for number in range(first, first + count)]


def test_campaigns_that_are_new_are_asked_for_once_for_a_round_and_then_remembered() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            one, other, lost = CAMPAIGN_IDS
            topic = rig.teams[0].topic
            ordinary = job(rig.teams[0])
            store = Store(
                {
                    0: [[*elements(one, 5), ordinary], elements(one, 5, 5)],
                    1: [[*elements(one, 5, 10), *elements(other, 5)]],
                    2: [elements(lost, 2)],
                }
            )
            store.campaigns = {each: replace(CAMPAIGN, topic=topic) for each in (one, other)}
            async with feeding(rig, store, 3) as (_, settler, _):
                await until(lambda: rig.endings.tally["accepted"] == 21, lambda: rig.fates)
                await until(lambda: not rig.hand.claims, lambda: settler)
            sent = [*elements(one, 15), *elements(other, 5)]
            assert rig.times_accepted([apns_id_of(each).decode() for each in sent]) == {1}
            assert store.recalled == [{0: {one}, 1: {one, other}, 2: {lost}}]
            assert [burial.reason for each in store.settlements for burial in each.burials] == [
                "CampaignUnknown"
            ] * 2
            counted = Counter[bytes]()
            for settlement in store.settlements:
                counted.update(settlement.elements)
            assert counted == {one: 15, other: 5, lost: 2}

    run(scenario)


def test_elements_whose_campaign_can_not_be_learned_now_are_put_back_as_they_are() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            [one, *_] = CAMPAIGN_IDS
            ordinary = job(rig.teams[0])
            store = Store({0: [[*elements(one, 3), ordinary]]})
            store.campaigns = None
            async with feeding(rig, store, 1) as (_, settler, task):
                await until(lambda: rig.times_accepted(ids([(ordinary, None)])) == {1}, lambda: rig.fates)
                await until(lambda: not rig.hand.claims, lambda: settler)
                assert not task.done()
            [settlement] = store.settlements
            assert [(each.due_ms, each.job) for each in settlement.retries] == [
                (0, each) for each in elements(one, 3)
            ]
            # so none of them is counted off
            assert settlement.elements == {}
            assert (settlement.burials, rig.hand.jobs) == ([], 0)

    run(scenario)


def test_a_bell_for_a_shard_that_is_anothers_wakes_nobody() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            store = Store({0: [Fenced], 1: []})
            async with feeding(rig, store, 2) as (feeder, _, task):
                await until(lambda: "of 1 shards" in repr(feeder), lambda: feeder)
                feeder.wake((0, 1))
                await until(lambda: store.said.count("claim 1") == 2, lambda: store.said)
                assert store.said.count("claim 0") == 1
                assert not task.done()

    run(scenario)


def test_a_flow_is_passed_over_while_enough_of_it_is_in_hand_and_looked_at_again_afterwards() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            # the first push is answered late, and until then nothing behind it is sent
            rig.simulator.script([{"times": 1, "then": [{"do": "delay", "delay_s": 0.2}, {"do": "judge"}]}])
            first, second = ([job(rig.teams[0]) for _ in range(60)] for _ in range(2))
            store = Store({0: [first, [], second]})
            async with feeding(rig, store, 1):
                await until(
                    lambda: rig.times_accepted(ids([(e, None) for e in second])) == {1}, lambda: store.said
                )
            assert store.rooms[:2] == [{"tenant-0": 60}, {"tenant-0": 0}]
            assert store.rooms[-1]["tenant-0"] > 0

    run(scenario)


def test_a_flow_that_has_room_left_and_gave_nothing_is_not_asked_again_and_again() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            store = Store({0: [[job(rig.teams[0])]]})
            async with feeding(rig, store, 4) as (feeder, *_):
                await until(lambda: rig.endings.tally["accepted"] == 1, lambda: feeder)
                for _ in range(20):
                    feeder.stir()
                    await asyncio.sleep(0.01)
                # each shard when it is gained, and all once more since the flow may have had more than its room
                assert len(store.said) <= 9, store.said

    run(scenario)


def test_a_shard_without_a_bell_is_claimed_from_while_all_that_is_in_hand_is_stuck() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            store = Store({})
            async with feeding(rig, store, 1) as (feeder, *_):
                await until(lambda: "<Feeder 0 of 1" in repr(feeder), lambda: feeder)
                silent = Claim(Holding(1, "1.a"), "1.a:1", rig.hand.goal())
                rig.hand.take(silent, [("silent/production", silent.left)])
                # a retry that is due, or a shard whose holder died
                ours = job(rig.teams[0])
                store.stock[0] = [[ours]]
                feeder.wake((0,))
                for _ in range(4):
                    await asyncio.sleep(0.12)
                    feeder.tend()
                await until(
                    lambda: rig.times_accepted(ids([(ours, None)])) == {1}, lambda: (feeder, rig.hand)
                )

    run(scenario)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_settlement_that_got_no_answer_is_repeated_until_it_did(failures: int) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            store = Store({})
            store.settle_fails = failures
            async with feeding(rig, store, 1) as (_, settler, _):
                claim = Claim(Holding(0, "1.a"), "1.a:1", 1)
                rig.hand.take(claim, [("tenant-0", 1)])
                rig.hand.finish(HeldRun(claim, "high", "tenant-0"), 1)
                assert (rig.hand.jobs, rig.hand.claims) == (0, {claim})
                await settler.drained()
                assert "settle" in store.said
                assert rig.hand.claims == set()

    run(scenario)
