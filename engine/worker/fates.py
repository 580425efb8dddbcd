"""The fates of jobs: batches of outcomes in, counted claims out. Nothing is decided here: ``policy`` judges."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, Final

import msgspec

from engine.apns.headers import Held
from engine.link.link import Link, Outcomes
from engine.link.pool import Pool
from engine.policy.pause import WHOLE
from engine.policy.retry import GiveUp, RetryOptions, WaitUntil, retry
from engine.policy.verdict import Fate, Scope, Verdict, condemns, judge
from engine.worker.conditions import ConditionLog
from engine.worker.hand import Hand, HeldRun
from shards.job import Job, encode_job
from shards.queue import Burial, Retry

LOG: Final = logging.getLogger("clarion.fates")

_run_of: Final = itemgetter(1)


class Fates:
    """Receives what links report. ``stirred`` is called after each batch, when there may be room for more jobs.

    ``conditions`` learns what keeps a credential from being used; ``bury_in_doubt`` are the tenants whose pushes must
    not arrive twice. The router fills in both.
    """

    def __init__(
        self,
        hand: Hand,
        options: RetryOptions,
        stirred: Callable[[], None],
        *,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.tally: Counter[str] = Counter()
        self.conditions = ConditionLog(None, wall=wall)
        self.bury_in_doubt: set[str] = set()
        self._hand = hand
        self._options = options
        self._stirred = stirred
        self._wall = wall
        self._chance = chance

    def __repr__(self) -> str:
        return f"<Fates {dict(self.tally)}>"

    def outcomes(self, pool: Pool, link: Link, accepted: list[Held], others: Outcomes) -> None:
        """One batch from one link."""
        self.tally["accepted"] += len(accepted)
        runs: Counter[HeldRun] = Counter(map(_run_of, accepted))
        for run, jobs in runs.items():
            self._hand.finish(run.claim, jobs)
        if accepted:
            self._clear(pool, link, accepted)
        resend: list[Held] = []
        for held, outcome in others:
            job, run = held
            # while a credential is paused nothing is sent again at once for it
            resent = job.id in run.claim.resent or WHOLE in pool.pauses
            in_doubt = "bury" if run.tenant in self.bury_in_doubt else "resend"
            verdict = judge(outcome, resent, in_doubt)
            if link.usable and condemns(verdict, link.proved):
                LOG.warning("a link is replaced after %s: %r", verdict.reason, pool)
                link.retire()
            match verdict.fate:
                case Fate.RESEND if run.claim.lost:
                    # the shard's new holder sends it
                    self._hand.finish(run.claim, 1)
                case Fate.RESEND:
                    run.claim.resent.add(job.id)
                    resend.append(held)
                case Fate.WAIT:
                    self.wait(held, verdict.reason, verdict)
                case Fate.HOLD:
                    self._hold(pool, held, verdict)
                case Fate.BURY | Fate.BURY_TOKEN:
                    tried = msgspec.structs.replace(job, attempts=job.attempts + 1)
                    self.bury((tried, run), verdict.reason, verdict)
        if resend:
            self.tally["resent"] += len(resend)
            if pool.pauses:
                # a pause may have begun with this very batch
                pool.add(resend)
            else:
                pool.give_back(resend)
        self._stirred()

    def _clear(self, pool: Pool, link: Link, accepted: list[Held]) -> None:
        """What APNs accepts may end pauses, and conditions that an earlier process left."""
        if pool.pauses:
            for topic in pool.pauses.accepted({held[0].topic for held in accepted}, link.opened_s):
                self.conditions.clear(pool.key, topic)
        if WHOLE not in pool.pauses:
            self.conditions.works(pool.key)

    def _hold(self, pool: Pool, held: Held, verdict: Verdict) -> None:
        """The tenant has to put something right first: a pause, in which this job waits with the others."""
        topic = held[0].topic if verdict.scope is Scope.TOPIC else WHOLE
        pause_s = pool.pause(topic, verdict.reason)
        if pause_s:
            LOG.warning("paused for %.0f s after %s: %r", pause_s, verdict.reason, pool)
        self.conditions.note(pool.key, topic, verdict.reason)
        self.wait(held, verdict.reason, verdict)

    def bury(self, held: Held, reason: str, verdict: Verdict | None = None) -> None:
        """The job ends unsent, or refused with this verdict."""
        job, run = held
        burial = self._burial(run, encode_job(job), reason)
        burial = burial._replace(attempts=job.attempts, admitted_ms=job.admitted_ms)
        if verdict is not None:
            burial = burial._replace(status=verdict.status, timestamp_ms=verdict.timestamp_ms or 0)
            if verdict.fate is Fate.BURY_TOKEN:
                burial = burial._replace(token=job.device_token, topic=job.topic, environment=job.environment)
        self._bury(run, burial)

    def bury_encoded(self, run: HeldRun, job: bytes, reason: str) -> None:
        """The same for a job as it is stored, which may be one that can't be read."""
        self._bury(run, self._burial(run, job, reason))

    def _burial(self, run: HeldRun, job: bytes, reason: str) -> Burial:
        return Burial(run.tenant, reason, int(self._wall() * 1000), job, run.lane)

    def _bury(self, run: HeldRun, burial: Burial) -> None:
        self.tally[f"refused {burial.reason}"] += 1
        run.claim.burials.append(burial)
        self._hand.finish(run.claim, 1)

    def wait(self, held: Held, reason: str, verdict: Verdict | None = None) -> None:
        """The job has failed once more: it is tried again later, or given up."""
        job = held[0]
        attempts = job.attempts + 1
        now_ms = int(self._wall() * 1000)
        device = verdict is not None and verdict.scope is Scope.DEVICE
        again = retry(attempts, job.expiration, reason, now_ms, self._chance(), self._options, device=device)
        match again:
            case WaitUntil(due_ms):
                self._put_off(held, msgspec.structs.replace(job, attempts=attempts), due_ms)
            case GiveUp(why):
                self.bury((msgspec.structs.replace(job, attempts=attempts), held[1]), why, verdict)

    def expired(self, held: Iterable[Held]) -> None:
        """The jobs' time passed before they could be tried."""
        for entry in held:
            self.bury(entry, "Expired")

    def put_off(self, held: Iterable[Held], delay_s: float) -> None:
        """The jobs were not tried, which counts as no attempt; they come again after the delay, not all at once."""
        now_ms = int(self._wall() * 1000)
        for entry in held:
            self._put_off(entry, entry[0], now_ms + int(1000 * delay_s * (1 + self._chance())))

    def put_back(self, held: Iterable[Held]) -> None:
        """The jobs were not tried; they are ready again at once, for whoever claims next."""
        for entry in held:
            self._put_off(entry, entry[0], 0)

    def _put_off(self, held: Held, job: Job, due_ms: int) -> None:
        run: Any = held[1]
        self.tally["put off"] += 1
        run.claim.retries.append(Retry(due_ms, run.lane, run.tenant, encode_job(job)))
        self._hand.finish(run.claim, 1)
