"""``matrix``: workers × links → pushes/s, time of a push at APNs, CPU; and which of them to choose on this machine.

Each pair drains the same queue to the same kind of sink, over a round trip that a relay adds, since without one a
single link carries all that a CPU can send, and the question would not arise. The pairs take turns.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, NamedTuple

from cyclopts import Parameter

from loadtest.bench.lab import free_port, lab
from loadtest.bench.population import in_turn, one_for_each_shard, settle_in
from loadtest.bench.scrape import scraped
from loadtest.bench.side import Side
from loadtest.bench.tenants_verdict import Drain
from loadtest.sink.protocol import Windows
from loadtest.sink.python import PythonSink
from loadtest.sink.relay import Relay
from shards.tenants import DEFAULT_SHARDS

ROUND_TRIP: Final = "clarion_apns_round_trip_seconds"
# a rate so near to the best is as good, and then the fewer processes and connections
AS_GOOD: Final = 0.95


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MatrixOptions:
    """What is tried."""

    workers: tuple[int, ...] = (1, 2, 3)
    "Sending processes."

    links: tuple[int, ...] = (1, 2, 4, 8)
    "Links of each of them, at most."

    rtt_ms: float = 20.0
    "A round trip to the sink, added by a relay."

    jobs: int = 150_000
    "Jobs of one drain."

    drains: int = 3
    "Drains of each pair; the figures are medians."

    payload_bytes: int = 256
    "Size of each payload."


class Cell(NamedTuple):
    """A pair and its drains; ``trip_s``: how long APNs took on average, from a write to the answer."""

    workers: int
    links: int
    drains: Sequence[Drain]
    trip_s: float
    lost: int

    @property
    def per_s(self) -> float:
        return median(drain.jobs / drain.seconds for drain in self.drains)


def run(options: MatrixOptions) -> dict[str, Any]:
    """All pairs, and the choice."""
    cells = [_drained(options, workers, links) for workers in options.workers for links in options.links]
    chosen = choose(cells)
    return {
        "cells": [_told(cell) for cell in cells],
        "choose": {"workers": chosen.workers, "links": chosen.links},
        "sink": "python, windows of 65,535 bytes returned by halves, behind a relay",
        "options": asdict(options),
        "failed": [f"{cell.lost} pushes were lost" for cell in cells if cell.lost],
    }


def choose(cells: Sequence[Cell]) -> Cell:
    """The fewest workers, and then links, whose rate is as good as the best."""
    best = max(cell.per_s for cell in cells)
    good = [cell for cell in cells if cell.per_s >= AS_GOOD * best]
    return min(good, key=lambda cell: (cell.workers, cell.links))


def _told(cell: Cell) -> dict[str, Any]:
    jobs = sum(drain.jobs for drain in cell.drains)
    seconds = sum(drain.seconds for drain in cell.drains)
    engine_s = sum(drain.engine_s for drain in cell.drains)
    redis_s = sum(drain.redis_s for drain in cell.drains)
    return {
        "workers": cell.workers,
        "links": cell.links,
        "pushes_per_s": round(cell.per_s),
        "trip_ms": round(1000 * cell.trip_s, 1),
        "engine_cpu_percent": round(100 * engine_s / seconds, 1),
        "redis_cpu_percent": round(100 * redis_s / seconds, 1),
        "engine_us_per_push": round(1e6 * engine_s / jobs, 2),
    }


def _drained(options: MatrixOptions, workers: int, links: int) -> Cell:
    with ExitStack() as stack:
        place = stack.enter_context(lab())
        # of one team, since links are those of a team
        senders = settle_in(place, 1, 1, DEFAULT_SHARDS)
        side = Side(place, senders, workers, links, options.payload_bytes)
        sink = stack.enter_context(PythonSink(place.directory / "sink", windows=Windows.APPLE))
        relay = stack.enter_context(Relay(sink.port, options.rtt_ms))
        metrics = free_port()
        listen = ("--metrics-bind", f"127.0.0.1:{metrics}")
        pids = stack.enter_context(side.engine(relay.port, sink.ca_file, *listen))
        # links grow in the first
        side.drain(sink, pids, one_for_each_shard(senders))
        side.drain(sink, pids, in_turn(senders, options.jobs))
        before = scraped(metrics)
        drains = [side.drain(sink, pids, in_turn(senders, options.jobs)) for _ in range(options.drains)]
        after = scraped(metrics)
        lost = max(0, side.sent - sink.pushes())
    trips, trips_s = (
        after[f"{ROUND_TRIP}_{part}"] - before[f"{ROUND_TRIP}_{part}"] for part in ("count", "sum")
    )
    return Cell(workers, links, drains, trips_s / max(trips, 1), lost)
