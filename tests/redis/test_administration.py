"""What an administrator does to tenants and applications, on a real Redis, and the words for what can't be."""

import msgspec
import pytest
import redis as redis_py
from office import APP, MAIL, NOW_MS, VAULT, acme, key_of, office, team
from words import jobs, opened, portions, take

from engine.link.credentials import identity_of
from shards import keys
from shards.administration.checks import ActionRefused
from shards.administration.requests import (
    LimitChanges,
    NewApplication,
    NewKey,
    NewTenant,
    TenantChanges,
    WhichLane,
)
from shards.api_key import hash_api_key
from shards.claim import Retry, Settlement
from shards.conditions import ConditionName
from shards.credential import context
from shards.errors import AlreadyExists, NotFound
from shards.lanes import Lane
from shards.placement import shards_of
from shards.queue import Batch, Queue
from shards.tenant import Limits


async def fill(queue: Queue, shard: int, lane: Lane, count: int, flow: str = "acme") -> None:
    assert await queue.enqueue([Batch(shard, lane, flow, jobs(flow, count))]) == [None]


async def test_a_new_tenant_has_what_was_asked_for_and_a_key_that_opens_it(redis_url: str) -> None:
    async with office(redis_url) as at:
        new = acme(credential=key_of(1), limits=LimitChanges(weight=3), spread=2, in_doubt="bury")
        made = await at.tenants.create(new)
        tenant = await at.store.get("acme")
        assert (tenant.topics, tenant.spread, tenant.in_doubt) == ((APP, MAIL), 2, "bury")
        assert tenant.limits == Limits(weight=3)
        [credential] = tenant.credentials
        assert (credential.team_id, credential.key_id) == (team(1).team_id, team(1).key_id)
        key = await at.store.api_key(hash_api_key(made.api_key))
        assert key is not None and (key.tenant, key.prefix) == ("acme", made.key.prefix)
        assert made.api_key not in repr(made)


async def test_a_name_that_is_taken_leaves_everything_as_it_was(redis_url: str) -> None:
    async with office(redis_url) as at:
        first = await at.tenants.create(acme())
        with pytest.raises(AlreadyExists, match="'acme' already; choose another name"):
            await at.tenants.create(acme(applications=("com.usurper.app",)))
        assert (await at.store.get("acme")).topics == (APP, MAIL)
        assert [key.prefix for key in await at.store.api_keys()] == [first.key.prefix]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": "Acme Inc"}, "name", "'Acme Inc' can't be: write lower-case letters"),
        ({"name": "a" * 64}, "name", r"\(not shown, 64 characters\) can't be"),
        ({"applications": ("com acme",)}, "applications/0", "write a bundle id such as com.acme.app"),
        ({"spread": 0}, "spread", "is 0; write a number from 1 to 64"),
        ({"spread": 10**400}, "spread", "is beyond all bounds; write a number from 1 to 64"),
        ({"limits": LimitChanges(weight=0)}, "limits/weight", "is 0; write a number from 1 to 1000"),
        ({"limits": LimitChanges(send_per_s=float("nan"))}, "limits/send_per_s", "is nan; write a number"),
        (
            {"limits": LimitChanges(admit_per_s=1e-320)},
            "limits/admit_per_s",
            r"write a number from 0\.001 to 1e\+07, or 0",
        ),
        ({"limits": LimitChanges(send_per_s=0.0009)}, "limits/send_per_s", "from 0.001"),
        ({"limits": LimitChanges(admit_per_s=-1.0)}, "limits/admit_per_s", "is -1; write a number"),
        ({"limits": LimitChanges(admit_burst=5)}, "limits/admit_burst", "there is no admit_per_s"),
        (
            {"credential": key_of(1, team_id="T1")},
            "credential/team_id",
            "'T1' can't be: write the 10 capital",
        ),
        ({"credential": key_of(1, key="x")}, "credential/key", "can't sign pushes: it is not a PEM file"),
        (
            {"credential": key_of(1, topics=("com.x",))},
            "credential/topics/0",
            "has com.acme.app, com.acme.mail",
        ),
    ],
)
async def test_what_can_not_be_is_told_with_its_field_and_nothing_is_stored(
    fields: dict[str, object], field: str, words: str, redis_url: str
) -> None:
    async with office(redis_url) as at:
        with pytest.raises(ActionRefused, match=words) as refused:
            await at.tenants.create(acme(**fields))
        assert refused.value.field == field
        assert await at.store.all() == [] and await at.store.api_keys() == []


