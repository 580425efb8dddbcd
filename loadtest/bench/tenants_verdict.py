"""What very many tenants cost beside one, from the drains of both. Pure."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from loadtest.bench.store_cost import Cost, StoreCost

# what a job may cost Redis with very many tenants, against one
RATIO_MOST: Final = 1.5
RATIOS: Final = ("claim", "settle", "redis")


class Drain(NamedTuple):
    """One drain: jobs, seconds until the last was accepted; CPU seconds until all were settled."""

    jobs: int
    seconds: float
    engine_s: float
    redis_s: float
    sink_s: float


class Case(NamedTuple):
    """All drains of one case. ``pushes``: what the sink had in the end, of ``sent``; ``connections``: what it had
    accepted; memory of each worker in bytes: before the first push, after the first of each tenant, and the most."""

    tenants: int
    teams: int
    store: Sequence[StoreCost]
    drains: Sequence[Drain]
    sent: int
    pushes: int
    connections: int
    rss_before: Sequence[int]
    rss_warm: Sequence[int]
    rss_most: Sequence[int]
    first_s: float
    first_engine_s: float


class Trickle(NamedTuple):
    """Pushes at a fixed rate: seconds from when each was due until it was accepted, None for one that was not; CPU
    seconds while they were sent."""

    seconds: float
    waits_s: Sequence[float | None]
    repeated: int
    connections: int
    engine_s: float
    redis_s: float


def ratios(one: Case, many: Case) -> dict[str, float]:
    """Of what a job costs: many against one, the median of each."""
    ones, manys = per_job(one), per_job(many)
    return {what: round(manys[what] / ones[what], 2) for what in ones}


def per_job(case: Case) -> dict[str, float]:
    """CPU microseconds of a job, the median of all measurements; claiming and settling are a part of Redis'."""
    return {
        "claim": median(_us(each.claim) for each in case.store),
        "settle": median(_us(each.settle) for each in case.store),
        "redis": median(1e6 * each.redis_s / each.jobs for each in case.drains),
        "engine": median(1e6 * each.engine_s / each.jobs for each in case.drains),
        "sink": median(1e6 * each.sink_s / each.jobs for each in case.drains),
    }


def _us(cost: Cost) -> float:
    return 1e6 * cost.cpu_s / cost.jobs


def failures(one: Case, many: Case, trickles: Sequence[Trickle], workers: int, links: int) -> list[str]:
    """In words; empty when all is well."""
    found = ratios(one, many)
    wrong = {
        f"{what} costs {found[what]:.2f} times as much a job, and {RATIO_MOST} are the most": (
            found[what] > RATIO_MOST
        )
        for what in RATIOS
    }
    for case in (one, many):
        most = case.teams * workers * links
        wrong |= {
            f"{case.tenants} tenants: of {case.sent} pushes {case.pushes} came": case.sent != case.pushes,
            f"{case.tenants} tenants: {case.connections} connections, and {most} are the most": (
                case.connections > most
            ),
        }
    for trickle in trickles:
        lost = sum(wait is None for wait in trickle.waits_s)
        wrong |= {
            f"{lost} pushes of a trickle did not come": lost > 0,
            f"{trickle.repeated} pushes of a trickle came again": trickle.repeated > 0,
        }
    return [what for what, is_so in wrong.items() if is_so]


def told(case: Case, trickle: Trickle) -> dict[str, Any]:
    """A case as the result says it."""
    claims = [each.claim for each in case.store]
    return {
        "tenants": case.tenants,
        "teams": case.teams,
        "pushes_per_s": round(median(drain.jobs / drain.seconds for drain in case.drains)),
        "us_per_job": {what: round(us, 2) for what, us in per_job(case).items()},
        "of_each_turn": {
            "claim": [round(_us(each), 2) for each in claims],
            "settle": [round(_us(each.settle), 2) for each in case.store],
            "redis": [round(1e6 * each.redis_s / each.jobs, 2) for each in case.drains],
            "engine": [round(1e6 * each.engine_s / each.jobs, 2) for each in case.drains],
        },
        "script_us_per_job": {
            "claim": round(median(each.script_us / each.jobs for each in claims), 2),
            "settle": round(median(each.settle.script_us / each.settle.jobs for each in case.store), 2),
        },
        "jobs_per_claim": round(claims[0].jobs / claims[0].calls),
        "connections": case.connections,
        "worker_rss_mib": {
            "before": _mib(case.rss_before),
            "after_the_first_push_of_each": _mib(case.rss_warm),
            "most": _mib(case.rss_most),
        },
        "first_push_of_each": {
            "seconds": round(case.first_s, 2),
            "engine_cpu_s": round(case.first_engine_s, 2),
        },
        "trickle": _trickle(trickle),
    }


def _trickle(trickle: Trickle) -> dict[str, Any]:
    waits_s = sorted(wait for wait in trickle.waits_s if wait is not None) or [0.0]
    pushes = len(trickle.waits_s)
    return {
        "pushes": pushes,
        "per_s": round(pushes / trickle.seconds),
        "p50_ms": _ms(waits_s[len(waits_s) // 2]),
        "p99_ms": _ms(waits_s[len(waits_s) * 99 // 100]),
        "most_ms": _ms(waits_s[-1]),
        "connections": trickle.connections,
        "engine_us_per_push": round(1e6 * trickle.engine_s / pushes, 1),
        "redis_us_per_push": round(1e6 * trickle.redis_s / pushes, 1),
        "engine_cpu_percent": round(100 * trickle.engine_s / trickle.seconds, 1),
        "redis_cpu_percent": round(100 * trickle.redis_s / trickle.seconds, 1),
    }


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _mib(sizes: Sequence[int]) -> list[float]:
    return [round(size / 2**20, 1) for size in sizes]
