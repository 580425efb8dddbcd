"""What holds for every peer, legal or not: one fate for each request, no exception, bounded memory, linear work."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from frame_factory import (
    DATA,
    PROFILE,
    frame,
    frames_of,
    ping,
    request,
    reset,
    settings,
    settings_ack,
    unhurried,
    window_update,
)
from h2_server import CLIENT_VERBS, SERVER_VERBS, Client, H2Server, plans
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.http2.answer_reader import BODY_MOST
from engine.http2.connection import Connection
from engine.http2.events import Answered, ConnectionFault, GoingAway, Received, StreamFault, StreamReset
from engine.http2.header_encoder import Profile
from engine.http2.request_writer import Request

OTHER = Profile(
    (*PROFILE.fields[:4], (b"apns-topic", b"com.example.other"), (b"apns-priority", b"5")), b"apns-id"
)
BODIES = (0, 2, 200, 4_096, 20_000, 40_000, 65_535, 70_000)
FRAME_MOST = 9 + 16_384

plain = examples(unhurried, max_examples=150)


def new_request(tag: int, one: int, two: int) -> Request:
    extra = ((b"apns-collapse-id", b"c%d" % two),) if two % 5 == 0 else ()
    size = BODIES[one % len(BODIES)] if one % 7 == 0 else BODIES[one % 4]
    body = (b"%d" % tag * size)[:size]
    return request(tag, body, OTHER if two % 3 == 0 else PROFILE, extra)


# (b) -----------------------------------------------------------------------------------------------------------


def talk(client: Client, server: H2Server, chunk: int = 0) -> None:
    """Bytes both ways, the server's in pieces when ``chunk`` is not 0."""
    server.hear(client.connection.take_output())
    data = server.say()
    step = chunk or len(data) or 1
    for at in range(0, len(data), step):
        client.hear(data[at : at + step])
    server.hear(client.connection.take_output())


@given(plans(*SERVER_VERBS, *CLIENT_VERBS, least=8, most=60))
@examples(plain, max_examples=300)
def test_whatever_a_legal_server_does_each_request_has_one_fate_and_the_server_no_complaint(
    plan: list[tuple[str, int, int, int]],
) -> None:
    client, server = Client(), H2Server()
    talk(client, server)
    client.send([new_request(n, n, n) for n in range(6)])
    talk(client, server)
    for verb, one, two, three in plan:
        match verb:
            case "send":
                first = len(client.sent)
                client.send([new_request(first + n, one + n, two + n) for n in range(three % 8)])
            case "cancel":
                client.cancel(list(client.connection.open)[one % 3 :: 3])
            case "renew":
                client.connection.renew_headers()
            case "talk":
                talk(client, server, one % 64)
            case _:
                server.step(verb, one, two, three)
    finish(client, server)
    check_fates(client, server)


def finish(client: Client, server: H2Server) -> None:
    """The server lets everything through, then answers what is left."""
    talk(client, server)
    server.announce({3: 100, 4: 1_000_000})
    talk(client, server)
    last = [new_request(len(client.sent) + n, 2 * n, n) for n in range(8)]
    for _ in range(60):
        last = last[client.send(last) :]
        talk(client, server)
        server.acknowledge()
        for stream_id in server.whole & server.open.keys():
            server.step("answer", list(server.open).index(stream_id), 0, 0)
    talk(client, server)
    assert not last or client.connection.going_away


