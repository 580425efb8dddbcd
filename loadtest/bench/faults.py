"""What ``chaos`` breaks, when, and how many jobs were in hands at that moment.

One seeded source of chance draws the moments (the intervals are exponential, so a kill may follow on another's
heels), the kinds by their weights and the victims. The order of faults is a matter of the seed alone; what each
meets is not, since processes run as the machine lets them.

How many pushes may come twice is counted at each fault, in Redis, in one script, so that the figure is of one moment:

- a worker: the jobs of the claims that stand right *after* its SIGKILL in shards of its lease: what it held, no less;
- Redis: those of all right before, which is the last moment at which it can be asked, and what the offered rate may
  have added since;
- a link: the streams that it may have open, or the jobs of all claims if those are fewer;
- ingest: none: a request that was cut off may be stored, but nobody sends it again;
- the supervisor: none: its children learn of it from the kernel and stop in order, which lets what is under way be
  answered.

It is an upper bound: most of those jobs are still to be sent, and a claim's list holds a line for each run of jobs
beside the jobs.

A child that has died more often than the supervisor's limit in a window makes the gateway give up, as it should;
so nobody is killed more often than that here. The supervisor itself has nobody above it: when its children have ended,
it is started again here, as systemd would.
"""

import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from engine.policy.restart import RestartOptions
from loadtest.bench.gateway import ORPHANS_S, Setting, ended
from loadtest.bench.lab import LAB_SPREAD, device_token
from loadtest.bench.whereabouts import Whereabouts
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import base_shard, device_shard
from shards.tenants import DEFAULT_SHARDS

Kind = Literal["worker", "ingest", "redis", "link", "supervisor"]

REDIS_DOWN_S: Final = (0.0, 1.5)
_LOOK_S: Final = 0.02
_TORN_JOBS: Final = 50
_RESTART: Final = RestartOptions()


class Fault(NamedTuple):
    """One thing broken. ``at_s`` is Unix time, just before it; ``in_flight`` is None when it could not be read.

    ``fsync_pending``: an fsync of Redis was under way in the background, so writes may have been put off. ``down_s``:
    until what this bench starts again itself was back. ``orphans``: children that did not end with their supervisor.
    """

    at_s: float
    kind: Kind
    victim: str
    in_flight: int | None
    fsync_pending: bool = False
    down_s: float = 0.0
    orphans: int = 0


class Faults:
    """Breaks things, one after the other."""

    def __init__(
        self,
        around: Setting,
        store: Whereabouts,
        *,
        seed: int,
        every_s: float,
        weights: Mapping[Kind, float],
        torn_share: float,
        streams: int,
        per_s: int,
    ) -> None:
        self.done: list[Fault] = []
        self._around = around
        self._store = store
        self._chance = random.Random(seed)
        self._every_s = every_s
        self._weights = weights
        self._torn_share = torn_share
        self._streams = streams
        self._per_s = per_s
        self._deaths: dict[str, list[float]] = {}

    def __repr__(self) -> str:
        return f"<Faults {self.by_kind()}>"

    def by_kind(self) -> dict[str, int]:
        """How often each kind was done."""
        return {kind: sum(fault.kind == kind for fault in self.done) for kind in self._weights}

    def play(self, until_s: float) -> None:
        """Break something now and then, until a monotonic time."""
        kinds = [kind for kind, weight in self._weights.items() if weight > 0]
        weights = [self._weights[kind] for kind in kinds]
        while kinds:
            wait_s = self._chance.expovariate(1 / self._every_s)
            [kind] = self._chance.choices(kinds, weights)
            pick = self._chance.random()
            if time.monotonic() + wait_s >= until_s:
                return
            time.sleep(wait_s)
            match kind:
                case "worker" | "ingest":
                    self._kill_child(kind, pick)
                case "redis":
                    self._kill_redis(pick)
                case "link":
                    self._cut_link(pick)
                case "supervisor":
                    self._kill_supervisor()

    def _kill_child(self, kind: Literal["worker", "ingest"], pick: float) -> None:
        living = {
            name: pid
            for name, pid in self._around.gateway.pids().items()
            if name.startswith(kind) and not self._is_worn(name)
        }
        if not living:
            return
        name = sorted(living)[int(pick * len(living))]
        with suppress(ProcessLookupError):
            at_s = time.time()
            os.kill(living[name], signal.SIGKILL)
            self._deaths.setdefault(name, []).append(time.monotonic())
            held = self._store.claimed("/" + name.partition("-")[2]) if kind == "worker" else 0
            self.done.append(Fault(at_s, kind, name, held))

    def _kill_redis(self, pick: float) -> None:
        place = self._around.place
        asked_s = time.monotonic()
        in_flight = self._store.claimed()
        pending = self._store.fsync_pending()
        at_s = time.time()
        os.kill(place.redis_pid, signal.SIGKILL)
        killed_s = time.monotonic()
        if in_flight is not None:
            in_flight += int(self._per_s * (killed_s - asked_s))
        fault = Fault(at_s, "redis", "redis", in_flight, pending)
        # reaps it: its process is a child of this one
        place.redis.stop()
        # digits of the draw that nothing else looks at
        if 1000 * pick % 1 < self._torn_share:
            self._tear(pick)
        shortest_s, longest_s = REDIS_DOWN_S
        time.sleep(shortest_s + pick * (longest_s - shortest_s))
        place.redis.start()
        self.done.append(fault._replace(down_s=time.monotonic() - killed_s))

    def _tear(self, pick: float) -> None:
        """A claim of some jobs was being written."""
        tenant = self._around.place.teams[int(pick * len(self._around.place.teams))].tenant
        shard = device_shard(base_shard(tenant, DEFAULT_SHARDS), device_token(), LAB_SPREAD, DEFAULT_SHARDS)
        keys = shard_keys(shard)
        ready = keys.ready(Lane.HIGH, tenant)
        claim = ("RPUSH", keys.claim("0.torn:1"), f"high|{tenant}|{_TORN_JOBS}", "the first of the jobs")
        self._around.place.tear_aof([("LPOP", keys.high), ("LPOP", ready, str(_TORN_JOBS)), claim])

    def _cut_link(self, pick: float) -> None:
        in_flight = self._store.claimed()
        at_s = time.time()
        if self._around.relay.cut(pick):
            most = None if in_flight is None else min(in_flight, self._streams)
            self.done.append(Fault(at_s, "link", "link", most))

    def _kill_supervisor(self) -> None:
        gateway = self._around.gateway
        killed_s, at_s = time.monotonic(), time.time()
        orphans = gateway.kill()
        while orphans and time.monotonic() - killed_s < ORPHANS_S:
            time.sleep(_LOOK_S)
            orphans = [pid for pid in orphans if not ended(pid)]
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # who is started by another supervisor begins with a clean sheet
        self._deaths.clear()
        gateway.start()
        fault = Fault(at_s, "supervisor", "supervisor", 0)
        self.done.append(fault._replace(down_s=time.monotonic() - killed_s, orphans=len(orphans)))

    def _is_worn(self, name: str) -> bool:
        now_s = time.monotonic()
        recent = [at_s for at_s in self._deaths.get(name, ()) if now_s - at_s < _RESTART.window_s]
        return len(recent) >= _RESTART.limit - 1
