"""One of several cases that are measured in turn: a Redis, an engine and a sink of its own, and jobs that are all there
before any is sent."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from redis import Redis

from loadtest.bench.cpu import cpu_s
from loadtest.bench.lab import Lab, wait_until, workers_of
from loadtest.bench.population import Sender, Stock, Stored, batches
from loadtest.bench.tenants_verdict import Drain
from loadtest.sink.start import Sink
from shards.keys import shard_keys
from shards.tenants import DEFAULT_SHARDS

LOOK_EVERY_S: Final = 0.02
DRAIN_MOST_S: Final = 600.0
SETTLED_S: Final = 10.0
# jobs that are made at once, so that the memory of a benchmark does not follow its backlog
LAID_IN_AT_ONCE: Final = 200_000


class Side:
    """The lab with its tenants. ``sent`` is what the sink should have in the end."""

    def __init__(
        self,
        place: Lab,
        senders: Sequence[Sender],
        workers: int,
        links: int,
        payload_bytes: int,
        stored: Stored = batches,
    ) -> None:
        self.place = place
        self.senders = senders
        self.stock = Stock(place, stored)
        self.redis: Any = Redis.from_url(place.redis.url)
        self.sent = 0
        self.supervisor_pid = 0
        self._workers = workers
        self._links = links
        self._payload_bytes = payload_bytes

    def __repr__(self) -> str:
        return f"<Side {len(self.senders)} tenants, {self.sent} jobs>"

    @contextmanager
    def engine(self, port: int, ca_file: Path, *more: str) -> Iterator[list[int]]:
        """Run the engine; gives the pids of its workers once they hold all shards. ``more`` options of its."""
        given = (
            *more,
            *("--apns-production-url", f"https://localhost:{port}", "--apns-ca-file", str(ca_file)),
            *("--links-max", str(self._links), "--workers", str(self._workers)),
        )
        with self.place.clarion("engine", *given) as supervisor:
            pids = workers_of(supervisor, self._workers)
            wait_until(self._is_held, "workers that hold every shard")
            self.supervisor_pid = supervisor.pid
            yield list(pids)

    def drain(self, sink: Sink, pids: Sequence[int], pushes: Iterable[tuple[Sender, bytes]]) -> Drain:
        """Drain jobs for these devices; returns when all are settled."""
        return self.drain_stock(sink, pids, self.lay_in(pushes))

    def lay_in(self, pushes: Iterable[tuple[Sender, bytes]]) -> int:
        """Put jobs for these devices into stock; returns how many."""
        coming, jobs = iter(pushes), 0
        while some := list(islice(coming, LAID_IN_AT_ONCE)):
            self.stock.lay_in(some, self._payload_bytes)
            jobs += len(some)
        return jobs

    def drain_stock(self, sink: Sink, pids: Sequence[int], jobs: int) -> Drain:
        """Drain so many jobs, which are the stock; returns when all are settled."""
        self.sent += jobs
        engine = [self.supervisor_pid, *pids]
        before_sink_s = cpu_s(sink.pids)
        before_engine_s = cpu_s(engine)
        self.stock.move_in(self.redis)
        before_redis_s, began_s = cpu_s([self.place.redis_pid]), time.monotonic()
        wait_until(
            lambda: sink.pushes() >= self.sent, f"{self.sent} pushes at the sink", DRAIN_MOST_S, LOOK_EVERY_S
        )
        seconds = time.monotonic() - began_s
        wait_until(self._is_settled, "the end of all claims", SETTLED_S)
        return Drain(
            jobs,
            seconds,
            cpu_s(engine) - before_engine_s,
            cpu_s([self.place.redis_pid]) - before_redis_s,
            cpu_s(sink.pids) - before_sink_s,
        )

    def _is_held(self) -> bool:
        leases = [shard_keys(shard).lease for shard in range(DEFAULT_SHARDS)]
        return bool(self.redis.exists(*leases) == DEFAULT_SHARDS)

    def _is_settled(self) -> bool:
        claims = [shard_keys(shard).claims for shard in range(DEFAULT_SHARDS)]
        return not self.redis.exists(*claims)
