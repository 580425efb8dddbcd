"""Does APNs take a tenant's credentials? Asked of two simulated environments, and of servers that are no APNs."""

import asyncio
import re
import socket
import ssl
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rig import run, until

from engine.apns.endpoint import Endpoint, endpoint
from engine.link.check import Check, clock_says, harmless
from engine.link.contexts import Contexts
from engine.policy.diagnosis import Finding, State, Trial
from loadtest.simulator.push_authority import ensure_push_authority
from loadtest.simulator.registry import Device, Team
from loadtest.simulator.server import Simulator, SimulatorOptions
from loadtest.teams import certificate_of, issue, make_team, tenant_of
from shards.credential import Credential
from shards.tenant import Tenant
from shards.vault import Vault

VAULT = Vault(bytes(range(32)))


class Place:
    """``async with Place() as place``: APNs in two environments, which know the key of one team, and its tenant."""

    def __init__(self, tls_dir: Path) -> None:
        self.team = make_team(7)
        self.tenant = tenant_of(self.team, VAULT)
        self.simulators = {
            name: Simulator(SimulatorOptions(tls_dir=tls_dir, environment=name))
            for name in ("production", "sandbox")
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Place":
        for simulator in self.simulators.values():
            await self._stack.enter_async_context(simulator)
            # Apple knows no device with our made-up token
            simulator.tell(Device(token="00" * 32, fate="bad"))
        self.register()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def register(self, **fields: Any) -> None:
        plain = {
            "team_id": self.team.team_id,
            "key_id": self.team.key_id,
            "public_key_pem": self.team.public_key_pem,
            "topics": (self.team.topic,),
        }
        for simulator in self.simulators.values():
            simulator.register(Team(**{**plain, **fields}))

    def script(self, *steps: dict[str, Any], at: str = "request") -> None:
        for simulator in self.simulators.values():
            simulator.script([{"at": at, "then": list(steps)}])

    def certificate(self, **fields: Any) -> Credential:
        authority = self.simulators["production"].push_authority
        return certificate_of(self.team, issue(self.team, authority, **fields), VAULT)

    def with_credentials(self, *credentials: Credential) -> Tenant:
        return msgspec.structs.replace(self.tenant, credentials=credentials)

    def check(self, at: Endpoint | None = None, vault: Vault = VAULT, **options: Any) -> Check:
        addresses = {
            name: at or endpoint(f"https://localhost:{simulator.port}")
            for name, simulator in self.simulators.items()
        }
        return Check(vault, addresses, Contexts(self.simulators["production"].ca_file), **options)

    async def find(self, tenant: Tenant | None = None, **options: Any) -> list[Finding]:
        return await self.check(**options).tenant(tenant or self.tenant, "production")

    async def find_one(self, **options: Any) -> Finding:
        [finding] = await self.find(**options)
        return finding


def test_a_key_and_a_certificate_are_good_by_one_push_each_and_nothing_stays_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            [key] = place.tenant.credentials
            tenant = place.with_credentials(key, place.certificate())
            findings = await place.check().tenant(tenant)
            assert [(each.credential, each.environment) for each in findings] == [
                (key.name, "production"),
                (key.name, "sandbox"),
                (place.team.topic, "production"),
                (place.team.topic, "sandbox"),
            ]
            assert {(each.state, each.reason) for each in findings} == {(State.GOOD, "BadDeviceToken")}
            for simulator in place.simulators.values():
                summary = simulator.ledger.summary()
                assert (summary["attempts"], summary["connections_opened"]) == (2, 2)
                assert summary["teams_per_connection_max"] == 1 and summary["protocol_errors"] == {}
                await until(lambda simulator=simulator: not simulator.open_connections)

    run(scenario)


@pytest.mark.parametrize(
    ("registered", "reason", "says"),
    [
        ({"public_key_pem": make_team(8).public_key_pem}, "InvalidProviderToken", "APNs knows no such key"),
        ({"environment": "sandbox"}, "BadEnvironmentKeyIdInToken", "does not work in production"),
        ({"topics": ("com.example.other",)}, "TopicDisallowed", "may not push to com.example.app7"),
    ],
)
def test_a_key_that_apns_does_not_take_is_told_with_what_to_do(
    tmp_path: Path, registered: dict[str, Any], reason: str, says: str
) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            place.register(**registered)
            found = await place.find_one()
            assert (found.state, found.reason) == (State.BAD, reason)
            assert says in found.text

    run(scenario)


def test_the_wrong_team_id_and_the_wrong_key_id_are_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            [key] = place.tenant.credentials
            for wrong in ({"team_id": "TEAM999999"}, {"key_id": "KEYS999999"}):
                tenant = place.with_credentials(msgspec.structs.replace(key, **wrong))
                [found] = await place.find(tenant)
                assert found.reason == "InvalidProviderToken"
                assert all(value in found.text for value in wrong.values())

    run(scenario)


def test_a_clock_that_is_wrong_is_told_with_the_difference_if_the_answer_has_the_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            behind = {"wall": lambda: time.time() - 2 * 3600}
            found = await place.find_one(**behind)
            assert found.reason == "ExpiredProviderToken"
            assert "this machine's clock must be wrong" in found.text
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
            said = {"do": "answer", "reason": "ExpiredProviderToken", "headers": {"date": date}}
            place.script(said)
            found = await place.find_one(**behind)
            assert re.search(r"clock is (1:59:5\d|2:00:0\d) behind the one that answered", found.text)

    run(scenario)


@pytest.mark.parametrize(
    ("date", "says"),
    [
        (b"Tue, 20 Jan 2026 12:00:00 GMT", "2:00:05 ahead of"),
        (b"Tue, 20 Jan 2026 16:00:00 GMT", "1:59:55 behind"),
        (b"yesterday", "must be wrong"),
        (b"\xff", "must be wrong"),
        (None, "must be wrong"),
    ],
)
def test_the_difference_of_two_clocks_is_read_off_the_answer(date: bytes | None, says: str) -> None:
    headers = () if date is None else ((b"date", date),)
    here_s = 1_768_917_605.0
    assert says in clock_says(headers, here_s)
    assert "it says 2026-01-20 14:00:05 UTC" in clock_says(headers, here_s)


def test_a_certificate_of_the_other_environment_and_one_that_apns_does_not_know_are_told(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with Place(tmp_path / "apns") as place:
            # as somebody may have said it by hand
            other = msgspec.structs.replace(
                place.certificate(environments=("sandbox",)), environments=("production",)
            )
            stranger = issue(place.team, ensure_push_authority(tmp_path / "stranger"))
            unknown = certificate_of(place.team, stranger, VAULT, name="unknown")
            first, second = await place.find(place.with_credentials(other, unknown))
            assert first.reason == "BadCertificateEnvironment"
            assert "the certificate is not for production" in first.text
            assert second.state is State.BAD and "may not take the certificate" in second.text

    run(scenario)


@pytest.mark.parametrize("at", ["connect", "request"])
def test_a_goaway_that_names_the_certificate_is_told_in_the_same_words(tmp_path: Path, at: str) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            said = {"do": "goaway", "last_stream_offset": -1, "debug": {"reason": "BadCertificate"}}
            place.script(said, {"do": "close"}, at=at)
            [found] = await place.find(place.with_credentials(place.certificate()))
            assert found.reason == "BadCertificate" and "revoked" in found.text

    run(scenario)


def test_a_secret_that_does_not_open_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            found = await place.find_one(vault=Vault(bytes(32)))
            assert (found.state, found.reason) == (State.BAD, "Unusable")
            assert "master key" in found.text
            assert place.simulators["production"].ledger.summary()["connections_opened"] == 0

    run(scenario)


def test_an_apns_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(tmp_path) as place:
            place.script({"do": "silence"})
            found = await place.find_one(deadline_s=0.3)
            assert found.reason == "NoAnswer" and "nothing within 0.3 s" in found.text
            await until(lambda: not place.simulators["production"].open_connections)

    run(scenario)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://no-such-host.invalid", "can names be looked up from here?"),
        ("https://localhost:{closed}", "is the way there open?"),
        ("https://localhost:{plain}", "something on the way may"),
        ("https://localhost:{http1}", "something on the way may open TLS"),
        ("https://127.0.0.2:{production}", "something on the way may open TLS"),
    ],
    ids=["no name", "no port", "no TLS", "no HTTP/2", "another's certificate"],
)
def test_no_way_to_apns_is_told_with_where_to_look(tmp_path: Path, url: str, says: str) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def scenario() -> None:
        async with Place(tmp_path) as place:
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports = {"closed": free.getsockname()[1]}
            files = place.simulators["production"]._authority
            assert files is not None
            plain_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            plain_tls.load_cert_chain(files.certificate_file, files.key_file)
            for name, context in (("plain", None), ("http1", plain_tls)):
                server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
                place._stack.push_async_callback(server.wait_closed)
                place._stack.callback(server.close)
                ports[name] = server.sockets[0].getsockname()[1]
            wide = Simulator(SimulatorOptions(host="0.0.0.0", tls_dir=tmp_path))
            await place._stack.enter_async_context(wide)
            at = endpoint(url.format(production=wide.port, **ports))
            found = await place.find_one(at=at)
            assert (found.state, found.reason) == (State.BAD, "Unreachable")
            assert says in found.text and at.host in found.text

    run(scenario)


@pytest.mark.parametrize(
    ("topic", "push_type", "priority"),
    [
        ("com.acme.app", "background", 5),
        ("com.acme.app.voip", "voip", 0),
        ("com.acme.app.voip-ptt", "pushtotalk", 0),
        ("com.acme.app.push-type.liveactivity", "liveactivity", 0),
        ("com.apple.mgmt.External.0a1b", "mdm", 0),
    ],
)
def test_the_push_fits_its_topic_shows_nothing_and_is_tried_once(
    topic: str, push_type: str, priority: int
) -> None:
    job = harmless(b"id", Trial(Credential("K", "T", "K", b""), "sandbox", topic))
    assert (job.push_type, job.priority, job.expiration) == (push_type, priority, 0)
    assert job.payload == b'{"aps":{"content-available":1}}' and set(job.device_token) == {ord("0")}
