"""``clarion tenant check`` as a person meets it, against a look-alike of Apple in a process of its own."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_cli import clarion, one_line

from loadtest.simulator.push_authority import ensure_push_authority
from loadtest.teams import certificate_of, issue, make_team, tenant_of
from shards.api_key import new_api_key
from shards.tenant import Tenant
from shards.tenants import Tenants
from shards.vault import Vault

MASTER_KEY = bytes(range(32))
TEAM = make_team(1)


class Apple:
    """A simulator's process, and what tells it things."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        words = ["simulate", "--port", "0", "--control-port", "0", "--data-dir", str(directory)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self._where = json.loads(self.process.stdout.readline())

    def tell(self, path: str, body: Any) -> None:
        request = urllib.request.Request(f"{self._where['control_url']}/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10):
            pass

    def knows_the_key(self) -> None:
        fields = {"team_id": TEAM.team_id, "key_id": TEAM.key_id, "public_key_pem": TEAM.public_key_pem}
        self.tell("teams", {**fields, "topics": [TEAM.topic]})

    @property
    def options(self) -> list[str]:
        """Where production is. Nobody listens for the sandbox."""
        url = f"https://localhost:{self._where['port']}"
        return [
            *("--apns-production-url", url, "--apns-sandbox-url", "https://localhost:1"),
            *("--apns-ca-file", self._where["ca_file"]),
        ]


@pytest.fixture(scope="module")
def apple(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apple]:
    apple = Apple(tmp_path_factory.mktemp("apple"))
    try:
        # as Apple: no device has this token
        apple.tell("devices", {"token": "00" * 32, "fate": "bad"})
        apple.knows_the_key()
        yield apple
    finally:
        apple.process.terminate()
        apple.process.communicate(timeout=20)


def store(redis_url: str, tenant: Tenant) -> None:
    async def create() -> None:
        tenants = Tenants(redis_url)
        await tenants.create(tenant, *new_api_key())
        await tenants.close()

    asyncio.run(create())


def check(apple: Apple, redis_url: str, cwd: Path, code: int, *words: str) -> tuple[str, str]:
    return clarion(
        *("tenant", "check", TEAM.tenant, "--redis-url", redis_url, *apple.options, *words),
        cwd=cwd,
        code=code,
        CLARION_MASTER_KEY=b64encode(MASTER_KEY).decode(),
    )


def test_each_credential_has_its_line_and_all_must_be_good(
    apple: Apple, redis_url: str, tmp_path: Path
) -> None:
    vault = Vault(MASTER_KEY)
    tenant = tenant_of(TEAM, vault)
    certificate = certificate_of(TEAM, issue(TEAM, ensure_push_authority(apple.directory)), vault)
    store(redis_url, msgspec.structs.replace(tenant, credentials=(*tenant.credentials, certificate)))

    said, _ = check(apple, redis_url, tmp_path, 0, "--environment", "production")
    lines = said.splitlines()
    assert lines[0].startswith(f"good    {TEAM.key_id} in production for {TEAM.topic}: APNs takes its pushes")
    assert lines[1].startswith(f"good    {TEAM.topic} in production for {TEAM.topic}: APNs takes its pushes")
    assert len(lines) == 2

    said, _ = check(apple, redis_url, tmp_path, 1)
    assert [line.split()[0] for line in said.splitlines()] == ["good", "bad", "good", "bad"]
    assert "can't be reached (connect)" in said and "through no proxy" in said

    said, _ = check(apple, redis_url, tmp_path, 0, "--environment", "production", "--topic", TEAM.topic)
    [only] = said.splitlines()
    # the certificate names the topic, and so comes before the key
    assert only.startswith(f"good    {TEAM.topic} in production")


def test_a_revoked_key_is_told_in_words_and_as_json(apple: Apple, redis_url: str, tmp_path: Path) -> None:
    store(redis_url, tenant_of(TEAM, Vault(MASTER_KEY)))
    try:
        apple.tell("script", [{"then": [{"do": "answer", "reason": "InvalidProviderToken"}]}])
        words = ("--environment", "production")
        said, _ = check(apple, redis_url, tmp_path, 1, *words)
        assert said.startswith("bad") and "it is revoked, or it is not the one with key id KEYS000001" in said
        said, _ = check(apple, redis_url, tmp_path, 1, *words, "--json")
        [finding] = json.loads(said)
        assert (finding["state"], finding["reason"]) == ("bad", "InvalidProviderToken")
    finally:
        apple.tell("script", [])


def test_what_a_person_may_get_wrong_is_one_line(apple: Apple, redis_url: str, tmp_path: Path) -> None:
    _, said = check(apple, redis_url, tmp_path, 1)
    assert "there is no tenant 'tenant-1'" in one_line(said)
    store(redis_url, tenant_of(TEAM, Vault(bytes(32))))
    said, _ = check(apple, redis_url, tmp_path, 1, "--environment", "production")
    assert said.startswith("bad") and "master key" in said
    said, _ = check(apple, redis_url, tmp_path, 1, "--topic", "com.example.ap1")
    assert f"the tenant has no application com.example.ap1; it has {TEAM.topic}" in said
    nowhere = ("--apns-ca-file", str(tmp_path / "none.pem"))
    _, said = clarion("tenant", "check", TEAM.tenant, *nowhere, cwd=tmp_path, code=2)
    assert "there is no such file" in one_line(said)
    _, said = clarion(
        "tenant", "check", TEAM.tenant, "--data-dir", str(tmp_path / "empty"), cwd=tmp_path, code=1
    )
    assert "can't read the master key" in one_line(said)


def test_neither_key_nor_certificate_is_in_what_it_says(apple: Apple, redis_url: str, tmp_path: Path) -> None:
    vault = Vault(MASTER_KEY)
    issued = issue(TEAM, ensure_push_authority(tmp_path / "stranger"))
    tenant = tenant_of(TEAM, vault)
    refused = certificate_of(TEAM, issued, vault)
    store(redis_url, msgspec.structs.replace(tenant, credentials=(*tenant.credentials, refused)))
    said = "".join(check(apple, redis_url, tmp_path, 1))
    for secret in (TEAM.private_key_pem, issued.key_pem()):
        assert not any(line in said for line in secret.decode().splitlines())
    assert "BEGIN" not in said and "bearer" not in said
