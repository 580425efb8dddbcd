"""Which pool a flow's pushes go to: flow → tenant → credential → pool, remembered until something changes.

A change to a tenant is followed at once: its routes are found anew, and a pool that no route leads to any more is
closed, so a credential that was revoked is not on the wire a moment later. One whose tenant only got another weight
keeps its links. A flow without a usable credential is *closed* for a while: its pushes stay in the queue.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Final

from engine.link.credentials import Identities
from engine.link.pool import Pool
from engine.policy.pace import Way
from engine.worker.fates import Fates
from engine.worker.pools import Pools
from engine.worker.route import AGAIN_MS, Route
from shards.credential import Credential
from shards.directory import Directory
from shards.errors import NotFound, StoreError, VaultError
from shards.flow import flows_of, tenant_of
from shards.key_files import KeyFileError
from shards.placement import shards_of
from shards.tenant import Tenant
from shards.vault import Vault

LOG: Final = logging.getLogger("clarion.router")

AGAIN_AFTER_S: Final = 0.5
# how long a flow rests that has no usable credential, unless its tenant changes
CLOSED_S: Final = AGAIN_MS / 1000
# flows and tenants that are looked at before others have their turn, and tenants that are asked for at once
IN_ONE_GO: Final = 16
TOGETHER: Final = 256
# a link that was written to since is in use, though between two rounds of claims all may have been answered
LATELY_S: Final = 0.5


class Router:
    """Tasks: 1 find the route of a flow; 2 follow changes; 3 say which flows should not be claimed, or not much."""

    def __init__(
        self,
        directory: Directory,
        vault: Vault,
        pools: Pools,
        fates: Fates,
        shards: int,
        held: Collection[int],
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pools = pools
        self._directory = directory
        self._identities = Identities(vault)
        self._fates = fates
        self._shards = shards
        self._held = held
        self._wall = wall
        self._clock = clock
        self._routes: dict[str, Route] = {}
        self._closed: dict[str, float] = {}
        # those whose tenants bound what is in flight, so that claiming looks at nobody else's
        self._bounded: set[str] = set()
        # of flows that have another than 1
        self.weights: dict[str, int] = {}
        self._changed: set[str] = set()
        self._stir = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Router {len(self._routes)} routes, {len(self._closed)} closed, {self.pools!r}>"

    def known(self, flow: str) -> Route | None:
        """The route, if it was found before and still holds."""
        route = self._routes.get(flow)
        return route if route is not None and self._wall() * 1000 < route.until_ms else None

    async def learn(self, flows: Iterable[str]) -> None:
        """Find the routes of many flows in one round trip, as far as there are any. Raises the store's errors."""
        missing = [flow for flow in flows if self.known(flow) is None]
        if not missing:
            return
        await self._directory.learn({tenant_of(flow) for flow in missing})
        for number, flow in enumerate(missing, 1):
            # one that has changed again since is asked for when its route is
            tenant = self._directory.known(tenant_of(flow))
            if tenant is not None:
                self._find(flow, tenant)
            if number % IN_ONE_GO == 0:
                await asyncio.sleep(0)

    async def route(self, flow: str) -> Route:
        """The route of a flow. Raises NotFound, and the store's errors."""
        return self._find(flow, await self._directory.tenant(tenant_of(flow)))

    def forget(self, tenant_id: str | None) -> None:
        """A tenant has changed (None: any may have)."""
        flows = [*self._routes, *self._closed] if tenant_id is None else flows_of(tenant_id)
        self._changed.update(tenant_of(flow) for flow in flows)
        if tenant_id is not None:
            self._fates.forget(flows)
        self._stir.set()

    async def run(self) -> None:
        """Follow changes, for ever."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            try:
                while self._changed:
                    await self._renew_some(list(islice(self._changed, TOGETHER)))
            except StoreError as error:
                LOG.warning("changes to tenants are followed later: %s", error)
                await asyncio.sleep(AGAIN_AFTER_S)
                self._stir.set()

    def tend(self) -> None:
        """To be called now and then."""
        self.pools.tend()
        now_s = self._clock()
        self._closed = {flow: until_s for flow, until_s in self._closed.items() if now_s < until_s}

    def way(self) -> Way:
        """To APNs: the round trip of the farthest link, and how many links are in use."""
        links = [link for pool in self.pools.all() for link in pool.links]
        trip_s = max((link.trip.least_s for link in links), default=0.0)
        return Way(trip_s, sum(link.idle_s() < LATELY_S for link in links))

    def resting(self) -> list[str]:
        """Flows that nothing could be sent for now: every credential that they use is paused, or has no link and gets
        none, or they have no credential."""
        rests = {pool for pool in self.pools if (pool.unreachable or pool.pauses) and pool.rests()}
        flows = list(self._closed)
        for pool in rests:
            routes = (self._routes.get(flow) for flow in pool.flows)
            flows += (route.flow for route in routes if route is not None and route.pools <= rests)
        return flows

    def rests(self, flow: str) -> bool:
        """Whether this is one of them."""
        route = self._routes.get(flow)
        pools = route.pools if route is not None else ()
        return flow in self._closed or (bool(pools) and all(pool.rests() for pool in pools))

    def limits(self) -> dict[str, int]:
        """Flows of tenants that bound what is in flight, and how much of that falls to this worker."""
        found = {}
        for flow in self._bounded:
            tenant = self._routes[flow].tenant
            mine = sum(shard in self._held for shard in shards_of(tenant.id, tenant.spread, self._shards))
            found[flow] = -(-tenant.limits.in_flight_most * mine // tenant.spread)
        return found

    def leave(self, pool: Pool) -> None:
        """The pool is closed: what was routed to it finds another."""
        for flow in tuple(pool.flows):
            self._drop(flow)

    # -- inside ------------------------------------------------------------------------------------------------

    def _find(self, flow: str, tenant: Tenant) -> Route:
        # first: the new route names itself to the same pools
        self._drop(flow)
        route = self._routes[flow] = Route(flow, tenant, self._open, int(self._wall() * 1000))
        if tenant.limits.in_flight_most:
            self._bounded.add(flow)
        if tenant.limits.weight != 1:
            self.weights[flow] = tenant.limits.weight
        self._fates.heed(tenant)
        if not route.usable:
            LOG.warning("%s has no usable credential: its pushes stay in the queue", flow)
            self._closed[flow] = self._clock() + CLOSED_S
        return route

    def _open(
        self, tenant: Tenant, credential: Credential, environment: str, spared: Collection[Pool]
    ) -> Pool | None:
        try:
            identity = self._identities.of(tenant.id, credential)
        except (VaultError, KeyFileError) as error:
            LOG.warning("credential %s of tenant %s can't be used: %s", credential.name, tenant.id, error)
            return None
        return self.pools.get(environment, identity, spared)

    async def _renew_some(self, tenant_ids: list[str]) -> None:
        await self._directory.learn(tenant_ids)
        for number, tenant_id in enumerate(tenant_ids, 1):
            # before it is read: it may change again while it is
            self._changed.discard(tenant_id)
            try:
                await self._renew(tenant_id)
            except StoreError:
                self._changed.add(tenant_id)
                raise
            if number % IN_ONE_GO == 0:
                await asyncio.sleep(0)

    async def _renew(self, tenant_id: str) -> None:
        """Find a tenant's routes anew, and close pools that nobody uses any more."""
        flows = [flow for flow in flows_of(tenant_id) if flow in self._routes or flow in self._closed]
        left: set[Pool] = set()
        if flows:
            try:
                tenant = await self._directory.tenant(tenant_id)
            except NotFound:
                tenant = None
            for flow in flows:
                old = self._routes.get(flow)
                left |= old.pools if old is not None else set()
                self._drop(flow)
                if tenant is not None:
                    route = self._find(flow, tenant)
                    for topic in old.topics if old is not None else ():
                        route.pool(topic)
        for pool in left:
            if not pool.flows:
                self._fates.give_up(pool)
                self.pools.close(pool)

    def _drop(self, flow: str) -> None:
        route = self._routes.pop(flow, None)
        if route is not None:
            route.leave()
        self._bounded.discard(flow)
        self.weights.pop(flow, None)
        self._closed.pop(flow, None)
