"""Traps that show only in the whole gateway, from the HTTP API to a look-alike of Apple: T5 and T12."""

import asyncio
import base64
import json
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from test_gateway import ledger, settled

from loadtest.demo.stage import Stage, set_up
from shards.vault import read_master_key

WAIT_S = 60.0


@asynccontextmanager
async def clients(stage: Stage) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientSession]]:
    """One that pushes as the first tenant, and one for the simulator's control door."""
    headers = {"Authorization": f"Bearer {stage.api_keys[stage.teams[0].tenant]}"}
    async with (
        aiohttp.ClientSession(base_url=stage.http_url, headers=headers) as api,
        aiohttp.ClientSession(base_url=stage.control_url, raise_for_status=True) as control,
    ):
        yield api, control


async def push_with_expirations(directory: Path) -> None:
    async with set_up(directory, 1) as stage, clients(stage) as (api, control):
        late = int(time.time()) + 3_600
        # every kind is refused for a reason of its own, which tells what the simulator has seen
        told = {"": "BadCollapseId", "0": "PayloadTooLarge", str(late): "BadPriority"}
        rules = [
            {"match": {"expiration": seen}, "then": [{"do": "answer", "reason": reason}]}
            for seen, reason in told.items()
        ]
        await control.post("/script", json=rules)
        plain = {"device_token": "ab" * 32, "topic": stage.teams[0].topic, "payload": {"aps": {}}}
        given = [plain, plain | {"expiration": 0}, plain | {"expiration": late}]
        async with api.post("/v1/push/batch", json=given) as answer:
            ids = [result["id"] for result in (await answer.json())["results"]]
        for each in given:
            async with api.post("/v1/push", json=each) as answer:
                ids.append((await answer.json())["id"])
        by_id = {entry["apns_id"]: entry["attempts"] for entry in await settled(stage, len(ids))}
        reasons = [[attempt["reason"] for attempt in by_id[each]] for each in ids]
        assert reasons == [[reason] for reason in told.values()] * 2


def test_t5_from_the_api_to_apns_no_expiration_stays_none_and_zero_stays_zero() -> None:
    """A field that a queue fills in with 0 turns "keep it for the device" into "throw it away"."""
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(push_with_expirations(Path(directory)))


# what APNs does to the pushes whose tokens begin so, and what the gateway's log says about it
TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "a0": ({"then": [{"do": "answer", "reason": "Unregistered", "timestamp_ms": 1_700_000_000_000}]}, ""),
    "a1": ({"then": [{"do": "answer", "status": 400, "body": "<html>{"}]}, ""),
    "a2": ({"match": {"attempt": 1}, "then": [{"do": "reset_stream", "code": "INTERNAL_ERROR"}]}, ""),
    "a3": ({"match": {"attempt": 1}, "then": [{"do": "answer", "reason": "InternalServerError"}]}, ""),
    "a4": ({"times": 1, "then": [{"do": "goaway", "debug": "bye"}]}, "GOAWAY: last stream"),
    "a5": ({"times": 1, "then": [{"do": "close", "abort": True}]}, "a link closed with"),
    "a6": ({"then": [{"do": "answer", "reason": "InvalidProviderToken"}]}, "paused for"),
}
GOOD = "cc"
# pushed by another tenant, since a pause is for all that it pushes
PAUSED = "a6"
EACH = 20


def token_of(kind: str) -> str:
    return kind + secrets.token_hex(31)


