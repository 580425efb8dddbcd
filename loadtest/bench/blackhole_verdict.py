"""What is wrong with a run of ``blackhole``: memory, work for nothing, recovery, and the pushes themselves. Pure."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from engine.options import EngineOptions
from loadtest.bench import judgement as any_run
from loadtest.bench.judgement import Judgement
from loadtest.bench.recovery import Recovery
from loadtest.bench.whereabouts import Counts
from loadtest.sink.python import STREAMS

RECOVERY_MOST_S: Final = 10.0
# Of one CPU, each worker, on average while nothing can be sent. It looks after its links and its leases then, which is
# far below 1 % (see `idle`), and whatever else it does it does for nothing.
WORKER_CPU_MOST: Final = 0.20
# A push that can't be sent must not cost Redis more than one that is: keys changed a second, against those before
REDIS_CHANGES_MOST: Final = 1.0
# buffers of one TLS connection in the event loop: what it reads into, and what it takes before it says "enough" (the
# defaults of uvloop and asyncio for TLS)
TLS_READ_BYTES: Final = 256 * 1024
TLS_WRITE_BYTES: Final = 512 * 1024
# copies of what passes to and from Redis: its answer as bytes and as strings, the settlements as a packed call
REDIS_COPIES: Final = 3
# what the allocator keeps beside what is in use
ALLOCATOR_TIMES: Final = 1.25


class Look(NamedTuple):
    """One look: Unix seconds; by worker bytes in RAM and CPU seconds so far; CPU seconds of Redis so far; keys that it
    has changed, bytes that it was sent so far, and the size of its append-only file; jobs, None if it did not say."""

    at_s: float
    rss: tuple[int, ...]
    cpu_s: tuple[float, ...]
    redis_cpu_s: float
    changes: int
    input_bytes: int
    aof_bytes: int
    counts: Counts | None


class Sizes(NamedTuple):
    """Bytes of one job: in a worker's hand with all that is made of it, as it is stored, and as it is sent."""

    in_hand: int
    encoded: int
    on_wire: int


class Course(NamedTuple):
    """A run. ``connections``: how many there had been at the hold; ``dialled``: during it; ``restarted``: some worker
    is not the one of the beginning."""

    idle: Sequence[Look]
    steady: Sequence[Look]
    held: Sequence[Look]
    after: Sequence[Look]
    connections: int
    dialled: int
    restarted: bool
    recovery: Recovery


def memory_most(options: EngineOptions, sizes: Sizes, pools: int, streams: int) -> int:
    """Bytes by which a worker may be larger than an idle one: what it may have in hand at once, by its options."""
    hand = options.in_hand_most * sizes.in_hand
    to_and_from_redis = REDIS_COPIES * options.in_hand_most * sizes.encoded
    link = TLS_READ_BYTES + TLS_WRITE_BYTES + streams * sizes.on_wire
    return int(ALLOCATOR_TIMES * (hand + to_and_from_redis + pools * options.links.most * link))


def failures(
    judgement: Judgement,
    course: Course,
    memory_most_bytes: int,
    sink: Mapping[str, int],
    survived: bool,
    exit_code: int | None,
) -> list[str]:
    """In words; empty when all is well."""
    recovery = course.recovery
    in_doubt = repeats_most(course)
    unexplained = _unexplained(judgement, course.connections)
    grown = _grown(course)
    busiest = max(_shares(course.held))
    changes, usual = _rate(course.held, _changes), _rate(course.steady, _changes)
    late = {
        "the first push": recovery.first_s,
        "a flow of the offered rate": recovery.flow_s,
        "the usual latency of new pushes": recovery.latency_s,
    }
    found = {
        f"{judgement.repeated} pushes came again, but only {in_doubt} were under way": (
            judgement.repeated > in_doubt
        ),
        f"{unexplained} pushes came again that no held connection had carried": unexplained,
        f"a worker grew by {_mib(grown)} MiB, and {_mib(memory_most_bytes)} are its most": (
            grown > memory_most_bytes
        ),
        f"a worker used {busiest:.0%} of a CPU while nothing could be sent": busiest > WORKER_CPU_MOST,
        f"Redis changed {changes:.0f} keys a second while nothing could be sent, {usual:.0f} before": (
            changes > REDIS_CHANGES_MOST * usual
        ),
        "a worker ended": course.restarted,
    }
    return [
        *any_run.failures(judgement, sink, survived, exit_code),
        *(what for what, wrong in found.items() if wrong),
        *(_too_late(what, after_s) for what, after_s in late.items() if _is_late(after_s)),
    ]


