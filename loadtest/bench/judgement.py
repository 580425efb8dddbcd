"""What became of the pushes: what the API accepted, held against what the recording sink has and what Redis still has.
Pure: the benches that break things measure, and judge by this.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from loadtest.bench.steady import ID_BYTES, Exchange
from loadtest.bench.whereabouts import Found, Place
from loadtest.demo.verdict import percentile
from loadtest.sink.recorder import Piece

# an id holds the ms at which the API made it: between the sending of its batch and the end of the wait for an answer
STAMP_SLACK_MS = 50
# what was on its way when something broke comes a little later: through the relay, and to a sink that waits for a CPU
ON_ITS_WAY_S = 0.5


class Repeat(NamedTuple):
    """An acceptance of an id that had been accepted before. Unix seconds and connections of the first and of this."""

    first_s: float
    again_s: float
    first_connection: int = 0
    again_connection: int = 0


class Judgement(NamedTuple):
    """Pushes, but for ``in_doubt_batches``. Times in seconds from when a batch was due to its first acceptance.

    What the API accepted and the sink never had is ``queued`` (by place), ``dead`` (by the letter's reason) or
    ``lost``: nowhere in Redis. ``repeated`` counts surplus acceptances, so an id that came three times counts for two;
    ``repeated_ids`` counts ids. ``strangers`` are recorded ids that the API never told anyone; ``unexplained`` are
    those among them that can't belong to a batch in doubt, and those by which they are more than such batches had
    pushes.
    """

    accepted_by_api: int
    recorded: int
    lost: int
    queued: Mapping[Place, int]
    dead: Mapping[str, int]
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


def judge(sent: Iterable[Exchange], record: Iterable[Piece], in_redis: Iterable[Found] = ()) -> Judgement:
    """``in_redis``: what was still there when the gateway had ended."""
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
    first: dict[bytes, tuple[float, int]] = {}
    repeats: list[Repeat] = []
    repeated_ids: set[bytes] = set()
    waits: list[float] = []
    strangers: list[bytes] = []
    last_s = gap_s = 0.0
    for piece in record:
        gap_s = max(gap_s, piece.at_s - last_s) if last_s else 0.0
        last_s = max(last_s, piece.at_s)
        now = (piece.at_s, piece.connection)
        for apns_id in piece.ids:
            if apns_id in first:
                (first_s, connection) = first[apns_id]
                repeats.append(Repeat(first_s, piece.at_s, connection, piece.connection))
                repeated_ids.add(apns_id)
                continue
            first[apns_id] = now
            due = due_s.get(apns_id)
            if due is None:
                strangers.append(apns_id)
            else:
                waits.append(piece.at_s - due)
    waits.sort()
    outside = sum(not _in_some_window(apns_id, doubts) for apns_id in strangers)
    missing = due_s.keys() - first.keys()
    queued, dead = _standing(missing, in_redis)
    return Judgement(
        accepted_by_api=counts["accepted"],
        recorded=len(first),
        lost=len(missing) - queued.total() - dead.total(),
        queued=queued,
        dead=dead,
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
        p50_s=percentile(waits, 0.50),
        p99_s=percentile(waits, 0.99),
    )


def failures(
    judgement: Judgement, sink: Mapping[str, int], survived: bool, exit_code: int | None
) -> list[str]:
    """What is wrong with any run, in words; ``sink`` is what the recording sink counted."""
    stuck = judgement.queued.get(Place.READY, 0) + judgement.queued.get(Place.CLAIMED, 0)
    stuck += judgement.queued.get(Place.DUE, 0)
    buried = ", ".join(f"{number} {reason}" for reason, number in judgement.dead.items())
    found = {
        f"{judgement.lost} pushes that the API accepted are neither at the sink nor in Redis": judgement.lost,
        f"{stuck} pushes had not been sent at the end, though their time had come": stuck,
        f"pushes that nothing was wrong with were given up: {buried}": judgement.dead,
        f"{judgement.unexplained} recorded ids belong to no batch in doubt": judgement.unexplained,
        f"{sink['misread']} requests could not be read by the sink": sink["misread"],
        "the sink compared no request with hpack": not sink["compared"],
        f"the gateway ended by itself with code {exit_code}": not survived,
        f"the gateway's exit code after SIGTERM is {exit_code}": survived and exit_code != 0,
    }
    return [what for what, wrong in found.items() if wrong]


def told(judgement: Judgement) -> dict[str, Any]:
    """A judgement as a bench's result says it."""
    span_s = judgement.last_recorded_s - judgement.first_due_s
    return {
        "lost": judgement.lost,
        "queued": {place.value: pushes for place, pushes in judgement.queued.items()},
        "dead": dict(judgement.dead),
        "repeated": judgement.repeated,
        "repeated_ids": judgement.repeated_ids,
        "accepted_by_api": judgement.accepted_by_api,
        "recorded": judgement.recorded,
        "in_doubt_batches": judgement.in_doubt_batches,
        "in_doubt_pushes": judgement.in_doubt_pushes,
        "recorded_of_those": judgement.strangers,
        "refused_503": judgement.refused_503,
        "unsent": judgement.unsent,
        "pushes_per_s": round(judgement.recorded / span_s) if span_s > 0 else 0,
        "p50_ms": round(1000 * judgement.p50_s, 1),
        "p99_ms": round(1000 * judgement.p99_s, 1),
        "longest_gap_s": round(judgement.longest_gap_s, 2),
    }


def by_fault(repeats: Iterable[Repeat], faults_at_s: Sequence[float]) -> tuple[list[int], int]:
    """How many repeats each fault (times just before it, ascending) is the cause of, and how many none is.

    Claims are settled within moments, so the cause is taken to be the first fault after the push had come or left. A
    repeat that came before any has no excuse.
    """
    counts = [0] * len(faults_at_s)
    without = 0
    for repeat in repeats:
        at = bisect_left(faults_at_s, repeat.first_s - ON_ITS_WAY_S)
        if at == len(faults_at_s) or faults_at_s[at] > repeat.again_s:
            without += 1
        else:
            counts[at] += 1
    return counts, without


def made_ms(apns_id: bytes) -> int:
    """The Unix ms in a UUID of version 7 (RFC 9562, 5.7)."""
    return int(apns_id[:8] + apns_id[9:13], 16)


def _standing(missing: Set[bytes], in_redis: Iterable[Found]) -> tuple[Counter[Place], Counter[str]]:
    """Where the missing pushes stand: those still queued by place, the dead by reason; each once."""
    places = {found.apns_id: found for found in in_redis if found.apns_id in missing}
    queued: Counter[Place] = Counter()
    dead: Counter[str] = Counter()
    for found in places.values():
        if found.place is Place.DEAD:
            dead[found.reason] += 1
        else:
            queued[found.place] += 1
    return queued, dead


def _in_some_window(apns_id: bytes, windows: list[tuple[float, float]]) -> bool:
    at_ms = made_ms(apns_id)
    return any(1000 * a - STAMP_SLACK_MS <= at_ms <= 1000 * b + STAMP_SLACK_MS for a, b in windows)
