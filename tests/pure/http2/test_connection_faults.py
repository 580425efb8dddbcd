"""Every way in which a server can break the protocol: the RFC's code, a GOAWAY or RST_STREAM, and nothing lost."""

from __future__ import annotations

import pytest
from frame_factory import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OK,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    WINDOW_MOST,
    WINDOW_UPDATE,
    Frame,
    answer,
    block_of,
    busy,
    frame,
    frames_of,
    goaway,
    literal,
    padded,
    ping,
    request,
    reset,
    settings,
    started,
    window_update,
)
from h2.errors import ErrorCodes

from engine.http2.connection import Connection
from engine.http2.events import Answered, ConnectionFault, Ponged, StreamFault

PROTOCOL, SIZE, FLOW = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.FLOW_CONTROL_ERROR
COMPRESSION, CALM = ErrorCodes.COMPRESSION_ERROR, ErrorCodes.ENHANCE_YOUR_CALM
BEGUN = frame(HEADERS, END_HEADERS, 3, OK)

# Streams 1, 3 and 5 are open; 3 waits for the connection's window when these bytes come.
OF_CONNECTION = {
    "a frame above 16,384 bytes": (frame(DATA, 0, 3, bytes(16_385)), SIZE),
    "a header that says so": (frame(0xEE, 0, 0, length=2**24 - 1), SIZE),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL),
    "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    "SETTINGS acknowledged with a payload": (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    "push switched on": (settings({2: 1}), PROTOCOL),
    "an initial window of 2^31": (settings({4: 2**31}), FLOW),
    "an initial window that lifts a stream above the largest": (
        window_update(3, WINDOW + 1) + settings({4: WINDOW_MOST}),
        FLOW,
    ),
    "a frame size of 16,383": (settings({5: 16_383}), PROTOCOL),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "PING of 9 bytes": (frame(PING, ACK, 0, bytes(9)), SIZE),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "RST_STREAM on stream 0": (reset(0), PROTOCOL),
    "RST_STREAM on an idle stream": (reset(7), PROTOCOL),
    "RST_STREAM on a stream of the server's": (reset(2), PROTOCOL),
    "RST_STREAM of 5 bytes": (frame(RST_STREAM, 0, 3, bytes(5)), SIZE),
    "WINDOW_UPDATE by 0 on the connection": (window_update(0, 0), PROTOCOL),
    "WINDOW_UPDATE by the reserved bit alone": (window_update(0, 2**31), PROTOCOL),
    "WINDOW_UPDATE above 2^31-1 on the connection": (window_update(0, WINDOW_MOST) * 2, FLOW),
    "WINDOW_UPDATE on an idle stream": (window_update(7, 1), PROTOCOL),
    "WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "DATA on stream 0": (frame(DATA, 0, 0), PROTOCOL),
    "DATA on an idle stream": (frame(DATA, 0, 7), PROTOCOL),
    "DATA on a stream of the server's": (frame(DATA, 0, 4), PROTOCOL),
    "DATA with padding longer than the frame": (BEGUN + frame(DATA, PADDED, 3, b"\x05abcd"), PROTOCOL),
    "DATA with padding and no bytes": (BEGUN + frame(DATA, PADDED, 3), PROTOCOL),
    "HEADERS on stream 0": (frame(HEADERS, END_HEADERS, 0, OK), PROTOCOL),
    "HEADERS on an idle stream": (answer(7), PROTOCOL),
    "HEADERS on a stream of the server's": (answer(2), PROTOCOL),
    "HEADERS with padding longer than the frame": (frame(HEADERS, PADDED, 3, b"\xff" + OK), PROTOCOL),
    "HEADERS without their priority fields": (frame(HEADERS, PRIORITY_FLAG | END_HEADERS, 3, OK), SIZE),
    "HEADERS that can't be decoded": (frame(HEADERS, END_HEADERS, 3, b"\x80"), COMPRESSION),
    "HEADERS that refer to a table that there is not": (frame(HEADERS, END_HEADERS, 3, b"\xbe"), COMPRESSION),
    "a table size above the announced one": (frame(HEADERS, END_HEADERS, 3, b"\x3f\x01\x88"), COMPRESSION),
    "CONTINUATION without HEADERS": (frame(CONTINUATION, END_HEADERS, 3, OK), PROTOCOL),
    "CONTINUATION after a whole block": (BEGUN + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL),
    "a flood of CONTINUATION": (frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3, bytes(9_000)) * 2, CALM),
    "a flood of empty CONTINUATION": (frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3) * 99, CALM),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 3, bytes(4) + OK), PROTOCOL),
    "PRIORITY of 4 bytes": (frame(PRIORITY, 0, 3, bytes(4)), SIZE),
    "PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    **{
        f"a header block interrupted by {name}": (frame(HEADERS, 0, 3, OK) + interruption, PROTOCOL)
        for name, interruption in {
            "DATA": frame(DATA, 0, 3),
            "HEADERS": frame(HEADERS, END_HEADERS, 3, OK),
            "another stream's answer": answer(5),
            "another stream's CONTINUATION": frame(CONTINUATION, END_HEADERS, 5),
            "PING": ping(),
            "SETTINGS": settings(),
            "WINDOW_UPDATE": window_update(0, 1),
            "RST_STREAM": reset(3),
            "RST_STREAM of a stream that is over": reset(1) + frame(CONTINUATION, END_HEADERS, 3),
            "GOAWAY": goaway(0),
            "an unknown frame": frame(0xEE, 0, 0),
        }.items()
    },
}

