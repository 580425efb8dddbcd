"""The meters: every tenant with a rate has its allowance here, and those that run low ask Redis together.

Theory of operation. A request that the allowance covers is taken in at once. One that it does not cover stands in its
tenant's line; so does, without a request, a tenant that asks ahead of need. As long as there are lines, one flight is
under way, which asks for all of them in one round trip, and meanwhile new lines form for the next. What is granted
serves the line in its order; the first of it needs what it gets whole, so a large one can't be passed by for ever.
What a request took and did not use after all goes back the same way, if it is more than a process should keep.

A tenant without a rate never comes here.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from ingest.rate import IDLE_S, Allowance, Take
from shards.errors import StoreError, StoreRefused, StoreUnavailable
from shards.grant import Ask, Grant
from shards.tenant import Tenant

LOG: Final = logging.getLogger("clarion.ingest")
FORGET_AFTER_S: Final = 60.0

Line = list[tuple[int, "asyncio.Future[Take | StoreError]"]]


class Granting(Protocol):
    """The one verb of ``shards.rates.Rates``."""

    async def grant(self, asks: Sequence[Ask]) -> list[Grant | StoreRefused]: ...


class Meters:
    """The allowances of one process, by tenant."""

    def __init__(self, rates: Granting, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._now_s = now_s
        self._allowances: dict[str, Allowance] = {}
        self._lines: dict[str, Line] = {}
        self._flight: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "idle" if self._flight is None else "asking"
        return f"<Meters {state}, {len(self._allowances)} tenants, {len(self._lines)} lines>"

    def of(self, tenant: Tenant) -> Allowance | None:
        """The allowance of a tenant; None for one without a rate."""
        limits = tenant.limits
        if not limits.admit_per_s:
            return None
        allowance = self._allowances.get(tenant.id)
        if allowance is None:
            allowance = self._allowances[tenant.id] = Allowance(tenant.id, limits, self._now_s())
        elif allowance.limits != limits:
            allowance.regulate(limits, self._now_s())
        return allowance

    async def take(self, allowance: Allowance, pushes: int) -> Take | StoreError:
        """Take in so many pushes: TAKEN or OVER, or why Redis could not be asked."""
        # it may have been forgotten while the body arrived, and another may stand in its place
        allowance = self._allowances.setdefault(allowance.tenant, allowance)
        now_s = self._now_s()
        taken = allowance.take(pushes, now_s)
        if taken is Take.ASK:
            fate: asyncio.Future[Take | StoreError] = asyncio.get_running_loop().create_future()
            self._stand_in_line(allowance).append((pushes, fate))
            return await fate
        if taken is Take.TAKEN and allowance.runs_low(now_s):
            self._stand_in_line(allowance)
        return taken

    def give_back(self, allowance: Allowance, pushes: int) -> None:
        """So many that were taken in are not stored, and do not count. Takes no time."""
        known = self._allowances.get(allowance.tenant)
        if known is None:
            # forgotten meanwhile
            return
        known.restore(pushes)
        if known.has_spare():
            self._stand_in_line(known)

    def headers(self, allowance: Allowance) -> str:
        """The header lines of an answer to a tenant with a rate."""
        return allowance.headers(self._now_s())

    def retry_after_s(self, allowance: Allowance) -> int:
        """When to come again: not before the RateLimit header says that the rate is whole again, and at least 1."""
        return max(1, allowance.full_in_s(self._now_s()))

    async def sweep(self) -> None:
        """Give back what was not used lately, and forget who was not seen for long. Call it every second or so."""
        now_s = self._now_s()
        returns: list[tuple[Allowance, Ask]] = []
        for allowance in tuple(self._allowances.values()):
            idle_s = allowance.idle_s(now_s)
            if idle_s >= IDLE_S and allowance.left:
                returns.append((allowance, allowance.give_back()))
            elif allowance.has_spare():
                returns.append((allowance, allowance.return_spare()))
            elif idle_s >= FORGET_AFTER_S and allowance.tenant not in self._lines:
                del self._allowances[allowance.tenant]
        if not returns:
            return
        for (allowance, ask), answer in zip(
            returns, await self._asked([ask for _, ask in returns]), strict=True
        ):
            if not isinstance(answer, Grant):
                _keep(allowance, ask, answer)

    def _stand_in_line(self, allowance: Allowance) -> Line:
        line = self._lines.setdefault(allowance.tenant, [])
        if self._flight is None:
            # a new task begins in the next turn of the loop, so all requests of this turn stand in line by then
            self._flight = asyncio.create_task(self._fly())
        return line

    async def _fly(self) -> None:
        try:
            while self._lines:
                lines, self._lines = self._lines, {}
                await self._fly_once(lines)
        finally:
            self._flight = None

    async def _fly_once(self, lines: Mapping[str, Line]) -> None:
        aboard: list[tuple[Allowance, Line, Ask]] = []
        for tenant, line in lines.items():
            allowance = self._allowances[tenant]
            # the last flight may have brought enough for them too
            needs = [pushes for pushes, fate in line if not _served(pushes, fate, allowance)]
            if needs:
                aboard.append((allowance, line, allowance.ask(needs[0], sum(needs[1:]))))
            elif allowance.has_spare():
                aboard.append((allowance, line, allowance.return_spare()))
            elif allowance.runs_low(self._now_s()):
                aboard.append((allowance, line, allowance.ask()))
        if not aboard:
            return
        answers: Sequence[Grant | StoreError] = [StoreError("the flight was broken off")] * len(aboard)
        try:
            answers = await self._asked([ask for _, _, ask in aboard])
        finally:
            now_s = self._now_s()
            for (allowance, line, ask), answer in zip(aboard, answers, strict=True):
                error = None if isinstance(answer, Grant) else answer
                allowance.credit(ask, answer if isinstance(answer, Grant) else None, now_s)
                if error is not None:
                    _keep(allowance, ask, error)
                for pushes, fate in line:
                    if not fate.done():
                        fate.set_result(error or (Take.TAKEN if allowance.draw(pushes) else Take.OVER))

    async def _asked(self, asks: Sequence[Ask]) -> Sequence[Grant | StoreError]:
        try:
            return await self._rates.grant(asks)
        except StoreError as error:
            return [error] * len(asks)
        except Exception:
            LOG.exception("the rates failed in a way that nobody foresaw")
            return [StoreError("the rates failed")] * len(asks)


def _served(pushes: int, fate: "asyncio.Future[Take | StoreError]", allowance: Allowance) -> bool:
    """Whether a request of a line needs nothing more: what is here covers it, or it has gone away."""
    if not fate.done() and pushes <= allowance.left:
        allowance.left -= pushes
        fate.set_result(Take.TAKEN)
    return fate.done()


def _keep(allowance: Allowance, ask: Ask, error: StoreError) -> None:
    """What was to go back stays here for another time if the bucket surely has it not."""
    kept = isinstance(error, StoreRefused) or (isinstance(error, StoreUnavailable) and not error.in_doubt)
    allowance.unreturned(ask, kept=kept)
    if ask.back and not kept:
        LOG.info(
            "%d of what the rate of %s allows are not given back: %s; no push is lost",
            ask.back,
            ask.tenant,
            error,
        )
