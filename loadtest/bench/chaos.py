"""``chaos``: the whole gateway under load while its processes, its Redis and its links are killed at random.

The API is pushed batches at a fixed rate. Meanwhile workers, ingest processes and Redis get SIGKILL and links are
reset, under a seed. The far end remembers every apns-id, so that the verdict is one of sets, not of sums: whatever
the API answered 202 has to be there, and no more may have come twice than was in hands when something was killed.

Redis keeps its data through a SIGKILL only as far as it has written it out. It writes its append-only file before it
answers, in both modes, and the kernel keeps what was written whatever becomes of the process. With one exception:
under ``everysec`` it puts the write off, for up to two seconds, while an earlier fsync is still under way in the
background, and answers all the same (the counter ``aof_delayed_fsync`` of INFO tells of those that took longer). So
``always`` is the mode in which nothing that was answered is ever lost, and ``everysec`` the one in which a kill at the
moment of a slow fsync may lose what was answered since it began.
"""

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from loadtest.bench.chaos_verdict import Judgement, by_fault, judge
from loadtest.bench.faults import Fault, Faults
from loadtest.bench.lab import Lab, free_port, lab, wait_until, workers_of
from loadtest.bench.steady import Load, Sender, exchanges
from loadtest.sink.python import STREAMS
from loadtest.sink.recorder import Faults as SinkFaults
from loadtest.sink.recorder import pieces
from loadtest.sink.recording import RecordingSink
from loadtest.sink.relay import Relay

WARM_UP_S: Final = 1.0
# after the last push: retries wait for up to a minute or so, a silent link for the deadline of its streams
DRAIN_STILL_S: Final = 45.0
DRAIN_MOST_S: Final = 300.0


