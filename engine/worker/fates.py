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
from engine.policy.retry import GiveUp, RetryOptions, WaitUntil, retry
from engine.policy.verdict import Fate, judge
from engine.worker.hand import Hand, HeldRun
from shards.job import Job, encode_job
from shards.queue import Burial, Retry

LOG: Final = logging.getLogger("clarion.fates")

_run_of: Final = itemgetter(1)


class Fates:
    """Receives what links report. ``stirred`` is called after each batch, when there may be room for more jobs."""

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
        resend: list[Held] = []
        for held, outcome in others:
            job, run = held
            verdict = judge(outcome, job.id in run.claim.resent)
            if verdict.link_is_faulty and link.usable:
                LOG.warning("a link is replaced after %s: %r", verdict.reason, pool)
                link.retire()
            match verdict.fate:
                case Fate.RESEND:
                    run.claim.resent.add(job.id)
                    resend.append(held)
                case Fate.WAIT:
                    self.wait(held, verdict.reason)
                case Fate.BURY:
                    self.bury(held, verdict.reason)
        if resend:
            self.tally["resent"] += len(resend)
            pool.give_back(resend)
        self._stirred()

    def bury(self, held: Held, reason: str) -> None:
        """The job ends unsent."""
        self.bury_encoded(held[1], encode_job(held[0]), reason)

    def bury_encoded(self, run: HeldRun, job: bytes, reason: str) -> None:
        """The same for a job as it is stored, which may be one that can't be read."""
        self.tally[f"refused {reason}"] += 1
        run.claim.burials.append(Burial(run.tenant, reason, int(self._wall() * 1000), job))
        self._hand.finish(run.claim, 1)

    def wait(self, held: Held, reason: str) -> None:
        """The job has failed once more: it is tried again later, or given up."""
        job = held[0]
        attempts = job.attempts + 1
        now_ms = int(self._wall() * 1000)
        match retry(attempts, job.expiration, reason, now_ms, self._chance(), self._options):
            case WaitUntil(due_ms):
                self._put_off(held, msgspec.structs.replace(job, attempts=attempts), due_ms)
            case GiveUp(why):
                self.bury(held, why)

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
