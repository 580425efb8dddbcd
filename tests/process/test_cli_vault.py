"""``clarion vault``: one master key takes the place of another while a worker sends, and what is said when it can't."""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_cli import clarion, one_line
from worker_process import MASTER_KEY, SPREAD, Place, run, until

from loadtest.simulator.server import Team
from loadtest.teams import MadeUpTeam, make_team, tenant_of
from shards.api_key import new_api_key
from shards.credential import context
from shards.errors import VaultError
from shards.keys import TENANTS
from shards.tenant import decode_tenant
from shards.tenants import Tenants
from shards.vault import Vault, key_id, read_master_key

OLD_ID = key_id(MASTER_KEY).hex()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.write_bytes(base64.b64encode(MASTER_KEY) + b"\n")
    return path


class Words:
    """``clarion vault`` on a Redis and a master key file."""

    def __init__(self, redis_url: str, key_file: Path, directory: Path) -> None:
        self._options = ("--redis-url", redis_url, "--master-key-file", str(key_file))
        self._directory = directory

    def __call__(self, command: str, code: int = 0, **variables: str) -> tuple[str, str]:
        return clarion("vault", command, *self._options, cwd=self._directory, code=code, **variables)


async def create(redis_url: str, team: MadeUpTeam, vault: Vault) -> None:
    store = Tenants(redis_url)
    try:
        await store.create(tenant_of(team, vault, spread=SPREAD), *new_api_key())
    finally:
        await store.close()


def sealed(place: Place) -> list[tuple[bytes, str]]:
    """Every stored secret, with its context."""
    tenants = map(decode_tenant, place.raw.hvals(TENANTS))
    return [(each.sealed, context(tenant.id, each.name)) for tenant in tenants for each in tenant.credentials]


@contextlib.asynccontextmanager
async def pushing(place: Place, tenants: int) -> AsyncIterator[list[str]]:
    """Pushes for each of the tenants all the time; the list grows by their ids."""
    pushed: list[str] = []
    ended = asyncio.Event()

    async def push() -> None:
        while not ended.is_set():
            for team in range(tenants):
                pushed.extend(await place.enqueue(place.jobs(5, team), team))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(push())
    try:
        yield pushed
    finally:
        ended.set()
        await task


def test_a_worker_goes_on_sending_while_the_master_key_is_rotated_resealed_and_retired(
    redis_url: str, tmp_path: Path, key_file: Path
) -> None:
    vault = Words(redis_url, key_file, tmp_path)

    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=2) as place:
            worker = await place.worker(master_key_file=str(key_file))
            async with pushing(place, 2) as pushed:
                await until(lambda: place.accepted(pushed)[1] > 50, lambda: worker)
                said, _ = await asyncio.to_thread(vault, "rotate")
                new_id, old_id = read_master_key(key_file, create=False).ids
                assert old_id == OLD_ID and f"has a new key, {new_id}" in said
                # sealed with a key that the worker has never seen
                late = make_team(2)
                known = Team(
                    team_id=late.team_id,
                    key_id=late.key_id,
                    public_key_pem=late.public_key_pem,
                    topics=(late.topic,),
                )
                place.simulator.register(known)
                await create(redis_url, late, Vault(read_master_key(key_file, create=False)))
                place.teams.append(late)
                late_pushed = await place.enqueue(place.jobs(20, 2), 2)
                await until(lambda: place.accepted(late_pushed) == {1: 20}, lambda: worker)

                said, _ = await asyncio.to_thread(vault, "reseal")
                assert f"2 credentials sealed anew with {new_id}; 1 were already." in said
                seen = len(pushed)
                said, _ = await asyncio.to_thread(vault, "retire")
                assert f"{OLD_ID} is taken out of {key_file}; {new_id} stays." in said
                await until(lambda: len(pushed) > seen + 100)
            await place.settled(worker)
            assert place.accepted(pushed).keys() == {1}
            log = worker.log.read_text()
            assert "can't be used" not in log and "no usable credential" not in log
            # links are kept: one for each team
            assert place.simulator.ledger.connections_opened == 3

            assert read_master_key(key_file, create=False).ids == [new_id]
            new, old = Vault(read_master_key(key_file, create=False)), Vault(MASTER_KEY)
            for secret, bound_to in sealed(place):
                assert b"PRIVATE KEY" in new.open(secret, bound_to)
                with pytest.raises(VaultError):
                    old.open(secret, bound_to)
            # a worker that starts now knows only what is in the file
            second = await place.worker(master_key_file=str(key_file), node="second")
            worker.end()
            more = await place.enqueue(place.jobs(50))
            await until(lambda: place.accepted(more) == {1: 50}, lambda: second)

    run(scenario)


