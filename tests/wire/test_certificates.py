"""Certificates in the handshake: whose connection it is, what a refused one holds up, and where its key lies."""

import asyncio
import gc
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from push_client import PushClient
from rig import Rig, Watcher, retried, run, until

from engine.apns.endpoint import endpoint
from engine.apns.headers import ProfileBook
from engine.apns.identity import ClientCertificate, Identity
from engine.link.contexts import Contexts, as_file, certificate_context, hashed_authorities
from engine.link.dial import dial
from engine.link.errors import DialError
from engine.link.host import Host
from engine.link.link import Link
from engine.policy.pause import WHOLE, PauseOptions
from loadtest.simulator.push_authority import PushAuthority, ensure_push_authority
from loadtest.teams import issue

SHORT = PauseOptions(first_s=0.2, most_s=1.0, try_s=2.0, behind_s=0.05)


@contextmanager
def strict_server(rig: Rig, version: ssl.TLSVersion) -> Iterator[int]:
    """A server that says in an alert what it has against a certificate, as servers do that are not asyncio's."""
    assert rig.simulator._authority is not None
    context = rig.simulator._authority.server_context(rig.simulator.push_authority.ca_file)
    context.maximum_version = version
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(accepted, server_side=True).close()
            except OSError:
                accepted.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # a close alone does not wake who waits in accept
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


async def dialled(rig: Rig, identity: Identity, host: Host) -> Link:
    def make() -> Link:
        return Link(Watcher(), ProfileBook(rig.at.authority, identity.badge(rig.wall())), rig.clock)

    return await host.dial(make, identity)


@pytest.fixture
def strange_authority(tmp_path: Path) -> PushAuthority:
    """One that the simulator does not trust."""
    return ensure_push_authority(tmp_path)


# -- what is sent ------------------------------------------------------------------------------------------------


def test_a_pool_with_a_certificate_sends_without_a_token_and_for_as_long_as_it_likes() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(identity=rig.certificate(), most=1)
            for hours in (0, 1, 30):
                rig.wall.ahead_s = hours * 3600.0
                claim, pushed = rig.push(pool, 50)
                await until(lambda claim=claim: claim.left == 0, lambda: pool)
                assert rig.times_accepted(pushed) == {1} == rig.times_tried(pushed)
            summary = rig.simulator.ledger.summary()
            assert (summary["connections_opened"], summary["bearers_per_key"]) == (1, {})
            assert rig.simulator.ledger.teams(1) == {rig.teams[0].team_id}

    run(scenario)


def test_s11_no_connection_is_ever_shared_by_two_teams_or_by_two_certificates_of_one() -> None:
    async def scenario() -> None:
        async with Rig(teams=3) as rig:
            # the second and third app are one team's
            rig.teams[2] = rig.teams[2]._replace(team_id=rig.teams[1].team_id)
            host = rig.host()
            shown = [rig.bearer(0), *(rig.certificate(team) for team in range(3))]
            of_team = [0, 0, 1, 2]
            pools = [
                rig.pool(team, host=host, identity=identity, most=2)
                for team, identity in zip(of_team, shown, strict=True)
            ]
            for _ in range(5):
                for team, pool in zip(of_team, pools, strict=True):
                    rig.push(pool, 20, team)
                await asyncio.sleep(0.01)
            await until(lambda: not rig.hand.jobs, lambda: pools)
            ledger = rig.simulator.ledger
            assert ledger.summary()["refused"] == {} and ledger.summary()["accepted"] == 400
            assert ledger.summary()["teams_per_connection_max"] == 1
            spoke = sorted(team for teams in ledger.connections().values() for team in teams)
            # two identities of either team, each with connections of its own
            assert {spoke.count(rig.teams[team].team_id) >= 2 for team in (0, 1)} == {True}
            assert ledger.summary()["bearers_per_key"] == {rig.teams[0].key_id: 1}

    run(scenario)


