"""The demo's traffic: a burst as fast as the API takes it, then single pushes at a steady rate.

The burst shows throughput, and its times are those of a queue that fills; the steady part shows what one push
waits when nothing is before it. Some pushes go to devices that are gone, and some are not valid.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from loadtest.demo.stage import Stage
from loadtest.teams import MadeUpTeam

BATCH: Final = 100
SENDERS: Final = 4
# one push in so many goes to a device that has removed the app, and one in so many is no valid push
GONE_EVERY: Final = 200
INVALID_EVERY: Final = 1_000
SINGLES_EVERY: Final = 20


class Sent:
    """What the API said. ``at_s`` is the wall time at which the request of each accepted id was begun."""

    def __init__(self) -> None:
        self.at_s: dict[str, float] = {}
        self.refused: dict[str, int] = {}
        self.began_s = time.time()

    def refuse(self, code: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1


async def burst(stage: Stage, pushes: int, progress: Callable[[int], None]) -> Sent:
    """Send ``pushes`` notifications, most in batches, as fast as they are answered."""
    sent = Sent()
    pieces = [(first, min(BATCH, pushes - first)) for first in range(0, pushes, BATCH)]
    async with aiohttp.ClientSession(base_url=stage.http_url) as session:

        async def sender() -> None:
            while pieces:
                first, size = pieces.pop()
                team = stage.teams[first // BATCH % len(stage.teams)]
                items = [_notification(team, first + number) for number in range(size)]
                if first // BATCH % SINGLES_EVERY == 0:
                    for item in items:
                        await _single(session, stage, team, item, sent)
                else:
                    await _batch(session, stage, team, items, sent)
                progress(size)

        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(sender())
    return sent


async def steady(
    stage: Stage, first: int, pushes: int, per_s: float, progress: Callable[[int], None]
) -> Sent:
    """Send ``pushes`` single notifications at a fixed rate, whether or not earlier ones have been answered."""
    sent = Sent()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(base_url=stage.http_url, connector=connector) as session:

        async def one(number: int) -> None:
            team = stage.teams[number % len(stage.teams)]
            await _single(session, stage, team, _notification(team, number), sent)
            progress(1)

        begin_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(pushes):
                await asyncio.sleep(max(0.0, begin_s + number / per_s - time.monotonic()))
                group.create_task(one(first + number))
    return sent


def _gone_token(number: int) -> str:
    return f"dead{number:060x}"


async def tell_gone_devices(stage: Stage, pushes: int) -> None:
    """Let the look-alike know the devices that ``burst`` and ``steady`` will find gone."""
    async with aiohttp.ClientSession(base_url=stage.control_url) as control:
        for number in range(GONE_EVERY - 1, pushes, GONE_EVERY):
            device = {
                "token": _gone_token(number),
                "fate": "unregistered",
                "timestamp_ms": int(time.time() * 1000),
            }
            async with control.post("/devices", json=device) as answer:
                answer.raise_for_status()


def _notification(team: MadeUpTeam, number: int) -> dict[str, Any]:
    gone = number % GONE_EVERY == GONE_EVERY - 1
    item: dict[str, Any] = {
        "device_token": _gone_token(number) if gone else os.urandom(32).hex(),
        "topic": team.topic,
        "payload": {"aps": {"alert": f"Notification {number} of {team.tenant}"}},
        "lane": "high" if number % 3 else "low",
    }
    if number % INVALID_EVERY == INVALID_EVERY - 2:
        item["topic"] = "com.example.somebody-else"
    return item


async def _batch(
    session: aiohttp.ClientSession, stage: Stage, team: MadeUpTeam, items: list[dict[str, Any]], sent: Sent
) -> None:
    began_s = time.time()
    async with session.post("/v1/push/batch", json=items, headers=_key(stage, team)) as answer:
        answer.raise_for_status()
        results = (await answer.json())["results"]
    for result in results:
        if "id" in result:
            sent.at_s[result["id"]] = began_s
        else:
            sent.refuse(result["error"]["code"])


async def _single(
    session: aiohttp.ClientSession, stage: Stage, team: MadeUpTeam, item: dict[str, Any], sent: Sent
) -> None:
    began_s = time.time()
    async with session.post("/v1/push", json=item, headers=_key(stage, team)) as answer:
        document = await answer.json(content_type=None)
    if answer.status == 202:
        sent.at_s[document["id"]] = began_s
    else:
        sent.refuse(document["code"])


def _key(stage: Stage, team: MadeUpTeam) -> dict[str, str]:
    return {"Authorization": f"Bearer {stage.api_keys[team.tenant]}"}
