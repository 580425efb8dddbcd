"""Whether a push costs the same however many wait, and whosever they are. Pure."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from loadtest.bench.tenants_verdict import Drain

# of the first point: what a push may cost more or less with a larger backlog, and the times with more tenants
BACKLOG_OFF_MOST: Final = 0.15
TENANTS_TIMES_MOST: Final = 1.5
# between the first point and the last, as far as more tenants, which a worker has to know, are not the reason
MEMORY_TIMES_MOST: Final = 1.25


class Point(NamedTuple):
    """Drains with so much of what grows. Memory in bytes: of each worker afterwards, and of Redis while all waited."""

    size: int
    drains: Sequence[Drain]
    sent: int
    came: int
    workers_bytes: Sequence[int]
    redis_bytes: int


class Cost(NamedTuple):
    """CPU microseconds of a push; medians of the drains."""

    engine: float
    redis: float
    sink: float

    @property
    def own(self) -> float:
        """What Clarion costs: the sink is not its."""
        return self.engine + self.redis


def cost(point: Point) -> Cost:
    """Of all its drains."""
    return Cost(
        median(1e6 * drain.engine_s / drain.jobs for drain in point.drains),
        median(1e6 * drain.redis_s / drain.jobs for drain in point.drains),
        median(1e6 * drain.sink_s / drain.jobs for drain in point.drains),
    )


def told(points: Sequence[Point]) -> list[dict[str, Any]]:
    """As the result says a series."""
    first = cost(points[0])
    return [_told(point, first) for point in points]


def _told(point: Point, first: Cost) -> dict[str, Any]:
    found = cost(point)
    jobs = sum(drain.jobs for drain in point.drains)
    return {
        "size": point.size,
        "engine_us_per_push": round(found.engine, 2),
        "redis_us_per_push": round(found.redis, 2),
        "sink_us_per_push": round(found.sink, 2),
        "times_the_first": round(found.own / first.own, 2),
        "pushes_per_s": round(jobs / sum(drain.seconds for drain in point.drains)),
        "drains": len(point.drains),
        "worker_rss_mib": round(max(point.workers_bytes) / 2**20, 1),
        "redis_mib": round(point.redis_bytes / 2**20, 1),
        "lost": max(0, point.sent - point.came),
        "repeated": max(0, point.came - point.sent),
    }


def failures(backlogs: Sequence[Point], tenants: Sequence[Point]) -> list[str]:
    """In words; empty when all is well."""
    wrong = [
        f"{point.came} pushes came of {point.sent}"
        for point in (*backlogs, *tenants)
        if point.came != point.sent
    ]
    if backlogs:
        first = cost(backlogs[0]).own
        for point in backlogs[1:]:
            off = cost(point).own / first - 1
            if abs(off) > BACKLOG_OFF_MOST:
                wrong.append(
                    f"with a backlog of {point.size} a push costs {off:+.0%}, and {BACKLOG_OFF_MOST:.0%} are the most"
                )
        times = max(backlogs[-1].workers_bytes) / max(backlogs[0].workers_bytes)
        if times > MEMORY_TIMES_MOST:
            wrong.append(f"a worker's memory is {times:.2f} times as large after the largest backlog")
    if tenants:
        first = cost(tenants[0]).own
        wrong += [
            f"with {point.size} tenants a push costs {cost(point).own / first:.2f} times as much, "
            f"and {TENANTS_TIMES_MOST} are the most"
            for point in tenants[1:]
            if cost(point).own / first > TENANTS_TIMES_MOST
        ]
    return wrong