OF_STREAM = {
    "DATA before the headers": (frame(DATA, END_STREAM, 3, b"x"), PROTOCOL),
    "DATA after an interim answer": (
        frame(HEADERS, END_HEADERS, 3, block_of((b":status", b"100"))) + frame(DATA, 0, 3),
        PROTOCOL,
    ),
    "an interim answer that ends the stream": (answer(3, 103), PROTOCOL),
    "101": (frame(HEADERS, END_HEADERS, 3, block_of((b":status", b"101"))), PROTOCOL),
    "no status": (frame(HEADERS, END_HEADERS, 3, literal(b"x", b"y")), PROTOCOL),
    "a status of two digits": (frame(HEADERS, END_HEADERS, 3, literal(b":status", b"20")), PROTOCOL),
    "a status after a field": (frame(HEADERS, END_HEADERS, 3, literal(b"x", b"y") + OK), PROTOCOL),
    "a request's pseudo-header field": (answer(3, 400)[:-1] + b"\x82", PROTOCOL),
    "an upper-case name": (frame(HEADERS, END_HEADERS, 3, b"\x8c" + literal(b"X", b"y")), PROTOCOL),
    "WINDOW_UPDATE by 0": (window_update(3, 0), PROTOCOL),
    "WINDOW_UPDATE above 2^31-1": (window_update(3, WINDOW_MOST), FLOW),
}

