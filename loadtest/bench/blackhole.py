"""``blackhole``: the whole gateway under load while APNs falls silent for a minute, and then speaks again.

    idle │ load: warm-up │ the relay is held, `seconds` │ released, `after_s` │ drain

The relay (`loadtest.sink.relay`) stands where a network would: held, it reads nothing from either side and ends
nothing, so what is sent fills the kernels' buffers, PINGs have no answer, and new connections hang in their TLS
handshake. The load goes on all the while, so a minute of pushes gathers.

Asked is that the workers' memory stays within a bound that follows from their options, that nobody works for nothing
while nothing can be sent, that the flow is whole again within ten seconds of the release, and that nothing is lost.
Twice a second it is looked at what all this costs; `blackhole_verdict` judges afterwards.
"""

import time
import tracemalloc
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from cyclopts import Parameter

from engine.options import EngineOptions
from loadtest.bench import blackhole_verdict
from loadtest.bench.blackhole_verdict import Course, Look, Sizes, memory_most
from loadtest.bench.cpu import cpu_s, resident_bytes
from loadtest.bench.gateway import DUE_SLACK_S, LoadOptions, Setting, setting
from loadtest.bench.judgement import Judgement, judge, told
from loadtest.bench.lab import device_token, payload
from loadtest.bench.recovery import recovery
from loadtest.bench.steady import exchanges
from loadtest.bench.whereabouts import Whereabouts
from loadtest.sink.python import STREAMS
from loadtest.sink.recorder import pieces
from shards.claim import Retry
from shards.job import Job, decode_job, encode_job, new_ids

IDLE_S: Final = 5.0
LOOK_EVERY_S: Final = 0.5
# of a push on the wire: heads of its frames, path with the token, apns-id, and the fields that are indexed
WIRE_HEAD_BYTES: Final = 160
_SAMPLE: Final = 4_096


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BlackholeOptions(LoadOptions):
    """How long what lasts."""

    per_s: int = 5_000
    "Pushes offered to the API each second, whatever becomes of them."

    seconds: float = 60.0
    "For how long APNs is silent."

    warm_up_s: float = 20.0
    "Load before that; its second half is what the rest is compared with."

    after_s: float = 45.0
    "Load after that."


def run(options: BlackholeOptions) -> dict[str, Any]:
    """One run. Its ``failed`` names what the verdict found wrong, and is empty when all is well."""
    with setting(options) as around:
        gateway, relay = around.gateway, around.relay
        around.place.create_tenants(options.tenants)
        gateway.start()
        watch = _Watch(around, options.workers)
        idle = watch.looks(IDLE_S)
        with around.load(options, options.warm_up_s + options.seconds + options.after_s) as loading:
            watch.looks(options.warm_up_s / 2)
            steady = watch.looks(options.warm_up_s / 2)
            connections = relay.hold()
            held_s = time.time()
            held = watch.looks(options.seconds)
            released_s = time.time()
            dialled = relay.release() - connections
            after = watch.looks(options.after_s)
            loading.wait()
        drained_s = around.drain(lambda: after.append(watch.look()))
        restarted = not watch.same()
        survived = gateway.alive
        due_before_ms = int(1000 * (time.time() - DUE_SLACK_S))
        gateway.stop()
        # nothing moves in Redis any more
        in_redis = watch.store.found(due_before_ms)
        judgement = judge(exchanges(around.load_log), pieces(around.sink.record), in_redis)
        course = Course(
            idle,
            steady,
            held,
            after,
            connections,
            dialled,
            restarted,
            recovery(
                exchanges(around.load_log),
                pieces(around.sink.record),
                held_s=held_s,
                released_s=released_s,
                connections=connections,
                per_s=options.per_s,
            ),
        )
        watch.store.close()
        around.sink.stop()
    return _result(options, judgement, course, released_s) | {
        "drained_for_s": round(drained_s, 1),
        "sink": {"kind": "recorder", **around.sink.summary},
        "gateway_survived": survived,
        "gateway_exit_code": gateway.exit_code,
        "options": options.told(),
        "failed": blackhole_verdict.failures(
            judgement, course, _most(options), around.sink.summary, survived, gateway.exit_code
        ),
    }


def job_sizes(payload_bytes: int) -> Sizes:
    """What one job takes, measured on some thousands: all that a worker makes of it until it is put off."""
    ids = new_ids(int(time.time() * 1000), bytes(10 * _SAMPLE))
    body = payload(payload_bytes)
    encoded = [encode_job(Job(each, device_token(), "com.example.app0", body)) for each in ids]
    tracemalloc.start()
    answer = [bytes(bytearray(each)) for each in encoded]
    decoded = tracemalloc.get_traced_memory()[0]
    backlog = deque((decode_job(each), None) for each in answer)
    streams = dict(enumerate(backlog))
    put_off = [Retry(at + 2**40, "high", "tenant", encode_job(job)) for at, (job, _) in streams.items()]
    held_bytes = tracemalloc.get_traced_memory()[0] - decoded
    tracemalloc.stop()
    return Sizes(
        in_hand=held_bytes // len(put_off),
        encoded=sum(map(len, encoded)) // len(encoded),
        on_wire=payload_bytes + WIRE_HEAD_BYTES,
    )


class _Watch:
    """Looks at the workers and at Redis."""

    def __init__(self, around: Setting, workers: int) -> None:
        place = around.place
        self.store = Whereabouts(place.redis.url, [team.tenant for team in place.teams])
        self._gateway = around.gateway
        self._redis_pid = place.redis_pid
        self._names = [f"worker-{number}" for number in range(workers)]
        self._pids = self._now()

    def __repr__(self) -> str:
        return f"<_Watch of {self._pids}>"

    def same(self) -> bool:
        """Whether the workers are still those of the beginning."""
        return self._now() == self._pids

    def looks(self, seconds: float) -> list[Look]:
        """Look for so long; the first look is at once, so that what follows is the difference to it."""
        until_s = time.monotonic() + seconds
        looks = [self.look()]
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(LOOK_EVERY_S, left_s))
            looks.append(self.look())
        return looks

    def look(self) -> Look:
        return Look(
            time.time(),
            tuple(_rss(pid) for pid in self._pids),
            tuple(cpu_s([pid]) for pid in self._pids),
            cpu_s([self._redis_pid]),
            *self.store.written(),
            self.store.counts(),
        )

    def _now(self) -> list[int]:
        pids = self._gateway.pids()
        return [pids.get(name, 0) for name in self._names]


def _rss(pid: int) -> int:
    with suppress(FileNotFoundError):
        return resident_bytes(pid)
    return 0


def _most(options: BlackholeOptions) -> int:
    # each tenant is of a team of its own, and so has a pool of its own in each worker
    return memory_most(EngineOptions(), job_sizes(options.payload_bytes), options.tenants, STREAMS)


def _result(
    options: BlackholeOptions, judgement: Judgement, course: Course, released_s: float
) -> dict[str, Any]:
    sizes = job_sizes(options.payload_bytes)
    return {
        **told(judgement),
        **blackhole_verdict.told(course, _most(options), released_s),
        "bytes_per_job": sizes._asdict(),
    }