async def test_a_rate_is_none_or_a_push_in_a_thousand_seconds_at_least(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(limits=LimitChanges(send_per_s=0.001, admit_per_s=0.001)))
        view = await at.tenants.change(
            "acme", TenantChanges(limits=LimitChanges(send_per_s=0, admit_per_s=0))
        )
        assert (view.limits.send_per_s, view.limits.admit_per_s) == (0, 0)


async def test_a_spread_beyond_the_shards_is_refused(redis_url: str, raw: redis_py.Redis) -> None:
    raw.hset(keys.LAYOUT, "shards", 16)
    async with office(redis_url) as at:
        with pytest.raises(ActionRefused, match="is 17, and there are 16 shards"):
            await at.tenants.create(acme(spread=17))
        await at.tenants.create(acme(spread=16))


async def test_what_is_shown_is_everything_but_secrets(redis_url: str) -> None:
    async with office(redis_url) as at:
        made = await at.tenants.create(acme(credential=key_of(1)))
        issued = await at.keys.create("acme", NewKey(scopes=("admin",), label="ci"))
        name = ConditionName("production", team(1).team_id, team(1).key_id, "")
        await at.store.conditions.note(name, "InvalidProviderToken", NOW_MS)
        shown = msgspec.json.encode([await at.tenants.show("acme"), await at.tenants.show_all()]).decode()
        for told in (team(1).key_id, team(1).team_id, made.key.prefix, issued.key.prefix, "ci", APP):
            assert told in shown
        assert "APNs says InvalidProviderToken to credential" in shown
        [credential] = (await at.store.get("acme")).credentials
        secrets = [made.api_key, issued.api_key, hash_api_key(made.api_key), str(credential.sealed)]
        secrets += team(1).private_key_pem.decode().splitlines()[1:-1]
        for secret in secrets:
            assert secret not in shown


async def test_the_queues_are_shown_by_lane_and_what_waits_for_another_try(redis_url: str) -> None:
    async with office(redis_url) as at, opened(redis_url) as queue:
        await at.tenants.create(acme())
        shard = shards_of("acme", 4, 64)[1]
        await fill(queue, shard, Lane.HIGH, 4)
        await fill(queue, shard, Lane.LOW, 7)
        await fill(queue, shard, Lane.LOW, 2, "acme/sandbox")
        [holding] = await queue.acquire([shard])
        taken = await take(queue, holding, 1, most=1)
        [run] = taken.runs
        retry = Retry(NOW_MS, run.lane, run.flow, run.jobs[0])
        await queue.settle([Settlement(holding, taken.claim_id, retries=[retry])])
        found = (await at.tenants.show("acme")).queue
        assert (found.high, found.low, found.retry, found.retry_at_least) == (3, 9, 1, False)


async def test_changes_leave_alone_what_they_do_not_name(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(limits=LimitChanges(weight=3, admit_per_s=10.0)))
        view = await at.tenants.change("acme", TenantChanges(limits=LimitChanges(admit_burst=50)))
        assert (await at.store.get("acme")).limits == Limits(weight=3, admit_per_s=10.0, admit_burst=50)
        assert (view.limits.weight, view.limits.admit_burst) == (3, 50)
        with pytest.raises(ActionRefused, match="there is no admit_per_s"):
            await at.tenants.change("acme", TenantChanges(limits=LimitChanges(admit_per_s=0.0)))
        await at.tenants.change("acme", TenantChanges(spread=8, in_doubt="bury"))
        tenant = await at.store.get("acme")
        assert (tenant.spread, tenant.in_doubt, tenant.limits.admit_burst) == (8, "bury", 50)


