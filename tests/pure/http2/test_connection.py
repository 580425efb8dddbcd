"""One connection from preface to end: what it says, what it understands, and when it takes requests."""

from __future__ import annotations

import pytest
from frame_factory import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    ID_MOST,
    MAX_CONCURRENT_STREAMS,
    OK,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    SETTINGS,
    WINDOW,
    WINDOW_UPDATE,
    Frame,
    Server,
    answer,
    block_of,
    busy,
    frame,
    frames_of,
    literal,
    padded,
    ping,
    request,
    reset,
    settings,
    settings_ack,
    started,
)

from engine.http2.connection import Connection
from engine.http2.events import Answered, Ponged, SettingsReceived, StreamFault


def test_it_begins_with_the_preface_and_its_settings() -> None:
    output = Connection().take_output()
    assert output.startswith(PREFACE)
    (first,) = frames_of(output)
    pairs = [first.payload[at : at + 6] for at in range(0, len(first.payload), 6)]
    assert (first.kind, first.flags, first.stream_id) == (SETTINGS, 0, 0)
    # no header table, no push, and the RFC's own window and frame size
    assert {int.from_bytes(pair[:2]): int.from_bytes(pair[2:]) for pair in pairs} == {
        1: 0,
        2: 0,
        4: WINDOW,
        5: 16_384,
        6: 16_384,
    }


def test_it_opens_no_stream_before_the_peer_s_settings() -> None:
    connection = Connection()
    assert connection.room() == connection.send([request(1)]) == 0
    assert "new" in repr(connection)
    received = connection.receive(settings({MAX_CONCURRENT_STREAMS: 3}))
    assert received.events == [SettingsReceived(((MAX_CONCURRENT_STREAMS, 3),))]
    assert connection.room() == 3
    assert connection.send([request(n) for n in range(5)]) == 3
    assert repr(connection) == "<http2.Connection open, 3 of 3 streams, window 65529, next id 7>"


def test_every_settings_frame_is_acknowledged_and_an_acknowledgement_is_not() -> None:
    connection = Connection()
    connection.take_output()
    connection.receive(settings() + settings_ack() + settings({MAX_CONCURRENT_STREAMS: 1}))
    assert frames_of(connection.take_output()) == [Frame(SETTINGS, ACK, 0, b"")] * 2
    assert connection.take_output() == b""


def test_the_stream_limit_is_followed_to_one_to_none_and_back() -> None:
    connection = started({MAX_CONCURRENT_STREAMS: 2})
    connection.send([request(1), request(3)])
    for limit, room in ((1, 0), (0, 0), (2, 0), (5, 3)):
        connection.receive(settings({MAX_CONCURRENT_STREAMS: limit}))
        assert connection.room() == room
    connection.receive(settings({MAX_CONCURRENT_STREAMS: 1}) + answer(1))
    assert connection.room() == 0
    connection.receive(answer(3))
    assert connection.send([request(5), request(7)]) == 1


def test_a_table_size_that_falls_and_rises_in_one_frame_is_followed_through_its_least() -> None:
    # RFC 7541, 4.2: the smallest size in between has to be signalled; nghttp2 insists
    connection = busy(2)
    connection.receive(settings([(HEADER_TABLE_SIZE, 0), (HEADER_TABLE_SIZE, 4_096)]))
    connection.take_output()
    connection.send([request(5)])
    (headers, _) = frames_of(connection.take_output())
    assert headers.payload.startswith(b"\x20\x3f\xe1\x1f")


def test_bare_200s_are_tags_and_nothing_else() -> None:
    connection = busy(4)
    with_body = frame(HEADERS, END_HEADERS, 7, OK) + frame(DATA, END_STREAM, 7)
    received = connection.receive(answer(5) + answer(1) + answer(3) + with_body)
    assert received == ([5, 1, 3, 7], [])
    assert connection.open == {} and connection.take_output() == b""


@pytest.mark.parametrize("table", [False, True])
def test_a_200_is_one_whatever_way_it_is_said(table: bool) -> None:
    connection = started(acknowledged=not table)
    blocks = [
        OK,
        OK + literal(b"apns-id", b"1"),
        b"\x20" + OK,
        b"\x08\x03200",
        block_of((b":status", b"200"), (b"date", b"now")),
        b"\x48\x03200",
    ]
    connection.send([request(n) for n in range(2 * len(blocks))])
    data = b""
    for n, block in enumerate(blocks):
        data += frame(HEADERS, END_STREAM | END_HEADERS, 4 * n + 1, block)
        data += frame(HEADERS, END_STREAM, 4 * n + 3, block[:1])
        data += frame(CONTINUATION, END_HEADERS, 4 * n + 3, block[1:])
    assert connection.receive(data) == ([*range(2 * len(blocks))], [])


def test_before_the_table_is_off_an_answer_may_need_what_a_200_said() -> None:
    connection = started(acknowledged=False)
    connection.send([request(n) for n in range(4)])
    whole = END_STREAM | END_HEADERS
    inserts = frame(HEADERS, whole, 1, OK + b"\x40" + literal(b"x", b"y")[1:])
    refers = frame(HEADERS, whole, 3, b"\x8c\xbe")
    fields = ((b":status", b"400"), (b"x", b"y"))
    assert connection.receive(inserts + refers) == ([0], [Answered(1, 400, fields, b"")])
    # the acknowledgement ends that
    assert connection.receive(settings_ack() + answer(5)).accepted == [2]
    (fault,) = connection.receive(frame(HEADERS, whole, 7, b"\x8c\xbe")).events
    assert fault == connection.fault


