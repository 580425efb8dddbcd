"""What is kept of a credential that can't be used: once, counted by all workers, until one sees it work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis as redis_py

from shards import conditions as conditions_module
from shards import keys
from shards.conditions import Condition, ConditionName, Conditions
from shards.tenants import Tenants

NAME = ConditionName("production", "TEAM000001", "KEYS000001")
TOPIC = NAME._replace(topic="com.acme/app")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Conditions]:
    store = Tenants(url)
    try:
        yield store.conditions
    finally:
        await store.close()


async def test_a_condition_is_raised_once_and_counted_after(redis_url: str) -> None:
    async with opened(redis_url) as conditions:
        assert await conditions.note(NAME, "Forbidden", 1_700_000_000_000, 3)
        assert not await conditions.note(NAME, "InvalidProviderToken", 1_700_000_009_000, 10_000_000_000_000)
        assert await conditions.all() == [
            Condition(NAME, "InvalidProviderToken", 1_700_000_000_000, 1_700_000_009_000, 10_000_000_000_003)
        ]


async def test_a_credential_and_its_topics_are_apart(redis_url: str) -> None:
    async with opened(redis_url) as conditions:
        assert await conditions.note(TOPIC, "TopicDisallowed", 1)
        assert await conditions.note(NAME, "Forbidden", 2)
        assert [condition.name for condition in await conditions.all()] == [NAME, TOPIC]


async def test_clearing_says_whether_there_was_something(redis_url: str) -> None:
    async with opened(redis_url) as conditions:
        await conditions.note(NAME, "Forbidden", 1)
        assert not await conditions.clear(TOPIC)
        assert await conditions.clear(NAME)
        assert not await conditions.clear(NAME)
        assert await conditions.all() == []


async def test_their_number_is_bounded(
    redis_url: str, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions_module, "CONDITIONS_MOST", 2)
    async with opened(redis_url) as conditions:
        raised = [await conditions.note(NAME._replace(topic=f"t{n}"), "BadTopic", 1) for n in range(4)]
        assert raised == [True, True, False, False]
        assert not await conditions.note(NAME._replace(topic="t0"), "BadTopic", 2)
        assert raw.hlen(keys.CONDITIONS) == 2
        assert max(condition.refusals for condition in await conditions.all()) == 2
