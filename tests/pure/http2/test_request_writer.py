"""The request writer alone: what goes out within the peer's limits, and what waits."""

from __future__ import annotations

from typing import Any

import pytest
from frame_factory import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    ID_MOST,
    PROFILE,
    WINDOW,
    Server,
    request,
    unhurried,
)
from hypothesis import given
from hypothesis import strategies as st

from engine.http2.header_encoder import Profile
from engine.http2.peer_settings import PeerSettings
from engine.http2.request_writer import WAITING_BODY_MOST, Request, RequestWriter
from engine.http2.windows import SendWindows


class Wire:
    """A writer and the server at the other end of it."""

    def __init__(self, initial: int = WINDOW, connection: int = WINDOW, frame: int = 16_384) -> None:
        self.open: dict[int, Any] = {}
        self.peer = PeerSettings()
        self.peer.max_frame_size = frame
        self.out: list[bytes] = []
        self.writer = RequestWriter(self.open, self.peer, self.out)
        self.writer.resize(initial)
        self.writer.windows.connection = connection
        self.server = Server()

    def send(self, *requests: Request, room: int = 1_000) -> int:
        taken = self.writer.send(requests, room)
        self.flush()
        return taken

    def flush(self) -> list[tuple[int, int, int, int]]:
        """(type, flags, stream, length) of what was written since the last time."""
        found = self.server.take(b"".join(self.out))
        self.out.clear()
        return [(each.kind, each.flags, each.stream_id, len(each.payload)) for each in found]


def fields_of(one: Request) -> list[tuple[bytes, bytes]]:
    varying = (one.profile.varying, one.varying)
    return [(b":path", one.path), *one.profile.fields, varying, *one.extra]


def test_a_request_is_a_headers_and_a_data_frame_the_first_time_and_ever_after() -> None:
    wire = Wire()
    for stream_id in (1, 3, 5, 7):
        one = request(stream_id, b"body")
        wire.writer.send([one], 1)
        headers, data = wire.flush()
        assert headers[:3] == (HEADERS, END_HEADERS, stream_id)
        assert data == (DATA, END_STREAM, stream_id, 4)
        assert wire.server.fields[stream_id] == fields_of(one)
        assert wire.server.bodies[stream_id] == b"body"
    assert wire.open == {1: 1, 3: 3, 5: 5, 7: 7}
    assert wire.writer.windows.connection == WINDOW - 16


def test_pseudo_header_fields_come_first() -> None:
    wire = Wire()
    wire.send(*(request(n, extra=((b"apns-collapse-id", b"c"),)) for n in range(3)))
    for fields in wire.server.fields.values():
        pseudo = [name[:1] == b":" for name, _ in fields]
        assert pseudo == sorted(pseudo, reverse=True) and sum(pseudo) == 4


sizes = st.sampled_from([0, 1, 126, 127, 128, 254, 255, 382, 383, 510, 511, 512, 2_000])


@given(st.lists(st.tuples(sizes, sizes, st.sampled_from([0, 1, 200]), st.booleans()), max_size=6))
@unhurried
def test_fields_of_any_length_arrive_as_they_left(shapes: list[tuple[int, int, int, bool]]) -> None:
    wire = Wire()
    requests = [
        Request(n, PROFILE, b"/" + b"p" * path, b"v" * varying, ((b"n", b"e"),) * extra, b"b" * body)
        for n, (path, varying, body, extra) in enumerate(shapes)
    ]
    assert wire.send(*requests) == len(requests)
    assert wire.writer.next_id == 2 * len(requests) + 1
    for n, one in enumerate(requests):
        assert wire.server.fields[2 * n + 1] == fields_of(one)
        assert wire.server.bodies[2 * n + 1] == one.body
    assert wire.server.ended == set(wire.open)


def test_a_path_longer_than_most_leaves_the_streams_before_and_after_it_in_order() -> None:
    wire = Wire()
    wire.send(request("warm"), request("up"))
    assert wire.send(request("a"), request("long", path=b"/" * 512), request("b")) == 3
    assert wire.open == {1: "warm", 3: "up", 5: "a", 7: "long", 9: "b"}
    assert wire.writer.windows.connection == WINDOW - 5 * len(b"{}")


def test_no_more_streams_are_opened_than_there_is_room() -> None:
    wire = Wire()
    assert wire.send(*(request(n) for n in range(5)), room=3) == 3
    assert wire.send(request(9), room=0) == 0
    assert list(wire.open.values()) == [0, 1, 2]
    assert wire.writer.next_id == 7


