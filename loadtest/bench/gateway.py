"""The whole gateway as the benches put it to the test: between an open-loop load and a sink that remembers.

load ──HTTP──▶ clarion run (ingest, workers) ──TLS──▶ relay ──▶ recording sink
                          │
                        Redis, a process of the lab's: it outlives the gateway and tells what is still queued
"""

import contextlib
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from cyclopts import Parameter

from engine.options import EngineOptions
from loadtest.bench.cpu import children
from loadtest.bench.judgement import failures, judge
from loadtest.bench.lab import Lab, free_port, lab, wait_until
from loadtest.bench.steady import ID_BYTES, Exchange, Load, Sender, exchanges
from loadtest.programs import program
from loadtest.sink.recorder import Faults as SinkFaults
from loadtest.sink.recorder import pieces
from loadtest.sink.recording import RecordingSink
from loadtest.sink.relay import Relay
from shards.private_redis.conf import Fsync

# after the last push: retries wait for up to a minute or so, a silent link for the deadline of its streams
DRAIN_STILL_S: Final = 45.0
DRAIN_ENOUGH_S: Final = 5.0
DRAIN_MOST_S: Final = 300.0
# how long before its end a gateway may have left what had become due: it promotes twice a second
DUE_SLACK_S: Final = 2.0
# what children may take to end when their supervisor is gone: their own drain, and the settling after it
ORPHANS_S: Final = 35.0

