"""What ``chaos`` breaks, when, and how many jobs were in hands at that moment.

One seeded source of chance draws the moments (the intervals are exponential, so a kill may follow on another's
heels), the kinds by their weights and the victims. The order of faults is a matter of the seed alone; what each
meets is not, since processes run as the machine lets them.

How many pushes may come twice is counted at each fault, in Redis, in one script, so that the figure is of one moment:

- a worker: the jobs of the claims that stand right *after* its SIGKILL in shards of its lease: what it held, no less;
- Redis: those of all right before, which is the last moment at which it can be asked, and what the offered rate may
  have added since;
- a link: the streams that it may have open, or the jobs of all claims if those are fewer;
- ingest: none: a request that was cut off may be stored, but nobody sends it again.

It is an upper bound: most of those jobs are still to be sent, and a claim's list holds a line for each run of jobs
beside the jobs.

A child that has died more often than the supervisor's limit in a window makes the gateway give up, as it should;
so nobody is killed more often than that here.
"""

import os
import random
import re
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from engine.policy.restart import RestartOptions
from loadtest.bench.lab import Lab
from loadtest.sink.relay import Relay
from shards.keys import shard_keys
from shards.tenants import DEFAULT_SHARDS

Kind = Literal["worker", "ingest", "redis", "link"]

REDIS_DOWN_S: Final = (0.0, 1.5)
_RESTART: Final = RestartOptions()
_STARTED: Final = re.compile(r" (\w+-\d+) started, pid (\d+)$", re.MULTILINE)

# KEYS: n keys of claims, then n of leases; ARGV: how the name of the holder ends that is asked about, empty for all.
# A shard without a lease may be anybody's, and counts.
_JOBS_IN_CLAIMS: Final = """
local shards = #KEYS / 2
local jobs = 0
for i = 1, shards do
  local holder = redis.call('GET', KEYS[shards + i])
  if not holder or ARGV[1] == '' or string.sub(holder, -#ARGV[1]) == ARGV[1] then
    for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[i])) do
      jobs = jobs + redis.call('LLEN', KEYS[i] .. ':' .. claim_id)
    end
  end
end
return jobs
"""


class Fault(NamedTuple):
    """One thing broken. ``at_s`` is Unix time; ``in_flight`` is None when it could not be read.

    ``fsync_pending``: an fsync of Redis was under way in the background, so writes may have been put off.
    """

    at_s: float
    kind: Kind
    victim: str
    in_flight: int | None
    fsync_pending: bool = False


class Faults:
    """Breaks things, one after the other."""

    def __init__(
        self,
        place: Lab,
        relay: Relay,
        log: Callable[[], str],
        *,
        seed: int,
        every_s: float,
        weights: Mapping[Kind, float],
        streams: int,
        per_s: int,
    ) -> None:
        self.done: list[Fault] = []
        self._place = place
        self._relay = relay
        self._log = log
        self._chance = random.Random(seed)
        self._every_s = every_s
        self._weights = weights
        self._streams = streams
        self._per_s = per_s
        self._deaths: dict[str, list[float]] = {}
        self._redis: Any = Redis.from_url(place.redis.url, socket_timeout=2.0)

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
                    in_flight = self._jobs_in_claims()
                    if self._relay.cut(pick):
                        most = None if in_flight is None else min(in_flight, self._streams)
                        self._note(kind, "link", most)

    def close(self) -> None:
        self._redis.close()

    def _kill_child(self, kind: Literal["worker", "ingest"], pick: float) -> None:
        living = {
            name: int(pid)
            for name, pid in _STARTED.findall(self._log())
            if name.startswith(kind) and not self._is_worn(name)
        }
        if not living:
            return
        name = sorted(living)[int(pick * len(living))]
        # its last life may have ended already, and the next not have begun
        with suppress(ProcessLookupError):
            os.kill(living[name], signal.SIGKILL)
            self._deaths.setdefault(name, []).append(time.monotonic())
            held = self._jobs_in_claims("/" + name.partition("-")[2]) if kind == "worker" else 0
            self._note(kind, name, held)

    def _kill_redis(self, pick: float) -> None:
        asked_s = time.monotonic()
        in_flight = self._jobs_in_claims()
        pending = False
        with suppress(RedisError):
            pending = bool(self._redis.info("persistence")["aof_pending_bio_fsync"])
        os.kill(self._place.redis_pid, signal.SIGKILL)
        if in_flight is not None:
            in_flight += int(self._per_s * (time.monotonic() - asked_s))
        self._note("redis", "redis", in_flight, pending)
        # reaps it: its process is a child of this one
        self._place.redis.stop()
        shortest_s, longest_s = REDIS_DOWN_S
        time.sleep(shortest_s + pick * (longest_s - shortest_s))
        self._place.redis.start()

    def _is_worn(self, name: str) -> bool:
        now_s = time.monotonic()
        recent = [at_s for at_s in self._deaths.get(name, ()) if now_s - at_s < _RESTART.window_s]
        return len(recent) >= _RESTART.limit - 1

    def _jobs_in_claims(self, holder: str = "") -> int | None:
        shards = [shard_keys(shard) for shard in range(DEFAULT_SHARDS)]
        keys = [shard.claims for shard in shards] + [shard.lease for shard in shards]
        for _ in range(2):
            # the first call after a restart of Redis meets a dead connection
            with suppress(RedisError):
                return int(self._redis.eval(_JOBS_IN_CLAIMS, len(keys), *keys, holder))
        return None

    def _note(self, kind: Kind, victim: str, in_flight: int | None, pending: bool = False) -> None:
        self.done.append(Fault(time.time(), kind, victim, in_flight, pending))
