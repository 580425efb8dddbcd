"""``chaos``: the whole gateway under load while its processes, its Redis and its links are killed at random.

The API is pushed batches at a fixed rate. Meanwhile workers, ingest processes, Redis and the supervisor get SIGKILL
and links are reset, under a seed. The far end remembers every apns-id, so that the verdict is one of sets, not of
sums: whatever the API answered 202 has to be there, or else still in Redis, and no more may have come twice than was
in hands when something was killed.

Redis keeps its data through a SIGKILL only as far as it has written it out. It writes its append-only file before it
answers, in both modes, and the kernel keeps what was written whatever becomes of the process. With one exception:
under ``everysec`` it puts the write off, for up to two seconds, while an earlier fsync is still under way in the
background, and answers all the same (the counter ``aof_delayed_fsync`` of INFO tells of those that took longer). So
``always`` is the mode in which nothing that was answered is ever lost, and ``everysec`` the one in which a kill at the
moment of a slow fsync may lose what was answered since it began.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from cyclopts import Parameter

from loadtest.bench import chaos_verdict
from loadtest.bench.faults import Faults, Kind
from loadtest.bench.gateway import DUE_SLACK_S, LoadOptions, setting
from loadtest.bench.judgement import judge, told
from loadtest.bench.steady import exchanges
from loadtest.bench.whereabouts import Whereabouts
from loadtest.sink.python import STREAMS
from loadtest.sink.recorder import Faults as SinkFaults
from loadtest.sink.recorder import pieces

WARM_UP_S: Final = 1.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ChaosOptions(LoadOptions):
    """What is broken, and how often."""

    seconds: float = 120.0
    "For how long pushes are offered."

    seed: int = 1
    "Of the moments, the kinds and the victims."

    every_s: float = 5.0
    "Mean time from one fault to the next."

    worker_weight: float = 3.0
    "How often a worker is killed, compared with the other kinds; 0: never. Of the others likewise."

    ingest_weight: float = 2.0
    "An ingest process is killed."

    redis_weight: float = 2.0
    "Redis is killed, and started again within moments."

    torn_share: float = 0.0
    "Of the kills of Redis: so many (0 to 1) tear the last write, so that its file ends in half a transaction."

    link_weight: float = 3.0
    "A connection to the sink is reset."

    supervisor_weight: float = 1.0
    "The supervisor is killed, and the gateway started again when its children have ended."

    refuse_every: int = 0
    "One push in so many is answered 503 by the sink; 0: none."

    silent_every: int = 0
    "One push in so many is never answered; 0: none."

    @property
    def weights(self) -> dict[Kind, float]:
        return {
            "worker": self.worker_weight,
            "ingest": self.ingest_weight,
            "redis": self.redis_weight,
            "link": self.link_weight,
            "supervisor": self.supervisor_weight,
        }


def run(options: ChaosOptions) -> dict[str, Any]:
    """One run. Its ``failed`` names what the verdict found wrong, and is empty when all is well."""
    with setting(options, SinkFaults(options.refuse_every, options.silent_every)) as around:
        place, sink, gateway = around.place, around.sink, around.gateway
        place.create_tenants(options.tenants)
        store = Whereabouts(place.redis.url, [team.tenant for team in place.teams])
        faults = Faults(
            around,
            store,
            seed=options.seed,
            every_s=options.every_s,
            weights=options.weights,
            torn_share=options.torn_share,
            streams=STREAMS,
            per_s=options.per_s,
        )
        gateway.start()
        with around.load(options, options.seconds) as loading:
            time.sleep(WARM_UP_S)
            faults.play(time.monotonic() + options.seconds - WARM_UP_S)
            loading.wait()
        drained_s = around.drain()
        survived = gateway.alive
        due_before_ms = int(1000 * (time.time() - DUE_SLACK_S))
        gateway.stop()
        # nothing moves in Redis any more
        in_redis = store.found(due_before_ms)
        judgement = judge(exchanges(around.load_log), pieces(sink.record), in_redis)
        store.close()
        sink.stop()
        aof = place.aof_faults()
    done = faults.done
    return {
        **told(judgement),
        "in_flight_at_kills": chaos_verdict.in_flight(done),
        "in_flight_counted": "jobs of claims in Redis: a worker's after its kill, all before Redis' and a link's",
        "kills": faults.by_kind(),
        "drained_for_s": round(drained_s, 1),
        "sink": {"kind": "recorder", **sink.summary},
        "aof": aof._asdict(),
        "gateway_survived": survived,
        "gateway_exit_code": gateway.exit_code,
        "options": options.told(),
        "faults": chaos_verdict.told(done, judgement),
        "failed": chaos_verdict.failures(judgement, done, aof, sink.summary, survived, gateway.exit_code),
    }
