"""How soon the flow is whole again after a silence, from what was sent and what the sink recorded. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from loadtest.bench.steady import ID_BYTES, Exchange
from loadtest.demo.verdict import percentile
from loadtest.sink.recorder import Piece

# a flow may fall behind what is offered by so much: a stall of the machine that is caught up with is no matter
BEHIND_S: Final = 1.0
GRID_S: Final = 0.1
# what counts as the usual latency: so many times the p99 of before, and never less than this
USUAL_TIMES: Final = 3.0
USUAL_LEAST_S: Final = 0.25
SLOT_S: Final = 0.5
# so long it must be usual to be so again
USUAL_FOR_S: Final = 5.0
# pushes due so shortly before the silence may have met it
MARGIN_S: Final = 1.0


class Recovery(NamedTuple):
    """Seconds from the release; None: not while there was load.

    ``first_s``: the first push on a connection that had not been held; ``flow_s``: from here to the end it never falls
    behind what is offered; ``latency_s``: what is due from here on has the usual latency again, ``usual_s`` at the 99th
    percentile.
    """

    first_s: float | None
    flow_s: float | None
    latency_s: float | None
    usual_s: float


def recovery(
    sent: Iterable[Exchange],
    record: Iterable[Piece],
    *,
    held_s: float,
    released_s: float,
    connections: int,
    per_s: int,
) -> Recovery:
    """Times are Unix seconds. ``connections``: so many there had been when the silence began; what they bring after it
    was on its way before, and proves nothing."""
    due_s: dict[bytes, float] = {}
    ends_s = released_s
    for exchange in sent:
        ends_s = max(ends_s, exchange.due_s)
        for at in range(0, len(exchange.ids), ID_BYTES):
            due_s[exchange.ids[at : at + ID_BYTES]] = exchange.due_s
    came_s: list[float] = []
    first_s: dict[bytes, float] = {}
    for piece in record:
        if piece.at_s >= released_s and piece.connection > connections:
            came_s += [piece.at_s] * len(piece.ids)
        for apns_id in piece.ids:
            first_s.setdefault(apns_id, piece.at_s)
    came_s.sort()
    waits = [
        (due, first_s.get(apns_id, float("inf")) - due)
        for apns_id, due in due_s.items()
        if due < held_s - MARGIN_S or due >= released_s
    ]
    before = sorted(wait_s for due, wait_s in waits if due < held_s)
    usual_s = max(USUAL_LEAST_S, USUAL_TIMES * percentile(before, 0.99))
    return Recovery(
        came_s[0] - released_s if came_s else None,
        _flows_from(came_s, released_s, ends_s, per_s),
        _usual_from(
            [(due - released_s, wait_s) for due, wait_s in waits if due >= released_s],
            ends_s - released_s,
            usual_s,
        ),
        usual_s,
    )


def _flows_from(came_s: Sequence[float], released_s: float, ends_s: float, per_s: int) -> float | None:
    """From where on no more than ``BEHIND_S`` of what is offered is missing at any time up to the end."""
    if not came_s:
        return None
    # no sooner than the first: who is not expected can't fall behind
    begin_s = came_s[0] - released_s
    steps = int((ends_s - released_s - begin_s) / GRID_S + 1e-6)
    ahead = [
        bisect_left(came_s, came_s[0] + step * GRID_S) - per_s * step * GRID_S for step in range(steps + 1)
    ]
    good_from: float | None = None
    lowest = float("inf")
    for step in range(steps, -1, -1):
        lowest = min(lowest, ahead[step])
        if lowest >= ahead[step] - BEHIND_S * per_s and step <= steps - BEHIND_S / GRID_S:
            good_from = begin_s + step * GRID_S
    return good_from


def _usual_from(waits: Iterable[tuple[float, float]], span_s: float, usual_s: float) -> float | None:
    """``waits``: (due since the release, seconds until it came). From where on slots have the usual p99, for long."""
    slots: list[list[float]] = [[] for _ in range(int(span_s / SLOT_S) + 1)]
    for due, wait_s in waits:
        slots[int(due / SLOT_S)].append(wait_s)
    is_usual = [percentile(sorted(slot), 0.99) <= usual_s for slot in slots]
    needed = round(USUAL_FOR_S / SLOT_S)
    for number in range(len(slots) - needed + 1):
        if all(is_usual[number : number + needed]):
            return number * SLOT_S
    return None