async def test_a_paused_lane_gives_nothing_until_it_is_resumed(redis_url: str) -> None:
    async with office(redis_url) as at, opened(redis_url) as queue:
        await at.tenants.create(acme())
        shard = shards_of("acme", 4, 64)[0]
        [holding] = await queue.acquire([shard])
        await fill(queue, shard, Lane.HIGH, 2)
        await fill(queue, shard, Lane.LOW, 3)
        assert (await at.tenants.pause("acme", WhichLane(lane="low"))).paused == ("low",)
        assert portions(await take(queue, holding, 1)) == [("high", "acme", 2)]
        assert (await at.tenants.pause("acme", WhichLane(lane="high"))).paused == ("high", "low")
        await fill(queue, shard, Lane.HIGH, 2)
        assert portions(await take(queue, holding, 2)) == []
        assert (await at.tenants.resume("acme", WhichLane(lane="low"))).paused == ("high",)
        assert portions(await take(queue, holding, 3)) == [("low", "acme", 3)]
        assert (await at.tenants.resume("acme", WhichLane())).paused == ()
        assert portions(await take(queue, holding, 4)) == [("high", "acme", 2)]


async def test_a_disabled_tenant_gives_nothing_and_keeps_its_pauses(redis_url: str) -> None:
    async with office(redis_url) as at, opened(redis_url) as queue:
        await at.tenants.create(acme())
        await at.tenants.pause("acme", WhichLane(lane="low"))
        shard = shards_of("acme", 4, 64)[0]
        [holding] = await queue.acquire([shard])
        await fill(queue, shard, Lane.HIGH, 2)
        await fill(queue, shard, Lane.LOW, 2)
        assert (await at.tenants.disable("acme")).disabled
        assert portions(await take(queue, holding, 1)) == []
        view = await at.tenants.enable("acme")
        assert (view.disabled, view.paused) == (False, ("low",))
        assert portions(await take(queue, holding, 2)) == [("high", "acme", 2)]


async def test_a_tenant_is_not_deleted_over_its_waiting_pushes_unless_by_force(redis_url: str) -> None:
    async with office(redis_url) as at, opened(redis_url) as queue:
        made = await at.tenants.create(acme(spread=8))
        far = shards_of("acme", 8, 64)[7]
        await fill(queue, far, Lane.LOW, 5)
        # they stand where nothing more of it comes to
        await at.tenants.change("acme", TenantChanges(spread=1))
        with pytest.raises(
            ActionRefused, match=r"^5 pushes of tenant 'acme' still wait: revoke its API keys"
        ) as no:
            await at.tenants.delete("acme")
        assert no.value.field == ""
        assert (await at.store.get("acme")).id == "acme"
        [note] = (await at.tenants.delete("acme", force=True)).notes
        assert "TenantUnknown" in note
        assert await at.store.api_key(hash_api_key(made.api_key)) is None
        with pytest.raises(NotFound):
            await at.tenants.delete("nobody")


async def test_a_tenant_is_not_deleted_over_pushes_in_workers_hands_unless_by_force(redis_url: str) -> None:
    async with office(redis_url) as at, opened(redis_url) as queue:
        await at.tenants.create(acme())
        shard = shards_of("acme", 4, 64)[0]
        [holding] = await queue.acquire([shard])
        await fill(queue, shard, Lane.HIGH, 3)
        await fill(queue, shard, Lane.HIGH, 2, "zeta")
        taken = await take(queue, holding, 1)
        words = "^3 pushes of tenant 'acme' are in workers' hands: revoke"
        with pytest.raises(ActionRefused, match=words):
            await at.tenants.delete("acme")
        await fill(queue, shard, Lane.LOW, 5)
        words = "^5 pushes of tenant 'acme' still wait, and 3 more are in workers' hands: revoke"
        with pytest.raises(ActionRefused, match=words):
            await at.tenants.delete("acme")
        [waited, in_hand] = (await at.tenants.delete("acme", force=True)).notes
        assert waited.startswith("5 pushes that waited") and in_hand.startswith("3 pushes that workers")
        await queue.settle([Settlement(holding, taken.claim_id)])


