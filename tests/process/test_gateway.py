"""The whole gateway, from the HTTP API to a look-alike of Apple, with real processes and signals."""

import asyncio
import json
import signal
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from loadtest.demo.stage import Stage, gateway, set_up
from loadtest.demo.traffic import Sent
from loadtest.demo.verdict import judge

TENANTS = 3
BATCH = 50


async def ledger(stage: Stage) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession(base_url=stage.control_url) as session,
        session.get("/ledger/entries") as answer,
    ):
        return [json.loads(line) for line in (await answer.text()).splitlines()]


async def settled(stage: Stage, pushes: int, within_s: float = 60.0) -> list[dict[str, Any]]:
    """The ledger when it knows so many ids, or at the deadline."""
    deadline_s = asyncio.get_running_loop().time() + within_s
    while len(await ledger(stage)) < pushes and asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(0.1)
    # whatever is sent a second time would be seen by now
    await asyncio.sleep(0.5)
    return await ledger(stage)


async def push_until_refused(stage: Stage, sent: Sent) -> None:
    """Push batches of all tenants until the gateway takes no more; only what it answered with 202 counts."""
    async with aiohttp.ClientSession(base_url=stage.http_url) as session:
        number = 0
        while True:
            team = stage.teams[number % TENANTS]
            items = [
                {"device_token": f"{number:032x}{each:032x}", "topic": team.topic, "payload": {"aps": {}}}
                for each in range(BATCH)
            ]
            headers = {"Authorization": f"Bearer {stage.api_keys[team.tenant]}"}
            try:
                async with session.post("/v1/push/batch", json=items, headers=headers) as answer:
                    if answer.status != 202:
                        return
                    for result in (await answer.json())["results"]:
                        sent.at_s[result["id"]] = sent.began_s
            except aiohttp.ClientError:
                return
            number += 1


async def stop_under_load(directory: Path) -> None:
    async with set_up(directory, TENANTS) as stage:
        sent = Sent()
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(push_until_refused(stage, sent))
            while not await ledger(stage):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            assert stage.gateway is not None
            stage.gateway.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(stage.gateway.wait, 60)
        assert code == 0, (directory / "gateway.log").read_text()
        assert await ledger(stage)
        async with gateway(stage):
            entries = await settled(stage, len(sent.at_s))
        judgement = judge(sent.at_s, sent.began_s, entries)
        log = (directory / "gateway.log").read_text()
        assert judgement.lost == 0, log
        assert judgement.repeated == 0, log
        assert judgement.accepted_by_apns == len(sent.at_s) > BATCH
        assert len(entries) == len(sent.at_s)


def test_sigterm_under_load_loses_nothing_and_repeats_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(stop_under_load(Path(directory)))


async def push_to_a_device_that_is_gone(directory: Path) -> None:
    async with set_up(directory, 1) as stage:
        team = stage.teams[0]
        headers = {"Authorization": f"Bearer {stage.api_keys[team.tenant]}"}
        gone = "ab" * 32
        async with aiohttp.ClientSession() as session:
            device = {"token": gone, "fate": "unregistered", "timestamp_ms": 1_700_000_000_000}
            async with session.post(f"{stage.control_url}/devices", json=device) as answer:
                assert answer.status < 300
            ids = []
            for token in (gone, "ef" * 32):
                push = {"device_token": token, "topic": team.topic, "payload": {"aps": {"alert": "é"}}}
                async with session.post(f"{stage.http_url}/v1/push", json=push, headers=headers) as answer:
                    assert answer.status == 202
                    ids.append((await answer.json())["id"])
        by_id = {entry["apns_id"]: entry["attempts"] for entry in await settled(stage, 2)}
        assert [attempt["reason"] for attempt in by_id[ids[0]]] == ["Unregistered"]
        assert [attempt["status"] for attempt in by_id[ids[1]]] == [200]


def test_a_push_to_a_device_that_is_gone_is_sent_once_and_not_again() -> None:
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(push_to_a_device_that_is_gone(Path(directory)))
