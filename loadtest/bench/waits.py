"""How long pushes took, from when they were due to their acceptance, by sender and part of a run. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from loadtest.bench.steady import ID_BYTES, Exchange
from loadtest.demo.verdict import percentile
from loadtest.sink.recorder import Piece


class Span(NamedTuple):
    """A part of a run; Unix seconds."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s

    def holds(self, at_s: float) -> bool:
        return self.begin_s <= at_s < self.end_s


class Waits(NamedTuple):
    """Seconds, of so many pushes; without any, for ever."""

    pushes: int
    p50_s: float
    p99_s: float
    most_s: float


NO_WAITS = Waits(0, float("inf"), float("inf"), float("inf"))


def first_acceptances(record: Iterable[Piece]) -> dict[bytes, float]:
    """Apns-id → when it was first accepted, Unix seconds."""
    first_s: dict[bytes, float] = {}
    for piece in record:
        for apns_id in piece.ids:
            first_s.setdefault(apns_id, piece.at_s)
    return first_s


def waits(sent: Iterable[Exchange], first_s: Mapping[bytes, float], sender: int, *spans: Span) -> Waits:
    """Of the pushes of a sender that were due in the spans. What never came waits for ever."""
    found = ordered((each for each in sent if each.sender == sender), first_s, *spans)
    if not found:
        return NO_WAITS
    return Waits(len(found), percentile(found, 0.50), percentile(found, 0.99), found[-1])


def ordered(sent: Iterable[Exchange], first_s: Mapping[bytes, float], *spans: Span) -> list[float]:
    """The wait of each push that was due in the spans, in seconds, the shortest first; for ever of what never came."""
    return sorted(
        first_s.get(exchange.ids[at : at + ID_BYTES], float("inf")) - exchange.due_s
        for exchange in sent
        if any(span.holds(exchange.due_s) for span in spans)
        for at in range(0, len(exchange.ids), ID_BYTES)
    )


def told(found: Waits) -> dict[str, Any]:
    """As a result says them."""
    return {
        "pushes": found.pushes,
        "p50_ms": round(1000 * found.p50_s, 2),
        "p99_ms": round(1000 * found.p99_s, 2),
        "most_ms": round(1000 * found.most_s, 2),
    }
