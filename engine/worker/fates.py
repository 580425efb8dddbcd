"""The fates of pushes: what links report is judged, batch by batch, and comes to endings, pauses and conditions.

Nothing is decided here: ``policy`` judges, and this does what it says, in an order that matters.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from engine.apns.headers import Held
from engine.apns.outcomes import Outcome
from engine.link.link import Link, Outcomes
from engine.link.pool import Pool
from engine.policy.pause import WHOLE
from engine.policy.token_quality import BAD, QualityOptions, State, TokenQuality, is_bad
from engine.policy.verdict import Fate, Scope, Verdict, condemns, judge
from engine.worker.conditions import ConditionLog
from engine.worker.endings import Endings, after_attempt
from engine.worker.hand import Hand, HeldRun
from engine.worker.waits import Waits
from shards.tenant import Tenant

LOG: Final = logging.getLogger("clarion.fates")


class Fates:
    """Receives what pools and their links report. ``stirred`` is called after each batch, when there may be room for
    more jobs; ``conditions`` learns what keeps a credential from being used, and ``waits`` how long pushes took."""

    def __init__(
        self,
        hand: Hand,
        endings: Endings,
        conditions: ConditionLog,
        waits: Waits,
        stirred: Callable[[], None],
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hand = hand
        self._endings = endings
        self._conditions = conditions
        self._waits = waits
        self._stirred = stirred
        self._wall = wall
        self._clock = clock
        self._quality = TokenQuality(QualityOptions())
        # tenants whose pushes must not arrive twice; kept, since some may be under way when a route is not
        self._once_at_most: set[str] = set()

    def __repr__(self) -> str:
        return f"<Fates {self._endings!r}, {self._quality!r}>"

    # -- what pools report -------------------------------------------------------------------------------------

    def outcomes(self, pool: Pool, link: Link, accepted: list[Held], others: Outcomes) -> None:
        """One batch from one link."""
        runs = self._endings.accept(accepted)
        if accepted:
            self._waits.accepted(accepted, self._wall())
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
                    self._endings.leave(run, 1)
                case Fate.RESEND:
                    run.claim.resent.add(job.id)
                    resend.append(held)
                case Fate.WAIT:
                    self._endings.wait(held, verdict.reason, verdict)
                case Fate.HOLD:
                    # the tenant has to put something right first, and this job waits with the others
                    self._pause(pool, job.topic if verdict.scope is Scope.TOPIC else WHOLE, verdict.reason)
                    self._endings.wait(held, verdict.reason, verdict)
                case Fate.BURY | Fate.BURY_TOKEN:
                    is_dead = verdict.fate is Fate.BURY_TOKEN and not self._is_doubted(run, verdict.reason)
                    tried = (after_attempt(job), run)
                    self._endings.bury(tried, verdict.reason, verdict, reports_token=is_dead)
        if resend:
            self._endings.tally["resent"] += len(resend)
            if pool.pauses:
                # a pause may have begun with this very batch
                pool.add(resend)
            else:
                pool.give_back(resend)
        self._stirred()

    def barred(self, pool: Pool, reason: str) -> None:
        """APNs refused the credential as a link was opened, or ended one for it: a pause, and no push was tried."""
        self._pause(pool, WHOLE, reason)

    def put_off(self, held: Iterable[Held], delay_s: float) -> None:
        """The jobs were not tried, for want of a link, and come again after this delay."""
        self._endings.put_off(held, delay_s)

    def expired(self, held: Iterable[Held]) -> None:
        """The jobs' time passed before they could be tried."""
        for entry in held:
            self._endings.bury(entry, "Expired")

    # -- what claiming and routing ask and tell ----------------------------------------------------------------

    def trickles(self) -> dict[str, int]:
        """Flows that are slowed down, since most of their device tokens are bad, and how many more of their jobs should
        be claimed now. It costs one truth test when there are none."""
        if not self._quality:
            return {}
        now_s = self._clock()
        for flow in self._quality.forget_silent(now_s):
            self._conditions.clear_flow(flow)
        in_hand = self._hand.flows
        return {
            flow: max(0, room - in_hand.get(flow, 0)) for flow, room in self._quality.rooms(now_s).items()
        }

    def heed(self, tenant: Tenant) -> None:
        """What becomes of the tenant's pushes that are in doubt is as it says from now on."""
        if tenant.once_at_most:
            self._once_at_most.add(tenant.id)
        else:
            self._once_at_most.discard(tenant.id)

    def forget(self, flows: Iterable[str]) -> None:
        """Their tenant has changed, and with it perhaps what was wrong."""
        for flow in flows:
            if self._quality.forget(flow):
                self._conditions.clear_flow(flow)

    def give_up(self, pool: Pool) -> None:
        """Nobody uses this credential any more, so nothing about it need be put right."""
        for topic in pool.pauses:
            self._conditions.clear(pool.key, topic)

    # -- inside ------------------------------------------------------------------------------------------------

    def _judge(self, pool: Pool, held: Held, outcome: Outcome) -> Verdict:
        job, run = held
        # while a credential is paused nothing is sent again at once for it
        resent = job.id in run.claim.resent or WHOLE in pool.pauses
        return judge(outcome, resent, run.tenant in self._once_at_most)

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
                    self._endings.put_back(pool.drop(_is_of(flow)))
                    answered = sum(held[1].flow == flow for held, _ in judged)
                    self._quality.excuse(flow, self._hand.flows.get(flow, 0) - answered)
                case State.WELL:
                    self._conditions.clear_flow(flow)
            if bad and flow in self._quality:
                self._conditions.note_flow(flow, BAD, bad)

    def _clear(self, pool: Pool, link: Link, accepted: list[Held]) -> None:
        """What APNs accepts may end pauses, and conditions that an earlier process left."""
        if pool.pauses:
            for topic in pool.pauses.accepted({held[0].topic for held in accepted}, link.opened_s):
                self._conditions.clear(pool.key, topic)
            if WHOLE in pool.pauses:
                return
        self._conditions.works(pool.key, accepted)

    def _pause(self, pool: Pool, topic: str, reason: str) -> None:
        pause_s = pool.pause(topic, reason)
        if pause_s:
            LOG.warning("paused for %.0f s after %s: %r", pause_s, reason, pool)
        self._conditions.note(pool.key, topic, reason)

    def _is_doubted(self, run: HeldRun, reason: str) -> bool:
        return is_bad(reason) and self._quality.doubts(run.flow)


def _is_of(flow: str) -> Callable[[Held], bool]:
    return lambda held: held[1].flow == flow