def check_fates(client: Client, server: H2Server) -> None:
    assert client.connection.open == {}
    assert not client.connection._writer.unsent and not client.connection._answers.partial
    assert client.fates.keys() == set(range(len(client.sent)))
    for tag, fate in client.fates.items():
        stream_id = 2 * tag + 1
        match fate[0]:
            case "unprocessed":
                assert stream_id > fate[1] >= server.last_id
            case "cancelled":
                pass
            case "cut":
                _, status, body = server.said[stream_id]
                assert fate[1] == status and body.startswith(fate[2])
            case _:
                assert fate == server.said[stream_id]
    for stream_id in server.whole:
        assert server.bodies[stream_id] == client.sent[stream_id // 2].body


# (a), (c), (d) -------------------------------------------------------------------------------------------------


class Counted(Connection):
    """A connection that counts its work: bytes looked at, and steps taken for bodies that wait."""

    def __init__(self, streams: int, body: bytes) -> None:
        super().__init__()
        self.seen = self.steps = 0
        self.receive(settings({3: 1_000, 4: 3_000}) + settings_ack())
        assert self.send([request(n, body) for n in range(streams)]) == streams
        self.take_output()
        send_body = self._writer._send_body
        writer: Any = self._writer

        def counted(stream_id: int) -> None:
            self.steps += 1
            send_body(stream_id)

        writer._send_body = counted

    def _read_frames(self, data: bytes, received: Received) -> int:
        self.seen += len(data)
        return super()._read_frames(data, received)


def hear(pieces: list[bytes], body: bytes, streams: int = 12) -> tuple[Any, ...]:
    """Everything that comes of the pieces; checks on the way that memory and work stay bounded."""
    connection = Counted(streams, body)
    connection.seen = 0
    accepted: list[Any] = []
    events: list[Any] = []
    output = b""
    for piece in pieces:
        received = connection.receive(piece)
        accepted += received.accepted
        events += received.events
        output += connection.take_output()
        check_memory(connection)
    size = sum(map(len, pieces))
    # a frame that comes byte by byte is looked at when it begins, when its header is there and when it is whole
    assert connection.seen <= 3 * size
    # and a body is looked at for an update of its own window, or to send a part of it
    sent = sum(each.kind == DATA for each in frames_of(output))
    assert connection.steps <= size // 13 + sent
    check_books(connection, streams, accepted, events)
    return accepted, events, output, connection.open


def check_memory(connection: Connection) -> None:
    answers = connection._answers
    assert len(connection._buffer) < FRAME_MOST
    assert answers.block is None or len(answers.block.parts) <= 17
    assert answers.block is None or sum(map(len, answers.block.parts)) <= 2 * 16_384
    assert answers.partial.keys() <= connection.open.keys()
    for partial in answers.partial.values():
        assert len(partial.body) <= BODY_MOST
        assert sum(len(name) + len(value) + 32 for name, value in partial.headers) <= 16_384
    assert connection._writer.unsent.keys() <= connection.open.keys()
    assert connection._writer.unsent.keys() == connection._writer.windows._streams.keys()


def check_books(connection: Connection, streams: int, accepted: list[Any], events: list[Any]) -> None:
    tags = [*accepted, *connection.open.values()]
    for event in events:
        if isinstance(event, Answered | StreamReset | StreamFault):
            tags.append(event.tag)
        elif isinstance(event, GoingAway):
            tags += event.unprocessed
    assert sorted(tags) == list(range(streams))
    faults = [event for event in events if isinstance(event, ConnectionFault)]
    assert faults == ([connection.fault] if connection.fault else []) == events[len(events) - len(faults) :]


def legal_bytes(plan: list[tuple[str, int, int, int]], streams: int = 12) -> bytes:
    """What a server says that has heard of all streams, and hears nothing of the client after that."""
    server, client = H2Server(patient=False), Connection()
    server.hear(client.take_output())
    client.receive(server.say())
    assert client.send([request(n) for n in range(streams)]) == streams
    server.hear(client.take_output())
    for verb, one, two, three in plan:
        server.step(verb, one, two, three)
    return server.say()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(at)]


streams_of_bytes = plans(*SERVER_VERBS).map(legal_bytes)
# sent at once, or waiting for their streams' windows
bodies = st.sampled_from([b"{}", bytes(5_000)])
places = st.lists(st.integers(0, 2**20), max_size=12)


@given(streams_of_bytes, bodies, places)
@plain
def test_however_legal_bytes_are_cut_they_mean_the_same_in_the_same_order(
    data: bytes, body: bytes, cuts: list[int]
) -> None:
    whole = hear([data], body)
    assert hear(cut(data, cuts), body) == whole
    assert hear([data[at : at + 1] for at in range(len(data))], body) == whole