async def test_a_new_tenant_does_not_inherit_the_pushes_of_an_earlier_one(redis_url: str) -> None:
    async with office(redis_url) as at, opened(redis_url) as queue:
        await at.tenants.create(acme())
        shard = shards_of("acme", 4, 64)[2]
        await fill(queue, shard, Lane.LOW, 5, "acme/sandbox")
        await fill(queue, shard, Lane.LOW, 9, "zeta")
        with pytest.raises(AlreadyExists):
            await at.tenants.create(acme())
        await at.tenants.delete("acme", force=True)
        words = "^5 pushes of an earlier tenant 'acme' still wait: .* Create it when all have ended, or choose another"
        with pytest.raises(ActionRefused, match=words) as no:
            await at.tenants.create(acme())
        assert no.value.field == ""
        [holding] = await queue.acquire([shard])
        taken = await take(queue, holding, 1)
        with pytest.raises(
            ActionRefused, match=r"^5 pushes of an earlier tenant 'acme' are in workers' hands: "
        ):
            await at.tenants.create(acme())
        assert await at.store.all() == [] and await at.store.api_keys() == []
        await queue.settle([Settlement(holding, taken.claim_id)])
        await at.tenants.create(acme())


async def test_many_waiting_pushes_of_others_are_not_in_the_way_of_a_new_tenant_and_its_own_are_found(
    redis_url: str, raw: redis_py.Redis
) -> None:
    waiting = keys.shard_keys(40).waiting
    raw.zadd(waiting, {f"high|zeta|{number}": number for number in range(3_000)})
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        await at.tenants.delete("acme", force=True)
        raw.zadd(waiting, {"high|acme|last": 10**6})
        with pytest.raises(ActionRefused, match=r"^pushes of an earlier tenant 'acme' still wait: "):
            await at.tenants.create(acme())


async def test_a_new_tenant_does_not_owe_what_an_earlier_one_took_in(
    redis_url: str, raw: redis_py.Redis
) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        await at.tenants.delete("acme")
        # a process that has not heard of it yet may ask after the removal
        raw.set(keys.rate_key("acme"), "-5000 1800000000000")
        await at.tenants.create(acme())
        assert not raw.exists(keys.rate_key("acme"))


async def test_a_new_tenant_is_not_held_up_by_what_was_noted_of_an_earlier_one(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        await at.tenants.delete("acme")
        # by a worker that has not heard of it yet
        for name in ("acme", "zeta"):
            await at.store.conditions.note(ConditionName("sandbox", tenant=name), "BadDeviceToken", NOW_MS)
        await at.tenants.create(acme())
        assert [each.name.tenant for each in await at.store.conditions.all()] == ["zeta"]


async def test_no_key_is_issued_for_a_tenant_that_is_gone(redis_url: str, raw: redis_py.Redis) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        await at.tenants.delete("acme")
        with pytest.raises(NotFound):
            await at.keys.create("acme", NewKey())
        assert raw.hlen(keys.API_KEYS) == 0


async def test_a_condition_goes_with_the_last_tenant_that_it_concerns(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1)))
        await at.tenants.create(acme(name="zeta", credential=key_of(1)))
        of_key = ConditionName("production", team(1).team_id, team(1).key_id, "")
        of_flow = ConditionName("sandbox", tenant="acme")
        for name in (of_key, of_flow):
            await at.store.conditions.note(name, "BadDeviceToken", NOW_MS)
        await at.tenants.delete("acme")
        assert [each.name for each in await at.store.conditions.all()] == [of_key]
        await at.credentials.revoke("zeta", team(1).key_id)
        assert await at.store.conditions.all() == []


