"""What one supervisor's processes count, and what stands in Redis, as Prometheus reads it."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from runtime.measures import Board, Kind, Measure, Sheet
from shards.survey import Survey

PROCESS: Final = "process"

Families = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Metrics:
    """A collector of prometheus_client, over a board; ``wall`` is Unix seconds.

    ``stand``, ``conditions`` and ``workers`` are what Redis said last; ``stand`` is None if it did not answer. All
    hosts on one Redis say the same of it.
    """

    def __init__(self, board: Board, *, wall: Callable[[], float] = time.time) -> None:
        self.stand: Survey | None = None
        self.conditions = 0
        self.workers = 0
        self._board = board
        self._wall = wall

    def __repr__(self) -> str:
        return f"<Metrics of {self._board!r}>"

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Families] = {}
        for process, sheet in self._board:
            for measure in sheet.table.measures:
                # ingest and workers have some by the same name
                family = families.setdefault(measure.name, _family(measure))
                _fill(family, process, sheet, measure)
        yield from families.values()
        yield from self._of_redis()

    def _of_redis(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "clarion_redis_up", "Whether Redis answers.", value=float(self.stand is not None)
        )
        if self.stand is None:
            return
        ready = GaugeMetricFamily(
            "clarion_queue_ready",
            "Pushes in Redis that may be claimed, by lane; lane unknown: of shards with very many flows, the rest.",
            labels=["lane"],
        )
        for lane, jobs in self.stand.ready.items():
            ready.add_metric([lane or "unknown"], jobs)
        yield ready
        oldest = GaugeMetricFamily(
            "clarion_queue_oldest_seconds",
            "Age of the oldest push that may be claimed, by lane; 0 when there is none.",
            labels=["lane"],
        )
        for lane in self.stand.ready:
            admitted_ms = self.stand.oldest_ms.get(lane, 0)
            if lane:
                oldest.add_metric([lane], max(0.0, self._wall() - admitted_ms / 1000) if admitted_ms else 0.0)
        yield oldest
        for name, text, value in (
            ("clarion_queue_waiting", "Pushes in Redis that wait to be tried again.", self.stand.waiting),
            ("clarion_dead_letters", "Dead letters that are kept.", self.stand.dead),
            ("clarion_conditions", "What keeps credentials or flows from being used.", self.conditions),
            ("clarion_workers", "Workers that are announced in Redis, of all hosts.", self.workers),
        ):
            yield GaugeMetricFamily(name, text, value=value)


def _family(measure: Measure) -> Families:
    labels = [PROCESS, measure.label] if measure.label else [PROCESS]
    match measure.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(measure.name, measure.text, labels=labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(measure.name, measure.text, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(measure.name, measure.text, labels=labels)


def _fill(family: Families, process: str, sheet: Sheet, measure: Measure) -> None:
    words = sheet.read(measure)
    if isinstance(family, HistogramMetricFamily):
        *counts, total = words
        below, buckets = 0.0, []
        for bound, count in zip((*map(str, measure.bounds), "+Inf"), counts, strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric([process], buckets, total)
        return
    for value, number in zip(measure.values, words, strict=True):
        family.add_metric([process, value] if measure.label else [process], number)
