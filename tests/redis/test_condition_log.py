"""A worker's word on what holds up credentials and flows: gathered in memory, and then written together."""

import asyncio
import logging

import pytest

from engine.link.pool import PoolKey
from engine.worker import conditions as conditions_module
from engine.worker.conditions import ConditionLog
from shards.conditions import Condition, ConditionName, Conditions
from shards.job import Job
from shards.tenants import Tenants

FLOW = "acme"
WAIT_S = 10.0


async def written(store: Conditions, *expected: Condition) -> None:
    async with asyncio.timeout(WAIT_S):
        while await store.all() != list(expected):
            await asyncio.sleep(0.01)


async def test_a_condition_that_is_over_and_met_again_at_once_is_another_one(
    redis_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions_module, "GATHER_S", 0.01)
    caplog.set_level(logging.INFO, "clarion.conditions")
    now_s, name = 1_000.0, ConditionName.of_flow(FLOW)
    tenants = Tenants(redis_url)
    try:
        log = ConditionLog(tenants.conditions, wall=lambda: now_s)
        log.note_flow(FLOW, "BadDeviceToken", 3)
        log.note_flow(FLOW, "BadDeviceToken", 4)
        await written(tenants.conditions, Condition(name, "BadDeviceToken", 1_000_000, 1_000_000, 7))
        now_s = 2_000.0
        log.clear_flow(FLOW)
        log.note_flow(FLOW, "BadDeviceToken", 5)
        await written(tenants.conditions, Condition(name, "BadDeviceToken", 2_000_000, 2_000_000, 5))
        log.note_flow(FLOW, "BadDeviceToken", 1)
        log.clear_flow(FLOW)
        await written(tenants.conditions)
        # what stands in Redis already is not said before the answer has come
        while log._writing is not None:
            await asyncio.sleep(0.01)
    finally:
        await tenants.close()
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["most", "device", "most", "device"]


async def test_refusals_that_are_met_while_a_condition_is_written_are_written_after_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions_module, "GATHER_S", 0.01)
    tenants = Tenants(redis_url)
    store = tenants.conditions
    noted = store.note
    counts: list[int] = []

    async def note(name: ConditionName, reason: str, now_ms: int, count: int) -> bool:
        counts.append(count)
        if len(counts) == 1:
            log.note_flow(FLOW, "BadDeviceToken", 4)
        return await noted(name, reason, now_ms, count)

    monkeypatch.setattr(store, "note", note)
    try:
        log = ConditionLog(store, wall=lambda: 1_000.0)
        log.note_flow(FLOW, "BadDeviceToken", 3)
        name = ConditionName.of_flow(FLOW)
        await written(store, Condition(name, "BadDeviceToken", 1_000_000, 1_000_000, 7))
        while log._writing is not None:
            await asyncio.sleep(0.01)
    finally:
        await tenants.close()
    assert counts == [3, 4]


async def test_a_push_that_is_accepted_clears_what_other_workers_left_and_not_only_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions_module, "GATHER_S", 0.01)
    now_s, key = 1_000.0, PoolKey("production", "TEAM000001", "KEYS000001", "a" * 16)
    earlier = ConditionName(key.environment, key.team_id, key.key_id)
    accepted = [(Job(b"1", b"00", "com.acme.app", b"{}"), None)]
    tenants = Tenants(redis_url)
    try:
        log = ConditionLog(tenants.conditions, clock=lambda: now_s)
        own = earlier._replace(fingerprint="a" * 16)
        for left in (earlier, own, own._replace(topic="com.acme.app")):
            await tenants.conditions.note(left, "InvalidProviderToken", 1)
            now_s += conditions_module.LOOK_S
            # one batch is enough, and what comes later in the minute costs no look
            log.works(key, accepted)
            await written(tenants.conditions)
            log.works(key, accepted)
        # another's key of the same name is another matter
        others = Condition(earlier._replace(fingerprint="b" * 16), "InvalidProviderToken", 1, 1, 1)
        await tenants.conditions.note(others.name, others.reason, 1)
        now_s += conditions_module.LOOK_S
        for _ in range(10):
            log.works(key, accepted)
            await asyncio.sleep(0.01)
        log.note(key, "", "Forbidden")
        log.clear(key, "")
        while log._writing is not None:
            await asyncio.sleep(0.01)
        assert await tenants.conditions.all() == [others]
    finally:
        await tenants.close()
