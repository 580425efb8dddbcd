"""``scripts/bench NAME``: one benchmark, one JSON object on stdout, and to a file with ``--json``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from cyclopts import App, Parameter

from loadtest.bench import chaos, drain, ingest, latency, machine

app: Final = App(
    name="bench", help="Benchmarks of Clarion. Each prints one JSON object with the machine's facts."
)

JsonFile = Annotated[Path | None, Parameter(name="--json", help="Write the object to this file too.")]


def _report(name: str, json: Path | None, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    facts = machine.facts()
    result = {"benchmark": name, **measure(), "machine": facts}
    text = orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n"
    sys.stdout.buffer.write(text)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(text)
    return result


@app.command(name="drain")
def _drain(
    *,
    jobs: int = 200_000,
    tenants: int = 10,
    workers: int = 2,
    links: int = 1,
    payload_bytes: int = 256,
    sink: Literal["nginx", "python"] | None = None,
    stages: bool = True,
    json: JsonFile = None,
) -> None:
    """Drain a full queue to the sink over TLS: pushes/s, CPU µs per push, shares by stage."""
    _report("drain", json, lambda: drain.run(jobs, tenants, workers, links, payload_bytes, sink, stages))


@app.command(name="ingest")
def _ingest(*, seconds: float = 5.0, json: JsonFile = None) -> None:
    """Take in batches of 500 and single requests, durable in Redis: CPU µs per push."""
    _report("ingest", json, lambda: ingest.run(seconds))


@app.command(name="latency")
def _latency(
    *, per_s: int = 100, seconds: float = 20.0, rtt_ms: float = 0.0, workers: int = 2, json: JsonFile = None
) -> None:
    """Send single pushes at a fixed rate to the simulator: time from the API to APNs, and the cost of idling."""
    _report("latency", json, lambda: latency.run(per_s, seconds, rtt_ms, workers))


@app.command(name="chaos")
def _chaos(
    *,
    seconds: float = 120.0,
    per_s: int = 10_000,
    fsync: Literal["everysec", "always"] = "everysec",
    seed: int = 1,
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
    json: JsonFile = None,
) -> int:
    """Kill workers, ingest processes and Redis and cut links at random, under load: what is lost, what comes twice.

    Parameters
    ----------
    fsync
        How Redis writes its append-only file out.
    seed
        Of the moments, the kinds and the victims.
    every_s
        Mean time from one fault to the next.
    worker_weight, ingest_weight, redis_weight, link_weight
        How often each kind is drawn, compared with the others; 0: never.
    refuse_every
        One push in so many is answered 503 by the sink; 0: none.
    silent_every
        One push in so many is never answered; 0: none.
    log_file
        Keep the gateway's log here.
    """
    result = _report(
        "chaos",
        json,
        lambda: chaos.run(
            seconds,
            per_s,
            fsync,
            seed,
            every_s=every_s,
            worker_weight=worker_weight,
            ingest_weight=ingest_weight,
            redis_weight=redis_weight,
            link_weight=link_weight,
            workers=workers,
            ingest_processes=ingest_processes,
            tenants=tenants,
            batch=batch,
            payload_bytes=payload_bytes,
            rtt_ms=rtt_ms,
            refuse_every=refuse_every,
            silent_every=silent_every,
            log_file=log_file,
        ),
    )
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
