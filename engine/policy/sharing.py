"""How much of a worker's hand one flow may have. Pure.

A worker holds so many jobs at most, and what it holds of a flow whose link is slow stays with it for long. A fixed
bound for each flow is either too low for one that is alone or too high for a hundred that are stuck. So the bound
moves with what is free (Choudhury and Hahne, *Dynamic queue length thresholds*, 1998): a flow may hold half as many
jobs as places are free. One alone gets a third of the hand; each that is stuck leaves two thirds of what it found, so
six of them leave a twelfth for all others.

While what is sent is slow to be answered, the hand is what everybody waits for, and not the claims: then these bounds
decide who is served how much, and so they follow the weights. The heaviest flow in hand has the bound above, a lighter
one its part of it, but no less than an eighth: a heavy flow may be stuck.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

SHARE_OF_FREE: Final = 0.5
PART_LEAST: Final = 1 / 8
# Of many flows, one that holds less than this part of what it may is not worth naming: ten thousand may hold a few jobs
# each, and to name them all in every claim costs Redis more than the claims do.
MANY: Final = 100
SLIGHT: Final = 1 / 8
# of what should be in hand, a round is so much at most: the larger, the larger the batches, while the rest keeps links
# busy until Redis has answered
ROUND_PART: Final = 0.75
# a round smaller than this is not worth making while a larger one may come, nor is waiting longer for a whole one of
# the usual size
LITTLE: Final = 64
WAIT_S: Final = 0.05


class RoundOptions(NamedTuple):
    """In jobs: what a round brings, a claim at least and at most, and a turn of a flow of weight 1 at least."""

    round_most: int
    claim_least: int
    claim_most: int
    turn_least: int


class Round(NamedTuple):
    """A round of claims: from so many shards, ``most`` jobs from each, and of each flow a ``turn`` times its weight."""

    shards: int
    turn: int
    most: int

    def brings(self, weight: int) -> int:
        """The most of a flow of this weight: it may stand in each shard."""
        return max(1, self.shards) * min(self.most, self.turn * weight)


def whole_round(usual_most: int, for_links: int) -> int:
    """Jobs of a whole round, when it is usually so many, and so many are in hand for the sake of batches: those come
    in rounds that make them."""
    return max(usual_most, int(for_links * ROUND_PART))


def is_time(room: int, goal: int, round_most: int, usual_most: int, waited_s: float) -> bool:
    """Whether there should be a round of claims. ``room``: jobs that should be taken, ``goal``: how many should be in
    hand; ``round_most``: jobs of a whole round now, ``usual_most``: of one as it usually is; ``waited_s``: since the
    last one, in seconds.

    Whole rounds are cheapest, so room for one is waited for; but not for long, since what fills the hand may be stuck,
    and others must be served from what it leaves. A larger round takes longer to become whole.
    """
    if room >= min(round_most, goal * ROUND_PART):
        return True
    return room >= LITTLE and waited_s >= WAIT_S * max(1.0, round_most / usual_most)


def plan_round(rung: int, awake: int, room: int, free: int, turns: float, options: RoundOptions) -> Round:
    """The next round. ``rung``: shards to which a flow has come that had nothing there; ``awake``: all that may have
    jobs; ``room``: jobs that should be taken; ``free``: that may be. ``turns``: how many a claim has brought lately.

    Few shards with a whole claim each cost least, and those that were rung come first: whoever comes to a shard that
    is busy with others waits for one round, and not until all shards have had their turn. They are served even when no
    more should be taken, with the least turns.

    A turn is so small that those of a claim together are its part of the round, as far as that is worth a claim: then
    each claim has something of every flow. It is the same in all shards of the round, and each gives a flow one turn
    at most, which makes the rounds fair.
    """
    room = min(room, options.round_most)
    part = max(options.claim_least, min(options.claim_most, room // max(1, awake)))
    shards = max(0, min(awake, free, max(rung, room // part, min(1, room))))
    each = max(1, shards)
    most = max(1, min(part + part // 4, options.claim_most, free // each))
    return Round(shards, max(options.turn_least, int(min(part, room / each) / turns)), most)


def turns_brought(before: float, plan: Round, jobs: int) -> float:
    """How many turns a claim brings, of weight 1 and at least one, after a round that brought so many jobs."""
    return max(1.0, (before + jobs / (plan.shards * plan.turn)) / 2)


def rooms(
    in_hand: Mapping[str, int],
    free: int,
    plan: Round,
    limits: Mapping[str, int],
    weights: Mapping[str, int],
) -> dict[str, int]:
    """Flow → how many more of its jobs may be claimed, for those of which a round of claims could bring too many.

    ``in_hand``: jobs held of each flow; ``free``: places in the hand; ``limits``: flows with a bound of their own;
    ``weights``: those of flows with another weight than 1.
    """
    most = free * SHARE_OF_FREE
    heaviest = max((weights.get(flow, 1) for flow in in_hand), default=1) if weights else 1
    slight = SLIGHT if len(in_hand) > MANY else 0.0
    found: dict[str, int] = {}
    for flow, held in in_hand.items():
        weight = weights.get(flow, 1) if weights else 1
        bound = int(most * max(PART_LEAST, weight / heaviest))
        if held > bound * slight and bound - held < plan.brings(weight):
            found[flow] = max(0, bound - held)
    for flow, limit in limits.items():
        room = max(0, limit - in_hand.get(flow, 0))
        if room < plan.brings(weights.get(flow, 1)):
            found[flow] = min(found.get(flow, room), room)
    return found