header_blocks = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"\x88", b"\x8c", b"\x20\x88", b"\x08\x03103", b"\x88\x00\x01x\x01y", b"", b"\x00\x01X\x01y"]
    ),
)
small = st.one_of(
    header_blocks, st.sampled_from([bytes(4), bytes(6), bytes(8), b"\x7f\xff\xff\xff", b"\0\0\0\5"])
)
soup = st.lists(
    st.one_of(
        st.builds(
            frame,
            st.one_of(st.integers(0, 10), st.sampled_from([0, 1, 1, 1, 8, 9])),
            st.one_of(st.sampled_from([0, 1, 4, 5, 5, 8, 13, 32, 0x25]), st.integers(0, 255)),
            st.one_of(st.sampled_from([0, 1, 3, 5, 7, 9, 2**31 + 1]), st.integers(0, 30)),
            small,
        ),
        st.builds(reset, st.sampled_from([1, 3, 5]), st.integers(0, 2**32 - 1)),
        st.builds(window_update, st.sampled_from([0, 1, 3]), st.integers(0, 2**32 - 1)),
        st.builds(
            settings,
            st.lists(
                st.tuples(st.integers(0, 7), st.one_of(st.integers(0, 70_000), st.integers(0, 2**32 - 1)))
            ),
        ),
        st.just(ping()),
        st.integers(0, 20).map(lambda count: frame(0, 0, 1, bytes(16_384)) * count),
    ),
    max_size=25,
).map(b"".join)


anything = st.one_of(soup, st.binary(max_size=200), st.tuples(soup, st.binary(max_size=60)).map(b"".join))


@given(anything, bodies, places)
@plain
def test_any_bytes_are_events_and_at_most_one_fault_however_they_are_cut(
    data: bytes, body: bytes, cuts: list[int]
) -> None:
    whole = hear([data], body)
    assert hear(cut(data, cuts), body) == whole
    if len(data) < 5_000:
        assert hear([data[at : at + 1] for at in range(len(data))], body) == whole


mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "drop", "insert", "repeat", "swap"]),
        st.integers(0, 2**20),
        st.binary(max_size=9),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, some in changes:
        at = place % (len(data) + 1)
        rest = data[at:]
        match kind:
            case "flip":
                rest = bytes((rest[0] ^ (1 << place % 8),)) + rest[1:] if rest else rest
            case "drop":
                rest = rest[len(some) :]
            case "insert":
                rest = some + rest
            case "repeat":
                rest = rest[:40] + rest
            case "swap":
                rest = rest[20:40] + rest[:20] + rest[40:]
        data = data[:at] + rest
    return data


@given(streams_of_bytes, mutations, bodies, places)
@plain
def test_legal_bytes_that_were_tampered_with_do_no_harm(
    data: bytes, changes: list[tuple[str, int, bytes]], body: bytes, cuts: list[int]
) -> None:
    data = mutated(data, changes)
    whole = hear([data], body)
    assert hear(cut(data, cuts), body) == whole
    assert hear([data[at : at + 1] for at in range(len(data))], body) == whole


def test_a_large_frame_that_comes_byte_by_byte_is_looked_at_when_it_begins_has_a_header_and_is_whole() -> (
    None
):
    data = frame(0xEE, 0, 0, bytes(16_384)) * 3
    connection = Counted(1, b"{}")
    connection.seen = 0
    for at in range(len(data)):
        connection.receive(data[at : at + 1])
    assert connection.seen == len(data) + 3 * (1 + 9)


def test_a_flood_of_updates_costs_no_step_for_bodies_that_they_do_not_help() -> None:
    connection = Counted(12, bytes(5_000))
    assert len(connection._writer.unsent) == 12
    connection.receive((window_update(0, 1) + settings({4: 3_000}) + settings({4: 2_000})) * 1_000)
    # the windows of all of them move, and none is open
    assert connection.steps == 0
    connection.receive(window_update(1, 1) * 1_000)
    assert connection.steps == 1_000
