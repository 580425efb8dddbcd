"""How much of everything a rate needs, from what this project's benchmarks measured. Pure.

The costs are CPU µs a push on one CPU of a virtual EPYC, rounded up from ``scripts/bench e2e`` (docs/results/e2e.json);
another machine has others, and whoever has measured them gives them. Processes are planned to be busy for two thirds.
"""

import math
from typing import Final, NamedTuple

from ingest.crowd import SPARED_MOST
from runtime.options import OptionError

BUSY: Final = 2 / 3
# per push, beyond its payload: frame headers, the path with the device token, apns-id, what changes in the header table
HEADER_BYTES: Final = 150
# APNs' connection window, which is what the simulator and Apple begin with (RFC 9113, section 6.9.2)
WINDOW_BYTES: Final = 65_535
STREAMS: Final = 1_000
# used_memory_dataset of 50,000 jobs with payloads of 100, 300, 1,000 and 4,000 bytes: 268, 487, 1,179 and 5,172 a job
JOB_BYTES: Final = 180
JOB_TIMES: Final = 1.25
# a claim is a copy, and so is what the append-only file has of it
FILE_TIMES: Final = 3.0
# of a worker, for Redis, logs and dials
SPARE_DESCRIPTORS: Final = 64


class Costs(NamedTuple):
    """CPU µs for a push."""

    engine: float = 9.0
    redis: float = 4.0
    ingest: float = 4.5


IN_BATCHES: Final = Costs()
# few at a time, so that what a batch costs falls on few
ONE_BY_ONE: Final = Costs(engine=27.0, redis=21.0, ingest=60.0)


class Need(NamedTuple):
    """What is asked for. ``per_s`` pushes a second to ``credentials`` in turn, over a way of ``rtt_s`` there and back;
    ``backlog`` pushes may stand in Redis; ``callers`` connections to the API."""

    per_s: float
    rtt_s: float
    payload_bytes: int
    credentials: int = 1
    backlog: int = 1_000_000
    callers: int = 256
    singles: bool = False


class Size(NamedTuple):
    """Processes; links for one credential in one worker; descriptors of one worker and of one ingest process; MiB of
    Redis for the backlog; bytes a second that the append-only file grows by; CPUs that all of it keeps busy."""

    workers: int
    ingest_processes: int
    links: int
    worker_descriptors: int
    ingest_descriptors: int
    redis_mib: int
    file_bytes_per_s: int
    cpus: float
    redis_busy: float


def size(need: Need, costs: Costs | None = None) -> Size:
    """``costs``: those of another machine. Raises OptionError for what can't be asked."""
    for name, value, least, most in (
        ("rate", need.per_s, 0.001, 1e9),
        ("rtt", need.rtt_s, 0, 60),
        ("payload", need.payload_bytes, 1, 5_120),
        ("credentials", need.credentials, 1, 1_000_000),
        ("backlog", need.backlog, 0, 10**12),
        ("callers", need.callers, 1, 10_000_000),
    ):
        # which no number is, if it is none
        if not least <= value <= most:
            raise OptionError(name, f"is {value:g}; write a number from {least:g} to {most:g}")
    costs = costs or (ONE_BY_ONE if need.singles else IN_BATCHES)
    workers = _processes(need.per_s, costs.engine)
    ingest = _processes(need.per_s, costs.ingest)
    links = max(1, math.ceil(need.per_s / need.credentials / workers / per_link(need)))
    job_bytes = JOB_BYTES + JOB_TIMES * need.payload_bytes
    return Size(
        workers=workers,
        ingest_processes=ingest,
        links=links,
        worker_descriptors=links * need.credentials + SPARE_DESCRIPTORS,
        ingest_descriptors=math.ceil(need.callers / ingest) + SPARED_MOST,
        redis_mib=math.ceil(need.backlog * job_bytes / 2**20),
        file_bytes_per_s=round(FILE_TIMES * need.per_s * job_bytes),
        cpus=need.per_s * sum(costs) / 1e6,
        redis_busy=need.per_s * costs.redis / 1e6,
    )


def per_link(need: Need) -> float:
    """Pushes a second that one link takes: as many as its streams or its window hold, for each round trip."""
    if need.rtt_s == 0:
        return math.inf
    return min(STREAMS, WINDOW_BYTES / (need.payload_bytes + HEADER_BYTES)) / need.rtt_s


def _processes(per_s: float, cost_us: float) -> int:
    return max(1, math.ceil(per_s * cost_us / 1e6 / BUSY))
