"""Whether tenants were served by their weights, and what a neighbour's backlog cost others. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from loadtest.bench.waits import Span, Waits
from loadtest.bench.waits import told as told_waits
from loadtest.demo.verdict import percentile
from loadtest.sink.recorder import Piece

# the longest that a tenant may get another share than its own, and by how much of it at most
WINDOW_S: Final = 5.0
SHORT_S: Final = 1.0
SHARE_OFF_MOST: Final = 0.05
# windows begin so often within their length
STEPS: Final = 10
# p99 beside a neighbour's backlog, compared with p99 without; and the backlog's rate beside others, with that of the
# drain benchmark
P99_TIMES_MOST: Final = 2.0
RATE_TIMES_LEAST: Final = 0.8


class Came(NamedTuple):
    """Acceptances of one read at the sink: Unix seconds, whose, and how many."""

    at_s: float
    tenant: int
    pushes: int


class Shares(NamedTuple):
    """Windows of one length: how many there were, and by how much of its own share the worst served tenant was off
    in the worst window and in the middle one."""

    windows: int
    worst: float
    median: float


class Neighbours(NamedTuple):
    """By tenant its waits without and with the backlog beside it; the pushes a second of the drain benchmark, and of
    the backlog beside the others."""

    alone: Mapping[str, Waits]
    together: Mapping[str, Waits]
    rate_drain: float
    rate_together: float

    @property
    def rate_times(self) -> float:
        return self.rate_together / self.rate_drain if self.rate_drain else 0.0

    def p99_times(self, tenant: str) -> float:
        return self.together[tenant].p99_s / self.alone[tenant].p99_s


def came(record: Iterable[Piece], tenant_of: Mapping[bytes, int]) -> Iterator[Came]:
    """The record by tenant. A connection belongs to one team, so the first id of a piece speaks for all."""
    for piece in record:
        tenant = tenant_of.get(piece.ids[0])
        if tenant is not None:
            yield Came(piece.at_s, tenant, len(piece.ids))


def shares(accepted: Iterable[Came], weights: Sequence[int], span: Span, window_s: float) -> Shares:
    """What each had in every window of this length within the span."""
    step_s = window_s / STEPS
    slots = [[0] * len(weights) for _ in range(int(span.seconds / step_s + 1e-6))]
    for at_s, tenant, pushes in accepted:
        slot = int((at_s - span.begin_s) / step_s)
        if at_s >= span.begin_s and slot < len(slots):
            slots[slot][tenant] += pushes
    off = sorted(
        _off([sum(counts) for counts in zip(*slots[first : first + STEPS], strict=True)], weights)
        for first in range(len(slots) - STEPS + 1)
    )
    return Shares(len(off), off[-1], percentile(off, 0.5)) if off else Shares(0, 0.0, 0.0)


def _off(counts: Sequence[int], weights: Sequence[int]) -> float:
    served, whole = sum(counts), sum(weights)
    if not served:
        return 1.0
    return max(
        abs(count / served * whole / weight - 1) for count, weight in zip(counts, weights, strict=True)
    )


def rate(accepted: Iterable[Came], tenant: int, *spans: Span) -> float:
    """A tenant's acceptances a second in the spans."""
    own = (each for each in accepted if each.tenant == tenant)
    pushes = sum(each.pushes for each in own if any(span.holds(each.at_s) for span in spans))
    return pushes / sum(span.seconds for span in spans)


def unfair(judged: Shares) -> list[str]:
    """What is wrong with the shares in windows of ``WINDOW_S``, in words."""
    if not judged.windows:
        return [f"the backlogs did not last for one window of {WINDOW_S:.0f} s"]
    if judged.worst > SHARE_OFF_MOST:
        return [
            f"a tenant's share was off by {judged.worst:.1%} in a window of {WINDOW_S:.0f} s; "
            f"{SHARE_OFF_MOST:.0%} are the most"
        ]
    return []


def disturbed(judged: Neighbours) -> list[str]:
    """What is wrong with the neighbours, in words."""
    found = [
        f"p99 of {tenant} was {judged.p99_times(tenant):.2f} times its own; {P99_TIMES_MOST:.0f} are the most"
        for tenant in judged.together
        if not judged.p99_times(tenant) <= P99_TIMES_MOST
    ]
    if judged.rate_times < RATE_TIMES_LEAST:
        found.append(
            f"the backlog drained at {judged.rate_times:.2f} of the drain benchmark's rate; "
            f"{RATE_TIMES_LEAST} is the least"
        )
    return found


def told_shares(judged: Shares) -> dict[str, Any]:
    return {
        "windows": judged.windows,
        "worst_off_percent": round(100 * judged.worst, 2),
        "median_off_percent": round(100 * judged.median, 2),
    }


def told_neighbours(judged: Neighbours) -> dict[str, Any]:
    return {
        **{
            tenant: {
                "p99_times": round(judged.p99_times(tenant), 2),
                "alone": told_waits(judged.alone[tenant]),
                "together": told_waits(judged.together[tenant]),
            }
            for tenant in judged.together
        },
        "hog": {
            "rate_times": round(judged.rate_times, 2),
            "drain_per_s": round(judged.rate_drain),
            "together_per_s": round(judged.rate_together),
        },
    }