# the same when the status of stream 3 has come: it stays its answer
AFTER_STATUS = {
    "trailers that do not end the stream": (
        BEGUN + frame(HEADERS, END_HEADERS, 3, literal(b"x", b"y")),
        PROTOCOL,
    ),
    "trailers with a status": (BEGUN + answer(3), PROTOCOL),
    "more DATA than the stream's window": (
        BEGUN + frame(DATA, PADDED, 3, padded(b"", 255)) * (WINDOW // 256 + 1),
        FLOW,
    ),
    "WINDOW_UPDATE by 0": (BEGUN + window_update(3, 0), PROTOCOL),
    "WINDOW_UPDATE above 2^31-1": (BEGUN + window_update(3, WINDOW_MOST), FLOW),
}


def waiting() -> Connection:
    """Streams 1, 3 and 5 are open; the body of 3 has used up the connection's window, and not its stream's."""
    connection = started({4: 1_000_000})
    assert connection.send([request(1), request(3, bytes(70_000)), request(5, b"")]) == 3
    assert connection.window == 0
    connection.take_output()
    return connection


@pytest.mark.parametrize(("data", "code"), OF_CONNECTION.values(), ids=OF_CONNECTION)
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_fault_of_the_connection_is_its_last_event_and_loses_none_before_it(
    data: bytes, code: ErrorCodes, bytewise: bool
) -> None:
    connection = waiting()
    data = answer(1) + ping(b"a pong!!", ack=True) + data + answer(5) + ping()
    accepted, events = [], []
    for piece in [data[at : at + 1] for at in range(len(data))] if bytewise else [data]:
        received = connection.receive(piece)
        accepted += received.accepted
        events += received.events
    assert accepted == [1]
    assert events[0] == Ponged(b"a pong!!")
    assert isinstance(events[-1], ConnectionFault) and events[-1].code == code
    assert connection.fault == events[-1] and "fault" in repr(connection)
    last = frames_of(connection.take_output())[-1]
    assert (last.kind, last.stream_id, last.code) == (GOAWAY, 0, code)
    assert last.payload[8:].decode() == events[-1].reason != ""
    # what was open was not answered, and is there to be told so
    assert connection.open == {3: 3, 5: 5}
    assert connection.room() == connection.send([request(7)]) == 0
    assert connection.receive(answer(5)) == ([], []) and connection.take_output() == b""


@pytest.mark.parametrize(("data", "code"), OF_STREAM.values(), ids=OF_STREAM)
def test_a_fault_of_a_stream_resets_that_stream_only(data: bytes, code: ErrorCodes) -> None:
    connection = waiting()
    received = connection.receive(answer(1) + data + frame(DATA, END_STREAM, 3) + answer(5))
    assert received.accepted == [1, 5]
    (fault,) = received.events
    assert isinstance(fault, StreamFault)
    assert (fault.tag, fault.code) == (3, code) and fault.reason
    resets = [each for each in frames_of(connection.take_output()) if each.kind == RST_STREAM]
    assert resets == [Frame(RST_STREAM, 0, 3, int(code).to_bytes(4))]
    assert connection.open == {} and connection.fault is None
    assert connection.room() > 0


@pytest.mark.parametrize(("data", "code"), AFTER_STATUS.values(), ids=AFTER_STATUS)
def test_a_fault_of_a_stream_takes_back_no_status_that_has_come(data: bytes, code: ErrorCodes) -> None:
    connection = waiting()
    received = connection.receive(answer(1) + data + frame(DATA, END_STREAM, 3) + answer(5))
    tags = received.accepted + [event.tag for event in received.events if isinstance(event, Answered)]
    assert sorted(tags) == [1, 3, 5] and len(received.events) <= 1
    resets = [each for each in frames_of(connection.take_output()) if each.kind == RST_STREAM]
    assert resets == [Frame(RST_STREAM, 0, 3, int(code).to_bytes(4))]
    assert connection.open == {} and connection.fault is None


@pytest.mark.parametrize(
    "first",
    [
        ping(),
        frame(SETTINGS, ACK, 0),
        goaway(0),
        frame(0xEE, 0, 0),
        answer(1),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50" * 3,
    ],
)
def test_a_server_that_does_not_begin_with_settings_is_at_fault(first: bytes) -> None:
    connection = Connection()
    connection.take_output()
    (fault,) = connection.receive(first + bytes(20_000)).events
    assert fault == ConnectionFault(PROTOCOL, "the first frame is not SETTINGS")
    assert frames_of(connection.take_output())[-1].code == PROTOCOL


def test_first_settings_that_are_too_long_are_a_fault_of_size() -> None:
    (fault,) = Connection().receive(frame(SETTINGS, 0, 0, bytes(16_386))).events
    assert isinstance(fault, ConnectionFault) and fault.code == SIZE


def test_data_above_the_connection_s_window_is_a_fault_of_flow_control() -> None:
    # our own updates come as soon as half of the window is used, so only a frame above the rest can pass it
    connection = busy(1)
    connection._answers.window._left = 100
    (fault,) = connection.receive(BEGUN.replace(b"\x03", b"\x01") + frame(DATA, 0, 1, bytes(101))).events
    assert isinstance(fault, ConnectionFault) and fault.code == FLOW


def test_an_undecodable_block_on_a_stream_that_is_over_breaks_the_table_while_there_is_one() -> None:
    connection = started(acknowledged=False)
    connection.send([request(1)])
    connection.cancel([1])
    (fault,) = connection.receive(frame(HEADERS, END_HEADERS, 1, b"\x80")).events
    assert isinstance(fault, ConnectionFault) and fault.code == COMPRESSION


def test_interim_answers_and_empty_data_without_end_hold_nothing() -> None:
    connection = busy(1)
    interim = frame(HEADERS, END_HEADERS, 1, block_of((b":status", b"100")))
    assert connection.receive(interim * 2_000) == ([], [])
    connection.receive(frame(HEADERS, END_HEADERS, 1, OK) + frame(DATA, 0, 1) * 2_000)
    partial = connection._answers.partial[1]
    assert (partial.body, partial.received, len(connection._buffer)) == (b"", 0, 0)
    assert connection.receive(frame(DATA, END_STREAM, 1)).accepted == [1]


@pytest.mark.parametrize(
    ("flood", "answers"),
    [(ping(), ping(ack=True)), (settings(), frame(SETTINGS, ACK, 0)), (window_update(0, 1), b"")],
)
def test_a_flood_that_has_to_be_answered_costs_no_more_than_its_own_bytes(
    flood: bytes, answers: bytes
) -> None:
    connection = busy(1)
    connection.receive(flood * 3_000)
    output = connection.take_output()
    assert output == answers * 3_000 and len(output) <= len(flood) * 3_000
    assert connection._out == [] and connection.open == {1: 1}