def test_a_link_with_a_certificate_has_many_streams_at_once_and_needs_no_topic_if_there_is_one_only() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            one = rig.certificate()
            two = rig.certificate(topics={rig.teams[0].topic: "app", f"{rig.teams[0].topic}.voip": "voip"})
            for identity, reason in ((one, ""), (two, "MissingTopic")):
                client = PushClient()
                context = certificate_context(rig.simulator.ca_file, identity.certificate)
                await asyncio.get_running_loop().create_connection(
                    lambda client=client: client, "localhost", rig.simulator.port, ssl=context
                )
                async with client:
                    await client.until(lambda client=client: bool(client.limits))
                    assert client.limits == [1000]
                    answer = await client.push(apns_topic=None)
                    assert (answer.reason, answer.status) == (reason, 400 if reason else 200)

    run(scenario)


# -- certificates that are refused -------------------------------------------------------------------------------


def test_a_certificate_of_the_other_environment_pauses_its_pool_and_no_other() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            host = rig.host()
            sick = rig.pool(host=host, identity=rig.certificate(environments=("sandbox",)), pause=SHORT)
            well = rig.pool(1, host=host, identity=rig.certificate(1), pause=SHORT)
            claim, pushed = rig.push(sick, 20)
            other, served = rig.push(well, 20, 1)
            await until(lambda: claim.left == 0 and other.left == 0, lambda: (sick, well))
            assert sick.pauses[WHOLE].reason == "BadCertificateEnvironment"
            assert sorted(retried(claim)) == sorted(pushed) and not claim.burials
            assert rig.times_accepted(served) == {1} and not well.pauses

    run(scenario)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_the_handshake_refuses_pauses_its_pool_and_is_not_the_hosts_fault(
    version: ssl.TLSVersion, strange_authority: PushAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            with strict_server(rig, version) as port:
                host = rig.host(endpoint(f"https://localhost:{port}"))
                bad = rig.certificate(issued=issue(rig.teams[0], strange_authority))
                with pytest.raises(DialError) as refused:
                    await dialled(rig, bad, host)
                assert refused.value.own and refused.value.reason == "BadCertificate"
                assert "TLSV1_ALERT_UNKNOWN_CA" in str(refused.value)
                pool = rig.pool(host=host, identity=bad, pause=SHORT, redial_first_s=0.01)
                claim, pushed = rig.push(pool, 50)
                await until(lambda: claim.left == 0, lambda: pool)
                assert pool.pauses[WHOLE].reason == "BadCertificate"
                assert sorted(retried(claim)) == sorted(pushed)
                # it tries again by itself, each time later
                await until(lambda: not pool.rests())
                rig.push(pool, 1)
                await until(lambda: pool.pauses[WHOLE].strikes == 2, lambda: pool)
                assert not host.down
            assert "PRIVATE KEY" not in caplog.text

    run(scenario)


def test_a_certificate_at_which_apns_just_hangs_up_holds_up_nobody_else(
    strange_authority: PushAuthority,
) -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            host = rig.host(redial_first_s=60.0)
            bad = rig.certificate(issued=issue(rig.teams[0], strange_authority))
            sick = rig.pool(host=host, identity=bad, redial_first_s=0.05, redial_most_s=0.2, probes=4)
            claim, _ = rig.push(sick, 100)
            await until(lambda: len(claim.retries) == 96, lambda: sick)
            well = rig.pool(1, host=host)
            other, served = rig.push(well, 20, 1)
            await until(lambda: other.left == 0, lambda: (well, host))
            assert rig.times_accepted(served) == {1} and not host.down
            # and it is not tried as fast as the loop turns: from the third on half of redial_most_s passes at least
            before, began_s = sick._failures, time.monotonic()
            await until(lambda: sick._failures >= before + 8, lambda: sick)
            assert time.monotonic() - began_s >= 0.4

    run(scenario)


@pytest.mark.parametrize("at_connect", [True, False])
def test_s17_a_goaway_that_names_the_certificate_pauses_the_pool_until_a_push_gets_through(
    at_connect: bool,
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            host = rig.host()
            pool = rig.pool(host=host, identity=rig.certificate(), pause=SHORT, redial_first_s=0.01)
            said = {"reason": "BadCertificateEnvironment"}
            steps = [{"do": "goaway", "last_stream_offset": -1, "debug": said}, {"do": "close"}]
            where = {"at": "connect"} if at_connect else {"times": 1}
            rig.simulator.script([{**where, "then": steps}])
            claim, pushed = rig.push(pool, 20)
            await until(lambda: claim.left == 0, lambda: pool)
            assert pool.pauses[WHOLE].reason == "BadCertificateEnvironment" and not host.down
            assert sorted(retried(claim)) == sorted(pushed)
            rig.simulator.script([])
            await until(lambda: not pool.rests())
            again, _ = rig.push_again(pool, claim)
            await until(lambda: again.left == 0 and not pool.pauses, lambda: pool)
            # one push tried, and the others may follow
            last, _ = rig.push_again(pool, again)
            await until(lambda: last.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}

    run(scenario)


def test_a_certificate_that_tls_can_not_show_is_told_and_not_tried_without_end() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            host = rig.host()
            pem = rig.certificate().certificate
            cut = ClientCertificate(pem[:-100], "TEAM000000", "push", "0123456789abcdef")
            with pytest.raises(DialError, match="TLS can't show the certificate") as refused:
                await dialled(rig, cut, host)
            assert refused.value.phase == "certificate" and not host.down
            assert "PRIVATE KEY" not in str(refused.value)
            pool = rig.pool(host=host, identity=cut, redial_first_s=0.05, redial_most_s=0.2)
            claim, _ = rig.push(pool, 100)
            await until(lambda: claim.retries, lambda: pool)
            await asyncio.sleep(0.3)
            assert 1 <= pool._failures <= 8

    run(scenario)


# -- where its key lies ------------------------------------------------------------------------------------------


def test_a_key_is_in_no_file_that_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            # whatever would be written to a disk has no place to go
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
            identity = rig.certificate()
            with as_file(identity.certificate) as (path, password):
                assert path.startswith("/proc/self/fd/") and not password
                assert Path(path).read_bytes() == identity.certificate
                assert str(Path(path).readlink()).startswith("/memfd:")
            assert not Path(path).exists()
            link = await dialled(rig, identity, rig.host())
            link.abort()

    run(scenario)


def test_where_there_is_no_memory_file_the_key_is_encrypted_and_gone_a_moment_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
            identity = rig.certificate()
            with as_file(identity.certificate, in_memory=False) as (path, password):
                assert Path(path).parent == tmp_path and stat.S_IMODE(Path(path).stat().st_mode) == 0o600
                written = Path(path).read_bytes()
                assert b"ENCRYPTED PRIVATE KEY" in written and b"BEGIN PRIVATE KEY" not in written
                assert password.encode() not in written
                context = ssl.create_default_context(cafile=str(rig.simulator.ca_file))
                context.set_alpn_protocols(["h2"])
                context.load_cert_chain(path, password=password)
            assert list(tmp_path.iterdir()) == []
            book = ProfileBook(rig.at.authority, identity.badge(0))
            link = await dial(rig.at, context, lambda: Link(Watcher(), book, rig.clock), lambda _: 0, 5.0)
            link.abort()

    run(scenario)


def test_a_certificate_has_one_context_as_long_as_it_is_held_and_bearers_share_one() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            contexts = rig.contexts
            one, other = rig.certificate(), rig.certificate()
            assert await contexts.of(one) is await contexts.of(one)
            assert await contexts.of(one) is not await contexts.of(other)
            assert await contexts.of(rig.bearer()) is await contexts.of(rig.bearer())
            assert repr(contexts) == "<Contexts for 2 certificates>"
            del one
            gc.collect()
            assert repr(contexts) == "<Contexts for 1 certificates>"

    run(scenario)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="names files as OpenSSL's directories have them")
def test_the_systems_directory_of_authorities_is_searched_and_a_bundle_that_is_named_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
            assert hashed_authorities() is None
            ca_file = rig.simulator.ca_file
            name = subprocess.run(
                ["openssl", "x509", "-noout", "-hash", "-in", str(ca_file)],
                capture_output=True,
                text=True,
                check=True,
            )
            shutil.copy(ca_file, tmp_path / f"{name.stdout.strip()}.0")
            assert hashed_authorities() == str(tmp_path)
            host = Host(rig.at, Contexts(None), rig.host()._options, clock=rig.clock)
            link = await dialled(rig, rig.certificate(), host)
            link.abort()
            monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
            assert hashed_authorities() is None

    run(scenario)