def test_each_step_may_be_repeated_says_what_it_did_and_shows_no_key(
    redis_url: str, tmp_path: Path, key_file: Path
) -> None:
    vault = Words(redis_url, key_file, tmp_path)
    for number in range(3):
        asyncio.run(create(redis_url, make_team(number), Vault(MASTER_KEY)))
    heard = [*vault("rotate"), *vault("rotate"), *vault("retire", 1)]
    three = read_master_key(key_file, create=False)
    new_id, between_id, _ = three.ids
    assert f"still sealed: 3 credentials with {OLD_ID}; 'clarion vault reseal'" in one_line(heard[-1])
    heard += vault("reseal")
    assert f"3 credentials sealed anew with {new_id}." in heard[-2]
    heard += vault("reseal")
    assert f"0 credentials sealed anew with {new_id}; 3 were already." in heard[-2]
    heard += vault("status")
    assert re.search(rf"{new_id} +seals and opens +3", heard[-2])
    assert re.search(rf"{OLD_ID} +opens +0", heard[-2])
    heard += vault("retire")
    assert f"{between_id}, {OLD_ID} are taken out of {key_file}; {new_id} stays." in heard[-2]
    heard += vault("retire")
    assert f"holds one key only, {new_id}; there is none to retire" in heard[-2]
    for key in three.keys:
        assert not any(
            shown in each for each in heard for shown in (key.hex(), base64.b64encode(key).decode())
        )


def test_a_lost_key_is_told_with_what_is_lost_and_the_rest_is_sealed_anew(
    redis_url: str, tmp_path: Path, key_file: Path
) -> None:
    vault = Words(redis_url, key_file, tmp_path)
    lost, kept = make_team(0), make_team(1)
    asyncio.run(create(redis_url, lost, Vault(bytes(32))))
    asyncio.run(create(redis_url, kept, Vault(MASTER_KEY)))
    lost_id = key_id(bytes(32)).hex()
    said, error = vault("status", 1)
    assert re.search(rf"{OLD_ID} +seals and opens +1", said)
    assert f"1 credential can't be opened ({lost.tenant}/{lost.key_id})" in one_line(error)
    assert f"it is sealed with master key {lost_id}" in error and "If it is lost, so are" in error
    vault("rotate")
    said, error = vault("reseal", 1)
    assert "1 credential sealed anew" in said and lost.tenant in one_line(error)
    # it is none of those that are taken out
    said, _ = vault("retire")
    assert f"{OLD_ID} is taken out" in said


def test_a_master_key_in_the_variable_is_the_persons_to_change(
    redis_url: str, tmp_path: Path, key_file: Path
) -> None:
    vault = Words(redis_url, key_file, tmp_path)
    asyncio.run(create(redis_url, make_team(0), Vault(MASTER_KEY)))
    new = base64.b64encode(bytes(range(32, 64))).decode()
    both = {"CLARION_MASTER_KEY": f"{new}, {base64.b64encode(MASTER_KEY).decode()}"}
    for command in ("rotate", "retire"):
        _, error = vault(command, 1, **both)
        assert "CLARION_MASTER_KEY, which only you can change" in one_line(error)
    said, _ = vault("reseal", **both)
    assert "1 credential sealed anew" in said
    said, _ = vault("status", CLARION_MASTER_KEY=new)
    assert "$CLARION_MASTER_KEY holds 1 key." in said and re.search(r"seals and opens +1", said)
    assert read_master_key(key_file, create=False).ids == [OLD_ID]
