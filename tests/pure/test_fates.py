"""What links report comes to in a worker's hand, where it depends on what has become of the claim or the flow."""

import asyncio
from collections.abc import Callable
from typing import Any

from engine.apns.headers import Held
from engine.apns.outcomes import UNPROCESSED, Outcome, Refused
from engine.link.link import Link
from engine.link.pool import Pool, PoolKey
from engine.policy.links import LinkOptions
from engine.policy.retry import RetryOptions
from engine.worker.conditions import ConditionLog
from engine.worker.dealer import Dealer
from engine.worker.endings import Endings
from engine.worker.fates import Fates
from engine.worker.hand import Claim, Hand, HeldRun
from engine.worker.measures import WORKER
from engine.worker.waits import Waits
from runtime.measures import Sheet
from shards.claim import Holding, Run
from shards.job import Job, encode_job

HOLDING = Holding(3, "1.a")
FLOW = "acme"
BAD = Refused(400, "BadDeviceToken")
NOBODY: Any = None


class Bench:
    """Fates, a hand, and a pool without links. The clock stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.finished: list[Claim] = []
        self.hand = Hand(1_000, self.finished.append)
        self.endings = Endings(self.hand, RetryOptions(), wall=lambda: self.now_s, chance=lambda: 0.5)
        self.waits = Waits(Sheet(WORKER))
        self.fates = Fates(
            self.hand,
            self.endings,
            ConditionLog(None, wall=lambda: self.now_s),
            self.waits,
            lambda: None,
            wall=lambda: self.now_s,
            clock=lambda: self.now_s,
        )
        key = PoolKey("production", "TEAM", "KEY", "print")
        self.pool = Pool(key, NOBODY, NOBODY, self.fates, LinkOptions(), clock=lambda: self.now_s)

    def claimed(self, number: int) -> tuple[HeldRun, list[Held]]:
        claim = Claim(HOLDING, self.hand.new_claim_id(HOLDING), number)
        self.hand.take(claim, [(FLOW, number)])
        run = HeldRun(claim, "high", FLOW)
        return run, [(Job(b"%d" % each, b"ab", "com.acme", b"{}"), run) for each in range(number)]

    def hear(self, held: list[Held], outcome: Outcome) -> None:
        """A link reports this of all of them, in one batch."""
        link = Link(self.pool, NOBODY, lambda: self.now_s)
        self.fates.outcomes(self.pool, link, [], [(entry, outcome) for entry in held])


def run(scenario: Callable[[Bench], None]) -> None:
    """On a loop, which a link wants to be made on."""

    async def on_loop() -> None:
        scenario(Bench())

    asyncio.run(on_loop())


def test_what_apns_never_had_of_a_lost_claim_is_left_to_the_shards_new_holder() -> None:
    def scenario(bench: Bench) -> None:
        ours, lost = bench.claimed(2), bench.claimed(3)
        lost[0].claim.lost = True
        bench.hear([*ours[1], *lost[1]], UNPROCESSED)
        assert list(bench.pool.backlog) == ours[1]
        assert bench.finished == [lost[0].claim]
        assert (bench.hand.jobs, bench.endings.tally["resent"]) == (2, 2)
        assert (lost[0].claim.retries, lost[0].claim.burials) == ([], [])

    run(scenario)


def test_what_was_under_way_when_a_flow_became_suspect_is_not_held_against_it_and_what_comes_later_is() -> (
    None
):
    def scenario(bench: Bench) -> None:
        _, held = bench.claimed(200)
        bench.hear(held[:60], BAD)
        assert bench.fates.trickles() == {FLOW: 0}
        bench.hear(held[60:], BAD)
        bench.now_s += 1.0
        assert bench.fates.trickles() == {FLOW: 4}
        _, later = bench.claimed(4)
        bench.hear(later, BAD)
        assert bench.fates.trickles() == {FLOW: 0}

    run(scenario)


class Router:
    """Knows no flow yet; while it is asked for the route of one, the flow's shard is lost."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.usable = True

    async def learn(self, flows: set[str]) -> None:
        pass

    def known(self, flow: str) -> None:
        return None

    async def route(self, flow: str) -> "Router":
        self._bench.hand.lose(HOLDING)
        return self

    def sort(self, held: list[Held]) -> list[tuple[Pool, list[Held]]]:
        return [(self._bench.pool, held)]


def test_a_shard_that_is_lost_while_a_route_is_asked_for_takes_its_jobs_along() -> None:
    bench = Bench()
    router: Any = Router(bench)
    dealer = Dealer(router, bench.endings, bench.waits, NOBODY, wall=lambda: bench.now_s)
    run_, held = bench.claimed(5)
    asyncio.run(dealer.deal([(run_, Run("high", FLOW, [encode_job(job) for job, _ in held]))]))
    assert not bench.pool.backlog
    assert (bench.hand.jobs, bench.finished) == (0, [run_.claim])
    # the new holder gives them back: nothing is said of them by us
    assert (run_.claim.retries, run_.claim.burials) == ([], [])
