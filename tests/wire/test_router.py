"""Flows find their pools, changes of tenants are followed, and pools close when nobody needs them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from rig import Rig, run, until

from engine.policy.links import LinkOptions
from engine.worker.hand import Claim
from engine.worker.router import Router
from loadtest.teams import make_team, tenant_of
from shards.credential import Credential, context
from shards.errors import NotFound
from shards.tenant import Limits, Tenant
from shards.vault import Vault

VAULT = Vault(bytes(32))


class Office:
    """Tenants by id, where a worker would ask its directory."""

    def __init__(self, *tenants: Tenant) -> None:
        self.tenants = {tenant.id: tenant for tenant in tenants}

    async def learn(self, tenant_ids: Iterable[str]) -> None:
        """They are all known."""

    async def tenant(self, tenant_id: str) -> Tenant:
        if tenant_id not in self.tenants:
            raise NotFound(tenant_id)
        return self.tenants[tenant_id]


@asynccontextmanager
async def routing(rig: Rig, office: Office, **options: Any) -> AsyncIterator[Router]:
    """A router that is tended every 10 ms, and follows what it is told of."""
    links = LinkOptions(**{"apart_s": 0.02, "full_s": 0.02, "redial_first_s": 0.05, "late_s": 5.0, **options})
    router = rig.router(office, VAULT, links)
    following = asyncio.create_task(router.run())

    async def tend() -> None:
        while True:
            router.tend()
            await asyncio.sleep(0.01)

    tending = asyncio.create_task(tend())
    yield router
    for task in (following, tending):
        task.cancel()
    for pool in router.pools.all():
        pool.abort()
    await until(lambda: not any(pool.links for pool in router.pools.all()), lambda: router)


async def push(rig: Rig, router: Router, team: int, number: int = 1) -> Claim:
    """So many pushes of a team's tenant, sent and answered."""
    flow = rig.teams[team].tenant
    claim, held = rig.held(number, team)
    route = router.known(flow) or await router.route(flow)
    for pool, some in route.sort(held):
        assert pool is not None
        pool.add(some)
        pool.pump()
    await until(lambda: claim.left == 0, lambda: router)
    return claim


def changed(office: Office, router: Router, tenant: Tenant) -> None:
    office.tenants[tenant.id] = tenant
    router.forget(tenant.id)


def open_links(router: Router) -> int:
    return sum(len(pool.links) for pool in router.pools.all())


def test_tenants_of_one_team_and_key_share_their_links_and_others_do_not() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            ours = tenant_of(rig.teams[0], VAULT)
            twin_team = rig.teams[0]._replace(tenant="twin")
            twin = tenant_of(twin_team, VAULT)
            office = Office(ours, twin, tenant_of(rig.teams[1], VAULT))
            async with routing(rig, office) as router:
                await push(rig, router, 0)
                await push(rig, router, 1)
                route = await router.route("twin")
                assert route.pools == (await router.route(ours.id)).pools
                assert len(list(router.pools)) == 2

    run(scenario)


def test_a_revoked_credential_is_off_the_wire_at_once_and_others_stay() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            tenant, other = (tenant_of(team, VAULT) for team in rig.teams)
            office = Office(tenant, other)
            async with routing(rig, office) as router:
                await push(rig, router, 0)
                await push(rig, router, 1)
                kept = (await router.route(other.id)).pools
                changed(office, router, Tenant(tenant.id, tenant.topics))
                await until(lambda: open_links(router) == 1, lambda: router)
                assert set(router.pools) == kept
                assert router.resting() == [tenant.id]

    run(scenario)


def test_a_tenant_that_only_has_another_weight_keeps_its_links() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            tenant = tenant_of(rig.teams[0], VAULT)
            office = Office(tenant)
            async with routing(rig, office) as router:
                await push(rig, router, 0)
                [pool] = router.pools
                [link] = pool.links
                heavier = Tenant(tenant.id, tenant.topics, tenant.credentials, limits=Limits(weight=9))
                changed(office, router, heavier)
                await until(lambda: not router._changed, lambda: router)
                await push(rig, router, 0)
                assert [pool] == list(router.pools) and pool.links == [link]
                # and nobody else's links either, when all may have changed
                router.forget(None)
                await until(lambda: not router._changed, lambda: router)
                assert pool.links == [link] and pool.flows == {tenant.id}

    run(scenario)


def test_a_newer_key_takes_over_and_what_the_old_one_had_not_sent_is_given_back() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            tenant = tenant_of(rig.teams[0], VAULT)
            fresh = make_team(0)._replace(key_id="KEYS009999")
            office = Office(tenant)
            async with routing(rig, office) as router:
                route = await router.route(tenant.id)
                [old] = route.pools
                claim, held = rig.held(3)
                old.add(held)
                sealed = VAULT.seal(fresh.private_key_pem, context(tenant.id, fresh.key_id))
                newer = Credential(fresh.key_id, fresh.team_id, fresh.key_id, sealed, created_ms=1)
                changed(office, router, Tenant(tenant.id, tenant.topics, (newer,)))
                await until(lambda: claim.left == 0, lambda: router)
                # ready at once, with no attempt counted
                assert [retry.due_ms for retry in claim.retries] == [0] * 3
                [pool] = (await router.route(tenant.id)).pools
                assert pool is not old and pool.key.key_id == fresh.key_id

    run(scenario)


