"""What the loads of ``e2e`` came to, and whether that is what Clarion promises on two CPUs. Pure."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

from loadtest.bench.judgement import Judgement
from loadtest.bench.waits import Span
from loadtest.demo.verdict import percentile

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
# of what was offered, so much has to be accepted while it is measured: the rest is on its way at the end
SHARE_LEAST: Final = 0.995
# by so much of the load, in seconds, the queue may be deeper at the end: noise of a machine that does all of it
DEEPER_S: Final = 0.1


class Plan(NamedTuple):
    """One load, and what its times may be, in milliseconds; None for any."""

    name: str
    per_s: int
    batch: int
    seconds: float
    mean_most_ms: float | None = None
    p99_most_ms: float | None = None


class Phase(NamedTuple):
    """A load as it was measured. ``waits_s``: of the pushes that were due in the span, the shortest first;
    ``accepted``: by APNs within the span; ``depths``: jobs in the queue, looked at again and again; ``cpu_s``: by part.
    """

    plan: Plan
    span: Span
    waits_s: Sequence[float]
    accepted: int
    depths: Sequence[int]
    cpu_s: Mapping[str, float]


def told(judgement: Judgement, phases: Sequence[Phase]) -> dict[str, Any]:
    """As the result says it; its first figures are those of the first phase."""
    said = {phase.plan.name: _told(phase) for phase in phases}
    first = said[phases[0].plan.name]
    return {
        **{name: first[name] for name in ("pushes_per_s", "mean_ms", "p50_ms", "p99_ms")},
        "accepted_by_api": judgement.accepted_by_api,
        "lost": judgement.lost,
        "repeated": judgement.repeated,
        "phases": said,
    }


def failures(judgement: Judgement, phases: Sequence[Phase], survived: bool) -> list[str]:
    """In words; empty when all is well."""
    found = {
        f"{judgement.lost} pushes that the API accepted did not come": judgement.lost,
        f"{judgement.repeated} pushes came again": judgement.repeated,
        f"{judgement.refused_503 + judgement.unsent} pushes were not taken": judgement.refused_503
        + judgement.unsent,
        f"{judgement.in_doubt_pushes} pushes were not answered for": judgement.in_doubt_pushes,
        "a process of the gateway ended by itself": not survived,
    }
    wrong = [what for what, is_so in found.items() if is_so]
    return [*wrong, *(f"{phase.plan.name}: {what}" for phase in phases for what in _failures(phase))]


def _told(phase: Phase) -> dict[str, Any]:
    plan, waits_s = phase.plan, phase.waits_s
    return {
        "offered_per_s": plan.per_s,
        "pushes_per_s": round(phase.accepted / phase.span.seconds),
        "batch": plan.batch,
        "seconds": round(phase.span.seconds, 1),
        "mean_ms": _mean_ms(waits_s),
        **{f"{name}_ms": _ms(percentile(waits_s, share)) for name, share in PERCENTILES.items()},
        "most_ms": _ms(waits_s[-1]) if waits_s else 0.0,
        "queue_begin": _begin(phase.depths),
        "queue_end": _end(phase.depths),
        "us_per_push": {
            part: round(1e6 * seconds / max(phase.accepted, 1), 2) for part, seconds in phase.cpu_s.items()
        },
        "cpu_percent": {
            part: round(100 * seconds / phase.span.seconds, 1) for part, seconds in phase.cpu_s.items()
        },
    }


def _failures(phase: Phase) -> list[str]:
    plan = phase.plan
    rate = phase.accepted / phase.span.seconds
    mean_ms, p99_ms = _mean_ms(phase.waits_s), _ms(percentile(phase.waits_s, 0.99))
    deeper = _end(phase.depths) - _begin(phase.depths)
    found = {
        f"{rate:.0f} a second came of {plan.per_s}": rate < SHARE_LEAST * plan.per_s,
        f"{mean_ms} ms on average, and {plan.mean_most_ms} are the most": (
            plan.mean_most_ms is not None and mean_ms > plan.mean_most_ms
        ),
        f"{p99_ms} ms at p99, and {plan.p99_most_ms} are the most": (
            plan.p99_most_ms is not None and p99_ms > plan.p99_most_ms
        ),
        f"the queue became deeper by {deeper} jobs": deeper > DEEPER_S * plan.per_s,
    }
    return [what for what, is_so in found.items() if is_so]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _mean_ms(waits_s: Sequence[float]) -> float:
    return _ms(fmean(waits_s)) if waits_s else 0.0


def _begin(depths: Sequence[int]) -> int:
    return _third(depths[: max(1, len(depths) // 3)])


def _end(depths: Sequence[int]) -> int:
    return _third(depths[-max(1, len(depths) // 3) :])


def _third(depths: Sequence[int]) -> int:
    return round(fmean(depths)) if depths else 0
