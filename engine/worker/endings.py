"""How jobs leave this worker's hands: what is written of each into its claim, and counted.

A job that was accepted is only counted down. Of any other the claim says what Redis has to do (try it again, and when;
bury it, and why), and it goes there with the claim's settlement. Nothing is decided here but the time of an attempt.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from engine.apns.headers import Held
from engine.policy.cooling import Cooling
from engine.policy.retry import GiveUp, RetryOptions, WaitUntil, retry
from engine.policy.verdict import Scope, Verdict
from engine.worker.hand import Hand, HeldRun
from engine.worker.measures import label_of
from shards.claim import Burial, Reclaimed, Retry
from shards.job import Job, encode_job


class Endings:
    """``tally`` counts what became of jobs, by names of which there are only so many. ``cooling`` are the devices that
    APNs had too much for; ``rests`` says whether a flow is not claimed for now."""

    def __init__(
        self,
        hand: Hand,
        options: RetryOptions,
        *,
        rests: Callable[[str], bool] = lambda flow: False,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.tally: Counter[str] = Counter()
        self.cooling = Cooling()
        self._hand = hand
        self._options = options
        self._rests = rests
        self._wall = wall
        self._chance = chance

    def __repr__(self) -> str:
        return f"<Endings {dict(self.tally)}>"

    def accept(self, held: Sequence[Held]) -> Mapping[HeldRun, int]:
        """APNs has these; returns how many they are of each run."""
        self.tally["accepted"] += len(held)
        # by hand: a Counter is made as slowly as sixty pushes are counted
        runs: dict[HeldRun, int] = {}
        for _, run in held:
            runs[run] = runs.get(run, 0) + 1
        for run, jobs in runs.items():
            self._hand.finish(run, jobs)
        return runs

    def leave(self, run: HeldRun, jobs: int) -> None:
        """So many jobs of a run are those of the shard's new holder, who gives them back."""
        self._hand.finish(run, jobs)

    def bury(
        self, held: Held, reason: str, verdict: Verdict | None = None, *, reports_token: bool = False
    ) -> None:
        """The job ends unsent, or refused with this verdict; ``reports_token``: that device's token is dead."""
        job, run = held
        burial = self._burial(run, encode_job(job), reason)
        burial = burial._replace(attempts=job.attempts, admitted_ms=job.admitted_ms)
        if verdict is not None:
            burial = burial._replace(status=verdict.status, timestamp_ms=verdict.timestamp_ms or 0)
        if reports_token:
            burial = burial._replace(token=job.device_token, topic=job.topic, environment=job.environment)
        self._bury(run, burial)

    def bury_encoded(self, run: HeldRun, job: bytes, reason: str) -> None:
        """The same for a job as it is stored, which may be one that can't be read."""
        self._bury(run, self._burial(run, job, reason))

    def _burial(self, run: HeldRun, job: bytes, reason: str) -> Burial:
        return Burial(run.tenant, reason, int(self._wall() * 1000), job, run.lane)

    def _bury(self, run: HeldRun, burial: Burial) -> None:
        self.tally[f"refused {label_of(burial.reason)}"] += 1
        run.claim.burials.append(burial)
        self._hand.finish(run, 1)

    def reclaimed(self, answer: Reclaimed) -> None:
        """Redis buried some of what earlier holders of a shard had in hand."""
        for reason, jobs in (("InDoubt", answer.in_doubt), ("Poison", answer.poison)):
            if jobs:
                self.tally[f"refused {reason}"] += jobs

    def wait(self, held: Held, reason: str, verdict: Verdict) -> None:
        """The job has failed once more: it is tried again later, or given up."""
        job, run = held
        tried = after_attempt(job)
        now_ms = int(self._wall() * 1000)
        device = verdict.scope is Scope.DEVICE
        again = retry(
            tried.attempts, job.expiration, reason, now_ms, self._chance(), self._options, device=device
        )
        match again:
            case WaitUntil(due_ms):
                if device:
                    self.cooling.add(job.topic, job.device_token, due_ms)
                self._put_off(held, tried, due_ms)
            case GiveUp(why):
                self.bury((tried, run), why, verdict)

    def put_off(self, held: Iterable[Held], delay_s: float) -> None:
        """The jobs were not tried, which counts as no attempt; they come again after the delay, not all at once.

        Those of a flow that rests are ready again at once: none is claimed before it rests no more, and that may be
        any moment, when its credential is replaced.
        """
        now_ms = int(self._wall() * 1000)
        rests: dict[str, bool] = {}
        for entry in held:
            flow = entry[1].flow
            if flow not in rests:
                rests[flow] = self._rests(flow)
            due_ms = 0 if rests[flow] else now_ms + int(1000 * delay_s * (1 + self._chance()))
            self._put_off(entry, entry[0], due_ms)

    def put_off_cooling(self, held: list[Held]) -> list[Held]:
        """Put off those whose devices are left alone for now; returns the others."""
        if not self.cooling:
            return held
        send, put_off = self.cooling.sift(held, int(self._wall() * 1000))
        for entry, delay_s in put_off:
            self.put_off((entry,), delay_s)
        return send

    def put_back(self, held: Iterable[Held]) -> None:
        """The jobs were not tried; they are ready again at once, for whoever claims next."""
        for entry in held:
            self._put_off(entry, entry[0], 0)

    def put_back_encoded(self, run: HeldRun, jobs: Sequence[bytes]) -> None:
        """The same for jobs of a run as they are stored."""
        self.tally["put off"] += len(jobs)
        run.claim.retries += [Retry(0, run.lane, run.flow, job) for job in jobs]
        self._hand.finish(run, len(jobs))

    def _put_off(self, held: Held, job: Job, due_ms: int) -> None:
        run: Any = held[1]
        self.tally["put off"] += 1
        run.claim.retries.append(Retry(due_ms, run.lane, run.flow, encode_job(job)))
        self._hand.finish(run, 1)


def after_attempt(job: Job) -> Job:
    """The job as it is after one more attempt."""
    return msgspec.structs.replace(job, attempts=job.attempts + 1)
