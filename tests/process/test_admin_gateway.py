"""Administration of a gateway that runs, by command line and by HTTP: what changes is followed at once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loadtest.demo.stage import Stage, set_up

WITHIN_S = 20.0


class Hand:
    """The hand of somebody who administers a gateway: by the commands, or by HTTP."""

    def __init__(self, stage: Stage, way: str) -> None:
        self.stage = stage
        self.way = way
        self.tenant = stage.teams[0].tenant

    async def clarion(self, *words: str) -> str:
        """A command on the gateway's data directory, which must go well; returns what it printed."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine", *words, "--data-dir", str(self.stage.data_dir)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.stage.directory,
            env=plain,
        )
        said, error = await done.communicate()
        assert done.returncode == 0, error.decode()
        return said.decode()

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the admin API, which must go well; returns the answer."""
        token = (self.stage.data_dir / "admin.token").read_text().strip()
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.request(
                method, f"{self.stage.admin_url}/v1/tenants/{self.tenant}{path}", json=body
            ) as answer,
        ):
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def revoke_key(self, prefix: str) -> None:
        if self.way == "commands":
            await self.clarion("key", "revoke", self.tenant, prefix)
        else:
            await self.ask("DELETE", f"/keys/{prefix}")

    async def switch(self, verb: str, lane: str) -> None:
        if self.way == "commands":
            await self.clarion("tenant", verb, self.tenant, "--lane", lane)
        else:
            await self.ask("POST", f"/{verb}", {"lane": lane})

    async def shown(self) -> Any:
        if self.way == "commands":
            return json.loads(await self.clarion("tenant", "show", self.tenant, "--json"))
        return await self.ask("GET", "")

    async def push(self, number: int, lane: str, key: str | None = None) -> tuple[int, str]:
        """One push to a device of that number: the status, and its id or the refusal's code."""
        notification = {
            "device_token": f"{number:064x}",
            "topic": self.stage.teams[0].topic,
            "payload": {"aps": {"alert": "hi"}},
            "lane": lane,
        }
        headers = {"Authorization": f"Bearer {key or self.stage.api_keys[self.tenant]}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.stage.http_url}/v1/push", json=notification, headers=headers) as answer,
        ):
            said = await answer.json()
            return answer.status, said.get("id") or said["code"]

    async def at_apple(self) -> set[str]:
        """Ids that the look-alike of Apple has seen."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.stage.control_url}/ledger/entries") as answer,
        ):
            return {json.loads(line)["apns_id"] for line in (await answer.text()).splitlines()}


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline_s = asyncio.get_running_loop().time() + WITHIN_S
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline_s, what
        await asyncio.sleep(0.02)


def on_a_gateway(way: str, scene: Callable[[Hand], Awaitable[None]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
            async with set_up(Path(directory), 1) as stage:
                await scene(Hand(stage, way))

    asyncio.run(play())


async def keys_come_and_go(hand: Hand) -> None:
    first = hand.stage.api_keys[hand.tenant]
    assert (await hand.push(1, "high"))[0] == 202
    if hand.way == "commands":
        made = json.loads(await hand.clarion("key", "create", hand.tenant, "--json"))
    else:
        made = await hand.ask("POST", "/keys", {})
    await hand.revoke_key(first[:16])

    async def refused() -> bool:
        return await hand.push(2, "high") == (401, "key-unknown")

    await until(refused, "the revoked key is still taken")
    assert (await hand.push(3, "high", made["api_key"]))[0] == 202
    log = (hand.stage.directory / "gateway.log").read_text()
    assert first not in log and made["api_key"] not in log


@pytest.mark.parametrize("way", ["commands", "http"])
def test_a_revoked_key_is_refused_at_once_and_another_is_good(way: str) -> None:
    on_a_gateway(way, keys_come_and_go)


async def credentials_are_checked(hand: Hand) -> None:
    async def findings() -> list[tuple[str, str]]:
        if hand.way == "commands":
            apns = ("--apns-production-url", f"https://localhost:{hand.stage.apns_port}")
            trust = ("--apns-ca-file", str(hand.stage.simulator_dir / "ca.pem"))
            words = ("tenant", "check", hand.tenant, "--environment", "production", "--json")
            said = json.loads(await hand.clarion(*words, *apns, *trust))
        else:
            answer = await hand.ask("POST", "/check", {"environment": "production"})
            said = answer["findings"]
            assert answer["good"]
        return [(each["state"], each["reason"]) for each in said]

    # the look-alike knows every device, unlike Apple, so that the harmless push is accepted
    assert await findings() == [("good", "Accepted")]


@pytest.mark.parametrize("way", ["commands", "http"])
def test_a_credential_is_tried_at_apns(way: str) -> None:
    on_a_gateway(way, credentials_are_checked)


async def a_lane_stands_still(hand: Hand) -> None:
    await hand.switch("pause", "low")
    held = []
    for number in range(5):
        status, held_id = await hand.push(number, "low")
        assert status == 202
        held.append(held_id)
        # to the same device, so it comes out of the same shard, in a claim that the other would be in as well
        status, sent_id = await hand.push(number, "high")
        assert status == 202

        async def arrived(wanted: str = sent_id) -> bool:
            return wanted in await hand.at_apple()

        await until(arrived, "the other lane stands still as well")
    assert not set(held) & await hand.at_apple()
    found = await hand.shown()
    assert (found["paused"], found["queue"]["low"], found["queue"]["high"]) == (["low"], 5, 0)
    await hand.switch("resume", "low")

    async def all_arrived() -> bool:
        return set(held) <= await hand.at_apple()

    await until(all_arrived, "what waited is not sent")
    assert (await hand.shown())["queue"]["low"] == 0


@pytest.mark.parametrize("way", ["commands", "http"])
def test_a_paused_lane_is_not_sent_and_resumes(way: str) -> None:
    on_a_gateway(way, a_lane_stands_still)


async def a_key_takes_the_place_of_another(hand: Hand) -> None:
    team = hand.stage.teams[0]
    assert (await hand.push(1, "high"))[0] == 202
    async with aiohttp.ClientSession() as session:
        new = {"team_id": team.team_id, "key_id": "NEWKEY0001", "topics": [team.topic]}
        key = {**new, "public_key_pem": team.public_key_pem}
        async with session.post(f"{hand.stage.control_url}/teams", json=key) as answer:
            assert answer.status < 300
    file = hand.stage.directory / "AuthKey_NEWKEY0001.p8"
    file.write_bytes(team.private_key_pem)
    await hand.clarion("credential", "revoke", hand.tenant, team.key_id)

    async def refused() -> bool:
        return await hand.push(2, "high") == (422, "no-credential")

    await until(refused, "pushes are taken that nobody can sign")
    said = await hand.clarion(
        "credential", "add", hand.tenant, "--team-id", team.team_id, "--key-file", str(file)
    )
    assert "NEWKEY0001" in said and f"signs {team.topic} in production" in said

    status, pushed = await hand.push(3, "high")
    assert status == 202

    async def arrived() -> bool:
        return pushed in await hand.at_apple()

    await until(arrived, "the new key does not sign")


def test_a_revoked_credential_sends_no_more_and_another_takes_its_place() -> None:
    on_a_gateway("commands", a_key_takes_the_place_of_another)


async def alone_beside_a_gateway(hand: Hand) -> None:
    stage = hand.stage
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
    token = "t" * 40
    done = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "engine",
            "admin",
            "--data-dir",
            str(stage.data_dir),
            "--admin-bind",
            "127.0.0.1:0",
        ),
        stderr=subprocess.PIPE,
        env={**plain, "CLARION_ADMIN_TOKEN": token},
    )
    assert done.stderr is not None
    address, log = "", ""
    async with asyncio.timeout(WITHIN_S):
        while "admin API on " not in log:
            log += (await done.stderr.readline()).decode()
    address = log.rpartition("admin API on ")[2].strip()
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{address}/v1/tenants") as answer,
    ):
        assert [each["name"] for each in (await answer.json())["tenants"]] == [hand.tenant]
    done.send_signal(signal.SIGTERM)
    rest = (await done.stderr.read()).decode()
    assert await done.wait() == 0, log + rest
    assert token not in log + rest
    # the gateway's own token is another
    assert (stage.data_dir / "admin.token").stat().st_mode & 0o777 == 0o600
    assert token not in (stage.data_dir / "admin.token").read_text()


def test_the_admin_api_runs_alone_with_a_token_of_its_own() -> None:
    on_a_gateway("http", alone_beside_a_gateway)
