"""Secrets stay where they belong: a full run in which as much goes wrong as can, and everything that it left behind.

Looked through are the logs, every answer and every command's output, the command lines that all users of the machine
see, and what Redis holds, by value and by file. Device tokens may stand in Redis, where jobs are, and nowhere else.
Each search is shown to find what is there to be found.
"""

import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from gateway_run import Run
from redis import Redis
from trove import Place, as_json, device_tokens, devices_in, of_bytes, of_text

from loadtest.demo.stage import set_up
from loadtest.simulator.push_authority import ensure_push_authority
from shards.credential import context
from shards.errors import VaultError
from shards.job import decode_job
from shards.keys import TENANTS
from shards.private_redis.server import running_url
from shards.tenant import decode_tenant
from shards.vault import Vault, read_master_key

PASSWORD = "open sesame, said the forty"
# the simulator answers by them
DEAD, BAD, SLOW, BROKEN = "dead", "beef", "510e", "b0b0"


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Run]:
    """A gateway of three tenants: acme by command line, globex over HTTP, initech with a certificate."""
    async with set_up(directory, 0) as stage:
        run = Run(stage)
        for team in run.teams:
            known = {"team_id": team.team_id, "key_id": team.key_id, "topics": [team.topic]}
            await run.control("/teams", {**known, "public_key_pem": team.public_key_pem})
        acme, globex, initech = run.teams[:3]
        words = ("tenant", "create", acme.tenant, "--topic", acme.topic)
        await run.clarion(*words, *run.key_words(0), shows=acme.tenant)
        key = {"team_id": globex.team_id, "key_id": globex.key_id, "key": globex.private_key_pem.decode()}
        named = {"name": globex.tenant, "applications": [globex.topic]}
        await run.ask(
            *(stage.admin_url, "POST", "/v1/tenants"),
            key=run.admin_token,
            shows=globex.tenant,
            json={**named, "credential": key},
        )
        issued = ensure_push_authority(stage.simulator_dir).issue(
            initech.team_id, initech.topic, ("production",)
        )
        (directory / "push.p12").write_bytes(issued.p12(PASSWORD))
        (directory / "password").write_text(PASSWORD + "\n")
        run.trove.add("password of the certificate", of_text(PASSWORD))
        private = load_pem_private_key(issued.key_pem(), None)
        run.trove.add("key of the certificate", of_bytes(_number(private)))
        words = ("tenant", "create", initech.tenant, "--topic", initech.topic)
        certificate = ("--certificate-file", "push.p12", "--certificate-password-file", "password")
        await run.clarion(*words, *certificate, shows=initech.tenant)
        yield run


