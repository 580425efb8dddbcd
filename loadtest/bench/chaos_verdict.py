"""The judgement of ``chaos``: what the API accepted, held against what the recording sink has. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from loadtest.bench.steady import ID_BYTES, Exchange
from loadtest.sink.recorder import Piece

# an id holds the ms at which the API made it: between the sending of its batch and the end of the wait for an answer
STAMP_SLACK_MS = 50
# a fault is noted when it is done and counted, and the sink's clock is read once a read
FAULT_SLACK_S = 0.05


class Repeat(NamedTuple):
    """An acceptance of an id that had been accepted before. Unix seconds of the first one and of this one."""

    first_s: float
    again_s: float


class Judgement(NamedTuple):
    """Pushes, but for ``in_doubt_batches``. Times in seconds from when a batch was due to its first acceptance.

    ``repeated`` counts surplus acceptances, so an id that came three times counts for two; ``repeated_ids`` counts ids.
    ``strangers`` are recorded ids that the API never told anyone; ``unexplained`` are those among them that can't
    belong to a batch in doubt, and those by which they are more than such batches had pushes.
    """

    accepted_by_api: int
    recorded: int
    lost: int
    repeated: int
    repeated_ids: int
    repeats: Sequence[Repeat]
    strangers: int
    unexplained: int
    refused_503: int
    unsent: int
    in_doubt_batches: int
    in_doubt_pushes: int
    first_due_s: float
    last_recorded_s: float
    longest_gap_s: float
    p50_s: float
    p99_s: float


def judge(sent: Iterable[Exchange], record: Iterable[Piece]) -> Judgement:
    """A push is lost when the API answered 202 and the sink never had it."""
    due_s: dict[bytes, float] = {}
    counts = {"refused": 0, "unsent": 0, "in_doubt": 0, "accepted": 0}
    doubts: list[tuple[float, float]] = []
    first_due_s = float("inf")
    for exchange in sent:
        counts[exchange.kind] += exchange.pushes
        first_due_s = min(first_due_s, exchange.due_s)
        if exchange.kind == "in_doubt":
            doubts.append((exchange.due_s, exchange.ended_s))
        for at in range(0, len(exchange.ids), ID_BYTES):
            due_s[exchange.ids[at : at + ID_BYTES]] = exchange.due_s
    first_s: dict[bytes, float] = {}
    repeats: list[Repeat] = []
    repeated_ids: set[bytes] = set()
    waits: list[float] = []
    strangers: list[bytes] = []
    last_s = gap_s = 0.0
    for piece in record:
        gap_s = max(gap_s, piece.at_s - last_s) if last_s else 0.0
        last_s = max(last_s, piece.at_s)
        for apns_id in piece.ids:
            first = first_s.get(apns_id)
            if first is not None:
                repeats.append(Repeat(first, piece.at_s))
                repeated_ids.add(apns_id)
                continue
            first_s[apns_id] = piece.at_s
            due = due_s.get(apns_id)
            if due is None:
                strangers.append(apns_id)
            else:
                waits.append(piece.at_s - due)
    waits.sort()
    outside = sum(not _in_some_window(apns_id, doubts) for apns_id in strangers)
    return Judgement(
        accepted_by_api=counts["accepted"],
        recorded=len(first_s),
        lost=len(due_s) - len(waits),
        repeated=len(repeats),
        repeated_ids=len(repeated_ids),
        repeats=repeats,
        strangers=len(strangers),
        unexplained=max(outside, len(strangers) - counts["in_doubt"]),
        refused_503=counts["refused"],
        unsent=counts["unsent"],
        in_doubt_batches=len(doubts),
        in_doubt_pushes=counts["in_doubt"],
        first_due_s=first_due_s,
        last_recorded_s=last_s,
        longest_gap_s=gap_s,
        p50_s=_percentile(waits, 0.50),
        p99_s=_percentile(waits, 0.99),
    )


def by_fault(repeats: Iterable[Repeat], faults_at_s: Sequence[float]) -> tuple[list[int], int]:
    """How many repeats each fault (times ascending) is the cause of, and how many none is.

    Claims are settled within moments, so the cause is taken to be the first fault after the push had come. A repeat
    that came before any has no excuse.
    """
    counts = [0] * len(faults_at_s)
    without = 0
    for first_s, again_s in repeats:
        at = bisect_left(faults_at_s, first_s - FAULT_SLACK_S)
        if at == len(faults_at_s) or faults_at_s[at] > again_s + FAULT_SLACK_S:
            without += 1
        else:
            counts[at] += 1
    return counts, without


def made_ms(apns_id: bytes) -> int:
    """The Unix ms in a UUID of version 7 (RFC 9562, 5.7)."""
    return int(apns_id[:8] + apns_id[9:13], 16)


def _in_some_window(apns_id: bytes, windows: list[tuple[float, float]]) -> bool:
    at_ms = made_ms(apns_id)
    return any(1000 * a - STAMP_SLACK_MS <= at_ms <= 1000 * b + STAMP_SLACK_MS for a, b in windows)


def _percentile(ordered: list[float], share: float) -> float:
    """The least value that ``share`` of the values do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
