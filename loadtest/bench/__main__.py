"""``scripts/bench NAME``: one benchmark, one JSON object on stdout, and to a file with ``--json``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from cyclopts import App, Parameter

from loadtest.bench import drain, ingest, latency, machine

app: Final = App(
    name="bench", help="Benchmarks of Clarion. Each prints one JSON object with the machine's facts."
)

JsonFile = Annotated[Path | None, Parameter(name="--json", help="Write the object to this file too.")]


def _report(name: str, json: Path | None, measure: Callable[[], dict[str, Any]]) -> None:
    facts = machine.facts()
    result = {"benchmark": name, **measure(), "machine": facts}
    text = orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n"
    sys.stdout.buffer.write(text)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(text)


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


if __name__ == "__main__":
    app()
