"""A worker whose tenants have certificates: what it sends with, and what becomes of one that APNs refuses."""

from pathlib import Path
from typing import Any

import msgspec
from worker_process import MASTER_KEY, Place, run, until

from loadtest.teams import certificate_of, issue
from shards.conditions import Condition
from shards.credential import Credential
from shards.tenant import Tenant
from shards.tenants import Tenants
from shards.vault import Vault

VAULT = Vault(MASTER_KEY)


def certificate(place: Place, team: int = 0, name: str = "push", **fields: Any) -> Credential:
    made = place.teams[team]
    issued = issue(made, place.simulator.push_authority, **fields)
    return certificate_of(made, issued, VAULT, name=name, environments=("production",))


async def give(place: Place, *credentials: Credential, team: int = 0) -> list[Credential]:
    """Let these be a tenant's credentials, the last one the newest; returns those it had."""
    had: list[Credential] = []

    def change(tenant: Tenant) -> Tenant:
        had[:] = tenant.credentials
        dated = (msgspec.structs.replace(each, created_ms=at) for at, each in enumerate(credentials, 1))
        return msgspec.structs.replace(tenant, credentials=tuple(dated))

    tenants = Tenants(place.redis_url)
    await tenants.change(place.teams[team].tenant, change)
    await tenants.close()
    return had


async def standing(place: Place) -> tuple[list[Tenant], list[Condition]]:
    """The tenants by number, and the conditions."""
    tenants = Tenants(place.redis_url)
    try:
        return [await tenants.get(team.tenant) for team in place.teams], await tenants.conditions.all()
    finally:
        await tenants.close()


def test_pushes_go_out_under_a_certificate_and_under_a_key_that_takes_its_place(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            ledger = place.simulator.ledger
            shown = certificate(place)
            [key] = await give(place, shown)
            worker = await place.worker()
            pushed = await place.enqueue(place.jobs(300)) + await place.enqueue(place.jobs(300, 1), 1)
            await until(lambda: place.accepted(pushed)[1] == 600, lambda: worker)
            assert ledger.summary()["bearers_per_key"] == {place.teams[1].key_id: 1}
            assert ledger.summary()["teams_per_connection_max"] == 1
            certified = {number for number, teams in ledger.connections().items() if key.team_id in teams}

            # a topic-specific key is as fit, and newer
            await give(place, shown, msgspec.structs.replace(key, topics=(place.teams[0].topic,)))
            await worker.says("closed: <Pool production/TEAM000000/push/")
            more = await place.enqueue(place.jobs(300))
            await until(lambda: place.accepted(more)[1] == 300, lambda: worker)
            await place.settled(worker)
            summary = ledger.summary()
            assert summary["bearers_per_key"] == {team.key_id: 1 for team in place.teams}
            assert (summary["repeated"], summary["refused"]) == (0, {})
            of_key = {ledger.attempts(each)[0].connection for each in more}
            assert certified and not of_key & certified
            assert "BEGIN" not in worker.log.read_text()

    run(scenario)


def test_a_certificate_that_apns_refuses_holds_up_its_tenant_only_until_another_takes_its_place(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            # what it is for was put down by hand, and is not true
            bad = certificate(place, environments=("sandbox",), name="bad")
            await give(place, bad)
            worker = await place.worker(pause_s=60.0)
            held = await place.enqueue(place.jobs(100))
            await worker.says("BadCertificateEnvironment")
            other = await place.enqueue(place.jobs(300, 1), 1)
            await until(lambda: place.accepted(other)[1] == 300, lambda: worker)
            await worker.says("can't be used: APNs says BadCertificateEnvironment")
            tenants, [condition] = await standing(place)
            assert [condition.concerns(tenant) for tenant in tenants] == [True, False]
            assert "BadCertificateEnvironment to credential bad" in condition.sentence()
            assert place.accepted(held)[1] == 0

            await give(place, bad, certificate(place, name="good"))
            await until(lambda: place.accepted(held)[1] == 100, lambda: worker)
            assert place.dead() == []

    run(scenario)
