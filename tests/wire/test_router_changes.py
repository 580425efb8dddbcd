"""The router, with a store that a test may change at any moment: to which pools flows lead, and how it follows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from rig import Rig, run, until

from engine.worker.router import Router
from loadtest.teams import make_team, tenant_of
from shards.directory import Directory
from shards.errors import NotFound, StoreUnavailable
from shards.tenant import Limits, Tenant
from shards.vault import Vault

VAULT = Vault(bytes(32))
TEAM = make_team(0)


def member(number: int, **fields: Any) -> Tenant:
    """One of several tenants that have a copy of the same key."""
    return tenant_of(TEAM._replace(tenant=f"member-{number}"), VAULT, **fields)


class Records:
    """The store: records, how often it was asked, and what happens while an answer is on its way."""

    def __init__(self, *tenants: Tenant) -> None:
        self.tenants = {tenant.id: tenant for tenant in tenants}
        self.asked = 0
        self.meanwhile: list[Callable[[], None]] = []
        self.away = False

    async def some(self, tenant_ids: Sequence[str]) -> list[Tenant]:
        self.asked += bool(tenant_ids)
        if self.away:
            raise StoreUnavailable("gone", in_doubt=False)
        found = [self.tenants[each] for each in tenant_ids if each in self.tenants]
        await asyncio.sleep(0)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return found

    async def get(self, tenant_id: str) -> Tenant:
        for tenant in await self.some([tenant_id]):
            return tenant
        raise NotFound(tenant_id)


@asynccontextmanager
async def routing(rig: Rig, records: Records) -> AsyncIterator[tuple[Router, Directory]]:
    directory = Directory("", records, on_change=lambda tenant: router.forget(tenant))  # type: ignore[arg-type]
    router = rig.router(directory, VAULT)
    following = asyncio.create_task(router.run())
    yield router, directory
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


def test_the_routes_of_many_flows_are_found_with_one_question_and_one_pool_serves_a_key() -> None:
    async def scenario() -> None:
        records = Records(*map(member, range(40)))
        async with Rig() as rig, routing(rig, records) as (router, _):
            flows = [f"member-{number}" for number in range(41)]
            await router.learn(flows)
            assert records.asked == 1
            routes = [router.known(flow) for flow in flows]
            # the last of them does not exist
            assert [route is None for route in routes] == [False] * 40 + [True]
            assert len({pool for route in routes[:40] if route for pool in route.pools}) == 1
            await router.learn(flows[:40])
            assert records.asked == 1

    run(scenario)


def test_a_change_while_routes_are_found_leaves_none_of_what_was() -> None:
    async def scenario() -> None:
        records = Records(*map(member, range(40)))
        async with Rig() as rig, routing(rig, records) as (router, directory):

            def change() -> None:
                records.tenants["member-39"] = member(39, limits=Limits(weight=4))
                directory.forget("member-39")

            records.meanwhile = [change]
            # so many that the change is followed before the last of them has its turn
            await router.learn(list(records.tenants))
            route = router.known("member-39") or await router.route("member-39")
            assert route.tenant.limits.weight == 4

    run(scenario)


def test_a_second_change_while_the_first_is_followed_is_followed_too() -> None:
    async def scenario() -> None:
        records = Records(member(0))
        async with Rig() as rig, routing(rig, records) as (router, directory):
            await router.learn(["member-0"])

            def change() -> None:
                records.tenants["member-0"] = member(0, limits=Limits(weight=7))
                directory.forget("member-0")

            # another's change makes the first answer worthless, and the second is outdated when it comes
            records.meanwhile = [lambda: directory.forget("another"), change]
            directory.forget("member-0")

            def weight() -> int:
                route = router.known("member-0")
                return route.tenant.limits.weight if route is not None else 0

            await until(lambda: weight() == 7, weight)

    run(scenario)


@pytest.mark.parametrize("tenants", [1, 300])
def test_when_anything_may_have_changed_every_route_is_found_anew(tenants: int) -> None:
    async def scenario() -> None:
        records = Records(*map(member, range(tenants)))
        async with Rig() as rig, routing(rig, records) as (router, directory):
            flows = list(records.tenants)
            await router.learn(flows)
            for number in range(tenants):
                records.tenants[f"member-{number}"] = member(number, limits=Limits(weight=2))
            records.away, records.asked = True, 0
            directory.forget(None)
            await until(lambda: records.asked)
            records.away, records.asked = False, 0
            await until(
                lambda: all((r := router.known(f)) and r.tenant.limits.weight == 2 for f in flows),
                lambda: router,
            )
            # a question for some hundred, and not for each
            assert records.asked <= 1 + tenants // 100

    run(scenario)


def test_tenants_of_one_team_with_another_key_under_the_same_id_share_no_pool() -> None:
    async def scenario() -> None:
        impostor = make_team(0)._replace(tenant="impostor")
        records = Records(member(0), member(1), tenant_of(impostor, VAULT))
        async with Rig() as rig, routing(rig, records) as (router, _):
            await router.learn(["member-0", "impostor", "member-1"])
            pools = [(await router.route(flow)).pools for flow in ("member-0", "impostor", "member-1")]
            assert pools[0] == pools[2] and pools[0].isdisjoint(pools[1])

    run(scenario)