_STARTED: Final = re.compile(r" (\w+-\d+) started, pid (\d+)$", re.MULTILINE)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """The gateway's size, and what lies around it."""

    payload_bytes: int = 256
    "Size of each payload."

    workers: int = 2
    "Sending processes."

    ingest_processes: int = 2
    "Processes that serve the API."

    fsync: Fsync = "everysec"
    "How Redis writes its append-only file out."

    rtt_ms: float = 10.0
    "A round trip to the sink, added by the relay."

    in_hand_least: int = EngineOptions().in_hand_least
    "Pushes that a worker takes in hand even while others wait."

    log_file: Path | None = None
    "Keep the gateway's log here."

    def told(self) -> dict[str, Any]:
        """As the result says them: what a run depends on, which the place of its log is not."""
        return {name: value for name, value in asdict(self).items() if name != "log_file"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LoadOptions(GatewayOptions):
    """The load on it."""

    per_s: int = 10_000
    "Pushes offered to the API each second, whatever becomes of them."

    batch: int = 100
    "Pushes in one request."

    tenants: int = 4
    "Tenants that push in turn, each of a team of its own."


class Gateway:
    """``clarion run``, which can be killed, and started again on the same port as systemd would.

    ``apns_port``: of this machine, for APNs in production; its certificate is one of ``ca_file``'s.
    """

    def __init__(self, place: Lab, options: GatewayOptions, apns_port: int, ca_file: Path) -> None:
        self.port = free_port()
        self.exit_code: int | None = None
        self._place = place
        self._children = options.workers + options.ingest_processes
        self._options = (
            *("--bind", f"127.0.0.1:{self.port}"),
            *("--apns-production-url", f"https://localhost:{apns_port}"),
            *("--apns-ca-file", str(ca_file)),
            *("--workers", str(options.workers)),
            *("--in-hand-least", str(options.in_hand_least)),
            *("--ingest-processes", str(options.ingest_processes)),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Gateway port={self.port} {self.pids() if self.alive else 'ended'}>"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when the API is ready. Raises RuntimeError when the gateway ends instead."""
        self._process = self._place.start("run", *self._options)

        def ready() -> bool:
            if not self.alive:
                raise RuntimeError(f"clarion ended by itself; its log says why\n{self.log()[-2000:]}")
            return len(self.pids()) >= self._children and self._is_ready()

        wait_until(ready, "the gateway's /readyz")

    def stop(self) -> None:
        """SIGTERM, and the exit code."""
        if self._process is not None:
            self.exit_code = self._place.stop(self._process)

    def kill(self) -> list[int]:
        """SIGKILL for the supervisor; returns the pids of its children, which the kernel tells of it."""
        assert self._process is not None
        orphans = children(self._process.pid)
        self._process.kill()
        self._process.wait()
        return orphans

    def pids(self) -> dict[str, int]:
        """The children that live now, by name."""
        if not self.alive or self._process is None:
            return {}
        with contextlib.suppress(FileNotFoundError):
            living = set(children(self._process.pid))
            return {name: int(pid) for name, pid in _STARTED.findall(self.log()) if int(pid) in living}
        return {}

    def log(self) -> str:
        return self._place.log_of("run")

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        return False


class Setting(NamedTuple):
    """What stands around the gateway, and the gateway, not started yet."""

    place: Lab
    sink: RecordingSink
    relay: Relay
    gateway: Gateway
    load_log: Path

    def load(self, options: LoadOptions, seconds: float) -> "subprocess.Popen[bytes]":
        """Begin to push for so long; the process ends when every batch has its fate."""
        senders = [Sender(self.place.api_keys[team.tenant], team.topic) for team in self.place.teams]
        return push(
            Load(
                self.gateway.port,
                senders,
                seconds,
                options.per_s,
                options.batch,
                options.payload_bytes,
                str(self.load_log),
            )
        )

    def drain(self, meanwhile: Callable[[], object] = lambda: None) -> float:
        """Wait until nothing more comes to the sink, and until enough has; returns for how long something came.

        ``meanwhile`` is called twice a second.
        """
        wanted = sum(len(each.ids) for each in exchanges(self.load_log)) // ID_BYTES
        began_s = came_s = time.monotonic()
        pushes = self.sink.pushes()
        while time.monotonic() - began_s < DRAIN_MOST_S:
            time.sleep(0.5)
            meanwhile()
            now_s, latest = time.monotonic(), self.sink.pushes()
            if latest != pushes:
                came_s, pushes = now_s, latest
            # repeats are among the pushes, so enough is no proof: the quiet after it has to be long, too
            if now_s - came_s >= (DRAIN_ENOUGH_S if pushes >= wanted else DRAIN_STILL_S):
                break
        return came_s - began_s

    def end(self, sent: Sequence[Exchange]) -> tuple[list[str], dict[str, Any]]:
        """Stop the gateway; what is wrong with any run, and what became of what was sent."""
        survived = self.gateway.alive
        self.gateway.stop()
        judgement = judge(sent, pieces(self.sink.record))
        self.sink.stop()
        counts = {
            "accepted_by_api": judgement.accepted_by_api,
            "lost": judgement.lost,
            "repeated": judgement.repeated,
        }
        return failures(judgement, self.sink.summary, survived, self.gateway.exit_code), counts


def push(load: Load) -> "subprocess.Popen[bytes]":
    """Begin to push as planned; the process ends when every batch has its fate."""
    plan = msgspec.json.encode(load).decode()
    return subprocess.Popen(program("loadtest.bench.steady", plan), stdin=subprocess.DEVNULL)


@contextmanager
def setting(options: GatewayOptions, sink_faults: SinkFaults = SinkFaults()) -> Iterator[Setting]:  # noqa: B008
    """A lab, still without tenants, a sink, a relay before it, and a gateway that is stopped at the end if it was
    started."""
    with (
        lab(options.fsync) as place,
        RecordingSink(place.directory / "sink", sink_faults) as sink,
        Relay(sink.port, options.rtt_ms) as relay,
    ):
        gateway = Gateway(place, options, relay.port, sink.ca_file)
        load_log = place.directory / "load.log"
        # for a bench that pushes nothing through the API
        load_log.touch()
        try:
            yield Setting(place, sink, relay, gateway, load_log)
        finally:
            gateway.stop()
            if options.log_file is not None:
                options.log_file.parent.mkdir(parents=True, exist_ok=True)
                options.log_file.write_text(gateway.log())


def ended(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"
