"""Claims jobs from the shards that this worker holds, for the dealer to hand to pools.

A shard is *awake* when it may have jobs for us. A claim that finds nothing left puts it to sleep, in Redis and here
in the same step; the next enqueue rings the shard's bell, and it is awake again. So an idle worker asks nothing, and a
wake-up can't be lost: a shard stops being awake *before* its claim is sent, so a bell that rings meanwhile wakes it for
the next round.

A bell also rings when a flow that had nothing in a shard comes to it while the shard is awake. Such shards are served
before the others, so nobody waits until all shards of a worker have had their turn because one neighbour has jobs in
each. For jobs that stand behind others of their own flow no bell rings.

When claims bring little, the next one waits a moment: at a thousand single pushes a second, a round every 4 ms brings
four of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from engine.options import EngineOptions
from engine.policy.sharing import (
    LITTLE,
    Round,
    RoundOptions,
    is_time,
    plan_round,
    rooms,
    turns_brought,
    whole_round,
)
from engine.worker.dealer import Dealer
from engine.worker.fates import Fates
from engine.worker.hand import Claim, Hand, HeldRun
from engine.worker.router import Router
from shards.claim import Claimed, Fenced, Holding, Run
from shards.errors import StoreError, StoreRefused, StoreUnavailable
from shards.queue import Queue

LOG: Final = logging.getLogger("clarion.feeder")

BREATH_S: Final = 0.004
AGAIN_AFTER_S: Final = 0.5
# since the last bell
COMPANY_S: Final = 0.5


class Feeder:
    """Tasks: 1 know which shards are awake; 2 claim from them while there is room."""

    def __init__(
        self,
        queue: Queue,
        hand: Hand,
        router: Router,
        fates: Fates,
        dealer: Dealer,
        options: EngineOptions,
        *,
        is_ours: Callable[[Holding], bool],
        doubted: Callable[[Iterable[Holding]], None],
    ) -> None:
        self._queue = queue
        self._holdings: dict[int, Holding] = {}
        # in the order in which they are to be served; a dict, since sets have none
        self._awake: dict[int, None] = {}
        # those of them to which a flow has come
        self._rung: dict[int, None] = {}
        # flows that may have ready jobs which were not claimed for want of room
        self._withheld: set[str] = set()
        self._alarms: dict[int, asyncio.TimerHandle] = {}
        self._is_ours = is_ours
        self._doubted = doubted
        self._hand = hand
        self._router = router
        self._fates = fates
        self._dealer = dealer
        self._options = options
        self._rounds = RoundOptions(
            options.round_most, options.claim_least, options.claim_most, options.turn_least
        )
        # how many a claim has brought lately
        self._turns = 1.0
        self._stir = asyncio.Event()
        self._stir.set()
        self._claimed_s = self._rung_s = float("-inf")
        self._quiet = False

    def __repr__(self) -> str:
        return f"<Feeder {len(self._awake)} of {len(self._holdings)} shards awake>"

    def gain(self, holding: Holding) -> None:
        """The shard may be claimed from, and may have jobs."""
        self._holdings[holding.shard] = holding
        self.wake((holding.shard,))

    def let_go(self, holding: Holding) -> None:
        """Claim no more from the shard."""
        self._holdings.pop(holding.shard, None)
        self._awake.pop(holding.shard, None)
        self._rung.pop(holding.shard, None)

    def wake(self, shards: Iterable[int] | None = None) -> None:
        """These shards (None: all) may have jobs."""
        self._rouse(self._holdings if shards is None else shards)
        self.stir()

    def ring(self, shard: int) -> None:
        """To the shard a flow has come that had nothing there."""
        self._rung_s = time.monotonic()
        if shard in self._holdings:
            self._rung[shard] = None
        self.wake((shard,))

    def _rouse(self, shards: Iterable[int]) -> None:
        # a bell may ring for a shard that another worker has taken
        self._awake.update(dict.fromkeys(shard for shard in shards if shard in self._holdings))

    def stir(self) -> None:
        """There may be room. Called with each batch of answers, so what is cheap to see is looked at first."""
        if not self._stir.is_set() and (self._awake or self._withheld) and self._wants():
            self._stir.set()

    def tend(self) -> None:
        """To be called now and then. What fills the hand may be stuck, so that no answer stirs us: then others may be
        claimed in its place, which shows only when it is looked at."""
        if (self._awake or self._withheld) and not self._wants():
            self._look()
        self.stir()

    def quiet(self) -> None:
        """Claim no more."""
        self._quiet = True
        self._stir.set()

    async def run(self) -> None:
        """Returns after ``quiet``, when the claim under way has been handed over."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            if self._quiet:
                return
            self._look()
            if not self._wants():
                # whatever makes room stirs us
                continue
            plan = self._plan()
            withheld = self._withhold(plan)
            if self._withheld - {flow for flow, room in withheld.items() if room == 0}:
                # a shard that slept because there was no room for its flows may have work for us again
                self._rouse(self._holdings)
                plan = self._plan()
                withheld = self._withhold(plan)
            self._withheld = {flow for flow, room in withheld.items() if room == 0}
            if not plan.shards:
                # a bell wakes us, or room for a flow that is withheld
                continue
            self._claimed_s = time.monotonic()
            try:
                jobs = await self._claim(plan, withheld)
                self._turns = turns_brought(self._turns, plan, jobs)
            except StoreError as error:
                LOG.warning("no claims for now: %s", error)
                await asyncio.sleep(AGAIN_AFTER_S)
                self.wake()
                continue
            if jobs < LITTLE and not self._quiet:
                await asyncio.sleep(BREATH_S)
            self.stir()

    def _look(self) -> None:
        self._hand.look(time.monotonic(), self._router.way, self._in_company())

    def _wants(self) -> bool:
        """Whether there should be a round, if a shard is awake. One that was rung is not made to wait."""
        if self._rung:
            return True
        hand, waited_s = self._hand, time.monotonic() - self._claimed_s
        return is_time(hand.room(), hand.goal(), self._round_most(), self._rounds.round_most, waited_s)

    def _plan(self) -> Round:
        hand, rung, awake = self._hand, len(self._rung), len(self._awake)
        sizes = self._rounds._replace(round_most=self._round_most())
        return plan_round(rung, awake, hand.room(), hand.free(), self._turns, sizes)

    def _in_company(self) -> bool:
        """Whether flows have come lately that would wait behind what others have much of."""
        return time.monotonic() - self._rung_s < COMPANY_S

    def _round_most(self) -> int:
        if self._in_company():
            return self._options.round_quick
        return whole_round(self._options.round_most, self._hand.for_links())

    def _withhold(self, plan: Round) -> dict[str, int]:
        """Flows of which a round should bring no more than so many jobs."""
        hand, router = self._hand, self._router
        found = rooms(hand.flows, hand.free(), plan, router.limits(), router.weights)
        for flow, room in self._fates.trickles().items():
            found[flow] = min(room, found.get(flow, room))
        found.update(dict.fromkeys(router.resting(), 0))
        return found

    async def _claim(self, plan: Round, withheld: Mapping[str, int]) -> int:
        """One round: claim from awake shards, hand over; returns the number of jobs."""
        shards = self._next(plan.shards)
        wanted = []
        for shard in shards:
            del self._awake[shard]
            holding = self._holdings[shard]
            wanted.append((holding, self._hand.new_claim_id(holding), plan.most))
        with self._hand.awaiting(shards):
            answers = await self._ask(wanted, plan, withheld)
            taken, refused = self._receive(answers, withheld)
        await self._dealer.deal(taken)
        if refused is not None:
            raise refused
        return sum(len(run.jobs) for _, run in taken)

    async def _ask(
        self, wanted: Sequence[tuple[Holding, str, int]], plan: Round, withheld: Mapping[str, int]
    ) -> list[Claimed | Fenced | StoreRefused]:
        try:
            return await self._queue.claim(
                wanted,
                quantum=plan.turn,
                low_share=self._options.low_share,
                # each shard may bring as much of a flow
                rooms=[(flow, -(-room // len(wanted))) for flow, room in withheld.items()],
            )
        except StoreUnavailable as error:
            if error.in_doubt:
                self._doubted([holding for holding, _, _ in wanted])
            raise

    def _receive(
        self, answers: Iterable[Claimed | Fenced | StoreRefused], withheld: Mapping[str, int]
    ) -> tuple[list[tuple[HeldRun, Run]], StoreRefused | None]:
        """Take in hand what a round brought; returns the runs, and the last refusal."""
        taken: list[tuple[HeldRun, Run]] = []
        refused: StoreRefused | None = None
        for answer in answers:
            match answer:
                case Claimed(holding, claim_id, runs, asleep, again_s):
                    if not asleep:
                        self._rouse((holding.shard,))
                    elif again_s:
                        self._wake_after(holding.shard, again_s)
                    # a flow that gave something may have had more than there was room for
                    self._withheld.update(run.flow for run in runs if run.flow in withheld)
                    # otherwise the shard was lost meanwhile, and its new holder gives the claim back
                    if runs and self._is_ours(holding):
                        taken += self._take(holding, claim_id, runs)
                case Fenced(holding):
                    self._doubted((holding,))
                case StoreRefused():
                    # not at once: the answers behind it are jobs that Redis has put in our hands
                    refused = answer
        return taken, refused

    def _next(self, count: int) -> list[int]:
        """So many shards: first those that were rung, then those that have waited longest."""
        rung = list(islice(self._rung, count))
        for shard in rung:
            del self._rung[shard]
        others = (shard for shard in self._awake if shard not in rung)
        return rung + list(islice(others, count - len(rung)))

    def _wake_after(self, shard: int, delay_s: float) -> None:
        """A flow of the shard has spent its rate until then."""
        earlier = self._alarms.pop(shard, None)
        if earlier is not None:
            earlier.cancel()
        self._alarms[shard] = asyncio.get_running_loop().call_later(delay_s, self.wake, (shard,))

    def _take(self, holding: Holding, claim_id: str, runs: list[Run]) -> Iterator[tuple[HeldRun, Run]]:
        """Take a claim in hand; what comes of its runs is for the dealer."""
        claim = Claim(holding, claim_id, sum(len(run.jobs) for run in runs), time.monotonic())
        self._hand.take(claim, [(run.flow, len(run.jobs)) for run in runs])
        return ((HeldRun(claim, run.lane, run.flow), run) for run in runs)
