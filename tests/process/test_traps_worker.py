"""Traps between one worker, or several, and APNs: T2, T4 and T11."""

import secrets
import time
from pathlib import Path
from typing import Any

from worker_process import Place, run, until

from engine.apns.bearer import GRID_S
from loadtest.simulator.server import Device, Simulator, SimulatorOptions, Team
from shards.job import decode_job, encode_job
from shards.keys import shard_keys
from shards.tenants import DEFAULT_SHARDS

# what a device can be, and what APNs then says
SAID_OF: dict[Any, str] = {
    "unregistered": "Unregistered",
    "expired": "ExpiredToken",
    "bad": "BadDeviceToken",
    "other_app": "DeviceTokenNotForTopic",
}


def seen(simulator: Simulator) -> set[str]:
    return {entry["apns_id"] for entry in simulator.ledger.entries()}


def test_t2_pushes_for_sandbox_and_for_production_in_turn_each_reach_their_own_service(
    redis_url: str, tmp_path: Path
) -> None:
    """A client that is switched between the two for each push sends some to where their device is unknown."""

    async def scenario() -> None:
        tls: dict[str, Any] = {"tls_dir": tmp_path / "tls"}
        async with (
            Place(redis_url, tmp_path, tenants=2, **tls) as place,
            Simulator(SimulatorOptions(environment="sandbox", **tls)) as sandbox,
        ):
            for team in place.teams:
                sandbox.register(
                    Team(
                        team_id=team.team_id,
                        key_id=team.key_id,
                        public_key_pem=team.public_key_pem,
                        topics=(team.topic,),
                    )
                )
            worker = await place.worker(apns_sandbox_url=f"https://localhost:{sandbox.port}")
            ids: dict[str, list[str]] = {"production": [], "sandbox": []}
            for round_ in range(10):
                for team in range(2):
                    jobs = [
                        place.jobs(1, team, environment=("production", "sandbox")[(each + round_) % 2])[0]
                        for each in range(50)
                    ]
                    await place.enqueue(jobs, team)
                    for job in jobs:
                        ids[job.environment].append(job.id.decode())
            await place.settled(worker)
            assert seen(place.simulator) == set(ids["production"])
            assert seen(sandbox) == set(ids["sandbox"])
            assert place.simulator.ledger.summary()["accepted"] == len(ids["production"]) == 500
            assert sandbox.ledger.summary()["accepted"] == len(ids["sandbox"]) == 500

    run(scenario)


def test_t4_dead_device_tokens_are_reported_whole_and_never_logged(redis_url: str, tmp_path: Path) -> None:
    """Feedback with a shortened token can't be acted upon, and a log with the whole one names a device."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            tokens = {fate: [secrets.token_hex(32) for _ in range(5)] for fate in (*SAID_OF, "good")}
            # Apple may make them longer than the 32 bytes of today
            tokens["unregistered"].append(secrets.token_hex(100))
            for fate in SAID_OF:
                for token in tokens[fate]:
                    place.simulator.tell(Device(token=token, fate=fate, timestamp_ms=1_700_000_000_000))
            worker = await place.worker()
            everyone = [token for some in tokens.values() for token in some]
            await place.enqueue([place.jobs(1, device_token=token.encode())[0] for token in everyone])
            await place.settled(worker)
            reported = [
                (entry[b"reason"].decode(), entry[b"token"].decode())
                for shard in range(DEFAULT_SHARDS)
                for _, entry in place.raw.xrange(shard_keys(shard).dead_tokens)
            ]
            assert sorted(reported) == sorted(
                (reason, token) for fate, reason in SAID_OF.items() for token in tokens[fate]
            )
            # its letter has each whole too, so that the push can be sent again
            buried = [(reason, decode_job(job).device_token.decode()) for reason, job in place.dead()]
            assert sorted(buried) == sorted(reported)
            log = worker.log.read_text()
            parts = [token[first : first + 12] for token in everyone for first in (0, 26, 52)]
            assert [part for part in parts if part in log.lower()] == []

    run(scenario)


def test_t11_workers_of_several_hosts_that_serve_one_team_show_apns_one_token(
    redis_url: str, tmp_path: Path
) -> None:
    """Each process that mints a token of its own is, to Apple, one more change of the team's token."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            team = place.teams[0]
            began_s = time.time()
            workers = []
            for node in ("a", "b", "c"):
                workers.append(await place.worker(node=node, lease_s=1.0))
                names = {f"{each}/0".encode() for each in "abc"[: len(workers)]}
                await until(lambda names=names: holders(place) == names, lambda: workers)
                # on every shard, so each of the workers has a connection of its own
                pushed = []
                for shard in range(DEFAULT_SHARDS):
                    jobs = place.jobs(2)
                    await place.enqueue_raw(shard, team.tenant, [encode_job(job) for job in jobs])
                    pushed += [job.id.decode() for job in jobs]
                await until(lambda pushed=pushed: place.accepted(pushed) == {1: len(pushed)}, lambda: workers)
            summary = place.simulator.ledger.summary()
            assert summary["connections_opened"] >= 3
            # two if this ran across the time at which all processes change to the next
            changes = int(time.time() // GRID_S) - int(began_s // GRID_S)
            assert 1 <= summary["bearers_per_key"][team.key_id] <= 1 + changes

    run(scenario)


def holders(place: Place) -> set[bytes | None]:
    """The members that hold shards now; None is among them if a shard has no holder."""
    return {place.raw.get(shard_keys(shard).lease) for shard in range(DEFAULT_SHARDS)}
