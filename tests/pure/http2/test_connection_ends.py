"""How streams and connections end: resets, cancellation, early and late answers, GOAWAY, and what is left then."""

from __future__ import annotations

import pytest
from frame_factory import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    ID_MOST,
    MAX_CONCURRENT_STREAMS,
    OK,
    RST_STREAM,
    Frame,
    answer,
    block_of,
    busy,
    frame,
    frames_of,
    goaway,
    ping,
    request,
    reset,
    settings,
    window_update,
)
from h2.errors import ErrorCodes

from engine.http2.connection import DEBUG_DATA_MOST
from engine.http2.events import Abandoned, Answered, ConnectionFault, GoingAway, StreamReset


@pytest.mark.parametrize("code", [*ErrorCodes, 0x99, 2**32 - 1])
def test_a_reset_gives_the_tag_and_the_code_whatever_the_code_is(code: int) -> None:
    connection = busy(1)
    assert connection.receive(reset(1, code)).events == [StreamReset(1, code)]
    assert connection.open == {} and connection.take_output() == b""


def test_a_stream_that_is_over_may_be_spoken_of_without_harm() -> None:
    connection = busy(2)
    connection.receive(answer(1))
    late = (
        reset(1) + reset(1, 7) + window_update(1, 1) + window_update(1, 0) + answer(1) + answer(1, 400, b"x")
    )
    late += frame(HEADERS, 0, 1, b"x") + frame(CONTINUATION, END_HEADERS, 1, b"y")
    assert connection.receive(late + answer(3)) == ([3], [])
    assert connection.fault is None and connection.take_output() == b""


def test_an_answer_that_the_peer_cuts_short_counts_as_far_as_it_came() -> None:
    connection = busy(2, {4: 1})
    status = block_of((b":status", b"429"))
    cut = frame(HEADERS, END_HEADERS, 1, status) + frame(DATA, 0, 1, b'{"re') + reset(1, 2)
    cut += frame(HEADERS, END_HEADERS, 3, OK) + reset(3, 0)
    assert connection.receive(cut) == ([3], [Answered(1, 429, ((b":status", b"429"),), b'{"re')])
    # and a reset is not answered with a reset, though both bodies were unsent
    assert connection.take_output() == b"" and connection.open == {}
    assert connection.receive(window_update(0, 10)).events == [] and connection.take_output() == b""


BEGUN_200 = frame(HEADERS, END_HEADERS, 1, OK)
BEGUN_429 = frame(HEADERS, END_HEADERS, 3, block_of((b":status", b"429"))) + frame(DATA, 0, 3, b'{"re')
ANSWER_429 = Answered(3, 429, ((b":status", b"429"),), b'{"re')


def test_what_is_cancelled_after_its_status_is_answered() -> None:
    connection = busy(3, {4: 1})
    assert connection.receive(BEGUN_200 + BEGUN_429) == ([], [])
    assert connection.cancel([1, 3, 5]) == Abandoned([5], [1], [ANSWER_429])
    # each is reset once, though all bodies were unsent
    assert connection.take_output() == reset(1, 8) + reset(3, 8) + reset(5, 8)
    assert connection.open == {} and not connection._writer.unsent and not connection._answers.partial


@pytest.mark.parametrize("fault", [b"", ping(b"1234567")])
def test_what_is_open_when_the_connection_ends_is_answered_as_far_as_its_status_came(fault: bytes) -> None:
    connection = busy(3, {4: 1})
    events = connection.receive(BEGUN_200 + BEGUN_429 + fault).events
    assert [type(event) for event in events] == [ConnectionFault] * bool(fault)
    connection.take_output()
    assert connection.abandon() == Abandoned([5], [1], [ANSWER_429])
    assert connection.abandon() == Abandoned([], [], [])
    assert connection.open == {} and not connection._writer.unsent and connection.take_output() == b""


def test_a_goaway_disowns_no_stream_whose_status_has_come() -> None:
    connection = busy(3, {4: 1})
    received = connection.receive(BEGUN_200 + BEGUN_429 + goaway(0))
    assert received == ([1], [ANSWER_429, GoingAway(0, 0, b"", (5,))])
    assert connection.open == {} and connection.take_output() == b""


def test_an_interim_answer_that_is_cut_short_is_none() -> None:
    connection = busy(1)
    interim = frame(HEADERS, END_HEADERS, 1, block_of((b":status", b"103")))
    assert connection.receive(interim + reset(1, 2)).events == [StreamReset(1, 2)]


@pytest.mark.parametrize("status", [200, 413])
def test_an_answer_before_the_request_is_sent_ends_the_request(status: int) -> None:
    connection = busy(1, {4: 1}, b"body")
    received = connection.receive(answer(1, status) + window_update(1, 10) + settings({4: 100}))
    assert len(received.accepted) + len([e for e in received.events if isinstance(e, Answered)]) == 1
    assert frames_of(connection.take_output())[0] == Frame(RST_STREAM, 0, 1, (8).to_bytes(4))
    assert connection.open == {} and connection.room() > 0


def test_a_cancelled_stream_is_reset_and_its_place_is_free() -> None:
    connection = busy(3, {MAX_CONCURRENT_STREAMS: 3})
    assert (list(connection.open), connection.room()) == ([1, 3, 5], 0)
    assert connection.cancel([1, 5, 1, 99]) == ([1, 5], [], [])
    assert connection.take_output() == reset(1, 8) + reset(5, 8)
    assert (list(connection.open), connection.room()) == ([3], 2)
    assert connection.receive(answer(1) + answer(3)).accepted == [3]
    assert connection.open == {}


def test_goaway_names_who_was_not_processed_and_the_others_are_still_answered() -> None:
    connection = busy(4)
    received = connection.receive(goaway(3, 0, b"bye" + bytes(2_000)) + answer(5) + answer(3))
    assert received.events == [GoingAway(3, 0, (b"bye" + bytes(2_000))[:DEBUG_DATA_MOST], (5, 7))]
    assert received.accepted == [3]
    assert connection.open == {1: 1}
    assert connection.room() == connection.send([request(9)]) == 0
    assert "going away" in repr(connection)
    assert connection.receive(answer(1)).accepted == [1]


def test_goaway_with_last_id_zero_gives_everything_back() -> None:
    connection = busy(3, {4: 1})
    assert connection.receive(goaway(0, 11)).events == [GoingAway(0, 11, b"", (1, 3, 5))]
    assert connection.receive(window_update(0, 5) + settings({4: 100})).accepted == []
    assert DATA not in [each.kind for each in frames_of(connection.take_output())]


def test_a_second_goaway_may_lower_the_last_id_and_never_raise_it() -> None:
    connection = busy(4)
    received = connection.receive(goaway(ID_MOST) + goaway(5) + goaway(1) + goaway(7))
    assert [(event.last_stream_id, event.unprocessed) for event in received.events] == [  # type: ignore[union-attr]
        (ID_MOST, ()),
        (5, (7,)),
        (1, (3, 5)),
        (1, ()),
    ]
    assert connection.open == {1: 1}


def test_close_says_goaway_once_and_still_hears_answers() -> None:
    connection = busy(1)
    connection.close()
    connection.close()
    assert connection.take_output() == goaway(0)
    assert connection.send([request(3)]) == 0
    assert connection.receive(answer(1)).accepted == [1]
