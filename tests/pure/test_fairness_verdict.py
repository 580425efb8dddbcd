"""The verdict of fairness: shares in every window, and a neighbour's price."""

import pytest

from loadtest.bench.fairness_verdict import (
    Came,
    Neighbours,
    Shares,
    came,
    disturbed,
    rate,
    shares,
    told_neighbours,
    told_shares,
    unfair,
)
from loadtest.bench.waits import NO_WAITS, Span, Waits
from loadtest.sink.recorder import Piece

WEIGHTS = (1, 2, 4)


def flow(begin_s: float, seconds: float, counts: tuple[int, ...]) -> list[Came]:
    """So many pushes of each tenant every 100 ms."""
    return [
        Came(begin_s + step / 10 + 0.05, tenant, pushes)
        for step in range(round(seconds * 10))
        for tenant, pushes in enumerate(counts)
    ]


def test_shares_by_weight_are_off_by_nothing() -> None:
    judged = shares(flow(100.0, 10.0, (10, 20, 40)), WEIGHTS, Span(100.0, 110.0), 5.0)
    assert judged == Shares(11, pytest.approx(0.0), pytest.approx(0.0))  # type: ignore[arg-type]
    assert unfair(judged) == []


@pytest.mark.parametrize(("counts", "off"), [((12, 20, 40), 7 / 6 * 72 / 70), ((10, 20, 30), 7 / 6)])
def test_the_worst_served_or_best_served_tenant_is_measured_by_its_own_share(
    counts: tuple[int, ...], off: float
) -> None:
    judged = shares(flow(0.0, 6.0, counts), WEIGHTS, Span(0.0, 6.0), 5.0)
    own = [each / sum(counts) * 7 / weight - 1 for each, weight in zip(counts, WEIGHTS, strict=True)]
    assert judged.worst == pytest.approx(max(map(abs, own)))
    assert len(unfair(judged)) == 1


def test_one_bad_window_is_found_wherever_it_begins() -> None:
    accepted = [
        *flow(0.0, 12.3, (10, 20, 40)),
        *flow(12.3, 2.0, (10, 20, 0)),
        *flow(14.3, 10.0, (10, 20, 40)),
    ]
    judged = shares(accepted, WEIGHTS, Span(0.0, 24.0), 5.0)
    assert judged.median == pytest.approx(0.0, abs=0.001)
    # two seconds of five without the heaviest: it has 120 of 270, and the lightest 50
    assert judged.worst == pytest.approx(50 / 270 * 7 - 1)
    # a window holds a bad second whole, or not at all
    assert shares(accepted, WEIGHTS, Span(0.0, 12.0), 5.0).worst == pytest.approx(0.0)


def test_what_lies_outside_the_span_counts_for_no_window() -> None:
    accepted = [Came(0.0, 0, 1000), *flow(10.0, 5.0, (10, 20, 40)), Came(15.0, 2, 1000)]
    judged = shares(accepted, WEIGHTS, Span(10.0, 15.0), 5.0)
    assert (judged.windows, judged.worst) == (1, pytest.approx(0.0))


def test_a_window_in_which_nothing_came_is_as_bad_as_can_be() -> None:
    assert shares([], WEIGHTS, Span(0.0, 5.0), 5.0).worst == 1.0


def test_backlogs_that_end_too_soon_prove_nothing() -> None:
    judged = shares(flow(0.0, 4.9, (10, 20, 40)), WEIGHTS, Span(0.0, 4.9), 5.0)
    assert judged.windows == 0
    assert unfair(judged) == ["the backlogs did not last for one window of 5 s"]


def test_a_piece_is_its_connections_tenants_and_strangers_are_left_out() -> None:
    ids = [b"%036d" % number for number in range(4)]
    record = [Piece(1.0, 1, ids[:2]), Piece(2.0, 2, ids[2:3]), Piece(3.0, 3, ids[3:])]
    accepted = list(came(record, {ids[0]: 1, ids[1]: 1, ids[2]: 0}))
    assert accepted == [Came(1.0, 1, 2), Came(2.0, 0, 1)]
    assert rate(accepted, 1, Span(0.0, 4.0)) == 0.5
    assert rate(accepted, 1, Span(1.5, 4.0)) == 0.0
    assert rate(accepted, 1, Span(0.0, 2.0), Span(3.0, 5.0)) == 0.5


def neighbours(p99_s: float, rate_together: float) -> Neighbours:
    waits = {"chat": Waits(100, 0.001, 0.004, 0.01)}
    return Neighbours(waits, {"chat": Waits(100, 0.002, p99_s, 0.02)}, 1_000.0, rate_together)


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (neighbours(0.008, 800.0), []),
        (neighbours(0.0081, 800.0), ["p99 of chat was 2.02 times its own"]),
        (neighbours(0.008, 799.0), ["the backlog drained at 0.80 of the drain benchmark's rate"]),
        (neighbours(0.008, 800.0)._replace(together={"chat": NO_WAITS}), ["p99 of chat was inf times"]),
        (
            neighbours(0.008, 800.0)._replace(alone={"chat": NO_WAITS}, together={"chat": NO_WAITS}),
            ["p99 of chat was nan times"],
        ),
        (neighbours(0.008, 0.0)._replace(rate_drain=0.0), ["the backlog drained at 0.00"]),
    ],
)
def test_a_neighbour_that_costs_too_much_is_said(judged: Neighbours, words: list[str]) -> None:
    found = disturbed(judged)
    assert len(found) == len(words)
    assert all(part in failure for part, failure in zip(words, found, strict=True))


def test_the_figures_are_told_in_ms_and_percent() -> None:
    assert told_shares(Shares(3, 0.0512, 0.01)) == {
        "windows": 3,
        "worst_off_percent": 5.12,
        "median_off_percent": 1.0,
    }
    said = told_neighbours(neighbours(0.006, 900.0))
    assert said["chat"]["p99_times"] == 1.5
    assert said["chat"]["together"]["p99_ms"] == 6.0
    assert said["hog"] == {"rate_times": 0.9, "drain_per_s": 1000, "together_per_s": 900}
