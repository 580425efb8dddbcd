"""How soon the flow is whole again: what held connections bring does not count, nor does a moment of plenty."""

from itertools import count

import pytest

from loadtest.bench.recovery import USUAL_LEAST_S, Recovery, recovery
from loadtest.bench.steady import Exchange
from loadtest.sink.recorder import Piece

HELD_S = 1_000.0
RELEASED_S = 1_010.0
ENDS_S = 1_040.0
CONNECTIONS = 8
PER_S = 100
BATCH = 10
EVERY_S = BATCH / PER_S
NEW = CONNECTIONS + 1
_numbers = count()


def played(wait_s: dict[float, float]) -> tuple[list[Exchange], list[Piece]]:
    """A load of ten pushes each tenth of a second; ``wait_s`` says how long those wait that are due from a time on."""
    sent, record = [], []
    for step in range(int((ENDS_S - HELD_S + 5) / EVERY_S)):
        due_s = HELD_S - 5 + step * EVERY_S
        ids = [b"%036d" % next(_numbers) for _ in range(BATCH)]
        sent.append(Exchange(due_s, due_s, "accepted", BATCH, b"".join(ids)))
        after_s = max((from_s for from_s in wait_s if from_s <= due_s), default=0.0)
        came_s = due_s + wait_s.get(after_s, 0.01)
        record.append(Piece(came_s, NEW if came_s >= RELEASED_S else 1, ids))
    return sent, sorted(record, key=lambda piece: piece.at_s)


def of(sent: list[Exchange], record: list[Piece]) -> Recovery:
    return recovery(sent, record, held_s=HELD_S, released_s=RELEASED_S, connections=CONNECTIONS, per_s=PER_S)


def test_all_is_well_at_once_when_nothing_was_held_back_after_the_release() -> None:
    found = of(*played({}))
    assert found.first_s == pytest.approx(0.01, abs=EVERY_S)
    assert found.flow_s == pytest.approx(0.0, abs=EVERY_S)
    assert (found.latency_s, found.usual_s) == (0.0, USUAL_LEAST_S)


def test_a_backlog_makes_new_pushes_late_though_they_flow() -> None:
    # each waits for two seconds at first, and for less and less
    shrinking = {RELEASED_S + step / 10: 2.0 - step / 20 for step in range(41)}
    found = of(*played(shrinking))
    assert found.first_s == pytest.approx(2.0, abs=EVERY_S)
    assert found.flow_s == pytest.approx(2.0, abs=EVERY_S)
    assert found.latency_s == 3.5


def test_what_a_held_connection_brings_late_is_no_recovery() -> None:
    sent, record = played({HELD_S: 13.0})
    held = [piece._replace(connection=CONNECTIONS) if piece.at_s < 1_014.0 else piece for piece in record]
    assert of(sent, record).first_s == pytest.approx(3.0, abs=EVERY_S)
    assert of(sent, held).first_s == pytest.approx(4.0, abs=EVERY_S)


def test_a_flow_that_stops_again_had_not_come_back() -> None:
    sent, record = played({})
    gap = [piece for piece in record if not 1_015.0 <= piece.at_s < 1_018.0]
    found = of(sent, gap)
    # it is three seconds behind, and one of them would do
    assert found.flow_s == pytest.approx(7.0, abs=2 * EVERY_S)


def test_a_stall_that_is_caught_up_with_is_no_end_of_the_flow() -> None:
    sent, record = played({})
    stalled = [piece._replace(at_s=1_016.0) if 1_015.0 <= piece.at_s < 1_016.0 else piece for piece in record]
    assert of(sent, stalled).flow_s == pytest.approx(0.0, abs=EVERY_S)


def test_a_latency_that_is_usual_for_a_moment_only_is_not_usual_again() -> None:
    found = of(*played({RELEASED_S: 1.0, 1_011.0: 0.01, 1_014.0: 1.0, 1_016.0: 0.01, 1_030.0: 1.0}))
    assert found.latency_s == 6.0


def test_what_never_came_was_not_usual() -> None:
    sent, record = played({})
    assert of(sent, [piece for piece in record if not 1_011.0 <= piece.at_s < 1_012.0]).latency_s == 2.0


def test_nothing_comes_back_when_nothing_comes() -> None:
    sent, record = played({})
    silent = [piece for piece in record if piece.at_s < HELD_S]
    assert of(sent, silent)[:3] == (None, None, None)


def test_what_is_usual_is_learnt_before_the_silence() -> None:
    found = of(*played({HELD_S - 5: 0.2, RELEASED_S: 0.5}))
    assert found.usual_s == pytest.approx(0.6)
    assert found.latency_s == 0.0
