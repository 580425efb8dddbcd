"""``tenants``: what ten thousand tenants of five hundred teams cost beside one.

Both cases stand side by side, each with a Redis, an engine and a sink of its own, and take turns with the same
number of jobs, so that whatever else the machine does falls on both. First the jobs are claimed and settled without
any engine, for what that costs Redis (`store_cost`). Then they are drained. Before that each tenant has had its first
pushes: links are open, keys are unsealed. What that took is told apart.

The one tenant is spread over all shards, so that both cases claim from all of them, and differ in nothing but in whose
the jobs are. Then, at a rate far below what either could do, one push after the other: of another tenant each time, and
of the same.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from cyclopts import Parameter

from loadtest.bench import tenants_verdict
from loadtest.bench.cpu import cpu_s, peak_bytes, resident_bytes
from loadtest.bench.lab import Lab, lab, wait_until
from loadtest.bench.population import Sender, in_turn, one_for_each_shard, settle_in
from loadtest.bench.side import Side
from loadtest.bench.store_cost import StoreCost, leave_alone, store_cost
from loadtest.bench.tenants_verdict import Case, Drain, Trickle
from loadtest.bench.trickle import trickle
from loadtest.sink.recorder import pieces
from loadtest.sink.recording import RecordingSink
from loadtest.sink.start import start_sink
from shards.tenants import DEFAULT_SHARDS

DRAIN_MOST_S: Final = 600.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TenantsOptions:
    """How many there are, and how much they send."""

    tenants: int = 10_000
    "Tenants beside the one."

    teams: int = 500
    "Teams that these share, with one key each."

    spread: int = 4
    "Shards that each of them is spread over."

    jobs: int = 1_000_000
    "Jobs of one drain, and of one measurement of the store: a hundred of each of ten thousand tenants."

    drains: int = 2
    "Drains and measurements of each case, in turn."

    workers: int = 2
    "Sending processes of each case."

    links: int = 1
    "Links of one team and worker, at most."

    payload_bytes: int = 256
    "Size of each payload."

    trickle_per_s: int = 2_000
    "Pushes each second of the trickle."

    trickle_s: float = 20.0
    "How long it lasts."


class _Side(Side):
    """One case, and what was measured of it so far."""

    def __init__(self, place: Lab, senders: Sequence[Sender], options: TenantsOptions) -> None:
        super().__init__(place, senders, options.workers, options.links, options.payload_bytes)
        self.options = options
        self.store_costs: list[StoreCost] = []
        self.drains: list[Drain] = []
        leave_alone(self.redis)

    def __repr__(self) -> str:
        return f"<_Side {len(self.senders)} tenants, {len(self.drains)} drains>"

    def measure_store(self) -> None:
        """Claim and settle a stock by ourselves."""
        self.stock.lay_in(self.pushes(), self.options.payload_bytes)
        self.store_costs.append(store_cost(self.place, self.redis, lambda: self.stock.move_in(self.redis)))

    def pushes(self) -> list[tuple[Sender, bytes]]:
        """One drain's worth."""
        return list(in_turn(self.senders, self.options.jobs))

    def trickle(self) -> Trickle:
        """One push after the other, of the tenants in turn, to a sink that remembers when each came."""
        options = self.options
        pushes = int(options.trickle_per_s * options.trickle_s)
        with RecordingSink(self.place.directory / "recording") as sink:
            with self.engine(sink.port, sink.ca_file) as pids:
                first = list(one_for_each_shard(self.senders))
                self.stock.lay_in(first, options.payload_bytes)
                self.stock.move_in(self.redis)
                wait_until(lambda: sink.pushes() >= len(first), "the first pushes", DRAIN_MOST_S)
                engine, redis = [self.supervisor_pid, *pids], [self.place.redis_pid]
                before_s = cpu_s(engine), cpu_s(redis)
                began_s = time.monotonic()
                due_s = asyncio.run(
                    trickle(self.place, self.senders, pushes, options.trickle_per_s, options.payload_bytes)
                )
                wait_until(lambda: sink.pushes() >= len(first) + pushes, "the trickle's pushes at the sink")
                seconds = time.monotonic() - began_s
                spent_s = cpu_s(engine) - before_s[0], cpu_s(redis) - before_s[1]
            sink.stop()
            came_s: dict[bytes, float] = {}
            repeated = 0
            for piece in pieces(sink.record):
                for apns_id in piece.ids:
                    repeated += apns_id in came_s
                    came_s.setdefault(apns_id, piece.at_s)
            waits_s = [came_s[each] - at_s if each in came_s else None for each, at_s in due_s.items()]
            return Trickle(seconds, waits_s, repeated, sink.summary["connections"], *spent_s)


def run(options: TenantsOptions) -> dict[str, Any]:
    """Both cases. ``failed`` names what is wrong, and is empty when all is well."""
    with ExitStack() as stack:
        sides = [
            _side(stack, options, tenants, teams, spread)
            for tenants, teams, spread in (
                (1, 1, DEFAULT_SHARDS),
                (options.tenants, options.teams, options.spread),
            )
        ]
        for _ in range(options.drains):
            for side in sides:
                side.measure_store()
        cases = _drains(sides, options)
        trickles = [side.trickle() for side in sides]
    one, many = cases
    return {
        "ratios": tenants_verdict.ratios(one, many),
        "one": tenants_verdict.told(one, trickles[0]),
        "many": tenants_verdict.told(many, trickles[1]),
        "jobs": options.jobs,
        "drains": options.drains,
        "shards": DEFAULT_SHARDS,
        "workers": options.workers,
        "links_per_team_and_worker": options.links,
        "payload_bytes": options.payload_bytes,
        "appendfsync": "everysec",
        "failed": tenants_verdict.failures(one, many, trickles, options.workers, options.links),
    }


def _side(stack: ExitStack, options: TenantsOptions, tenants: int, teams: int, spread: int) -> _Side:
    place = stack.enter_context(lab())
    return _Side(place, settle_in(place, tenants, teams, spread), options)


def _drains(sides: Sequence[_Side], options: TenantsOptions) -> list[Case]:
    with ExitStack() as stack:
        running = []
        for side in sides:
            sink = stack.enter_context(start_sink(side.place.directory / "sink"))
            pids = stack.enter_context(side.engine(sink.port, sink.ca_file))
            before = list(map(resident_bytes, pids))
            first = side.drain(sink, pids, list(one_for_each_shard(side.senders)))
            running.append((side, sink, pids, before, first, list(map(resident_bytes, pids))))
        for _ in range(options.drains):
            for side, sink, pids, *_ in running:
                side.drains.append(side.drain(sink, pids, side.pushes()))
        return [
            Case(
                len(side.senders),
                len(side.place.teams),
                side.store_costs,
                side.drains,
                side.sent,
                sink.pushes(),
                sink.connections(),
                before,
                warm,
                list(map(peak_bytes, pids)),
                first.seconds,
                first.engine_s,
            )
            for side, sink, pids, before, first, warm in running
        ]
