"""Routes that can't be used for now: which flows rest, what becomes of their pushes, and when they are tried again."""

import pytest
from rig import Rig, run, until

from engine.worker.route import AGAIN_MS
from engine.worker.router import Router
from shards.credential import Credential, context
from shards.tenant import Tenant
from shards.vault import MasterKey, Vault

KEY, OTHER_KEY = bytes(32), bytes(range(32))
FLOW = "tenant-0"


class OneTenant:
    """A directory of one tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def tenant(self, tenant_id: str) -> Tenant:
        return self._tenant


def credential(rig: Rig, team: int, *, for_its_topic: bool) -> Credential:
    """A team's key as a credential of the one tenant."""
    made = rig.teams[team]
    sealed = Vault(KEY).seal(made.private_key_pem, context(FLOW, made.key_id))
    topics = (made.topic,) if for_its_topic else ()
    return Credential(made.key_id, made.team_id, made.key_id, sealed, topics=topics)


def router(rig: Rig, vault: Vault, *credentials: Credential) -> Router:
    return rig.router(OneTenant(Tenant(FLOW, credentials=credentials)), vault, held=[])


def later(rig: Rig, routes: Router, seconds: float) -> None:
    rig.wall.ahead_s += seconds
    rig.clock.ahead_s += seconds
    routes.tend()


@pytest.mark.parametrize("for_its_topic", [False, True])
def test_a_credential_that_does_not_open_is_tried_again_when_the_master_key_may_have_been_put_right(
    for_its_topic: bool,
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            vault, topic = Vault(OTHER_KEY), rig.teams[0].topic
            routes = router(rig, vault, credential(rig, 0, for_its_topic=for_its_topic))
            route = await routes.route(FLOW)
            assert route.pool(topic) is None
            # where other topics may have credentials that open, the flow goes on
            assert routes.rests(FLOW) is (not for_its_topic)
            assert routes.known(FLOW) is route
            vault.master_key = MasterKey((KEY,))
            later(rig, routes, AGAIN_MS / 1000 + 1)
            assert routes.known(FLOW) is None and not routes.rests(FLOW)
            found = await routes.route(FLOW)
            assert found.pool(topic) is not None
            later(rig, routes, 300)
            assert routes.known(FLOW) is found

    run(scenario)


def test_a_tenant_without_a_credential_is_looked_at_now_and_then_and_rests_in_between() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            routes = router(rig, Vault(KEY))
            for _ in range(3):
                await routes.route(FLOW)
                assert routes.resting() == [FLOW] and routes.rests(FLOW)
                later(rig, routes, AGAIN_MS / 1000 + 1)
                # a route that is known and of no use would be claimed for and put back, again and again
                assert routes.known(FLOW) is None

    run(scenario)


@pytest.mark.parametrize("others", [0, 1], ids=["the only credential", "one beside another that works"])
def test_what_a_paused_credential_holds_up_stands_ready_only_if_its_flow_rests(others: int) -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            credentials = [credential(rig, team, for_its_topic=True) for team in range(1 + others)]
            routes = router(rig, Vault(KEY), *credentials)
            route = await routes.route(FLOW)
            pools = [route.pool(team.topic) for team in rig.teams]
            sick = pools[0]
            assert sick is not None and (pools[1] is not None) is bool(others)
            rig.pools += [pool for pool in pools if pool is not None]
            rig.simulator.script([{"then": [{"do": "answer", "reason": "Forbidden"}]}])
            refused, _ = rig.push(sick, 1)
            await until(lambda: refused.left == 0, lambda: sick)
            assert routes.rests(FLOW) is (not others)
            assert routes.resting() == ([] if others else [FLOW])
            # a flow that is claimed all the same would be claimed for these over and over, so they wait
            claim, _ = rig.push(sick, 20)
            assert claim.left == 0
            assert {retry.due_ms == 0 for retry in claim.retries} == {not others}
            # when the pause is over, one tries, and the others stand behind it
            later(rig, routes, 6)
            assert not routes.rests(FLOW)
            trying, _ = rig.push(sick, 20)
            assert routes.rests(FLOW) is (not others)
            assert trying.left == 1
            assert {retry.due_ms == 0 for retry in trying.retries} == {not others}

    run(scenario)