@pytest.mark.parametrize("rest", [b"", bytes(9), b"\x88"])
def test_an_answer_without_any_field_is_no_answer_whatever_follows_it(rest: bytes) -> None:
    connection = busy(1)
    received = connection.receive(frame(HEADERS, END_STREAM | END_HEADERS, 1) + rest)
    assert received.accepted == []
    assert [event.tag for event in received.events if isinstance(event, StreamFault)] == [1]


@pytest.mark.parametrize("block", [OK, literal(b"X", b"y")])
def test_what_comes_after_a_body_and_is_not_trailers_resets_the_stream_and_leaves_nothing_behind(
    block: bytes,
) -> None:
    connection = busy(1)
    begun = frame(HEADERS, END_HEADERS, 1, OK) + frame(DATA, 0, 1, b"body")
    received = connection.receive(begun + frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
    # the status has come all the same
    assert received == ([], [Answered(1, 200, ((b":status", b"200"),), b"body")])
    assert connection.take_output() == reset(1, 1)
    assert connection._answers.partial == {}


def test_a_cancelled_stream_leaves_nothing_behind_of_its_answer() -> None:
    connection = busy(1)
    connection.receive(frame(HEADERS, END_HEADERS, 1, OK) + frame(DATA, 0, 1, b"body"))
    assert connection.cancel([1]) == ([], [], [Answered(1, 200, ((b":status", b"200"),), b"body")])
    assert connection._answers.partial == {}


def test_an_answer_other_than_200_comes_with_its_headers_and_body() -> None:
    connection = busy(2)
    headers = ((b":status", b"410"), (b"apns-id", b"x"))
    received = connection.receive(
        frame(HEADERS, END_HEADERS, 1, block_of(*headers))
        + answer(3)
        + frame(DATA, PADDED, 1, padded(b'{"reason":', 255))
        + frame(DATA, END_STREAM, 1, b'"Unregistered"}')
    )
    assert received == ([3], [Answered(1, 410, headers, b'{"reason":"Unregistered"}')])
    assert connection.open == {}


def test_trailers_and_interim_answers_change_nothing() -> None:
    connection = busy(2)
    interim = frame(HEADERS, END_HEADERS, 1, block_of((b":status", b"103")))
    trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, literal(b"x", b"y"))
    received = connection.receive(interim * 5 + frame(HEADERS, END_HEADERS, 1, OK) + trailers + answer(3))
    assert received == ([1, 3], [])


def test_frames_that_mean_nothing_here_are_passed_over() -> None:
    connection = busy(1)
    nothing = (
        frame(PRIORITY, 0, 1, bytes(5))
        + frame(PRIORITY, 0, 98, bytes(5))
        + frame(0xA, 0xFF, 7, b"altsvc")
        + frame(0xFF, 0xFF, 0)
        + settings({0x1A1A: 1})
    )
    assert connection.receive(nothing + answer(1)) == ([1], [SettingsReceived(((0x1A1A, 1),))])


def test_the_reserved_bit_of_a_stream_id_is_ignored() -> None:
    connection = busy(2)
    high = 1 << 31
    assert connection.receive(answer(1 | high) + answer(3 | high, 200, b"")).accepted == [1, 3]
    assert connection.receive(frame(PING, 0, high, bytes(8))).events == []


def test_pings_are_answered_and_ours_come_back() -> None:
    connection = started()
    connection.ping(b"abcdefgh")
    assert connection.take_output() == ping(b"abcdefgh")
    received = connection.receive(ping(b"theirs!!") + ping(b"abcdefgh", ack=True))
    assert received.events == [Ponged(b"abcdefgh")]
    assert connection.take_output() == ping(b"theirs!!", ack=True)


def test_stream_ids_run_out() -> None:
    connection = busy(1)
    connection._writer.next_id = ID_MOST - 4
    assert connection.room() == 3
    assert connection.send([request(n) for n in range(5)]) == 3
    assert connection.exhausted and connection.room() == connection.send([request(9)]) == 0
    output = connection.take_output()
    assert {each.stream_id for each in frames_of(output)} == {ID_MOST - 4, ID_MOST - 2, ID_MOST}
    assert connection.receive(answer(ID_MOST) + answer(1)).accepted == [2, 1]


def test_renewed_headers_are_taught_once_more() -> None:
    connection, server = busy(2), Server()
    connection.renew_headers()
    connection.send([request(5), request(7)])
    server.take(connection.take_output())
    assert (
        server.fields[5][:2] == server.fields[7][:2] == [(b":path", b"/3/device/abc"), (b":method", b"POST")]
    )


def test_answers_whose_stream_is_over_still_use_the_connection_s_window() -> None:
    connection = busy(1)
    connection.cancel([1])
    connection.take_output()
    data = frame(DATA, PADDED, 1, padded(bytes(16_000), 255)) * 3
    assert connection.receive(data) == ([], [])
    (update,) = frames_of(connection.take_output())
    assert (update.kind, update.stream_id) == (WINDOW_UPDATE, 0)
    assert int.from_bytes(update.payload) == 3 * 16_256


def test_a_body_that_is_too_long_is_cut_and_its_stream_cancelled() -> None:
    connection = busy(1)
    received = connection.receive(
        frame(HEADERS, END_HEADERS, 1, OK) + frame(DATA, 0, 1, bytes(9_000)) + frame(DATA, 0, 1, bytes(9_000))
    )
    assert received == ([], [Answered(1, 200, ((b":status", b"200"),), bytes(8_192))])
    assert connection.take_output() == reset(1, 8)
    assert GOAWAY not in [each.kind for each in frames_of(connection.take_output())]