def test_a_request_without_a_body_ends_with_its_headers() -> None:
    wire = Wire(connection=0)
    wire.writer.send([request(n, b"") for n in range(4)], 4)
    assert [each[:3] for each in wire.flush()] == [
        (HEADERS, END_HEADERS | END_STREAM, stream_id) for stream_id in (1, 3, 5, 7)
    ]
    assert not wire.writer.unsent


def test_a_body_larger_than_a_frame_is_cut_into_frames() -> None:
    wire = Wire()
    wire.writer.send([request(1, bytes(40_000))], 1)
    assert wire.flush()[1:] == [
        (DATA, 0, 1, 16_384),
        (DATA, 0, 1, 16_384),
        (DATA, END_STREAM, 1, 40_000 - 2 * 16_384),
    ]


def test_the_peer_s_frame_size_is_made_use_of() -> None:
    wire = Wire(frame=50_000)
    wire.writer.send([request(1, bytes(40_000))], 1)
    assert wire.flush()[1:] == [(DATA, END_STREAM, 1, 40_000)]


def test_a_body_larger_than_its_stream_s_window_goes_on_when_that_grows() -> None:
    wire = Wire(initial=10)
    wire.send(request(1, bytes(range(25))), request(3, b"small"))
    assert (wire.server.bodies[1], wire.server.bodies[3]) == (bytes(range(10)), b"small")
    wire.writer.grow(1, 10)
    assert wire.flush() == [(DATA, 0, 1, 10)]
    wire.writer.grow(1, 100)
    assert wire.flush() == [(DATA, END_STREAM, 1, 5)]
    assert wire.server.bodies[1] == bytes(range(25))
    assert not wire.writer.unsent
    assert wire.writer.windows.connection == WINDOW - 30


def test_a_body_goes_on_when_the_initial_window_grows_from_below_zero() -> None:
    wire = Wire(initial=20)
    wire.send(request(1, bytes(50)))
    wire.writer.resize(5)
    assert wire.writer.windows.room(1) == -15
    wire.writer.grow(1, 15)
    assert wire.flush() == []
    wire.writer.resize(6)
    assert wire.flush() == [(DATA, 0, 1, 1)]
    wire.writer.resize(1_000)
    assert wire.flush() == [(DATA, END_STREAM, 1, 29)]


def test_with_an_initial_window_of_zero_headers_go_and_bodies_wait() -> None:
    wire = Wire(initial=0)
    assert wire.send(request(1), request(3)) == 2
    assert wire.server.fields.keys() == {1, 3}
    assert wire.writer.unsent.keys() == {1, 3}
    wire.writer.grow(3, 2)
    assert wire.flush() == [(DATA, END_STREAM, 3, 2)]


def test_a_small_body_waits_until_the_connection_s_window_holds_the_whole_of_it() -> None:
    wire = Wire(connection=5)
    assert wire.send(request(1, b"123"), request(3, b"456"), request(5, b"7")) == 1
    assert wire.send(request(3, b"456")) == 0
    wire.writer.grow(0, 1)
    assert wire.send(request(3, b"456"), request(5, b"7")) == 1
    assert wire.writer.windows.connection == 0


@pytest.mark.parametrize(("window", "taken"), [(0, 0), (1, 1), (40_000, 1)])
def test_a_body_larger_than_the_connection_s_window_is_begun_as_soon_as_there_is_any(
    window: int, taken: int
) -> None:
    # with frames so large and a profile so well known that only the window is in the way
    wire = Wire(connection=window, initial=10**6, frame=10**6)
    wire.send(request(1, b""), request(3, b""))
    assert wire.send(request(5, bytes(100_000))) == taken
    assert len(wire.server.bodies.get(5, b"")) == window
    wire.writer.grow(0, 200_000)
    wire.flush()
    assert len(wire.server.bodies.get(5, b"")) == taken * 100_000


def test_no_body_waits_for_more_of_the_window_than_a_peer_must_leave() -> None:
    # a peer that returns the window once a quarter of it is left leaves no more than this, for ever
    left = WINDOW // 4
    assert Wire(connection=left).send(request(1, bytes(left))) == 1
    assert Wire(connection=left).send(request(1, bytes(left + 1))) == 1
    assert Wire(connection=left - 1).send(request(1, bytes(left))) == 0
    assert left == WAITING_BODY_MOST


def test_bodies_that_wait_for_the_connection_go_on_oldest_first() -> None:
    wire = Wire(connection=30, initial=10)
    assert wire.send(*(request(n, bytes(20_000)) for n in range(3))) == 3
    wire.writer.resize(20_000)
    assert wire.flush() == []
    wire.writer.grow(0, 25_000)
    wire.flush()
    assert [len(body) for body in wire.server.bodies.values()] == [20_000, 5_020, 10]
    assert wire.writer.unsent.keys() == {3, 5}
    # the one that was under way goes on, though another's window is wider
    wire.writer.grow(0, 10_000)
    wire.flush()
    assert [len(body) for body in wire.server.bodies.values()] == [20_000, 15_020, 10]


