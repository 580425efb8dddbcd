"""``growth``: what a push costs as the backlog grows from ten thousand to millions, and the tenants from one to ten
thousand.

Each point has a Redis, an engine and a sink of its own. A point's first drain warms up: links are open and keys are
unsealed before any is measured. The backlogs are drained to the end, so a figure is that of all depths from the top
down. The points of a series take turns, so that whatever else the machine does falls on all of them.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from cyclopts import Parameter

from loadtest.bench import growth_verdict as verdict
from loadtest.bench.cpu import resident_bytes
from loadtest.bench.growth_verdict import Point
from loadtest.bench.lab import lab
from loadtest.bench.population import in_turn, one_for_each_shard, settle_in
from loadtest.bench.side import Side
from loadtest.bench.tenants_verdict import Drain
from loadtest.sink.start import Sink, start_sink
from shards.tenants import DEFAULT_SHARDS


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GrowthOptions:
    """How far it grows."""

    backlogs: tuple[int, ...] = (10_000, 100_000, 1_000_000, 5_000_000)
    "Jobs that wait at once."

    tenants: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    "Tenants whose jobs wait at once."

    teams_most: int = 500
    "Teams that they are of, at most; each has a key of its own."

    backlog_tenants: int = 10
    "Tenants, each of a team, of the backlogs."

    jobs: int = 1_000_000
    "Jobs of a drain of the tenants."

    backlog_jobs: int = 200_000
    "So many are drained of each backlog in a turn at least, one drain after the other."

    drains: int = 3
    "Turns of each point."

    spread: int = 4
    "Shards that a tenant is spread over; one alone is spread over all."

    workers: int = 2
    "Sending processes."

    payload_bytes: int = 256
    "Size of each payload."


class _Case:
    """One point while it is measured."""

    def __init__(self, stack: ExitStack, options: GrowthOptions, size: int, tenants: int, teams: int) -> None:
        place = stack.enter_context(lab())
        spread = DEFAULT_SHARDS if tenants == 1 else options.spread
        senders = settle_in(place, tenants, teams, spread)
        self._size = size
        self._side = Side(place, senders, options.workers, 1, options.payload_bytes)
        self._sink: Sink = stack.enter_context(start_sink(place.directory / "sink"))
        self._pids = stack.enter_context(self._side.engine(self._sink.port, self._sink.ca_file))
        self._side.drain(self._sink, self._pids, one_for_each_shard(senders))
        self._drains: list[Drain] = []
        self._redis_bytes = 0

    def __repr__(self) -> str:
        return f"<_Case {self._size}, {len(self._drains)} drains>"

    def drain(self, jobs: int) -> None:
        """So many jobs, all of which wait before the first is sent."""
        drain = self._side.drain(self._sink, self._pids, in_turn(self._side.senders, jobs))
        self._drains.append(drain)
        self._redis_bytes = max(self._redis_bytes, int(self._side.redis.info("memory")["used_memory_peak"]))

    def point(self) -> Point:
        """What was measured so far."""
        memory = list(map(resident_bytes, self._pids))
        return Point(
            self._size, self._drains, self._side.sent, self._sink.pushes(), memory, self._redis_bytes
        )


def run(options: GrowthOptions) -> dict[str, Any]:
    """Both series. ``failed`` names what missed the mark."""
    backlogs, tenants = _backlogs(options), _tenants(options)
    return {
        "backlogs": verdict.told(backlogs) if backlogs else [],
        "tenants": verdict.told(tenants) if tenants else [],
        "options": asdict(options),
        "failed": verdict.failures(backlogs, tenants),
    }


def _backlogs(options: GrowthOptions) -> Sequence[Point]:
    with ExitStack() as stack:
        few = options.backlog_tenants
        cases = [_Case(stack, options, size, few, few) for size in options.backlogs]
        for _ in range(options.drains):
            for size, case in zip(options.backlogs, cases, strict=True):
                for _ in range(max(1, options.backlog_jobs // size)):
                    case.drain(size)
        return [case.point() for case in cases]


def _tenants(options: GrowthOptions) -> Sequence[Point]:
    with ExitStack() as stack:
        cases = [_Case(stack, options, size, size, min(size, options.teams_most)) for size in options.tenants]
        for _ in range(options.drains):
            for case in cases:
                case.drain(options.jobs)
        return [case.point() for case in cases]