def test_a_pool_that_nobody_has_used_for_long_is_closed_and_opened_again_on_demand() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            office = Office(tenant_of(rig.teams[0], VAULT))
            async with routing(rig, office, idle_s=60.0, rest_s=1e9, silent_s=1e9) as router:
                await push(rig, router, 0)
                rig.clock.ahead_s += 30
                await asyncio.sleep(0.05)
                assert open_links(router) == 1
                rig.clock.ahead_s += 31
                await until(lambda: not router.pools.all(), lambda: router)
                assert router.known(rig.teams[0].tenant) is None
                await push(rig, router, 0)
                assert open_links(router) == 1

    run(scenario)


def test_beyond_the_bound_the_pool_that_was_used_least_recently_is_closed() -> None:
    async def scenario() -> None:
        async with Rig(teams=3) as rig:
            office = Office(*(tenant_of(team, VAULT) for team in rig.teams))
            async with routing(rig, office, pools_most=2) as router:
                for team in (0, 1, 0, 2):
                    await push(rig, router, team)
                    rig.clock.ahead_s += 0.1
                assert {pool.key.team_id for pool in router.pools} == {
                    rig.teams[0].team_id,
                    rig.teams[2].team_id,
                }
                await until(lambda: open_links(router) == 2, lambda: router)

    run(scenario)


@pytest.mark.parametrize("pools_most", [2, 1])
def test_at_the_bound_a_flow_that_needs_another_pool_keeps_those_that_it_has(pools_most: int) -> None:
    async def scenario() -> None:
        async with Rig(teams=3) as rig:
            # one tenant with a key for each of two topics
            ours = [team._replace(tenant="tenant-0") for team in rig.teams[:2]]
            keys = tuple(
                replace(key, topics=(team.topic,))
                for team in ours
                for key in tenant_of(team, VAULT).credentials
            )
            office = Office(
                Tenant("tenant-0", tuple(team.topic for team in ours), keys), tenant_of(rig.teams[2], VAULT)
            )
            async with routing(rig, office, pools_most=pools_most) as router:
                await push(rig, router, 2)
                route = await router.route("tenant-0")
                first = route.pool(ours[0].topic)
                assert first is not None
                rig.clock.ahead_s += 0.1
                # of all pools it is the one that was used least recently
                for pool in set(router.pools) - {first}:
                    pool.add([])
                second = route.pool(ours[1].topic)
                assert second is not None
                second.pause("", "InvalidProviderToken")
                assert router.resting() == []
                first.pause("", "InvalidProviderToken")
                assert set(router.resting()) == {"tenant-0"}
                assert router.known("tenant-0") is route and set(router.pools) == {first, second}
                # what was too many goes when another asks
                await push(rig, router, 2)
                assert len(list(router.pools)) == pools_most
                assert router.resting() == []

    run(scenario)


def test_a_credential_whose_time_is_over_is_replaced_by_the_next_best_without_any_change() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            tenant = tenant_of(rig.teams[0], VAULT)
            [old] = tenant.credentials
            end_ms = int(rig.wall() * 1000) + 60_000
            sealed = VAULT.seal(make_team(0).private_key_pem, context(tenant.id, "short"))
            short = Credential("short", old.team_id, "KEYS009999", sealed, created_ms=9, not_after_ms=end_ms)
            office = Office(Tenant(tenant.id, tenant.topics, (old, short)))
            async with routing(rig, office) as router:
                [pool] = (await router.route(tenant.id)).pools
                assert pool.key.key_id == "KEYS009999"
                assert router.known(tenant.id) is not None
                rig.wall.ahead_s += 60
                assert router.known(tenant.id) is None
                await push(rig, router, 0)
                [pool] = (await router.route(tenant.id)).pools
                assert pool.key.key_id == old.key_id

    run(scenario)


def test_topics_with_keys_of_their_own_go_their_own_ways_and_one_without_waits() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            tenant = tenant_of(rig.teams[0], VAULT)
            [all_topics] = tenant.credentials
            own = replace(all_topics, topics=("com.acme.own",))
            office = Office(Tenant(tenant.id, ("com.acme.own", "com.acme.other"), (own,)))
            async with routing(rig, office) as router:
                route = await router.route(tenant.id)
                (job, of_run), *_ = rig.held(1)[1]
                ours, others = replace(job, topic="com.acme.own"), replace(job, topic="com.acme.other")
                by_pool = dict(route.sort([(ours, of_run), (others, of_run)]))
                [pool] = (pool for pool in by_pool if pool is not None)
                assert (by_pool[pool], by_pool[None]) == ([(ours, of_run)], [(others, of_run)])
                assert route.usable

    run(scenario)


def test_flows_are_withheld_when_every_credential_that_they_use_is_paused() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            office = Office(*(tenant_of(team, VAULT) for team in rig.teams))
            async with routing(rig, office) as router:
                for team in (0, 1):
                    await push(rig, router, team)
                assert router.resting() == []
                [pool] = (await router.route(rig.teams[0].tenant)).pools
                pool.pause("", "InvalidProviderToken")
                assert router.resting() == [rig.teams[0].tenant]
                rig.clock.ahead_s += 5.1
                # one push may try
                assert router.resting() == []

    run(scenario)


def test_what_a_tenant_bounds_in_flight_is_divided_by_the_shards_that_a_worker_holds() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            tenant = tenant_of(rig.teams[0], VAULT, spread=4, limits=Limits(in_flight_most=100))
            office = Office(tenant)
            async with routing(rig, office) as router:
                await router.route(tenant.id)
                assert router.limits() == {tenant.id: 100}
                router._held = ()
                assert router.limits() == {tenant.id: 0}
                changed(office, router, Tenant(tenant.id, tenant.topics, tenant.credentials))
                await until(lambda: router.limits() == {}, lambda: router)

    run(scenario)
