"""Links that can't be opened: each failure is one line of text, leaves no socket behind, and is not soon repeated."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rig import Rig, Watcher, run, until

from engine.apns.endpoint import Endpoint, endpoint
from engine.apns.headers import ProfileBook
from engine.apns.identity import Badge
from engine.link.contexts import tls_context
from engine.link.dial import dial
from engine.link.errors import DialError
from engine.link.link import Link
from loadtest.simulator.authority import Authority, ensure_authority

EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GOAWAY = b'\0\0\x2f\7\0\0\0\0\0\0\0\0\0\0\0\0\0{"reason":"BadCertificateEnvironment"}'.replace(
    b"\x2f", bytes([8 + len('{"reason":"BadCertificateEnvironment"}')])
)

BOOK = ProfileBook(b"localhost", Badge(((b"authorization", b"bearer a.b.c"),), 0.0))

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return ensure_authority(tmp_path_factory.mktemp("tls"))


def tls(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate_file, authority.key_file)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


class Raw:
    """A small server that counts who came and who is still there."""

    def __init__(self) -> None:
        self.port = 0
        self.came = 0
        self.here = 0


@asynccontextmanager
async def raw_server(context: ssl.SSLContext | None, serve: Serve) -> AsyncIterator[Raw]:
    raw = Raw()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw.came += 1
        raw.here += 1
        try:
            await serve(reader, writer)
            await reader.read()
        except OSError:
            pass
        finally:
            raw.here -= 1
            writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0, ssl=context)
    raw.port = server.sockets[0].getsockname()[1]
    async with server:
        yield raw
        await until(lambda: not raw.here, lambda: f"{raw.here} connections were left open")


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


def saying(*words: bytes) -> Serve:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(words)
        await writer.drain()

    return say


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(EMPTY_SETTINGS)
    writer.close()


async def refused_dial(at: Endpoint, ca_file: Path, deadline_s: float) -> DialError:
    watcher = Watcher()
    made: list[Link] = []

    def make() -> Link:
        made.append(Link(watcher, BOOK, asyncio.get_running_loop().time))
        return made[-1]

    with pytest.raises(DialError) as refused:
        await dial(at, tls_context(ca_file), make, lambda n: 0, deadline_s)
    assert not any(link.usable for link in made)
    return refused.value


def check(error: DialError, phase: str, says: str) -> None:
    assert error.phase == phase, error
    assert says in str(error)
    assert "\n" not in str(error)


def test_a_port_where_nobody_listens(authority: Authority) -> None:
    async def scenario() -> None:
        async with raw_server(None, say_nothing) as raw:
            port = raw.port
        check(
            await refused_dial(endpoint(f"https://localhost:{port}"), authority.ca_file, 5.0),
            "connect",
            "reached",
        )

    run(scenario)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70 + ".example"])
def test_a_name_that_does_not_resolve(authority: Authority, host: str) -> None:
    async def scenario() -> None:
        error = await refused_dial(Endpoint(host, 443, b""), authority.ca_file, 5.0)
        check(error, "resolve", f"{host}:443 can't be reached (resolve)")

    run(scenario)


def test_a_certificate_of_another_authority(authority: Authority, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with raw_server(tls(authority, "h2"), say_nothing) as raw:
            other = ensure_authority(tmp_path)
            error = await refused_dial(endpoint(f"https://localhost:{raw.port}"), other.ca_file, 5.0)
            check(error, "tls", "CERTIFICATE_VERIFY_FAILED")

    run(scenario)


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
def test_a_server_without_alpn_h2(authority: Authority, protocols: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with raw_server(tls(authority, *protocols), say_nothing) as raw:
            error = await refused_dial(endpoint(f"https://localhost:{raw.port}"), authority.ca_file, 5.0)
            check(error, "tls", "no ALPN h2")
            await until(lambda: raw.came)

    run(scenario)


def test_tls_that_stalls(authority: Authority) -> None:
    async def scenario() -> None:
        async with raw_server(None, say_nothing) as raw:
            error = await refused_dial(endpoint(f"https://localhost:{raw.port}"), authority.ca_file, 0.2)
            check(error, "connect", "did not answer within 0.2 s")

    run(scenario)


@pytest.mark.parametrize(
    ("serve", "says"),
    [
        (say_nothing, "did not answer within 0.3 s (settings)"),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "closed before SETTINGS"),
        (saying(EMPTY_SETTINGS, GOAWAY), "BadCertificateEnvironment"),
    ],
    ids=["silence", "another protocol", "goaway"],
)
def test_a_server_that_does_not_get_as_far_as_settings(authority: Authority, serve: Serve, says: str) -> None:
    async def scenario() -> None:
        async with raw_server(tls(authority, "h2"), serve) as raw:
            error = await refused_dial(endpoint(f"https://localhost:{raw.port}"), authority.ca_file, 0.3)
            check(error, "settings", says)

    run(scenario)


def test_a_dial_that_is_cancelled_leaves_no_connection_behind(authority: Authority) -> None:
    async def scenario() -> None:
        async with raw_server(tls(authority, "h2"), say_nothing) as raw:
            dialling = asyncio.ensure_future(
                refused_dial(endpoint(f"https://localhost:{raw.port}"), authority.ca_file, 5.0)
            )
            await until(lambda: raw.here)
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling

    run(scenario)


def test_a_dial_that_is_cancelled_as_the_settings_come_leaves_no_connection_behind(
    authority: Authority,
) -> None:
    async def scenario() -> None:
        dialling: asyncio.Task[Link]
        made: list[Link] = []

        class Sudden(Link):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if self.usable:
                    # the dial is to go on in the next step of the loop, and is cancelled in this one
                    dialling.cancel()

        def make() -> Link:
            made.append(Sudden(Watcher(), BOOK, asyncio.get_running_loop().time))
            return made[-1]

        async with raw_server(tls(authority, "h2"), saying(EMPTY_SETTINGS)) as raw:
            at = endpoint(f"https://localhost:{raw.port}")
            dialling = asyncio.ensure_future(dial(at, tls_context(authority.ca_file), make, lambda n: 0, 5.0))
            with pytest.raises(asyncio.CancelledError):
                await dialling
            assert not made[0].usable

    run(scenario)


@pytest.mark.parametrize("serve", [saying(EMPTY_SETTINGS, GOAWAY), hang_up, saying(b"HTTP/1.1 400\r\n\r\n")])
def test_a_pool_backs_off_from_a_server_that_ends_every_connection(
    authority: Authority, serve: Serve
) -> None:
    async def scenario() -> None:
        async with Rig(tls_dir=authority.ca_file.parent) as rig:
            async with raw_server(tls(authority, "h2"), serve) as raw:
                pool = rig.pool(at=endpoint(f"https://localhost:{raw.port}"), redial_first_s=0.1, apart_s=0.0)
                rig.push(pool, 100)
                await asyncio.sleep(0.7)
                # delays of 0.05 to 0.1 s, then up to 0.2, 0.4, 0.8: without them there would be hundreds
                assert 2 <= raw.came <= 7, raw.came
                await until(lambda: not pool.links)
                # what can't be sent does not stay in hand
                assert rig.hand.jobs <= 16
                pool.abort()

    run(scenario)
