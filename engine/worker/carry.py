"""Slow claims: what has no fate yet is carried over into a claim of its own, and the rest is settled.

A claim stays in Redis until the last of its jobs has met its fate. A push that APNs does not answer would so keep some
hundred that were accepted long ago, and all of them would be sent again if the worker died. So now and then claims that
are old and mostly done are divided. Each division halves what is kept at least, so it costs little in all; and a
gateway whose pushes are answered within a second never comes here.

A shard that is to go to another holder waits for its claims. A push that no link takes may wait for as long as its host
is away, so those are taken back after as long.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from engine.apns.headers import Held
from engine.link.pool import Pool
from engine.worker.hand import Claim, Hand, HeldRun
from shards.claim import Run, Settlement
from shards.job import encode_job

AFTER_S: Final = 1.0


def slow(claims: Iterable[Claim], now_s: float) -> list[Claim]:
    """Claims that are old, and of which at least half is done."""
    return [
        claim
        for claim in claims
        if now_s - claim.since_s >= AFTER_S and 0 < claim.left <= claim.kept // 2 and not claim.lost
    ]


def carry_over(hand: Hand, pools: Iterable[Pool], now_s: float) -> list[Settlement]:
    """Divide the slow claims in hand; returns what of them is to be settled."""
    claims = slow(hand.claims, now_s)
    if not claims:
        return []
    rests: dict[Claim, dict[HeldRun, list[bytes]]] = {claim: {} for claim in claims}
    for pool in pools:
        for job, run in pool.held():
            if run.claim in rests:
                rests[run.claim].setdefault(run, []).append(encode_job(job))
    return [
        claim.carry_over(
            hand.new_claim_id(claim.holding),
            [Run(run.lane, run.flow, jobs) for run, jobs in rest.items()],
            now_s,
        )
        for claim, rest in rests.items()
        # a job that is nowhere to be found now is on its way from one place to the next
        if sum(map(len, rest.values())) == claim.left
    ]


def take_back(pools: Iterable[Pool], shards: Collection[int], now_s: float) -> Iterator[Held]:
    """Take what of these shards has long waited for a link out of the pools."""

    def is_due(held: Held) -> bool:
        claim: Claim = held[1].claim
        return claim.holding.shard in shards and now_s - claim.since_s >= AFTER_S

    for pool in pools:
        yield from pool.drop(is_due)
