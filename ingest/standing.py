"""How a tenant stands: GET /v1/tenant, for whoever has a key with the scope read.

What is asked of Redis for it is asked once a second for each tenant, however often somebody looks: those who look again
within that second see the same. So looking costs the queues next to nothing, and needs no rate of its own.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from ingest.answer import Answer, refused
from ingest.authentication import authenticate
from ingest.fates import NOT_REACHED
from ingest.options import IngestOptions
from ingest.store import Store
from shards.api_key import Scope
from shards.conditions import Condition
from shards.environment import Environment
from shards.errors import StoreError
from shards.problem import Refusal
from shards.tallies import Tally
from shards.tenant import Tenant

LOOK_EVERY_S: Final = 1.0
LOOKS_KEPT: Final = 1_000


class StandingLimits(msgspec.Struct, frozen=True):
    """What the tenant may ask of the gateway; null where it has no limit.

    ``weight`` is its share when others wait too. ``send_per_s`` and ``in_flight_most`` bound what is sent to Apple,
    ``admit_per_s`` and ``admit_burst`` what is taken in here, ``queue_most`` what may wait.
    """

    weight: int
    send_per_s: float | None
    in_flight_most: int | None
    admit_per_s: float | None
    admit_burst: int | None
    queue_most: int


class Waiting(msgspec.Struct, frozen=True):
    """Pushes that wait: by lane those that are ready, and in ``retry`` those that are tried again later.

    ``retry_at_least``: there may be more in retry than that. Pushes that are just being sent are not counted.
    """

    high: int
    low: int
    retry: int
    retry_at_least: bool


class Obstacle(msgspec.Struct, frozen=True):
    """What holds pushes up, until the tenant puts it right; ``detail`` is a sentence about it.

    It is of a credential, and of one ``topic`` of it or of all (""); or of no credential (""), but of all pushes there.
    ``reason`` is Apple's word; times are Unix milliseconds.
    """

    environment: str
    credential: str
    topic: str
    reason: str
    detail: str
    since_ms: int
    seen_ms: int
    refusals: int


class Standing(msgspec.Struct, frozen=True):
    """A tenant as it stands, without its secrets.

    ``environments`` are those that it has a credential for now. Nothing is sent from ``paused`` lanes. ``waiting`` and
    ``conditions`` are of ``as_of_ms``, Unix milliseconds.
    """

    name: str
    topics: tuple[str, ...]
    environments: list[str]
    limits: StandingLimits
    paused: tuple[str, ...]
    disabled: bool
    conditions: list[Obstacle]
    waiting: Waiting
    as_of_ms: int


class _Look(NamedTuple):
    """What Redis said of a tenant."""

    tally: Tally
    conditions: list[Condition]
    as_of_ms: int


_encode: Final = msgspec.json.Encoder().encode


class Standings:
    """The resource /v1/tenant. ``now_s`` is Unix time."""

    def __init__(
        self, store: Store, options: IngestOptions, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._options = options
        self._now_s = now_s
        self._looks: dict[str, tuple[float, asyncio.Task[_Look | Refusal]]] = {}

    async def show(self, request: web.BaseRequest, request_id: str) -> Answer:
        """GET /v1/tenant"""
        now_ms = int(self._now_s() * 1000)
        tenant = await authenticate(request, self._store.directory, Scope.READ, now_ms)
        if isinstance(tenant, Refusal):
            return self._refuse(tenant, request_id)
        look = await self._look(tenant)
        if isinstance(look, Refusal):
            return self._refuse(look, request_id)
        standing = Standing(
            name=tenant.id,
            topics=tenant.topics,
            environments=[
                environment.value
                for environment in Environment
                if any(credential.serves(environment, now_ms) for credential in tenant.credentials)
            ],
            limits=_limits(tenant, self._options.queue_most_tenant),
            paused=tenant.paused,
            disabled=tenant.disabled,
            conditions=list(_obstacles(tenant, look.conditions)),
            waiting=Waiting(*look.tally),
            as_of_ms=look.as_of_ms,
        )
        return Answer(200, _encode(standing), request_id)

    async def _look(self, tenant: Tenant) -> _Look | Refusal:
        now_s = asyncio.get_running_loop().time()
        until_s, look = self._looks.get(tenant.id, (0.0, None))
        if look is None or (look.done() and now_s >= until_s):
            if len(self._looks) >= LOOKS_KEPT:
                self._looks.clear()
            look = asyncio.create_task(self._ask(tenant))
            self._looks[tenant.id] = now_s + LOOK_EVERY_S, look
        # others may be waiting for it when this request goes away
        return await asyncio.shield(look)

    async def _ask(self, tenant: Tenant) -> _Look | Refusal:
        if self._store.shards is None:
            return NOT_REACHED
        try:
            return _Look(
                await self._store.tallies.count(tenant.id, tenant.spread, self._store.shards),
                await self._store.conditions.all(),
                int(self._now_s() * 1000),
            )
        except StoreError:
            return NOT_REACHED

    def _refuse(self, refusal: Refusal, request_id: str) -> Answer:
        return refused(refusal, request_id, retry_after_s=self._options.retry_after_s)


def _limits(tenant: Tenant, queue_most: int) -> StandingLimits:
    limits = tenant.limits
    return StandingLimits(
        weight=limits.weight,
        send_per_s=limits.send_per_s or None,
        in_flight_most=limits.in_flight_most or None,
        admit_per_s=limits.admit_per_s or None,
        admit_burst=limits.admit_burst or None,
        queue_most=limits.queue_most or queue_most,
    )


def _obstacles(tenant: Tenant, conditions: Iterable[Condition]) -> Iterable[Obstacle]:
    """The conditions that hold this tenant up."""
    names = {(each.team_id, each.known_as): each.name for each in tenant.credentials}
    for condition in conditions:
        if condition.concerns(tenant):
            name, reason, since_ms, seen_ms, refusals = condition
            credential = names.get((name.team_id, name.key_id), "")
            yield Obstacle(
                name.environment,
                credential,
                name.topic,
                reason,
                condition.sentence(),
                since_ms,
                seen_ms,
                refusals,
            )
