"""Whether campaigns are worth it: how much faster they drain, and how much less of Redis' memory they take. Pure."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from loadtest.bench.tenants_verdict import Drain

# of single notifications
RATE_TIMES_LEAST: Final = 1.4
MEMORY_TIMES_MOST: Final = 0.3


class Kind(NamedTuple):
    """Drains of one kind, and how many bytes a job took of Redis' memory while all of each waited; ``came``: what the
    sink had in the end, of ``sent``."""

    drains: Sequence[Drain]
    bytes_per_job: Sequence[float]
    sent: int
    came: int


def told(kind: Kind) -> dict[str, Any]:
    """As the result says a kind: medians of its drains."""
    return {
        "pushes_per_s": round(median(map(_rate, kind.drains))),
        "engine_us_per_push": round(median(1e6 * drain.engine_s / drain.jobs for drain in kind.drains), 2),
        "redis_us_per_push": round(median(1e6 * drain.redis_s / drain.jobs for drain in kind.drains), 2),
        "sink_us_per_push": round(median(1e6 * drain.sink_s / drain.jobs for drain in kind.drains), 2),
        "redis_bytes_per_job": round(median(kind.bytes_per_job), 1),
        "drains": len(kind.drains),
        "lost": max(0, kind.sent - kind.came),
        "repeated": max(0, kind.came - kind.sent),
    }


def compared(single: Kind, campaign: Kind) -> dict[str, float]:
    """The campaigns as multiples of the single ones: medians of the rounds, of which each has a drain of both."""
    return {
        "rate_times": round(rate_times(single, campaign), 3),
        "memory_times": round(memory_times(single, campaign), 3),
    }


def rate_times(single: Kind, campaign: Kind) -> float:
    return median(
        _rate(ours) / _rate(other) for ours, other in zip(campaign.drains, single.drains, strict=True)
    )


def memory_times(single: Kind, campaign: Kind) -> float:
    return median(campaign.bytes_per_job) / median(single.bytes_per_job)


def failures(single: Kind, campaign: Kind) -> list[str]:
    """In words; empty when all is well."""
    wrong = [
        f"{kind.came} pushes came of {kind.sent}" for kind in (single, campaign) if kind.came != kind.sent
    ]
    rate, memory = rate_times(single, campaign), memory_times(single, campaign)
    if rate < RATE_TIMES_LEAST:
        wrong.append(
            f"campaigns drain at {rate:.2f} times the rate of single pushes, and {RATE_TIMES_LEAST} are the least"
        )
    if memory > MEMORY_TIMES_MOST:
        wrong.append(
            f"a campaign's job takes {memory:.2f} times the memory of others, and {MEMORY_TIMES_MOST} are the most"
        )
    return wrong


def _rate(drain: Drain) -> float:
    return drain.jobs / drain.seconds
