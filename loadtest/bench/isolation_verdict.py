"""What a tenant whose credential fails cost its neighbour and APNs, and how it came back. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from engine.policy.links import LinkOptions
from loadtest.bench import judgement as any_run
from loadtest.bench.judgement import Judgement
from loadtest.bench.steady import ID_BYTES, Exchange
from loadtest.bench.waits import Span, Waits
from loadtest.bench.waits import told as told_waits
from loadtest.sink.recorder import Piece

# the neighbour's p99, compared with that of the time when all was well
P99_TIMES_MOST: Final = 1.5
# from the moment at which an operator has put it right
RESUME_MOST_S: Final = 10.0
MINUTE_S: Final = 60.0


class Phase(StrEnum):
    """What becomes of A, in this order; B is well all the time."""

    WELL = "well"
    BLACK_HOLE = "black_hole"  # its connections carry nothing and don't end
    RELEASED = "released"  # new ones are well again
    REVOKED = "revoked"  # APNs answers 403 to its key
    REPLACED = "replaced"  # it has another key, and APNs knows it


# an operator, or time, has put it right at the beginning of these
MENDED: Final = (Phase.RELEASED, Phase.REPLACED)


class Attempt(NamedTuple):
    """A request that came to APNs: Unix seconds; status 0 for one that had no answer."""

    at_s: float
    apns_id: bytes
    connection: int
    team: str
    status: int


class Resumed(NamedTuple):
    """Seconds from a phase's beginning to the first push that was accepted, and to the last of those that had been due
    before; None: not at all, or there were none."""

    first_s: float | None
    drained_s: float | None


class Course(NamedTuple):
    """A run by phase. ``waits``: of B; ``opened``: connections that carried a push of A or B, by their first push;
    ``silent``: connections that carried none, of whomever; ``allowed``: the most that policy lets A open;
    ``refused``: pushes of A; ``resumed``: of A, for the phases that put it right."""

    seconds: float
    waits: Mapping[Phase, Waits]
    opened: Mapping[Phase, tuple[int, int]]
    silent: Mapping[Phase, int]
    allowed: Mapping[Phase, int]
    refused: Mapping[Phase, int]
    resumed: Mapping[Phase, Resumed]


def attempts(entries: Iterable[Mapping[str, Any]]) -> list[Attempt]:
    """The simulator's ledger in order of time."""
    found = [
        Attempt(each["at_s"], entry["apns_id"].encode(), each["connection"], each["team"], each["status"])
        for entry in entries
        for each in entry["attempts"]
    ]
    return sorted(found)


def record(made: Iterable[Attempt]) -> Iterator[Piece]:
    """What was accepted, as a recording sink would have it."""
    return (Piece(each.at_s, each.connection, [each.apns_id]) for each in made if each.status == 200)


def opened(made: Iterable[Attempt], team: str, span: Span) -> int:
    """Connections whose first push came in the span, and was this team's."""
    first: dict[int, Attempt] = {}
    for each in made:
        first.setdefault(each.connection, each)
    return sum(each.team == team and span.holds(each.at_s) for each in first.values())


def refused(made: Iterable[Attempt], team: str, span: Span) -> int:
    """Pushes of the team that were answered otherwise than with 200."""
    return sum(each.team == team and each.status not in (0, 200) and span.holds(each.at_s) for each in made)


def resumed(sent: Iterable[Exchange], first_s: Mapping[bytes, float], sender: int, span: Span) -> Resumed:
    """How a sender came back in the span, if at all."""
    came_s: list[float] = []
    late_s: list[float] = []
    for exchange in sent:
        for at in range(0, len(exchange.ids), ID_BYTES):
            came = first_s.get(exchange.ids[at : at + ID_BYTES], float("inf"))
            if exchange.sender == sender and came >= span.begin_s:
                came_s.append(came - span.begin_s)
                if exchange.due_s < span.begin_s:
                    late_s.append(came - span.begin_s)
    first, last = min(came_s, default=float("inf")), max(late_s, default=float("inf"))
    return Resumed(first if first < span.seconds else None, last if last < float("inf") else None)


def dials_most(links: LinkOptions, seconds: float) -> int:
    """The most connections that one worker opens for a credential whose connections all fail before they are of use.

    Two at once: one when the first is full, one in place of a link that ended after long use. Then each waits for at
    least half of a delay that doubles.
    """
    waited_s, dials = 0.0, 2
    while (
        waited_s := waited_s + min(links.redial_most_s, links.redial_first_s * 2.0 ** (dials - 2)) / 2
    ) <= seconds:
        dials += 1
    return dials


def tries_most(links: LinkOptions, seconds: float) -> int:
    """The same for a credential that APNs answers 403: one to see that it is not the connection, then one for each
    pause that ends; the next pause is twice as long."""
    waited_s, tries = 0.0, 1
    while (
        waited_s := waited_s + min(links.pause.most_s, links.pause.first_s * 2.0 ** (tries - 1))
    ) <= seconds:
        tries += 1
    return tries


def failures(
    judgement: Judgement, course: Course, ledger: Mapping[str, Any], survived: bool, exit_code: int | None
) -> list[str]:
    """In words; empty when all is well. ``ledger``: the simulator's counts."""
    found = any_run.failures(
        judgement,
        {"misread": sum(ledger["protocol_errors"].values()), "compared": ledger["attempts"]},
        survived,
        exit_code,
    )
    if ledger["teams_per_connection_max"] > 1:
        found.append("a connection carried pushes of two teams")
    for phase in Phase:
        times = p99_times(course, phase)
        if not times <= P99_TIMES_MOST:
            found.append(f"{phase}: p99 of B was {times:.2f} times its usual; {P99_TIMES_MOST} are the most")
        dials = course.opened[phase][0] + course.silent[phase]
        if dials > course.allowed[phase]:
            found.append(f"{phase}: {dials} connections for A; policy allows {course.allowed[phase]}")
    for phase in MENDED:
        first_s = course.resumed[phase].first_s
        if first_s is None or first_s > RESUME_MOST_S:
            when = "did not come back" if first_s is None else f"came back after {first_s:.1f} s"
            found.append(f"{phase}: A {when}; {RESUME_MOST_S:.0f} s are the most")
    return found


def p99_times(course: Course, phase: Phase) -> float:
    return course.waits[phase].p99_s / course.waits[Phase.WELL].p99_s


def told(course: Course) -> dict[str, Any]:
    """The course as the result says it."""
    return {phase.value: _phase(course, phase) for phase in Phase}


def _phase(course: Course, phase: Phase) -> dict[str, Any]:
    of_a, of_b = course.opened[phase]
    said = {
        "b": told_waits(course.waits[phase]),
        "b_p99_times": round(p99_times(course, phase), 2),
        "connections_per_minute": {
            "a": _per_minute(of_a, course.seconds),
            "b": _per_minute(of_b, course.seconds),
            "without_a_push": _per_minute(course.silent[phase], course.seconds),
            "policy_allows_a": _per_minute(course.allowed[phase], course.seconds),
        },
        "refused_of_a": course.refused[phase],
    }
    if phase in MENDED:
        first_s, drained_s = course.resumed[phase]
        said |= {"a_flows_after_s": _rounded(first_s), "a_drained_after_s": _rounded(drained_s)}
    return said


def _per_minute(count: int, seconds: float) -> float:
    return round(count * MINUTE_S / seconds, 1)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
