"""Waits: whose pushes count, in which part of a run, and what never came."""

from loadtest.bench.steady import Exchange
from loadtest.bench.waits import NO_WAITS, Span, Waits, first_acceptances, waits
from loadtest.sink.recorder import Piece

IDS = [b"%036d" % number for number in range(8)]


def test_a_push_waits_until_it_is_first_accepted() -> None:
    record = [Piece(1.0, 1, IDS[:2]), Piece(2.0, 1, IDS[1:3])]
    assert first_acceptances(record) == {IDS[0]: 1.0, IDS[1]: 1.0, IDS[2]: 2.0}


def test_only_what_a_sender_had_due_in_the_span_counts() -> None:
    sent = [
        Exchange(9.0, 9.0, "accepted", 1, IDS[0], 1),
        Exchange(10.0, 10.1, "accepted", 2, IDS[1] + IDS[2], 1),
        Exchange(10.0, 10.1, "accepted", 1, IDS[3], 0),
        Exchange(11.0, 11.1, "refused", 1, b"", 1),
        Exchange(12.0, 12.1, "accepted", 1, IDS[4], 1),
    ]
    first_s = {IDS[0]: 99.0, IDS[1]: 10.5, IDS[2]: 13.0, IDS[3]: 99.0, IDS[4]: 99.0}
    assert waits(sent, first_s, 1, Span(10.0, 12.0)) == Waits(2, 0.5, 3.0, 3.0)
    assert waits(sent, first_s, 1, Span(10.0, 11.0), Span(12.0, 13.0)) == Waits(3, 3.0, 87.0, 87.0)


def test_what_never_came_waits_for_ever_and_so_does_nobody() -> None:
    sent = [Exchange(1.0, 1.1, "accepted", 1, IDS[0])]
    assert waits(sent, {}, 0, Span(0.0, 2.0)).p50_s == float("inf")
    assert waits(sent, {}, 1, Span(0.0, 2.0)) == NO_WAITS
