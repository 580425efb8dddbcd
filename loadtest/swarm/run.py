"""One run of Locust against a gateway of its own on this machine, and what came of it.

locust ──HTTP──▶ clarion run (ingest, Redis, workers) ──TLS──▶ a sink that writes down what it accepted

Every push that Locust was told is accepted is looked for at the sink, by its id.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from cyclopts import Parameter

from loadtest.bench.gateway import DUE_SLACK_S, Gateway, GatewayOptions
from loadtest.bench.judgement import Judgement, judge
from loadtest.bench.lab import LAB_SPREAD, Lab, free_port, lab
from loadtest.bench.steady import exchanges
from loadtest.bench.whereabouts import Whereabouts
from loadtest.programs import TOP, environment, program
from loadtest.sink import access_log, recorder
from loadtest.sink.nginx import NginxSink, find_nginx
from loadtest.sink.recorder import Piece
from loadtest.sink.recording import RecordingSink
from loadtest.swarm import report
from loadtest.swarm.report import Course
from loadtest.swarm.watch import Watch, ended_after, locust_pids
from shards.private_redis.conf import Fsync
from shards.tenant import Limits

LOOK_EVERY_S: Final = 1.0
# when nothing has come to the sink for so long, nothing more is to come
STILL_S: Final = 15.0
# nginx writes its record out once a second
QUIET_S: Final = 2.0
# for answers that are on their way, and the report
LOCUST_STOP_S: Final = 40.0

Kind = Literal["all", "single", "batch", "mixed"]
CLASSES: Final[Mapping[Kind, Sequence[str]]] = {
    "all": (),
    "single": ("SinglePushTenant",),
    "batch": ("BatchTenant",),
    "mixed": ("MixedTenant",),
}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SwarmOptions:
    """The load, and the gateway's size."""

    users: int = 30
    "Users, at most: each sends one request after the other."

    spawn_rate: float = 10.0
    "Users that come in a second, for shapes that have no haste of their own."

    run_time: str = "30s"
    "How long, such as 90s, 10m or 1h."

    shape: Literal["none", "ramp", "spike", "soak"] = "none"
    "How the users come and go: all and stay, in steps, all at once for a while, or gently for long."

    kind: Kind = "all"
    "What the users send: single pushes, batches, both, or a third of the users each."

    each_per_s: float = 10.0
    "Requests that each user sends in a second, if answers come in time. 0: as many as are answered."

    batch: int = 100
    "Pushes in one batch."

    payload_bytes: int = 256
    "Size of each payload."

    tenants: int = 4
    "Tenants that the users push for in turn, each of a team of its own."

    admit_per_s: float = 0.0
    "Rate of each tenant, in pushes: what is over it is held back. 0: any."

    locust_processes: int = 1
    "Processes among which Locust divides its users; more than one has another beside them that adds up."

    workers: int = 2
    "Sending processes."

    ingest_processes: int = 2
    "Processes that serve the API."

    fsync: Fsync = "everysec"
    "How Redis writes its append-only file out."

    html: Path | None = None
    "Write Locust's report to this file."

    web: bool = False
    "Serve Locust's web page, and start and stop there; Ctrl-C ends it."

    web_port: int = 8089
    "Port of the web page, on the loopback address."

    log_file: Path | None = None
    "Keep the gateway's log here."

    def told(self) -> dict[str, Any]:
        """As the result says them: what a run depends on."""
        left_out = ("html", "web", "web_port", "log_file")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


class NothingBegun(Exception):
    """Locust has ended before it began; it has said why itself."""


class Sink(NamedTuple):
    """A sink with a record, of either make."""

    kind: str
    port: int
    ca_file: Path
    pids: Callable[[], Sequence[int]]
    pushes: Callable[[], int]
    record: Callable[[], Iterator[Piece]]


def run(options: SwarmOptions, locust_options: Sequence[str] = ()) -> dict[str, Any]:
    """One run. Its ``failed`` names what was wrong; ``said`` is for a person. Raises NothingBegun."""
    size = GatewayOptions(workers=options.workers, ingest_processes=options.ingest_processes)
    with lab(options.fsync) as place, _sink(place.directory / "sink") as sink:
        place.create_tenants(
            options.tenants, LAB_SPREAD, repeat(Limits(admit_per_s=options.admit_per_s), options.tenants)
        )
        gateway = Gateway(place, size, sink.port, sink.ca_file)
        try:
            gateway.start()
            before = gateway.pids()
            course = _swarm(options, locust_options, place, sink, gateway)
            tally = _tally(place)
            _drain(sink, tally["accepted"])
            # Ctrl-C is heard by the gateway, too
            survived = course.interrupted or gateway.pids() == before
            due_before_ms = int(1000 * (time.time() - DUE_SLACK_S))
        finally:
            gateway.stop()
            if options.log_file is not None:
                options.log_file.write_text(gateway.log())
        judgement = _judge(place, sink, due_before_ms)
    facts = report.Run(tally, judgement, course, os.cpu_count() or 1, survived, gateway.exit_code)
    return {**report.told(facts), "sink": sink.kind, "options": options.told()}


