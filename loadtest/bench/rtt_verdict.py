"""How much of what APNs' windows allow was used over long ways, and by how many links. Pure.

A connection's window of 65,535 bytes is returned when more than half of it is used. So whatever was not enough for
another half lies still at APNs, and each round trip brings one half: 32,768 bytes. (Two halves and a little would have
to be under way for two of them, and are more than the window.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

RETURNED_BYTES: Final = 32_768
SHARE_LEAST: Final = 0.85
# of all CPUs: then they are what binds, and not the windows
BUSY: Final = 0.9


class Look(NamedTuple):
    """Seconds of a monotonic clock, pushes accepted so far, connections open; CPU seconds of the machine so far."""

    at_s: float
    pushes: int
    links: int
    worked_s: float


class Case(NamedTuple):
    """One way and payload. ``looks``: the first with the first push, the last before the queue was empty; ``first_s``:
    so many seconds are for the links to grow, or half of the time if that is shorter. ``jobs``: all that stood in the
    queue, and ``came`` in the end."""

    rtt_ms: float
    payload_bytes: int
    jobs: int
    came: int
    first_s: float
    looks: Sequence[Look]
    cpus: int

    @property
    def allowed_per_s(self) -> float:
        """What one link's window allows; without bound when the way takes no time."""
        if not self.rtt_ms:
            return float("inf")
        return RETURNED_BYTES / self.payload_bytes / (self.rtt_ms / 1000)


class Use(NamedTuple):
    """Of the part that counts: pushes a second, links on average, and the share of what their windows allow; and the
    share of the machine's CPUs that was busy."""

    per_s: float
    links: float
    share: float
    busy: float


def use(case: Case) -> Use:
    """Raises ValueError when there are no two looks to compare."""
    begun_s, ended_s = case.looks[0].at_s, case.looks[-1].at_s
    from_s = begun_s + min(case.first_s, (ended_s - begun_s) / 2)
    counted = [look for look in case.looks if look.at_s >= from_s]
    if len(counted) < 2:
        raise ValueError(f"{case.jobs} jobs were too few for a way of {case.rtt_ms:g} ms")
    first, last = counted[0], counted[-1]
    seconds = last.at_s - first.at_s
    per_s = (last.pushes - first.pushes) / seconds
    links = sum(look.links for look in counted) / len(counted)
    busy = (last.worked_s - first.worked_s) / (seconds * case.cpus)
    return Use(per_s, links, per_s / (links * case.allowed_per_s), busy)


def told(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """As the result says them."""
    return [_told(case, use(case)) for case in cases]


def _told(case: Case, found: Use) -> dict[str, Any]:
    return {
        "rtt_ms": case.rtt_ms,
        "payload_bytes": case.payload_bytes,
        "pushes_per_s": round(found.per_s),
        "links": round(found.links, 1),
        "allowed_per_s_and_link": round(case.allowed_per_s, 1) if case.rtt_ms else None,
        "share_of_windows": round(found.share, 3) if case.rtt_ms else None,
        "cpus_busy": round(found.busy, 2),
        "jobs": case.jobs,
        "lost": max(0, case.jobs - case.came),
        "repeated": max(0, case.came - case.jobs),
    }


def failures(cases: Sequence[Case], wanted: Mapping[tuple[float, int], float]) -> list[str]:
    """In words; ``wanted``: pushes a second by round trip in ms and payload. The share is not judged where the CPUs are
    what binds."""
    wrong = []
    for case in cases:
        found = use(case)
        name = f"{case.rtt_ms:g} ms, {case.payload_bytes} bytes"
        if case.came != case.jobs:
            wrong.append(f"{name}: {case.came} pushes came of {case.jobs}")
        if case.rtt_ms and found.share < SHARE_LEAST and found.busy < BUSY:
            wrong.append(
                f"{name}: {found.share:.2f} of what the windows allow, and {SHARE_LEAST} are the least"
            )
        least = wanted.get((case.rtt_ms, case.payload_bytes), 0.0)
        if found.per_s < least:
            wrong.append(f"{name}: {found.per_s:.0f} a second, and {least:.0f} are the least")
    return wrong
