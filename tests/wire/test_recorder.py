"""The recording sink: it knows each accepted push, reads the ids of our client and refuses to guess at others'."""

import asyncio
import socket
import uuid
from collections import Counter
from pathlib import Path

import pytest
from codec_client import CodecClient
from push_client import PAYLOAD, PushClient

from engine.apns.headers import ProfileBook, requests
from engine.apns.identity import Badge
from engine.http2.request_writer import Request
from loadtest.sink.recorder import COMPARED, Faults, pieces
from loadtest.sink.recording import RecordingSink
from loadtest.sink.relay import Relay
from shards.job import Job, new_ids

PUSHES = 3 * COMPARED


def jobs(number: int) -> list[Job]:
    """Of several profiles, so that the header table changes under way."""
    made = new_ids(1_800_000_000_000, b"".join((each << 16).to_bytes(10) for each in range(number)))
    return [
        Job(apns_id, b"%064x" % at, f"com.example.app{at % 7}", PAYLOAD, priority=(0, 5, 10)[at % 3])
        for at, apns_id in enumerate(made)
    ]


async def push(port: int, ca_file: Path, pushed: list[Job]) -> Counter[object]:
    """Send all with our own codec; how often each status came."""
    async with await CodecClient.connect(port, ca_file) as client:
        await client.push(_as_requests(pushed))
        return Counter(getattr(fate, "status", fate) for fate in client.fates.values())


def _as_requests(pushed: list[Job]) -> list[Request]:
    rows = requests([(job, None) for job in pushed], ProfileBook(b"localhost", Badge((), 0.0)))
    return [Request(held[0].id, *rest) for held, *rest in rows]  # type: ignore[call-arg]


def recorded(sink: RecordingSink) -> Counter[bytes]:
    return Counter(each for piece in pieces(sink.record) for each in piece.ids)


def test_every_push_is_recorded_under_its_id_and_hpack_reads_the_same(tmp_path: Path) -> None:
    pushed = jobs(PUSHES)
    with RecordingSink(tmp_path) as sink:
        assert asyncio.run(push(sink.port, sink.ca_file, pushed)) == {200: PUSHES}
        assert asyncio.run(push(sink.port, sink.ca_file, pushed[:10])) == {200: 10}
        assert sink.pushes() == PUSHES + 10
    assert recorded(sink) == Counter(job.id for job in pushed + pushed[:10])
    assert {piece.connection for piece in pieces(sink.record)} == {1, 2}
    assert sink.summary["misread"] == 0
    assert sink.summary["compared"] == COMPARED + 10


def test_another_clients_blocks_count_as_misread_and_are_not_guessed_at(tmp_path: Path) -> None:
    async def scenario(port: int, ca_file: Path) -> None:
        async with await PushClient.connect(port, ca_file) as client:
            # the h2 library compresses with Huffman's code
            for _ in range(3):
                stream = client.open(authorization="bearer a.b.c", **{"apns-id": str(uuid.uuid4())})
                client.flush()
                await client.until(lambda stream=stream: stream in client.answers)  # type: ignore[misc]

    with RecordingSink(tmp_path) as sink:
        asyncio.run(scenario(sink.port, sink.ca_file))
    assert recorded(sink) == {}
    assert sink.summary["misread"] == sink.summary["compared"] == 3


def test_what_is_refused_is_not_recorded_as_accepted(tmp_path: Path) -> None:
    pushed = jobs(100)
    with RecordingSink(tmp_path, Faults(refuse_every=10)) as sink:
        assert asyncio.run(push(sink.port, sink.ca_file, pushed)) == {200: 90, 503: 10}
    assert recorded(sink).total() == 90
    assert sink.summary["refused"] == 10


def test_what_is_not_answered_is_not_recorded(tmp_path: Path) -> None:
    async def scenario(port: int, ca_file: Path) -> None:
        async with await CodecClient.connect(port, ca_file) as client:
            client.pending += _as_requests(jobs(20))
            client._send()
            await client.until(lambda: client.count(200) == 18)
            assert len(client.connection.open) == 2

    with RecordingSink(tmp_path, Faults(silent_every=10)) as sink:
        asyncio.run(scenario(sink.port, sink.ca_file))
    assert recorded(sink).total() == 18
    assert sink.summary["silent"] == 2


def test_a_piece_that_is_not_whole_is_left_for_later(tmp_path: Path) -> None:
    with RecordingSink(tmp_path) as sink:
        asyncio.run(push(sink.port, sink.ca_file, jobs(5)))
    sink.record.write_bytes(sink.record.read_bytes()[:-1])
    assert recorded(sink).total() < 5


def test_a_relay_passes_on_late_and_a_cut_resets_both_sides(tmp_path: Path) -> None:
    rtt_s = 0.1

    async def scenario(relay: Relay, sink: RecordingSink) -> None:
        loop = asyncio.get_running_loop()
        async with await PushClient.connect(relay.port, sink.ca_file) as client:
            began_s = loop.time()
            assert (await client.push(authorization="bearer a.b.c")).status == 200
            assert loop.time() - began_s >= rtt_s
            assert relay.cut(0.5) == 1
            await client.until(lambda: client.is_lost)
        assert relay.cut(0.5) == 0
        async with await PushClient.connect(relay.port, sink.ca_file) as client:
            assert (await client.push(authorization="bearer a.b.c")).status == 200

    with RecordingSink(tmp_path) as sink, Relay(sink.port, 1000 * rtt_s) as relay:
        asyncio.run(scenario(relay, sink))


def test_a_relay_that_is_held_carries_nothing_and_what_it_held_arrives_at_the_release(tmp_path: Path) -> None:
    rtt_s = 0.2

    async def scenario(relay: Relay, sink: RecordingSink) -> None:
        async with (
            await PushClient.connect(relay.port, sink.ca_file) as early,
            await PushClient.connect(sink.port, sink.ca_file) as beside,
        ):
            assert (await early.push(authorization="bearer a.b.c")).status == 200
            streams = [early.open(authorization="bearer a.b.c")]
            early.flush()
            # the relay has read it by then, and lets it wait for its half of the round trip
            assert (await beside.push(authorization="bearer a.b.c")).status == 200
            assert relay.hold() == 1
            streams.append(early.open(authorization="bearer a.b.c"))
            early.flush()
            connecting = asyncio.create_task(PushClient.connect(relay.port, sink.ca_file))
            # all the while the sink answers whoever reaches it
            for _ in range(100):
                assert (await beside.push(authorization="bearer a.b.c")).status == 200
            assert not early.answers.keys() & streams and not connecting.done()
            relay.release()
            await early.until(lambda: early.answers.keys() >= set(streams))
            async with await connecting as late:
                assert (await late.push(authorization="bearer a.b.c")).status == 200
            assert relay.hold() == 2

    with RecordingSink(tmp_path) as sink, Relay(sink.port, 1000 * rtt_s) as relay:
        asyncio.run(scenario(relay, sink))


def test_a_relay_that_is_held_reads_nothing_so_that_full_buffers_stop_whoever_sends(tmp_path: Path) -> None:
    with (
        RecordingSink(tmp_path) as sink,
        Relay(sink.port, 1.0) as relay,
        socket.create_connection(("127.0.0.1", relay.port)) as wire,
    ):
        while relay.hold() == 0:
            relay.release()
        wire.settimeout(1.0)
        with pytest.raises(TimeoutError):
            for _ in range(256):
                wire.sendall(bytes(2**20))