async def test_a_stranger_with_a_key_of_his_own_shows_no_condition_to_whose_ids_he_claims(
    redis_url: str,
) -> None:
    ids = {"team_id": team(1).team_id, "key_id": team(1).key_id}
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1)))
        await at.tenants.create(acme(name="zeta", credential=key_of(2, **ids)))
        [stored] = (await at.store.get("zeta")).credentials
        identity = identity_of(stored, VAULT.open(stored.sealed, context("zeta", stored.name)))
        assert stored.fingerprint == identity.fingerprint
        of_stranger = ConditionName("production", **ids, fingerprint=identity.fingerprint)
        await at.store.conditions.note(of_stranger, "InvalidProviderToken", NOW_MS)
        shown = {each.name: len(each.conditions) for each in (await at.tenants.show_all()).tenants}
        assert shown == {"acme": 0, "zeta": 1}
        # and it goes with the stranger, though the ids are still somebody's
        await at.credentials.revoke("zeta", ids["key_id"])
        assert await at.store.conditions.all() == []


# -- applications ------------------------------------------------------------------------------------------------


async def test_applications_are_added_once_and_show_who_signs_for_them(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(applications=(APP,), credential=key_of(1, environments=("sandbox",))))
        found = await at.applications.add("acme", NewApplication(bundle_id=MAIL))
        assert [(each.bundle_id, each.credentials) for each in found.applications] == [
            (APP, {"production": None, "sandbox": team(1).key_id}),
            (MAIL, {"production": None, "sandbox": team(1).key_id}),
        ]
        with pytest.raises(AlreadyExists, match=f"has the application {MAIL} already"):
            await at.applications.add("acme", NewApplication(bundle_id=MAIL))
        with pytest.raises(ActionRefused, match="'com acme' can't be"):
            await at.applications.add("acme", NewApplication(bundle_id="com acme"))


async def test_an_application_that_is_not_there_is_not_found(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        with pytest.raises(NotFound, match=r"no application 'com.other'; 'clarion application list acme'"):
            await at.applications.remove("acme", "com.other")
        with pytest.raises(NotFound, match=r"no tenant 'nobody'; 'clarion tenant list'"):
            await at.applications.show("nobody")


async def test_the_last_application_goes_only_by_force(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(applications=(APP,)))
        with pytest.raises(ActionRefused, match="is the last application of tenant 'acme'"):
            await at.applications.remove("acme", APP)
        [note] = (await at.applications.remove("acme", APP, force=True)).notes
        assert "can push to none" in note


async def test_a_key_for_one_application_does_not_become_a_key_for_all(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1, topics=(MAIL,))))
        with pytest.raises(ActionRefused, match=f"credential {team(1).key_id} is for {MAIL} alone"):
            await at.applications.remove("acme", MAIL)
        [note] = (await at.applications.remove("acme", MAIL, force=True)).notes
        assert team(1).key_id in note
        assert (await at.store.get("acme")).credentials[0].topics == (MAIL,)
        [view] = (await at.credentials.show("acme")).credentials
        assert view.applications == {"production": [], "sandbox": []}


async def test_a_key_for_several_applications_keeps_the_others(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1, topics=(MAIL, APP))))
        assert (await at.applications.remove("acme", MAIL)).notes == []
        assert (await at.store.get("acme")).credentials[0].topics == (APP,)


async def test_the_sealed_key_is_bound_to_tenant_and_name(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(NewTenant(name="acme", credential=key_of(1, name="main")))
        [credential] = (await at.store.get("acme")).credentials
        assert VAULT.open(credential.sealed, context("acme", "main")) == team(1).private_key_pem