def test_a_forgotten_stream_sends_no_more() -> None:
    wire = Wire(initial=1)
    wire.send(request(1, b"abc"), request(3, b"def"))
    wire.writer.forget(1)
    wire.writer.forget(1)
    wire.writer.resize(100)
    assert wire.flush() == [(DATA, END_STREAM, 3, 2)]
    assert wire.writer.windows._streams == {}


def test_headers_larger_than_a_frame_are_continued() -> None:
    wire = Wire()
    extra = tuple((b"x-%d" % n, b"y" * 3_000) for n in range(12))
    one = request(1, extra=extra)
    wire.writer.send([one], 1)
    kinds = wire.flush()
    assert [each[:3] for each in kinds] == [
        (HEADERS, 0, 1),
        (CONTINUATION, 0, 1),
        (CONTINUATION, END_HEADERS, 1),
        (DATA, END_STREAM, 1),
    ]
    assert all(length <= 16_384 for *_, length in kinds)
    assert wire.server.fields[1] == fields_of(one)


def test_a_request_without_a_body_and_with_large_headers_ends_its_stream_once() -> None:
    wire = Wire()
    wire.writer.send([request(1, b"", extra=((b"x", b"y" * 20_000),))], 1)
    assert [each[:3] for each in wire.flush()] == [(HEADERS, END_STREAM, 1), (CONTINUATION, END_HEADERS, 1)]


@pytest.mark.parametrize("size", [14_000, 14_900, 15_100, 16_300, 16_384, 30_000])
def test_no_frame_is_larger_than_the_peer_allows_however_long_the_profile_is(size: int) -> None:
    wire = Wire()
    profile = Profile(((b":method", b"POST"), (b"x", b"y" * size)), b"apns-id")
    for n in range(3):
        one = request(n, profile=profile, path=b"/" * 511, varying=b"v" * 511)
        wire.writer.send([one], 1)
        assert all(length <= 16_384 for *_, length in wire.flush())
        assert wire.server.fields[2 * n + 1] == fields_of(one)


def test_a_size_update_goes_before_the_next_request_s_first_field() -> None:
    wire = Wire()
    wire.send(request(1), request(3))
    for change in (wire.writer.encoder.renew, lambda: wire.writer.encoder.resize(100)):
        change()
        wire.writer.send([request(5), request(7)], 2)
        assert b"".join(wire.out)[9:10] == b"\x20"
        wire.flush()
    assert wire.server.fields[7] == fields_of(request(7))


def test_an_update_for_one_stream_looks_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(initial=0)
    wire.send(*(request(n, b"ab") for n in range(300)))
    looks = 0
    send_body = RequestWriter._send_body

    def counted(self: RequestWriter, stream_id: int) -> None:
        nonlocal looks
        looks += 1
        send_body(self, stream_id)

    monkeypatch.setattr(RequestWriter, "_send_body", counted)
    for _ in range(1_000):
        wire.writer.grow(0, 1)
        wire.writer.resize(0)
        wire.writer.grow(599 + 2, 1)
    assert looks == 0
    wire.writer.grow(1, 1)
    assert looks == 1
    # nor does the connection's window, once it is spent again
    wire.writer.windows.connection = 0
    wire.writer.resize(1)
    assert looks == 1
    wire.writer.grow(0, 1)
    assert looks == 2


def test_a_window_goes_past_bodies_that_wait_for_another_without_a_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire(initial=0)
    wire.send(*(request(n, bytes(1_000)) for n in range(300)))
    wire.writer.windows.connection = 0
    looks: list[int] = []
    room = SendWindows.room

    def looked(self: SendWindows, stream_id: int) -> int:
        looks.append(stream_id)
        return room(self, stream_id)

    monkeypatch.setattr(SendWindows, "room", looked)
    wire.writer.grow(599, 100)
    for _ in range(100):
        wire.writer.grow(0, 1)
        wire.writer.resize(1)
        wire.writer.resize(0)
    assert len(wire.server.bodies[599]) == 0
    wire.flush()
    assert len(wire.server.bodies[599]) == 100
    # it went on a hundred times, and of the others there was none to look at but the widest
    assert len(looks) <= 500 and set(looks) <= {1, 599}


def test_the_last_stream_id_is_used_and_none_after_it() -> None:
    wire = Wire()
    wire.writer.next_id = ID_MOST
    assert wire.send(request("last"), room=1) == 1
    assert wire.open == {ID_MOST: "last"}
    assert wire.server.fields[ID_MOST] == fields_of(request("last"))
