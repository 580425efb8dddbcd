"""The codec against servers that we did not write, over TLS: every push counted at both ends, and the same count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from codec_client import CodecClient, push
from foreign_servers import TLSFiles, granian, nginx, node, tls_files
from h2.errors import ErrorCodes
from h2_library_server import Ledger, h2_library_server

from engine.http2.events import Answered, StreamReset
from engine.http2.request_writer import Request


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLSFiles:
    return tls_files(tmp_path_factory.mktemp("tls"))


def pushes(count: int, size: int = 0) -> list[Request]:
    return [push(number, size) for number in range(count)]


def with_collapse_ids(requests: Iterable[Request]) -> list[Request]:
    """Every fifth has one field more than its profile, as node_server.js expects."""
    return [
        one._replace(extra=((b"apns-collapse-id", b"c%d" % one.tag),) if one.tag % 5 == 0 else ())
        for one in requests
    ]


async def send_all(port: int, tls: TLSFiles, requests: list[Request], *, renew_every: int = 0) -> CodecClient:
    async with await CodecClient.connect(port, tls.certificate) as client:
        client.renew_every = renew_every
        await client.push(requests)
        assert client.connection.fault is None
    return client


async def send_over_goaways(port: int, tls: TLSFiles, requests: list[Request]) -> list[CodecClient]:
    """A new connection after each GOAWAY takes over what was not processed and what was not sent."""
    by_tag = {one.tag: one for one in requests}
    clients = []
    while requests:
        client = await send_all(port, tls, requests)
        clients.append(client)
        assert not client.connection.open
        requests = [by_tag[tag] for tag in client.unprocessed] + list(client.pending)
        assert len(clients) < 100
    return clients


# the h2 library ------------------------------------------------------------------------------------------------


def test_the_h2_library_takes_every_push_and_has_no_complaint(tls: TLSFiles) -> None:
    async def play() -> None:
        ledger = Ledger()
        ledger.settings = {3: 300}
        async with h2_library_server(tls, ledger) as port:
            client = await send_all(port, tls, pushes(3_000), renew_every=700)
        assert (ledger.pushes, ledger.wrong, ledger.complaints) == (3_000, 0, [])
        assert (client.count(200), client.count(Answered)) == (3_000 - 60, 60)
        assert client.most_in_flight == 300
        answered = client.fates[50]
        assert isinstance(answered, Answered)
        assert (answered.status, answered.body) == (410, b'{"reason":"Unregistered"}')

    asyncio.run(play())


def test_the_h2_library_may_change_every_limit_while_pushes_are_in_flight(tls: TLSFiles) -> None:
    async def play() -> None:
        ledger = Ledger()
        ledger.settings = {3: 1, 4: 500}
        ledger.changes = {
            1: {3: 100},
            100: {4: 10, 1: 0},
            200: {4: 20_000, 3: 1},
            300: {3: 50, 1: 256},
            400: {1: 4_096, 5: 40_000, 4: 60_000},
            600: {4: 300, 5: 16_384},
        }
        async with h2_library_server(tls, ledger) as port:
            client = await send_all(port, tls, pushes(800, 2_000))
        assert (ledger.pushes, ledger.wrong, ledger.complaints) == (800, 0, [])
        assert (client.count(200), client.count(Answered)) == (800 - 16, 16)
        assert len(client.settings) == 1 + len(ledger.changes)
        # bodies went out in pieces while the windows were small, and whole when they were not
        assert min(ledger.sizes) < 500 and max(ledger.sizes) > 2_000

    asyncio.run(play())


def test_the_h2_library_gets_bodies_larger_than_every_window_and_frame(tls: TLSFiles) -> None:
    async def play() -> None:
        ledger = Ledger()
        async with h2_library_server(tls, ledger) as port:
            sizes = (0, 200_000, 40_000, 65_000, 70_000, 16_384)
            await send_all(port, tls, [push(n + 1, size) for n, size in enumerate(sizes * 5)])
        assert (ledger.pushes, ledger.wrong, ledger.complaints) == (30, 0, [])
        assert max(ledger.sizes) == 16_384

    asyncio.run(play())


# nginx ---------------------------------------------------------------------------------------------------------


def test_nginx_logs_every_push_once(tls: TLSFiles, tmp_path: Path) -> None:
    requests = pushes(20_000, 100)
    requests[777] = requests[777]._replace(path=b"/3/device/bad")
    with nginx(tmp_path, tls) as server:
        client = asyncio.run(send_all(server.port, tls, requests, renew_every=3_000))
    assert client.count(200) == 19_999
    assert client.most_in_flight >= 100
    answered = client.fates[777]
    assert isinstance(answered, Answered)
    assert (answered.status, answered.body) == (400, b'{"reason":"BadDeviceToken"}')
    logged = server.requests()
    assert len(logged) == 20_000
    assert {one[1] for one in logged} == {f"id-{n}" for n in range(20_000)}
    assert [one[0] for one in logged].count("200") == 19_999
    by_id = {one[1]: one for one in logged}
    for one in requests[::997]:
        assert by_id[f"id-{one.tag}"][2:] == [f"com.example.app{one.tag % 4}", one.path.decode()]


def test_nginx_may_go_away_again_and_again_and_each_push_is_made_once(tls: TLSFiles, tmp_path: Path) -> None:
    with nginx(tmp_path, tls, requests_a_connection=700) as server:
        clients = asyncio.run(send_over_goaways(server.port, tls, pushes(5_000)))
    assert sum(client.count(200) for client in clients) == 5_000
    assert len(clients) > 5_000 // 700
    logged = server.requests()
    assert len(logged) == 5_000 == len({one[1] for one in logged})


# Node (nghttp2) ------------------------------------------------------------------------------------------------


def run_node(
    tls: TLSFiles, mode: str, count: int, size: int = 0, renew_every: int = 0
) -> tuple[CodecClient, Any]:
    with node(tls, mode) as server:
        requests = with_collapse_ids(pushes(count, size))
        client = asyncio.run(send_all(server.port, tls, requests, renew_every=renew_every))
        counts = server.stop()
    assert (counts["total"], counts["wrong"], counts["repeated"], counts["errors"]) == (count, 0, 0, [])
    return client, counts


@pytest.mark.parametrize("mode", ["plain", "notable"])
def test_node_sees_every_header_in_order_and_every_body(tls: TLSFiles, mode: str) -> None:
    client, counts = run_node(tls, mode, 5_000, renew_every=500)
    assert counts["pushes"] == {"bare": 5_000}
    assert client.count(200) == 5_000
    assert client.most_in_flight >= 100


def test_node_may_answer_in_every_way_that_there_is(tls: TLSFiles) -> None:
    client, counts = run_node(tls, "mixed", 3_500)
    assert counts["pushes"] == dict.fromkeys(
        ("bare", "body", "refused", "trailers", "interim", "reset", "cut"), 500
    )
    kinds = [client.fates[n] for n in range(7)]
    assert [kinds[at] for at in (0, 3, 4)] == [200, 200, 200]
    assert isinstance(kinds[1], Answered) and kinds[1].body == b"hello"
    assert isinstance(kinds[2], Answered) and json.loads(kinds[2].body) == {"reason": "BadDeviceToken"}
    assert kinds[5] == StreamReset(5, ErrorCodes.REFUSED_STREAM)
    assert isinstance(kinds[6], Answered) and (kinds[6].status, kinds[6].body) == (503, b"half of")
    assert client.count(200) == 1_500 and client.count(StreamReset) == 500 and client.count(Answered) == 1_500


def test_node_may_change_its_settings_all_the_time(tls: TLSFiles) -> None:
    with node(tls, "settings") as server:
        client = asyncio.run(send_all(server.port, tls, with_collapse_ids(pushes(3_000, 800))))
        counts = server.stop()
    assert (counts["wrong"], counts["repeated"], counts["errors"]) == (0, 0, [])
    # nghttp2 refuses the streams that were under way when it lowered its limit, and no others
    refused = [
        tag for tag, fate in client.fates.items() if fate == StreamReset(tag, ErrorCodes.REFUSED_STREAM)
    ]
    assert client.count(200) == counts["total"] == 3_000 - len(refused)
    assert len(refused) < 1_500
    limits = {change[3] for change in client.settings if 3 in change}
    assert {0, 1, 20, 60} <= limits
    assert counts["settingsAcknowledged"] >= 15


def test_node_takes_bodies_in_pieces_of_a_small_window(tls: TLSFiles) -> None:
    client, _ = run_node(tls, "windows", 1_000, 4_000)
    assert client.count(200) == 1_000
    assert client.settings[0][4] == 1_024


@pytest.mark.parametrize("mode", ["goaway", "close"])
def test_node_may_go_away_and_each_push_is_made_once(tls: TLSFiles, mode: str) -> None:
    with node(tls, mode) as server:
        requests = with_collapse_ids(pushes(3_000))
        clients = asyncio.run(send_over_goaways(server.port, tls, requests))
        counts = server.stop()
    assert (counts["total"], counts["wrong"], counts["repeated"]) == (3_000, 0, 0)
    assert sum(client.count(200) for client in clients) == 3_000
    assert counts["sessions"] == len(clients) > 3


# granian (hyper) -----------------------------------------------------------------------------------------------


def test_granian_counts_every_push(tls: TLSFiles, tmp_path: Path) -> None:
    async def play(port: int) -> None:
        async with await CodecClient.connect(port, tls.certificate) as client:
            client.renew_every = 900
            await client.push(pushes(4_000, 300))
            assert await client.ask(b"/count") == {"pushes": 4_000, "wrong": 0}
            assert (client.count(200), client.count(Answered)) == (4_000 - 80, 80)
            assert client.most_in_flight >= 100
            client.connection.ping(b"12345678")
            client._send()
            await client.until(lambda: client.pongs == [b"12345678"])

    with granian(tmp_path, tls) as port:
        asyncio.run(play(port))