async def misuse(api: aiohttp.ClientSession, topic: str) -> list[str]:
    """Push what the API refuses, each with a device token in it; returns the tokens."""
    tokens = [token_of("b0") for _ in range(8)]
    good = {"topic": topic, "payload": {"aps": {}}}
    wrong_key = {"Authorization": f"Bearer {tokens[6]}"}
    bodies: list[tuple[str, Any, dict[str, str]]] = [
        ("/v1/push", {**good, "device_token": f"{tokens[0]}x"}, {}),
        ("/v1/push", {**good, "device_token": tokens[1], "topic": "com.other.app"}, {}),
        ("/v1/push", {**good, "device_token": tokens[2], tokens[2]: 1}, {}),
        ("/v1/push", {**good, "device_token": [tokens[3]]}, {}),
        (
            "/v1/push/batch",
            [{**good, "device_token": tokens[4]}, {**good, "device_token": f"{tokens[4]}g"}],
            {},
        ),
        (f"/v1/push/{tokens[5]}", good, {}),
        ("/v1/push", {**good, "device_token": tokens[6]}, wrong_key),
    ]
    for path, body, headers in bodies:
        async with api.post(path, json=body, headers=headers) as answer:
            assert answer.status in (207, 401, 404, 422), await answer.text()
    cut_off = json.dumps({**good, "device_token": tokens[7]})[:-2]
    async with api.post("/v1/push", data=cut_off, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
    async with api.get("/livez", headers={"X-Token": tokens[7] + "y" * 20_000}) as answer:
        assert answer.status == 400
    return tokens


async def push_kinds(stage: Stage, api: aiohttp.ClientSession, kinds: Iterable[str]) -> list[str]:
    """Push some of each kind, and wait until APNs has seen them; returns their tokens."""
    tokens, ids = [], set()
    for kind in kinds:
        team = stage.teams[kind == PAUSED]
        headers = {"Authorization": f"Bearer {stage.api_keys[team.tenant]}"}
        for _ in range(EACH):
            tokens.append(token_of(kind))
            push = {"device_token": tokens[-1], "topic": team.topic, "payload": {"aps": {}}}
            async with api.post("/v1/push", json=push, headers=headers) as answer:
                assert answer.status == 202
                if kind != PAUSED:
                    ids.add((await answer.json())["id"])
    async with asyncio.timeout(WAIT_S):
        while not ids <= {entry["apns_id"] for entry in await ledger(stage)}:
            await asyncio.sleep(0.05)
    return tokens


async def push_into_trouble(directory: Path) -> None:
    log_file = directory / "gateway.log"
    async with set_up(directory, 2) as stage, clients(stage) as (api, control):
        rules = [
            {**rule, "match": {"token_prefix": kind, **rule.get("match", {})}}
            for kind, (rule, _) in TROUBLES.items()
        ]
        await control.post("/script", json=rules)
        tokens = await misuse(api, stage.teams[0].topic)
        tokens += await push_kinds(stage, api, (GOOD, *TROUBLES))
        # on links that APNs has proved: a new one waits for the answer to its first push
        tokens += await push_kinds(stage, api, (GOOD,))
        async with asyncio.timeout(WAIT_S):
            while not all(said in log_file.read_text() for _, said in TROUBLES.values()):
                await asyncio.sleep(0.05)
        await control.post("/script", json=[{"then": [{"do": "silence"}]}])
        tokens += await push_kinds(stage, api, (GOOD,))
        assert stage.gateway is not None
        for _ in range(2):
            stage.gateway.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
        code = await asyncio.to_thread(stage.gateway.wait, WAIT_S)
        log = log_file.read_text()
        assert code == 0 and "jobs were not answered in time" in log, log
        assert leaked(log, tokens, secrets_of(stage)) == []


def secrets_of(stage: Stage) -> list[str]:
    """Whatever would let its reader push, in the forms in which a log could have it."""
    [master_key] = read_master_key(stage.data_dir / "master.key", create=False).keys
    # the first two parts of any provider token are JSON in base64
    found = [master_key.hex(), base64.b64encode(master_key).decode(), repr(master_key)[2:-1], "eyJ"]
    for team in stage.teams:
        pem = team.private_key_pem.decode().splitlines()
        found += [stage.api_keys[team.tenant], *(line for line in pem if "PRIVATE KEY" not in line)]
    return found


def leaked(log: str, tokens: list[str], keys: list[str]) -> list[str]:
    """What of tokens and keys is in a log, a good part of a token included."""
    parts = [token[first : first + 16] for token in tokens for first in (0, 24, 48)]
    return [part for part in parts if part in log.lower()] + [key for key in keys if key in log]


def test_t12_no_device_token_and_no_key_is_in_the_logs_of_a_run_full_of_trouble() -> None:
    """A log that names devices, or holds what signs a push, is a leak to everybody who may read logs."""
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(push_into_trouble(Path(directory)))