def _number(private: Any) -> bytes:
    """What is secret of an RSA or EC key, as a number."""
    numbers = private.private_numbers()
    value = numbers.d if hasattr(numbers, "d") else numbers.private_value
    return int(value).to_bytes(-(-value.bit_length() // 8))


async def mistakes_of_administrators(run: Run) -> None:
    """Wrong files, wrong words, keys where they do not belong."""
    acme, globex, _, stranger = run.teams
    (run.stage.directory / "half.p8").write_bytes(acme.private_key_pem[:150])
    (run.stage.directory / "wrong").write_text("not " + PASSWORD)
    for options in (
        run.key_words(0),
        run.key_words(3, **{"team-id": acme.team_id, "key-id": acme.key_id}),
        run.key_words(3, **{"key-file": "half.p8"}),
        run.key_words(3, **{"key-file": "none.p8"}),
        # the key itself in place of its file, and in place of an id
        run.key_words(3, **{"key-file": stranger.private_key_pem.decode()}),
        run.key_words(3, **{"key-id": stranger.private_key_pem.decode()}),
        ["--certificate-file", "push.p12", "--certificate-password-file", "wrong"],
        ["--certificate-file", "push.p12"],
    ):
        await run.clarion("credential", "add", acme.tenant, *options)
    tenant = f"/v1/tenants/{globex.tenant}"
    pem, url = stranger.private_key_pem.decode(), run.stage.admin_url
    for method, path, body in (
        (
            "POST",
            f"{tenant}/credentials",
            {"team_id": globex.team_id, "key_id": stranger.key_id, "key": pem[:100]},
        ),
        ("POST", f"{tenant}/credentials", {"team_id": globex.team_id, "key_id": pem, "key": pem}),
        ("POST", f"{tenant}/credentials", {"team_id": pem, "key_id": globex.key_id, "key": pem}),
        ("POST", f"{tenant}/credentials", {"team_id": globex.team_id, "key_id": "KEYS999999", "ky": pem}),
        ("POST", f"{tenant}/credentials/{globex.key_id}/rotate", {"key_id": globex.key_id, "key": pem}),
        ("POST", "/v1/tenants", {"name": pem, "applications": [globex.topic]}),
        ("POST", f"/v1/tenants/{'%0A'.join(pem.split())}", None),
        ("GET", f"/v1/keys/{run.api_keys[globex.tenant]}", None),
        ("DELETE", f"{tenant}/keys/{run.api_keys[globex.tenant]}", None),
    ):
        await run.ask(url, method, path, key=run.admin_token, json=body)
    broken = f'{{"team_id": "{globex.team_id}", "key": "{as_json(stranger.private_key_pem)}'
    await run.ask(url, "POST", f"{tenant}/credentials", key=run.admin_token, data=broken)
    # the wrong secret at the right door, and the right one with something missing
    await run.ask(url, "GET", "/v1/tenants", key=run.api_keys[globex.tenant])
    await run.ask(url, "GET", "/v1/tenants", key=run.admin_token[:-1])
    await run.ask(url, "GET", f"/v1/tenants?token={run.admin_token}")
    # whole keys, where their prefixes would do; two of them were for that
    await run.clarion("key", "show", run.api_keys[acme.tenant])
    await run.clarion("key", "revoke", acme.tenant, run.api_keys[acme.tenant])
    for team in (acme, globex):
        await run.clarion("key", "create", team.tenant, shows=team.tenant)


async def mistakes_of_callers(run: Run) -> None:
    """Of those who push: in the head, in the body, in HTTP itself."""
    acme, globex = run.teams[:2]
    url, key, device = run.stage.http_url, run.api_keys[acme.tenant], run.device()
    push = {"device_token": device, "topic": acme.topic, "payload": {"aps": {"alert": "hi"}}}
    for given, body in (
        (key, {**push, "device_token": device + "zz"}),
        (key, {**push, "device_token": device[:-1]}),
        (key, {**push, "topic": globex.topic}),
        (key, {**push, "topic": device}),
        (key, {**push, device: 1}),
        (key, {**push, "priority": device}),
        (key, {**push, "payload": {"aps": {"alert": "x" * 5_000}}}),
        (key, {**push, "collapse_id": key + device}),
        (key[:-2] + "xx", push),
        (run.admin_token, push),
        (acme.private_key_pem.decode().replace("\n", " "), push),
    ):
        await run.ask(url, "POST", "/v1/push", key=given, json=body)
    await run.ask(url, "POST", f"/v1/push/{device}?api_key={key}", key=key, json=push)
    await run.ask(url, "POST", "/v1/push/batch", key=key, json=[push, {**push, "device_token": "x" + device}])
    head = f"POST /v1/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    for request in (
        f"{head}Content-Length: 9999999999\r\n\r\n",
        f"{head}Content-Length: {device}\r\n\r\n",
        f"{head}Bad Header {key}: 1\r\n\r\n",
        f"POST /{device}/{key} HTTP/9.9\r\n\r\n",
        f"{key} {device}\r\n\r\n",
        f"{head}X: {'y' * 20_000}\r\n\r\n",
    ):
        await run.say(run.stage.http_port, request.encode())
        await run.say(run.stage.admin_port, request.encode())
    words = ("send", "--url", url, "--topic", acme.topic, "--alert", "hi")
    await run.clarion(*words, "--device-token", device + "!")
    await run.clarion(*words, "--device-token", device)


async def pushes_go_wrong(run: Run) -> None:
    """Everything that APNs may say of a push, dead links, and a worker that is killed with pushes in hand."""
    acme, globex = run.teams[:2]
    rules = [
        {
            "match": {"token_prefix": DEAD},
            "then": [{"do": "answer", "status": 410, "reason": "Unregistered"}],
        },
        {
            "match": {"token_prefix": BAD},
            "then": [{"do": "answer", "status": 400, "reason": "BadDeviceToken"}],
        },
        {"match": {"token_prefix": BROKEN}, "times": 2, "then": [{"do": "close"}]},
        {"match": {"token_prefix": SLOW}, "times": 20, "then": [{"do": "silence"}]},
        {
            "match": {"team": globex.team_id},
            "times": 2,
            "then": [{"do": "answer", "status": 503, "reason": "Shutdown"}],
        },
    ]
    await run.control("/script", rules)
    for tenant in range(3):
        kinds = [""] * 20 + [DEAD] * 5 + [BAD, BROKEN]
        await run.push(tenant, *(run.device(kind) for kind in kinds))
    await run.push(0, *(run.device(SLOW) for _ in range(20)))
    # of both: one kind is replayed below, and a letter of the other is shown then
    buried = {"Unregistered", "BadDeviceToken"}
    await run.until(lambda: buried <= set(_dead(run).values()), "nothing was buried")
    await run.kill_a_worker()
    # or the first push of the next key may be one that is never answered
    await run.control("/script", [])
    # another key takes the place of acme's, and is refused: APNs does not know it
    acme_key = (acme.tenant, acme.key_id)
    await run.clarion("credential", "rotate", *acme_key, *run.key_words(3, **{"team-id": acme.team_id}))
    await run.clarion("credential", "revoke", *acme_key)
    await run.push(0, *(run.device() for _ in range(5)))
    await run.until(lambda: "InvalidProviderToken" in run.log(), "the strange key was not refused")
    for words in (["dead", "list"], ["dead", "replay", "--reason", "Unregistered"], ["tenant", "list"]):
        await run.clarion(*words)
    await run.clarion("dead", "show", next(iter(_dead(run))), to=run.shown)


def _dead(run: Run) -> dict[str, str]:
    """Id of each push among the dead letters → the reason."""
    url = running_url(run.stage.data_dir)
    assert url is not None
    with Redis.from_url(url) as redis:
        letters = [entry for key in redis.scan_iter("clarion:{*}:dead") for _, entry in redis.xrange(key)]
    return {decode_job(each[b"job"]).id.decode(): each[b"reason"].decode() for each in letters}


async def keys_change(run: Run) -> None:
    """API keys come and go, and the master key is changed while everything runs."""
    acme, _, initech = run.teams[:3]
    await run.clarion("key", "create", acme.tenant, "--label", "ci", shows=acme.tenant)
    await run.clarion("key", "list", acme.tenant)
    for words in (["rotate"], ["reseal"], ["status"], ["retire"]):
        await run.clarion("vault", *words)
        run.learn_master_keys()
    for command in ("show", "pause", "resume", "disable", "enable"):
        await run.clarion("tenant", command, acme.tenant)
    for path in (
        f"/v1/tenants/{initech.tenant}",
        f"/v1/tenants/{initech.tenant}/credentials",
        "/v1/openapi.json",
    ):
        await run.ask(run.stage.admin_url, "GET", path, key=run.admin_token)


def scenario(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(body())


def test_no_secret_and_no_device_token_is_in_anything_that_a_full_run_leaves_behind(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as run:
            run.look_at_processes()
            await mistakes_of_administrators(run)
            await mistakes_of_callers(run)
            await pushes_go_wrong(run)
            await keys_change(run)
            run.look_at_processes()
            run.learn_provider_tokens()
            store = run.store()
        # with what was said on the way to the end
        said = [*run.told, *run.logs()]
        devices = device_tokens(run.devices)
        assert run.trove.found_in([*said, *run.shown, *store]) == []
        assert devices_in(said, devices) == []
        # what is searched is what was meant to be: these hold what they must hold
        assert devices_in(run.shown, devices) and devices_in(store, devices)
        assert {place.name for place in run.logs()} >= {"gateway.log", "simulator.log"}
        text = b"\n".join(place.name.encode() + place.content for place in said)
        for word in (b"Unregistered", b"InvalidProviderToken", b"answer 401", b"answer 413", b"SIGKILL"):
            assert word in text, word
        master = Place("master key file", (run.stage.data_dir / "master.key").read_bytes())
        files = [Place(path.name, path.read_bytes()) for path in tmp_path.glob("*.p8")]
        assert any("master key" in found for found in run.trove.found_in([master]))
        assert len({found.split(" in ")[0] for found in run.trove.found_in(files)}) >= len(run.teams)

    scenario(body)


def test_a_stolen_dump_without_the_master_key_gives_away_no_key(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as run:
            await run.push(0, *(run.device() for _ in range(5)))
            store = run.store()
            url = running_url(run.stage.data_dir)
            assert url is not None
            with Redis.from_url(url) as redis:
                tenants = [decode_tenant(record) for record in redis.hvals(TENANTS)]
        assert run.trove.found_in(store) == []
        ours = Vault(read_master_key(run.stage.data_dir / "master.key", create=False))
        theirs = Vault(os.urandom(32))
        opened = {}
        for tenant in tenants:
            for credential in tenant.credentials:
                assert credential.sealed in b"".join(place.content for place in store)
                where = context(tenant.id, credential.name)
                opened[tenant.id] = ours.open(credential.sealed, where)
                assert re.search(rb"PRIVATE KEY", opened[tenant.id])
                with pytest.raises(VaultError):
                    theirs.open(credential.sealed, where)
                for other in tenants:
                    if other.id != tenant.id:
                        # a record copied to another tenant does not open for it
                        with pytest.raises(VaultError):
                            ours.open(credential.sealed, context(other.id, credential.name))
        assert len(opened) == 3
        assert run.trove.found_in(Place(name, secret) for name, secret in opened.items())

    scenario(body)
