"""What processes count, and how it is shown: sums that outlive a process, labels that are bounded, buckets."""

import os

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from engine.apns.outcomes import Refused
from engine.observe.metrics import Metrics
from engine.policy.verdict import Fate, judge
from engine.worker.measures import BURIED, IN_HAND, PUSHES, QUEUE_S, STARTS, WORKER
from ingest.measures import INGEST, REQUESTS
from loadtest.simulator.vocabulary import STATUS
from runtime.measures import Board, Kind, Measure, Sheet, Table
from shards.lanes import Lane
from shards.survey import Survey

NOW_S = 1_000_000.0


def board_of(*tables: tuple[str, Table]) -> Board:
    board = Board()
    for name, table in tables:
        board.add(name, table)
    return board


def shown(board: Board, stand: Survey | None = None) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample → its value, as a reader of Prometheus' text finds them."""
    metrics = Metrics(board, wall=lambda: NOW_S)
    metrics.stand = stand
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *sorted(map(str, sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_word_that_a_push_may_be_buried_with_has_a_label_of_its_own() -> None:
    verdicts = [judge(Refused(status, reason)) for reason, status in STATUS.items()]
    final = {each.reason for each in verdicts if each.fate in (Fate.BURY, Fate.BURY_TOKEN)}
    assert len(final) > 10 and final <= set(BURIED.values)


def test_counters_are_shown_for_each_process() -> None:
    board = board_of(("worker-0", WORKER), ("worker-1", WORKER), ("ingest-0", INGEST))
    dict(board)["worker-0"].add(PUSHES, 5, "accepted")
    dict(board)["worker-1"].add(PUSHES, 2, "accepted")
    dict(board)["worker-1"].add(PUSHES, 1, "buried")
    dict(board)["ingest-0"].add(REQUESTS, 1, "202")
    found = shown(board)
    assert found["clarion_pushes_total", "accepted", "worker-0"] == 5
    assert found["clarion_pushes_total", "accepted", "worker-1"] == 2
    assert found["clarion_pushes_total", "buried", "worker-1"] == 1
    assert found["clarion_http_requests_total", "202", "ingest-0"] == 1
    assert ("clarion_http_requests_total", "202", "worker-0") not in found


def test_what_a_process_counted_is_there_after_its_death_and_its_gauges_are_not() -> None:
    board = board_of(("worker-0", WORKER))
    sheet = dict(board)["worker-0"]
    child = os.fork()
    if child == 0:
        sheet.add(PUSHES, 3, "accepted")
        sheet.set(IN_HAND, 70)
        os._exit(0)
    os.waitpid(child, 0)
    assert (sheet.read(PUSHES)[0], sheet.read(IN_HAND)) == (3, [70])
    sheet.begin()
    sheet.add(PUSHES, 1, "accepted")
    assert (sheet.read(PUSHES)[0], sheet.read(IN_HAND)) == (4, [0])


def test_sheets_do_not_touch_one_another() -> None:
    names = ["a", "b", "c"]
    board = board_of(*((name, WORKER) for name in names))
    for number, name in enumerate(names):
        for measure in WORKER.measures:
            for value in measure.values:
                if measure.kind is Kind.HISTOGRAM:
                    dict(board)[name].observe(measure, 10_000.0, number)
                else:
                    dict(board)[name].add(measure, number, value)
    for number, name in enumerate(names):
        for measure in WORKER.measures:
            words = dict(board)[name].read(measure)
            expected = {0, number, 10_000 * number} if measure.kind is Kind.HISTOGRAM else {number}
            assert set(words) <= expected, (name, measure)


def test_a_value_that_nobody_knows_is_counted_with_the_others() -> None:
    sheet = Sheet(WORKER)
    sheet.add(BURIED, 2, "Unregistered")
    sheet.add(BURIED, 3, "SomethingNew")
    assert dict(zip(BURIED.values, sheet.read(BURIED), strict=True))["other"] == 3


def test_a_histogram_cumulates_and_knows_its_sum() -> None:
    board = board_of(("worker-0", WORKER))
    sheet = dict(board)["worker-0"]
    for number, count in ((0.0005, 1), (0.001, 2), (0.3, 10), (5_000.0, 1)):
        sheet.observe(QUEUE_S, number, count)
    found = shown(board)
    name = "clarion_queue_wait_seconds"
    assert found[f"{name}_bucket", "0.001", "worker-0"] == 3
    assert found[f"{name}_bucket", "0.25", "worker-0"] == 3
    assert found[f"{name}_bucket", "0.5", "worker-0"] == 13
    assert found[f"{name}_bucket", "900.0", "worker-0"] == 13
    assert found[f"{name}_bucket", "+Inf", "worker-0"] == found[f"{name}_count", "worker-0"] == 14
    assert found[f"{name}_sum", "worker-0"] == pytest.approx(5_003.0025)


def test_the_queues_are_shown_as_redis_told_them_and_not_at_all_without_it() -> None:
    board = board_of(("worker-0", WORKER))
    assert shown(board)["clarion_redis_up",] == 0 and ("clarion_queue_waiting",) not in shown(board)
    stand = Survey({Lane.HIGH: 3, Lane.LOW: 40, "": 2}, 5, 6, {"low": 999_990_000})
    found = shown(board, stand)
    assert found["clarion_redis_up",] == 1
    assert (found["clarion_queue_ready", "high"], found["clarion_queue_ready", "low"]) == (3, 40)
    assert found["clarion_queue_ready", "unknown"] == 2
    assert (found["clarion_queue_waiting",], found["clarion_dead_letters",]) == (5, 6)
    assert found["clarion_queue_oldest_seconds", "low"] == pytest.approx(10.0)
    assert found["clarion_queue_oldest_seconds", "high"] == 0


def test_a_measure_is_in_one_table() -> None:
    with pytest.raises(ValueError, match="clarion_process_starts is in another table already"):
        Table(STARTS)
    assert Table(Measure(Kind.COUNTER, "x", "X.")).words == 1
