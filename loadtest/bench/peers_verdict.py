"""How Clarion's rate stands to that of other ways of sending, and whether that is enough. Pure.

What every figure of a peer is the median of is the rounds that it took part in.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

CLARION: Final = "clarion"
RATE_LEAST: Final = 80_000
# so many times the rate of each of these, at least; h2load has no queue, and writes the same bytes again and again
TIMES_LEAST: Final = {"go-gateway": 4.0, "node-apn": 4.0, "h2": 12.0, "h2load": 0.6}


class Round(NamedTuple):
    """One round of one peer. ``us_per_push`` is CPU of its processes; that of Redis only where the peer has a queue.
    ``lost`` are pushes that it was told to send and that the sink did not get."""

    pushes_per_s: float
    us_per_push: float
    sink_us_per_push: float
    redis_us_per_push: float | None = None
    lost: int = 0


class Facts(NamedTuple):
    """What was measured: its version, and what it was set to."""

    version: str
    settings: Mapping[str, int]


def middle(rounds: Sequence[Round]) -> Round:
    """Of each figure the median, and the most that was lost in a round."""
    redis = [each.redis_us_per_push for each in rounds if each.redis_us_per_push is not None]
    return Round(
        median(each.pushes_per_s for each in rounds),
        median(each.us_per_push for each in rounds),
        median(each.sink_us_per_push for each in rounds),
        median(redis) if redis else None,
        max(each.lost for each in rounds),
    )


def clarion_times(peer: str, rounds: Mapping[str, Sequence[Round]]) -> float | None:
    """Clarion's rate to this one's, by their medians; None where either was not measured."""
    if not rounds.get(CLARION) or not rounds.get(peer):
        return None
    return middle(rounds[CLARION]).pushes_per_s / middle(rounds[peer]).pushes_per_s


def told(rounds: Mapping[str, Sequence[Round]], facts: Mapping[str, Facts]) -> dict[str, Any]:
    """As the result says it, peer by peer; those without a round are left out."""
    return {name: _told(name, rounds, facts[name]) for name in rounds if rounds[name]}


def failures(rounds: Mapping[str, Sequence[Round]], faults: Mapping[str, str]) -> list[str]:
    """In words; empty when all is well. ``faults``: why a peer did not come to its end. One that is absent fails
    nothing."""
    found = [f"{name}: {fault}" for name, fault in faults.items()]
    for name, least in TIMES_LEAST.items():
        times = clarion_times(name, rounds)
        if times is not None and times < least:
            found.append(f"clarion has {times:.2f} times the rate of {name}; {least} are the least")
    if rounds.get(CLARION):
        own = middle(rounds[CLARION])
        if own.pushes_per_s < RATE_LEAST:
            found.append(f"clarion sends {own.pushes_per_s:.0f} a second; {RATE_LEAST} are the least")
        if own.lost:
            found.append(f"clarion lost {own.lost} pushes")
    return found


def _told(name: str, rounds: Mapping[str, Sequence[Round]], facts: Facts) -> dict[str, Any]:
    figures = middle(rounds[name])
    times = clarion_times(name, rounds)
    return {
        "pushes_per_s": round(figures.pushes_per_s),
        "us_per_push": round(figures.us_per_push, 2),
        "sink_us_per_push": round(figures.sink_us_per_push, 2),
        **(
            {}
            if figures.redis_us_per_push is None
            else {"redis_us_per_push": round(figures.redis_us_per_push, 2)}
        ),
        "clarion_times": None if times is None else round(times, 2),
        "lost": figures.lost,
        "version": facts.version,
        "settings": dict(facts.settings),
        "rounds_per_s": [round(each.pushes_per_s) for each in rounds[name]],
    }