def run(
    seconds: float = 120.0,
    per_s: int = 10_000,
    fsync: Literal["everysec", "always"] = "everysec",
    seed: int = 1,
    *,
    every_s: float = 5.0,
    worker_weight: float = 3.0,
    ingest_weight: float = 2.0,
    redis_weight: float = 2.0,
    link_weight: float = 3.0,
    workers: int = 2,
    ingest_processes: int = 2,
    tenants: int = 4,
    batch: int = 100,
    payload_bytes: int = 256,
    rtt_ms: float = 10.0,
    refuse_every: int = 0,
    silent_every: int = 0,
    log_file: Path | None = None,
) -> dict[str, Any]:
    """One run. Its ``failed`` names what the verdict found wrong, and is empty when all is well."""
    weights = {"worker": worker_weight, "ingest": ingest_weight, "redis": redis_weight, "link": link_weight}
    sink_faults = SinkFaults(refuse_every, silent_every)
    with (
        lab(fsync) as place,
        RecordingSink(place.directory / "sink", sink_faults) as sink,
        Relay(sink.port, rtt_ms) as relay,
    ):
        place.create_tenants(tenants)
        port = free_port()
        options = (
            *("--bind", f"127.0.0.1:{port}"),
            *("--apns-production-url", f"https://localhost:{relay.port}"),
            *("--apns-ca-file", str(sink.ca_file)),
            *("--workers", str(workers)),
            *("--ingest-processes", str(ingest_processes)),
        )
        faults = Faults(
            place,
            relay,
            lambda: place.log_of("run"),
            seed=seed,
            every_s=every_s,
            weights=weights,  # type: ignore[arg-type]  # its keys are the kinds
            streams=STREAMS,
            per_s=per_s,
        )
        try:
            with place.clarion("run", *options) as gateway:
                workers_of(gateway, workers + ingest_processes)
                wait_until(lambda: _is_ready(port), "the gateway's /readyz")
                log = place.directory / "load.log"
                load = Load(port, _senders(place), seconds, per_s, batch, payload_bytes, str(log))
                with _loading(load) as loading:
                    time.sleep(WARM_UP_S)
                    faults.play(time.monotonic() + seconds - WARM_UP_S)
                    loading.wait()
                drained_s = _drain(sink, lambda: sum(len(each.ids) for each in exchanges(log)) // 36)
                survived = gateway.poll() is None
            judgement = judge(exchanges(log), pieces(sink.record))
        finally:
            faults.close()
            if log_file is not None:
                log_file.write_text(place.log_of("run"))
        sink.stop()
    return _result(judgement, faults, sink.summary, drained_s) | {
        "gateway_survived": survived,
        "gateway_exit_code": gateway.returncode,
        "seed": seed,
        "appendfsync": fsync,
        "seconds": seconds,
        "offered_per_s": per_s,
        "kill_every_s": every_s,
        "weights": weights,
        "workers": workers,
        "ingest_processes": ingest_processes,
        "tenants": tenants,
        "batch": batch,
        "payload_bytes": payload_bytes,
        "rtt_ms": rtt_ms,
        "faults": _told(faults.done, judgement),
        "failed": failures(judgement, faults.done, sink.summary, survived, gateway.returncode),
    }


def in_flight(done: Sequence[Fault]) -> int:
    """The most that may come twice: what was in hands at the kills that could be counted."""
    return sum(fault.in_flight or 0 for fault in done)


def failures(
    judgement: Judgement, done: Sequence[Fault], sink: dict[str, int], survived: bool, exit_code: int
) -> list[str]:
    """What is wrong with a run, in words."""
    most_repeated = in_flight(done)
    _, without_fault = by_fault(judgement.repeats, [fault.at_s for fault in _repeating(done)])
    found = {
        f"{judgement.lost} pushes that the API accepted never came": judgement.lost > 0,
        f"{judgement.repeated} pushes came again, but only {most_repeated} were in hands at the kills": (
            judgement.repeated > most_repeated
        ),
        f"{without_fault} pushes came again though nothing had happened since they first came": without_fault
        > 0,
        f"{judgement.unexplained} recorded ids belong to no batch in doubt": judgement.unexplained > 0,
        f"{sink['misread']} requests could not be read by the sink": sink["misread"] > 0,
        "the sink compared no request with hpack": sink["compared"] == 0,
        f"the gateway ended by itself with code {exit_code}": not survived,
        f"the gateway's exit code after SIGTERM is {exit_code}": survived and exit_code != 0,
    }
    return [what for what, wrong in found.items() if wrong]


def _senders(place: Lab) -> list[Sender]:
    return [Sender(place.api_keys[team.tenant], team.topic) for team in place.teams]


def _loading(load: Load) -> "subprocess.Popen[bytes]":
    plan = msgspec.json.encode(load).decode()
    return subprocess.Popen([sys.executable, "-m", "loadtest.bench.steady", plan], stdin=subprocess.DEVNULL)


def _drain(sink: RecordingSink, accepted: Callable[[], int]) -> float:
    """Wait until nothing more comes, and until enough has; returns for how long something came."""
    began_s = came_s = time.monotonic()
    wanted, pushes = accepted(), sink.pushes()
    while time.monotonic() - began_s < DRAIN_MOST_S:
        time.sleep(0.5)
        now_s, latest = time.monotonic(), sink.pushes()
        if latest != pushes:
            came_s, pushes = now_s, latest
        # repeats are among the pushes, so enough is no proof: the quiet after it has to be long, too
        still_s = 5.0 if pushes >= wanted else DRAIN_STILL_S
        if now_s - came_s >= still_s:
            break
    return came_s - began_s


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    return False


def _repeating(done: Sequence[Fault]) -> list[Fault]:
    """Those after which pushes may come again; a request that ingest lost nobody sends again."""
    return [fault for fault in done if fault.kind != "ingest"]


def _told(done: Sequence[Fault], judgement: Judgement) -> list[dict[str, Any]]:
    repeating = _repeating(done)
    counts, _ = by_fault(judgement.repeats, [fault.at_s for fault in repeating])
    repeated = dict(zip(repeating, counts, strict=True))
    return [
        {
            "at_s": round(fault.at_s - judgement.first_due_s, 2),
            "kind": fault.kind,
            "victim": fault.victim,
            "in_flight": fault.in_flight,
            "repeated": repeated.get(fault, 0),
            "fsync_pending": fault.fsync_pending,
        }
        for fault in done
    ]


def _result(judgement: Judgement, faults: Faults, sink: dict[str, int], drained_s: float) -> dict[str, Any]:
    span_s = judgement.last_recorded_s - judgement.first_due_s
    return {
        "lost": judgement.lost,
        "repeated": judgement.repeated,
        "repeated_ids": judgement.repeated_ids,
        "in_flight_at_kills": in_flight(faults.done),
        "in_flight_counted": "jobs of claims in Redis: a worker's after its kill, all before Redis' and a link's",
        "kills": faults.by_kind(),
        "accepted_by_api": judgement.accepted_by_api,
        "recorded": judgement.recorded,
        "in_doubt_batches": judgement.in_doubt_batches,
        "in_doubt_pushes": judgement.in_doubt_pushes,
        "recorded_of_those": judgement.strangers,
        "refused_503": judgement.refused_503,
        "unsent": judgement.unsent,
        "pushes_per_s": round(judgement.recorded / span_s) if span_s > 0 else 0,
        "p50_ms": round(1000 * judgement.p50_s, 1),
        "p99_ms": round(1000 * judgement.p99_s, 1),
        "longest_gap_s": round(judgement.longest_gap_s, 2),
        "drained_for_s": round(drained_s, 1),
        "sink": {"kind": "recorder", **sink},
    }
