"""What became of pushes at the store, in the words of a refusal: one place for all ways to push."""

from collections.abc import Collection
from typing import Final, assert_never

from ingest.gather import Fate, Parcel, Reason, Stored, TurnedAway, Unstored
from ingest.problems import Code
from ingest.rate import Take
from shards.errors import StoreError, StoreRefused
from shards.problem import Refusal
from shards.queue import Full

NOT_REACHED: Final = Refusal(
    Code.STORE_UNAVAILABLE, "Redis can't be reached; nothing was accepted, send it again"
)
IN_DOUBT: Final = Refusal(
    Code.STORE_IN_DOUBT,
    "Redis did not answer in time: the pushes may have been accepted or not. Send them again only if a device "
    "that gets one twice does no harm (a collapse_id helps)",
)
NOT_TAKEN: Final = Refusal(
    Code.STORE_REFUSED,
    "Redis takes no writes at the moment (out of memory or read only); it was not accepted",
)
FLOW_FULL: Final = Refusal(
    Code.QUEUE_FULL,
    "as many of this tenant's pushes wait as may; it was not accepted, send it again when some have been sent",
)
SHARD_FULL: Final = Refusal(
    Code.TOO_BUSY, "as many pushes of all tenants wait as may; it was not accepted, send it later"
)
OVER_RATE: Final = Refusal(
    Code.RATE_LIMITED,
    "this tenant has pushed more than its rate allows; nothing was accepted, send it again after Retry-After",
)


def refusal_for(reason: Reason) -> Refusal:
    """Why the pushes of one place were not taken."""
    match reason:
        case Full.FLOW:
            return FLOW_FULL
        case Full.SHARD:
            return SHARD_FULL
        case StoreRefused():
            return NOT_TAKEN
        case _:
            assert_never(reason)


def refusal_for_all(reasons: Collection[Reason]) -> Refusal:
    """Why nothing of a request was taken; of several reasons the one that the tenant can do least about."""
    return min(map(refusal_for, reasons), key=(NOT_TAKEN, SHARD_FULL, FLOW_FULL).index)


def refusal_of(fate: Fate) -> Refusal | None:
    """What a parcel's fate means for a request that needs all of it stored; None if it is."""
    match fate:
        case Stored(refused=refused):
            return refusal_for_all(refused.values()) if refused else None
        case Unstored(in_doubt=in_doubt):
            return IN_DOUBT if in_doubt else NOT_REACHED
        case TurnedAway():
            return Refusal(
                Code.TOO_BUSY,
                f"{fate.waiting_jobs} pushes ({fate.waiting_bytes} bytes) wait for Redis, {fate.own_jobs} "
                f"({fate.own_bytes} bytes) of them this tenant's, which with these would have more waiting than is "
                "left for others; nothing was accepted, send it later",
            )
        case _:
            assert_never(fate)


def surely_unstored(fate: Fate, parcel: Parcel) -> int:
    """How many of a parcel's pushes Redis has not taken, and not perhaps either."""
    match fate:
        case Stored(refused=refused):
            return sum(len(parcel.by_place[place]) for place in refused)
        case Unstored(in_doubt=in_doubt):
            return 0 if in_doubt else parcel.jobs
        case TurnedAway():
            return parcel.jobs
        case _:
            assert_never(fate)


def refusal_by_rate(taken: Take | StoreError) -> Refusal | None:
    """What the meter's word means for a request; None if it goes on."""
    match taken:
        case Take.TAKEN:
            return None
        case StoreRefused():
            return NOT_TAKEN
        case StoreError():
            # whether Redis counted the pushes or not, none was stored
            return NOT_REACHED
        case _:
            return OVER_RATE
