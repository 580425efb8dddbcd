"""``scripts/bench NAME``: one benchmark, one JSON object on stdout, and to a file with ``--json``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from cyclopts import App, Parameter

from loadtest.bench import (
    blackhole,
    campaign,
    chaos,
    drain,
    e2e,
    fairness,
    growth,
    ingest,
    isolation,
    latency,
    machine,
    matrix,
    peers,
    report,
    rtt,
    tenants,
    tuning,
)
from loadtest.bench.blackhole import BlackholeOptions
from loadtest.bench.campaign import CampaignOptions
from loadtest.bench.chaos import ChaosOptions
from loadtest.bench.drain import DrainOptions
from loadtest.bench.e2e import E2eOptions
from loadtest.bench.fairness import FairnessOptions
from loadtest.bench.growth import GrowthOptions
from loadtest.bench.isolation import IsolationOptions
from loadtest.bench.latency import LatencyOptions
from loadtest.bench.matrix import MatrixOptions
from loadtest.bench.peers import PeersOptions
from loadtest.bench.rtt import RttOptions
from loadtest.bench.tenants import TenantsOptions
from loadtest.bench.tuning import TuningOptions

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


_DRAIN: Final = DrainOptions()
_E2E: Final = E2eOptions()
_LATENCY: Final = LatencyOptions()
_CAMPAIGN: Final = CampaignOptions()
_CHAOS: Final = ChaosOptions()
_BLACKHOLE: Final = BlackholeOptions()
_FAIRNESS: Final = FairnessOptions()
_GROWTH: Final = GrowthOptions()
_ISOLATION: Final = IsolationOptions()
_MATRIX: Final = MatrixOptions()
_RTT: Final = RttOptions()
_TENANTS: Final = TenantsOptions()
_TUNING: Final = TuningOptions()
_PEERS: Final = PeersOptions()


@app.command(name="drain")
def _drain(*, options: DrainOptions = _DRAIN, json: JsonFile = None) -> None:
    """Drain a full queue to the sink over TLS: pushes/s, CPU µs per push, shares by stage."""
    _report("drain", json, lambda: drain.run(options))


@app.command(name="ingest")
def _ingest(*, seconds: float = 5.0, json: JsonFile = None) -> None:
    """Take in batches of 500 and single requests, durable in Redis: CPU µs per push."""
    _report("ingest", json, lambda: ingest.run(seconds))


@app.command(name="e2e")
def _e2e(*, options: E2eOptions = _E2E, json: JsonFile = None) -> int:
    """Push through the API to nginx at a fixed rate: times from the API to the answer, and what each part costs."""
    return 1 if _report("e2e", json, lambda: e2e.run(options))["failed"] else 0


@app.command(name="latency")
def _latency(*, options: LatencyOptions = _LATENCY, json: JsonFile = None) -> None:
    """Send single pushes at a fixed rate to the simulator: time from the API to APNs, and the cost of idling."""
    _report("latency", json, lambda: latency.run(options))


@app.command(name="chaos")
def _chaos(*, options: ChaosOptions = _CHAOS, json: JsonFile = None) -> int:
    """Kill the gateway's processes and Redis and cut links at random, under load: what is lost, what comes twice."""
    return 1 if _report("chaos", json, lambda: chaos.run(options))["failed"] else 0


@app.command(name="blackhole")
def _blackhole(*, options: BlackholeOptions = _BLACKHOLE, json: JsonFile = None) -> int:
    """Let APNs fall silent for a minute, under load: what that costs, and how soon all is well again."""
    return 1 if _report("blackhole", json, lambda: blackhole.run(options))["failed"] else 0


@app.command(name="campaign")
def _campaign(*, options: CampaignOptions = _CAMPAIGN, json: JsonFile = None) -> int:
    """Drain single notifications and the same number as campaigns, in turn: pushes/s, CPU µs and Redis' memory."""
    return 1 if _report("campaign", json, lambda: campaign.run(options))["failed"] else 0


@app.command(name="fairness")
def _fairness(*, options: FairnessOptions = _FAIRNESS, json: JsonFile = None) -> int:
    """Let tenants share the gateway: shares by weight, and what a neighbour's million costs the others."""
    return 1 if _report("fairness", json, lambda: fairness.run(options))["failed"] else 0


@app.command(name="growth")
def _growth(*, options: GrowthOptions = _GROWTH, json: JsonFile = None) -> int:
    """Drain larger and larger backlogs, and those of more and more tenants: what a push costs."""
    return 1 if _report("growth", json, lambda: growth.run(options))["failed"] else 0


@app.command(name="isolation")
def _isolation(*, options: IsolationOptions = _ISOLATION, json: JsonFile = None) -> int:
    """Let one tenant's credential fail under load: what its neighbour notices, what APNs does, how it comes back."""
    return 1 if _report("isolation", json, lambda: isolation.run(options))["failed"] else 0


@app.command(name="matrix")
def _matrix(*, options: MatrixOptions = _MATRIX, json: JsonFile = None) -> int:
    """Drain with more and more workers and links: pushes/s, time at APNs, CPU, and which of them to choose."""
    return 1 if _report("matrix", json, lambda: matrix.run(options))["failed"] else 0


@app.command(name="report")
def _put_in() -> None:
    """Put the last results of docs/results into the documents, as tables and charts."""
    for line in report.run():
        print(line)


@app.command(name="rtt")
def _rtt(*, options: RttOptions = _RTT, json: JsonFile = None) -> int:
    """Drain a queue over ways of different length with Apple's small windows: pushes/s, and how many links."""
    return 1 if _report("rtt", json, lambda: rtt.run(options))["failed"] else 0


@app.command(name="tenants")
def _tenants(*, options: TenantsOptions = _TENANTS, json: JsonFile = None) -> int:
    """Drain jobs of very many tenants of some hundred teams, and of one: memory, connections, cost of each job."""
    return 1 if _report("tenants", json, lambda: tenants.run(options))["failed"] else 0


@app.command(name="tuning")
def _tuning(*, options: TuningOptions = _TUNING, json: JsonFile = None) -> int:
    """Measure with and without each setting of the profiles, in turn, on settings of the benchmark's own."""
    return 1 if _report("tuning", json, lambda: tuning.run(options))["failed"] else 0


@app.command(name="peers")
def _peers(*, options: PeersOptions = _PEERS, json: JsonFile = None) -> int:
    """Drain to the sink, and let other ways of sending to APNs do the same: pushes/s and CPU µs of each."""
    return 1 if _report("peers", json, lambda: peers.run(options))["failed"] else 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
