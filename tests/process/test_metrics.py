"""Metrics of a gateway that runs: one address for all of its processes, true to what happened, also after a death."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from loadtest.demo.stage import Stage, set_up

WITHIN_S = 30.0
Samples = dict[tuple[str, ...], float]


async def scraped(stage: Stage) -> Samples:
    """Name and label values of each sample → its value, the processes' together."""
    async with aiohttp.ClientSession() as session, session.get(stage.metrics_url) as answer:
        assert answer.status == 200 and "text/plain" in answer.headers["Content-Type"]
        text = await answer.text()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "process"}
            place = (sample.name, *sorted(labels.values()))
            found[place] = found.get(place, 0.0) + sample.value
    return found


async def until(stage: Stage, holds: Callable[[Samples], bool]) -> Samples:
    deadline_s = asyncio.get_running_loop().time() + WITHIN_S
    while not holds(found := await scraped(stage)):
        assert asyncio.get_running_loop().time() < deadline_s, found
        await asyncio.sleep(0.1)
    return found


async def push(stage: Stage, *tokens: str, key: str = "") -> int:
    team = stage.teams[0]
    items: list[dict[str, Any]] = [
        {"device_token": token, "topic": team.topic, "payload": {"aps": {"alert": "hi"}}} for token in tokens
    ]
    headers = {"Authorization": f"Bearer {key or stage.api_keys[team.tenant]}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{stage.http_url}/v1/push/batch", json=items) as answer,
    ):
        return answer.status


def workers(stage: Stage) -> list[int]:
    log = (stage.directory / "gateway.log").read_text()
    lines = [line for line in log.splitlines() if " worker-" in line and "started, pid" in line]
    return [int(line.rpartition(" ")[2]) for line in lines]


def test_what_happened_is_what_is_shown(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        gone_for_good = {"do": "answer", "status": 410, "reason": "Unregistered"}
        rules = [{"match": {"token_prefix": "dead"}, "then": [gone_for_good]}]
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{stage.control_url}/script", json=rules) as answer,
        ):
            answer.raise_for_status()
        good = [f"{number:064x}" for number in range(200)]
        gone = [f"dead{number:060x}" for number in range(5)]
        assert await push(stage, *good, *gone) == 202
        assert await push(stage, *good, key="clarion_00000000_" + "x" * 43) == 401
        found = await until(
            stage,
            lambda found: (
                found["clarion_pushes_total", "accepted"] == 200
                and found["clarion_buried_total", "Unregistered"] == 5
            ),
        )
        assert found["clarion_pushes_stored_total",] == 205
        assert found["clarion_http_requests_total", "202"] == found["clarion_http_requests_total", "401"] == 1
        for name in ("clarion_queue_wait_seconds", "clarion_acceptance_seconds"):
            assert found[f"{name}_count",] == (205 if "queue" in name else 200)
            assert 0 < found[f"{name}_sum",] < 205 * WITHIN_S
        assert found["clarion_apns_round_trip_seconds_count",] >= 1
        assert found["clarion_links", "open"] >= 1 and found["clarion_redis_up",] == 1
        assert found["clarion_dead_letters",] == 5 and found["clarion_queue_ready", "high"] == 0
        assert found["clarion_shards_held",] == 64
        # a worker dies, and its successor counts on
        before = workers(stage)
        os.kill(before[0], signal.SIGKILL)
        found = await until(
            stage,
            lambda found: (
                found["clarion_process_starts_total",] == len(before) + 2
                and found["clarion_shards_held",] == 64
            ),
        )
        assert found["clarion_pushes_total", "accepted"] == 200
        assert await push(stage, *good) == 202
        found = await until(stage, lambda found: found["clarion_pushes_total", "accepted"] >= 400)
        assert found["clarion_in_hand",] == 0
        # nothing of a tenant, a key or a device is in them
        text = str(found)
        for secret in (stage.teams[0].tenant, stage.teams[0].topic, stage.teams[0].key_id, good[7], gone[0]):
            assert secret not in text

    async def play() -> None:
        with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
            async with set_up(Path(directory), 1) as stage:
                await scene(stage)

    asyncio.run(play())
