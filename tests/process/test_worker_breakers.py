"""One worker process, and a tenant that APNs refuses: what is held back, where it stands, and how it goes on."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from worker_process import MASTER_KEY, WAIT_S, Place, run, until

from loadtest.simulator.server import Team
from loadtest.teams import make_team, tenant_of
from shards.job import decode_job
from shards.keys import CONDITIONS, shard_keys
from shards.lanes import Lane
from shards.tenants import DEFAULT_SHARDS, Tenants
from shards.vault import Vault

LONG_S = 600.0


async def lines(place: Place) -> list[str]:
    """What a person is told, with the tenant that it concerns."""
    store = Tenants(place.redis_url)
    try:
        tenants, conditions = await store.all(), await store.conditions.all()
        return [f"{t.id}: {each.sentence()}" for each in conditions for t in tenants if each.concerns(t)]
    finally:
        await store.close()


async def nothing_is_held_up(place: Place) -> None:
    """Returns when no condition is left; a worker writes them down a moment later."""
    async with asyncio.timeout(WAIT_S):
        while await lines(place):
            await asyncio.sleep(0.05)


async def change(place: Place, tenant: str, **fields: Any) -> None:
    store = Tenants(place.redis_url)
    try:
        await store.change(tenant, lambda old: msgspec.structs.replace(old, **fields))
    finally:
        await store.close()


def ready(place: Place, tenant: str) -> int:
    """How many of its pushes stand in the queues."""
    return sum(
        int(place.raw.llen(shard_keys(shard).ready(Lane.HIGH, tenant))) for shard in range(DEFAULT_SHARDS)
    )


def calls(place: Place, command: str) -> int:
    """How often Redis has executed a command, in scripts too."""
    return int(place.raw.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def dead_tokens(place: Place) -> int:
    return sum(int(place.raw.xlen(shard_keys(shard).dead_tokens)) for shard in range(DEFAULT_SHARDS))


def test_tokens_of_the_wrong_environment_come_to_a_trickle_lose_no_device_and_hold_up_nobody(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            sick, _ = place.teams
            answer = {"do": "answer", "reason": "BadDeviceToken"}
            place.simulator.script([{"match": {"team": sick.team_id}, "then": [answer]}])
            worker = await place.worker()
            stuck = await place.enqueue(place.jobs(2_000, 0), 0)
            await until(lambda: place.raw.exists(CONDITIONS), lambda: worker)
            loop = asyncio.get_running_loop()
            since_s, before = loop.time(), place.tried(stuck)[1]
            pushed = await place.enqueue(place.jobs(2_000, 1), 1)
            await until(lambda: place.accepted(pushed) == {1: 2_000}, lambda: worker)
            # enough of the trickle to see that it is one: four a second, and what a second saves
            await until(lambda: place.tried(stuck)[1] >= before + 12, lambda: worker)
            assert place.tried(stuck)[1] - before <= 4 * (loop.time() - since_s) + 8
            assert before <= 70
            [line] = await lines(place)
            assert line.startswith(f"{sick.tenant}: slowed down in production since ")
            assert "refuses most of its device tokens" in line and "may be tokens of sandbox" in line
            assert dead_tokens(place) <= 10
            assert {reason for reason, _ in place.dead()} == {"BadDeviceToken"}

            # whatever changes about the tenant, it begins anew; and is caught again, since nothing was put right
            await change(place, sick.tenant)
            await worker.says("are no longer doubted")
            await until(lambda: worker.log.read_text().count("most device tokens of") == 2, lambda: worker)
            place.simulator.script([])
            await change(place, sick.tenant)
            buried = {decode_job(job).id.decode() for _, job in place.dead()}
            await until(
                lambda: place.accepted([each for each in stuck if each not in buried]).keys() == {1},
                lambda: (worker, place.accepted(stuck)),
            )
            await place.settled(worker)
            await nothing_is_held_up(place)

    run(scenario)


def test_what_a_refused_key_holds_up_stands_ready_costs_nothing_and_goes_on_when_the_key_is_replaced(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            team = place.teams[0]
            place.simulator.script(
                [{"match": {"team": team.team_id}, "then": [{"do": "answer", "reason": "Forbidden"}]}]
            )
            # longer than the test: nothing goes on because a pause was over
            worker = await place.worker(pause_s=LONG_S)
            stuck = await place.enqueue(place.jobs(1_000))
            await until(lambda: place.raw.exists(CONDITIONS), lambda: worker)
            await until(lambda: ready(place, team.tenant) >= 999, lambda: (worker, place.queued()))
            assert [line for line in await lines(place) if "APNs says Forbidden" in line]
            await until(lambda: not place.claims(), lambda: worker)
            claimed = calls(place, "lpop")
            await asyncio.sleep(1.5)
            # ready, and not claimed to be put back again and again: a look at all shards now and then is all
            assert calls(place, "lpop") - claimed <= 2 * DEFAULT_SHARDS
            assert ready(place, team.tenant) >= 999

            place.simulator.script([])
            new = make_team(0)._replace(key_id="KEYS00NEW1")
            place.simulator.register(
                Team(
                    team_id=new.team_id,
                    key_id=new.key_id,
                    public_key_pem=new.public_key_pem,
                    topics=(team.topic,),
                )
            )
            [credential] = tenant_of(new, Vault(MASTER_KEY)).credentials
            await change(place, team.tenant, credentials=(credential,))
            await until(lambda: place.accepted(stuck) == {1: 1_000}, lambda: (worker, place.queued()))
            await place.settled(worker)
            # of the key that nobody uses any more nothing is left to put right
            await until(lambda: not place.raw.exists(CONDITIONS), lambda: worker)

    run(scenario)