def _swarm(
    options: SwarmOptions, locust_options: Sequence[str], place: Lab, sink: Sink, gateway: Gateway
) -> Course:
    """Locust from beginning to end."""
    keys = place.directory / "api-keys"
    keys.touch(mode=0o600)
    keys.write_text("".join(f"{place.api_keys[team.tenant]} {team.topic}\n" for team in place.teams))
    _push_log(place).touch()
    words = [*_words(options, place, gateway.port), *locust_options, *CLASSES[options.kind]]
    locust = subprocess.Popen(
        program("locust", *words),
        stdin=subprocess.DEVNULL,
        # the summary alone is on stdout
        stdout=sys.stderr,
        env=environment(),
    )

    def pids() -> dict[str, Sequence[int]]:
        served = {name: [pid] for name, pid in gateway.pids().items()}
        return {**locust_pids(locust), **served, "redis": [place.redis_pid], "sink": sink.pids()}

    with ended_after(locust, LOCUST_STOP_S):
        watch, interrupted = Watch(pids, sink.pushes), False
        try:
            while locust.poll() is None:
                time.sleep(LOOK_EVERY_S)
                watch.look()
        except KeyboardInterrupt:
            # the web page has no other end than Ctrl-C, which Locust hears too
            if not options.web:
                raise
            interrupted = True
        return Course(locust.wait(), watch.looks, interrupted)


def _words(options: SwarmOptions, place: Lab, port: int) -> Iterator[str]:
    yield from ("-f", str(TOP / "loadtest" / "locustfile.py"), "--host", f"http://127.0.0.1:{port}")
    yield from ("-u", str(options.users), "-r", str(options.spawn_rate), "-t", options.run_time)
    yield from ("--shape", options.shape, "--each-per-s", str(options.each_per_s))
    yield from ("--batch", str(options.batch), "--payload-bytes", str(options.payload_bytes))
    yield from ("--api-keys-file", str(place.directory / "api-keys"))
    yield from ("--tally-file", str(_tally_file(place)), "--push-log", str(_push_log(place)))
    if options.html is not None:
        yield from ("--html", str(options.html))
    if options.web:
        yield from ("--web-host", "127.0.0.1", "--web-port", str(options.web_port))
    else:
        yield from ("--headless", "--only-summary")
    if options.locust_processes > 1:
        joint = str(free_port())
        yield from ("--processes", str(options.locust_processes), "--master-bind-host", "127.0.0.1")
        yield from ("--master-bind-port", joint, "--master-port", joint)


def _drain(sink: Sink, accepted: int) -> None:
    """Wait until all has come, or nothing more comes."""
    known, came_s = -1, time.monotonic()
    while (pushes := sink.pushes()) < accepted and time.monotonic() - came_s < STILL_S:
        if pushes != known:
            known, came_s = pushes, time.monotonic()
        time.sleep(LOOK_EVERY_S / 2)
    time.sleep(QUIET_S)


def _tally(place: Lab) -> dict[str, Any]:
    """Raises NothingBegun when Locust has left none."""
    try:
        tally: dict[str, Any] = json.loads(_tally_file(place).read_text())
    except FileNotFoundError:
        raise NothingBegun("Locust ended before it had begun; its words are above") from None
    return tally


def _judge(place: Lab, sink: Sink, due_before_ms: int) -> Judgement:
    with closing(Whereabouts(place.redis.url, [team.tenant for team in place.teams])) as store:
        return judge(exchanges(_push_log(place)), sink.record(), store.found(due_before_ms))


def _tally_file(place: Lab) -> Path:
    return place.directory / "tally.json"


def _push_log(place: Lab) -> Path:
    return place.directory / "pushes.log"


@contextmanager
def _sink(directory: Path) -> Iterator[Sink]:
    """nginx where there is one, else the recording sink in Python."""
    if find_nginx() is not None:
        with NginxSink(directory, record=True) as nginx:
            yield Sink(
                nginx.kind,
                nginx.port,
                nginx.ca_file,
                lambda: nginx.pids,
                nginx.pushes,
                lambda: access_log.pieces(nginx.record),
            )
        return
    with RecordingSink(directory) as ours:
        yield Sink(
            "python",
            ours.port,
            ours.ca_file,
            lambda: [ours.pid],
            ours.pushes,
            lambda: recorder.pieces(ours.record),
        )