def repeats_most(course: Course) -> int:
    """The most that may come twice: what was in hands at once, as far as the connections had streams for it."""
    in_hands = max((look.counts.claimed for look in course.held if look.counts is not None), default=0)
    return min(in_hands, course.connections * STREAMS)


def told(course: Course, memory_most_bytes: int, released_s: float) -> dict[str, Any]:
    """The course as the result says it; memory and CPU by worker."""
    recovery = course.recovery
    return {
        "repeats_most": repeats_most(course),
        "recovery_s": {
            "first_push": _rounded(recovery.first_s),
            "flow": _rounded(recovery.flow_s),
            "latency": _rounded(recovery.latency_s),
            "usual_latency_ms": round(1000 * recovery.usual_s),
            "drained": _rounded(_drained_s(course, released_s)),
        },
        "worker_rss_mib": {
            "idle": [_mib(rss) for rss in course.idle[-1].rss],
            "before": [_mib(rss) for rss in course.steady[-1].rss],
            "most": [_mib(rss) for rss in _most_rss(course)],
            "after": [_mib(rss) for rss in course.after[-1].rss],
            "bound": [_mib(rss + memory_most_bytes) for rss in course.idle[-1].rss],
        },
        "phases": {
            "idle": _phase(course.idle),
            "before": _phase(course.steady),
            "held": _phase(course.held),
            "after": _phase(course.after),
        },
        "connections_before": course.connections,
        "dialled_while_held": course.dialled,
    }


def _phase(looks: Sequence[Look]) -> dict[str, Any]:
    seconds = looks[-1].at_s - looks[0].at_s
    grown = sum(max(0, b.aof_bytes - a.aof_bytes) for a, b in pairwise(looks))
    return {
        "seconds": round(seconds, 1),
        "worker_cpu_percent": [round(100 * share, 2) for share in _shares(looks)],
        "redis_cpu_percent": round(100 * _rate(looks, lambda look: look.redis_cpu_s), 2),
        "redis_changes_per_s": round(_rate(looks, _changes)),
        "redis_input_mb_per_s": round(_rate(looks, lambda look: look.input_bytes) / 1e6, 2),
        "redis_aof_mb_per_s": round(grown / seconds / 1e6, 2),
        "queued_most": max((look.counts.queued for look in looks if look.counts is not None), default=None),
    }


def _changes(look: Look) -> float:
    return look.changes


def _rate(looks: Sequence[Look], of: Callable[[Look], float]) -> float:
    """Growth a second."""
    first, last = looks[0], looks[-1]
    return (of(last) - of(first)) / (last.at_s - first.at_s)


def _shares(looks: Sequence[Look]) -> list[float]:
    """Of one CPU, by worker."""
    first, last = looks[0], looks[-1]
    seconds = last.at_s - first.at_s
    return [(b - a) / seconds for a, b in zip(first.cpu_s, last.cpu_s, strict=True)]


def _most_rss(course: Course) -> list[int]:
    return [max(rss) for rss in zip(*(look.rss for look in (*course.held, *course.after)), strict=True)]


def _grown(course: Course) -> int:
    """The most that any worker was larger than when it was idle."""
    return max(most - idle for most, idle in zip(_most_rss(course), course.idle[-1].rss, strict=True))


def _unexplained(judgement: Judgement, connections: int) -> int:
    """Repeats of which neither came by a connection that was held."""
    return sum(min(each.first_connection, each.again_connection) > connections for each in judgement.repeats)


def _drained_s(course: Course, released_s: float) -> float | None:
    """From the release until no more stood in Redis than before, for good; None: it did so at no look."""
    usual = max((look.counts.queued for look in course.steady if look.counts is not None), default=0)
    drained_s: float | None = None
    for look in reversed(course.after):
        if look.counts is not None and look.counts.queued > usual:
            break
        drained_s = look.at_s - released_s
    return drained_s


def _is_late(after_s: float | None) -> bool:
    return after_s is None or after_s > RECOVERY_MOST_S


def _too_late(what: str, after_s: float | None) -> str:
    when = "did not come back" if after_s is None else f"came back after {after_s:.1f} s"
    return f"{what} {when}; {RECOVERY_MOST_S:.0f} s are the most"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _mib(size: float) -> float:
    return round(size / 2**20, 1)
