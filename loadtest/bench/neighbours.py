"""What a backlog of a million low-lane jobs, the hog's, costs its neighbours: chat and news.

Chat sends single pushes in the high lane, news batches in the low lane, both through the API at a fixed rate: in each
round first alone, then with the hog beside them. Times count from when a push was due to its acceptance at the sink,
so a stall is not hidden. The hog is kept still by pausing its lanes, as an operator would, and its rate is taken while
each of its shards has jobs ready. It is compared with what the drain benchmark drains in the same run, to the faster
sink and without anybody beside.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cyclopts import Parameter

from loadtest.bench import drain
from loadtest.bench import fairness_verdict as verdict
from loadtest.bench.backlog import LOOK_EVERY_S, Depths, Standing, depths, enqueue
from loadtest.bench.cpu import cpu_s
from loadtest.bench.drain import DrainOptions
from loadtest.bench.fairness_verdict import Neighbours
from loadtest.bench.gateway import GatewayOptions, Setting, push, setting
from loadtest.bench.steady import Exchange, Load, Sender, exchanges
from loadtest.bench.waits import Span, first_acceptances, waits
from loadtest.sink.recorder import pieces
from shards.lanes import Lane
from shards.tenants import DEFAULT_SHARDS

# links are opened, and proved, and grow
WARM_UP_S: Final = 3.0
LANES: Final = tuple(lane.value for lane in Lane)
NAMES: Final = ("chat", "news")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NeighboursOptions(GatewayOptions):
    """How much of what."""

    hog_jobs: int = 1_000_000
    "Jobs that the hog has standing in the low lane."

    chat_per_s: int = 100
    "Single pushes of chat each second, in the high lane."

    news_per_s: int = 1_000
    "Pushes of news each second, in the low lane."

    news_batch: int = 20
    "Pushes in one request of news."

    seconds: float = 10.0
    "For how long chat and news are measured alone in a round, and at most beside the hog."

    rounds: int = 3
    "Rounds, of chat and news alone and of all three: what the machine does meanwhile falls on both."

    spread: int = DEFAULT_SHARDS
    "Shards of each of the three."


def run(options: NeighboursOptions) -> tuple[dict[str, Any], list[str]]:
    """One run: what it tells, and what is wrong."""
    drained = drain.run(DrainOptions(jobs=options.hog_jobs, workers=options.workers, stages=False))
    with setting(options) as around:
        around.place.create_tenants(3, options.spread)
        hog = Standing(around.place.teams[0], options.hog_jobs, Lane.LOW, options.spread)
        with depths(around.place.redis.url, [hog]) as looking:
            street = _Street(around, options, hog, looking)
            around.gateway.start()
            alone: list[Span] = []
            together: list[Span] = []
            for _ in range(options.rounds):
                alone.append(street.alone())
                together.append(street.together())
            looking.wait_drained()
        around.drain()
        sent = [list(exchanges(log)) for log in street.logs]
        backlog = Exchange(time.time(), time.time(), "accepted", len(street.ids), b"".join(street.ids))
        wrong, counts = around.end([*sent[0], *sent[1], backlog])
        first_s = first_acceptances(pieces(around.sink.record))
        of_hog = list(verdict.came(pieces(around.sink.record), dict.fromkeys(street.ids, 0)))
    judged = Neighbours(
        {name: waits(own, first_s, 0, *alone) for name, own in zip(NAMES, sent, strict=True)},
        {name: waits(own, first_s, 0, *together) for name, own in zip(NAMES, sent, strict=True)},
        drained["pushes_per_s"],
        verdict.rate(of_hog, 0, *together),
    )
    told = {
        **verdict.told_neighbours(judged),
        "measured_s": [round(sum(span.seconds for span in spans), 1) for spans in (alone, together)],
        "cpu_percent": street.usage,
        **counts,
    }
    return told, [*wrong, *verdict.disturbed(judged)]


class _Street:
    """The three tenants. ``logs`` of what chat and news sent, ``ids`` of the hog's jobs, ``usage`` of CPU by phase and
    part, in percent of one CPU."""

    def __init__(self, around: Setting, options: NeighboursOptions, hog: Standing, looking: Depths) -> None:
        self.ids: list[bytes] = []
        self.usage: dict[str, dict[str, float]] = {}
        self._around = around
        self._options = options
        self._hog = hog
        self._looking = looking
        _, chat, news = around.place.teams
        keys = around.place.api_keys
        self._senders = (
            Sender(keys[chat.tenant], chat.topic, Lane.HIGH.value),
            Sender(keys[news.tenant], news.topic, Lane.LOW.value),
        )
        self.logs = [around.place.directory / f"{name}.log" for name in NAMES]

    def __repr__(self) -> str:
        return f"<_Street {len(self.ids)} jobs of the hog>"

    def alone(self) -> Span:
        """Chat and news."""
        with self._pushing(WARM_UP_S + self._options.seconds):
            time.sleep(WARM_UP_S)
            with self._measuring("chat and news alone") as spans:
                time.sleep(self._options.seconds)
        return spans[0]

    def together(self) -> Span:
        """While the hog has jobs ready in each shard."""
        options = self._options
        self._let_run(False)
        self._fill(options.hog_jobs)
        with self._pushing(2 * WARM_UP_S + options.seconds):
            time.sleep(WARM_UP_S)
            self._let_run(True)
            time.sleep(WARM_UP_S / 2)
            until_s = time.monotonic() + options.seconds
            with self._measuring("together") as spans:
                while self._looking.look()[0].least and time.monotonic() < until_s:
                    time.sleep(LOOK_EVERY_S)
        self._around.drain()
        return spans[0]

    @contextmanager
    def _pushing(self, seconds: float) -> Iterator[None]:
        options = self._options
        sizes = ((options.chat_per_s, 1), (options.news_per_s, options.news_batch))
        with ExitStack() as under_way:
            for sender, log, (per_s, batch) in zip(self._senders, self.logs, sizes, strict=True):
                under_way.enter_context(push(self._load(sender, log, per_s, batch, seconds)))
            yield

    def _load(self, sender: Sender, log: Path, per_s: int, batch: int, seconds: float) -> Load:
        port, size = self._around.gateway.port, self._options.payload_bytes
        return Load(port, [sender], seconds, per_s, batch, size, str(log))

    def _fill(self, jobs: int) -> None:
        standing = self._hog._replace(jobs=jobs)
        [own] = asyncio.run(enqueue(self._around.place.redis.url, [standing], self._options.payload_bytes))
        self.ids += own

    def _let_run(self, runs: bool) -> None:
        paused = () if runs else LANES
        self._around.place.change(
            self._hog.team.tenant, lambda tenant: msgspec.structs.replace(tenant, paused=paused)
        )

    @contextmanager
    def _measuring(self, phase: str) -> Iterator[list[Span]]:
        """Measures the block, and appends its span."""
        spans: list[Span] = []
        before, begin_s = self._cpu_s(), time.time()
        yield spans
        after, end_s = self._cpu_s(), time.time()
        spans.append(Span(begin_s, end_s))
        self.usage[phase] = {
            part: round(100 * (after[part] - before[part]) / (end_s - begin_s), 1) for part in after
        }

    def _cpu_s(self) -> dict[str, float]:
        around = self._around
        pids = {
            **around.gateway.pids(),
            "redis": around.place.redis_pid,
            "relay": around.relay.pid,
            "sink": around.sink.pid,
        }
        return {name: cpu_s([pid]) for name, pid in pids.items()}
