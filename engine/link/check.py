"""Does APNs take a tenant's credentials? One harmless push for each, over a link of its own.

It goes past the queues: nothing of it is stored, and neither pauses nor conditions change by it.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from engine.apns.endpoint import Endpoint, endpoints
from engine.apns.headers import Held, ProfileBook
from engine.apns.identity import Identity
from engine.apns.outcomes import Certainty, Lost, Outcome
from engine.http2.events import Answered, Event
from engine.link.contexts import Contexts
from engine.link.credentials import Identities
from engine.link.dial import dial
from engine.link.errors import DialError
from engine.link.link import Link, Outcomes
from engine.policy.diagnosis import Finding, State, Trial, of_answer, of_failure, plan
from shards.errors import VaultError
from shards.job import Job, new_ids
from shards.key_files import KeyFileError
from shards.push_types import push_type_of
from shards.tenant import Tenant
from shards.vault import Vault

DEADLINE_S: Final = 10.0
CLOSE_S: Final = 1.0
# connections opened at once, by one check
AT_ONCE: Final = 4

_DEVICE_TOKEN: Final = b"00" * 32
# silent, should there be such a device after all
_PAYLOAD: Final = b'{"aps":{"content-available":1}}'


def check_of(vault: Vault, production_url: str, sandbox_url: str, ca_file: Path | None) -> "Check":
    """A check that finds APNs there. Raises ValueError for an URL that is none."""
    return Check(vault, endpoints(production_url, sandbox_url), Contexts(ca_file))


class Check:
    """``addresses``: where APNs is, by environment. ``wall``: Unix seconds."""

    def __init__(
        self,
        vault: Vault,
        addresses: Mapping[str, Endpoint],
        contexts: Contexts,
        *,
        deadline_s: float = DEADLINE_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._identities = Identities(vault)
        self._addresses = addresses
        self._contexts = contexts
        self._deadline_s = deadline_s
        self._wall = wall
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def tenant(
        self, tenant: Tenant, environment: str | None = None, topic: str | None = None
    ) -> list[Finding]:
        """What is found of its credentials, in the order in which it has them; at least one finding.

        ``environment``: only there; ``topic``: only of what would be taken for that topic.
        """
        planned = plan(tenant, environment, topic, int(self._wall() * 1000))
        return await asyncio.gather(*(self._find(tenant.id, each) for each in planned))

    async def _find(self, tenant_id: str, planned: Trial | Finding) -> Finding:
        if isinstance(planned, Finding):
            return planned
        try:
            identity = self._identities.of(tenant_id, planned.credential)
        except (VaultError, KeyFileError) as error:
            return planned.found(State.BAD, "Unusable", str(error))
        async with self._turns:
            return await self._try(planned, identity)

    async def _try(self, trial: Trial, identity: Identity) -> Finding:
        at = self._addresses[trial.environment]
        probe = Probe(ProfileBook(at.authority, identity.badge(self._wall())))
        try:
            context = await self._contexts.of(identity)
            link = await dial(
                at, context, probe.make_link, lambda found: random.randrange(len(found)), self._deadline_s
            )
        except DialError as error:
            return of_failure(trial, error.phase, str(error), error.reason, error.ended)
        [apns_id] = new_ids(int(self._wall() * 1000), os.urandom(10))
        outcome = await probe.push(link, harmless(apns_id, trial), self._deadline_s)
        if isinstance(outcome, Lost) and link.reason:
            return of_failure(trial, "settings", link.farewell, link.reason, ended=True)
        return of_answer(trial, outcome, clock_says(probe.headers, self._wall()))


class Probe:
    """The owner of one link, for one push. ``headers`` are of the answer, unless it was a bare 200."""

    def __init__(self, book: ProfileBook) -> None:
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self._book = book
        self._outcome: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()

    def make_link(self) -> "_ProbeLink":
        return _ProbeLink(self, self._book, time.monotonic)

    async def push(self, link: Link, job: Job, deadline_s: float) -> Outcome | None:
        """What became of it; None: it was accepted. The link is closed after it."""
        try:
            link.send([(job, None)], 1)
            async with asyncio.timeout(deadline_s):
                outcome = await asyncio.shield(self._outcome)
        except TimeoutError:
            outcome = Lost(Certainty.IN_DOUBT, f"nothing within {deadline_s:g} s")
            link.abort()
        else:
            link.retire()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._closed.wait()
        except TimeoutError:
            link.abort()
        return outcome

    # -- what the link reports ---------------------------------------------------------------------------------

    def outcomes(self, link: Link, accepted: list[Held], others: Outcomes) -> None:
        if not self._outcome.done():
            self._outcome.set_result(None if accepted else others[0][1])

    def writable(self, link: Link) -> None:
        pass

    def closed(self, link: Link) -> None:
        self._closed.set()


class _ProbeLink(Link):
    """A link that keeps the headers of an answer, which nobody else looks at."""

    def __init__(self, probe: Probe, book: ProfileBook, clock: Callable[[], float]) -> None:
        super().__init__(probe, book, clock)
        self._probe = probe

    def _on_event(self, event: Event, accepted: list[Held], others: Outcomes) -> None:
        if isinstance(event, Answered):
            self._probe.headers = event.headers
        super()._on_event(event, accepted, others)


def harmless(apns_id: bytes, trial: Trial) -> Job:
    """A push that nobody would see, for a device that does not exist, to be tried once."""
    topic = trial.topic
    push_type = push_type_of(topic)
    return Job(
        apns_id,
        _DEVICE_TOKEN,
        topic,
        _PAYLOAD,
        trial.environment,
        push_type,
        priority=5 if push_type == "background" else 0,
        expiration=0,
    )


def clock_says(headers: tuple[tuple[bytes, bytes], ...], now_s: float) -> str:
    """How this machine's clock stands to that of whoever answered, if the answer says what time it is."""
    here = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now_s))
    try:
        there_s = parsedate_to_datetime(dict(headers)[b"date"].decode("ascii")).timestamp()
    except (KeyError, ValueError):
        return f"this machine's clock must be wrong; it says {here} UTC"
    ahead_s = round(now_s - there_s)
    how = f"{timedelta(seconds=abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'}"
    return f"this machine's clock is {how} the one that answered; it says {here} UTC"
