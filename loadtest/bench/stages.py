"""Where a worker's CPU goes, by stage: the share of each in one worker that drains a queue.

The stages are methods that handle batches, wrapped with a clock for this one run; time in a stage that calls
another counts for the inner one only. What no stage covers is the event loop with TLS reading, the Redis client and
the kernel below them.
"""

import functools
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from engine.link import link, pool
from engine.options import EngineOptions
from engine.policy.links import LinkOptions
from engine.worker import dealer, fates, worker
from loadtest.bench.lab import Lab, wait_until
from shards.vault import read_master_key


def stage_shares(place: Lab, target: Any, jobs: int, links: int) -> dict[str, float]:
    """Drain ``jobs`` with one instrumented worker; the share of its CPU by stage, in percent."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        os._exit(_instrumented(place, target, links, writable))
    os.close(writable)
    goal = target.pushes() + jobs
    wait_until(lambda: target.pushes() >= goal, f"{jobs} pushes at the sink", within_s=300)
    os.kill(pid, signal.SIGTERM)
    with os.fdopen(readable) as report:
        shares: dict[str, float] = json.load(report)
    os.waitpid(pid, 0)
    return shares


class _Clock:
    """Exclusive time by stage: a stack of the stages that are under way."""

    def __init__(self) -> None:
        self.ns: dict[str, int] = {}
        self._stack: list[str] = []
        self._since = 0

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            self._switch()
            self._stack.append(stage)
            try:
                return function(*args, **named)
            finally:
                self._switch()
                self._stack.pop()

        setattr(owner, name, timed)

    def _switch(self) -> None:
        now = time.perf_counter_ns()
        if self._stack:
            stage = self._stack[-1]
            self.ns[stage] = self.ns.get(stage, 0) + now - self._since
        self._since = now


def _instrumented(place: Lab, target: Any, links: int, report: int) -> int:
    # the codec's class as the link knows it: benchmarks look at the engine from outside, and import no codec
    connection = vars(link)["Connection"]
    clock = _Clock()
    clock.wrap(link.Link, "_write", "write: TLS and the kernel")
    clock.wrap(connection, "send", "send: requests to frames")
    clock.wrap(connection, "receive", "receive: frames to outcomes")
    clock.wrap(fates.Fates, "outcomes", "fates: counting and verdicts")
    clock.wrap(pool.Pool, "pump", "pools: handing out jobs")
    clock.wrap(dealer, "decode_run", "claim: decoding jobs")
    options = EngineOptions(
        redis_url=place.redis.url,
        apns_production_url=f"https://localhost:{target.port}",
        apns_ca_file=target.ca_file,
        links=LinkOptions(most=links),
    )
    key = read_master_key(place.master_key_file, create=False)
    started = time.process_time_ns()
    with suppress(KeyboardInterrupt):
        worker.run_worker(options, key, 0, 1)
    total = time.process_time_ns() - started
    shares = {
        stage: round(100 * ns / total, 1) for stage, ns in sorted(clock.ns.items(), key=lambda e: -e[1])
    }
    shares["the rest: event loop, TLS reading, Redis client"] = round(100 - sum(shares.values()), 1)
    with os.fdopen(report, "w") as out:
        json.dump(shares, out)
    return 0
