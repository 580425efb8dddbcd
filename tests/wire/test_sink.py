"""Both sinks say yes to every push and count them; the client counts the same."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
from push_client import PAYLOAD, PushClient

from loadtest.sink import access_log
from loadtest.sink.nginx import NginxSink, find_nginx
from loadtest.sink.protocol import PREFACE, SinkProtocol, Windows
from loadtest.sink.python import PythonSink
from loadtest.sink.start import start_sink

ROOT = Path(__file__).resolve().parents[2]
Kind = Literal["nginx", "python"]

needs_nginx = pytest.mark.skipif(
    find_nginx() is None and not os.environ.get("CI"), reason="no nginx on this machine (CI must have one)"
)
BOTH = [pytest.param("nginx", marks=needs_nginx), "python"]


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("kind", BOTH)
def test_a_sink_accepts_and_counts_every_push(tmp_path: Path, kind: Kind) -> None:
    async def scenario(port: int, ca_file: Path) -> int:
        async with await PushClient.connect(port, ca_file) as client:
            assert (await client.push(authorization="bearer a.b.c")).status == 200
            assert client.limits == [1000]
            for _ in range(5):
                opened = [client.open(authorization="bearer a.b.c", body=PAYLOAD * 10) for _ in range(200)]
                client.flush()
                await client.until(lambda opened=opened: opened[-1] in client.answers)  # type: ignore[misc]
            await client.until(lambda: len(client.answers) == 1001)
            assert {answer.status for answer in client.answers.values()} == {200}
            # nginx asks to be spared the rest of a body it does not need; that is no refusal.
            assert {code for _, code in client.resets} <= {0}
            return len(client.answers)

    with start_sink(tmp_path, kind=kind) as sink:
        assert (sink.kind, sink.host) == (kind, "127.0.0.1")
        assert all(running(pid) for pid in sink.pids)
        pids = sink.pids
        assert asyncio.run(scenario(sink.port, sink.ca_file)) == 1001
        assert sink.pushes() == sink.pushes() == 1001
    assert sink.pushes() == 1001
    sink.stop()
    assert not any(running(pid) for pid in pids)


@pytest.mark.parametrize("kind", BOTH)
def test_two_sinks_can_run_at_once(tmp_path: Path, kind: Kind) -> None:
    with start_sink(tmp_path / "a", kind=kind) as first, start_sink(tmp_path / "b", kind=kind) as second:
        assert first.port != second.port


@needs_nginx
def test_nginx_is_preferred(tmp_path: Path) -> None:
    with start_sink(tmp_path) as sink:
        assert sink.kind == "nginx"


@needs_nginx
def test_nginx_can_have_several_workers(tmp_path: Path) -> None:
    with start_sink(tmp_path, kind="nginx", workers=2) as sink:
        assert len(sink.pids) == 3


@pytest.mark.parametrize("kind", BOTH)
def test_a_port_that_is_taken_is_an_error_in_words(tmp_path: Path, kind: Kind) -> None:
    with (
        PythonSink(tmp_path / "first") as taken,
        pytest.raises(OSError, match=r"did not start|Address already in use"),
    ):
        start_sink(tmp_path / "second", kind=kind, port=taken.port)


def test_the_python_sink_acknowledges_pings_and_takes_bytes_one_by_one(tmp_path: Path) -> None:
    async def scenario(port: int, ca_file: Path) -> None:
        async with await PushClient.connect(port, ca_file) as client:
            await client.until(lambda: client.limits == [1000])
            client.h2.ping(b"12345678")
            stream_id = client.open(authorization="bearer a.b.c")
            assert client._transport is not None
            for byte in client.h2.data_to_send():
                client._transport.write(bytes((byte,)))
            await client.until(lambda: stream_id in client.answers and client.pongs == [b"12345678"])
            assert client.h2.remote_settings.initial_window_size == 2**31 - 1

    with start_sink(tmp_path, kind="python", streams=1000) as sink:
        asyncio.run(scenario(sink.port, sink.ca_file))
        assert sink.pushes() == 1


def test_the_sink_process_says_where_it_is_and_what_it_took(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.sink", "--port", "0", "--tls-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        where = json.loads(process.stdout.readline())

        async def scenario() -> None:
            async with await PushClient.connect(where["port"], Path(where["ca_file"])) as client:
                assert (await client.push(authorization="bearer a.b.c")).status == 200

        asyncio.run(scenario())
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.readline()) == {"pushes": 1}
    assert process.returncode == 0


@needs_nginx
def test_nginx_writes_down_what_it_answered_and_when(tmp_path: Path) -> None:
    ids = [f"{number:08x}-0000-7000-8000-000000000000" for number in range(50)]

    async def scenario(port: int, ca_file: Path) -> None:
        async with await PushClient.connect(port, ca_file) as client:
            for apns_id in ids:
                client.open(apns_id=apns_id)
            client.flush()
            await client.until(lambda: len(client.answers) == len(ids))

    began_s = time.time()
    with NginxSink(tmp_path, record=True) as sink:
        asyncio.run(scenario(sink.port, sink.ca_file))
    # to the millisecond, and nginx looks at the clock once a turn
    pieces = list(access_log.pieces(sink.record))
    assert [apns_id.decode() for piece in pieces for apns_id in piece.ids] == ids
    assert len({piece.connection for piece in pieces}) == 1
    assert all(began_s - 1 <= piece.at_s <= time.time() for piece in pieces)


@pytest.mark.parametrize(
    ("windows", "returned"), [(Windows.WIDE, [40_000, 8_000]), (Windows.APPLE, [32_800])]
)
def test_windows_come_back_with_each_read_or_by_halves(windows: Windows, returned: list[int]) -> None:
    written: list[bytes] = []

    class Wire(asyncio.Transport):
        def write(self, data: bytes) -> None:  # type: ignore[override]
            written.append(data)

    protocol = SinkProtocol(1000, lambda pushes: None, windows=windows)
    protocol.connection_made(Wire())
    protocol.data_received(PREFACE)
    written.clear()
    frame = (4_000).to_bytes(3) + b"\x00\x00\x00\x00\x00\x01" + bytes(4_000)
    part = (800).to_bytes(3) + b"\x00\x00\x00\x00\x00\x01" + bytes(800)
    protocol.data_received(part + frame * 9 + part * 4)
    protocol.data_received(frame * 2)
    updates = b"".join(written)
    assert [int.from_bytes(updates[at + 9 : at + 13]) for at in range(0, len(updates), 13)] == returned
