"""The fates of jobs: batches of outcomes in, counted claims out. Nothing is decided here: ``policy`` judges."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.apns.headers import Held
from engine.apns.outcomes import Outcome
from engine.link.link import Link, Outcomes
from engine.link.pool import Pool
from engine.policy.cooling import Cooling
from engine.policy.pause import WHOLE
from engine.policy.retry import GiveUp, RetryOptions, WaitUntil, retry
from engine.policy.token_quality import BAD, QualityOptions, State, TokenQuality, is_bad
from engine.policy.verdict import Fate, Scope, Verdict, condemns, judge
from engine.worker.conditions import ConditionLog
from engine.worker.hand import Hand, HeldRun
from engine.worker.measures import WORKER, label_of
from engine.worker.waits import Waits
from runtime.measures import Sheet
from shards.claim import Burial, Reclaimed, Retry
from shards.job import Job, encode_job

LOG: Final = logging.getLogger("clarion.fates")


class Fates:
    """Receives what links report. ``stirred`` is called after each batch, when there may be room for more jobs.

    ``tally`` counts what became of jobs, by names of which there are only so many.

    ``conditions`` learns what keeps a credential from being used; ``bury_in_doubt`` are the tenants whose pushes must
    not arrive twice; ``rests`` says whether a flow is not claimed for now. The worker and the router fill them in.
    ``cooling`` are the devices that APNs had too much for; ``waits`` learns how long pushes took.
    """

    def __init__(
        self,
        hand: Hand,
        options: RetryOptions,
        stirred: Callable[[], None],
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.tally: Counter[str] = Counter()
        self.conditions = ConditionLog(None, wall=wall)
        self.bury_in_doubt: set[str] = set()
        self.rests: Callable[[str], bool] = lambda flow: False
        self.cooling = Cooling()
        self.waits = Waits(Sheet(WORKER))
        self._quality = TokenQuality(QualityOptions())
        self._hand = hand
        self._options = options
        self._stirred = stirred
        self._wall = wall
        self._clock = clock
        self._chance = chance

    def __repr__(self) -> str:
        return f"<Fates {dict(self.tally)}>"

    def outcomes(self, pool: Pool, link: Link, accepted: list[Held], others: Outcomes) -> None:
        """One batch from one link."""
        self.tally["accepted"] += len(accepted)
        # by hand: a Counter is made as slowly as sixty pushes are counted
        runs: dict[HeldRun, int] = {}
        for _, run in accepted:
            runs[run] = runs.get(run, 0) + 1
        for run, jobs in runs.items():
            self._hand.finish(run, jobs)
        if accepted:
            self.waits.accepted(accepted, self._wall())
            self._clear(pool, link, accepted)
        judged = [(held, self._judge(pool, held, outcome)) for held, outcome in others]
        self._weigh(pool, runs, judged)
        resend: list[Held] = []
        for held, verdict in judged:
            job, run = held
            if link.usable and condemns(verdict, link.proved):
                LOG.warning("a link is replaced after %s: %r", verdict.reason, pool)
                link.retire()
            match verdict.fate:
                case Fate.RESEND if run.claim.lost:
                    # the shard's new holder sends it
                    self._hand.finish(run, 1)
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

    def _judge(self, pool: Pool, held: Held, outcome: Outcome) -> Verdict:
        job, run = held
        # while a credential is paused nothing is sent again at once for it
        resent = job.id in run.claim.resent or WHOLE in pool.pauses
        return judge(outcome, resent, "bury" if run.tenant in self.bury_in_doubt else "resend")

    def _weigh(self, pool: Pool, runs: Mapping[HeldRun, int], judged: Sequence[tuple[Held, Verdict]]) -> None:
        """Learn from the whole batch what its flows' tokens are worth, before any of them is reported dead."""
        answers: dict[str, list[int]] = {}
        for run, jobs in runs.items():
            answers.setdefault(run.flow, [0, 0])[0] += jobs
        for held, verdict in judged:
            if verdict.fate is Fate.BURY_TOKEN:
                known = answers.setdefault(held[1].flow, [0, 0])
                known[0] += 1
                known[1] += is_bad(verdict.reason)
        now_s = self._clock()
        for flow, (all_known, bad) in answers.items():
            match self._quality.learn(flow, all_known, bad, now_s):
                case State.SUSPECT:
                    # what waits here goes back, and comes again at a trickle
                    self.put_back(pool.drop(_is_of(flow)))
                    answered = sum(held[1].flow == flow for held, _ in judged)
                    self._quality.excuse(flow, self._hand.flows.get(flow, 0) - answered)
                case State.WELL:
                    self.conditions.clear_flow(flow)
            if bad and flow in self._quality:
                self.conditions.note_flow(flow, BAD, bad)

    def _clear(self, pool: Pool, link: Link, accepted: list[Held]) -> None:
        """What APNs accepts may end pauses, and conditions that an earlier process left."""
        if pool.pauses:
            for topic in pool.pauses.accepted({held[0].topic for held in accepted}, link.opened_s):
                self.conditions.clear(pool.key, topic)
            if WHOLE in pool.pauses:
                return
        self.conditions.works(pool.key, accepted)

    def _hold(self, pool: Pool, held: Held, verdict: Verdict) -> None:
        """The tenant has to put something right first: a pause, in which this job waits with the others."""
        self._pause(pool, held[0].topic if verdict.scope is Scope.TOPIC else WHOLE, verdict.reason)
        self.wait(held, verdict.reason, verdict)

    def barred(self, pool: Pool, reason: str) -> None:
        """APNs refused the credential as a link was opened, or ended one for it: a pause, and no push was tried."""
        self._pause(pool, WHOLE, reason)

    def _pause(self, pool: Pool, topic: str, reason: str) -> None:
        pause_s = pool.pause(topic, reason)
        if pause_s:
            LOG.warning("paused for %.0f s after %s: %r", pause_s, reason, pool)
        self.conditions.note(pool.key, topic, reason)

    def bury(self, held: Held, reason: str, verdict: Verdict | None = None) -> None:
        """The job ends unsent, or refused with this verdict."""
        job, run = held
        burial = self._burial(run, encode_job(job), reason)
        burial = burial._replace(attempts=job.attempts, admitted_ms=job.admitted_ms)
        if verdict is not None:
            burial = burial._replace(status=verdict.status, timestamp_ms=verdict.timestamp_ms or 0)
            if verdict.fate is Fate.BURY_TOKEN and not self._is_doubted(run, reason):
                burial = burial._replace(token=job.device_token, topic=job.topic, environment=job.environment)
        self._bury(run, burial)

    def _is_doubted(self, run: HeldRun, reason: str) -> bool:
        return is_bad(reason) and self._quality.doubts(run.flow)

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

    def wait(self, held: Held, reason: str, verdict: Verdict | None = None) -> None:
        """The job has failed once more: it is tried again later, or given up."""
        job = held[0]
        attempts = job.attempts + 1
        now_ms = int(self._wall() * 1000)
        device = verdict is not None and verdict.scope is Scope.DEVICE
        again = retry(attempts, job.expiration, reason, now_ms, self._chance(), self._options, device=device)
        match again:
            case WaitUntil(due_ms):
                if device:
                    self.cooling.add(job.topic, job.device_token, due_ms)
                self._put_off(held, msgspec.structs.replace(job, attempts=attempts), due_ms)
            case GiveUp(why):
                self.bury((msgspec.structs.replace(job, attempts=attempts), held[1]), why, verdict)

    def expired(self, held: Iterable[Held]) -> None:
        """The jobs' time passed before they could be tried."""
        for entry in held:
            self.bury(entry, "Expired")

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
                rests[flow] = self.rests(flow)
            due_ms = 0 if rests[flow] else now_ms + int(1000 * delay_s * (1 + self._chance()))
            self._put_off(entry, entry[0], due_ms)

    def put_off_cooling(self, held: list[Held]) -> list[Held]:
        """Put off those whose devices are left alone for now; returns the others."""
        send, put_off = self.cooling.sift(held, int(self._wall() * 1000))
        for entry, delay_s in put_off:
            self.put_off((entry,), delay_s)
        return send

    def trickles(self) -> dict[str, int]:
        """Flows that are slowed down, since most of their device tokens are bad, and how many more of their jobs should
        be claimed now. It costs one truth test when there are none."""
        if not self._quality:
            return {}
        now_s = self._clock()
        for flow in self._quality.forget_silent(now_s):
            self.conditions.clear_flow(flow)
        in_hand = self._hand.flows
        return {
            flow: max(0, room - in_hand.get(flow, 0)) for flow, room in self._quality.rooms(now_s).items()
        }

    def forget(self, flows: Iterable[str]) -> None:
        """Their tenant has changed, and with it perhaps what was wrong."""
        for flow in flows:
            if self._quality.forget(flow):
                self.conditions.clear_flow(flow)

    def give_up(self, pool: Pool) -> None:
        """Nobody uses this credential any more, so nothing about it need be put right."""
        for topic in pool.pauses:
            self.conditions.clear(pool.key, topic)

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


def _is_of(flow: str) -> Callable[[Held], bool]:
    return lambda held: held[1].flow == flow
