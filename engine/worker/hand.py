"""What a worker holds: claims, the runs of jobs in them, and how many jobs still have no fate.

A claim stays in Redis until each of its jobs has met its fate, so it is counted down here, and settled by one call
when it comes to zero. Which shards have claims of ours is asked for: one counts from the moment it is asked for, since
Redis may have made it long before its answer comes, until Redis has taken that call.
Jobs are tagged with the run that they were claimed in, which leads to the claim, the flow and the lane; a batch of
fates is then counted by run, not looked up by job.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from engine.policy.pace import Pace, Way
from shards.claim import Burial, Holding, Retry, Run, Settlement
from shards.flow import tenant_of


class Claim:
    """Jobs claimed together: ``left`` have no fate yet; the others were accepted, or are named here.

    ``kept`` is how many jobs Redis keeps for it. ``resent`` are the ids of those that were sent again at once.
    ``elements``: how many of them came as elements of each campaign, and are none any more. ``lost``: the shard is
    another's, and so are they. ``since_s``: when it was made, by the monotonic clock.
    """

    __slots__ = (
        "burials", "claim_id", "elements", "holding", "kept", "left", "lost", "resent", "retries", "since_s",
    )  # fmt: skip

    def __init__(self, holding: Holding, claim_id: str, jobs: int, since_s: float = 0.0) -> None:
        self.holding = holding
        self.claim_id = claim_id
        self.left = self.kept = jobs
        self.since_s = since_s
        self.lost = False
        self.retries: list[Retry] = []
        self.burials: list[Burial] = []
        self.resent: set[bytes] = set()
        self.elements: Counter[bytes] = Counter()

    def __repr__(self) -> str:
        return f"<Claim {self.claim_id} of shard {self.holding.shard}, {self.left} left>"

    def settlement(self) -> Settlement:
        return Settlement(self.holding, self.claim_id, self.retries, self.burials, elements=self.elements)

    def carry_over(self, claim_id: str, rest: Sequence[Run], now_s: float) -> Settlement:
        """Go on as another claim, of the jobs that have no fate yet; returns what becomes of the others."""
        settlement = self.settlement()._replace(rest_id=claim_id, rest=rest)
        self.claim_id, self.kept, self.since_s = claim_id, self.left, now_s
        # the rest goes over as jobs
        self.retries, self.burials, self.elements = [], [], Counter()
        return settlement


class HeldRun:
    """Jobs of one flow and lane in a claim. Compared by identity."""

    __slots__ = ("claim", "flow", "lane", "tenant")

    def __init__(self, claim: Claim, lane: str, flow: str) -> None:
        self.claim = claim
        self.lane = lane
        self.flow = flow
        self.tenant = tenant_of(flow)


class Hand:
    """Counts the jobs in a worker's hands, in all and by flow, and says how many more there should be.

    ``least`` and ``most``: how many it holds while there are enough. ``finished`` is called with each claim whose last
    job has met its fate.
    """

    def __init__(self, most: int, finished: Callable[[Claim], None], least: int = 1_024) -> None:
        self.jobs = 0
        self.flows: dict[str, int] = {}
        self._pace = Pace(min(least, most), most)
        self._done = 0
        self._moved: set[str] = set()
        self._most = most
        self._finished = finished
        self.claims: set[Claim] = set()
        self._awaited: Collection[int] = ()
        self._numbers = count(1)

    def __repr__(self) -> str:
        return f"<Hand {self.jobs}/{self._most} jobs in {len(self.claims)} claims, {self._pace!r}>"

    def free(self) -> int:
        """Places that are left."""
        return self._most - self.jobs

    def goal(self) -> int:
        """How many there should be."""
        return self._pace.target

    def room(self) -> int:
        """How many of the free places should be taken now; may be below 0."""
        return min(self.free(), self._pace.room(self.jobs))

    def for_links(self) -> int:
        """How many of them are there to make batches for each link."""
        return self._pace.for_links

    def look(self, now_s: float, way: Callable[[], Way], company: bool) -> None:
        """Now and then see how fast jobs meet their fates, and of which flows none does. ``way``: to APNs; ``company``:
        there are flows that would wait for what others have in hand."""
        if self._pace.is_due(now_s, len(self.flows)):
            self._pace.look(now_s, self._done, self.flows, self._moved, way(), company)
            self._moved.clear()

    def new_claim_id(self, holding: Holding) -> str:
        """An id that was never used under this fence."""
        return f"{holding.fence}:{next(self._numbers)}"

    @contextmanager
    def awaiting(self, shards: Collection[int]) -> Iterator[None]:
        """One round of claims is under way, from these shards, until what it brings has been taken."""
        self._awaited = shards
        try:
            yield
        finally:
            self._awaited = ()

    def shards(self) -> set[int]:
        """Those with claims in hand, of whatever fence, or on their way here."""
        return {claim.holding.shard for claim in self.claims}.union(self._awaited)

    def take(self, claim: Claim, portions: Iterable[tuple[str, int]]) -> None:
        """A claim has come, with so many jobs of each flow."""
        self.claims.add(claim)
        self.jobs += claim.left
        for flow, jobs in portions:
            if flow not in self.flows:
                self._moved.add(flow)
            self.flows[flow] = self.flows.get(flow, 0) + jobs

    def finish(self, run: HeldRun, jobs: int) -> None:
        """So many jobs of the run have met their fate."""
        claim, flow = run.claim, run.flow
        self.jobs -= jobs
        self._done += jobs
        self._moved.add(flow)
        left = self.flows[flow] - jobs
        if left:
            self.flows[flow] = left
        else:
            # flows come and go, and there may be ten thousand
            del self.flows[flow]
        claim.left -= jobs
        if claim.left == 0:
            self._finished(claim)

    def lose(self, holding: Holding) -> None:
        """Another has the shard: what is in hand of it is not ours any more."""
        for claim in self.claims:
            claim.lost = claim.lost or claim.holding == holding

    def forget(self, claim: Claim) -> None:
        """The claim is settled, or another holder's to settle."""
        self.claims.discard(claim)
