"""The demo's judgement: what the API accepted, held against what the simulator's ledger says arrived. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Judgement(NamedTuple):
    """Counts of distinct apns-ids, and times in seconds from the API request to APNs' acceptance."""

    accepted_by_api: int
    accepted_by_apns: int
    refused: dict[str, int]
    lost: int
    repeated: int
    pushes_per_s: float
    p50_s: float
    p99_s: float


class Report(NamedTuple):
    """Everything, and apart the burst (for its rate) and the steady part (for its times)."""

    all: Judgement
    burst: Judgement
    steady: Judgement
    refused_by_api: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted_by_api": self.all.accepted_by_api,
            "accepted_by_apns": self.all.accepted_by_apns,
            "refused": sum(self.all.refused.values()),
            "refused_by_reason": self.all.refused,
            "refused_by_api": self.refused_by_api,
            "lost": self.all.lost,
            "repeated": self.all.repeated,
            "pushes_per_s": round(self.burst.pushes_per_s),
            "p50_ms": round(1000 * self.steady.p50_s, 2),
            "p99_ms": round(1000 * self.steady.p99_s, 2),
        }


def merged(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """The sums by key."""
    return {key: first.get(key, 0) + second.get(key, 0) for key in (*first, *second)}


def judge(sent_at_s: Mapping[str, float], began_s: float, entries: Iterable[Mapping[str, Any]]) -> Judgement:
    """``sent_at_s``: apns-id → when its request began; ``entries``: the ledger, one apns-id with its attempts each.

    An id is refused when APNs answered it and never with 200; lost when the API accepted it and APNs neither
    accepted nor refused it; repeated when APNs accepted it more than once.
    """
    waits: list[float] = []
    refused: dict[str, int] = {}
    accepted = repeated = known = 0
    last_s = began_s
    for entry in entries:
        if entry["apns_id"] not in sent_at_s:
            continue
        answers = [attempt for attempt in entry["attempts"] if attempt["status"]]
        good = [attempt for attempt in answers if attempt["status"] == 200]
        known += bool(answers)
        if good:
            accepted += 1
            repeated += len(good) > 1
            waits.append(good[0]["at_s"] - sent_at_s[entry["apns_id"]])
            last_s = max(last_s, good[0]["at_s"])
        elif answers:
            reason = answers[-1]["reason"]
            refused[reason] = refused.get(reason, 0) + 1
    waits.sort()
    return Judgement(
        accepted_by_api=len(sent_at_s),
        accepted_by_apns=accepted,
        refused=refused,
        lost=len(sent_at_s) - known,
        repeated=repeated,
        pushes_per_s=accepted / max(last_s - began_s, 1e-9),
        p50_s=percentile(waits, 0.50),
        p99_s=percentile(waits, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that ``share`` of the values do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
