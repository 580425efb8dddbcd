"""What a worker holds: claims, the runs of jobs in them, and how many jobs still have no fate.

A claim stays in Redis until each of its jobs has met its fate, so it is counted down here, and settled by one call
when it comes to zero. It is held until Redis has taken that call: which shards have claims of ours is asked for.
Jobs are tagged with the run that they were claimed in, which leads to the claim, the tenant and the lane; a batch of
fates is then counted by run, not looked up by job.
"""

from collections.abc import Callable

from shards.queue import Burial, Holding, Retry, Settlement


class Claim:
    """Jobs claimed together: ``left`` have no fate yet; the others were accepted, or are named here.

    ``resent`` are the ids of those that were sent again at once. ``lost``: the shard is another's, and so are they.
    """

    __slots__ = ("burials", "claim_id", "holding", "left", "lost", "resent", "retries")

    def __init__(self, holding: Holding, claim_id: str, jobs: int) -> None:
        self.holding = holding
        self.claim_id = claim_id
        self.left = jobs
        self.lost = False
        self.retries: list[Retry] = []
        self.burials: list[Burial] = []
        self.resent: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Claim {self.claim_id} of shard {self.holding.shard}, {self.left} left>"

    def settlement(self) -> Settlement:
        return Settlement(self.holding, self.claim_id, self.retries, self.burials)


class HeldRun:
    """Jobs of one tenant and lane in a claim. Compared by identity."""

    __slots__ = ("claim", "lane", "tenant")

    def __init__(self, claim: Claim, lane: str, tenant: str) -> None:
        self.claim = claim
        self.lane = lane
        self.tenant = tenant


class Hand:
    """Counts the jobs in a worker's hands. ``finished`` is called with each claim whose last job has met its fate."""

    def __init__(self, most: int, finished: Callable[[Claim], None]) -> None:
        self.jobs = 0
        self._most = most
        self._finished = finished
        self.claims: set[Claim] = set()

    def __repr__(self) -> str:
        return f"<Hand {self.jobs}/{self._most} jobs in {len(self.claims)} claims>"

    def room(self) -> int:
        return self._most - self.jobs

    def take(self, claim: Claim) -> None:
        self.claims.add(claim)
        self.jobs += claim.left

    def finish(self, claim: Claim, jobs: int) -> None:
        """So many jobs of the claim have met their fate."""
        self.jobs -= jobs
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
