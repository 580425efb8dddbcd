"""What is kept of a credential that can't be used: once, counted by all workers, until one sees it work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis as redis_py

from shards import conditions as conditions_module
from shards import keys
from shards.conditions import Condition, ConditionName, Conditions
from shards.credential import Credential
from shards.tenant import Tenant
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


async def test_a_flow_has_conditions_of_its_own(redis_url: str) -> None:
    async with opened(redis_url) as conditions:
        flows = [ConditionName.of_flow(flow) for flow in ("acme", "acme/sandbox", "zeta")]
        for name in (*flows, NAME):
            assert await conditions.note(name, "BadDeviceToken", 1)
        assert {each.name for each in await conditions.all()} == {*flows, NAME}
        assert await conditions.clear(flows[0])
        assert {each.name for each in await conditions.all()} == {*flows[1:], NAME}


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        TOPIC,
        ConditionName("sandbox", "", "certificate of acme", "com.acme.app"),
        ConditionName("sandbox", tenant="acme"),
        NAME._replace(fingerprint="0123456789abcdef"),
        TOPIC._replace(fingerprint="0123456789abcdef"),
    ],
)
def test_a_name_is_read_as_it_was_written_and_by_an_earlier_version_too(name: ConditionName) -> None:
    assert ConditionName.read(name.text()) == name
    environment, *others = name.text().split("/", 3)
    assert environment == name.environment and len(others) == 3


def test_a_condition_says_in_words_whom_it_holds_up_and_what_to_think_of() -> None:
    tenant = Tenant("acme", ("com.acme.app",), (Credential("K", NAME.team_id, NAME.key_id, b""),))
    others = Tenant("zeta")
    bad = Condition(ConditionName("production", tenant="acme"), "BadDeviceToken", 1, 2, 70)
    assert bad.concerns(tenant) and not bad.concerns(others)
    assert "refuses most of its device tokens there as BadDeviceToken (70 times" in bad.sentence()
    assert "they may be tokens of sandbox" in bad.sentence()
    assert "tokens of production" in bad._replace(name=ConditionName("sandbox", tenant="acme")).sentence()
    key = Condition(NAME, "Forbidden", 1, 2, 3)
    assert key.concerns(tenant) and not key.concerns(others)
    assert f"APNs says Forbidden to credential {NAME.key_id} in production (3 times" in key.sentence()
    elsewhere = Condition(NAME._replace(topic="com.acme.other"), "TopicDisallowed", 1, 2, 3)
    assert not elsewhere.concerns(tenant)


def test_who_claims_the_ids_of_another_is_refused_alone() -> None:
    owner, claimant, earlier = (
        Tenant(name, (), (Credential("K", NAME.team_id, NAME.key_id, b"", fingerprint=fingerprint),))
        for name, fingerprint in (("acme", "a" * 16), ("zeta", "b" * 16), ("old", ""))
    )
    refused = Condition(NAME._replace(fingerprint="b" * 16), "InvalidProviderToken", 1, 2, 3)
    assert claimant.id == "zeta" and refused.concerns(claimant) and not refused.concerns(owner)
    # where one of the two was stored by an earlier version the ids are all there is
    assert refused.concerns(earlier)
    noted_earlier = refused._replace(name=ConditionName.read("production/TEAM000001/KEYS000001/"))
    assert all(noted_earlier.concerns(each) for each in (owner, claimant, earlier))


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
