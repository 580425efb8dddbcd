"""``e2e``: pushes from the HTTP API to accepted answers at a fixed rate, all on this machine.

load ──HTTP──▶ clarion run (ingest, Redis, workers) ──TLS──▶ nginx, which writes down what it answered, and when

Three loads after each other on one gateway: batches at the full rate, batches at half of it, and single requests. Each
is open-loop, so a time counts from when its request was due; the first seconds of each are not counted. All of the
machine is in the figures: the load generator, Redis with its append-only file, TLS on both ends, nginx and its log.
"""

import time
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from cyclopts import Parameter

from loadtest.bench import e2e_verdict as verdict
from loadtest.bench.backlog import Standing, depths
from loadtest.bench.cpu import cpu_s
from loadtest.bench.e2e_verdict import Phase, Plan
from loadtest.bench.gateway import Gateway, GatewayOptions, push
from loadtest.bench.judgement import judge
from loadtest.bench.lab import LAB_SPREAD, Lab, lab, wait_until
from loadtest.bench.steady import Load, Sender, exchanges
from loadtest.bench.waits import Span, first_acceptances, ordered
from loadtest.sink import access_log
from loadtest.sink.nginx import NginxSink
from shards.lanes import Lane
from shards.private_redis.conf import Fsync

WARM_UP_S: Final = 5.0
LOOK_EVERY_S: Final = 0.5
# nginx writes its log out once a second, and what is answered last is to be in it
QUIET_S: Final = 2.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class E2eOptions:
    """The rates, and the gateway's size."""

    per_s: int = 50_000
    "Pushes offered each second in batches."

    single_per_s: int = 15_000
    "Pushes offered each second as single requests."

    seconds: float = 60.0
    "For how long the full rate is measured; the others for a third of it."

    batch: int = 500
    "Pushes in one request."

    tenants: int = 10
    "Tenants that push in turn, each of a team of its own."

    payload_bytes: int = 256
    "Size of each payload."

    workers: int = 2
    "Sending processes."

    ingest_processes: int = 2
    "Processes that serve the API."

    fsync: Fsync = "everysec"
    "How Redis writes its append-only file out."

    log_file: Path | None = None
    "Keep the gateway's log here."


def run(options: E2eOptions) -> dict[str, Any]:
    """One run. Its ``failed`` names what missed the mark."""
    plans = [plan for plan in _plans(options) if plan.per_s]
    size = GatewayOptions(workers=options.workers, ingest_processes=options.ingest_processes)
    with lab(options.fsync) as place, NginxSink(place.directory / "sink", record=True) as sink:
        place.create_tenants(options.tenants)
        gateway = Gateway(place, size, sink.port, sink.ca_file)
        gateway.start()
        before = gateway.pids()
        stretch = _Stretch(place, sink, gateway, options.payload_bytes)
        try:
            measured = [stretch.play(plan) for plan in plans]
            survived = gateway.pids() == before
        finally:
            gateway.stop()
            if options.log_file is not None:
                options.log_file.write_text(gateway.log())
        first_s = first_acceptances(access_log.pieces(sink.record))
        judgement = judge(
            chain.from_iterable(exchanges(stretch.log(plan)) for plan in plans),
            access_log.pieces(sink.record),
        )
        phases = [
            each._replace(waits_s=ordered(exchanges(stretch.log(each.plan)), first_s, each.span))
            for each in measured
        ]
    return {
        **verdict.told(judgement, phases),
        "sink": sink.kind,
        "options": {name: value for name, value in asdict(options).items() if name != "log_file"},
        "failed": verdict.failures(judgement, phases, survived),
    }


def _plans(options: E2eOptions) -> tuple[Plan, Plan, Plan]:
    third_s = options.seconds / 3
    return (
        Plan("full", options.per_s, options.batch, options.seconds, mean_most_ms=15.0, p99_most_ms=100.0),
        Plan("half", options.per_s // 2, options.batch, third_s, p99_most_ms=25.0),
        Plan("single", options.single_per_s, 1, third_s),
    )


class _Stretch:
    """The way from the load to nginx."""

    def __init__(self, place: Lab, sink: NginxSink, gateway: Gateway, payload_bytes: int) -> None:
        self._place = place
        self._sink = sink
        self._gateway = gateway
        self._payload_bytes = payload_bytes
        self._senders = [Sender(place.api_keys[team.tenant], team.topic) for team in place.teams]
        self._standings = [Standing(team, 0, Lane.HIGH, LAB_SPREAD) for team in place.teams]

    def __repr__(self) -> str:
        return f"<_Stretch of {self._gateway!r} to {self._sink!r}>"

    def log(self, plan: Plan) -> Path:
        """Of what was sent."""
        return self._place.directory / f"{plan.name}.log"

    def play(self, plan: Plan) -> Phase:
        """Push as planned, and wait until all has come. The waits are still to be counted."""
        load = Load(
            self._gateway.port,
            self._senders,
            WARM_UP_S + plan.seconds,
            plan.per_s,
            plan.batch,
            self._payload_bytes,
            str(self.log(plan)),
        )
        found: list[int] = []
        began = self._sink.pushes()
        with push(load) as loading, depths(self._place.redis.url, self._standings) as looking:
            # it makes its requests first
            wait_until(lambda: self._sink.pushes() > began, "the first push at the sink")
            time.sleep(WARM_UP_S / 2)
            before, pushes, begin_s = self._cpu_s(loading.pid), self._sink.pushes(), time.time()
            while time.time() < begin_s + plan.seconds:
                time.sleep(LOOK_EVERY_S)
                found.append(sum(depth.total for depth in looking.look()))
            after, accepted, end_s = self._cpu_s(loading.pid), self._sink.pushes() - pushes, time.time()
            loading.wait()
            looking.wait_drained()
        time.sleep(QUIET_S)
        cpu = {part: after[part] - before[part] for part in after}
        return Phase(plan, Span(begin_s, end_s), (), accepted, found, cpu)

    def _cpu_s(self, load: int) -> dict[str, float]:
        pids = {**self._gateway.pids(), "redis": self._place.redis_pid, "load": load}
        return {**{name: cpu_s([pid]) for name, pid in pids.items()}, "sink": cpu_s(self._sink.pids)}
