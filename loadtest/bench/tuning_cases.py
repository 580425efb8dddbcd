"""How each setting of the profiles is measured, and why some are not: one row for each.

A case has the value that a host might have instead, and a function that makes one round with a value and gives a number
for each of the case's figures.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from loadtest.bench.namespace import measured_inside
from loadtest.bench.tuning_callers import crowd
from loadtest.bench.tuning_redis import BATCH_ITEMS, admitted, copied_in_rewrite, drained, kept_after_kill
from loadtest.bench.tuning_verdict import Figure
from loadtest.sink.protocol import Windows
from tuning.profile import Kind

RTT_MS: Final = 100.0
LOSS: Final = 0.01
CROWD: Final = 2000
CALLERS: Final = 1000
UPLOAD_PUSHES: Final = 2000
REST_S: Final = 1.5
RATE_S: Final = 2.0
LOSSY_LINKS: Final = 8
PORTS_LINKS: Final = 300
DRAIN_JOBS: Final = 200_000
KILLED_JOBS: Final = 20_000
REWRITTEN_JOBS: Final = 200_000
STORED_JOBS: Final = 2_000
MEMORY_MB: Final = 16
MEMORY_BATCHES: Final = 100
HUGE_PAGES: Final = "always"

_CALLERS: Final = "loadtest.bench.tuning_callers"
_LINKS: Final = "loadtest.bench.tuning_links"
# a host may have any as its own; this is Linux'
_CONGESTION: Final = "cubic"

Measure = Callable[[str, int], Sequence[float]]


class Case(NamedTuple):
    """``measure``: a round with a value; it is also given the round's number, as a seed. ``each``: of several values
    that would do all are measured, not the first alone."""

    kind: Kind
    name: str
    without: str
    figures: Sequence[Figure]
    measure: Measure
    each: bool = False


def _inside(module: str, measure: str, name: str, value: str, **given: Any) -> Sequence[float]:
    return measured_inside(module, measure, {name: value}, **given)


def _nofile(value: str, _: int) -> Sequence[float]:
    return crowd(CROWD, int(value))


def _somaxconn(value: str, _: int) -> Sequence[float]:
    return _inside(_CALLERS, "late", "net.core.somaxconn", value, callers=CALLERS, rtt_ms=0.0, pauses=True)


def _syn_backlog(value: str, _: int) -> Sequence[float]:
    return [
        late
        for cookies in ("1", "0")
        for late in measured_inside(
            _CALLERS,
            "late",
            {"net.ipv4.tcp_max_syn_backlog": value, "net.ipv4.tcp_syncookies": cookies},
            callers=CALLERS,
            rtt_ms=RTT_MS,
            pauses=False,
        )
    ]


def _slow_start(congestion: str, value: str, _: int) -> Sequence[float]:
    name, given = "net.ipv4.tcp_slow_start_after_idle", {"rest_s": REST_S, "congestion": congestion}
    return _inside(_LINKS, "burst_after_rest", name, value, rtt_ms=RTT_MS, **given)


def _rmem(value: str, _: int) -> Sequence[float]:
    return _inside(_CALLERS, "upload", "net.ipv4.tcp_rmem", value, rtt_ms=RTT_MS, pushes=UPLOAD_PUSHES)


def _rate(sysctls: Mapping[str, str], **given: Any) -> Sequence[float]:
    plain = {"loss": 0.0, "seed": 1, "links": 1, "windows": "apple", "congestion": _CONGESTION}
    return measured_inside(_LINKS, "rate", sysctls, rtt_ms=RTT_MS, seconds=RATE_S, **{**plain, **given})


def _wmem(value: str, _: int) -> Sequence[float]:
    sysctls = {"net.ipv4.tcp_wmem": value}
    # reno, since cubic takes packets that come late on a busy machine for a way that is full, and stays slow
    rates = (_rate(sysctls, windows=windows, congestion="reno") for windows in Windows)
    return [each for [each] in rates]


def _congestion(value: str, turn: int) -> Sequence[float]:
    return _rate({}, congestion=value, loss=LOSS, seed=turn, links=LOSSY_LINKS)


def _ports(value: str, _: int) -> Sequence[float]:
    return _inside(_LINKS, "opened", "net.ipv4.ip_local_port_range", value, links=PORTS_LINKS)


def _appendonly(value: str, _: int) -> Sequence[float]:
    settings = {"appendonly": value}
    return [KILLED_JOBS - kept_after_kill(settings, KILLED_JOBS), drained(settings, DRAIN_JOBS)]


def _save(value: str, _: int) -> Sequence[float]:
    # the rule asks for a snapshot once a minute, and a drain is over within seconds: so it is asked for here
    return [drained({"save": value}, DRAIN_JOBS, snapshot=bool(value))]


def _eviction(value: str, _: int) -> Sequence[float]:
    found = admitted({"maxmemory": f"{MEMORY_MB}mb", "maxmemory-policy": value}, MEMORY_BATCHES)
    return [max(0, found.accepted - found.stored), found.refused]


def _huge_pages(value: str, _: int) -> Sequence[float]:
    # the host stays as it is: Redis asks for what "always" would give it, or switches it off for itself
    return [copied_in_rewrite(REWRITTEN_JOBS, STORED_JOBS, value == HUGE_PAGES) / 2**20]


_OF_SYSCTLS: Final = partial(Case, Kind.SYSCTL)
_OF_REDIS: Final = partial(Case, Kind.REDIS)
_FAR: Final = f"over {RTT_MS:.0f} ms"

CASES: Final[Sequence[Case]] = (
    Case(
        Kind.LIMIT,
        "nofile",
        "1024",
        [Figure(f"callers of {CROWD:,} at once that an ingest process serves", "callers", "more")],
        _nofile,
    ),
    _OF_SYSCTLS(
        "net.core.somaxconn",
        "128",
        [
            Figure(
                f"callers of {CALLERS:,} that wait for more than 1 s when all come while ingest stands still for "
                "0.3 s",
                "callers",
                "less",
            )
        ],
        _somaxconn,
    ),
    _OF_SYSCTLS(
        "net.ipv4.tcp_max_syn_backlog",
        "128",
        [
            Figure(f"callers of {CALLERS:,} at once {_FAR} that wait for more than 1 s", "callers", "less"),
            Figure("the same without SYN cookies (tcp_syncookies 0)", "callers", "less"),
        ],
        _syn_backlog,
    ),
    _OF_SYSCTLS(
        "net.ipv4.tcp_slow_start_after_idle",
        "1",
        [Figure(f"a burst of 64 KB {_FAR} on a link that rested for {REST_S:g} s, with cubic", "ms", "less")],
        partial(_slow_start, _CONGESTION),
    ),
    _OF_SYSCTLS(
        "net.ipv4.tcp_slow_start_after_idle",
        "1",
        [Figure("the same with bbr", "ms")],
        partial(_slow_start, "bbr"),
    ),
    _OF_SYSCTLS(
        "net.ipv4.tcp_rmem",
        "4096 65536 65536",
        [Figure(f"a batch of {UPLOAD_PUSHES:,} pushes from a caller {_FAR}, until its 202", "ms", "less")],
        _rmem,
    ),
    _OF_SYSCTLS(
        "net.ipv4.tcp_wmem",
        "4096 16384 65536",
        [
            Figure(f"one link {_FAR}, where the peer's windows have no bounds", "pushes/s", "more"),
            Figure("the same, where they are as small as Apple's", "pushes/s"),
        ],
        _wmem,
    ),
    _OF_SYSCTLS(
        "net.ipv4.tcp_congestion_control",
        "reno",
        [
            Figure(
                f"each of {LOSSY_LINKS} links {_FAR} that lose {100 * LOSS:g} % of packets",
                "pushes/s",
                "more",
            )
        ],
        _congestion,
        each=True,
    ),
    _OF_SYSCTLS(
        "net.ipv4.ip_local_port_range",
        "20000 20099",
        [Figure(f"links of {PORTS_LINKS} to one address that can be opened", "links", "more")],
        _ports,
    ),
    Case(
        Kind.FILE,
        "/sys/kernel/mm/transparent_hugepage/enabled",
        HUGE_PAGES,
        # since 5.8 Linux splits a huge page that is shared, and copies 4 KB of it (commit 3917c80280c9)
        [
            Figure(
                f"what Redis copies in a rewrite with {REWRITTEN_JOBS:,} pushes waiting, while {STORED_JOBS:,} more "
                "are stored",
                "MiB",
                "less",
            )
        ],
        _huge_pages,
    ),
    _OF_REDIS(
        "appendonly",
        "no",
        [
            Figure(f"stored pushes of {KILLED_JOBS:,} lost when Redis is killed", "pushes", "less"),
            Figure("CPU of Redis in a drain", "µs a push"),
        ],
        _appendonly,
    ),
    _OF_REDIS(
        "maxmemory-policy",
        "allkeys-lru",
        [
            Figure(
                f"pushes answered with 202 and lost, of {BATCH_ITEMS * MEMORY_BATCHES:,} into {MEMORY_MB} MB of memory",
                "pushes",
                "less",
            ),
            Figure("pushes refused with 503 instead", "pushes"),
        ],
        _eviction,
    ),
    _OF_REDIS(
        "save",
        "3600 1 300 100 60 10000",
        [
            Figure(
                "CPU of Redis and its forks in a drain with the snapshot that is due each minute",
                "µs a push",
                "less",
            ),
        ],
        _save,
    ),
)

_SYSTEMD: Final = "it takes systemd to run the gateway as a service"
WHY_NOT: Final[Mapping[tuple[Kind, str], str]] = {
    (Kind.SYSCTL, "vm.overcommit_memory"): (
        "it is the whole host's, and a fork is refused only where memory is nearly gone"
    ),
    (Kind.SYSCTL, "vm.swappiness"): "it is the whole host's, and swaps only where memory is nearly gone",
    (Kind.SYSTEMD, "LimitNOFILE"): "it sets what nofile is measured for",
    (Kind.SYSTEMD, "KillMode"): _SYSTEMD,
    (Kind.SYSTEMD, "TimeoutStopSec"): _SYSTEMD,
    (Kind.SYSTEMD, "Restart"): _SYSTEMD,
    (Kind.SYSTEMD, "RestartPreventExitStatus"): _SYSTEMD,
}
