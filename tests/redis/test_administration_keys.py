"""What an administrator does to credentials and API keys, on a real Redis, and the words for what can't be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import redis as redis_py
from office import APP, MAIL, NOW_MS, acme, key_of, office, team

from loadtest.simulator.push_authority import ensure_push_authority
from shards import keys
from shards.administration.checks import CREDENTIALS_MOST, KEYS_MOST, ActionRefused
from shards.administration.credential_request import NewCredential, Rotation
from shards.administration.requests import Expiry, NewKey
from shards.api_key import ApiKey, Scope, hash_api_key
from shards.credential import choose
from shards.errors import AlreadyExists, NotFound, VaultError
from shards.keys import CHANGES
from shards.redis import listening
from shards.vault import Vault

ONE, TWO, THREE = team(1), team(2), team(3)
OF_TEAM_1 = {"team_id": ONE.team_id}


def rotation(number: int, **fields: object) -> Rotation:
    made = team(number)
    plain = {"key_id": made.key_id, "key": made.private_key_pem.decode()}
    return Rotation(**{**plain, **fields})


async def signing(at: object, topic: str = APP, environment: str = "production") -> str | None:
    tenant = await at.store.get("acme")
    found = choose(tenant.credentials, environment, topic, at.clock())
    return found and found.name


@pytest.mark.parametrize(
    ("new", "field", "words"),
    [
        (
            key_of(1, key_id=TWO.key_id),
            "key_id",
            f"this very key is stored as {ONE.key_id} in credential 'main'",
        ),
        (key_of(2, key_id=ONE.key_id, **OF_TEAM_1), "key", f"one of the two is not AuthKey_{ONE.key_id}.p8"),
        (
            key_of(1, team_id="OTHERTEAM1", name="x"),
            "team_id",
            f"in team {ONE.team_id}: a key belongs to one team",
        ),
        (
            key_of(2, topics=("com.other",)),
            "topics/0",
            "'com.other' is no application of this tenant, which has",
        ),
        (key_of(2, environments=()), "environments", "is empty: write production, sandbox or both"),
        (key_of(2, name="my key"), "name", "'my key' can't be: write letters, digits"),
        (key_of(2, not_after_ms=NOW_MS), "not_after_ms", "is over: write a time to come"),
        (key_of(2, not_after_ms=1 << 64), "not_after_ms", "is after the year 9999"),
        (key_of(2, not_after_ms=NOW_MS // 1000 + 1), "not_after_ms", "write Unix time in milliseconds"),
        (key_of(2, key=""), "key", "or a certificate is needed"),
        (key_of(2, password="x"), "password", "is for certificates"),
        (NewCredential(certificate="x"), "certificate", "neither the text of a .pem file, nor a .p12 file"),
        (key_of(2, certificate="x"), "certificate", "can't stand beside a key"),
        (NewCredential(certificate="AAAA", key_id=ONE.key_id), "key_id", "is for keys"),
        (key_of(2, key_id=TWO.private_key_pem.decode()), "key_id", r"\(not shown, \d+ characters\) can't be"),
    ],
)
async def test_a_credential_that_can_not_be_is_told_with_its_field(
    new: NewCredential, field: str, words: str, redis_url: str
) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1, name="main")))
        before = await at.store.get("acme")
        with pytest.raises(ActionRefused, match=words) as refused:
            await at.credentials.add("acme", new)
        assert refused.value.field == field
        assert TWO.private_key_pem.decode().splitlines()[1] not in str(refused.value)
        assert await at.store.get("acme") == before


async def test_a_credential_is_there_once(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1, name="main")))
        with pytest.raises(
            AlreadyExists, match="has a credential 'main' already; give this one another name"
        ):
            await at.credentials.add("acme", key_of(2, name="main"))
        with pytest.raises(AlreadyExists, match="this key is there already, as credential 'main'"):
            await at.credentials.add("acme", key_of(1))
        # another tenant's is nobody's business
        await at.tenants.create(acme(name="zeta", credential=key_of(1, key_id=TWO.key_id)))


async def test_a_newer_key_signs_from_then_on_even_if_its_hosts_clock_is_behind(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1)))
        at.clock.now_ms -= 60_000
        change = await at.credentials.rotate("acme", ONE.key_id, rotation(2))
        assert change.credential.applications == {"production": [APP, MAIL], "sandbox": [APP, MAIL]}
        assert await signing(at) == TWO.key_id
        await at.credentials.revoke("acme", TWO.key_id)
        assert await signing(at) == ONE.key_id


async def test_a_rotation_is_for_what_the_old_one_was_for_and_ends_it_after_the_overlap(
    redis_url: str,
) -> None:
    async with office(redis_url) as at:
        old = key_of(1, topics=(MAIL,), environments=("sandbox",))
        await at.tenants.create(acme(credential=old))
        await at.credentials.rotate("acme", ONE.key_id, rotation(2, overlap_s=60.0))
        was, new = (await at.credentials.show("acme")).credentials
        assert (new.team_id, new.topics, new.environments) == (ONE.team_id, (MAIL,), ("sandbox",))
        assert (was.not_after_ms, was.usable) == (NOW_MS + 60_000, True)
        at.clock.now_ms += 60_000
        was, new = (await at.credentials.show("acme")).credentials
        assert (was.usable, new.usable) == (False, True)
        with pytest.raises(NotFound, match=r"no credential 'none'; 'clarion credential list acme'"):
            await at.credentials.rotate("acme", "none", rotation(3))


async def test_a_revoked_credential_leaves_nothing_of_its_secret(redis_url: str, raw: redis_py.Redis) -> None:
    async with office(redis_url) as at, listening(redis_url, [CHANGES]) as changes:
        await at.tenants.create(acme(credential=key_of(1)))
        [credential] = (await at.store.get("acme")).credentials
        [note] = (await at.credentials.revoke("acme", ONE.key_id)).notes
        assert note.startswith(f"nothing signs pushes to {APP}, {MAIL} in production and sandbox any more")
        assert credential.sealed not in raw.hget(keys.TENANTS, "acme")
        assert [await anext(changes) for _ in range(2)] == [(CHANGES, "acme")] * 2
        with pytest.raises(NotFound, match=f"no credential '{ONE.key_id}'"):
            await at.credentials.revoke("acme", ONE.key_id)


async def test_a_credential_can_be_set_aside_and_ended(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1)))
        assert len((await at.credentials.disable("acme", ONE.key_id)).notes) == 1
        assert await signing(at) is None
        await at.credentials.enable("acme", ONE.key_id)
        await at.credentials.expire("acme", ONE.key_id, Expiry(not_after_ms=NOW_MS + 5))
        assert await signing(at) == ONE.key_id
        at.clock.now_ms += 5
        assert await signing(at) is None
        await at.credentials.expire("acme", ONE.key_id, Expiry(not_after_ms=0))
        assert await signing(at) == ONE.key_id
        with pytest.raises(ActionRefused, match="is over"):
            await at.credentials.expire("acme", ONE.key_id, Expiry(not_after_ms=NOW_MS))


async def test_what_is_there_and_what_is_new_are_sealed_under_one_master_key(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1)))
        assert at.may_create == [True]
    async with office(redis_url, Vault(bytes(32))) as stranger:
        for action in (
            stranger.credentials.add("acme", key_of(2)),
            stranger.tenants.create(acme(name="zeta", credential=key_of(2))),
        ):
            with pytest.raises(VaultError, match=r"do not open with this master key.*--master-key-file"):
                await action
        # a host without the key must not make another one
        assert stranger.may_create == [False, False]
        await stranger.credentials.revoke("acme", ONE.key_id)
        await stranger.credentials.add("acme", key_of(2))


async def test_credentials_are_bounded_in_number(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme(credential=key_of(1)))
        [one] = (await at.store.get("acme")).credentials
        many = tuple(msgspec.structs.replace(one, name=f"{number}") for number in range(CREDENTIALS_MOST))
        await at.store.change("acme", lambda tenant: msgspec.structs.replace(tenant, credentials=many))
        with pytest.raises(ActionRefused, match=r"50 credentials at most; revoke some first"):
            await at.credentials.add("acme", key_of(2))


async def test_a_certificate_ends_when_it_says_itself_whatever_is_wished(
    redis_url: str, tmp_path: Path
) -> None:
    issued = ensure_push_authority(tmp_path).issue(
        ONE.team_id, APP, begins=datetime.now(UTC) - timedelta(days=1)
    )
    own_ms = int(issued.certificate.not_valid_after_utc.timestamp() * 1000)
    file = (issued.certificate_pem + issued.key_pem()).decode()
    async with office(redis_url) as at:
        at.clock.now_ms = own_ms - 10_000
        await at.tenants.create(acme())
        added = await at.credentials.add("acme", NewCredential(certificate=file, name="push"))
        assert added.credential.not_after_ms == own_ms
        for wish_ms, end_ms in ((0, own_ms), (own_ms + 1, own_ms), (own_ms - 1, own_ms - 1), (0, own_ms)):
            ended = await at.credentials.expire("acme", "push", Expiry(not_after_ms=wish_ms))
            assert ended.credential.not_after_ms == end_ms, wish_ms
            assert ended.notes == []
        at.clock.now_ms = own_ms
        [view] = (await at.credentials.show("acme")).credentials
        assert not view.usable and await signing(at) is None


async def test_a_key_is_rotated_to_a_certificate_of_its_team_and_to_no_others(
    redis_url: str, tmp_path: Path
) -> None:
    authority = ensure_push_authority(tmp_path)

    def to_certificate(team_id: str) -> Rotation:
        issued = authority.issue(team_id, APP)
        return Rotation(certificate=(issued.certificate_pem + issued.key_pem()).decode(), name="push")

    async with office(redis_url) as at:
        at.clock.now_ms = int(datetime.now(UTC).timestamp() * 1000)
        await at.tenants.create(acme(credential=key_of(1)))
        strange = to_certificate(TWO.team_id)
        strange.check(at.clock.now_ms)
        with pytest.raises(ActionRefused, match=f"another than the certificate's, which is {TWO.team_id}"):
            await at.credentials.rotate("acme", ONE.key_id, strange)
        own = to_certificate(ONE.team_id)
        own.check(at.clock.now_ms)
        change = await at.credentials.rotate("acme", ONE.key_id, own)
        assert (change.credential.name, change.credential.team_id) == ("push", ONE.team_id)


# -- API keys ----------------------------------------------------------------------------------------------------


async def test_a_key_is_made_for_its_scopes_and_shown_once(redis_url: str) -> None:
    async with office(redis_url) as at:
        first = await at.tenants.create(acme())
        made = await at.keys.create("acme", NewKey(scopes=("admin", "send", "send"), label="ci"))
        key = await at.store.api_key(hash_api_key(made.api_key))
        assert key == ApiKey("acme", made.key.prefix, NOW_MS, ("send", "admin"), "ci")
        listed = msgspec.json.encode(await at.keys.show("acme")).decode()
        assert made.key.prefix in listed and first.key.prefix in listed
        assert made.api_key not in listed and made.api_key not in repr(made)


@pytest.mark.parametrize(
    ("new", "field", "words"),
    [
        (NewKey(scopes=()), "scopes", "write send or read or admin"),
        (NewKey(label="a\nb"), "label", "without line breaks"),
        (NewKey(label="clarion_0a1b2c3d_secret"), "label", "looks like a key"),
        (NewKey(not_after_ms=NOW_MS - 1), "not_after_ms", "is over"),
        (NewKey(not_after_ms=10**30), "not_after_ms", "is after the year 9999"),
    ],
)
async def test_a_key_that_can_not_be_is_told_with_its_field(
    new: NewKey, field: str, words: str, redis_url: str
) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        with pytest.raises(ActionRefused, match=words) as refused:
            await at.keys.create("acme", new)
        assert refused.value.field == field
        assert len(await at.store.api_keys("acme")) == 1


async def test_keys_are_bounded_in_number(redis_url: str) -> None:
    async with office(redis_url) as at:
        await at.tenants.create(acme())
        for number in range(KEYS_MOST - 1):
            await at.store.put_key(f"{number}", ApiKey("acme", f"clarion_{number:08x}"))
        with pytest.raises(ActionRefused, match="revoke some first"):
            await at.keys.create("acme", NewKey())


async def test_a_key_is_named_by_its_prefix_and_by_no_more(redis_url: str) -> None:
    async with office(redis_url) as at:
        made = await at.tenants.create(acme())
        await at.tenants.create(acme(name="zeta"))
        for named in (made.key.prefix, made.api_key):
            found = await at.keys.find(named)
            assert (found.tenant, found.prefix) == ("acme", made.key.prefix)
            assert "shown once" in found.if_lost and "revoke this one by its prefix" in found.if_lost
        secret = made.api_key.removeprefix(made.key.prefix)
        for wrong in (
            secret,
            f"x{made.api_key}",
            "clarion_0a1b2c3d",
            f"clarion_0a1b2c3d{secret}",
            "nonsense",
        ):
            with pytest.raises(NotFound) as missing:
                await at.keys.revoke("acme", wrong)
            assert secret not in str(missing.value)
        with pytest.raises(NotFound, match=f"'zeta' has no API key '{made.key.prefix}'"):
            await at.keys.find(made.key.prefix, "zeta")
        with pytest.raises(NotFound, match=f"'zeta' has no API key '{made.key.prefix}'"):
            await at.keys.revoke("zeta", made.key.prefix)
        assert len(await at.store.api_keys()) == 2


async def test_a_key_is_revoked_at_once_or_after_an_overlap(redis_url: str) -> None:
    async with office(redis_url) as at:
        made = await at.tenants.create(acme())
        other = await at.keys.create("acme", NewKey())
        # one that may not push does not take its place
        await at.keys.create("acme", NewKey(scopes=("read",)))
        assert (await at.keys.revoke("acme", made.key.prefix, 60.0)).notes == []
        # a second word does not lengthen its life
        await at.keys.revoke("acme", made.key.prefix, 600.0)
        key = await at.store.api_key(hash_api_key(made.api_key))
        assert key is not None and key.allows(Scope.SEND, NOW_MS + 59_999)
        assert not key.allows(Scope.SEND, NOW_MS + 60_000)
        await at.keys.revoke("acme", made.key.prefix)
        assert await at.store.api_key(hash_api_key(made.api_key)) is None
        [note] = (await at.keys.revoke("acme", other.key.prefix)).notes
        assert "no API key of this tenant may push any more" in note
        with pytest.raises(ActionRefused, match="after_s is -1; write a number from 0"):
            await at.keys.revoke("acme", other.key.prefix, -1.0)


async def test_a_revoked_key_does_not_come_back_with_a_change_to_it(redis_url: str) -> None:
    async with office(redis_url) as at:
        made = await at.tenants.create(acme())
        with redis_py.Redis.from_url(redis_url) as other:

            def revoked_meanwhile(key: ApiKey) -> ApiKey:
                other.hdel(keys.API_KEYS, hash_api_key(made.api_key))
                return msgspec.structs.replace(key, not_after_ms=NOW_MS * 2)

            with pytest.raises(NotFound):
                await at.store.change_key("acme", made.key.prefix, revoked_meanwhile)
        assert await at.store.api_keys() == []
