"""``campaign``: what one payload for many devices costs as a campaign, and what it costs as single notifications.

Each of the two has a Redis, an engine and a sink of its own, with the same tenants. They take turns, so that whatever
else the machine does falls on both. The first drain of each warms up: links are open before any is measured. What a
job takes of Redis' memory is read while all of a drain wait. A campaign saves the more the larger its payload is, so
several sizes are measured, one after another.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from cyclopts import Parameter

from loadtest.bench import campaign_verdict as verdict
from loadtest.bench.campaign_verdict import Kind
from loadtest.bench.lab import lab
from loadtest.bench.population import (
    Stored,
    batches,
    campaign_batches,
    in_turn,
    one_for_each_shard,
    settle_in,
)
from loadtest.bench.side import Side
from loadtest.bench.store_cost import leave_alone
from loadtest.bench.tenants_verdict import Drain
from loadtest.sink.start import Sink, start_sink


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CampaignOptions:
    """How much is drained."""

    jobs: int = 200_000
    "Jobs of a drain."

    rounds: int = 5
    "Drains of each kind."

    tenants: int = 10
    "Whose they are, in turn, each of a team; each sends one campaign a drain."

    spread: int = 4
    "Shards that a tenant is spread over."

    workers: int = 2
    "Sending processes."

    links: int = 1
    "Links per tenant and worker, at most."

    payload_bytes: tuple[int, ...] = (256, 512, 1_024)
    "Sizes of payloads. With larger ones nginx ends connections now and then."


class _Case:
    """One kind while it is measured."""

    def __init__(
        self, stack: ExitStack, options: CampaignOptions, payload_bytes: int, stored: Stored
    ) -> None:
        place = stack.enter_context(lab())
        senders = settle_in(place, options.tenants, options.tenants, options.spread)
        self._side = Side(place, senders, options.workers, options.links, payload_bytes, stored)
        leave_alone(self._side.redis)
        self._sink: Sink = stack.enter_context(start_sink(place.directory / "sink"))
        self._pids: Sequence[int] = stack.enter_context(
            self._side.engine(self._sink.port, self._sink.ca_file)
        )
        self._side.drain(self._sink, self._pids, one_for_each_shard(senders))
        self._drains: list[Drain] = []
        self._bytes: list[float] = []

    def __repr__(self) -> str:
        return f"<_Case {len(self._drains)} drains>"

    def drain(self, jobs: int) -> None:
        """So many jobs, all of which wait before the first is sent."""
        before = self._used_memory()
        laid_in = self._side.lay_in(in_turn(self._side.senders, jobs))
        self._bytes.append((self._used_memory() - before) / laid_in)
        self._drains.append(self._side.drain_stock(self._sink, self._pids, laid_in))

    def _used_memory(self) -> int:
        return int(self._side.redis.info("memory")["used_memory"])

    def kind(self) -> Kind:
        """What was measured so far."""
        return Kind(self._drains, self._bytes, self._side.sent, self._sink.pushes())

    @property
    def sink(self) -> str:
        return self._sink.kind


def run(options: CampaignOptions) -> dict[str, Any]:
    """Both kinds of each size. ``failed`` names what missed the mark."""
    sizes, failed = [], []
    for payload_bytes in options.payload_bytes:
        size, wrong = _compare(options, payload_bytes)
        sizes.append(size)
        failed += [f"with {payload_bytes} bytes, {words}" for words in wrong]
    return {"sizes": sizes, "options": asdict(options), "failed": failed}


def _compare(options: CampaignOptions, payload_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """Both kinds with payloads of one size, and what missed the mark."""
    with ExitStack() as stack:
        cases = [_Case(stack, options, payload_bytes, stored) for stored in (batches, campaign_batches)]
        for _ in range(options.rounds):
            for case in cases:
                case.drain(options.jobs)
        single, campaign = (case.kind() for case in cases)
        size = {
            "payload_bytes": payload_bytes,
            "single": verdict.told(single),
            "campaign": verdict.told(campaign),
            **verdict.compared(single, campaign),
            "sink": cases[0].sink,
        }
        return size, verdict.failures(single, campaign)
