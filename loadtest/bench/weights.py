"""Tenants of weight 1, 2 and 4 with equal backlogs: what each gets of the pushes that are accepted.

As long as all three have jobs ready in each of their shards, every window of five seconds is judged.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from cyclopts import Parameter

from loadtest.bench import fairness_verdict as verdict
from loadtest.bench.backlog import LOOK_EVERY_S, Standing, depths, enqueue
from loadtest.bench.gateway import GatewayOptions, setting
from loadtest.bench.lab import wait_until
from loadtest.bench.steady import Exchange
from loadtest.bench.waits import Span
from loadtest.sink.recorder import pieces
from shards.lanes import Lane
from shards.tenant import Limits

WEIGHTS: Final = (1, 2, 4)
# from the first acceptance: links are opened, and proved, and grow
WARM_UP_S: Final = 3.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WeightsOptions(GatewayOptions):
    """How much of what."""

    jobs: int = 1_500_000
    "Jobs of each of the tenants with weights."


def run(options: WeightsOptions, spread: int) -> tuple[dict[str, Any], list[str]]:
    """One run with devices hashed over so many shards: what it tells, and what is wrong."""
    with setting(options) as around:
        around.place.create_tenants(len(WEIGHTS), spread, [Limits(weight=weight) for weight in WEIGHTS])
        standings = [Standing(team, options.jobs, Lane.LOW, spread) for team in around.place.teams]
        ids = asyncio.run(enqueue(around.place.redis.url, standings, options.payload_bytes))
        with depths(around.place.redis.url, standings) as looking:
            around.gateway.start()
            wait_until(around.sink.pushes, "the first push at the sink")
            time.sleep(WARM_UP_S)
            begin_s = end_s = time.time()
            while all(depth.least for depth in looking.look()):
                end_s = time.time()
                time.sleep(LOOK_EVERY_S)
            looking.wait_drained()
        around.drain()
        wrong, counts = around.end([Exchange(0.0, 0.0, "accepted", len(own), b"".join(own)) for own in ids])
        tenant_of = {apns_id: tenant for tenant, own in enumerate(ids) for apns_id in own}
        accepted = list(verdict.came(pieces(around.sink.record), tenant_of))
    span = Span(begin_s, end_s)
    judged = verdict.shares(accepted, WEIGHTS, span, verdict.WINDOW_S)
    served = [verdict.rate(accepted, tenant, span) if span.seconds else 0.0 for tenant in range(len(WEIGHTS))]
    told = {
        "weights": WEIGHTS,
        "spread": spread,
        "measured_s": round(span.seconds, 1),
        "pushes_per_s": [round(each) for each in served],
        "share_percent": [round(100 * each / max(1.0, sum(served)), 2) for each in served],
        "windows_of_5_s": verdict.told_shares(judged),
        "windows_of_1_s": verdict.told_shares(verdict.shares(accepted, WEIGHTS, span, verdict.SHORT_S)),
        **counts,
    }
    return told, [*wrong, *verdict.unfair(judged)]
